from __future__ import annotations

import json

import pytest

from benchmarks import results
from benchmarks.results import Row, format_table, processor, write_rows


def test_a_row_is_the_median_and_is_held_against_its_target():
    row = Row.of("head", "the head", [600.0, 500.0, 400.0], at_least=500)
    assert (row.value, row.low, row.high, row.target, row.verdict) == (500.0, 400.0, 600.0, "≥ 500", "pass")
    assert Row.of("head", "", [499.0], at_least=500).verdict == "MISS"
    assert Row.of("memory", "", [1.2], at_most=1.3).verdict == "pass"
    assert Row.of("memory", "", [1.4], at_most=1.3).verdict == "MISS"
    assert Row.of("serve", "", [2.0]).verdict == ""


def test_the_file_has_figures_machine_date_and_rows_and_keeps_the_others(tmp_path):
    file = tmp_path / "new" / "speed.json"
    write_rows(file, [Row.of("head", "the head", [1.0]), Row.of("all", "everything", [3.0], detail={"task": "digits"})])
    write_rows(file, [Row.of("head", "the head", [2.0], at_least=5)])
    content = json.loads(file.read_text())
    assert set(content) == {"figures", "machine", "date", "rows"}
    assert content["figures"] == {"head": 2.0, "all": 3.0}
    assert content["rows"]["all"]["task"] == "digits"
    assert content["rows"]["all"]["measurements"] == [3.0]
    assert content["rows"]["head"]["is_met"] is False
    assert {"processor", "cores", "torch", "commit"} <= set(content["machine"])


def test_a_figure_that_is_no_number_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_rows(tmp_path / "speed.json", [Row.of("head", "", [float("nan")])])
    assert not (tmp_path / "speed.json").exists()


def test_the_table_names_every_figure_and_its_verdict():
    lines = format_table([Row.of("head", "the head", [612.3], at_least=500), Row.of("all", "all", [2.5])]).splitlines()
    assert lines[1].split() == ["head", "612", "612", "to", "612", "≥", "500", "pass", "the", "head"]
    assert lines[2].split() == ["all", "2.5", "2.5", "to", "2.5", "all"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"cpu family": "25", "model": "17", "flags": "fpu avx2 avx512_bf16"},
            "X, family 25 model 17, avx2, avx512_bf16",
        ),
        ({"cpu family": "26", "model": "2", "flags": "avx2 amx_bf16"}, "X, family 26 model 2, avx2, amx_bf16"),
        ({"Features": "fp asimd bf16"}, "X, asimd, bf16"),
    ],
)
def test_a_processor_is_told_apart_by_more_than_its_name(monkeypatch, fields, expected):
    monkeypatch.setattr(results, "cpu_info", lambda name: fields.get(name, ""))
    monkeypatch.setattr(results, "processor_name", lambda: "X")
    assert processor() == expected
