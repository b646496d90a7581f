"""The evidence as rows of text, for a terminal and for a page; a cell between ``**`` stands out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.evidence.agents import is_baseline
from benchmarks.evidence.comparison import Evidence, Table
from benchmarks.evidence.figures import verdict
from benchmarks.evidence.records import Result
from benchmarks.evidence.statistics import Interval
from benchmarks.evidence.tasks import PART
from benchmarks.results import Row
from mu2net.cli.output import quantity

NONE = "-"
"""Stands where nothing was measured."""

ROOT_SOURCE = "root"
"""What results call the root among the tasks that a path's parameters come from."""


@dataclass(frozen=True)
class Sheet:
    """A table of text.

    Args:
        title: What it is about; empty where the page says it.
        head: Names of the columns.
        lines: The rows.
        totals: How many rows at the end sum up the others.
    """

    title: str
    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    totals: int = 0


def figures_sheet(rows: Sequence[Row]) -> Sheet:
    """Return the figures with what is aimed at."""
    head = ("figure", "value", "95 % interval", "aim", "", "what")
    return Sheet("figures", head, tuple(_figure(row) for row in rows))


def _figure(row: Row) -> tuple[str, ...]:
    between = f"{row.low:.3g} to {row.high:.3g}" if row.low != row.high else ""
    word = verdict(row)
    return row.id, f"**{row.value:.3g}**", between, row.target or "", word if row.is_met else _strong(word), row.title


def accuracy_sheet(table: Table) -> Sheet:
    """Return test accuracies in percent, task by task, with the averages below."""
    lines = []
    for task in table.tasks:
        found = [table.accuracy(agent, task) for agent in table.agents]
        lines.append((task, *_highlighted(found)))
    averages = _highlighted([table.average(agent) for agent in table.agents])
    shares = [table.added_share(agent) for agent in table.agents]
    seeds = [len(table.seeds(agent)) for agent in table.agents]
    totals = (
        ("average", *averages),
        ("added per task, % of the root", *(NONE if share is None else f"{100 * share:.3g}" for share in shares)),
        ("seeds", *(str(count) if count else "not all tasks yet" for count in seeds)),
    )
    return Sheet(table.root, ("test accuracy, %", *table.agents), (*lines, *totals), len(totals))


def _highlighted(found: Sequence[Interval | None]) -> list[str]:
    best = max((interval.value for interval in found if interval is not None), default=None)
    cells = []
    for interval in found:
        text = NONE if interval is None else f"{100 * interval.value:.1f} ±{100 * interval.half_width:.1f}"
        cells.append(_strong(text) if interval is not None and interval.value == best else text)
    return cells


def effort_sheet(table: Table) -> Sheet:
    """Return what every agent spent per task, and what its networks cost: means over tasks and seeds."""
    head = (
        "agent",
        "children",
        "training examples",
        "budget used, s (most)",
        "with publication, s",
        "parameters added",
        "parameters accounted",
        "FLOPs per prediction",
        "other programs, % (most)",
        "resumed",
    )
    return Sheet(table.root, head, tuple(_effort(agent, table.results(agent)) for agent in table.agents))


def _effort(agent: str, results: Sequence[Result]) -> tuple[str, ...]:
    accounted = [result.accounted_params for result in results if result.accounted_params is not None]
    loads = [result.foreign_load for result in results if result.foreign_load is not None]
    return (
        agent,
        f"{fmean(result.children for result in results):.1f}",
        f"{fmean(result.examples for result in results):,.0f}",
        f"{fmean(result.seconds for result in results):.0f} ({max(result.seconds for result in results):.0f})",
        f"{fmean(result.wall_seconds for result in results):.0f}",
        quantity(fmean(result.added_params for result in results)),
        quantity(fmean(accounted)) if accounted else NONE,
        quantity(fmean(result.flops for result in results)),
        f"{100 * fmean(loads):.1f} ({100 * max(loads):.0f})" if loads else NONE,
        str(sum(result.is_resumed for result in results)),
    )


