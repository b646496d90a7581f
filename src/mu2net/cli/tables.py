"""Answers of a system as tables for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mu2net.cli.output import duration, percent, plain, plural, quantity

if TYPE_CHECKING:
    from mu2net.core.path import Mutation
    from mu2net.system.summary import (
        ChildSummary,
        EvaluationSummary,
        PathSummary,
        Prediction,
        ProbeSummary,
        TaskSummary,
    )

ROOT_STYLE, OWN_STYLE = "cyan", "bold green"
WIDE = 120
"""Columns from which on a table of children has room for their mutations."""

DONOR_STYLES = ("magenta", "yellow", "blue", "bright_red", "bright_cyan", "bright_magenta")


def _table(*columns: str, numbers: Iterable[str] = ()) -> Table:
    """Return an empty table; the columns named in ``numbers`` are right-aligned and never broken."""
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    right = set(numbers)
    for column in columns:
        if column in right:
            table.add_column(column, justify="right", no_wrap=True)
        else:
            table.add_column(column, overflow="fold")
    return table


def leaderboard(tasks: Sequence[TaskSummary]) -> RenderableType:
    """Return the leaderboard: accuracy, parameters, and what is reused from whom.

    Args:
        tasks: The tasks, in the order to list them.
    """
    numbers = ("classes", "val %", "test %", "added", "accounted", "FLOPs", "reused")
    table = _table("task", *numbers, "from", numbers=numbers)
    for task in tasks:
        is_evolved = task.path_id is not None
        table.add_row(
            plain(task.name, "bold") + Text(" private" if task.is_private else "", "dim"),
            str(len(task.classes)),
            percent(task.validation).removesuffix(" %"),
            percent(task.test).removesuffix(" %"),
            *(
                (
                    quantity(task.added_params),
                    quantity(task.accounted_params),
                    quantity(task.flops),
                    percent(task.reused, 0),
                    _donors(task.reused_from or {}),
                )
                if is_evolved
                else ("-", "-", "-", "-", "not evolved yet")
            ),
        )
    legend = (
        "added: parameters trained for the task; accounted: all its parameters, each divided by the tasks that use it; "
        "reused: share that comes from the root or other tasks"
    )
    return Group(table, plain(legend, "dim"))


def _donors(shares: Mapping[str, float]) -> Text:
    parts = [plain(donor) + Text(f" {100 * share:.0f}%") for donor, share in shares.items()]
    return Text(", ").join(parts) if parts else Text("-")


def chain(path: PathSummary) -> RenderableType:
    """Return the chain of a path: for every slot, whose component is there.

    Args:
        path: The path of a task.
    """
    styles = _owner_styles(path)
    table = _table("slot", "kind", "trained by", "parameters", "used by", "component", numbers=("parameters",))
    for slot in path.slots:
        style = styles[slot.trained_by]
        table.add_row(
            plain(slot.slot),
            plain(slot.kind, "dim"),
            plain(slot.trained_by, style),
            quantity(slot.num_params),
            plain(", ".join(slot.used_by)),
            plain(slot.digest[:12], "dim"),
        )
    owners = {slot.trained_by: 0 for slot in path.slots}
    for slot in path.slots:
        owners[slot.trained_by] += slot.num_params
    total = sum(owners.values()) or 1
    legend = Text(" · ").join(
        plain(f"{owner} {quantity(count)} ({percent(count / total, 0)})", styles[owner])
        for owner, count in owners.items()
    )
    head = (
        f"task {path.task}: path {path.id}, agent {path.agent}; "
        f"{percent(path.validation)} validation, {percent(path.test)} test"
    )
    lineage = " ← ".join((path.id, *path.lineage))
    hparams = ", ".join(f"{name}={_value(value)}" for name, value in path.hparams.items())
    facts = _facts({"lineage": lineage, "mutations": mutations_text(path.mutations), "hyperparameters": hparams})
    return Group(plain(head, "bold"), table, Text("parameters: ") + legend, facts)


def _owner_styles(path: PathSummary) -> dict[str, str]:
    donors = [slot.trained_by for slot in path.slots if slot.trained_by not in ("root", path.task)]
    distinct = list(dict.fromkeys(donors))
    styles = {donor: DONOR_STYLES[index % len(DONOR_STYLES)] for index, donor in enumerate(distinct)}
    return {**styles, "root": ROOT_STYLE, path.task: OWN_STYLE}


def _facts(facts: Mapping[str, str]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in facts.items():
        grid.add_row(name, plain(value or "none"))
    return grid


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def mutations_text(mutations: Sequence[Mutation]) -> str:
    """Return what was drawn for a child, without what the method forces; clones are listed together.

    Args:
        mutations: The mutations of one child.
    """
    drawn = [mutation for mutation in mutations if not mutation.is_forced]
    clones = [mutation.name.removeprefix("clone:") for mutation in drawn if mutation.name.startswith("clone:")]
    parts = [_mutation(mutation) for mutation in drawn if not mutation.name.startswith("clone:")]
    return ", ".join([*([f"clone {' '.join(clones)}"] if clones else []), *parts])


def _mutation(mutation: Mutation) -> str:
    kind, _, name = mutation.name.partition(":")
    if kind == "hp":
        return f"{name} {_value(mutation.before)}→{_value(mutation.after)}"
    return f"{kind} {name}"


def history_table(children: Sequence[ChildSummary], width: int) -> RenderableType:
    """Return every child of a task, the oldest first.

    Args:
        children: The children.
        width: Columns that there are; below ``WIDE`` the mutations get a table of their own.
    """
    numbers = ("quality", "trained", "examples", "time")
    has_agents = len({child.agent for child in children}) > 1
    is_wide = width >= WIDE
    columns = ["child", "parent", *(["agent"] if has_agents else []), *numbers, "kept"]
    facts = _table(*columns, *(["mutations"] if is_wide else []), numbers=numbers)
    for child in children:
        facts.add_row(
            _child(child),
            plain(child.parent_id),
            *([plain(child.agent)] if has_agents else []),
            percent(child.quality),
            quantity(child.num_trained),
            f"{child.examples:,}",
            duration(child.seconds),
            "yes" if child.is_kept else "no",
            *([plain(mutations_text(child.mutations), "dim")] if is_wide else []),
        )
    if is_wide:
        return facts
    drawn = _table("child", "mutations")
    for child in children:
        drawn.add_row(_child(child), plain(mutations_text(child.mutations), "dim"))
    return Group(facts, "", drawn)


def _child(child: ChildSummary) -> Text:
    return plain(child.id + (" ●" if child.is_live else ""), "bold" if child.is_live else "")


def prediction_table(predictions: Sequence[Prediction]) -> Table:
    """Return the predictions, one image and task per row; the task is named where there are several.

    Args:
        predictions: The predictions.
    """
    has_tasks = len({prediction.task for prediction in predictions}) > 1
    table = _table("image", *(["task"] if has_tasks else []), "label", "probability", "next", numbers=("probability",))
    for prediction in predictions:
        others = ", ".join(f"{label} {percent(share)}" for label, share in prediction.top[1:])
        table.add_row(
            plain(prediction.image),
            *([plain(prediction.task)] if has_tasks else []),
            plain(prediction.label, "bold"),
            percent(prediction.probability),
            plain(others, "dim"),
        )
    return table


def evaluation_table(summary: EvaluationSummary) -> RenderableType:
    """Return a measured accuracy, and the accuracy of every class, the worst first.

    Args:
        summary: The evaluation.
    """
    table = _table("class", "accuracy", numbers=("accuracy",))
    for name, accuracy in sorted(summary.per_class.items(), key=lambda item: item[1]):
        table.add_row(plain(name), percent(accuracy))
    recorded = "" if summary.recorded is None else f" (recorded at publication: {percent(summary.recorded)})"
    images = plural(summary.num_images, f"{summary.split} image")
    head = f"task {summary.task}: {percent(summary.accuracy)} of {images}{recorded}"
    return Group(plain(head, "bold"), table)


def probe_table(probes: Sequence[ProbeSummary]) -> Table:
    """Return how every path's probe compares with what was recorded at its publication.

    Args:
        probes: The probes.
    """
    columns = ["task", "path", "probe", "logits", "largest difference"]
    has_reasons = any(probe.reason for probe in probes)
    table = _table(*columns, *(["why"] if has_reasons else []), numbers=columns[-2:])
    for probe in probes:
        is_good = probe.check in ("bit-equal", "within 1e-5")
        table.add_row(
            plain(probe.task, "bold"),
            plain(probe.path_id),
            plain(probe.check, "green" if is_good else "bold red"),
            f"{probe.num_logits:,}",
            f"{probe.max_difference:.2g}",
            *([plain(probe.reason, "dim")] if has_reasons else []),
        )
    return table


def agent_table(agents: Mapping[str, str]) -> Table:
    """Return the agents with their descriptions.

    Args:
        agents: Descriptions by name.
    """
    table = _table("agent", "what it is")
    for name, description in agents.items():
        table.add_row(plain(name, "bold"), plain(description))
    return table
