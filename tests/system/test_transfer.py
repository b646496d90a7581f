"""Tasks that really learned, moved to other systems."""

from __future__ import annotations

import shutil
from datetime import timedelta

import pytest

from mu2net.core.agents import AGENTS
from mu2net.errors import ConfigError
from mu2net.store.backup import restore
from mu2net.system import System


def test_a_moved_task_answers_as_before_and_goes_on_learning(evolved, copy_of, template, small):
    images = sorted((template.parent / "two" / "test").rglob("*.png"))[:8]
    before = evolved.predict("two", images)
    with System.open(copy_of("other")) as other:
        other.remove("two")
        moved = other.import_task(evolved.directory, "two", as_name="second")
        assert set(moved.influence) == {"one", "second"}
        told = [(answer.label, answer.top) for answer in before]
        assert [(answer.label, answer.top) for answer in other.predict("second", images)] == told
        assert other.verify().is_intact
        assert other.task("second").test == evolved.task("two").test
        assert other.evaluate("second").accuracy == pytest.approx(evolved.task("two").test)
        task = other.evolve("second", children=2, **small)
        assert task.path_id in {moved.path, *(child.id for child in other.history("second"))}
        assert other.verify().is_intact


def test_a_new_system_answers_as_the_old_one(evolved, tmp_path, template):
    images = sorted((template.parent / "one" / "test").rglob("*.png"))[:4]
    assert {one.task for one in evolved.export_system(tmp_path / "new")} == {"one", "two"}
    with System.open(tmp_path / "new") as new:
        assert new.predict("one", images) == evolved.predict("one", images)
        assert new.verify().is_intact
        assert new.tasks() != []
        assert new.history("two") != []
        with pytest.raises(ConfigError, match="exists already"):
            evolved.export_system(new.directory)


def test_a_task_moves_out_of_a_restored_backup(evolved, tmp_path, template):
    """And back into the system that the backup was made of, where it was removed since."""
    images = sorted((template.parent / "two" / "test").rglob("*.png"))[:8]
    before = evolved.predict("two", images)
    with System.open(shutil.copytree(evolved.directory, tmp_path / "lost")) as lost:
        lost.backup(str(tmp_path / "backup"))
        lost.remove("two", with_influence=False)
        lost.collect(grace=timedelta(0), is_dry=False)
        restore(str(tmp_path / "backup"), tmp_path / "restored")
        with pytest.raises(ConfigError, match=r"'two' exists already \(it was removed on .*--as NAME"):
            lost.import_task(tmp_path / "restored", "two")
        lost.import_task(tmp_path / "restored", "two", as_name="again")
        answers = [(answer.label, answer.top) for answer in lost.predict("again", images)]
        assert answers == [(answer.label, answer.top) for answer in before]
        assert lost.verify().is_intact


@pytest.mark.parametrize("agent", [name for name in AGENTS if name in ("munet", "mu2net", "mu2net-plus", "budgeted")])
def test_no_agent_builds_on_a_private_task_that_was_imported(system, copy_of, small, pictures, tmp_path, agent):
    """Exported by name, imported again, opened again: it is as private as it was."""
    system.add_task("secret", pictures(tmp_path / "secret", seed=7), is_private=True)
    system.evolve("secret", agent="finetune", children=1, **small)
    system.export_system(tmp_path / "exported", ["secret"])
    directory = copy_of("other")
    with System.open(directory) as other:
        other.import_task(tmp_path / "exported", "secret")
    with System.open(directory) as other:
        assert other.task("secret").is_private
        other.evolve("one", agent=agent, children=4, **small)
        assert other.provenance("one").influence == ("one",)
        assert all(path.influence == {"one"} for path in other._store.history("one"))
