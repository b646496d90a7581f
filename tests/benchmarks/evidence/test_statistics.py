from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.evidence.statistics import Outcomes, accuracy, average, difference, draw_averages


def half_width(error):
    return 1.96 * error


def test_the_interval_of_one_accuracy_is_the_binomial_one():
    found = accuracy([1600], 2000)
    assert found.value == pytest.approx(0.8)
    expected = half_width(math.sqrt(0.8 * 0.2 / 2000))
    assert found.half_width == pytest.approx(expected, rel=0.05)
    assert found.low == pytest.approx(0.8 - expected, abs=1e-3)


def test_the_average_over_tasks_has_the_error_of_a_mean():
    outcomes = Outcomes(((500, 90, 1800, 300),), (1000, 100, 2000, 1000))
    found = average(outcomes)
    assert found.value == pytest.approx((0.5 + 0.9 + 0.9 + 0.3) / 4)
    variances = [0.25 / 1000, 0.09 / 100, 0.09 / 2000, 0.21 / 1000]
    assert found.half_width == pytest.approx(half_width(math.sqrt(sum(variances)) / 4), rel=0.05)


def test_the_error_of_a_difference_is_that_of_both():
    ours, theirs = Outcomes(((1700,),), (2000,)), Outcomes(((1600,),), (2000,))
    found = difference(ours, theirs)
    assert found.value == pytest.approx(0.05)
    expected = half_width(math.sqrt(0.85 * 0.15 / 2000 + 0.8 * 0.2 / 2000))
    assert found.half_width == pytest.approx(expected, rel=0.05)
    assert found.low < 0.05 < found.high


def test_equal_agents_have_independent_draws():
    outcomes = Outcomes(((100,),), (200,))
    found = difference(outcomes, outcomes)
    assert found.value == 0
    assert found.low < -0.05
    assert found.high > 0.05


def test_seeds_that_agree_add_nothing_and_see_the_same_images():
    one = average(Outcomes(((1600,),), (2000,)))
    three = average(Outcomes(((1600,),) * 3, (2000,)))
    assert three.half_width == pytest.approx(one.half_width, rel=0.05)


def test_seeds_that_differ_widen_the_interval():
    rng = np.random.default_rng(0)
    outcomes = Outcomes(((60_000,), (70_000,), (80_000,)), (100_000,))
    draws = draw_averages(outcomes, rng)
    spread = np.std([0.6, 0.7, 0.8]) / math.sqrt(3)
    assert np.std(draws) == pytest.approx(spread, rel=0.05)
    assert np.mean(draws) == pytest.approx(0.7, abs=2e-3)


def test_equal_seeds_of_the_draws_give_equal_intervals():
    outcomes = Outcomes(((10, 20), (12, 18)), (40, 40))
    assert average(outcomes) == average(outcomes)
    assert average(outcomes) != average(outcomes, seed=1)


def test_all_correct_stays_all_correct():
    found = average(Outcomes(((7, 9),) * 3, (7, 9)))
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("correct", "totals"), [((), ()), (((),), ()), (((1,), (1, 2)), (3,)), (((4,),), (3,)), (((0,),), (0,))]
)
def test_impossible_outcomes_are_refused(correct, totals):
    with pytest.raises(ValueError, match="expected"):
        Outcomes(correct, totals)
