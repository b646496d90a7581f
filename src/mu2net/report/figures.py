"""Static figures of a report (extra ``report``): PNG and SVG files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from mu2net.errors import ConfigError
from mu2net.report.data import ChildFacts, Report, RivalFacts, SearchFacts
from mu2net.report.palette import COLOURS, ROOT_COLOUR, OwnerFacts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MARKERS = {"circle": "o", "square": "s", "diamond": "D", "triangle": "^", "hexagon": "H", "cross": "P"}
"""Matplotlib's names of the shapes."""

Cost = Literal["accounted_params", "flops"]

COSTS: Mapping[Cost, str] = {"accounted_params": "accounted parameters", "flops": "FLOPs of a prediction"}

Draw = Callable[["Axes", Report], None]


def styles(report: Report) -> dict[str, OwnerFacts]:
    """Return how every task, and the root, is told apart: as in the page."""
    return {owner.name: owner for owner in report.owners}


def live_after(report: Report, step: int) -> dict[str, tuple[int, ...]]:
    """Return the components of every task's live path after some publications.

    Args:
        report: The report.
        step: How many publications.
    """
    live = {one.task: one.components for one in report.growth[:step]}
    if step < len(report.growth):
        return live
    return {task.name: task.components for task in report.tasks if task.path is not None}


def places(report: Report) -> list[tuple[int, int]]:
    """Return column and row of every component; rows are slots, and versions come from left to right.

    The replay's components come last, to the right of all others.
    """
    rows, columns, found = {slot: row for row, slot in enumerate(report.slots)}, dict[str, int](), []
    for component in report.components:
        column = columns.get(component.slot, 0)
        columns[component.slot] = column + 1
        found.append((column, rows[component.slot]))
    first, further = max(columns.values(), default=0) + 1, dict[str, int]()
    for component in report.replay.components if report.replay else ():
        column = further.get(component.slot, first)
        further[component.slot] = column + 1
        found.append((column, rows[component.slot]))
    return found


def draw_network(axes: Axes, report: Report, step: int | None = None, generation: int | None = None) -> None:
    """Draw the network: slots as rows, versions as marks, paths as lines.

    Args:
        axes: Where to draw.
        report: The report.
        step: After how many publications; after all by default.
        generation: Over it, the children of the last search up to this generation, counted from 1; none by default.
    """
    live = live_after(report, len(report.growth) if step is None else step)
    at, look = places(report), styles(report)
    grown = report.growth if step is None else report.growth[:step]
    scores = {one.task: one.test if one.test is not None else one.validation for one in grown}
    for number, (task, components) in enumerate(live.items()):
        shift = min(0.05, 0.2 / max(len(live), 1)) * (number - (len(live) - 1) / 2)  # within its marks
        _draw_path(axes, report, task, [(at[index][0] + shift, at[index][1]) for index in components])
        x, y = at[components[-1]]
        label = f"{task} {100 * scores.get(task, 0.0):.1f} %"
        below = {"rotation": -40, "rotation_mode": "anchor", "verticalalignment": "top", "fontsize": 7}
        axes.annotate(label, (x + shift, y + 0.35), **below)  # type: ignore[arg-type]
    if generation is not None:
        _draw_rivals(axes, report, generation)
    for index in sorted({*report.root, *(index for components in live.values() for index in components)}):
        component, (x, y) = report.components[index], at[index]
        _mark(axes, look[component.trained_by], x, y, alpha=0.45 if component.is_private else 1.0)
    axes.set_yticks(range(len(report.slots)), report.slots, fontsize=7)
    axes.set_xticks([])
    last = max((x for x, _ in at[: len(report.components) if generation is None else None]), default=0)
    axes.set_xlim(-0.7, last + 2.5)
    axes.set_ylim(len(report.slots) + 1.2, -0.7)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _draw_path(axes: Axes, report: Report, task: str, points: Sequence[tuple[float, float]]) -> None:
    is_private = any(one.is_private for one in report.tasks if one.name == task)
    style = {"linestyle": "--", "alpha": 0.45} if is_private else {"linestyle": "-", "alpha": 0.9}
    xs, ys = zip(*points, strict=True)
    axes.plot(xs, ys, color=styles(report)[task].colour, linewidth=1.3, zorder=1, **style)  # type: ignore[arg-type]


def _draw_rivals(axes: Axes, report: Report, generation: int) -> None:
    """Draw the children of the last search so far; the best that was kept is bold, what was not kept is dotted."""
    assert report.replay, "only a search whose children are known is replayed"
    at, owner = places(report), styles(report)[report.replay.task]
    rivals = [child for child in report.replay.children if child.generation < generation]
    best = best_so_far(report, generation)
    for child in rivals:
        xs, ys = zip(*(at[index] for index in child.components), strict=True)
        style = "-" if child.is_kept else ":"
        axes.plot(xs, ys, color=owner.colour, linestyle=style, linewidth=2.5 if child is best else 0.8, zorder=1)
        for index in child.components:
            if index >= len(report.components):
                _mark(axes, owner, *at[index], size=22)


