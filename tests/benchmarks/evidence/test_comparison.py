from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.evidence.comparison import Evidence, make_tables
from benchmarks.evidence.options import parse

CONDITION = parse(["--time", "60"]).condition


def test_averages_are_of_complete_seeds_only(make_result):
    results = [
        make_result("mu2net", "a", 0.8, order="ab"),
        make_result("mu2net", "b", 0.6, order="ab"),
        make_result("mu2net", "b", 0.9, order="ba", seed=1),
        make_result("linear", "a", 0.5),
    ]
    table = make_tables(results, "table")["tiny"]
    assert table.tasks == ("a", "b")
    assert table.agents == ("mu2net", "linear")
    assert table.seeds("mu2net") == (0,)
    assert table.average("mu2net").value == pytest.approx(0.7)
    assert table.accuracy("mu2net", "b").value == pytest.approx(0.6)
    assert table.average("linear") is None
    assert table.accuracy("linear", "a").value == pytest.approx(0.5)
    assert table.accuracy("linear", "b") is None
    assert table.added_share("linear") is None
    assert table.best_baseline() is None


def test_several_seeds_are_averaged(make_result):
    results = [
        make_result("mu2net", task, test, order="ab", seed=seed, added_params=added)
        for task, test, seed, added in (("a", 0.8, 0, 100), ("b", 0.6, 0, 300), ("a", 0.9, 1, 0), ("b", 0.7, 1, 0))
    ]
    table = make_tables(results, "table")["tiny"]
    assert table.average("mu2net").value == pytest.approx(0.75)
    assert table.accuracy("mu2net", "a").value == pytest.approx(0.85)
    assert table.added_share("mu2net") == pytest.approx(100 / 1_000_000)


def test_the_best_is_the_one_with_the_highest_average(make_result):
    scores = {"linear": (0.9, 0.2), "finetune": (0.6, 0.7), "mu2net": (0.9, 0.9)}
    results = [
        make_result(agent, task, test) for agent, pair in scores.items() for task, test in zip("ab", pair, strict=True)
    ]
    table = make_tables(results, "table")["tiny"]
    assert table.best_baseline() == "finetune"
    assert table.best(table.agents) == "mu2net"
    assert table.best([]) is None


def test_the_longest_of_several_orders_counts(make_result):
    short = [make_result("mu2net", "a", 0.1, order="a")]
    whole = [make_result("mu2net", task, 0.8, order="ba") for task in "ab"]
    for results in (short + whole, whole + short):
        table = make_tables(results, "table")["tiny"]
        assert table.accuracy("mu2net", "a").value == pytest.approx(0.8)
        assert table.system("mu2net", 0).order == ("b", "a")
        assert table.system("mu2net", 0).task == ""


def test_evidence_keeps_conditions_and_experiments_apart(make_result):
    results = [
        make_result("mu2net", "a", 0.8),
        make_result("mu2net", "a", 0.7, experiment="alone"),
        make_result("mu2net", "a", 0.6, experiment="scale", s_size=0.9),
        make_result("mu2net", "a", 0.5, condition=replace(CONDITION, seconds=30.0)),
        make_result("mu2net", "a", 0.4, condition=replace(CONDITION, fixed=("mu",))),
        make_result("mu2net", "a-1k", 0.3, experiment="growth", order=("a", "a-1k")),
        make_result("mu2net", "a", 0.2, experiment="growth", order=("a", "a-1k")),
    ]
    evidence = Evidence.of(CONDITION, results)
    assert evidence.tables["tiny"].average("mu2net").value == pytest.approx(0.8)
    assert evidence.alone["tiny"].average("mu2net").value == pytest.approx(0.7)
    scales = {scale: table.average("mu2net").value for scale, table in evidence.scales["tiny"].items()}
    assert scales == pytest.approx({1.0: 0.8, 0.9: 0.6})
    times = {seconds: tables["tiny"].average("mu2net").value for seconds, tables in evidence.times.items()}
    assert times == pytest.approx({30.0: 0.5, 60.0: 0.8})
    assert [result.key.task for result in evidence.growth["tiny", "mu2net", 0]] == ["a", "a-1k"]


def test_without_size_penalties_there_is_no_curve(make_result):
    assert Evidence.of(CONDITION, [make_result()]).scales == {}


def test_of_two_networks_with_one_name_the_last_measured_counts(make_result, make_check):
    old, new = make_result(test=0.9, spec="old"), make_result(test=0.5, spec="new")
    evidence = Evidence.of(CONDITION, [old, new], [make_check(old), make_check(new)])
    assert evidence.tables["tiny"].average("mu2net").value == pytest.approx(0.5)
    assert list(evidence.checks) == [make_check(new).key]
