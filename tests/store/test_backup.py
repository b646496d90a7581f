from __future__ import annotations

import hashlib
import itertools
import json
import shutil
import uuid

import pytest

from mu2net.errors import ConfigError, StoreError
from mu2net.store import backup as module
from mu2net.store.backup import MANIFEST_NAME, Place, backup, restore
from mu2net.store.collect import collect
from mu2net.store.repair import repair
from mu2net.store.schema import LeaseRow
from mu2net.store.store import Store
from mu2net.store.verify import damaged_files, verify_files


@pytest.fixture(params=["folder", "file://", "memory://"])
def where(request, tmp_path):
    if request.param == "memory://":
        return f"memory://{uuid.uuid4().hex}/backup"
    return f"{'' if request.param == 'folder' else 'file://'}{tmp_path / 'backup'}"


@pytest.fixture
def grown(store, learn, make_child):
    path = learn(store, "digits", store.root(), 11)
    cycle = store.start_cycle("digits", "mu2net", 2, {"live": [path.id]})
    store.record_child(cycle, make_child(path, 12))
    return store


def same(one, other):
    return (
        one.tasks() == other.tasks()
        and one.ancestors() == other.ancestors()
        and one.live_paths() == other.live_paths()
        and one.cycles("digits") == other.cycles("digits")
        and list(one.components.digests()) == list(other.components.digests())
    )


def test_a_system_comes_back_as_it_was_and_goes_on(grown, where, tmp_path, make_child):
    told = []
    done = backup(grown, where, lambda *progress: told.append(progress))
    assert (done.copied, done.kept) == (len(list(grown.components.digests())), 0)
    assert told[-1] == (done.copied, done.copied)
    restore(where, tmp_path / "again")
    again = Store.open(tmp_path / "again")
    assert same(grown, again)
    assert verify_files(again) == []
    with again.registry.reading() as session:
        assert session.query(LeaseRow).count() == 0
    with again.evolving("digits"):
        again.record_child(again.running_cycle("digits"), make_child(again.root(), 9, child=1))


def test_only_what_is_new_is_copied(grown, where, learn, tmp_path):
    backup(grown, where)
    learn(grown, "letters", grown.root(), 30)
    done = backup(grown, where)
    assert done.copied == 4, "norm, head, the momentum of the norm, and the probe"
    assert done.kept > 0
    restore(where, tmp_path / "again")
    assert same(grown, Store.open(tmp_path / "again"))


def test_what_was_interrupted_leaves_the_backup_before_it(grown, tmp_path, learn, monkeypatch):
    where = str(tmp_path / "backup")
    backup(grown, where)
    before = Store.open(grown.directory).ancestors()
    learn(grown, "letters", grown.root(), 30)
    original = Place.write
    for stop in itertools.count():
        where = str(tmp_path / f"backup{stop}")
        shutil.copytree(tmp_path / "backup", where)
        writes = []

        def write(self, name, data, writes=writes, stop=stop):
            if len(writes) == stop:
                raise KeyboardInterrupt
            writes.append(name)
            original(self, name, data)

        with monkeypatch.context() as patch:
            patch.setattr(Place, "write", write)
            try:
                backup(grown, where)
                break
            except KeyboardInterrupt:
                restore(where, tmp_path / f"again{stop}")
        assert Store.open(tmp_path / f"again{stop}").ancestors() == before
    assert stop == 6, "four files, the registry, the manifest"


def test_collecting_meanwhile_takes_nothing_away(grown, tmp_path, learn, monkeypatch):
    from datetime import timedelta

    learn(grown, "letters", grown.root(), 30)
    learn(grown, "letters", grown.root(), 31)
    original, collected = module._copy, []

    def copy(*args):
        collected.append(collect(Store.open(grown.directory), is_dry=False, grace=timedelta(0)))
        return original(*args)

    monkeypatch.setattr(module, "_copy", copy)
    backup(grown, str(tmp_path / "backup"))
    assert [found.files for found in collected] == [()]
    restore(str(tmp_path / "backup"), tmp_path / "again")
    assert verify_files(Store.open(tmp_path / "again")) == []


