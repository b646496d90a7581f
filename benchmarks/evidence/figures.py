"""The figures that are aimed at; one that cannot be computed from what was measured is left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from benchmarks.evidence.agents import LINEAR, is_baseline, is_expected
from benchmarks.evidence.comparison import Evidence, Table
from benchmarks.evidence.roots import Root
from benchmarks.evidence.statistics import Interval, difference
from benchmarks.results import Row

GAIN_AIM, GAIN_LEAST = 3.0, 2.39
"""Points above the best single-task baseline: what is aimed at, and what muNet's paper reports."""

_ADDED_AIM = 0.25
_HOURS_AIM = 3.0
_MARGIN = 0.01
"""How far below the linear probe counts as worse, as accuracy."""


@dataclass(frozen=True)
class _Kind:
    """A figure that every root has.

    Args:
        id: Its name, to which the root's is added.
        measure: Returns it for a table and its best evolving agent.
        is_low_worst: Whether the lowest over the roots is the worst.
        compares: What it compares the agent with.
    """

    id: str
    measure: Callable[[Evidence, Table, str], Row | None]
    is_low_worst: bool = False
    compares: Literal["", "baselines", "alone"] = ""


def all_figures(
    evidence: Evidence, roots: Iterable[str], agents: Mapping[str, Sequence[str]] | None = None
) -> list[Row]:
    """Return the figures of every root, and of the worst root where all roots have them.

    All are of the evolving agent that is best over all roots, so that no root gets an agent of its own. A figure of
    which something is missing, or that compares what several states of the code measured, is not judged; see
    ``is_judged``.

    Args:
        evidence: What was measured.
        roots: Roots that must be there for a figure over all roots, besides those that are.
        agents: By root, agents that must have learned all tasks, besides those that learned any.
    """
    rows: list[Row] = []
    agent = best_evolving(evidence)
    if agent is None:
        return rows
    names = sorted({*roots, *evidence.tables})
    for kind in _KINDS:
        found = {}
        for root, table in evidence.tables.items():
            row = kind.measure(evidence, table, agent) if table.is_complete(agent) else None
            if row is not None:
                detail: dict[str, Any] = {**row.detail, "agent": agent, "root": root}
                if reason := _obstacle(evidence, table, agent, kind.compares, (agents or {}).get(root, ())):
                    row, detail = replace(row, is_met=None), {**detail, "not_judged_because": reason}
                found[root] = replace(row, id=f"{kind.id}_{root}", detail=detail)
        rows += found.values()
        if found and set(found) == set(names):
            worst = (min if kind.is_low_worst else max)(found.values(), key=lambda row: row.value)
            over_all = replace(worst, id=kind.id, title=f"{worst.title}: the worst root, {worst.detail['root']}")
            rows.append(_unjudged_with(over_all, found))
    return rows


def _unjudged_with(over_all: Row, found: Mapping[str, Row]) -> Row:
    """Return a figure over all roots, not judged where one of them is not.

    Args:
        over_all: The figure.
        found: The figure of every root.
    """
    open_roots = {root: row.detail["not_judged_because"] for root, row in found.items() if not is_judged(row)}
    if not open_roots:
        return over_all
    reasons = "; ".join(f"{root}: {reason}" for root, reason in open_roots.items())
    return replace(over_all, is_met=None, detail={**over_all.detail, "not_judged_because": reasons})


def best_evolving(evidence: Evidence) -> str | None:
    """Return the evolving agent with the highest average over roots, among those that are complete on most roots."""
    complete: dict[str, list[float]] = {}
    for table in evidence.tables.values():
        for agent in table.agents:
            outcomes = None if is_baseline(agent) else table.outcomes(agent)
            if outcomes is not None:
                complete.setdefault(agent, []).append(outcomes.average)
    return max(
        complete, key=lambda agent: (len(complete[agent]), sum(complete[agent]) / len(complete[agent])), default=None
    )


def hours(evidence: Evidence, roots: Sequence[Root], agents: Sequence[str], seed: int) -> Row | None:
    """Return the wall-clock hours of a whole table for one seed, ``None`` where a part of it is missing.

    It may have been run in parts, so it is the sum over all runs, each divided by the runs that shared the machine.

    Args:
        evidence: What was measured.
        roots: Roots of the table.
        agents: Agents of the table; those that need a vision transformer are not expected elsewhere.
        seed: The seed.
    """
    total, tasks = 0.0, {task for table in evidence.tables.values() for task in table.tasks}
    for root in roots:
        for agent in agents:
            if not is_expected(agent, root):
                continue
            table = evidence.tables.get(root.name)
            learned = table.cells.get((agent, seed), {}) if table else {}
            if not tasks or set(learned) != tasks:
                return None
            total += sum((one.wall_seconds + (one.add_seconds or 0.0)) / one.jobs for one in learned.values())
    title = (
        f"wall-clock hours of the whole table: {len(roots)} roots, {len(agents)} agents, {len(tasks)} tasks, one seed"
    )
    return _row("hours", title, total / 3600, f"≤ {_HOURS_AIM:g}", total / 3600 <= _HOURS_AIM)


