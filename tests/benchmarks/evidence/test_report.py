from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from benchmarks.evidence.comparison import Evidence, make_tables
from benchmarks.evidence.ledger import Ledger
from benchmarks.evidence.options import PAGE, parse
from benchmarks.evidence.pictures import draw_all
from benchmarks.evidence.records import Failure
from benchmarks.evidence.report import write_report
from benchmarks.evidence.styles import style_of
from benchmarks.evidence.tables import accuracy_sheet, effort_sheet, growth_sheet, scale_sheet, sources_sheets

CONDITION = parse(["--time", "60"]).condition


@pytest.fixture
def results(make_result):
    """Two agents on two roots and two tasks, and what else there can be for one of them."""
    order = ("b", "a", "b-1k", "a-1k")
    found = [
        make_result(agent, task, test, root=root, order="ba" if agent == "mu2net" else ())
        for root in ("lite0", "vit_s")
        for agent, tests in {"mu2net": (0.9, 0.8), "tuned:linear": (0.7, 0.6)}.items()
        for task, test in zip("ab", tests, strict=True)
    ]
    for task in "ab":
        other = {"root": "lite0", "order": "ba"}
        found.append(make_result("mu2net", task, 0.8, experiment="scale", s_size=0.9, added_params=90_000, **other))
        found.append(make_result("mu2net", task, 0.6, condition=replace(CONDITION, seconds=30.0), **other))
    for number, task in enumerate(order):
        size = 100_000_000 + 10_000_000 * number
        found.append(make_result("mu2net", task, 0.8, root="lite0", experiment="growth", order=order, disk_bytes=size))
    return found


@pytest.fixture
def report(tmp_path, results, make_check):
    """Writes a report of the results to a copy of the page; returns what was printed and the folder."""

    def report(*arguments, records=None):
        page = tmp_path / "docs" / "benchmark.md"
        page.parent.mkdir()
        page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
        output = tmp_path / "results" / "diverse10.json"
        options = parse(["--report", "--output", str(output), "--page", str(page), *arguments])
        ledger = Ledger(options.ledger)
        failure = Failure(replace(results[0].key, agent="munet"), "out of\nmemory", "2026-11-23")
        checks = [make_check(result, num_logits=1600) for result in results[:5:4]]
        with ledger.writing():
            for record in [*results, *checks, failure] if records is None else records:
                ledger.append(record)
        stream = io.StringIO()
        write_report(options, Ledger(options.ledger), Console(file=stream, width=200))
        return stream.getvalue(), tmp_path

    return report


def test_tables_pictures_and_figures_are_written(report, monkeypatch):
    monkeypatch.setattr("benchmarks.evidence.report.AGENTS", ("mu2net", "tuned:linear"))
    said, folder = report("--time", "60", "--agents", "mu2net", "tuned:linear")
    page = (folder / "docs" / "benchmark.md").read_text()
    (row,) = [line for line in page.splitlines() if line.startswith("| gain |")]
    cells = [cell.strip() for cell in row.split("|")][1:-1]
    assert cells[:2] == ["gain", "**20**"]
    assert cells[3:5] == ["≥ +3.0, at least +2.39", "met"]
    assert "| a | **90.0 ±1.9** | 70.0 ±2.8 |" in page
    assert "60 s per task" in page
    assert "| table lite0 munet seed 0: a | out of memory | 2026-11-23 |" in page
    assert "| table lite0 mu2net seed 0 | 2 | 40 | 1,600 | 0 | 0 |  |" in page
    assert "| processor | abacus |" in page
    for name in ("accuracy", "parameters", "time", "growth"):
        assert f"(images/benchmark_{name}.png)" in page
        assert (folder / "docs" / "images" / f"benchmark_{name}.png").read_bytes().startswith(b"\x89PNG")
    assert "not measured yet" not in page
    written = json.loads((folder / "results" / "diverse10.json").read_text())
    assert written["figures"]["gain_vit_s"] == pytest.approx(20)
    assert written["figures"]["changed_logits"] == 0
    assert written["rows"]["added_parameters"]["verdict"] == "met"
    assert {run["kind"] for run in written["runs"]} == {"result", "check", "failure"}
    assert set(written) >= {"figures", "runs", "machine", "date"}
    assert "lite0" in said
    assert "average" in said
    assert "gain_lite0" in said


def test_the_hours_of_the_default_table_are_among_the_figures(report, monkeypatch):
    monkeypatch.setattr("benchmarks.evidence.report.AGENTS", ("mu2net", "tuned:linear"))
    _, folder = report("--time", "60")
    written = json.loads((folder / "results" / "diverse10.json").read_text())
    assert written["figures"]["hours"] == pytest.approx(8 * (61 + 2) / 2 / 3600)


def test_where_nothing_was_measured_the_page_says_so(report):
    said, folder = report(records=[])
    page = (folder / "docs" / "benchmark.md").read_text()
    assert page.count("not measured yet") >= 10
    assert not (folder / "docs" / "images").exists()
    assert "has no table for 120 s per task" in said


