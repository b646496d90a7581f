from __future__ import annotations

import dataclasses
import json
import sqlite3
from datetime import UTC, datetime

import pytest
import torch

from mu2net.core.component import Slot
from mu2net.core.path import Metrics
from mu2net.core.proposal import SlotPlan
from mu2net.errors import ConfigError, PrivacyError, StoreError, UnknownComponentError, UnknownNameError
from mu2net.store.config import SystemConfig
from mu2net.store.files import Files
from mu2net.store.records import NewComponent, path_id
from mu2net.store.store import Store

ENVIRONMENT = {"torch": "2.13.0", "threads": 2}


def publish(store, cycle, identity, quality=0.5, test=0.4):
    metrics = dataclasses.replace(store.path(identity).metrics, quality=quality, test=test)
    probe = {"images": torch.arange(12, dtype=torch.uint8).reshape(1, 2, 2, 3), "logits": torch.ones(1, 3) * quality}
    return store.publish(cycle, identity, metrics, probe, ENVIRONMENT)


def test_a_system_is_what_it_was_made_of(store):
    again = Store.open(store.directory)
    assert again.config == store.config
    assert again.config.backbone == {"kind": "tiny", "dim": 4}
    assert again.config.seed == 7
    names = sorted(entry.name for entry in store.directory.iterdir())
    assert names == ["components", "mu2net.toml", "registry.seal", "registry.sqlite"]


def test_the_root_comes_back(store, make_tensors):
    root = Store.open(store.directory).root()
    assert (root.id, root.task, root.parent_id, root.metrics) == ("root", None, None, None)
    assert [component.slot.name for component in root.components] == ["stem", "block_00", "norm"]
    assert [component.task for component in root.components] == [None] * 3
    assert root.num_params == 45
    assert root.hparams == {
        "opt_lr": 0.01,
        "num_layers": 1,
        "opt_nesterov": False,
        "opt_lr_schedule": "cosine",
        "mu": 1.0,
    }
    for index, digest in enumerate(root.digests):
        assert torch.equal(store.load(digest)["weight"], make_tensors(index)["weight"])


def test_the_same_root_again_changes_nothing_and_another_is_refused(store, make_tensors):
    root = store.root()
    slots = [component.slot for component in root.components]
    same = [NewComponent(slot, make_tensors(i), 15) for i, slot in enumerate(slots)]
    assert store.put_root(same, root.hparams) == root
    other = [NewComponent(slot, make_tensors(i + 50), 15) for i, slot in enumerate(slots)]
    with pytest.raises(ConfigError, match="another root"):
        store.put_root(other, root.hparams)
    assert store.root() == root


def test_tasks_keep_their_order_and_every_field(store, make_task):
    for name in ("zebra", "ape"):
        store.add_task(make_task(name, is_private=name == "ape"))
    tasks = Store.open(store.directory).tasks()
    assert [task.name for task in tasks] == ["digits", "zebra", "ape"]
    assert [task.is_private for task in tasks] == [False, False, True]
    for task in tasks:
        expected = make_task(task.name, is_private=task.is_private)
        assert dataclasses.replace(task, created_at=None) == expected
        assert task.created_at is not None
        age = (datetime.now(UTC) - task.created_at).total_seconds()
        assert 0 <= age < (600 if task.name == "digits" else 60)  # digits was there before


def test_a_name_is_taken_once(store, make_task):
    with pytest.raises(ConfigError, match="'digits' exists already"):
        store.add_task(make_task("digits"))
    assert len(store.tasks()) == 1


@pytest.mark.parametrize(
    "call",
    ["task", "live_path", "children", "history", "running_cycle", "cycles"],
)
def test_a_mistyped_task_names_the_closest(store, call):
    with pytest.raises(UnknownNameError, match="did you mean 'digits'"):
        getattr(store, call)("digist")


