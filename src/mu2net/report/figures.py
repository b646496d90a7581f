"""Static figures of a report (extra ``report``): PNG and SVG files, and a film of the growth."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mu2net.errors import ConfigError
from mu2net.report.data import Report, SearchFacts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c7a00", "#6a51a3")
"""Okabe and Ito's colours, which colour-blind people tell apart; the page uses the same."""

ROOT_COLOUR = "#8a8a94"
FRAME_SECONDS = 0.7
FILMS = (".gif", ".mp4")

Draw = Callable[["Axes", Report], None]


def colours(report: Report) -> dict[str, str]:
    """Return the colour of every task, and of the root."""
    found = {"root": ROOT_COLOUR}
    owners = [task.name for task in report.tasks]
    owners += sorted({component.trained_by for component in report.components} - {"root", *owners})
    for number, owner in enumerate(owners):
        if number < len(COLOURS):
            found[owner] = COLOURS[number]
            continue
        later = number - len(COLOURS)
        red, green, blue = colorsys.hls_to_rgb((later * 0.381966) % 1.0, (0.45, 0.32, 0.6)[later % 3], 0.55)
        found[owner] = f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"
    return found


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
    """Return column and row of every component; rows are slots, and versions come from left to right."""
    rows, columns, found = {slot: row for row, slot in enumerate(report.slots)}, dict[str, int](), []
    for component in report.components:
        column = columns.get(component.slot, 0)
        columns[component.slot] = column + 1
        found.append((column, rows[component.slot]))
    return found


def draw_network(axes: Axes, report: Report, step: int | None = None) -> None:
    """Draw the network: slots as rows, versions as marks, paths as lines.

    Args:
        axes: Where to draw.
        report: The report.
        step: After how many publications; after all by default.
    """
    live = live_after(report, len(report.growth) if step is None else step)
    at, palette = places(report), colours(report)
    private = {task.name for task in report.tasks if task.is_private}
    grown = report.growth if step is None else report.growth[:step]
    scores = {one.task: one.test if one.test is not None else one.validation for one in grown}
    for number, (task, components) in enumerate(live.items()):
        shift = min(0.05, 0.2 / max(len(live), 1)) * (number - (len(live) - 1) / 2)  # within its marks
        xs, ys = zip(*((at[index][0] + shift, at[index][1]) for index in components), strict=True)
        style = {"linestyle": "--", "alpha": 0.45} if task in private else {"linestyle": "-", "alpha": 0.9}
        axes.plot(xs, ys, color=palette[task], linewidth=1.3, zorder=1, **style)  # type: ignore[arg-type]
        axes.annotate(
            f"{task} {100 * scores.get(task, 0.0):.1f} %",
            (xs[-1], ys[-1] + 0.35),
            rotation=-40,
            rotation_mode="anchor",
            fontsize=7,
            verticalalignment="top",
        )
    shown = sorted({*report.root, *(index for components in live.values() for index in components)})
    for index in shown:
        component, (x, y) = report.components[index], at[index]
        alpha = 0.45 if component.is_private else 1.0
        axes.scatter([x], [y], s=55, color=palette[component.trained_by], alpha=alpha, zorder=2, edgecolors="white")
    axes.set_yticks(range(len(report.slots)), report.slots, fontsize=7)
    axes.set_xticks([])
    axes.set_xlim(-0.7, max((x for x, _ in at), default=0) + 2.5)
    axes.set_ylim(len(report.slots) + 1.2, -0.7)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def draw_sharing(axes: Axes, report: Report) -> None:
    """Draw the share of every path (rows) that every task trained (columns)."""
    params = np.array(report.sharing.params, float).reshape(len(report.sharing.users), len(report.sharing.owners))
    shares = params / np.maximum(params.sum(axis=1, keepdims=True), 1.0)
    axes.imshow(shares, cmap="cividis", vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_xticks(range(len(report.sharing.owners)), report.sharing.owners, rotation=90, fontsize=7)
    axes.set_yticks(range(len(report.sharing.users)), report.sharing.users, fontsize=7)
    axes.set_title("share of a row's path that the column's task trained", fontsize=9)


def draw_growth(axes: Axes, report: Report) -> None:
    """Draw parameters in all against publications."""
    totals = [report.system.root_params, *(step.total_params for step in report.growth)]
    axes.plot(range(len(totals)), totals, marker="o", color=COLOURS[0])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("publications")
    axes.set_ylabel("parameters of the root and all live paths")


def draw_front(axes: Axes, report: Report) -> None:
    """Draw test accuracy against accounted parameters, with 95 % intervals, and the Pareto front."""
    palette = colours(report)
    for task in report.tasks:
        if task.test is not None:
            error = [[task.test.value - task.test.low], [task.test.high - task.test.value]]
            axes.errorbar(task.accounted_params, task.test.value, error, fmt="o", color=palette[task.name])
            axes.annotate(task.name, (task.accounted_params, task.test.value), fontsize=7)
    front = pareto_front({task.name: (task.accounted_params, task.test.value) for task in report.tasks if task.test})
    axes.plot([x for x, _ in front], [y for _, y in front], color=ROOT_COLOUR, linewidth=1, zorder=0)
    axes.set_xlabel("accounted parameters")
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
    """Draw every child of a search: accuracy against time, lines from parents, the live path's lineage in bold."""
    known, best = {child.id: child for child in search.children}, set(search.lineage)
    for child in search.children:
        parent = known.get(child.parent)
        if parent is not None:
            is_best = child.id in best and parent.id in best
            style = {"color": "black", "linewidth": 2.0} if is_best else {"color": "#cccccc", "linewidth": 0.8}
            axes.plot([parent.end, child.end], [parent.quality, child.quality], zorder=1, **style)  # type: ignore[arg-type]
        axes.scatter([child.end], [child.quality], color=COLOURS[child.generation % len(COLOURS)], zorder=2, s=30)
    axes.set_xlabel("time of the cycle, in seconds")
    axes.set_ylabel("validation accuracy")
    axes.set_title(search.task, fontsize=9)


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
        "network": (_network_size(report), draw_network),
        "sharing": (_matrix_size(report), draw_sharing),
        "growth": ((6.0, 4.0), draw_growth),
        "front": ((6.0, 4.0), draw_front),
    }
    for name, (size, draw) in drawn.items():
        written += _save(_figure(size, lambda axes, draw=draw: draw(axes, report)), folder / name)  # type: ignore[misc]
    for search in report.searches:
        figure = _figure((6.0, 4.0), lambda axes, search=search: draw_search(axes, search))  # type: ignore[misc]
        written += _save(figure, folder / f"search-{search.task}")
    return written


