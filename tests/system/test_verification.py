from __future__ import annotations

import pytest
import torch

from mu2net.errors import ComponentError
from mu2net.nn.attention import choose_kernel
from mu2net.search.events import Preparing
from mu2net.store.components import canonical_bytes, digest_of
from mu2net.store.store import Store
from mu2net.system import System


def file_of(system, digest):
    return Store.open(system.directory).components.file(digest)


def overwrite(file, data):
    file.chmod(0o644)
    file.write_bytes(data)


def digest_in(system, slot, task="one"):
    return next(part.digest for part in system.path(task).slots if part.slot == slot)


def test_an_untouched_system_is_intact_bit_by_bit(evolved):
    events = []
    found = evolved.verify(observer=events.append)
    assert found.is_intact
    assert found.damages == ()
    assert [(probe.task, probe.check, probe.max_difference) for probe in found.probes] == [
        ("one", "bit-equal", 0.0),
        ("two", "bit-equal", 0.0),
    ]
    assert [probe.path_id for probe in found.probes] == [task.path_id for task in evolved.tasks()]
    files = list((evolved.directory / "components").rglob("*.safetensors"))
    assert found.num_components == len(files)
    assert found.num_bytes == sum(file.stat().st_size for file in files)
    assert {event.what for event in events if isinstance(event, Preparing)} == {
        "hashing components",
        "computing probes",
    }


def test_a_system_without_paths_is_its_root(system):
    found = system.verify()
    assert found.is_intact
    assert found.probes == ()
    assert found.sentence() == "Intact: all 5 files hash to their names (no task yet)"


def flip(data):
    return data[:-3] + bytes([data[-3] ^ 4]) + data[-2:]


@pytest.mark.parametrize(
    ("damage", "word"),
    [(flip, "altered"), (lambda data: data[:-1], "truncated"), (lambda data: b"", "truncated"), (None, "missing")],
)
def test_a_damaged_component_is_named_with_the_tasks_that_use_it(evolved, damage, word):
    digest = digest_in(evolved, "head", "two")
    file = file_of(evolved, digest)
    if damage is None:
        file.unlink()
    else:
        overwrite(file, damage(file.read_bytes()))
    found = evolved.verify()
    assert not found.is_intact
    (said,) = found.damages
    assert digest in said
    assert word in said
    assert said.endswith("(used by: two)")
    checks = {probe.task: probe.check for probe in found.probes}
    assert checks == {"one": "bit-equal", "two": "not run"}
    assert found.sentence().startswith("DAMAGED: ")
    assert found.sentence().endswith("probe logits not confirmed for: two")
    with System.open(evolved.directory) as again:
        with pytest.raises(ComponentError, match=digest):
            again.evaluate("two")
        assert again.evaluate("one").accuracy == again.task("one").test


def test_a_damaged_component_of_the_root_that_nobody_uses_is_found_too(evolved):
    store = Store.open(evolved.directory)
    used = {digest for path in store.live_paths() for digest in path.digests}
    digest = next(digest for digest in store.root().digests if digest not in used)
    file_of(evolved, digest).unlink()
    found = evolved.verify()
    assert [digest in said for said in found.damages] == [True]
    assert {probe.check for probe in found.probes} == {"bit-equal"}
    assert not found.is_intact


def rewrite(evolved, sql, *values):
    """Change the registry behind everybody's back, and seal it again as whoever forges one would."""
    with Store.open(evolved.directory).registry.writing() as session:
        assert session.connection().exec_driver_sql(sql, values).rowcount == 1


def test_logits_that_changed_are_found_although_every_file_is_what_its_name_says(evolved):
    store = Store.open(evolved.directory)
    path = store.live_path("one")
    tensors, _ = store.probe(path.id)
    changed = {name: value + 1e-3 if "logits" in name else value for name, value in tensors.items()}
    digest = store.components.put(changed)
    assert digest == digest_of(canonical_bytes(changed))
    rewrite(evolved, "UPDATE probes SET digest = ? WHERE path_id = ?", digest, path.id)
    found = evolved.verify()
    assert found.damages == ()
    assert not found.is_intact
    probe = found.probes[0]
    assert (probe.task, probe.check) == ("one", "changed")
    assert probe.max_difference == pytest.approx(1e-3, rel=0.01)
    assert found.sentence().startswith("DAMAGED: ")


