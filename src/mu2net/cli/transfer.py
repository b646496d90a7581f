"""Commands that move tasks between systems: ``import-task`` and ``export-system``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mu2net.cli.options import JsonOption, SystemOption
from mu2net.cli.output import console, plural, print_json, say
from mu2net.cli.session import open_system
from mu2net.cli.space import size
from mu2net.errors import ConfigError

if TYPE_CHECKING:
    from mu2net.store.transfer import Imported


def import_task(
    context: typer.Context,
    other: Annotated[Path, typer.Argument(metavar="OTHER", help="Folder of the other system.", show_default=False)],
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the task there.", show_default=False)],
    as_name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Its name here; the same by default.")
    ] = None,
    rename: Annotated[
        list[str] | None,
        typer.Option("--rename", metavar="OLD=NEW", help="Another name here for a task that shaped it; repeatable."),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Private here, even if it is public there.")] = False,
    system: SystemOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring a task of another system of the same root here, with its path and its provenance.

    Parameters that are here already are not copied. Whether it is private, and from whom it may learn, comes along.
    """
    from mu2net.system.upkeep import to_json

    renamed = dict(_renaming(text) for text in rename or ())
    with open_system(context, system) as opened:
        found = opened.import_task(other, name, as_name=as_name, renamed=renamed, is_private=private)
    if as_json:
        print_json(to_json(found))
        return
    say(console(), f"task {found.task} is here: {_copied(found)}")
    say(console(), f"data of these tasks shaped it: {', '.join(found.influence)}; see `mu2net provenance {found.task}`")


def export_system(
    context: typer.Context,
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the new system.", show_default=False)],
    tasks: Annotated[
        str | None,
        typer.Option("--tasks", metavar="A,B", help="Only these; by default all that are evolved and public."),
    ] = None,
    system: SystemOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a new system of some tasks: the root, their paths, and their provenance, without the rest of the history."""
    from mu2net.system.upkeep import to_json

    chosen = None if tasks is None else [name.strip() for name in tasks.split(",") if name.strip()]
    with open_system(context, system) as opened:
        found = opened.export_system(directory, chosen)
        everything = () if chosen else opened.tasks()
        left_out = sorted({task.name for task in everything} - {one.task for one in found})
    if as_json:
        print_json({"directory": str(directory), "tasks": to_json(found), "left_out": left_out})
        return
    for one in found:
        say(console(), f"  {one.task}: {_copied(one)}")
    say(console(), f"system '{directory}' has {plural(len(found), 'task')}", "bold")
    if left_out:
        say(console(), f"left out, private or never evolved: {', '.join(left_out)}; name them with --tasks", "yellow")


def _copied(found: Imported) -> str:
    copied = f"{plural(found.copied, 'file')} of {size(found.num_bytes)} copied"
    return f"path {found.path}, {copied}, {found.kept} were there already"


def _renaming(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise ConfigError(f"--rename is {text!r}; expected OLD=NEW, as in flowers=flowers-2")
    return old, new