def test_a_child_comes_back_exactly(store, make_child, make_tensors):
    cycle = store.start_cycle("digits", "mu2net", 11, {"children": 4})
    record = make_child(store.root(), 21)
    path = store.record_child(cycle, record)

    assert path.id == "digits/0/0/0" == path_id("digits", 0, 0, 0)
    assert (path.task, path.agent, path.parent_id, path.is_private) == ("digits", "mu2net", "root", False)
    assert path.metrics == record.metrics
    assert isinstance(path.metrics.validations, tuple)
    assert path.hparams == record.proposal.hparams
    assert {name: type(value) for name, value in path.hparams.items()} == {
        "opt_lr": float,
        "num_layers": int,
        "opt_nesterov": bool,
        "opt_lr_schedule": str,
        "mu": float,
    }
    assert path.mutations == record.proposal.mutations
    assert path.rates == {"hp:opt_lr": 0.30000000000000004}
    assert [component.task for component in path.components] == [None, None, "digits", "digits"]
    assert path.digests[:2] == store.root().digests[:2]
    assert path.digests[2] != store.root().digests[2]
    json.dumps([path.hparams, path.rates])

    again = Store.open(store.directory)
    assert again.path(path.id) == path
    child = again.child(path.id)
    assert (child.proposal, child.is_kept, child.state) == (record.proposal, True, "child")
    norm = path.components[2].digest
    assert torch.equal(again.load(norm)["weight"], make_tensors(21)["weight"])
    assert torch.equal(again.momentum(norm)["weight"], make_tensors(1021)["weight"])
    assert again.momentum(path.components[3].digest) is None
    assert again.component(norm).source_digest == store.root().digests[2]
    assert again.component(norm).created_by == path.id
    assert again.running_cycle("digits").spent_seconds == 1.5


def test_recording_a_child_twice_changes_nothing(store, make_child):
    cycle = store.start_cycle("digits", "mu2net", 11, {})
    first = store.record_child(cycle, make_child(store.root(), 21))
    assert store.record_child(cycle, make_child(store.root(), 21)) == first
    assert store.running_cycle("digits").spent_seconds == 1.5
    with pytest.raises(StoreError, match="other components"):
        store.record_child(cycle, make_child(store.root(), 22))
    assert store.history("digits") == [first]


def test_history_is_in_the_order_of_sampling(store, make_child):
    cycle = store.start_cycle("digits", "mu2net", 11, {})
    order = [(1, 0), (0, 10), (0, 9), (10, 0), (2, 0)]
    for seed, (generation, child) in enumerate(order):
        store.record_child(cycle, make_child(store.root(), seed + 10, generation, child, is_kept=seed % 2 == 0))
    ids = [f"digits/0/{generation}/{child}" for generation, child in sorted(order)]
    assert [path.id for path in store.history("digits")] == ids
    assert [path.id for path in store.history("digits", 0)] == ids
    assert store.history("digits", 1) == []
    assert {child.path.id: child.is_kept for child in store.children("digits")} == {
        f"digits/0/{generation}/{child}": seed % 2 == 0 for seed, (generation, child) in enumerate(order)
    }
    assert set(store.ancestors()) == {"root", *ids}
    assert store.ancestors()[ids[0]] == store.path(ids[0])


def test_components_that_do_not_fit_the_proposal_are_refused(store, make_child):
    cycle = store.start_cycle("digits", "mu2net", 11, {})
    record = make_child(store.root(), 21)
    with pytest.raises(ValueError, match=r"trains \['norm', 'head'\], but has components for \['norm'\]"):
        store.record_child(cycle, dataclasses.replace(record, components=record.components[:1]))
    assert store.history("digits") == []


def test_a_foreign_component_and_a_foreign_parent_are_refused(store, make_child):
    cycle = store.start_cycle("digits", "mu2net", 11, {})
    record = make_child(store.root(), 21)
    slots = (SlotPlan(Slot("stem", "stem"), "share", "0" * 64), *record.proposal.slots[1:])
    with pytest.raises(UnknownComponentError, match="0" * 64):
        store.record_child(
            cycle, dataclasses.replace(record, proposal=dataclasses.replace(record.proposal, slots=slots))
        )
    orphan = dataclasses.replace(record.proposal, parent_id="rot")
    with pytest.raises(UnknownNameError, match="did you mean 'root'"):
        store.record_child(cycle, dataclasses.replace(record, proposal=orphan))
    with pytest.raises(UnknownComponentError, match="belongs to no recorded path"):
        store.load("0" * 64)
    with pytest.raises(UnknownNameError, match="unknown path"):
        store.path("digits/0/0/0")


