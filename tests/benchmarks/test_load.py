from __future__ import annotations

import os
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


def test_a_family_counts_with_its_running_and_ended_descendants(tmp_path, monkeypatch):
    def process(number, parent, *ticks):
        (tmp_path / str(number)).mkdir()
        text = f"{number} (a (b) c) S {parent} " + "0 " * 9 + " ".join(map(str, ticks)) + " 20 0"
        (tmp_path / str(number) / "stat").write_text(text)

    process(1, 0, 999, 999, 999, 999)
    process(10, 1, 1, 2, 3, 4)
    process(11, 10, 10, 0, 0, 5)
    process(12, 11, 100, 0, 0, 0)
    process(20, 1, 7000, 0, 0, 0)
    monkeypatch.setattr(load, "_PROCESSES", tmp_path)
    monkeypatch.setattr(load, "_TICKS", 100)
    assert load._family_seconds(10) == pytest.approx((10 + 15 + 100) / 100)
    assert load._family_seconds(12) == pytest.approx(1.0)
    assert load._family_seconds(77) == 0


def test_the_family_of_this_process_is_in_the_list_of_processes():
    assert load._family_seconds(os.getpid()) > 0
    assert 0 <= ForeignLoad(os.getpid()).share() <= 1
