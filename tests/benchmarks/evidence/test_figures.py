from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.evidence.comparison import Evidence
from benchmarks.evidence.figures import all_figures, best_evolving, hours, is_judged, verdict
from benchmarks.evidence.options import parse
from benchmarks.evidence.roots import Root

CONDITION = parse(["--time", "60"]).condition


def results(make_result, scores, root="tiny", **changes):
    return [
        make_result(agent, task, test, root=root, order="ab" if agent.startswith("mu") else (), **changes)
        for agent, pair in scores.items()
        for task, test in zip("ab", pair, strict=True)
    ]


def figures(evidence, roots=()):
    return {row.id: row for row in all_figures(evidence, roots)}


def test_the_gain_is_over_the_best_baseline(make_result):
    scores = {"mu2net": (0.9, 0.8), "linear": (0.5, 0.5), "tuned:finetune": (0.85, 0.8), "freeze:8": (0.9, 0.7)}
    found = figures(Evidence.of(CONDITION, results(make_result, scores)))["gain"]
    assert found.value == pytest.approx(2.5)
    assert found.low < 2.5 < found.high
    assert found.detail["baseline"] == "tuned:finetune"
    assert not found.is_met
    assert verdict(found) == "MISSED, but at least +2.39"


@pytest.mark.parametrize(("test", "said"), [(0.93, "met"), (0.87, "MISSED")])
def test_the_aim_of_the_gain(make_result, test, said):
    scores = {"mu2net": (test, test), "linear": (0.85, 0.85)}
    assert verdict(figures(Evidence.of(CONDITION, results(make_result, scores)))["gain"]) == said


def test_a_figure_over_all_roots_is_the_worst_one_and_needs_all(make_result):
    first = results(make_result, {"mu2net": (0.9, 0.9), "linear": (0.8, 0.8)}, "lite0", added_params=100_000)
    second = results(make_result, {"mu2net": (0.9, 0.9), "linear": (0.85, 0.85)}, "vit_s", added_params=300_000)
    found = figures(Evidence.of(CONDITION, first + second), ["lite0", "vit_s"])
    assert found["gain_lite0"].value == pytest.approx(10)
    assert found["gain"].value == found["gain_vit_s"].value == pytest.approx(5)
    assert found["added_parameters"].value == pytest.approx(0.3)
    assert found["added_parameters_lite0"].is_met
    assert not found["added_parameters"].is_met
    part = figures(Evidence.of(CONDITION, first), ["lite0", "vit_s"])
    assert "gain_lite0" in part
    assert "gain" not in part


def test_all_figures_are_of_one_agent_the_best_over_the_roots(make_result):
    first = results(make_result, {"mu2net": (0.9, 0.9), "munet": (0.8, 0.8), "linear": (0.7, 0.7)}, "lite0")
    second = results(make_result, {"mu2net": (0.5, 0.5), "munet": (0.7, 0.7), "linear": (0.6, 0.6)}, "vit_s")
    evidence = Evidence.of(CONDITION, first + second)
    assert best_evolving(evidence) == "munet"
    assert figures(evidence)["gain_lite0"].value == pytest.approx(10)
    lonely = Evidence.of(CONDITION, first + second + results(make_result, {"mu2net-plus": (1.0, 1.0)}, "lite0"))
    assert best_evolving(lonely) == "munet"


def test_tasks_more_than_a_point_below_the_linear_probe(make_result):
    scores = {"mu2net": (0.795, 0.7), "linear": (0.80, 0.5), "tuned:linear": (0.8, 0.72), "finetune": (0.99, 0.99)}
    found = figures(Evidence.of(CONDITION, results(make_result, scores)))["worse_than_linear"]
    assert found.value == 1
    assert found.detail["tasks"] == ["b"]
    assert found.detail["linear"] == "tuned:linear"
    assert verdict(found) == "MISSED"


def test_changed_logits_need_a_conclusive_check_of_every_seed(make_result, make_check):
    learned = [*results(make_result, {"mu2net": (0.9, 0.9)}), *results(make_result, {"mu2net": (0.9, 0.9)}, seed=1)]
    good = [make_check(learned[0]), make_check(learned[2])]
    found = figures(Evidence.of(CONDITION, learned, good))["changed_logits"]
    assert (found.value, found.detail["compared"], verdict(found)) == (0, 200, "met")
    assert "changed_logits" not in figures(Evidence.of(CONDITION, learned, good[:1]))
    for bad in (replace(good[1], unconfirmed=("a",)), replace(good[1], damages=("torn",))):
        assert "changed_logits" not in figures(Evidence.of(CONDITION, learned, [good[0], bad]))
    changed = figures(Evidence.of(CONDITION, learned, [good[0], replace(good[1], changed_logits=3)]))
    assert changed["changed_logits"].value == 3
    assert verdict(changed["changed_logits"]) == "MISSED"