def best_so_far(report: Report, generation: int) -> RivalFacts | None:
    """Return the best of the last search after some generations; ``None`` where what was live before is better.

    The score decides, and of equal ones the newest.

    Args:
        report: A report with a replay.
        generation: How many generations.
    """
    assert report.replay, "only a search whose children are known is replayed"
    before = -1.0 if report.replay.before is None else report.replay.before
    found = None
    for child in report.replay.children:
        if child.generation < generation and child.is_kept and child.score >= (found.score if found else before):
            found = child
    return found


def _mark(axes: Axes, owner: OwnerFacts, x: float, y: float, *, alpha: float = 1.0, size: int = 55) -> None:
    look = {"color": owner.colour, "marker": MARKERS[owner.shape], "edgecolors": "white"}
    axes.scatter([x], [y], s=size, alpha=alpha, zorder=2, **look)  # type: ignore[arg-type]


def draw_sharing(axes: Axes, report: Report) -> None:
    """Draw the share of every path (rows) that every task trained (columns)."""
    params = np.array(report.sharing.params, float).reshape(len(report.sharing.users), len(report.sharing.owners))
    shares = params / np.maximum(params.sum(axis=1, keepdims=True), 1.0)
    image = axes.imshow(shares, cmap="cividis", vmin=0.0, vmax=1.0, aspect="auto")
    for row, column in np.argwhere(shares > 0):
        share = shares[row, column]
        ink = "white" if share < 0.5 else "black"
        axes.text(column, row, f"{100 * share:.0f}", color=ink, fontsize=6, ha="center", va="center")
    axes.set_xticks(range(len(report.sharing.owners)), report.sharing.owners, rotation=90, fontsize=7)
    axes.set_yticks(range(len(report.sharing.users)), report.sharing.users, fontsize=7)
    axes.set_title("share of a row's path that the column's task trained, in %", fontsize=9)
    figure = axes.get_figure()
    assert figure is not None
    figure.colorbar(image, ax=axes, format=lambda value, _: f"{100 * value:.0f} %")


def draw_growth(axes: Axes, report: Report) -> None:
    """Draw parameters in all against publications."""
    totals = [report.system.root_params, *(step.total_params for step in report.growth)]
    _draw_curve(axes, range(len(totals)), totals, "publications", "parameters of the root and all live paths")


def draw_disk(axes: Axes, report: Report) -> None:
    """Draw the size of components on disk against the number of tasks."""
    sizes = [step.total_bytes / 1e6 for step in report.growth]
    _draw_curve(axes, [step.live_tasks for step in report.growth], sizes, "tasks", "MB of the root and all live paths")


def draw_time(axes: Axes, report: Report) -> None:
    """Draw the time that was spent against the number of tasks."""
    _draw_curve(axes, [step.live_tasks for step in report.growth], spent_seconds(report), "tasks", "seconds spent")


def spent_seconds(report: Report) -> list[float]:
    """Return the time that was spent up to every publication, in seconds."""
    spent, found = dict[str, float](), []
    for step in report.growth:
        spent[step.task] = step.seconds
        found.append(sum(spent.values()))
    return found


def _draw_curve(axes: Axes, xs: Sequence[float], ys: Sequence[float], x_title: str, y_title: str) -> None:
    axes.plot(xs, ys, marker="o", color=COLOURS[0])
    axes.set_ylim(bottom=0)
    axes.set_xlabel(x_title)
    axes.set_ylabel(y_title)
    axes.locator_params(axis="x", integer=True)


def draw_front(axes: Axes, report: Report, cost: Cost = "accounted_params") -> None:
    """Draw test accuracy against a cost, with 95 % intervals, and the Pareto front.

    Args:
        axes: Where to draw.
        report: The report.
        cost: Accounted parameters, or FLOPs of a prediction.
    """
    look = styles(report)
    for task in report.tasks:
        if task.test is not None:
            at, owner = float(getattr(task, cost)), look[task.name]
            error = [[task.test.value - task.test.low], [task.test.high - task.test.value]]
            axes.errorbar(at, task.test.value, error, fmt=MARKERS[owner.shape], color=owner.colour)
            axes.annotate(task.name, (at, task.test.value), (6, 4), textcoords="offset points", fontsize=7)
    front = pareto_front({task.name: (getattr(task, cost), task.test.value) for task in report.tasks if task.test})
    axes.plot([x for x, _ in front], [y for _, y in front], color=ROOT_COLOUR, linewidth=1, zorder=0, linestyle="--")
    axes.margins(x=0.15)
    axes.set_xlabel(COSTS[cost])
    axes.set_ylabel("test accuracy")


