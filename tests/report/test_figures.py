"""What is drawn, not how it looks: the data behind each figure."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from matplotlib.animation import FFMpegWriter
from matplotlib.figure import Figure
from PIL import Image

from mu2net.errors import ConfigError
from mu2net.report import figures
from mu2net.report.figures import (
    draw_disk,
    draw_front,
    draw_growth,
    draw_network,
    draw_search,
    draw_sharing,
    draw_time,
    live_after,
    pareto_front,
    places,
    spent_seconds,
    styles,
    write_figures,
)
from mu2net.report.film import caption, scenes, write_film
from mu2net.report.gather import gather
from tests.report.grow import grow

GROWTH = ("growth-parameters", "growth-disk", "growth-time")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return gather(grow(tmp_path_factory.mktemp("grown") / "system", 4, private=1))


@pytest.fixture
def axes():
    return Figure().add_subplot()


def test_versions_of_a_slot_lie_in_its_row(report):
    at = places(report)
    everything = [*report.components, *report.replay.components]
    assert len(set(at)) == len(everything) > len(report.components)
    for (_, row), component in zip(at, everything, strict=True):
        assert report.slots[row] == component.slot


def test_the_network_has_a_line_for_every_live_path(report, axes):
    draw_network(axes, report)
    at = places(report)
    lines = axes.get_lines()
    assert [list(line.get_ydata()) for line in lines] == [
        [at[index][1] for index in task.components] for task in report.tasks
    ]
    for line, task in zip(lines, report.tasks, strict=True):
        assert np.abs(line.get_xdata() - np.array([at[index][0] for index in task.components])).max() <= 0.1
    assert [line.get_linestyle() for line in lines] == ["--", "-", "-", "-"], "a private one is dashed"
    assert [line.get_color() for line in lines] == [styles(report)[task.name].colour for task in report.tasks]
    marks = {tuple(map(int, mark.get_offsets()[0])) for mark in axes.collections}
    used = {*report.root, *(index for task in report.tasks for index in task.components)}
    assert marks == {at[index] for index in used}
    assert [text.get_text() for text in axes.texts] == [f"{t.name} {100 * t.test.value:.1f} %" for t in report.tasks]


def test_growth_is_replayed(report, axes):
    assert [len(live_after(report, step)) for step in range(5)] == [0, 1, 2, 3, 4]
    draw_network(axes, report, 1)
    assert len(axes.get_lines()) == 1
    axes.clear()
    draw_network(axes, report, 0)
    assert axes.get_lines() == []
    assert len(axes.collections) == len(report.root)


def test_the_other_figures_show_the_numbers_of_the_report(report):
    axes = Figure().add_subplot()
    draw_growth(axes, report)
    (line,) = axes.get_lines()
    assert list(line.get_ydata()) == [report.system.root_params, *(step.total_params for step in report.growth)]
    axes = Figure().add_subplot()
    draw_sharing(axes, report)
    shares = axes.images[0].get_array()
    written = [f"{100 * share:.0f}" for share in shares.flatten() if share]
    assert [text.get_text() for text in axes.texts] == written
    assert shares.sum(axis=1).tolist() == pytest.approx([1.0] * 4)
    assert shares[0, 0] == report.sharing.params[0][0] / sum(report.sharing.params[0])
    axes = Figure().add_subplot()
    draw_search(axes, report.searches[2])
    (marks,) = axes.collections
    assert marks.get_offsets().tolist() == [[child.end, child.quality] for child in report.searches[2].children]
    assert marks.get_array().tolist() == [child.generation for child in report.searches[2].children]
    axes = Figure().add_subplot()
    draw_disk(axes, report)
    assert list(axes.get_lines()[0].get_ydata()) == [step.total_bytes / 1e6 for step in report.growth]
    axes = Figure().add_subplot()
    draw_time(axes, report)
    assert list(axes.get_lines()[0].get_ydata()) == [10.0, 20.0, 30.0, 40.0] == spent_seconds(report)


@pytest.mark.parametrize("cost", ["accounted_params", "flops"])
def test_the_fronts_show_every_task_and_what_none_beats(report, axes, cost):
    draw_front(axes, report, cost)
    assert {text.get_text() for text in axes.texts} == {task.name for task in report.tasks}
    *points, front = axes.get_lines()
    at = [(float(point.get_xdata()[0]), float(point.get_ydata()[0])) for point in points if len(point.get_xdata()) == 1]
    expected = {task.name: (getattr(task, cost), task.test.value) for task in report.tasks}
    assert at == list(expected.values())
    assert list(zip(front.get_xdata(), front.get_ydata(), strict=True)) == pareto_front(expected)


def test_the_front_is_what_nothing_beats():
    points = {"a": (1.0, 0.5), "b": (2.0, 0.4), "c": (3.0, 0.9), "d": (1.0, 0.6), "e": (4.0, 0.9)}
    assert pareto_front(points) == [(1.0, 0.6), (3.0, 0.9)]
    assert pareto_front({}) == []


def test_figures_are_written_as_png_and_svg(report, tmp_path):
    files = write_figures(report, tmp_path / "new" / "figures")
    names = {file.stem for file in files}
    assert names == {
        "network",
        "sharing",
        *GROWTH,
        "front-parameters",
        "front-flops",
        *(f"search-task{number:03d}" for number in range(4)),
    }
    assert len(files) == 2 * len(names)
    for file in files:
        if file.suffix == ".png":
            with Image.open(file) as image:
                assert min(image.size) > 200
        else:
            assert "<svg" in file.read_text("utf-8")


def test_a_film_tells_the_growth_and_the_generations_of_the_last_search(report, tmp_path):
    """Four children in generations of two, before the publication that they led to."""
    told = scenes(report)
    assert told == [(0, None), (1, None), (2, None), (3, None), (3, 1), (3, 2), (4, None)]
    assert scenes(report.model_copy(update={"replay": None})) == [(step, None) for step in range(5)]
    assert caption(report, *told[0]) == "the root alone: 9,000 parameters"
    first, second = (max(report.replay.children[number].quality for number in range(upto)) for upto in (2, 4))
    assert (
        caption(report, *told[4]) == f"search for task003, generation 0: 2 children, the best has {100 * first:.1f} %"
    )
    assert (
        caption(report, *told[5]) == f"search for task003, generation 1: 4 children, the best has {100 * second:.1f} %"
    )
    assert caption(report, *told[6]).startswith("4 of 4: task003; ")
    assert write_film(report, tmp_path / "film" / "growth.gif") == 7
    with Image.open(tmp_path / "film" / "growth.gif") as film:
        assert film.n_frames == 7
        assert film.info["duration"] == 700
    with pytest.raises(ConfigError, match=r"growth.avi is no film; expected a name that ends in .gif or .mp4"):
        write_film(report, tmp_path / "growth.avi")


def test_a_generation_is_drawn_over_the_network_that_it_began_with(report, axes):
    draw_network(axes, report, 3, 1)
    assert len(axes.get_lines()) == 3 + 2
    drawn = {tuple(map(int, mark.get_offsets()[0])) for mark in axes.collections}
    further = {index for child in report.replay.children[:2] for index in child.components}
    assert drawn >= {places(report)[index] for index in further if index >= len(report.components)}


def test_an_mp4_needs_ffmpeg(report, tmp_path, monkeypatch):
    if shutil.which("ffmpeg"):
        assert write_film(report, tmp_path / "growth.mp4") == 7
        assert (tmp_path / "growth.mp4").stat().st_size > 1000
    monkeypatch.setattr(FFMpegWriter, "isAvailable", lambda: False)
    with pytest.raises(ConfigError, match=r"ffmpeg is not installed; install it, or name a .gif"):
        write_film(report, tmp_path / "growth.mp4")


def test_there_must_be_something_to_draw(report, tmp_path, monkeypatch):
    nothing = report.model_copy(update={"growth": ()})
    for write, place in ((write_figures, tmp_path), (write_film, tmp_path / "a.gif")):
        with pytest.raises(ConfigError, match="nothing was published yet"):
            write(nothing, place)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(
        ConfigError, match=r"figures need matplotlib.figure; install it: pip install 'mu2net\[report\]'"
    ):
        figures.new_figure((1.0, 1.0), lambda axes: None)
