import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu2net.errors import ConfigError, UnknownNameError
from mu2net.train.schedule import SCHEDULES, learning_rate

lrs = st.sampled_from([1e-4, 1e-3, 0.01, 0.1, 0.5])
ratios = st.sampled_from([0.0, 0.01, 0.05, 0.1, 0.3, 0.4, 1.0])


def test_cosine_takes_its_closed_form_values():
    def at(step):
        return learning_rate("cosine", 0.2, 0.1, step, 100, 25)

    assert at(0) == pytest.approx(0.002)
    assert at(5) == pytest.approx(0.002 + 0.198 / 2)
    assert at(10) == pytest.approx(0.2)
    assert at(55) == pytest.approx(0.1)  # half of the 90 steps after the warm-up
    assert at(40) == pytest.approx(0.1 * (1 + math.cos(math.pi / 3)))
    assert at(99) == pytest.approx(0.1 * (1 + math.cos(math.pi * 89 / 90)))


def test_linear_falls_straight_to_zero_after_the_warm_up():
    values = [learning_rate("linear", 1.0, 0.2, step, 10, 5) for step in range(10)]
    assert values[:2] == pytest.approx([0.01, 0.505])
    assert values[2:] == pytest.approx([1 - step / 8 for step in range(8)])


def test_constant_is_half_the_rate():
    assert {learning_rate("constant", 0.02, 0.4, step, 9, 3) for step in range(9)} == {0.01}


@given(lrs, ratios, st.integers(1, 300), st.data())
def test_rates_stay_between_zero_and_the_peak(lr, ratio, total, data):
    step = data.draw(st.integers(0, total - 1))
    for schedule in SCHEDULES:
        assert 0.0 < learning_rate(schedule, lr, ratio, step, total, max(1, total // 4)) <= lr


@given(lrs, ratios, st.integers(2, 300))
def test_cosine_rises_then_falls(lr, ratio, total):
    values = [learning_rate("cosine", lr, ratio, step, total, 1) for step in range(total)]
    peak = values.index(max(values))
    assert values[: peak + 1] == sorted(values[: peak + 1])
    assert values[peak:] == sorted(values[peak:], reverse=True)


@given(lrs, ratios, st.integers(1, 40), st.integers(1, 6), st.data())
def test_restarts_repeat_one_cosine_cycle_per_interval(lr, ratio, per_interval, intervals, data):
    step = data.draw(st.integers(0, per_interval - 1))
    interval = data.draw(st.integers(0, intervals - 1))
    restarted = learning_rate(
        "restarts", lr, ratio, interval * per_interval + step, per_interval * intervals, per_interval
    )
    assert restarted == learning_rate("cosine", lr, ratio, step, per_interval, per_interval)


@given(lrs, st.sampled_from(["cosine", "linear", "restarts"]))
def test_without_warm_up_the_peak_comes_first(lr, schedule):
    assert learning_rate(schedule, lr, 0.0, 0, 10, 5) == lr
    assert learning_rate(schedule, lr, 0.4, 0, 1, 1) == lr


def test_a_ratio_that_binary_numbers_miss_keeps_its_steps():
    assert learning_rate("cosine", 1.0, 0.29, 28, 100, 1) < learning_rate("cosine", 1.0, 0.29, 29, 100, 1) == 1.0


def test_bad_arguments_are_named():
    with pytest.raises(UnknownNameError, match="did you mean 'cosine'"):
        learning_rate("cosin", 0.1, 0.1, 0, 10, 5)
    with pytest.raises(ConfigError, match=r"warm-up ratio is 1\.5"):
        learning_rate("cosine", 0.1, 1.5, 0, 10, 5)
    with pytest.raises(ConfigError, match="step 10 of 10"):
        learning_rate("cosine", 0.1, 0.1, 10, 10, 5)
