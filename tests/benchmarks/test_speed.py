from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.cases import CASES
from benchmarks.options import BUILT_IN_TASK, Options
from benchmarks.runner import IDS
from benchmarks.speed import RESULTS, parse


def test_ids_are_unique_and_those_that_are_aimed_at_are_there():
    assert len(set(IDS)) == len(IDS)
    aimed = {"head", "last_1", "last_2", "last_4", "all", "generation", "generation_augmented", "lite0_last_3"}
    assert {case.id for case in CASES if case.target} == aimed


def test_without_files_the_built_in_task_stands_for_all_and_the_rest_is_left_out():
    options, ids, output = parse([])
    assert {options.setting(case.setting).task for case in CASES} == {BUILT_IN_TASK}
    assert "head" in ids
    assert not [name for name in ids if name.startswith("vit_s") or name == "accuracy"]
    assert output == RESULTS


def test_what_cannot_be_measured_is_refused(capsys):
    with pytest.raises(SystemExit):
        parse(["--only", "accuracy", "--vit", "root.safetensors"])
    assert "accuracy needs --tasks" in capsys.readouterr().err


def test_files_are_used_where_they_are_given():
    options = Options(tasks=Path("tasks"), vit=Path("root.safetensors"))
    case = next(case for case in CASES if case.id == "vit_s_all")
    assert options.case(case).setting.root == "file:root.safetensors"
    assert options.case(case).setting.task == "rsscn7"


def test_a_smoke_run_is_short_and_writes_no_figures():
    options, _, output = parse(["--quick"])
    assert output is None
    for case in map(options.case, CASES):
        assert (case.pairs, case.intervals) == (1, 2)
        assert case.setting.num_images <= 600
