from __future__ import annotations

import sqlite3

import pytest
import torch

from mu2net.core.path import Metrics
from mu2net.errors import ComponentError
from mu2net.store.verify import verify_files


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


def test_a_path_that_is_history_needs_no_files_but_a_running_cycle_does(two_tasks, make_child):
    lost = two_tasks.path("digits/0/0/1").digests[3]
    two_tasks.components.file(lost).unlink()
    assert verify_files(two_tasks) == []
    cycle = two_tasks.start_cycle("digits", "mu2net", 1, {})
    child = two_tasks.record_child(cycle, make_child(two_tasks.root(), 40))
    two_tasks.components.file(child.digests[3]).unlink()
    assert [(finding.digest, finding.tasks) for finding in verify_files(two_tasks)] == [(child.digests[3], ("digits",))]


def test_a_registry_that_disagrees_about_a_size_is_found(two_tasks):
    head = two_tasks.live_path("digits").digests[3]
    connection = sqlite3.connect(two_tasks.directory / "registry.sqlite")
    connection.execute("UPDATE components SET num_bytes = num_bytes + 1 WHERE digest = ?", [head])
    connection.commit()
    connection.close()
    (finding,) = verify_files(two_tasks)
    assert (finding.digest, finding.role, finding.tasks) == (head, "component", ("digits",))
    assert "but the registry says" in finding.message
