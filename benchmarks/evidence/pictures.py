"""Pictures of the evidence: accuracies, accuracy against parameters and against time, and growth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.evidence.agents import for_display
from benchmarks.evidence.comparison import Evidence, Table
from benchmarks.evidence.records import Result
from benchmarks.evidence.statistics import Interval
from benchmarks.evidence.styles import style_of
from benchmarks.evidence.tasks import PART

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LANE = 0.085
"""Inches between two agents on a task."""

_LABEL_WIDTH, _LABEL_HEIGHT = 0.1, 0.045
"""Room of a label of a size penalty, as shares of the picture's width and height."""

_LEGEND_COLUMNS = 4
_LABEL = "average test accuracy, %"


@dataclass(frozen=True)
class Picture:
    """A picture.

    Args:
        title: What it shows.
        file: Its name.
        draw: Draws it; returns ``None`` where there is nothing to show.
    """

    title: str
    file: str
    draw: Callable[[Evidence], Figure | None]


def draw_all(evidence: Evidence, folder: Path) -> list[str]:
    """Draw every picture for which something was measured, and return their names.

    Args:
        evidence: What was measured.
        folder: Gets the PNG files.
    """
    drawn = []
    for name, picture in PICTURES.items():
        figure = picture.draw(evidence)
        if figure is not None:
            folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(folder / picture.file, dpi=120, metadata={"Software": None})
            drawn.append(name)
    return drawn


def draw_accuracy(evidence: Evidence) -> Figure | None:
    """Draw test accuracies with their intervals by task and agent, one panel per root, the average at the bottom."""
    tables = [table for table in evidence.tables.values() if table.agents]
    if not tables:
        return None
    tasks = sorted({task for table in tables for task in table.tasks})
    agents = for_display(agent for table in tables for agent in table.agents)
    row = max(0.3, _LANE * (len(agents) + 2.5))
    figure = _figure(5.2 * len(tables) + 1.4, row * (len(tasks) + 1) + 1.9)
    panels = figure.subplots(1, len(tables), squeeze=False, sharey=True)[0]
    for axes, table in zip(panels, tables, strict=True):
        for lane, agent in enumerate(agents):
            shift = (lane - (len(agents) - 1) / 2) * _LANE / row
            found = [table.accuracy(agent, task) for task in tasks] + [table.average(agent)]
            points = [(y + shift, interval) for y, interval in enumerate(found) if interval is not None]
            _points(axes, agent, points, is_upright=False)
        for y in range(0, len(tasks) + 1, 2):
            axes.axhspan(y - 0.5, y + 0.5, color="#f3f3f3", zorder=0)
        axes.axhline(len(tasks) - 0.5, color="black", linewidth=0.9)
        axes.set_yticks(range(len(tasks) + 1), [*tasks, "average"], fontsize=9)
        axes.set_ylim(len(tasks) + 0.5, -0.5)
        axes.set_xlabel("test accuracy, %", fontsize=9)
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        _finish(axes, table.root)
    _legend(figure, agents)
    return figure


def draw_parameters(evidence: Evidence) -> Figure | None:
    """Draw average accuracy against parameters added per task, with the size penalties as a curve, per root."""
    tables = [table for table in evidence.tables.values() if any(map(table.is_complete, table.agents))]
    if not tables:
        return None
    figure = _figure(5.2 * len(tables) + 0.6, 5.0)
    shown: set[str] = set()
    for axes, table in zip(figure.subplots(1, len(tables), squeeze=False)[0], tables, strict=True):
        for agent in table.agents:
            average, share = table.average(agent), table.added_share(agent)
            if average is not None and share is not None:
                _points(axes, agent, [(100 * share, average)])
                shown.add(agent)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.margins(x=0.12, y=0.1)
        scaled = _scaled(evidence, table.root)
        for agent in scaled:
            _scale_curve(axes, agent, evidence.scales[table.root])
        if scaled:
            _scale_labels(axes, scaled, evidence.scales[table.root])
        axes.set_xlabel("parameters added per task, % of the root (logarithmic)", fontsize=9)
        axes.set_ylabel(_LABEL, fontsize=9)
        axes.grid(color="#e4e4e4", linewidth=0.6)
        _finish(axes, table.root)
    _legend(figure, for_display(shown))
    return figure


