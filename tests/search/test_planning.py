from __future__ import annotations

import pytest

from mu2net.core.agents import make_agent
from mu2net.core.score import Scoring
from mu2net.errors import BudgetError
from mu2net.nn.roots import backbone_from_config
from mu2net.search import planning
from mu2net.search.budget import MAX_PASSES, TARGET_CHILDREN, Budget, ChildBudget, Cost, Plan
from mu2net.search.clock import Clock
from mu2net.search.config import SearchConfig
from mu2net.search.executor import LocalExecutor
from mu2net.search.images import load_recorded_task
from mu2net.search.planning import ChildPlanner
from mu2net.train.group import TrainConfig

TRAIN = 48
CHEAP = Cost(0.01, 0.0)


class Parallel(LocalExecutor):
    parallelism = 4


@pytest.fixture
def planner(store, monkeypatch):
    """Makes planners; a training example costs 0.01 s and a validation nothing."""

    def make(agent="mu2net", executor=LocalExecutor, cost=CHEAP, **config):
        backbone = backbone_from_config(store.config.backbone)
        anatomy = backbone.anatomy
        config = SearchConfig(agent, **{"batch_size": 8, "num_validations": 2, **config})
        measured = []
        monkeypatch.setattr(planning, "measure_speed", lambda *arguments, **_: measured.append(arguments[3]) or cost)
        chosen = make_agent(agent, anatomy, Scoring(anatomy.num_params, anatomy.flops), config.hparams)
        made = ChildPlanner(
            store,
            executor(store),
            backbone,
            load_recorded_task(store, "one"),
            chosen,
            config,
            TrainConfig(1, 1),
            lambda event: None,
            lambda: "no",
        )
        object.__setattr__(made, "measured", measured)
        return made

    return make


class Standing(Clock):
    """A clock that stands still."""

    def elapsed(self):
        return 0.0


def plan(planner, **bounds):
    budget = Budget(**bounds)
    return planner.plan(budget, Standing(budget.seconds))


def test_what_the_user_says_counts_up_to_one_pass(planner):
    assert plan(planner(examples_per_validation=20), seconds=1.0).child == ChildBudget(2, 20)
    assert plan(planner(examples_per_validation=10**6), children=3).child == ChildBudget(2, TRAIN)


def test_children_alone_get_full_passes(planner):
    assert plan(planner(), children=3) == Plan(ChildBudget(2, TRAIN))


def test_examples_are_divided_into_children(planner):
    assert plan(planner(), examples=8 * 2 * 20).child == ChildBudget(2, 20)
    assert plan(planner(), examples=3 * 2 * 20, children=3).child == ChildBudget(2, 20)


LONGEST = ChildBudget(2, MAX_PASSES * TRAIN)


def test_time_is_divided_into_children(planner):
    made = planner()
    planned = plan(made, seconds=8 * 2 * 0.201)
    assert planned.child == LONGEST
    assert planned.seconds == pytest.approx(0.4)
    (proposal,) = made.measured
    assert all(slot.is_trainable for slot in proposal.slots)


def test_a_child_never_gets_more_than_the_whole_time(planner):
    """Eight children on four workers are two each; one child cannot be divided among them."""
    assert plan(planner(executor=Parallel), seconds=2 * 2 * 0.201).seconds == pytest.approx(0.4)
    alone = plan(planner(executor=Parallel), seconds=2 * 0.201, children=1)
    assert alone.seconds == pytest.approx(0.4)


def test_no_child_gets_more_than_the_longest_training_takes(planner):
    assert plan(planner(), seconds=1e6).seconds == pytest.approx(LONGEST.examples * CHEAP.train)


def test_the_time_that_was_spent_before_counts(planner):
    clock = Standing(100.0, earlier=100.0 - 8 * 2 * 0.201)
    assert planner().plan(Budget(seconds=100.0), clock).seconds == pytest.approx(0.4)


@pytest.mark.parametrize("agent", ["linear", "finetune"])
def test_a_baseline_run_gets_what_a_cycle_may_spend(planner, agent):
    assert plan(planner(agent), children=5).child == ChildBudget(10, TRAIN)
    assert plan(planner(agent), examples=TRAIN * 7).child == ChildBudget(7, TRAIN)
    assert plan(planner(agent, examples_per_validation=24), children=5).child == ChildBudget(10, 24)


def test_baseline_runs_share_the_time_in_rounds(planner):
    """Four runs on one worker come one after the other; on four workers each has all the time."""
    one = planner("linear", generation_size=4)
    assert plan(one, seconds=100.0) == Plan(ChildBudget(TARGET_CHILDREN * 2, MAX_PASSES * TRAIN), 25.0)
    assert [slot.slot.name for slot in one.measured[0].slots if slot.is_trainable] == ["norm", "head"]
    assert plan(planner("linear", Parallel, generation_size=4), seconds=100.0).seconds == 100.0
    assert plan(planner("linear", Parallel, generation_size=5), seconds=100.0).seconds == 50.0


@pytest.mark.parametrize("agent", ["mu2net", "linear"])
def test_too_little_is_an_error_that_says_how_much(planner, agent):
    with pytest.raises(BudgetError, match=r"budget of 7 training examples .*at least --examples 8"):
        plan(planner(agent), examples=7)
    with pytest.raises(BudgetError, match=r"time budget of 9 s .*at least --time 120s"):
        plan(planner(agent, cost=Cost(10.0, 0.0), generation_size=1), seconds=9)


def test_the_image_size_of_the_search_is_measured(planner):
    made = planner(hparams={"ds_image_size": 16, "opt_lr": 0.5})
    plan(made, seconds=100)
    assert made.measured[0].hparams["ds_image_size"] == 16


def test_fewer_examples_than_one_child_takes_is_an_error_that_says_how_many(planner):
    with pytest.raises(BudgetError, match=r"smaller than one child, which takes 40 .*--examples 40"):
        plan(planner(examples_per_validation=20), examples=39)
    assert plan(planner(examples_per_validation=20), examples=40).child == ChildBudget(2, 20)


@pytest.mark.parametrize("agent", ["budgeted", "tuned:finetune"])
def test_an_agent_that_divides_the_time_itself_learns_what_a_pass_costs(planner, agent):
    """The cost of a head alone, which is about that of a forward pass."""
    made = planner(agent, cost=Cost(0.02, 0.0))
    found = plan(made, seconds=100.0)
    assert (found.seconds, found.pass_seconds) == (100.0, 0.02)
    assert [slot.slot.name for slot in made.measured[0].slots if slot.is_trainable] == ["norm", "head"]
    assert plan(planner(agent), examples=1000).pass_seconds is None