def sources_sheets(evidence: Evidence) -> list[Sheet]:
    """Return, for every evolving agent, whose parameters every path holds, and what earlier tasks were worth to it."""
    sheets = []
    for root, table in evidence.tables.items():
        for agent in (agent for agent in table.agents if not is_baseline(agent)):
            alone = evidence.alone.get(root)
            lines = [
                _sources(result, alone.accuracy(agent, result.key.task) if alone else None)
                for result in sorted(table.results(agent), key=lambda result: (result.key.seed, result.key.position))
            ]
            sheets.append(Sheet(f"{root}, {agent}", _SOURCES_HEAD, tuple(lines)))
    return sheets


_SOURCES_HEAD = (
    "task",
    "seed",
    "from the root, %",
    "its own, %",
    "from earlier tasks, %",
    "which",
    "test accuracy, %",
    "in a system of its own, %",
)


def _sources(result: Result, alone: Interval | None) -> tuple[str, ...]:
    """Return the row of a path: shares of its parameters, the tasks that gave most first."""
    task, total = result.key.task, sum(result.sources.values())
    shares = {name: 100 * number / total for name, number in result.sources.items()}
    others = sorted(set(shares) - {task, ROOT_SOURCE}, key=lambda name: (-shares[name], name))
    return (
        task,
        str(result.key.seed),
        f"{shares.get(ROOT_SOURCE, 0.0):.1f}",
        f"{shares.get(task, 0.0):.1f}",
        f"{sum(shares[name] for name in others):.1f}",
        ", ".join(f"{name} {shares[name]:.1f}" for name in others),
        f"{100 * result.test:.1f}",
        NONE if alone is None else f"{100 * alone.value:.1f}",
    )


def forgetting_sheet(evidence: Evidence) -> Sheet:
    """Return what verifying every system after its last task said."""
    head = ("system", "tasks", "files hashed", "logits compared", "changed", "damaged files", "not confirmed")
    lines = tuple(
        (
            key.title,
            str(len(key.order)),
            str(check.num_components),
            f"{check.num_logits:,}",
            str(check.changed_logits) if not check.changed_logits else _strong(str(check.changed_logits)),
            str(len(check.damages)),
            ", ".join(check.unconfirmed),
        )
        for key, check in sorted(evidence.checks.items(), key=lambda item: item[0].title)
        if key.condition == evidence.condition
    )
    return Sheet("nothing forgotten", head, lines)


def scale_sheet(evidence: Evidence) -> Sheet:
    """Return average accuracy and added parameters by size penalty."""
    head = ("root", "agent", "s_size", "average test accuracy, %", "added per task, % of the root")
    lines = []
    for root, tables in evidence.scales.items():
        agents = sorted({agent for scale, table in tables.items() if scale != 1 for agent in table.agents})
        for agent in agents:
            for scale, table in sorted(tables.items(), reverse=True):
                found, share = table.average(agent), table.added_share(agent)
                if found is not None and share is not None:
                    accuracy = f"{100 * found.value:.1f} ±{100 * found.half_width:.1f}"
                    lines.append((root, agent, f"{scale:g}", accuracy, f"{100 * share:.3g}"))
    return Sheet("size penalties", head, tuple(lines))


def growth_sheet(evidence: Evidence) -> Sheet:
    """Return what a task costs among the first tasks and among their parts: means, and the size at the end."""
    head = (
        "root",
        "agent",
        "seed",
        "tasks",
        "parameters added",
        "seconds",
        "FLOPs per prediction",
        "size on disk at the end, MB",
    )
    lines = []
    for (root, agent, seed), results in evidence.growth.items():
        for name, is_part in (("all images", False), ("1,000 images", True)):
            chosen = [result for result in results if result.key.task.endswith(PART) == is_part]
            if chosen:
                lines.append((root, agent, str(seed), f"{len(chosen)}, {name}", *_growth(chosen)))
    return Sheet("growth", head, tuple(lines))


def _growth(results: Sequence[Result]) -> tuple[str, ...]:
    disk = results[-1].disk_bytes
    return (
        quantity(fmean(result.added_params for result in results)),
        f"{fmean(result.wall_seconds for result in results):.0f}",
        quantity(fmean(result.flops for result in results)),
        NONE if disk is None else f"{disk / 1e6:,.0f}",
    )


def failures_sheet(evidence: Evidence) -> Sheet:
    """Return what failed and was not repeated."""
    lines = tuple((failure.key.title, " ".join(failure.error.split()), failure.date) for failure in evidence.failures)
    return Sheet("failed", ("what", "error", "when"), lines)


def _strong(text: str) -> str:
    return f"**{text}**" if text else text
