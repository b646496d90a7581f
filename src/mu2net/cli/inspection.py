"""Commands that look at a system: ``tasks``, ``show``, ``history`` and ``agents``."""

from __future__ import annotations

from typing import Annotated

import typer

from mu2net.cli.options import JsonOption, SystemOption
from mu2net.cli.output import console, plural, print_json, say
from mu2net.cli.session import open_system
from mu2net.cli.tables import agent_table, chain, history_table, leaderboard

TaskArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the task.")]


def tasks(context: typer.Context, system: SystemOption = None, as_json: JsonOption = False) -> None:
    """List all tasks: accuracy, parameters, and what each reuses from others."""
    with open_system(context, system) as opened:
        summaries = opened.tasks()
    if as_json:
        print_json([summary.to_dict() for summary in summaries])
    elif summaries:
        console().print(leaderboard(summaries))
    else:
        say(console(), "The system has no task yet; add one: mu2net add NAME SOURCE")


def show(context: typer.Context, name: TaskArgument, system: SystemOption = None, as_json: JsonOption = False) -> None:
    """Show the path of a task: for every slot, whose component is there."""
    with open_system(context, system) as opened:
        path = opened.path(name)
    if as_json:
        print_json(path.to_dict())
    else:
        console().print(chain(path))


def history(
    context: typer.Context, name: TaskArgument, system: SystemOption = None, as_json: JsonOption = False
) -> None:
    """List every child that was sampled for a task, with what was mutated."""
    with open_system(context, system) as opened:
        children = opened.history(name)
    if as_json:
        print_json([child.to_dict() for child in children])
    elif children:
        out = console()
        out.print(history_table(children, out.width))
        kept = sum(child.is_kept for child in children)
        agents = ", ".join(dict.fromkeys(child.agent for child in children))
        say(out, f"{plural(len(children), 'child')} of agent {agents}, {kept} kept; ● is the live path", "dim")
    else:
        say(console(), f"Task {name} has no child yet; evolve it: mu2net evolve {name}")


def agents(as_json: JsonOption = False) -> None:
    """List the agents: the policies that can extend a system."""
    from mu2net.core.agents import AGENTS

    if as_json:
        print_json([{"name": name, "description": description} for name, description in AGENTS.items()])
    else:
        console().print(agent_table(AGENTS))
