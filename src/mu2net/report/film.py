"""The growth of a system as a film (extra ``report``)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mu2net.errors import ConfigError
from mu2net.report.data import Report
from mu2net.report.figures import best_so_far, draw_network, network_size, new_figure, places

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRAME_SECONDS = 0.7
FILMS = (".gif", ".mp4")


def write_film(report: Report, file: Path) -> int:
    """Write the growth as a film; return how many frames.

    A frame for every publication, and before the last one a frame for every generation of its search.

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


def scenes(report: Report) -> list[tuple[int, int | None]]:
    """Return what a film shows: publications so far, and the generation of the last search, where that is shown."""
    steps: list[tuple[int, int | None]] = [(step, None) for step in range(len(report.growth) + 1)]
    if report.replay is None:
        return steps
    generations = 1 + max(child.generation for child in report.replay.children)
    search: list[tuple[int, int | None]] = [(report.replay.step, number + 1) for number in range(generations)]
    return [*steps[: report.replay.step + 1], *search, *steps[report.replay.step + 1 :]]


def _frames(report: Report) -> Iterator[Image.Image]:
    size = network_size(report, with_replay=True)
    for step, generation in scenes(report):
        figure = new_figure(size, partial(_draw_scene, report=report, step=step, generation=generation))
        figure.canvas.draw()
        pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3]  # type: ignore[attr-defined]
        height, width = (2 * (side // 2) for side in pixels.shape[:2])  # film formats want even sides
        yield Image.fromarray(np.ascontiguousarray(pixels[:height, :width]))


def _draw_scene(axes: Axes, report: Report, step: int, generation: int | None) -> None:
    draw_network(axes, report, step, generation)
    axes.set_xlim(-0.7, max((x for x, _ in places(report)), default=0) + 2.5)  # nothing moves from frame to frame
    axes.set_title(caption(report, step, generation), fontsize=9)


def caption(report: Report, step: int, generation: int | None) -> str:
    """Return what a scene of the film says.

    Args:
        report: The report.
        step: Publications so far.
        generation: The generation of the last search that is shown, from 1.
    """
    if generation is not None and report.replay:
        rivals = [child for child in report.replay.children if child.generation < generation]
        best = best_so_far(report, generation)
        nothing = "none was kept" if report.replay.before is None else "the path of before is still the best"
        so_far = nothing if best is None else f"the best has {100 * best.quality:.1f} %"
        count = f"{len(rivals)} {'child' if len(rivals) == 1 else 'children'}"
        return f"search for {report.replay.task}, generation {generation - 1}: {count}, {so_far}"
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
