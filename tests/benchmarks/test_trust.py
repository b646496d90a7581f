"""A sample of what ``make bench-trust`` does many times."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from benchmarks.trust.__main__ import main
from benchmarks.trust.concurrency import run_together
from benchmarks.trust.corruption import KINDS, inject
from benchmarks.trust.coverage import measure_coverage
from benchmarks.trust.grown import add_task, make_store, publish
from benchmarks.trust.timing import publication_seconds, verify_rates
from mu2net.store.store import Store
from mu2net.store.verify import verify_files


def test_systems_to_break_are_whole(tmp_path):
    store = make_store(tmp_path / "system")
    add_task(store, "a")
    first = publish(store, "a", store.root(), 1)
    second = publish(store, "a", first, 2)
    assert [path.id for path in store.live_paths()] == [second.id] == ["a/1/0/0"]
    assert len(store.history("a")) == 4
    assert second.digests[:3] == store.root().digests[:3]
    assert verify_files(store) == []


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.thorough)])
def test_every_injected_damage_is_found_and_named(tmp_path, seed):
    found = inject(tmp_path / "system", 150, seed)
    assert found.missed == found.crashes == ()
    assert (found.count, found.share) == (150, 1.0)
    assert {kind for kind, _ in found.by_kind} == set(KINDS)
    assert {what for _, what in found.by_kind} == {"component", "mu2net.toml", "registry.seal", "registry.sqlite"}


def test_a_damage_that_is_not_found_is_counted(tmp_path, monkeypatch):
    """Else the check could not fail."""
    monkeypatch.setattr("benchmarks.trust.corruption._is_named", lambda folder, injection: injection.kind != "flip")
    found = inject(tmp_path / "system", 40)
    assert 0 < found.share < 1
    assert {injection.kind for injection in found.missed} == {"flip"}


def test_processes_that_publish_together_lose_nothing(tmp_path):
    """In a process of its own: it forks."""
    command = [sys.executable, "-m", "benchmarks.trust", "--only", "together", "--processes", "3", "--each", "6"]
    output = tmp_path / "trust.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    options = ["--work", str(tmp_path), "--output", str(output)]
    done = subprocess.run([*command, *options], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(output.read_text())["details"]["together"]
    assert (found["publications"], found["expected"], found["lost"]) == (18, 18, 0)
    assert (found["errors"], found["damages"]) == ([], [])
    assert min(found["reads"], found["collections"], found["collected"]) > 0


def test_what_is_lost_together_is_counted(tmp_path, monkeypatch):
    """Else the check could not fail: here every writer ends early, and one fails."""
    monkeypatch.setattr("benchmarks.trust.concurrency._write", early)
    found = run_together(tmp_path / "system", writers=2, count=3)
    assert not found.is_sound
    assert (found.publications, found.expected) == (2, 6)
    assert found.lost == 4 + 1
    assert len(found.errors) == 1
    assert "ZeroDivisionError" in found.errors[0]


def early(folder, task, count):
    store = Store.open(folder)
    path = publish(store, task, store.root(), 0)
    return path.id if task == "task0" else 1 / 0


def test_coverage_counts_lines_and_branches(tmp_path):
    """Of a single test file: most is not run, and is named; a failing test is no measurement."""
    found = measure_coverage(tmp_path, ("tests/core/test_rng.py",))
    assert 0.0 < found.share < 0.5
    assert found.branches > 500
    assert "src/mu2net/core/rng.py" not in found.missing
    assert any("->" in entry for entry in found.missing["src/mu2net/store/collect.py"])
    with pytest.raises(RuntimeError, match="tests fail"):
        measure_coverage(tmp_path, ("tests/core/test_nowhere.py",))


def test_killed_processes_lose_nothing(tmp_path):
    """In a process of its own: it forks, and replaces the executor."""
    command = [sys.executable, "-m", "benchmarks.trust", "--only", "kills", "--kills", "5", "--work", str(tmp_path)]
    output = tmp_path / "trust.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, "--output", str(output)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads(output.read_text())
    killed = written["details"]["kills"]
    assert killed["kills"] >= 5
    assert killed["cycles"] >= 1
    assert (killed["paths_lost"], killed["damages"], killed["differences"]) == (0, 0, 0)
    assert written["figures"] == {"paths_lost": 0, "groups_redone": killed["groups_redone"]}
    assert killed["groups_redone"] <= 1


def test_what_safety_costs_is_measured(tmp_path):
    seconds = publication_seconds(tmp_path / "publish", 6, tasks=2)
    assert seconds.shape == (6,)
    assert (seconds > 0).all()
    rates = verify_rates(tmp_path / "verify", 0.02, rounds=2)
    assert rates.count == 2
    assert rates.low > 0


def test_figures_of_parts_stay(tmp_path, capsys):
    output = tmp_path / "trust.json"
    options = ["--work", str(tmp_path), "--output", str(output), "--gib", "0.02", "--publications", "3"]
    assert main([*options, "--only", "verify"]) == 0
    assert main([*options, "--only", "publish"]) == 0
    written = json.loads(output.read_text())
    assert set(written["figures"]) == {"verify_gib_s", "publish_p99_ms"}
    assert set(written["details"]["measured"]) == {"verify", "publish"}
    assert "aim <= 25" in capsys.readouterr().out
