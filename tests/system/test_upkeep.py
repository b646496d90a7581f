"""The upkeep of a system that really learned."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mu2net.core.agents import AGENTS
from mu2net.errors import ConfigError, UnknownNameError
from mu2net.system import System
from mu2net.system.upkeep import to_json


@pytest.fixture
def chain(system, small):
    """Task ``two`` builds on ``one``: every child of it must, because it starts from its path alone."""
    system.evolve("one", agent="finetune", children=1, **small)
    for seed in range(20):
        system.evolve("two", children=2, seed=seed, **small)
        if "one" in system.provenance("two").influence:
            return system
    raise AssertionError("no child of twenty cycles descends from the other task")


def test_provenance_of_what_was_learned(chain):
    found = chain.provenance("two")
    assert found.influence == ("one", "two")
    assert {origin.task for slot in found.slots for origin in slot.origins} <= {None, "one", "two"}
    assert found.slots[-1].slot == "head"
    assert [origin.task for origin in found.slots[-1].origins] == ["two"]


def test_removal_with_influence_and_learning_again_without(chain, small):
    """Exact removal: afterwards nothing descends from the task, and its bytes are gone."""
    before = set(chain._store.components.digests())
    chain.remove("one", with_influence=True)
    assert [task.path_id for task in chain.tasks()] == [None]
    with pytest.raises(ConfigError, match="was removed"):
        chain.predict("one", [])
    chain.evolve("two", children=2, restart=True, **small)
    assert chain.provenance("two").influence == ("two",)
    assert (chain.directory / "cache").is_dir()
    chain.collect(grace=timedelta(0), is_dry=False)
    assert not (chain.directory / "cache").exists()
    left = set(chain._store.components.digests())
    assert left < before | left
    assert chain.verify().is_intact
    with pytest.raises(ConfigError, match="no removal"):
        chain.undo()


def test_undo_brings_predictions_back(chain, template):
    image = template.parent / "one" / "test" / "red" / "0.png"
    before = chain.predict("one", [image])
    chain.remove("one")
    chain.undo()
    assert chain.predict("one", [image]) == before
    assert chain.verify().is_intact


def test_the_facts_of_upkeep(chain, tmp_path):
    usage = chain.usage()
    assert usage.live > 0
    assert chain.compact_history() > 0
    found = chain.collect(is_dry=False)
    assert found.is_done
    assert found.files
    chain.backup(str(tmp_path / "backup"))
    digest = chain._store.live_path("two").digests[-1]
    chain._store.components.file(digest).unlink()
    report = chain.verify()
    assert report.damaged_files == (digest,)
    assert chain.verify(depth="quick").damaged_files == (digest,)
    assert chain.repair(tmp_path / "backup", report.damaged_files).restored == (digest,)
    assert chain.verify().is_intact
    assert chain.verify(depth="sample", share=0.5).is_intact
    assert chain.quarantine([]) == []


@pytest.mark.parametrize("agent", [name for name in AGENTS if name in ("munet", "mu2net", "mu2net-plus", "budgeted")])
def test_no_agent_builds_on_a_task_that_is_denied(system, small, pictures, tmp_path, agent):
    """Also after the system was opened anew, and through a task that was built on it."""
    system.evolve("one", agent="finetune", children=1, **small)
    for seed in range(20):
        system.evolve("two", children=2, seed=seed, **small)
        if "one" in system.provenance("two").influence:
            break
    for name, options in (("shy", {"deny_from": ["one"]}), ("picky", {"allow_from": ["two"]})):
        system.add_task(name, pictures(tmp_path / name, seed=9), **options)
        again = System.open(system.directory)
        again.evolve(name, agent=agent, children=4, **small)
        assert again.provenance(name).influence == (name,)
        assert all(path.influence == {name} for path in again._store.history(name))


def test_rules_name_tasks_that_exist(system, pictures, tmp_path):
    with pytest.raises(UnknownNameError, match="'on'"):
        system.add_task("x", pictures(tmp_path / "x", seed=9), deny_from=["on"])
    assert [task.name for task in system.tasks()] == ["one", "two"]


def test_rules_may_name_tasks_whose_data_are_still_at_work(chain, small, pictures, tmp_path):
    """``one`` was removed without its influence: ``two`` still carries it."""
    chain.remove("one")
    chain.add_task("shy", pictures(tmp_path / "shy", seed=9), deny_from=["one"])
    chain.evolve("shy", children=4, **small)
    assert chain.provenance("shy").influence == ("shy",)


def test_answers_become_json():
    @dataclass(frozen=True)
    class Thing:
        at: datetime
        place: Path
        parts: tuple[object, ...]

    thing = Thing(datetime(2026, 1, 2, tzinfo=UTC), Path("a/b"), ({"x": 1}, None))
    assert to_json(thing) == {"at": "2026-01-02T00:00:00+00:00", "place": "a/b", "parts": [{"x": 1}, None]}
