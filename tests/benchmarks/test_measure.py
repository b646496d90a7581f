from __future__ import annotations

import pytest

from benchmarks.children import Budget, Mu2NetRun, propose
from benchmarks.measure import plain_sample, steady_rate
from mu2net.train.events import IntervalDone


def run(*windows: tuple[float, float, float], validation: float = 0.0) -> Mu2NetRun:
    """Children whose intervals of 100 examples end at some times."""
    return Mu2NetRun(
        intervals={
            str(child): [
                (end, IntervalDone(str(child), number, 0.5, 1.0, 100, 0.1, end, validation))
                for number, end in enumerate(ends)
            ]
            for child, ends in enumerate(windows)
        }
    )


def test_the_first_interval_does_not_count():
    assert steady_rate(run((50.0, 51.0, 52.0)), 1) == pytest.approx(100.0)


def test_workers_add_up():
    assert steady_rate(run((5.0, 6.0, 7.0), (5.0, 6.0, 7.0)), 2) == pytest.approx(200.0)
    lock_step = run(*[(5.0, 6.0, 7.0)] * 4)
    assert steady_rate(lock_step, 2) == pytest.approx(400.0)


def test_validation_does_not_count():
    assert steady_rate(run((5.0, 6.0, 7.0), validation=0.5), 1) == pytest.approx(200.0)


def test_the_plain_loop_is_timed_within_its_budget(place):
    child = propose(place, "linear", 1, 0, augments=False)[0]
    sample = plain_sample(place, child, Budget(1, 256), steps=100)
    assert sample.rate > 0
    assert sample.validation_seconds > 0
