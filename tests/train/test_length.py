import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu2net.train.length import VALIDATION_SHARE, Length, StepCost, fit_length

seconds = st.floats(1e-3, 1e4)
costs = st.builds(
    StepCost,
    seconds=st.floats(1e-5, 10.0),
    fill_seconds=st.floats(0.0, 10.0),
    num_missing=st.none() | st.integers(0, 500),
)
lengths = st.builds(Length, st.integers(1, 30), st.integers(1, 5000))


def test_an_interval_ends_with_its_last_step():
    length = Length(3, 4)
    assert length.total_steps == 12
    assert [step for step in range(12) if length.ends_interval(step)] == [3, 7, 11]


def test_missing_activations_are_paid_for_once_and_fresh_ones_always():
    assert StepCost(1.0, 2.0, num_missing=3).of(10) == 10 + 3 * 2.0
    assert StepCost(1.0, 2.0, num_missing=3).of(2) == 2 + 2 * 2.0
    assert StepCost(1.0, 2.0).of(10) == 30.0


@given(seconds, costs)
def test_as_many_steps_as_fit_and_no_more(time, cost):
    steps = cost.fitting(time)
    assert steps == 0 or cost.of(steps) <= time * (1 + 1e-9)
    assert cost.of(steps + 1) > time * (1 - 1e-9)


def test_no_time_holds_no_step():
    assert StepCost(1.0).fitting(-5.0) == 0


@given(seconds, costs, costs, lengths)
def test_the_longest_training_fits_or_is_the_shortest(time, step, validation, longest):
    found = fit_length(time, step, validation, longest)
    assert 1 <= found.num_validations <= longest.num_validations
    assert 1 <= found.steps_per_interval <= longest.steps_per_interval
    spent = step.of(found.total_steps) + validation.of(found.num_validations)
    assert spent <= time * (1 + 1e-9) or found == Length(1, 1)


def test_a_cheaper_child_sees_more_examples():
    longest = Length(4, 10_000)
    dear, cheap = (fit_length(60.0, StepCost(cost), StepCost(0.1), longest) for cost in (0.2, 0.002))
    assert dear.num_validations == cheap.num_validations == 4
    assert 90 * dear.steps_per_interval < cheap.steps_per_interval < 110 * dear.steps_per_interval


def test_validation_takes_a_quarter_at_most_where_it_can():
    longest = Length(4, 10_000)
    found = fit_length(10.0, StepCost(0.01), StepCost(1.0), longest)
    assert found.num_validations == 2 == int(VALIDATION_SHARE * 10.0)
    assert fit_length(2.0, StepCost(0.01), StepCost(1.0), longest) == Length(1, 100)


def test_a_training_is_never_longer_than_the_longest():
    assert fit_length(1e9, StepCost(1e-3), StepCost(1e-3), Length(3, 7)) == Length(3, 7)


def test_little_time_is_lost_to_whole_steps():
    """127 steps in 32 intervals would be 96: fewer, longer intervals hold nearly all of them."""
    found = fit_length(127.0, StepCost(1.0), StepCost(0.01), Length(32, 10_000))
    assert found.total_steps >= 0.89 * 127
    assert found.num_validations >= 12
    assert fit_length(3.5, StepCost(1.0), StepCost(0.01), Length(4, 100)) == Length(3, 1)


@pytest.mark.parametrize(("one", "other", "both"), [(3, 5, 5), (None, 5, None), (3, None, None), (None, None, None)])
def test_costs_add_up(one, other, both):
    total = StepCost(1.0, 2.0, one) + StepCost(0.5, 0.25, other)
    assert total == StepCost(1.5, 2.25, both)