def test_cycles_count_up_and_one_runs(store, make_child):
    assert store.running_cycle("digits") is None
    cycle = store.start_cycle("digits", "mu2net", 11, {"children": 4, "time": None})
    assert store.running_cycle("digits") == cycle
    assert (cycle.number, cycle.agent, cycle.seed, cycle.state) == (0, "mu2net", 11, "running")
    assert cycle.config == {"children": 4, "time": None}
    with pytest.raises(ConfigError, match="cycle 0 of task 'digits' runs already, with agent 'mu2net'"):
        store.start_cycle("digits", "munet", 12, {})
    store.abandon_cycle(cycle, "too little time")
    assert store.running_cycle("digits") is None
    assert [(found.number, found.state) for found in store.cycles("digits")] == [(0, "abandoned")]
    for act in (
        lambda: store.abandon_cycle(cycle),
        lambda: store.record_child(cycle, make_child(store.root(), 1)),
    ):
        with pytest.raises(StoreError, match="is abandoned; expected 'running'"):
            act()
    assert store.start_cycle("digits", "munet", 12, {}).number == 1
    with pytest.raises(ConfigError, match="seed"):
        store.start_cycle("digits", "munet", 2**63, {})


def test_publishing_and_visiting_again(store, make_child, make_task):
    store.add_task(make_task("letters"))
    assert store.live_paths() == []
    assert store.live_path("digits") is None
    cycle = store.start_cycle("digits", "mu2net", 1, {})
    first = store.record_child(cycle, make_child(store.root(), 10))
    store.record_child(cycle, make_child(store.root(), 11, child=1))
    live = publish(store, cycle, first.id, quality=0.9)
    assert live.metrics.test == 0.4
    assert live.metrics.quality == 0.9
    assert store.live_path("digits") == live
    assert store.child("digits/0/0/1").state == "child"
    assert [(found.state, found.ended_at is not None) for found in store.cycles("digits")] == [("published", True)]

    cycle = store.start_cycle("letters", "mu2net", 1, {})
    letters = store.record_child(cycle, make_child(live, 12))
    publish(store, cycle, letters.id)
    assert [path.id for path in store.live_paths()] == ["digits/0/0/0", "letters/0/0/0"]

    cycle = store.start_cycle("digits", "mu2net", 1, {})
    assert cycle.number == 1
    better = store.record_child(cycle, make_child(live, 13))
    publish(store, cycle, better.id)
    again = Store.open(store.directory)
    assert [path.id for path in again.live_paths()] == ["letters/0/0/0", "digits/1/0/0"], "oldest publication first"
    assert again.child("digits/0/0/0").state == "retired"
    assert again.path("digits/0/0/0") == live

    cycle = store.start_cycle("letters", "mu2net", 1, {})
    publish(store, cycle, letters.id, quality=0.7)
    assert [path.id for path in store.live_paths()] == ["letters/0/0/0", "digits/1/0/0"], "it keeps its place"
    assert store.live_path("letters").quality == 0.7
    assert [event.payload for event in store.events() if event.kind == "path_published"] == [
        {"path": "digits/0/0/0", "cycle": 0, "retired": []},
        {"path": "letters/0/0/0", "cycle": 0, "retired": []},
        {"path": "digits/1/0/0", "cycle": 1, "retired": ["digits/0/0/0"]},
        {"path": "letters/0/0/0", "cycle": 1, "retired": []},
    ]


