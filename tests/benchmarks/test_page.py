from __future__ import annotations

import pytest

from benchmarks.page import PAGE, write_page
from benchmarks.results import Row, write_rows

RATES = {"plain_per_second": 100.0, "ours_per_second": 60_000.0, "plain_seconds": 90.0, "ours_seconds": 10.0}


@pytest.fixture
def figures(tmp_path):
    names = ("head", "head_end_to_end", "generation", "generation_warm")
    rows = [Row.of(name, name, [600.0 + i], at_least=500, detail=RATES) for i, name in enumerate(names)]
    write_rows(tmp_path / "speed.json", [*rows, Row.of("memory", "peak memory", [1.5], at_most=1.3)])
    return tmp_path / "speed.json"


def test_the_tables_are_replaced_and_the_rest_stays(figures, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "Before\n<!-- table: runs -->\nold\n<!-- end -->\nbetween\n<!-- table: others -->\n<!-- end -->\nafter\n"
    )
    write_page(page, figures, tmp_path / "no.json")
    lines = page.read_text().splitlines()
    assert lines[0] == "Before"
    assert lines[-1] == "after"
    assert "old" not in lines
    (run,) = [line for line in lines if line.startswith("| `head`")]
    assert [cell.strip() for cell in run.split("|")][3:9] == [
        "100",
        "60,000",
        "**600**",
        "600 to 600",
        "≥ 500: reached",
        "601",
    ]
    (memory,) = [line for line in lines if "`memory`" in line]
    assert "≤ 1.3: **missed**" in memory
    assert not [line for line in lines if "generation" in line]


def test_writing_twice_changes_nothing_more(figures, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text())
    write_page(page, figures, tmp_path / "no.json")
    once = page.read_text()
    assert "| `generation` |" in once
    write_page(page, figures, tmp_path / "no.json")
    assert page.read_text() == once


def test_a_table_that_does_not_exist_is_an_error(figures, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- table: nonsense -->\n<!-- end -->\n")
    with pytest.raises(KeyError, match="nonsense"):
        write_page(page, figures, tmp_path / "no.json")
