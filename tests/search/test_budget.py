from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu2net.errors import ConfigError
from mu2net.search.budget import (
    IN_EXAMPLES,
    PAPER_EXAMPLES_PER_VALIDATION,
    Budget,
    ChildBudget,
    Cost,
    Workload,
    full_child,
    plan_child,
    plan_run,
    too_small,
)

works = st.builds(
    Workload,
    num_train=st.integers(1, 200_000),
    num_validated=st.integers(1, 10_000),
    batch_size=st.integers(1, 512),
    num_validations=st.integers(1, 30),
)
costs = st.builds(Cost, train=st.floats(1e-6, 1.0), evaluate=st.floats(0.0, 1.0))
totals = st.floats(1e-3, 1e7)


def test_a_budget_needs_a_bound():
    with pytest.raises(ConfigError, match="needs a budget"):
        Budget()


@pytest.mark.parametrize(
    ("bounds", "name"),
    [
        ({"seconds": 0}, "time budget is 0"),
        ({"seconds": -1.5}, "time budget is -1.5"),
        ({"seconds": math.inf}, "time budget is inf"),
        ({"seconds": math.nan}, "time budget is nan"),
        ({"children": 0}, "children budget is 0"),
        ({"children": 3, "examples": -1}, "examples budget is -1"),
    ],
)
def test_a_bound_is_positive_and_finite(bounds, name):
    with pytest.raises(ConfigError, match=name):
        Budget(**bounds)


def test_cost_counts_every_interval_and_validation():
    assert Cost(train=3, evaluate=1).of(ChildBudget(4, 100), num_validated=50) == 4 * (300 + 50)


def test_a_full_child_sees_every_image_once_per_interval_up_to_the_papers_bound():
    assert full_child(Workload(900, 50, 64, 4)) == ChildBudget(4, 900)
    assert full_child(Workload(60_000, 50, 64, 5)) == ChildBudget(5, PAPER_EXAMPLES_PER_VALIDATION)


@given(totals, costs, works, st.integers(1, 20))
def test_the_planned_children_fit(total, cost, work, children):
    planned = plan_child(total, cost, work, children)
    if planned is None:
        smallest = cost.of(ChildBudget(1, work.smallest_interval), work.num_validated)
        assert total < smallest * (1 + 1e-9) + cost.train
        return
    assert cost.of(planned, work.num_validated) <= total * (1 + 1e-9)
    assert work.smallest_interval <= planned.examples_per_validation <= work.num_train
    assert 1 <= planned.num_validations <= work.num_validations


def test_validations_are_given_up_before_children():
    work = Workload(1000, 0, 50, num_validations=4)
    assert plan_child(12 * 4 * 70, IN_EXAMPLES, work, 12) == ChildBudget(4, 70)
    assert plan_child(12 * 4 * 50 - 1, IN_EXAMPLES, work, 12) == ChildBudget(3, 66)
    assert plan_child(12 * 50, IN_EXAMPLES, work, 12) == ChildBudget(1, 50)
    assert plan_child(12 * 50 - 1, IN_EXAMPLES, work, 12) == ChildBudget(1, 54)
    assert plan_child(50, IN_EXAMPLES, work, 12) == ChildBudget(1, 50)
    assert plan_child(49, IN_EXAMPLES, work, 12) is None


def test_validation_is_paid_for_and_takes_a_quarter_at_most():
    work = Workload(10_000, 100, 10, num_validations=4)
    assert plan_child(2 * 4 * 900, Cost(1.0, 1.0), work, 2) == ChildBudget(4, 800)
    assert plan_child(2 * 900, Cost(1.0, 1.0), work, 2) == ChildBudget(2, 350)
    assert plan_child(2 * 300, Cost(1.0, 1.0), work, 2) == ChildBudget(1, 500)
    assert plan_child(110, Cost(1.0, 1.0), work, 2) == ChildBudget(1, 10)


def test_an_interval_is_one_pass_at_most():
    assert plan_child(1e9, IN_EXAMPLES, Workload(70, 10, 64, 4)) == ChildBudget(4, 70)
    assert plan_child(30, IN_EXAMPLES, Workload(20, 10, 64, 1), 1) == ChildBudget(1, 20)


@given(totals, costs, works)
def test_a_run_spends_everything_and_no_more(total, cost, work):
    planned = plan_run(total, cost, work)
    if planned is None:
        assert plan_child(total, cost, work, 1) is None
        return
    one = cost.of(ChildBudget(1, planned.examples_per_validation), work.num_validated)
    spent = cost.of(planned, work.num_validated)
    assert spent <= total * (1 + 1e-9)
    if planned.examples_per_validation == full_child(work).examples_per_validation:
        assert spent + one > total * (1 - 1e-9)


def test_too_little_time_says_how_much_is_needed():
    work = Workload(900, 100, 64, 4)
    error = too_small(Budget(seconds=2), Cost(train=0.1, evaluate=0.02), work, spent=3.0, rounds=2)
    assert str(error) == (
        "a time budget of 2 s is too small for one interval (64 training examples and one validation of 100 images); "
        "nothing was published. Give at least --time 30s"
    )


def test_too_few_examples_say_how_many_are_needed():
    error = too_small(Budget(examples=10), IN_EXAMPLES, Workload(40, 10, 64, 4))
    assert "budget of 10 training examples is too small for one interval (40 training" in str(error)
    assert str(error).endswith("Give at least --examples 40")