def test_a_backup_repairs_a_system(grown, tmp_path):
    backup(grown, str(tmp_path / "backup"))
    for digest in grown.live_path("digits").digests[1:]:
        grown.components.file(digest).unlink()
    repair(grown, damaged_files(verify_files(grown)), tmp_path / "backup")
    assert verify_files(grown) == []


@pytest.mark.parametrize("name", ["registry", "mu2net.toml", "component", MANIFEST_NAME])
@pytest.mark.parametrize("change", ["alter", "remove"])
def test_a_damaged_backup_is_refused(grown, tmp_path, name, change):
    folder = tmp_path / "backup"
    backup(grown, str(folder))
    manifest = json.loads((folder / MANIFEST_NAME).read_text())
    some = sorted(folder.glob("components/**/*.safetensors"))[0]
    file = {"registry": folder / manifest["registry"], "component": some}.get(name, folder / name)
    if change == "remove":
        file.unlink()
    else:
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(bytes(data))
    with pytest.raises(StoreError, match=r"damaged|cannot be read|is no backup"):
        restore(str(folder), tmp_path / "again")
    assert not (tmp_path / "again" / "mu2net.toml").exists()


def test_a_place_that_cannot_be_is_named(grown, tmp_path):
    with pytest.raises(ConfigError, match="cannot be used"):
        backup(grown, "nonsense://x")
    with pytest.raises(StoreError, match="is no backup"):
        restore(str(tmp_path), tmp_path / "again")
    backup(grown, str(tmp_path / "backup"))
    with pytest.raises(ConfigError, match="holds a system already"):
        restore(str(tmp_path / "backup"), grown.directory)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="cannot be written"):
        backup(grown, str(tmp_path / "file" / "backup"))


def test_a_file_that_is_too_large_is_not_read(grown, tmp_path):
    place = Place(str(tmp_path))
    place.write("file", b"12345")
    assert place.read("file", 5) == b"12345"
    with pytest.raises(StoreError, match=r"file in .* has 5 bytes; expected at most 4; use another backup"):
        place.read("file", 4)
    place.remove("file")
    place.remove("file")
    assert place.size("file") is None


def test_a_registry_that_is_no_file_needs_its_own_tools(grown, tmp_path):
    grown.registry.seal = None
    with pytest.raises(ConfigError, match=r"is a data base of its own; back it up with its own tools"):
        backup(grown, str(tmp_path / "backup"))
    assert not (tmp_path / "backup").exists()


def test_a_backup_that_names_a_registry_elsewhere_is_refused(grown, tmp_path):
    where = tmp_path / "backup"
    backup(grown, str(where))
    config = (where / "mu2net.toml").read_text() + f'registry_url = "sqlite:///{tmp_path}/other.sqlite"\n'
    (where / "mu2net.toml").write_text(config)
    manifest = json.loads((where / MANIFEST_NAME).read_text())
    manifest["config_digest"] = hashlib.sha256(config.encode()).hexdigest()
    (where / MANIFEST_NAME).write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match=r"names a registry elsewhere \(registry_url\), which no backup does"):
        restore(str(where), tmp_path / "again")
    assert not (tmp_path / "again").exists()
    assert not (tmp_path / "other.sqlite").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "Expecting value"),
        ("[]", "must be a mapping"),
        ("{}", "key 'created_by': Field required"),
        ("[" * 100_000, "maximum recursion depth"),
        ('{"format_version": 2}', "key 'format_version': Input should be less than or equal to 1"),
    ],
    ids=range(5),
)
def test_a_manifest_that_is_damaged_is_named(grown, tmp_path, text, problem):
    where = tmp_path / "backup"
    backup(grown, str(where))
    (where / MANIFEST_NAME).write_text(text)
    with pytest.raises(StoreError, match=rf"backup\.json in .* is damaged \(.*{problem}.*\); use another backup"):
        restore(str(where), tmp_path / "again")
    assert not (tmp_path / "again").exists()
