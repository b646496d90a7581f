from __future__ import annotations

import math
import time

import pytest

from mu2net.search.clock import Clock


@pytest.fixture
def now(monkeypatch):
    """The time, which only passes when a test says so."""
    moment = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: moment[0])
    return moment


def test_without_a_budget_time_never_ends(now):
    clock = Clock(None)
    now[0] += 1e9
    assert clock.remaining() == math.inf


def test_earlier_runs_count(now):
    clock = Clock(10.0, earlier=4.0)
    assert clock.remaining() == 6.0
    now[0] += 2.5
    assert (clock.elapsed(), clock.remaining()) == (2.5, 3.5)
    now[0] += 60
    assert clock.remaining() == 0.0


def test_it_may_have_started_before(now):
    assert Clock(10.0, started=97.0).remaining() == 7.0


def test_laps_add_up(now):
    clock = Clock(10.0)
    now[0] += 3
    assert clock.lap() == 3
    now[0] += 1
    assert clock.lap() == 1
    assert clock.lap() == 0
    assert clock.elapsed() == 4
