from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.evidence.agents import in_turn, is_baseline, misfit
from benchmarks.evidence.keys import Condition
from benchmarks.evidence.plans import SCALES, Plan, Run, make_runs
from benchmarks.evidence.roots import Root
from benchmarks.evidence.tasks import ordered
from mu2net.errors import ConfigError, RangeError, UnknownNameError

CONDITION = Condition(60.0)
TASKS = ("a", "b", "c")


def runs(root, *experiments, agents=("mu2net", "munet", "linear"), seeds=(0,)):
    return make_runs(experiments, {root: agents}, seeds, TASKS, CONDITION)


def test_the_table_has_one_run_per_root_agent_and_seed(root):
    found = make_runs(
        ["table"], {root: ["mu2net", "linear"], replace(root, name="other"): ["linear"]}, (0, 1), TASKS, CONDITION
    )
    assert len(found) == len(set(found)) == 6
    assert {run.tasks for run in found if run.seed == 1} == {ordered(TASKS, 1)}
    assert ordered(TASKS, 1) != ordered(TASKS, 0)


def test_agents_alternate_and_each_baseline_runs_beside_an_evolving_one(root):
    agents = ("mu2net", "munet", "linear", "finetune", "lora:8")
    assert [run.agent for run in runs(root, "table", agents=agents)] == in_turn(agents)
    assert in_turn(agents) == ["mu2net", "linear", "munet", "finetune", "lora:8"]


def test_baselines_have_no_other_experiments_than_the_table(root):
    found = runs(root, "alone", "scale", "growth")
    assert {run.agent for run in found} == {"mu2net", "munet"}


def test_no_size_penalty_is_the_run_of_the_table(root):
    scale = runs(root, "scale", agents=("mu2net",))
    assert sorted((run.s_size for run in scale), reverse=True) == list(SCALES)
    assert [run for run in scale if run.experiment == "table"] == runs(root, "table", agents=("mu2net",))
    assert len(runs(root, "table", "scale", agents=("mu2net",))) == len(SCALES)


def test_growth_learns_all_tasks_then_their_parts_in_the_same_order(root):
    (run,) = runs(root, "growth", agents=("mu2net",))
    order = ordered(TASKS, 0)
    assert run.tasks == (*order, *(f"{name}-1k" for name in order))


def test_what_knows_of_no_other_task_has_a_key_without_an_order(root):
    sequence = Run("table", root, "mu2net", 0, TASKS, CONDITION)
    assert sequence.key("b").order == TASKS
    assert sequence.key("b").position == 1
    for run in (replace(sequence, agent="linear"), replace(sequence, experiment="alone")):
        assert run.key("b") == replace(run, tasks=("b", "c")).key("b")
        assert run.folder == replace(run, tasks=("b", "c")).folder
    assert sequence.folder != replace(sequence, tasks=("b", "c")).folder


def test_folders_differ_where_keys_do(root):
    run = Run("table", root, "mu2net", 0, TASKS, CONDITION)
    others = [replace(run, condition=Condition(61.0)), replace(run, agent="freeze:8"), replace(run, seed=1)]
    assert len({other.folder for other in (run, *others)}) == 4
    assert ":" not in replace(run, agent="tuned:freeze:8").folder


def test_plans_come_back_from_json(root):
    run = Run("scale", root, "mu2net", 0, TASKS, Condition(None, 5, (("mu", 0.2),), ("mu",)), 0.9)
    plan = Plan(run, Path("/work"), {"a": Path("/tasks/a")}, ("a",), jobs=2, parent=7)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_a_system_without_its_check_is_not_done(root):
    plan = Plan(Run("table", root, "mu2net", 0, TASKS, CONDITION), Path("/work"), {}, TASKS)
    assert not plan.is_done
    assert replace(plan, is_check_known=True).is_done
    assert not replace(plan, is_check_known=True, known=("a", "b")).is_done
    assert replace(plan, run=replace(plan.run, agent="linear")).is_done


@pytest.mark.parametrize("agent", ["lora:8", "tuned:finetune", "finetune", "linear", "freeze:3", "adapters:8"])
def test_baselines_are_known_by_name(agent):
    assert is_baseline(agent)


@pytest.mark.parametrize("agent", ["mu2net", "mu2net-plus", "munet", "budgeted"])
def test_all_others_evolve(agent):
    assert not is_baseline(agent)


def test_what_does_not_fit_a_root_is_left_out_with_a_reason(root):
    convolutional = Root("lite0", "efficientnet-lite0", 64)
    anatomy = convolutional.anatomy()
    assert "vision transformer" in misfit("lora:8", convolutional, anatomy, CONDITION)
    assert "adapters" in misfit("adapters:8", convolutional, anatomy, CONDITION)
    assert misfit("mu2net", convolutional, anatomy, CONDITION) is None
    anatomy = root.anatomy()
    assert "freeze:20" in misfit("freeze:20", root, anatomy, CONDITION)
    assert "freeze:20" in misfit("tuned:freeze:20", root, anatomy, CONDITION)
    for agent in ("freeze:2", "tuned:freeze:2"):
        assert "linear probe" in misfit(agent, root, anatomy, CONDITION)
    for agent in ("lora:8", "adapters:8", "linear", "freeze:1", "tuned:freeze:1"):
        assert misfit(agent, root, anatomy, CONDITION) is None


@pytest.mark.parametrize(
    ("agent", "condition", "error"),
    [
        ("mu3net", CONDITION, UnknownNameError),
        ("lora:x", CONDITION, ConfigError),
        ("freeze:", CONDITION, ConfigError),
        ("tuned:", CONDITION, ConfigError),
        ("tuned:nothing", CONDITION, UnknownNameError),
        ("adapters:7", CONDITION, RangeError),
        ("mu2net", Condition(1.0, hparams=(("opt_lr", 3.0),)), RangeError),
        ("mu2net", Condition(1.0, fixed=("opt_rl",)), UnknownNameError),
    ],
)
def test_mistakes_are_errors(root, agent, condition, error):
    with pytest.raises(error):
        misfit(agent, root, root.anatomy(), condition)
