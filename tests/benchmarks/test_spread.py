from __future__ import annotations

import pytest

from benchmarks.spread import Comparison, Pair, Spread, standard_error


def test_a_spread_has_the_median_and_the_ends():
    assert Spread.of([5.0, 1.0, 3.0, 100.0]) == Spread(4.0, 1.0, 100.0, 4)
    with pytest.raises(ValueError, match="at least one"):
        Spread.of([])


def test_a_pair_compares_rates_and_times():
    pair = Pair(plain=10.0, ours=50.0, plain_seconds=9.0, ours_seconds=3.0)
    assert (pair.steady, pair.end_to_end) == (5.0, 3.0)


def test_the_standard_error_of_a_mean():
    assert standard_error([1.0, 2.0, 3.0]) == pytest.approx(1 / 3**0.5)
    with pytest.raises(ValueError, match="at least two"):
        standard_error([1.0])


def test_equal_means_lie_within_one_standard_error():
    equal = Comparison.of([0.80, 0.82, 0.84], [0.81, 0.82, 0.83])
    assert equal.is_equal
    assert equal.difference == pytest.approx(0.0)
    assert equal.paired_error == pytest.approx(standard_error([-0.01, 0.0, 0.01]))


def test_different_means_do_not():
    worse = Comparison.of([0.70, 0.71, 0.72], [0.80, 0.81, 0.82])
    assert not worse.is_equal
    assert worse.difference == pytest.approx(-0.1)
    assert worse.error == pytest.approx(2**0.5 * standard_error([0.70, 0.71, 0.72]))
    with pytest.raises(ValueError, match="as many on both sides"):
        Comparison.of([0.1, 0.2], [0.1])