def test_a_figure_of_which_something_is_missing_is_not_judged(make_result):
    full = results(make_result, {"mu2net": (0.9, 0.9), "linear": (0.8, 0.8)})
    half = [*full, make_result("finetune", "a", 0.85)]
    found = figures(Evidence.of(CONDITION, half))["gain"]
    assert (found.value, found.is_met, is_judged(found)) == (pytest.approx(10), None, False)
    assert verdict(found) == "no verdict: tiny: not all tasks were learned by finetune"
    rows = {row.id: row for row in all_figures(Evidence.of(CONDITION, full), (), {"tiny": ["freeze:8", "munet"]})}
    assert verdict(rows["worse_than_linear_tiny"]) == "no verdict: not all tasks were learned by freeze:8"
    assert verdict(rows["added_parameters_tiny"]) == "met"
    more = [
        make_result(agent, task, test, root="large", order="abc" if agent == "mu2net" else ())
        for agent, test in {"mu2net": 0.9, "linear": 0.8}.items()
        for task in "abc"
    ]
    found = figures(Evidence.of(CONDITION, [*full, *more]))
    assert verdict(found["gain_tiny"]) == "no verdict: 2 of 3 tasks"
    assert verdict(found["gain_large"]) == "met"
    assert verdict(found["gain"]) == "no verdict: tiny: 2 of 3 tasks", "the worst of what was judged is not the worst"


def test_states_of_the_code_are_not_compared(make_result):
    ours = results(make_result, {"mu2net": (0.9, 0.9)}, machine={"commit": "b", "code": "1"})
    theirs = results(make_result, {"linear": (0.8, 0.8)}, machine={"commit": "a", "code": "1"})
    assert verdict(figures(Evidence.of(CONDITION, ours + theirs))["gain"]) == "met"
    old = results(make_result, {"linear": (0.8, 0.8)}, machine={"commit": "a"})
    mixed = figures(Evidence.of(CONDITION, ours + old))["gain"]
    assert verdict(mixed) == "no verdict: tiny: measured by 2 states of the code"
    alone = results(make_result, {"mu2net": (0.8, 0.8)}, experiment="alone", machine={"code": "2"})
    assert not is_judged(figures(Evidence.of(CONDITION, ours + alone))["transfer"])


def test_only_seeds_of_both_are_compared(make_result):
    first = results(make_result, {"mu2net": (0.9, 0.9), "linear": (0.8, 0.8)})
    second = results(make_result, {"mu2net": (0.5, 0.5)}, seed=1)
    assert figures(Evidence.of(CONDITION, first + second))["gain"].value == pytest.approx(10)


def test_transfer_compares_with_tasks_alone(make_result):
    table = results(make_result, {"mu2net": (0.9, 0.8)})
    alone = results(make_result, {"mu2net": (0.8, 0.7)}, experiment="alone")
    assert figures(Evidence.of(CONDITION, table + alone))["transfer"].value == pytest.approx(10)
    assert "transfer" not in figures(Evidence.of(CONDITION, table))
    assert "transfer" not in figures(Evidence.of(CONDITION, table + alone[:1]))


def test_hours_are_of_the_whole_table_or_there_are_none(make_result):
    roots = (Root("lite0", "efficientnet-lite0", 96), Root("vit_s", "file:vit.safetensors"))
    agents = ("mu2net", "lora:8")
    first = results(make_result, {"mu2net": (0.9, 0.8)}, "lite0", wall_seconds=3600.0, add_seconds=0.0)
    second = results(make_result, dict.fromkeys(agents, (0.9, 0.8)), "vit_s", wall_seconds=1795.0, add_seconds=5.0)
    other = results(make_result, {"munet": (0.9, 0.8)}, "vit_s")
    found = hours(Evidence.of(CONDITION, first + second + other), roots, agents, 0)
    assert found.value == pytest.approx((2 * 1.0 + 4 * 0.5) / 2)
    assert found.is_met
    assert hours(Evidence.of(CONDITION, first + second[:-1]), roots, agents, 0) is None
    assert hours(Evidence.of(CONDITION, first), roots, agents, 0) is None
    assert hours(Evidence.of(CONDITION, []), roots, agents, 0) is None


def test_where_nothing_is_complete_there_are_no_figures(make_result):
    assert figures(Evidence.of(CONDITION, [])) == {}
    partial = [make_result("mu2net", "a"), make_result("linear", "b")]
    assert figures(Evidence.of(CONDITION, partial)) == {}