def _obstacle(evidence: Evidence, table: Table, agent: str, compares: str, agents: Sequence[str]) -> str:
    """Return what is missing before a figure says what it is meant to; nothing where it does.

    Args:
        evidence: What was measured.
        table: The table of the figure's root.
        agent: The agent that the figure is about.
        compares: What it is compared with.
        agents: Agents that must have learned all tasks.
    """
    everything = {task for other in evidence.tables.values() for task in other.tasks}
    if len(table.tasks) < len(everything):
        return f"{len(table.tasks)} of {len(everything)} tasks"
    results = table.results(agent)
    if compares == "baselines":
        needed = sorted({name for name in (*agents, *table.agents) if is_baseline(name)})
        missing = [name for name in needed if not table.is_complete(name)]
        if missing:
            return f"not all tasks were learned by {', '.join(missing)}"
        results = [*results, *(result for name in needed for result in table.results(name))]
    elif compares == "alone":
        results = [*results, *evidence.alone[table.root].results(agent)]
    states = len({result.code for result in results})
    return f"measured by {states} states of the code" if compares and states > 1 else ""


def is_judged(row: Row) -> bool:
    """Return whether nothing is missing of a figure, and all of it was measured by the same code."""
    return "not_judged_because" not in row.detail


def verdict(row: Row) -> str:
    """Return in words whether an aim was met."""
    if not is_judged(row):
        return f"no verdict: {row.detail['not_judged_because']}"
    if row.is_met is None:
        return ""
    if row.is_met:
        return "met"
    return f"MISSED, but at least {GAIN_LEAST:+}" if row.detail.get("is_at_least") else "MISSED"


def _row(name: str, title: str, value: float, target: str | None, is_met: bool | None, **detail: Any) -> Row:
    return Row(name, title, value, value, value, target, is_met, detail)


def _gain(_: Evidence, table: Table, agent: str) -> Row | None:
    """Return the points by which the agent is above the best baseline."""
    baseline = table.best_baseline()
    found = _difference(table, agent, table, baseline) if baseline else None
    if found is None:
        return None
    return Row(
        "gain",
        f"points of {agent} above {baseline}, the best single-task baseline",
        found.value,
        found.low,
        found.high,
        f"≥ {GAIN_AIM:+.1f}, at least {GAIN_LEAST:+}",
        found.value >= GAIN_AIM,
        {"baseline": baseline, "is_at_least": found.value >= GAIN_LEAST},
    )


def _added(_: Evidence, table: Table, agent: str) -> Row | None:
    share = table.added_share(agent)
    if share is None:
        return None
    title = f"parameters that {agent} adds per task, over the root's"
    return _row("added_parameters", title, share, f"≤ {_ADDED_AIM:g}", share <= _ADDED_AIM)


def _worse_than_linear(_: Evidence, table: Table, agent: str) -> Row | None:
    linear = table.best(LINEAR)
    if linear is None:
        return None
    worse = []
    for task in table.tasks:
        ours, theirs = table.accuracy(agent, task), table.accuracy(linear, task)
        if ours is not None and theirs is not None and theirs.value - ours.value > _MARGIN:
            worse.append(task)
    title = f"tasks on which {agent} is more than a point below {linear}"
    return _row("worse_than_linear", title, len(worse), "0", not worse, linear=linear, tasks=worse)


def _changed(evidence: Evidence, table: Table, agent: str) -> Row | None:
    """Return the number of changed logits; ``None`` where a system was not verified, or not in full."""
    checks = [evidence.checks.get(table.system(agent, seed)) for seed in table.seeds(agent)]
    found = [check for check in checks if check is not None and check.is_conclusive]
    if len(found) < len(checks):
        return None
    changed, compared = sum(one.changed_logits for one in found), sum(one.num_logits for one in found)
    title = f"probe logits of {compared:,} that changed after the last task ({agent})"
    return _row("changed_logits", title, changed, "0", not changed, compared=compared)


def _transfer(evidence: Evidence, table: Table, agent: str) -> Row | None:
    alone = evidence.alone.get(table.root)
    if alone is None or alone.tasks != table.tasks:
        return None
    found = _difference(table, agent, alone, agent)
    if found is None:
        return None
    title = f"points of {agent} after other tasks above {agent} alone"
    return Row("transfer", title, found.value, found.low, found.high)


def _difference(ours: Table, agent: str, theirs: Table, other: str) -> Interval | None:
    """Return the difference of two averages in points over the seeds of both, ``None`` where there is none."""
    seeds = sorted(set(ours.seeds(agent)) & set(theirs.seeds(other)))
    first, second = ours.outcomes(agent, seeds), theirs.outcomes(other, seeds)
    if first is None or second is None:
        return None
    found = difference(first, second)
    return Interval(100 * found.value, 100 * found.low, 100 * found.high)


_KINDS = (
    _Kind("gain", _gain, is_low_worst=True, compares="baselines"),
    _Kind("added_parameters", _added),
    _Kind("worse_than_linear", _worse_than_linear, compares="baselines"),
    _Kind("changed_logits", _changed),
    _Kind("transfer", _transfer, is_low_worst=True, compares="alone"),
)
