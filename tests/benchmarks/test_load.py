from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import load
from benchmarks.load import ForeignLoad

pytestmark = pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs /proc/stat")


def test_what_the_others_used_is_what_is_left_of_the_busy_time(monkeypatch):
    clock = {"now": 0.0, "own": 10.0, "busy": 100.0}
    monkeypatch.setattr(load, "perf_counter", lambda: clock["now"])
    monkeypatch.setattr(load, "_own_seconds", lambda: clock["own"])
    monkeypatch.setattr(load, "_busy_seconds", lambda: clock["busy"])
    monkeypatch.setattr(load.os, "cpu_count", lambda: 2)
    foreign = ForeignLoad()
    clock.update(now=10.0, own=25.0, busy=118.0)
    assert foreign.share() == pytest.approx((18 - 15) / 20)
    clock.update(busy=None)
    assert foreign.share() is None


def test_children_that_ended_are_no_others():
    before = load._own_seconds()
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    assert load._own_seconds() > before
    assert load._busy_seconds() > 0
