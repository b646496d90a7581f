from __future__ import annotations

import shutil

import pytest

from mu2net.errors import StoreError
from mu2net.store.repair import quarantine as put_aside
from mu2net.store.repair import repair
from mu2net.store.verify import check_files, damaged_files, verify_files


def damage(file):
    file.chmod(0o644)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 16
    file.write_bytes(bytes(data))


@pytest.fixture
def damaged(store, learn, tmp_path):
    """A system with an altered, a cut, and a missing file, and an intact copy of it."""
    learn(store, "digits", store.root(), 11)
    shutil.copytree(store.directory, tmp_path / "copy")
    stem, _, norm, head = (store.components.file(digest) for digest in store.live_path("digits").digests)
    damage(stem)
    norm.chmod(0o644)
    norm.write_bytes(norm.read_bytes()[:-9])
    head.unlink()
    return store, damaged_files(verify_files(store)), tmp_path / "copy"


def test_damaged_files_are_moved_aside_and_never_deleted(damaged):
    store, digests, _ = damaged
    assert len(digests) == 3
    bytes_before = {file.name: file.read_bytes() for file in store.directory.glob("components/**/*.safetensors")}
    moved = put_aside(store, digests)
    assert len(moved) == 2, "one is missing"
    for file in moved:
        assert file.parent == store.directory / "quarantine"
        assert file.read_bytes() == bytes_before[file.name.rpartition(".")[0]]
    assert {finding.digest for finding in verify_files(store)} == set(digests)
    assert all("missing" in finding.message for finding in verify_files(store))
    assert store.events()[-1].kind == "files_quarantined"


def test_repair_fetches_intact_bytes_by_digest(damaged):
    store, digests, copy = damaged
    done = repair(store, digests, copy)
    assert (done.restored, done.missing) == (tuple(digests), ())
    assert verify_files(store) == []
    assert len(list((store.directory / "quarantine").iterdir())) == 2
    assert store.components.file(digests[0]).stat().st_mode & 0o777 == 0o444


def test_what_is_damaged_there_too_is_said(damaged):
    store, digests, copy = damaged
    damage(copy / store.components.file(digests[0]).relative_to(store.directory))
    (copy / store.components.file(digests[1]).relative_to(store.directory)).unlink()
    done = repair(store, digests, copy)
    assert (done.restored, done.missing) == (tuple(digests[2:]), tuple(digests[:2]))
    assert {finding.digest for finding in check_files(store).findings} == set(digests[:2])


def test_a_second_damage_of_one_file_is_kept_beside_the_first(damaged):
    store, digests, copy = damaged
    repair(store, digests, copy)
    for digest in digests:
        damage(store.components.file(digest))
    put_aside(store, digests)
    assert len(list((store.directory / "quarantine").iterdir())) == 5


def test_a_folder_that_is_no_system_is_refused(damaged, tmp_path):
    store, digests, _ = damaged
    with pytest.raises(StoreError, match="holds no components"):
        repair(store, digests, tmp_path / "nowhere")


def test_what_is_intact_is_left_alone(damaged):
    store, digests, copy = damaged
    intact = store.root().digests[2]
    done = repair(store, [*digests, intact], copy)
    assert done.restored == tuple(digests)
    assert not list((store.directory / "quarantine").glob(f"{intact}*"))
    assert repair(store, digests, copy) == type(done)((), ())
    assert [event.kind for event in store.events()].count("files_restored") == 1
