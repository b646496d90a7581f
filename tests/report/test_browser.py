"""The page in a real browser: Debian's Chromium, through Playwright."""

from __future__ import annotations

import csv
import io
import json
import shutil
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mu2net.report.data import Report
from mu2net.report.figures import pareto_front
from mu2net.report.gather import gather
from mu2net.report.page import render
from mu2net.report.palette import owner_facts
from mu2net.report.quality import describe
from mu2net.report.quality_facts import QualityFacts
from tests.report.grow import grow

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZES = (3, 20, 100)
PICTURES = Path(__file__).parent / "pictures"
TOLERANCE = 4.0


@pytest.fixture(scope="module")
def browser():
    """The browser; without one these tests are skipped, which is said loudly."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="NO BROWSER TESTS: pip install playwright")
    if CHROMIUM is None:
        warnings.warn("NO BROWSER TESTS: there is no chromium here", pytest.PytestWarning, stacklevel=1)
        pytest.skip("NO BROWSER TESTS: there is no chromium here; apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """Reports of systems of three sizes; of the largest, every task is a copy of one in twenty with another name."""
    folder = tmp_path_factory.mktemp("grown")
    return {number: gather(grow(folder / str(number), number, private=1, children=2)) for number in SIZES[:2]} | {
        100: enlarge(gather(grow(folder / "many", 50, private=1, children=2)))
    }


def enlarge(report: Report) -> Report:
    """Twice the tasks: the second half uses what the first does, but for its own heads."""
    count, heads = len(report.components), {}
    components, tasks, growth = list(report.components), list(report.tasks), list(report.growth)
    for task, step in zip(report.tasks, report.growth, strict=True):
        name = f"again-{task.name}"
        heads[name] = len(components)
        head = report.components[task.components[-1]]
        components.append(head.model_copy(update={"digest": f"{count + len(heads):064x}", "trained_by": name}))
        chain = (*task.components[:-1], heads[name])
        tasks.append(task.model_copy(update={"name": name, "components": chain, "path": f"{name}/0/0/1"}))
        growth.append(step.model_copy(update={"task": name, "components": chain, "path": f"{name}/0/0/1"}))
    owners = owner_facts("root", [task.name for task in tasks])
    return report.model_copy(
        update={"components": tuple(components), "tasks": tuple(tasks), "growth": tuple(growth), "owners": owners}
    )


@pytest.fixture
def show(browser, tmp_path):
    """Opens the page of a report; anything that it complains of fails the test."""
    said, pages = [], []

    def show(report, **options):
        file = tmp_path / "page.html"
        file.write_text(render(report), "utf-8")
        page = browser.new_page(viewport={"width": 1400, "height": 900}, **options)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(file.as_uri())
        pages.append(page)
        return page

    yield show
    for page in pages:
        page.close()
    assert said == []


@pytest.mark.parametrize("number", SIZES)
def test_a_page_loads(show, reports, number):
    started = time.monotonic()
    page = show(reports[number])
    page.wait_for_selector("#network .version")
    seconds = time.monotonic() - started
    assert page.title() == f"mu2net: {number} tasks"
    assert page.locator("#leaderboard tbody tr").count() == number
    assert page.locator("#network .path").count() == number
    drawn = page.evaluate("performance.getEntriesByType('navigation')[0].domComplete") / 1000
    assert drawn < 2, f"drawn after {drawn:.2f} s; with the start of the page {seconds:.2f} s"


def looks(page):
    """The network as it looks, small and gray: what fonts and smoothing do differently hardly shows in it."""
    picture = Image.open(io.BytesIO(page.locator("#network").screenshot(animations="disabled"))).convert("L")
    return picture.resize((250, 160), Image.Resampling.BOX)


def difference(one, other):
    """Mean difference of what is drawn: of pixels that are not empty in either, of 255."""
    first, second = np.asarray(one, np.float64), np.asarray(other, np.float64)
    drawn = (first < 250) | (second < 250)
    return float(np.abs(first - second)[drawn].mean())


@pytest.mark.parametrize("number", SIZES)
def test_the_network_looks_as_it_did(show, reports, number, request):
    """Within a tolerance that a picture with fewer tasks does not meet.

    Where the change is wanted: look at the pictures that ``pytest --keep-pictures`` writes, and commit them.
    """
    page = show(reports[number], color_scheme="light")
    page.wait_for_selector("#network .version")
    file = PICTURES / f"network-{number}.png"
    found = looks(page)
    if request.config.getoption("keep_pictures"):
        file.parent.mkdir(exist_ok=True)
        found.save(file, optimize=True)
    kept = Image.open(file)
    assert difference(found, kept) < TOLERANCE
    page.locator("#slider").fill(str(number - max(1, number // 5)))
    assert difference(looks(page), kept) > 1.5 * TOLERANCE


def test_the_slider_replays_the_growth(show, reports):
    page = show(reports[20])
    slider = page.locator("#slider")
    for step in (0, 1, 7, 20):
        slider.fill(str(step))
        assert page.locator("#network .path").count() == step
    slider.fill("1")
    assert "task000" in page.locator("#step").inner_text()
    shown = {
        int(mark)
        for mark in page.locator("#network .version").evaluate_all("all => all.map(one => one.dataset.component)")
    }
    assert shown == {*reports[20].root, *reports[20].growth[0].components}
    page.locator("#play").click()
    deadline = time.monotonic() + 20
    while int(slider.input_value()) < 3:
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)


def test_the_slider_replays_the_last_search(show, reports):
    """Generation by generation, over the network that the search began with; then the system again."""
    report = reports[20]
    page, replay = show(report), report.replay
    page.locator("#replayed").select_option(label=f"search for {replay.task}")
    slider, rivals = page.locator("#slider"), page.locator("#network path.rival")
    generations = max(child.generation for child in replay.children) + 1
    assert slider.get_attribute("max") == str(generations)
    for generation in range(generations, -1, -1):
        slider.fill(str(generation))
        so_far = [child for child in replay.children if child.generation < generation]
        assert rivals.count() == len(so_far)
        best = page.locator("#network path.rival.best").evaluate_all("all => all.map(one => Number(one.dataset.rival))")
        assert best == ([len(so_far) - 1] if so_far else []), "the newest is the best here"
        assert page.locator("#network path.path:not(.rival)").count() == replay.step == 19
        if so_far:
            assert f"{100 * max(child.quality for child in so_far):.1f} %" in page.locator("#step").inner_text()
    slider.fill(str(generations))
    page.locator("#network path.version[data-rival]").first.hover()
    details = page.locator("#details").inner_text()
    assert replay.children[0].id in details
    page.locator("#network .version").first.focus()
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    for _ in range(40):
        page.keyboard.press("ArrowRight")
        if page.evaluate("document.activeElement.dataset.rival") is not None:
            break
    assert replay.children[int(page.evaluate("document.activeElement.dataset.rival"))].id in (
        page.locator("#details h3").inner_text()
    )
    page.locator("#search").fill(replay.task)
    assert page.locator("#network path.rival.dim").count() == 0
    page.locator("#replayed").select_option("system")
    assert rivals.count() == 0
    assert page.locator("#network .path").count() == 20


def test_what_changed_along_the_lineage_is_drawn(show, reports):
    report = reports[20]
    page, search = show(report), report.searches[-1]
    children = {child.id: child for child in search.children}
    line = [children[name] for name in search.lineage]
    changed = {name for name in line[-1].hparams if len({child.hparams[name] for child in line}) > 1}
    drawn = page.locator("#lineage figure").evaluate_all("all => all.map(one => one.dataset.name)")
    assert drawn == ["validation accuracy", "parameters trained", "slots cloned", *sorted(changed)]
    points = page.locator("#lineage figure").first.locator("circle title").all_text_contents()
    assert points == [f"{child.id}: {100 * child.quality:.1f} %" for child in line]


def test_a_click_shows_the_right_component(show, reports):
    report = reports[20]
    page = show(report)
    index = report.tasks[5].components[-1]
    component = report.components[index]
    page.locator(f'[data-component="{index}"]').click()
    details = page.locator("#details").inner_text()
    assert component.digest in details
    assert component.trained_by == "task005"
    assert "task005" in details
    page.keyboard.press("Escape")
    page.mouse.move(5, 5)
    assert component.digest not in page.locator("#details").inner_text()


def test_the_keyboard_reaches_every_mark(show, reports):
    report = reports[3]
    page = show(report)
    page.locator("#network .version").first.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    index = int(page.evaluate("document.activeElement.dataset.component"))
    assert report.components[index].slot == "block_00"
    assert report.components[index].trained_by != "root"
    page.keyboard.press("Enter")
    assert report.components[index].digest in page.locator("#details").inner_text()


@pytest.mark.parametrize("number", [20, 100])
def test_search_finds_a_task(show, reports, number):
    page = show(reports[number])
    page.locator("#search").fill("task007")
    assert page.locator("#details h3").inner_text() == "task007"
    bright = page.locator("#network .path:not(.dim)")
    assert bright.evaluate_all("all => all.map(one => one.dataset.task)") == ["task007"]
    page.locator("#search").fill("")
    assert page.locator("#network .path.dim").count() == 0


def test_the_leaderboard_sorts(show, reports):
    page = show(reports[20])
    page.get_by_role("button", name="test accuracy").click()
    names = page.locator("#leaderboard tbody td:first-child").all_inner_texts()
    best = sorted(reports[20].tasks, key=lambda task: -task.test.value)
    assert [round(task.test.value, 4) for task in best] == [
        round(next(task.test.value for task in best if task.name == name), 4) for name in names
    ]
    assert page.evaluate("document.activeElement.textContent").startswith("test accuracy"), "the focus stays"
    page.keyboard.press("Enter")
    assert page.locator("#leaderboard tbody td:first-child").all_inner_texts()[0] == best[-1].name


def test_searching_and_sorting_the_leaderboard_go_together(show, reports):
    page = show(reports[20])
    names = page.locator("#leaderboard tbody td:first-child")
    page.locator("#search").fill("task01")
    assert names.all_inner_texts() == [f"task01{digit}" for digit in range(10)]
    page.locator("#leaderboard thead button").first.click()
    page.locator("#leaderboard thead button").first.click()
    assert names.all_inner_texts() == [f"task01{digit}" for digit in reversed(range(10))]
    with page.expect_download() as download:
        page.locator("#download").click()
    assert len(download.value.path().read_text("utf-8").splitlines()) == 11
    page.locator("#search").fill("no such thing")
    assert names.all_inner_texts() == ["no task has this in its name"]
    page.locator("#search").fill("block_00")
    assert names.count() == 20


def test_the_table_shows_every_number_of_the_document(show, reports):
    page, shown = show(reports[3]), reports[3].tasks
    with page.expect_download() as download:
        page.locator("#download").click()
    rows = list(csv.DictReader(download.value.path().read_text("utf-8").splitlines()))
    for row, task in zip(rows, shown, strict=True):
        expected = {
            "classes": task.classes,
            "train": task.num_train,
            "test": task.num_test,
            "test accuracy": task.test.value,
            "from": task.test.low,
            "to": task.test.high,
            "validation": task.validation.value,
            "validation from": task.validation.low,
            "validation to": task.validation.high,
            "added": task.added_params,
            "accounted": task.accounted_params,
            "FLOPs": task.flops,
            "time": task.seconds,
            "children": task.children,
            "reused": 1 - task.reuse[task.name],
        }
        assert {name: float(row[name]) for name in expected} == pytest.approx(expected)
        assert len(set(expected.values())) > len(expected) - 4, "equal numbers would hide a wrong column"
        assert set(row) == {"task", "from whom", *expected}


def test_the_sharing_matrix_and_the_effects_are_those_of_the_document(show, reports):
    page, report = show(reports[3]), reports[3]
    lines = page.locator("#sharing tbody tr").all()
    for line, params in zip(lines, report.sharing.params, strict=True):
        shares = ["" if one == 0 else f"{100 * one / sum(params):.0f} %" for one in params]
        assert line.locator("td").all_inner_texts() == shares
    assert page.locator("#sharing thead th").all_inner_texts()[1:] == list(report.sharing.owners)
    search = report.searches[-1]
    table = [row.locator("td").all_inner_texts() for row in page.locator("#effects tbody tr").all()]
    assert [row[:2] for row in table] == [[effect.kind, str(effect.count)] for effect in search.effects]
    for row, effect in zip(table, search.effects, strict=True):
        found = [float(cell.replace("\u2212", "-")) for cell in row[2:]]
        assert found == pytest.approx([100 * value for value in (effect.mean, effect.low, effect.high)], abs=0.006)


def test_the_details_say_who_uses_a_component_and_what_it_was_cloned_from(show, reports):
    page, report = show(reports[3]), reports[3]
    number, component = next((n, one) for n, one in enumerate(report.components) if one.source is not None)
    page.locator("#search").fill(component.digest)
    page.locator("#network .version.found").first.click(force=True)
    said = dict(
        zip(page.locator("#details dt").all_inner_texts(), page.locator("#details dd").all_inner_texts(), strict=True)
    )
    users = [task.name for task in report.tasks if number in task.components]
    source = report.components[component.source]
    assert said["used by"] == (", ".join(users) if users else "\u2013")
    assert said["cloned from"] == f"{source.slot} of {source.trained_by} ({source.digest[:8]})"
    assert said["digest"] == component.digest


def test_every_child_has_its_learning_curve_in_points(show, reports):
    page, search = show(reports[3]), reports[3].searches[-1]
    drawn = page.locator("#children circle[data-curve]")
    assert drawn.count() == sum(len(child.validations) for child in search.children) > 0


def test_the_table_as_csv_holds_the_numbers(show, reports):
    page = show(reports[3])
    with page.expect_download() as download:
        page.locator("#download").click()
    lines = download.value.path().read_text("utf-8").splitlines()
    assert len(lines) == 4
    assert lines[1].startswith(f"task000,2,800,200,{reports[3].tasks[0].test.value}")


def test_grouping_keeps_what_is_shared(show, reports):
    page = show(reports[100])
    assert page.locator("#grouped").is_checked()
    grouped = len(set(page.locator("#network .version").evaluate_all("all => all.map(one => one.getAttribute('d'))")))
    page.locator("#grouped").uncheck()
    alone = len(set(page.locator("#network .version").evaluate_all("all => all.map(one => one.getAttribute('d'))")))
    assert grouped < alone == page.locator("#network .version").count()


def test_a_group_of_marks_tells_what_is_in_it(show, reports):
    report = reports[100]
    page = show(report)
    mark = page.locator("#network .version[data-group]").first
    indices = [int(index) for index in mark.get_attribute("data-group").split()]
    mark.hover()
    users = {task.name for task in report.tasks if set(task.components) & set(indices)}
    assert set(page.locator("#details dt").all_inner_texts()) == users
    assert len(users) == len(indices) > 1
    said = page.locator("#details dd").all_inner_texts()
    assert [text[-8:] for text in said] == [report.components[index].digest[:8] for index in indices]
    bright = page.locator("#network .path:not(.dim)").evaluate_all("all => all.map(one => one.dataset.task)")
    assert set(bright) == users


@pytest.mark.parametrize("number", SIZES)
def test_every_name_can_be_read_whatever_the_size(show, reports, number):
    """The list names all tasks, and labels of the picture are as large as other text."""
    page = show(reports[number])
    names = page.locator("#legend button").evaluate_all("all => all.map(one => one.dataset.task)")
    assert sorted(names) == sorted(task.name for task in reports[number].tasks)
    heights = page.locator("#network text").evaluate_all(
        "all => all.filter(one => !one.hasAttribute('transform')).map(one => one.getBoundingClientRect().height)"
    )
    assert min(heights) > 10


def test_the_picture_of_many_slots_is_not_drawn_smaller(show, tmp_path):
    report = gather(grow(tmp_path / "system", 4, depth=24, children=2))
    page = show(report)
    heights = page.locator("#network text").evaluate_all("all => all.map(one => one.getBoundingClientRect().height)")
    assert len(report.slots) == 28
    assert min(heights) > 10
    marks = page.locator("#network .version").evaluate_all("all => all.map(one => one.getBoundingClientRect().width)")
    assert min(marks) > 12


def test_the_list_of_tasks_is_reached_by_keyboard(show, reports):
    report = reports[20]
    page = show(report)
    page.locator("#legend button").nth(4).focus()
    assert page.locator("#details h3").inner_text() == report.tasks[4].name
    bright = page.locator("#network .path:not(.dim)")
    assert bright.evaluate_all("all => all.map(one => one.dataset.task)") == [report.tasks[4].name]
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.locator("#search").focus()
    assert page.locator("#details h3").inner_text() == report.tasks[4].name, "it was pinned"
    page.locator("#unpin").click()
    assert page.locator("#network .path.dim").count() == 0


def test_the_wheel_scrolls_and_zooms_with_ctrl_alone(show, reports):
    page = show(reports[3])
    group = page.locator("#network svg > g")
    page.locator("#network").hover()
    page.mouse.wheel(0, 200)
    page.wait_for_function("window.scrollY > 0")
    assert group.get_attribute("transform") == "translate(0 0) scale(1)"
    page.keyboard.press("+")
    assert "scale(1.25)" in group.get_attribute("transform")
    page.keyboard.press("0")
    assert group.get_attribute("transform") == "translate(0 0) scale(1)"
    page.keyboard.down("Control")
    page.locator("#network").hover()
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")
    assert "scale(1.15)" in group.get_attribute("transform")
    page.locator("#fit").click()
    assert group.get_attribute("transform") == "translate(0 0) scale(1)"


@pytest.mark.parametrize("width", [360, 700, 1400])
def test_nothing_is_wider_than_the_window(browser, reports, tmp_path, width):
    file = tmp_path / "page.html"
    file.write_text(render(reports[20]), "utf-8")
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.goto(file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_it_prints_with_the_names_of_the_tasks_on_white(show, reports):
    page = show(reports[20], color_scheme="dark")
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("#search-title").inner_text() == "The search: task019"
    assert page.locator("#quality-title").inner_text() == "Right and wrong: task000"
    assert page.locator("#legend button").count() == 20
    assert page.locator("#leaderboard").evaluate("one => one.getBoundingClientRect().width") < 1400
    for hidden in ("#replay", "#searched", "#details", "#download"):
        assert not page.locator(hidden).is_visible()


def test_a_search_of_two_cycles_is_one_story(show, tmp_path):
    report = gather(grow(tmp_path / "system", 2, again=1, search={"s_size": 0.9}))
    page, search = show(report), report.searches[-1]
    first = page.locator("#children figure").first
    places = first.locator("[data-child]").evaluate_all("all => all.map(one => Number(one.getAttribute('cx')))")
    assert places == sorted(places), "time runs forwards"
    assert first.locator("line.begin").count() == 1
    assert page.locator("#generations svg").evaluate_all("all => all.map(one => one.getAttribute('aria-label'))") == [
        f"cycle {cycle}, generation {generation}" for cycle in (0, 1) for generation in (0, 1)
    ]
    page.locator("#measure").select_option("score")
    titles = page.locator("#children svg").evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    assert [title.partition(" against ")[0] for title in titles[:3]] == ["score"] * 3
    lowest = min(search.children, key=lambda child: child.score).id
    heights = (
        page.locator("#children figure")
        .first.locator("[data-child]")
        .evaluate_all("all => all.map(one => [Number(one.getAttribute('cy')), one.dataset.child])")
    )
    assert max(heights)[1] == lowest
    page.locator("#children figure").first.locator("[data-child]").first.focus()
    page.keyboard.press("ArrowRight")
    said = page.locator("#child").inner_text()
    assert said.startswith(f"{search.children[1].id}: ")
    assert f"score {search.children[1].score:.4f}" in said
    page.locator("summary").click()
    rows = [row.locator("td").all_inner_texts() for row in page.locator("#every-child tbody tr").all()]
    assert [row[:4] for row in rows] == [
        [child.id, str(child.cycle), str(child.generation), child.parent] for child in search.children
    ]
    assert [row[5] for row in rows] == [f"{child.score:.4f}" for child in search.children]


def place(page, selector):
    """Where marks of a plot lie, as fractions of the smallest and the largest place, and what their titles say."""
    return page.locator(selector).evaluate_all(
        "all => all.map(one => { const box = one.getBBox();"
        " return [box.x + box.width / 2, box.y + box.height / 2, one.querySelector('title').textContent]; })"
    )


@pytest.mark.parametrize(("number", "cost"), [(4, "accounted_params"), (5, "flops")])
def test_the_fronts_show_the_numbers_of_the_document(show, reports, number, cost):
    report = reports[3]
    page = show(report)
    figure = f"#growth figure:nth-child({number + 1})"
    marks = place(page, f"{figure} [data-front]")
    values = [(getattr(task, cost), task.test.value) for task in report.tasks]
    assert [said.partition(":")[0] for *_, said in marks] == [task.name for task in report.tasks]
    for axis, sign in ((0, 1), (1, -1)):
        order = sorted(range(3), key=lambda n: sign * values[n][axis])
        assert sorted(range(3), key=lambda n: marks[n][axis]) == order or len({value[axis] for value in values}) < 3
    front = page.locator(f"{figure} path.front").get_attribute("d")
    assert front.count(",") == len(
        pareto_front({task.name: (getattr(task, cost), task.test.value) for task in report.tasks})
    )


def test_names_are_shown_and_not_run(show, reports):
    evil = "<img src=x onerror=alert(1)>"
    report = reports[3]
    tasks = tuple(
        task.model_copy(update={"name": evil}) if not number else task for number, task in enumerate(report.tasks)
    )
    page = show(report.model_copy(update={"tasks": tasks}))
    assert page.locator("#leaderboard tbody td").first.inner_text() == evil
    assert page.locator("img").count() == 0


def test_what_is_shown_is_what_the_document_says(show, reports):
    page = show(reports[3])
    shown = json.loads(page.locator("#data").text_content())
    assert shown == json.loads(reports[3].model_dump_json())
    page.locator("#searched").select_option("task001")
    assert page.locator("#children [data-child]").count() == 3 * 2


def test_right_and_wrong(show, reports):
    data = TaskLike("task001", ("a", "b"), SplitLike(np.array([0, 1, 1])))
    answers = torch.tensor([[2.0, 0.0], [1.5, 0.0], [0.0, 3.0]])
    found = describe(data, answers, np.array([0, 1, 1]), np.zeros((3, 8, 8, 3), np.uint8))
    missing = QualityFacts(task="task002", problem="they are gone")
    page = show(reports[3].model_copy(update={"quality": (found, missing)}))
    assert "3 images, 66.67 % right" in page.locator("#judgement").inner_text()
    assert page.locator("#confusion tbody td").all_inner_texts() == ["1", "", "1", "1"]
    assert page.locator("#quality-title").inner_text() == "Right and wrong: task001"
    bins = [
        text.replace(" %", "").split(": confidence ")
        for text in page.locator("#quality .bin title").all_text_contents()
    ]
    assert [int(count.split()[0]) for count, _ in bins] == [one.count for one in found.bins]
    shown = [[float(value) / 100 for value in rest.split(", accuracy ")] for _, rest in bins]
    assert shown == [pytest.approx([one.confidence, one.accuracy], abs=5e-5) for one in found.bins]
    classes = page.locator("#quality .class title").all_text_contents()
    assert classes == ["b: 2 training images, 2 test images", "a: 1 training image, 1 test image"]
    assert page.locator("#mistakes img").evaluate_all("all => all.map(one => one.naturalWidth)") == [64]
    page.locator("#judged").select_option("task002")
    assert "Nothing was measured: they are gone" in page.locator("#judgement").inner_text()
    assert page.locator("#mistakes img").count() == 0


def test_a_task_that_nobody_looked_at_is_named(show, reports):
    page = show(reports[3])
    assert page.locator("#quality-title").is_visible()
    assert "Nothing was measured: nobody looked at what task000/0/" in page.locator("#judgement").inner_text()


def test_a_task_that_was_never_evolved_has_dashes(show, tmp_path):
    store = grow(tmp_path / "system", 1)
    other = grow(tmp_path / "other", 2)
    store.add_task(other.task("task001"))
    page = show(gather(store))
    assert page.locator("h1").inner_text() == "2 tasks in one network"
    cells = page.locator("#leaderboard tbody tr").nth(1).locator("td").all_inner_texts()
    titles = [title.strip() for title in page.locator("#leaderboard thead th").all_inner_texts()]
    row = dict(zip(titles, cells, strict=True))
    assert {row[name] for name in ("test accuracy", "validation", "added", "accounted", "FLOPs", "reused")} == {
        "\u2013"
    }
    assert show(gather(grow(tmp_path / "one", 1))).locator("h1").inner_text() == "1 task in one network"


@dataclass
class SplitLike:
    labels: np.ndarray


@dataclass
class TaskLike:
    name: str
    classes: tuple[str, ...]
    train: SplitLike


def test_light_and_dark(show, reports):
    colours = set()
    for scheme in ("light", "dark"):
        page = show(reports[3], color_scheme=scheme)
        colours.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert len(colours) == 2