def write_film(report: Report, file: Path) -> int:
    """Write the growth as a film, a frame for every publication; return how many frames.

    Args:
        report: What it shows.
        file: ``.gif``, or ``.mp4`` where ffmpeg is installed.

    Raises:
        ConfigError: Another kind of file, Matplotlib or ffmpeg is not installed, or nothing was published yet.
    """
    if file.suffix not in FILMS:
        raise ConfigError(f"--animation {file} is no film; expected a name that ends in {' or '.join(FILMS)}")
    if not report.growth:
        raise ConfigError("nothing was published yet, so there is nothing to draw; run: mu2net evolve NAME")
    frames = list(_frames(report))
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".gif":
        first, *others = frames
        first.save(file, save_all=True, append_images=others, duration=round(1000 * FRAME_SECONDS), loop=0)
    else:
        _write_mp4(frames, file)
    return len(frames)


def _frames(report: Report) -> Iterator[Image.Image]:
    size = _network_size(report)
    for step in range(len(report.growth) + 1):
        figure = _figure(size, lambda axes, step=step: draw_network(axes, report, step))  # type: ignore[misc]
        figure.axes[0].set_title(_caption(report, step), fontsize=9)
        figure.canvas.draw()
        pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]
        height, width = (2 * (side // 2) for side in pixels.shape[:2])  # film formats want even sides
        yield Image.fromarray(np.ascontiguousarray(pixels[:height, :width]))


def _caption(report: Report, step: int) -> str:
    if step == 0:
        return f"the root alone: {report.system.root_params:,} parameters"
    one = report.growth[step - 1]
    return f"{step} of {len(report.growth)}: {one.task}; {one.total_params:,} parameters in all"


def _write_mp4(frames: list[Image.Image], file: Path) -> None:
    from matplotlib.animation import FFMpegWriter
    from matplotlib.figure import Figure

    if not FFMpegWriter.isAvailable():
        raise ConfigError(f"--animation {file}: ffmpeg is not installed; install it, or name a .gif")
    width, height = frames[0].size
    figure = Figure(figsize=(width / 100, height / 100), dpi=100)
    shown = figure.add_axes((0, 0, 1, 1)).imshow(np.asarray(frames[0]))
    figure.axes[0].set_axis_off()
    writer = FFMpegWriter(fps=round(1 / FRAME_SECONDS) or 1)
    with writer.saving(figure, str(file), dpi=100):
        for frame in frames:
            shown.set_data(np.asarray(frame))
            writer.grab_frame()


def _network_size(report: Report) -> tuple[float, float]:
    columns = max((x for x, _ in places(report)), default=0) + 3
    return min(max(5.0, 0.32 * columns + 1.5), 40.0), 0.42 * len(report.slots) + 1.2


def _matrix_size(report: Report) -> tuple[float, float]:
    return min(3.0 + 0.3 * len(report.sharing.owners), 40.0), min(2.5 + 0.25 * len(report.sharing.users), 40.0)


def _figure(size: tuple[float, float], draw: Callable[[Axes], None]) -> Figure:
    """Return a figure; no window system and no global state is used."""
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
