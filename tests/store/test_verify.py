from __future__ import annotations

import sqlite3

import pytest
import torch
from sqlalchemy import select

from mu2net.core.path import Metrics
from mu2net.errors import ComponentError, ConfigError, StoreError
from mu2net.store.collect import compact_history
from mu2net.store.schema import CheckRow
from mu2net.store.store import Store
from mu2net.store.verify import check_files, verify_files

HEAD = {"weight": torch.randn(3, 4, generator=torch.Generator().manual_seed(520)), "bias": torch.full((3,), 520.0)}
"""The head of the child that is made from seed 20."""


def damage(file, data):
    file.chmod(0o644)
    file.write_bytes(data)


@pytest.fixture
def two_tasks(store, make_child, make_task):
    """``letters`` is cloned from ``digits`` and shares its stem and block with it and the root."""
    store.add_task(make_task("letters"))
    parent = store.root()
    for number, name in enumerate(("digits", "letters")):
        cycle = store.start_cycle(name, "mu2net", 1, {})
        child = store.record_child(cycle, make_child(parent, 10 + number))
        store.record_child(cycle, make_child(parent, 20 + number, child=1))
        probe = {"logits": torch.full((2, 3), float(number))}
        parent = store.publish(cycle, child.id, Metrics(0.9, 1, test=0.8), probe, {})
    return store


def test_nothing_to_find(two_tasks):
    assert verify_files(two_tasks) == []


def test_every_damaged_file_is_named_with_its_tasks(two_tasks):
    digits, letters = two_tasks.live_paths()
    files = two_tasks.components
    stem, norm, head = digits.digests[0], letters.digests[2], letters.digests[3]
    momentum = two_tasks.component(digits.digests[2]).momentum_digest
    probe, _ = two_tasks.probe_record(digits.id)
    root_norm = two_tasks.root().digests[2]

    data = bytearray(files.file(stem).read_bytes())
    data[-1] ^= 1
    damage(files.file(stem), bytes(data))
    damage(files.file(norm), files.file(norm).read_bytes()[:-4])
    for digest in (head, momentum, probe, root_norm):
        files.file(digest).unlink()

    findings = verify_files(two_tasks)
    found = {(finding.digest, finding.role, finding.tasks): finding.message for finding in findings}
    assert set(found) == {
        (stem, "component", ("digits", "letters")),
        (norm, "component", ("letters",)),
        (head, "component", ("letters",)),
        (momentum, "momentum", ("digits",)),
        (probe, "probe", ("digits",)),
        (root_norm, "component", ()),
    }
    assert "altered" in found[stem, "component", ("digits", "letters")]
    assert "truncated" in found[norm, "component", ("letters",)]
    assert "missing" in found[head, "component", ("letters",)]
    assert all(finding.digest in finding.message for finding in findings)
    with pytest.raises(ComponentError, match=stem):
        two_tasks.load(stem)


def test_a_file_of_history_alone_is_found_to_be_lost_unless_it_was_collected(two_tasks):
    lost = two_tasks.path("digits/0/0/1").digests[3]
    two_tasks.components.file(lost).unlink()
    (finding,) = verify_files(two_tasks)
    assert (finding.digest, finding.tasks) == (lost, ("digits",))
    compact_history(two_tasks)
    (finding,) = verify_files(two_tasks)
    assert finding.tasks == (), "no path needs it any more"
    two_tasks.components.put(HEAD)
    assert two_tasks.components.size(lost) > 0


def test_a_running_cycle_needs_its_files(two_tasks, make_child):
    cycle = two_tasks.start_cycle("digits", "mu2net", 1, {})
    child = two_tasks.record_child(cycle, make_child(two_tasks.root(), 40))
    two_tasks.components.file(child.digests[3]).unlink()
    assert [(finding.digest, finding.tasks) for finding in verify_files(two_tasks)] == [(child.digests[3], ("digits",))]