def test_only_a_path_of_the_cycle_can_be_published(store, make_child, make_task):
    store.add_task(make_task("letters"))
    cycle = store.start_cycle("digits", "mu2net", 1, {})
    old = store.record_child(cycle, make_child(store.root(), 10))
    store.record_child(cycle, make_child(store.root(), 14, child=1))
    publish(store, cycle, old.id)
    with pytest.raises(StoreError, match="is published; expected 'running'"):
        publish(store, cycle, old.id)

    cycle = store.start_cycle("letters", "mu2net", 1, {})
    for wrong in ("root", "digits/0/0/0", "digits/0/0/1"):
        with pytest.raises(ConfigError, match="cannot be published by cycle 0 of task 'letters'"):
            store.publish(cycle, wrong, Metrics(0.5, 1), {"x": torch.ones(1)}, {})
    with pytest.raises(UnknownNameError, match="unknown path"):
        store.publish(cycle, "letters/0/0/7", Metrics(0.5, 1), {"x": torch.ones(1)}, {})
    again = store.start_cycle("digits", "mu2net", 1, {})
    with pytest.raises(ConfigError, match="expected a child of that cycle"):
        store.publish(again, "digits/0/0/1", Metrics(0.5, 1), {"x": torch.ones(1)}, {})
    assert [path.id for path in store.live_paths()] == ["digits/0/0/0"]
    assert store.running_cycle("letters") == cycle


def test_a_probe_comes_back_and_is_replaced(store, make_child):
    cycle = store.start_cycle("digits", "mu2net", 1, {})
    path = store.record_child(cycle, make_child(store.root(), 10))
    with pytest.raises(UnknownNameError, match="unknown published path"):
        store.probe(path.id)
    publish(store, cycle, path.id, quality=0.5)
    tensors, environment = Store.open(store.directory).probe(path.id)
    assert environment == ENVIRONMENT
    assert torch.equal(tensors["logits"], torch.full((1, 3), 0.5))
    assert tensors["images"].dtype == torch.uint8
    publish(store, store.start_cycle("digits", "mu2net", 1, {}), path.id, quality=0.25)
    assert torch.equal(store.probe(path.id)[0]["logits"], torch.full((1, 3), 0.25))


def test_privacy_survives_a_reload_and_is_enforced(store, make_child, make_task):
    store.add_task(make_task("secret", is_private=True))
    cycle = store.start_cycle("secret", "mu2net", 1, {})
    secret = store.record_child(cycle, make_child(store.root(), 10))
    publish(store, cycle, secret.id)
    again = Store.open(store.directory)
    assert again.task("secret").is_private
    assert again.path(secret.id).is_private
    assert [path.is_private for path in again.live_paths()] == [True]

    cycle = again.start_cycle("digits", "mu2net", 1, {})
    with pytest.raises(PrivacyError, match="private task 'secret'"):
        again.record_child(cycle, make_child(secret, 11))
    assert again.history("digits") == []
    own = again.start_cycle("secret", "mu2net", 1, {})
    assert again.record_child(own, make_child(again.path(secret.id), 12)).is_private


def test_equal_components_are_stored_once(store, make_child, make_task):
    store.add_task(make_task("letters"))
    first = store.record_child(store.start_cycle("digits", "mu2net", 1, {}), make_child(store.root(), 10))
    second = store.record_child(store.start_cycle("letters", "mu2net", 1, {}), make_child(store.root(), 10))
    assert first.digests == second.digests
    # 3 of the root, norm and head, and the norm's momentum
    assert len(list(store.components.digests())) == 6
    assert store.component(first.digests[2]).created_by == first.id


def test_two_live_paths_of_a_task_are_impossible(store, make_child):
    cycle = store.start_cycle("digits", "mu2net", 1, {})
    for child in range(2):
        store.record_child(cycle, make_child(store.root(), 10 + child, child=child))
    connection = sqlite3.connect(store.directory / "registry.sqlite")
    with pytest.raises(sqlite3.IntegrityError, match="UNIQUE"):
        connection.execute("UPDATE paths SET state = 'live' WHERE task = 'digits'")
    with pytest.raises(sqlite3.IntegrityError, match="CHECK"):
        connection.execute("UPDATE paths SET state = 'lively' WHERE task = 'digits'")
    connection.close()


def test_events_tell_what_happened(store):
    store.abandon_cycle(store.start_cycle("digits", "mu2net", 1, {}), "stopped")
    assert [(event.kind, event.task) for event in store.events()] == [
        ("registry_migrated", None),
        ("root_added", None),
        ("task_added", "digits"),
        ("cycle_started", "digits"),
        ("cycle_abandoned", "digits"),
    ]
    assert store.events()[-1].payload == {"cycle": 0, "reason": "stopped"}


