"""Commands about disk space: ``collect``, ``compact-history`` and ``du``."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mu2net.cli.options import JsonOption, SystemOption
from mu2net.cli.output import console, plain, plural, print_json, say
from mu2net.cli.session import open_system
from mu2net.errors import ConfigError

if TYPE_CHECKING:
    from mu2net.store.collect import Collected
    from mu2net.store.usage import Usage

YesOption = Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would be done.")]

_UNITS = ("B", "kB", "MB", "GB", "TB")


def collect(
    context: typer.Context,
    grace_days: Annotated[
        float | None, typer.Option("--grace", metavar="DAYS", help="Days that unused files stay; 14 by default.")
    ] = None,
    now: Annotated[
        bool, typer.Option("--now", help="End the grace period: removals become final, and the cache is emptied.")
    ] = False,
    yes: YesOption = False,
    system: SystemOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove the files that nothing can reach any more; safe while other processes evolve and predict."""
    from mu2net.store.collect import GRACE
    from mu2net.system.upkeep import to_json

    if now and grace_days is not None:
        raise ConfigError("--now ends the grace period; leave out --grace")
    if grace_days is not None and not 0 < grace_days < 10**5:
        raise ConfigError(f"--grace is {grace_days:g} days; expected more than 0, or --now for none")
    grace = timedelta(0) if now else GRACE if grace_days is None else timedelta(days=grace_days)
    with open_system(context, system) as opened:
        found = opened.collect(grace=grace, is_dry=not yes)
    if as_json:
        print_json(to_json(found))
    else:
        _print_collected(found)


def _print_collected(found: Collected) -> None:
    out = console()
    verb = "were" if found.is_done else "would be"
    say(out, f"{plural(len(found.files), 'file')} of {size(found.num_bytes)} {verb} removed")
    if found.orphans:
        say(out, f"  {found.orphans} of them belonged to nothing: a crash left them behind")
    if found.unfinished:
        say(out, f"  {plural(len(found.unfinished), 'unfinished file')} {verb} removed")
    if not found.is_done and (found.files or found.unfinished):
        say(out, "nothing was changed; add --yes to do it", "bold")


def compact_history(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Only children of this task.", show_default=False)
    ] = None,
    yes: YesOption = False,
    system: SystemOption = None,
    as_json: JsonOption = False,
) -> None:
    """Drop the parameters of children that were never published; their rows stay in the history."""
    from mu2net.system.upkeep import to_json

    if not yes:
        raise ConfigError(
            "this drops the parameters of all children that were never published, and cannot be undone; "
            "add --yes to do it"
        )
    with open_system(context, system) as opened:
        children = opened.compact_history(name)
        found = opened.collect(is_dry=False)
    if as_json:
        print_json({"children": children, **to_json(found)})
        return
    say(console(), f"parameters of {plural(children, 'child')} may go")
    _print_collected(found)


def du(context: typer.Context, system: SystemOption = None, as_json: JsonOption = False) -> None:
    """Say who uses how much of the disk."""
    from mu2net.system.upkeep import to_json

    with open_system(context, system) as opened:
        found = opened.usage()
    if as_json:
        print_json(to_json(found))
    else:
        console().print(_usage_table(found))


def _usage_table(found: Usage) -> Table:
    table = Table()
    table.add_column("path")
    table.add_column("own", justify="right")
    table.add_column("shared", justify="right")
    for row in found.tasks:
        table.add_row(plain(row.task or "root"), size(row.own), size(row.shared))
    table.add_section()
    table.add_row("in use, every file once", size(found.live), "")
    table.add_row("history: see `mu2net compact-history` and `mu2net collect`", size(found.history), "")
    table.add_row("left behind by crashes: see `mu2net collect`", size(found.orphans), "")
    return table


def size(num_bytes: int) -> str:
    """Return a size for people, in powers of 1,000.

    Args:
        num_bytes: Bytes.
    """
    value = float(num_bytes)
    for unit in _UNITS:
        if value < 1000 or unit == _UNITS[-1]:
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
