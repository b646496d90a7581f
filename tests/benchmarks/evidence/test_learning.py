from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from benchmarks.evidence.learning import Learner, Store
from benchmarks.evidence.plans import Plan, Run
from mu2net.search.images import ACTIVATIONS_NAME, CACHE_NAME
from tests.benchmarks.evidence.conftest import CONDITION


@pytest.mark.parametrize(("seconds", "is_kept"), [(60.0, False), (None, True)])
def test_an_interrupted_task_goes_on_without_the_activations_that_no_time_was_counted_for(
    tmp_path, monkeypatch, root, seconds, is_kept
):
    """Where examples bound it, they cost nothing that is measured, so they may stay."""
    condition = replace(CONDITION, seconds=seconds, examples=None if seconds else 100)
    learner = Learner(Plan(Run("table", root, "budgeted", 0, ("noise",), condition), tmp_path, {}), print)
    activations, found = tmp_path / CACHE_NAME / ACTIVATIONS_NAME, []
    system = SimpleNamespace(
        directory=tmp_path,
        tasks=lambda: [SimpleNamespace(name="noise")],
        evolve=lambda *_, **__: found.append(activations.exists()),
    )
    monkeypatch.setattr(Learner, "_result", lambda _, __, ___, measured: measured)
    for cycle in (None, SimpleNamespace(spent_seconds=5.0)):
        activations.mkdir(parents=True, exist_ok=True)
        monkeypatch.setattr(Store, "open", lambda _, cycle=cycle: SimpleNamespace(running_cycle=lambda _: cycle))
        measured = learner._learn(system, "noise")
        assert measured.is_resumed == (cycle is not None)
    assert found == [True, is_kept]
    assert measured.wall_seconds >= 5.0