def _scaled(evidence: Evidence, root: str) -> list[str]:
    """Return the agents that ran with a size penalty."""
    tables = evidence.scales.get(root, {})
    return for_display(agent for scale, table in tables.items() if scale != 1 for agent in table.agents)


def _scale_curve(axes: Axes, agent: str, tables: Mapping[float, Table]) -> None:
    """Draw the points of one agent by size penalty, joined."""
    points: list[tuple[float, float]] = []
    for scale, table in sorted(tables.items(), reverse=True):
        average, share = table.average(agent), table.added_share(agent)
        if average is not None and share is not None:
            points.append((100 * share, 100 * average.value))
            if scale != 1:
                _points(axes, agent, [(100 * share, average)], size=4)
    color = style_of(agent).color
    axes.plot([x for x, _ in points], [y for _, y in points], "--", color=color, linewidth=1.1, zorder=2)


def _scale_labels(axes: Axes, agents: Sequence[str], tables: Mapping[float, Table]) -> None:
    """Write the size penalties below all points, where nothing else is, in as many rows as they need."""
    points = []
    for agent in agents:
        for scale, table in tables.items():
            average, share = table.average(agent), table.added_share(agent)
            if average is not None and share is not None:
                points.append((100 * share, 100 * average.value, f"s={scale:g}", style_of(agent).color))
    low, high = (math.log10(end) for end in axes.get_xlim())
    ends: list[float] = []
    rows = []
    for x, *_ in sorted(points):
        place = (math.log10(x) - low) / (high - low)
        row = next((row for row, end in enumerate(ends) if place > end), len(ends))
        ends[row : row + 1] = [place + _LABEL_WIDTH]
        rows.append((place, row))
    bottom, top = axes.get_ylim()
    axes.set_ylim(bottom - (top - bottom) * 0.06 * len(ends), top)
    for (x, y, text, color), (place, row) in zip(sorted(points), rows, strict=True):
        axes.annotate(
            text,
            (x, y),
            (place, 0.02 + _LABEL_HEIGHT * row),
            textcoords="axes fraction",
            fontsize=7.5,
            color=color,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.5, "linestyle": ":", "relpos": (0, 0.5)},
        )


def draw_time(evidence: Evidence) -> Figure | None:
    """Draw average accuracy against the time per task, one panel per root; nothing where only one time was measured."""
    roots: dict[str, list[tuple[float, Table]]] = {}
    for seconds, tables in evidence.times.items():
        for root, table in tables.items():
            roots.setdefault(root, []).append((seconds, table))
    roots = {root: found for root, found in roots.items() if len(found) > 1}
    if not roots:
        return None
    figure = _figure(5.2 * len(roots) + 0.6, 4.6)
    agents = for_display(agent for found in roots.values() for agent in _measured_often(found))
    for axes, (root, found) in zip(figure.subplots(1, len(roots), squeeze=False)[0], roots.items(), strict=True):
        for lane, agent in enumerate(agents):
            apart = 1 + 0.012 * (lane - (len(agents) - 1) / 2)
            averages = [(seconds * apart, table.average(agent)) for seconds, table in found]
            points = [(seconds, average) for seconds, average in averages if average is not None]
            _points(axes, agent, points, is_joined=True)
        ticks = sorted({seconds for seconds, _ in found})
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{seconds:g}" for seconds in ticks], minor=False)
        axes.set_xticks([], minor=True)
        axes.set_xlabel("seconds per task (logarithmic; agents are moved apart a little)", fontsize=9)
        axes.set_ylabel(_LABEL, fontsize=9)
        axes.grid(color="#e4e4e4", linewidth=0.6)
        _finish(axes, root)
    _legend(figure, agents)
    return figure