def config() -> SystemConfig:
    return SystemConfig(root="tiny", backbone={})


def test_the_version_grows_with_what_happens(store, make_task, make_child):
    versions = [store.version()]
    store.add_task(make_task("letters"))
    versions.append(store.version())
    assert store.version() == versions[-1], "nothing happened"
    store.start_cycle("letters", "mu2net", 0, {})
    assert versions[0] < versions[1] < store.version()


def test_a_system_is_never_made_twice(store):
    with pytest.raises(ConfigError, match="holds a system already"):
        Store.create(store.directory, config())
    assert Store.open(store.directory).config.seed == 7


def test_an_interrupted_creation_is_named_and_can_be_repeated(tmp_path, make_store):
    Store.create(tmp_path / "s", config())
    with pytest.raises(StoreError, match="was interrupted; run: mu2net init --system"):
        Store.open(tmp_path / "s")
    made = make_store(tmp_path / "s")
    assert Store.open(tmp_path / "s").root() == made.root()
    assert Store.open(tmp_path / "s").config.seed == 7


def test_folders_that_are_no_systems(tmp_path, store):
    with pytest.raises(ConfigError, match=r"there is no such folder.*mu2net init"):
        Store.open(tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    with pytest.raises(ConfigError, match=r"it has no mu2net\.toml.*mu2net init"):
        Store.open(tmp_path / "other")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="is a file"):
        Store.create(tmp_path / "file", config())


def test_a_missing_registry_is_never_made_anew(store):
    (store.directory / "registry.sqlite").unlink()
    for act in (lambda: Store.open(store.directory), lambda: Store.create(store.directory, config())):
        with pytest.raises(StoreError, match=r"registry\.sqlite is missing; restore it from a backup"):
            act()
    assert not (store.directory / "registry.sqlite").exists()


def test_a_registry_elsewhere(tmp_path, make_store):
    url = f"sqlite:///{tmp_path / 'shared.sqlite'}"
    elsewhere = SystemConfig(root="tiny", backbone={}, registry_url=url)
    Store.create(tmp_path / "s", elsewhere)
    made = make_store(tmp_path / "s", config=elsewhere)
    assert Store.open(tmp_path / "s").root() == made.root()
    assert not (tmp_path / "s" / "registry.sqlite").exists()
    for other in (config(), elsewhere):
        with pytest.raises(ConfigError, match="holds a system already"):
            Store.create(tmp_path / "s", other)


def test_a_system_without_its_toml_is_not_overwritten(store):
    (store.directory / "mu2net.toml").unlink()
    with pytest.raises(ConfigError, match="holds a system already"):
        Store.create(store.directory, config())


def test_a_damaged_registry_is_named(store):
    (store.directory / "registry.sqlite").write_bytes(b"garbage" * 1000)
    with pytest.raises(StoreError, match=r"registry\.sqlite cannot be read: file is not a database.*backup"):
        Store.open(store.directory)


def test_a_probe_that_is_collected_before_it_is_named_is_put_again(store, make_child):
    """An equal file of nobody's lay there, and ``collect`` has just taken it."""
    cycle = store.start_cycle("digits", "mu2net", 1, {})
    child = store.record_child(cycle, make_child(store.root(), 10))
    puts = []

    class Hasty(Files):
        def replace(self, file, data, mode, *, syncs_folder=True):
            super().replace(file, data, mode, syncs_folder=syncs_folder)
            if file.suffix == ".safetensors":
                puts.append(file)
                if len(puts) == 1:
                    file.unlink()

    probe = {"logits": torch.ones(2, 3)}
    path = Store.open(store.directory, Hasty()).publish(cycle, child.id, Metrics(0.9, 1), probe, {})
    assert len(puts) == 2
    assert torch.equal(store.probe(path.id)[0]["logits"], probe["logits"])


def test_a_moment_is_all_that_answers_at_once(chain):
    version, tasks, live = chain.moment()
    assert version == chain.version() == len(chain.events())
    assert tasks == chain.tasks()
    assert live == chain.live_paths()
    chain.add_task(dataclasses.replace(chain.task("a"), name="z"))
    assert chain.moment()[0] == version + 1