def test_another_condition_is_named_where_the_one_asked_for_is_missing(report):
    said, _ = report("--time", "90")
    titles = [replace(CONDITION, seconds=seconds).title for seconds in (30.0, 60.0)]
    assert f"it has: {'; '.join(titles)}" in " ".join(said.split())


def test_accuracies_show_what_is_missing(make_result):
    cells = [make_result("mu2net", "a", 0.9), make_result("mu2net", "b", 0.7), make_result("linear", "a", 0.8)]
    sheet = accuracy_sheet(make_tables(cells, "table")["tiny"])
    rows = {line[0]: line[1:] for line in sheet.lines}
    assert sheet.head == ("test accuracy, %", "mu2net", "linear")
    assert rows["b"] == ("**70.0 ±2.8**", "-")
    assert rows["average"][1] == "-"
    assert rows["seeds"] == ("1", "not all tasks yet")


def test_size_penalties_and_growth_are_told_in_numbers(results):
    evidence = Evidence.of(CONDITION, results)
    assert [line[:3] + line[4:] for line in scale_sheet(evidence).lines] == [
        ("lite0", "mu2net", "1", "20"),
        ("lite0", "mu2net", "0.9", "9"),
    ]
    first, second = growth_sheet(evidence).lines
    assert (first[3], first[-1]) == ("2, all images", "110")
    assert (second[3], second[-1]) == ("2, 1,000 images", "130")


def test_whose_parameters_a_path_holds_is_told_in_the_order_of_learning(make_result):
    sources = {"root": 500_000, "b": 300_000, "c": 100_000, "a": 100_000}
    order = ("c", "b", "a")
    results = [
        make_result("mu2net", "a", 0.9, order=order, sources=sources),
        make_result("mu2net", "b", 0.8, order=order, sources={"root": 600_000, "b": 200_000}),
        make_result("mu2net", "c", 0.7, order=order, sources={"c": 10}),
        make_result("tuned:linear", "a", 0.6),
        make_result("mu2net", "a", 0.85, experiment="alone"),
    ]
    (sheet,) = sources_sheets(Evidence.of(CONDITION, results))
    assert sheet.title == "tiny, mu2net"
    assert sheet.lines == (
        ("c", "0", "0.0", "100.0", "0.0", "", "70.0", "-"),
        ("b", "0", "75.0", "25.0", "0.0", "", "80.0", "-"),
        ("a", "0", "50.0", "10.0", "40.0", "b 30.0, c 10.0", "90.0", "85.0"),
    )


def test_parameters_are_accounted_where_a_system_counts_them(make_result):
    results = [
        make_result("mu2net", "a", accounted_params=400_000.0),
        make_result("mu2net", "b", accounted_params=200_000.0),
        make_result("lora:8", "a", accounted_params=None),
    ]
    sheet = effort_sheet(make_tables(results, "table")["tiny"])
    place = sheet.head.index("parameters accounted")
    assert {line[0]: line[place] for line in sheet.lines} == {"mu2net": "300 k", "lora:8": "-"}


def test_pictures_are_drawn_only_of_what_was_measured(tmp_path, make_result):
    assert draw_all(Evidence.of(CONDITION, []), tmp_path) == []
    table = [make_result("mu2net", "a"), make_result("linear", "a")]
    assert draw_all(Evidence.of(CONDITION, table), tmp_path) == ["accuracy", "parameters"]


def test_colors_depend_on_the_name_alone_and_kinds_have_markers():
    agents = ("mu2net", "mu2net-plus", "munet", "budgeted", "linear", "finetune", "freeze:8", "adapters:32", "lora:8")
    assert len({style_of(agent).color for agent in agents}) == len(agents)
    assert style_of("tuned:freeze:8").color == style_of("freeze:8").color
    assert style_of("tuned:freeze:8").marker != style_of("freeze:8").marker
    assert len({style_of(f"tuned:freeze:{number}").color for number in range(9, 13)}) == 4  # all are in one picture
    assert style_of("something-new") == style_of("something-new")


def test_a_figure_is_not_judged_before_all_baselines_of_the_default_have_learned_all_tasks(report):
    """It stays in the table with its reason, and is none of the figures."""
    _, folder = report("--time", "60", "--agents", "mu2net")
    content = json.loads((folder / "results" / "diverse10.json").read_text())
    assert "gain" not in content["figures"]
    assert "added_parameters" in content["figures"]
    row = content["rows"]["gain_lite0"]
    assert row["value"] == pytest.approx(20)
    assert row["verdict"].startswith("no verdict: not all tasks were learned by tuned:finetune, tuned:freeze:10")
    assert "lora:8" not in row["verdict"]
    assert "lora:8, tuned:adapters:32" in content["rows"]["gain_vit_s"]["verdict"]