def pareto_front(points: Mapping[str, tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points that no other one beats in both: less to pay, and more accuracy; the cheapest first.

    Args:
        points: Cost and accuracy by name.
    """
    front: list[tuple[float, float]] = []
    for cost, accuracy in sorted(points.values(), key=lambda point: (point[0], -point[1])):
        if not front or accuracy > front[-1][1]:
            front.append((cost, accuracy))
    return front


def draw_search(axes: Axes, search: SearchFacts) -> None:
    """Draw every child of a search: accuracy against time, lines from parents, the live path's lineage in bold.

    Colours go from the first generation (dark) to the last one (light), over all cycles.
    """
    known, best = {child.id: child for child in search.children}, set(search.lineage)
    for child in search.children:
        parent = known.get(child.parent)
        if parent is not None:
            is_best = child.id in best and parent.id in best
            style = {"color": "black", "linewidth": 2.0} if is_best else {"color": "#cccccc", "linewidth": 0.8}
            axes.plot([parent.end, child.end], [parent.quality, child.quality], zorder=1, **style)  # type: ignore[arg-type]
    order = {key: number for number, key in enumerate(dict.fromkeys(map(_generation, search.children)))}
    shades = [order[_generation(child)] for child in search.children]
    at = [child.end for child in search.children], [child.quality for child in search.children]
    marks = axes.scatter(*at, c=shades, cmap="cividis", edgecolors="#63636e", linewidths=0.5, zorder=2, s=30)
    figure = axes.get_figure()
    if figure is not None and len(order) > 1:
        figure.colorbar(marks, ax=axes, label="generation", ticks=range(len(order)) if len(order) <= 10 else None)
    axes.set_xlabel("time of all cycles, in seconds")
    axes.set_ylabel("validation accuracy")
    axes.set_title(search.task, fontsize=9)


def _generation(child: ChildFacts) -> tuple[int, int]:
    return child.cycle, child.generation


def write_figures(report: Report, folder: Path) -> list[Path]:
    """Write all figures as PNG and SVG; return the files.

    Args:
        report: What they show.
        folder: Where; it is made where it is missing.

    Raises:
        ConfigError: Matplotlib is not installed, or nothing was published yet.
    """
    if not report.growth:
        raise ConfigError("nothing was published yet, so there is nothing to draw; run: mu2net evolve NAME")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    drawn: dict[str, tuple[tuple[float, float], Draw]] = {
        "network": (network_size(report), draw_network),
        "sharing": (_matrix_size(report), draw_sharing),
        "growth-parameters": ((6.0, 4.0), draw_growth),
        "growth-disk": ((6.0, 4.0), draw_disk),
        "growth-time": ((6.0, 4.0), draw_time),
        "front-parameters": ((6.0, 4.0), draw_front),
        "front-flops": ((6.0, 4.0), partial(draw_front, cost="flops")),
    }
    for name, (size, draw) in drawn.items():
        written += _save(new_figure(size, lambda axes, draw=draw: draw(axes, report)), folder / name)  # type: ignore[misc]
    for search in report.searches:
        figure = new_figure((6.0, 4.0), lambda axes, search=search: draw_search(axes, search))  # type: ignore[misc]
        written += _save(figure, folder / f"search-{search.task}")
    return written


def network_size(report: Report, *, with_replay: bool = False) -> tuple[float, float]:
    """Return width and height of the network's figure, in inches.

    Args:
        report: What it shows.
        with_replay: Whether there must be room for the children of the last search.
    """
    columns = max((x for x, _ in places(report)[: None if with_replay else len(report.components)]), default=0) + 3
    return min(max(5.0, 0.32 * columns + 1.5), 40.0), 0.42 * len(report.slots) + 1.2


def _matrix_size(report: Report) -> tuple[float, float]:
    return min(4.0 + 0.3 * len(report.sharing.owners), 40.0), min(2.5 + 0.25 * len(report.sharing.users), 40.0)


def new_figure(size: tuple[float, float], draw: Callable[[Axes], None]) -> Figure:
    """Return a figure; no window system and no global state is used.

    Args:
        size: Width and height, in inches.
        draw: Draws on its axes.

    Raises:
        ConfigError: Matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ConfigError(f"figures need {error.name}; install it: pip install 'mu2net[report]'") from error
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure.add_subplot())
    return figure


def _save(figure: Figure, stem: Path) -> list[Path]:
    files = [stem.with_name(f"{stem.name}.{kind}") for kind in ("png", "svg")]
    for file in files:
        figure.savefig(file, dpi=150)
    return files