def _measured_often(found: Iterable[tuple[float, Table]]) -> list[str]:
    """Return the agents that learned all tasks in more than one time."""
    complete = [agent for _, table in found for agent in table.agents if table.is_complete(agent)]
    return [agent for agent in dict.fromkeys(complete) if complete.count(agent) > 1]


_GROWTH: tuple[tuple[str, Callable[[Result], float | None]], ...] = (
    ("parameters added, million", lambda result: result.added_params / 1e6),
    ("seconds until published", lambda result: result.wall_seconds),
    ("FLOPs per prediction, million", lambda result: result.flops / 1e6),
    ("size of the system on disk, MB", lambda result: None if result.disk_bytes is None else result.disk_bytes / 1e6),
)


def draw_growth(evidence: Evidence) -> Figure | None:
    """Draw what each further task costs, and how large the system is after it."""
    if not evidence.growth:
        return None
    figure = _figure(10.4, 6.4)
    roots = sorted({root for root, _, _ in evidence.growth})
    lines = dict(zip(roots, ("-", "--", ":", "-.") * len(roots), strict=False))
    for axes, (label, measure) in zip(figure.subplots(2, 2).flat, _GROWTH, strict=True):
        for (root, agent, seed), results in evidence.growth.items():
            found = [(result.key.position + 1, measure(result)) for result in results]
            style = style_of(agent)
            axes.plot(
                [x for x, y in found if y is not None],
                [y for _, y in found if y is not None],
                lines[root],
                color=style.color,
                marker=style.marker,
                markersize=3.5,
                linewidth=1.2,
                label=f"{agent} on {root}" + (f", seed {seed}" if seed else ""),
            )
        parts = [result.key.position for found in evidence.growth.values() for result in found if _is_part(result)]
        if parts:
            axes.axvspan(min(parts) + 0.5, max(parts) + 1.5, color="#eeeeee", zorder=0, label="1,000 images per task")
        axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("tasks in the system", fontsize=9)
        axes.grid(color="#e4e4e4", linewidth=0.6)
        _finish(axes, label)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=_LEGEND_COLUMNS, fontsize=9, frameon=False)
    return figure


def _is_part(result: Result) -> bool:
    return result.key.task.endswith(PART)


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _points(
    axes: Axes,
    agent: str,
    points: Sequence[tuple[float, Interval]],
    *,
    is_upright: bool = True,
    is_joined: bool = False,
    size: float = 6,
) -> None:
    """Draw accuracies of an agent in percent with their intervals, upwards or sideways."""
    places = [place for place, _ in points]
    values = [100 * interval.value for _, interval in points]
    errors = [
        [100 * max(interval.value - interval.low, 0) for _, interval in points],
        [100 * max(interval.high - interval.value, 0) for _, interval in points],
    ]
    style = style_of(agent)
    axes.errorbar(
        places if is_upright else values,
        values if is_upright else places,
        yerr=errors if is_upright else None,
        xerr=None if is_upright else errors,
        fmt=style.marker,
        linestyle="-" if is_joined else "none",
        color=style.color,
        markerfacecolor=style.color if style.is_filled else "white",
        markersize=size if is_upright else 4.5,
        elinewidth=1.1,
        linewidth=1.1,
        zorder=3,
    )


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8.5)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, agents: Iterable[str]) -> None:
    from matplotlib.lines import Line2D

    handles = []
    for agent in agents:
        style = style_of(agent)
        face = style.color if style.is_filled else "white"
        handles.append(
            Line2D([], [], color=style.color, marker=style.marker, markerfacecolor=face, linestyle="none", label=agent)
        )
    figure.legend(handles=handles, loc="outside lower center", ncols=_LEGEND_COLUMNS, fontsize=9, frameon=False)


PICTURES = {
    "accuracy": Picture("Test accuracy by task and agent", "benchmark_accuracy.png", draw_accuracy),
    "parameters": Picture(
        "Average accuracy against parameters added per task", "benchmark_parameters.png", draw_parameters
    ),
    "time": Picture("Average accuracy against time per task", "benchmark_time.png", draw_time),
    "growth": Picture("What each further task costs", "benchmark_growth.png", draw_growth),
}
"""The pictures by name."""
