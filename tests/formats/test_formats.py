"""Systems that earlier versions wrote open, verify and evolve."""

from __future__ import annotations

import re
import sqlite3
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from mu2net.errors import PrivacyError, StoreError
from mu2net.store.migrate import alembic_config
from mu2net.store.records import NewComponent, TrainedRecord
from mu2net.store.schema import OriginRow
from mu2net.store.store import Store
from mu2net.system import System

ARCHIVES = sorted(Path(__file__).parent.glob("format*.tar.gz"))
LIVE = ["digits/0/0/1", "shapes/1/0/1"]


def unpack(archive: Path, folder: Path) -> Path:
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return folder / "system"


def revision(directory: Path) -> str:
    connection = sqlite3.connect(directory / "registry.sqlite")
    (found,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    connection.close()
    return found


def test_every_revision_has_an_archive():
    versions = Path(alembic_config().get_main_option("script_location")) / "versions"
    revisions = {re.fullmatch(r"r(\d+)_\w+", file.stem)[1] for file in versions.glob("r*.py")}
    assert revisions == {re.search(r"revision(\d+)", archive.name)[1] for archive in ARCHIVES}


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda archive: archive.name.partition(".")[0])
def test_an_archive_opens_verifies_and_evolves(archive, tmp_path):
    directory = unpack(archive, tmp_path)
    assert revision(directory) in archive.name
    system = System.open(directory)
    assert system.verify().is_intact
    store = Store.open(directory)
    assert [path.id for path in store.live_paths()] == LIVE
    assert [child.state for child in store.children("shapes")] == ["child", "retired", "child", "live"]
    assert store.live_path("shapes").influence >= {"shapes"}
    assert "shapes" not in store.live_path("digits").influence
    before = {path.id: path.digests for path in store.live_paths()}
    system.add_task("more", "demo:digits")
    system.evolve(
        "more", children=1, generation_size=1, batch_size=16, num_validations=1, examples_per_validation=64, workers=1
    )
    again = {path.id: path.digests for path in store.live_paths()}
    assert again == before | {"more/0/0/0": again["more/0/0/0"]}
    assert system.verify().is_intact
    assert abs(system.evaluate("digits").accuracy - store.live_path("digits").metrics.test) <= 0.01


def test_a_private_task_of_an_earlier_revision_stays_private(tmp_path):
    directory = unpack(ARCHIVES[0], tmp_path)
    store = Store.open(directory)
    assert store.compartments()["shapes"].is_private
    private = store.live_path("shapes")
    assert private.is_private
    system = System.open(directory)
    system.add_task("more", "demo:digits")
    cycle = store.start_cycle("more", "mu2net", 0, {})
    child = store.children("digits")[0]
    stolen = replace(child.proposal, parent_id=private.id)
    made = TrainedRecord(
        0,
        0,
        stolen,
        tuple(
            NewComponent(plan.slot, store.load(child.path.component(plan.slot.name).digest), 1, plan.digest)
            for plan in stolen.slots
            if plan.is_trainable
        ),
        child.path.metrics,
        is_kept=True,
    )
    with pytest.raises(PrivacyError, match="private task 'shapes'"):
        store.record_child(cycle, made)


def test_a_registry_that_cannot_be_migrated_stays_as_it_was(tmp_path):
    """The migration is tried on a copy; here it meets a row that no version wrote."""
    directory = unpack(ARCHIVES[0], tmp_path)
    registry = directory / "registry.sqlite"
    connection = sqlite3.connect(registry)
    connection.execute("UPDATE paths SET proposal = '{broken' WHERE state = 'live'")
    connection.commit()
    connection.close()
    before = registry.read_bytes()
    with pytest.raises(StoreError, match=r"tried on a copy, nothing was changed"):
        Store.open(directory)
    assert registry.read_bytes() == before
    assert not (directory / "registry.seal").exists()


def test_a_copy_that_is_not_sound_is_not_repeated(tmp_path):
    directory = unpack(ARCHIVES[0], tmp_path)
    connection = sqlite3.connect(directory / "registry.sqlite")
    connection.execute("UPDATE path_slots SET digest = '" + "0" * 64 + "' WHERE path_id = 'root' AND position = 0")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match=r"names rows of 'components' that are missing; it was tried on a copy"):
        Store.open(directory)
    assert revision(directory) == "0001"


def test_a_path_that_has_one_component_twice_is_migrated(tmp_path):
    directory = unpack(ARCHIVES[0], tmp_path)
    connection = sqlite3.connect(directory / "registry.sqlite")
    connection.execute(
        "UPDATE path_slots SET digest = (SELECT digest FROM path_slots WHERE path_id = 'root' AND position = 0) "
        "WHERE path_id = 'root' AND position = 1"
    )
    connection.commit()
    connection.close()
    store = Store.open(directory)
    with store.registry.reading() as session:
        origins = session.query(OriginRow).filter(OriginRow.path_id == "root").count()
    assert origins == len(set(store.root().digests)) == len(store.root().digests) - 1
