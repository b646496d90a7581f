"""Commands that keep a system whole: ``verify``, ``repair``, ``backup`` and ``restore``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mu2net.cli.failures import EXIT_DAMAGED
from mu2net.cli.options import JsonOption, SystemOption, parse_share
from mu2net.cli.output import console, plural, print_json, progress_console, say
from mu2net.cli.session import open_system, system_directory
from mu2net.cli.space import size
from mu2net.cli.tables import probe_table
from mu2net.cli.view import watching
from mu2net.errors import ConfigError

if TYPE_CHECKING:
    from mu2net.store.verify import Depth

PlaceArgument = Annotated[str, typer.Argument(metavar="PLACE", help="A folder, or a URL such as s3://bucket/name.")]


def verify(
    context: typer.Context,
    quick: Annotated[bool, typer.Option("--quick", help="Only compare names and sizes; read nothing.")] = False,
    sample: Annotated[
        str | None,
        typer.Option("--sample", metavar="SHARE", help="Read only this share, as in 5%, of what was unread longest."),
    ] = None,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Move damaged files aside, so that nothing uses them; none is deleted.")
    ] = False,
    system: SystemOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove that nothing was forgotten: hash every file again, and compute every path's probe again.

    Exits with 1 when anything differs from what was published.
    """
    if quick and sample is not None:
        raise ConfigError("--quick reads nothing, --sample a share; give one of them")
    depth: Depth = "quick" if quick else "full" if sample is None else "sample"
    share = 1.0 if sample is None else parse_share(sample)
    with open_system(context, system) as opened, watching(progress_console(as_json=as_json), "verify") as view:
        found = opened.verify(depth=depth, share=share, observer=view)
        moved = opened.quarantine(found.damaged_files) if quarantine else []
    if as_json:
        extra = {
            "is_intact": found.is_intact,
            "sentence": found.sentence(),
            "quarantined": [str(file) for file in moved],
        }
        print_json({**found.to_dict(), **extra})
    else:
        out = console()
        if found.probes:
            out.print(probe_table(found.probes))
        for damage in found.damages:
            say(out, damage, "red")
        for file in moved:
            say(out, f"moved to {file}")
        say(out, found.sentence(), "bold green" if found.is_intact else "bold red")
    if not found.is_intact:
        raise typer.Exit(EXIT_DAMAGED)


def repair(
    context: typer.Context,
    other: Annotated[Path, typer.Option("--from", metavar="DIR", help="Folder of another system, or of a backup.")],
    system: SystemOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch intact copies of damaged files; the damaged ones go into quarantine.

    Exits with 1 when some could not be restored.
    """
    from mu2net.system.upkeep import to_json

    with open_system(context, system) as opened, watching(progress_console(as_json=as_json), "repair") as view:
        found = opened.verify(observer=view)
        done = opened.repair(other, found.damaged_files)
    if as_json:
        print_json(to_json(done))
    else:
        out = console()
        say(out, f"{plural(len(done.restored), 'file')} restored from {other}")
        for digest in done.missing:
            say(out, f"component {digest} is not intact there either", "red")
        if found.damages and not found.damaged_files:
            say(out, "the registry or mu2net.toml is damaged: restore a backup with `mu2net restore`", "red")
    if done.missing:
        raise typer.Exit(EXIT_DAMAGED)


def backup(
    context: typer.Context, place: PlaceArgument, system: SystemOption = None, as_json: JsonOption = False
) -> None:
    """Copy the system, also while it evolves; what is there already is not copied again."""
    from mu2net.system.upkeep import to_json

    with open_system(context, system) as opened, watching(progress_console(as_json=as_json), "backup") as view:
        done = opened.backup(place, observer=view)
    if as_json:
        print_json(to_json(done))
    else:
        copied = f"{plural(done.copied, 'file')} of {size(done.num_bytes)}"
        say(console(), f"{copied} copied to {place}, {done.kept} were there already")


def restore(
    context: typer.Context, place: PlaceArgument, system: SystemOption = None, as_json: JsonOption = False
) -> None:
    """Make a system of a backup; every file is checked on the way."""
    from mu2net.store.backup import restore as restore_system
    from mu2net.system.upkeep import to_json

    directory = system_directory(context, system)
    done = restore_system(place, directory.absolute())
    if as_json:
        print_json({**to_json(done), "directory": str(directory)})
    else:
        say(console(), f"restored {plural(done.copied, 'file')} of {size(done.num_bytes)} to {directory}")