def test_a_registry_that_disagrees_about_a_size_is_found(two_tasks, make_task):
    head = two_tasks.live_path("digits").digests[3]
    connection = sqlite3.connect(two_tasks.directory / "registry.sqlite")
    connection.execute("UPDATE components SET num_bytes = num_bytes + 1 WHERE digest = ?", [head])
    connection.commit()
    connection.close()
    (registry,) = verify_files(two_tasks)
    assert (registry.digest, registry.role) == ("", "registry")
    assert "altered" in registry.message
    (two_tasks.directory / "registry.seal").unlink()
    two_tasks.add_task(make_task("another"))
    (finding,) = verify_files(two_tasks)
    assert (finding.digest, finding.role, finding.tasks) == (head, "component", ("digits",))
    assert "but the registry says" in finding.message


def test_files_are_compared_with_their_names_where_the_registry_is_damaged(two_tasks):
    with sqlite3.connect(two_tasks.directory / "registry.sqlite") as connection:
        connection.execute("UPDATE components SET created_at = 'never'")
    connection.close()
    head = two_tasks.components.put(HEAD)
    damage(two_tasks.components.file(head), b"x" * 200)
    orphan, registry = verify_files(two_tasks)
    assert (orphan.digest, orphan.role) == (head, "orphan")
    assert registry.role == "registry"


def test_a_changed_configuration_is_found(two_tasks):
    file = two_tasks.directory / "mu2net.toml"
    file.write_text(file.read_text().replace("seed = 7", "seed = 8"))
    head = two_tasks.live_path("digits").digests[3]
    two_tasks.components.file(head).unlink()
    component, config = verify_files(Store.open(two_tasks.directory))
    assert config.role == "config"
    assert "mu2net.toml was altered" in config.message
    assert (component.digest, component.tasks) == (head, ("digits",)), "the registry is still believed"


def test_a_file_that_no_row_names_is_checked_too(two_tasks):
    digest = two_tasks.components.put({"weight": torch.ones(5)})
    assert verify_files(two_tasks) == []
    damage(two_tasks.components.file(digest), b"x" * 100)
    (finding,) = verify_files(two_tasks)
    assert (finding.digest, finding.role, finding.tasks) == (digest, "orphan", ())


def test_a_quick_check_reads_nothing_but_sees_what_is_missing_or_of_another_size(two_tasks):
    stem, _, norm, head = two_tasks.live_path("digits").digests
    files = two_tasks.components
    altered = bytearray(files.file(stem).read_bytes())
    altered[-1] ^= 1
    damage(files.file(stem), bytes(altered))
    assert check_files(two_tasks, "quick").findings == ()
    damage(files.file(norm), b"x")
    files.file(head).unlink()
    assert {finding.digest for finding in check_files(two_tasks, "quick").findings} == {norm, head}
    assert {finding.digest for finding in check_files(two_tasks).findings} == {stem, norm, head}


def test_samples_read_everything_in_turn(two_tasks):
    number = len(list(two_tasks.components.digests()))
    read = [check_files(two_tasks, "sample", 0.2).num_files for _ in range(10)]
    assert all(0 < count < number for count in read)
    with two_tasks.registry.reading() as session:
        rows = [(row.checked_at, row.digest) for row in session.scalars(select(CheckRow))]
    assert len(rows) == number
    _, oldest = min(rows)
    damage(two_tasks.components.file(oldest), b"x")
    (finding,) = check_files(two_tasks, "sample", 0.01).findings
    assert finding.digest == oldest


def test_a_share_that_is_none_is_refused(two_tasks):
    for share in (0.0, 1.5, -1.0):
        with pytest.raises(ConfigError, match="share of a sample"):
            check_files(two_tasks, "sample", share)


def test_a_sample_of_everything_is_everything(store):
    report = check_files(store, "sample", 1.0)
    assert report.num_files == len(list(store.components.digests()))
    assert (report.findings, report.num_bytes > 0) == ((), True)


def test_an_empty_system_has_an_empty_sample(store):
    for digest in list(store.components.digests()):
        store.components.remove(digest)
    report = check_files(store, "sample", 0.5)
    assert (report.num_files, report.num_bytes) == (0, 0)
    assert len(report.findings) == 3, "the missing ones are named all the same"


def test_what_was_checked_is_forgotten_where_it_cannot_be_written(store, monkeypatch, caplog):
    def full():
        raise StoreError("no space")

    monkeypatch.setattr(store.registry, "writing", full)
    assert check_files(store).findings == ()
    assert "it could not be written down which files were checked: no space" in caplog.text