def test_a_path_of_other_components_is_found(evolved):
    """The registry itself may lie: a slot that names another file, which is as good as any."""
    store = Store.open(evolved.directory)
    one = store.live_path("one")
    other = store.root().component("block_00").digest
    rewrite(evolved, "UPDATE path_slots SET digest = ? WHERE path_id = ? AND slot = 'block_00'", other, one.id)
    found = evolved.verify()
    assert found.damages == ()
    assert {probe.task: probe.check for probe in found.probes}["one"] == "changed"


@pytest.mark.parametrize(("shift", "check"), [(0.0, "within 1e-5"), (5e-6, "within 1e-5"), (1e-4, "changed")])
def test_elsewhere_float32_logits_decide_and_it_says_so(evolved, shift, check):
    store = Store.open(evolved.directory)
    path = store.live_path("one")
    tensors, environment = store.probe(path.id)
    assert environment["torch"] == str(torch.__version__)
    changed = {**tensors, "logits_float32": tensors["logits_float32"] + shift, "logits": tensors["logits"] + 1}
    digest = store.components.put(changed)
    rewrite(
        evolved,
        "UPDATE probes SET digest = ?, environment = json_set(environment, '$.torch', '1.0') WHERE path_id = ?",
        digest,
        path.id,
    )
    found = evolved.verify()
    probe = found.probes[0]
    assert (probe.check, found.is_intact) == (check, check == "within 1e-5")
    assert "torch: recorded '1.0'" in probe.reason
    assert found.probes[1].check == "bit-equal"
    if found.is_intact:
        assert "equal within 1e-5 (1 of 2 tasks bit-equal)" in found.sentence()


def test_a_missing_probe_is_no_proof(evolved):
    store = Store.open(evolved.directory)
    digest, _ = store.probe_record(store.live_path("two").id)
    file_of(evolved, digest).unlink()
    found = evolved.verify()
    assert not found.is_intact
    assert {probe.task: probe.check for probe in found.probes} == {"one": "bit-equal", "two": "not run"}
    assert any(digest in said for said in found.damages)


ARITHMETICS = [(precision, kernel) for precision in ("float32", "bfloat16") for kernel in ("explicit", "sdpa")]


@pytest.mark.parametrize(("precision", "attention"), ARITHMETICS)
def test_a_path_is_verified_and_predicts_in_the_arithmetic_that_it_was_trained_in(system, small, precision, attention):
    small |= {"precision": precision, "attention": attention}
    system.evolve("one", children=1, **small)
    assert [probe.check for probe in system.verify().probes] == ["bit-equal"]
    tensors, _ = Store.open(system.directory).probe(system.task("one").path_id)
    predicted = system.predict("one", list(tensors["images"].numpy()))
    expected = torch.softmax(tensors["logits"], dim=1).max(dim=1).values
    assert [found.probability for found in predicted] == expected.tolist()


@pytest.mark.parametrize(("precision", "attention"), ARITHMETICS)
def test_a_path_that_was_recorded_without_its_kernel_is_verified_by_the_fixed_rule(system, small, precision, attention):
    small |= {"precision": precision, "attention": attention}
    system.evolve("one", children=1, **small)
    path_id = system.task("one").path_id
    remove = "json_remove(environment, '$.attention', '$.instructions')"
    rewrite(system, f"UPDATE probes SET environment = {remove} WHERE path_id = ?", path_id)
    rewrite(system, "UPDATE paths SET metrics = json_remove(metrics, '$.extra.attention') WHERE id = ?", path_id)
    rule = choose_kernel(torch.device("cpu"), getattr(torch, precision))
    with System.open(system.directory) as again:
        assert [probe.check for probe in again.verify().probes] == ["bit-equal" if attention == rule else "changed"]
