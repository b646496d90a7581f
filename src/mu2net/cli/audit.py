"""Commands that say whose data shaped what, and take it out again: ``provenance``, ``remove`` and ``undo``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from mu2net.cli.inspection import TaskArgument
from mu2net.cli.options import JsonOption, SystemOption, parse_duration
from mu2net.cli.output import console, plain, plural, print_json, progress_console, say
from mu2net.cli.session import open_system
from mu2net.cli.view import watching
from mu2net.errors import ConfigError

if TYPE_CHECKING:
    from mu2net.store.provenance import Provenance, SlotProvenance
    from mu2net.store.removal import Removal


def provenance(
    context: typer.Context, name: TaskArgument, system: SystemOption = None, as_json: JsonOption = False
) -> None:
    """Say whose data shaped the path of a task: who trained its components, and whatever they came from."""
    from mu2net.system.upkeep import to_json

    with open_system(context, system) as opened:
        found, root = opened.provenance(name), opened.root_spec
    if as_json:
        print_json({**to_json(found), "root": root})
        return
    out = console()
    out.print(_provenance_table(found))
    say(out, f"data of these tasks shaped {name}: {', '.join(found.influence)}; it began at the root {root}", "bold")
    if found.elsewhere:
        say(out, f"not tasks of this system, but of one that was imported from: {', '.join(found.elsewhere)}")
    for task in found.removed:
        say(
            out,
            f"task {task} was removed, without --with-influence: this path still builds on it",
            "red",
        )


def _provenance_table(found: Provenance) -> Table:
    table = Table(title=plain(f"{found.task}: path {found.path}"), title_justify="left")
    for column in ("slot", "component", "trained by", "path", "agent", "when", "cloned from"):
        table.add_column(column)
    for slot in found.slots:
        table.add_row(*(plain(cell) for cell in _provenance_row(slot)))
    return table


def _provenance_row(slot: SlotProvenance) -> tuple[str, ...]:
    first = slot.origins[0]
    tasks = ", ".join(sorted({origin.task or "root" for origin in slot.origins}))
    when = f"{first.at:%Y-%m-%d %H:%M}"
    sources = " ← ".join(source[:8] for source in slot.sources)
    return slot.slot, slot.digest[:8], tasks, first.path, first.agent or "-", when, sources or "-"


def remove(
    context: typer.Context,
    name: TaskArgument,
    with_influence: Annotated[
        bool, typer.Option("--with-influence", help="Also retire every path that the task's data shaped.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would be done.")] = False,
    re_evolve: Annotated[
        bool, typer.Option("--re-evolve", help="Evolve the tasks that lose their path again, without the removed one.")
    ] = False,
    time: Annotated[
        str | None, typer.Option("--time", metavar="TIME", help="Time for each of them, as in 90s or 10m.")
    ] = None,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="The agent that evolves them.")] = None,
    system: SystemOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove a task; `mu2net undo` takes it back for 14 days.

    With --with-influence nothing that is left in use descends from the task's data: `mu2net provenance` proves it, and
    `mu2net collect --now --yes` deletes the parameters.
    """
    from mu2net.system.upkeep import to_json

    if re_evolve and not (with_influence and yes):
        raise ConfigError("--re-evolve goes with --with-influence and --yes: nothing else loses its path")
    seconds = None if time is None else parse_duration(time)
    with open_system(context, system) as opened:
        found = (opened.remove if yes else opened.plan_removal)(name, with_influence=with_influence)
        if not as_json:
            _print_removal(found, is_done=yes)
        for task in found.others if re_evolve else ():
            with watching(progress_console(as_json=as_json), task) as view:
                opened.evolve(task, agent=agent, seconds=seconds, observer=view, handle_interrupts=True)
    if as_json:
        print_json({**to_json(found), "is_done": yes, "re_evolved": list(found.others) if re_evolve else []})


def _print_removal(found: Removal, *, is_done: bool) -> None:
    out = console()
    verb = "was" if is_done else "would be"
    say(out, f"task {found.task} {verb} removed")
    for task, path in found.paths.items():
        say(out, f"  path {path} of {task} {verb} retired")
    for task, number in found.cycles:
        say(out, f"  cycle {number} of {task} {verb} ended")
    if not is_done:
        say(out, "nothing was changed; add --yes to do it", "bold")
    else:
        say(out, "`mu2net undo` brings it back for 14 days; `mu2net collect --now --yes` deletes it for good", "dim")
    if is_done and found.others:
        say(out, f"{plural(len(found.others), 'task')} without a path now: {', '.join(found.others)}", "yellow")


def undo(context: typer.Context, system: SystemOption = None, as_json: JsonOption = False) -> None:
    """Bring back what the last `mu2net remove` took away."""
    from mu2net.system.upkeep import to_json

    with open_system(context, system) as opened:
        found = opened.undo()
    if as_json:
        print_json(to_json(found))
        return
    out = console()
    say(out, f"task {found.task} is back")
    for task, path in found.paths.items():
        say(out, f"  path {path} of {task} is live again")
