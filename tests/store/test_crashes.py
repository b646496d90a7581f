"""What is left after a crash, a full disk, and readers beside a writer."""

from __future__ import annotations

import ast
import errno
import itertools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy import event

from mu2net.core.path import Metrics
from mu2net.errors import StoreError
from mu2net.store import recording
from mu2net.store.records import CycleRecord
from mu2net.store.store import Store
from mu2net.store.verify import verify_files
from tests.faults import FaultyFiles, Killed


def publish(store: Store, cycle: CycleRecord, identity: str) -> None:
    store.publish(cycle, identity, Metrics(0.9, 1, test=0.8), {"logits": torch.ones(2, 3)}, {"torch": "x"})


def snapshot(store: Store) -> tuple[Any, ...]:
    return store.tasks(), store.ancestors(), store.live_paths(), store.cycles("digits"), store.events()


def test_a_crash_at_any_step_of_recording_leaves_nothing_visible(store, make_child):
    cycle = store.start_cycle("digits", "mu2net", 1, {})
    child = make_child(store.root(), 10)
    before = snapshot(store)
    at = 0
    while True:
        try:
            Store.open(store.directory, FaultyFiles(Killed, at=at)).record_child(cycle, child)
            break
        except Killed:
            assert snapshot(Store.open(store.directory)) == before
            at += 1
    assert at > 10, "every step was tried"
    assert [path.id for path in store.history("digits")] == ["digits/0/0/0"]
    assert verify_files(store) == []


def test_a_crash_at_any_step_of_publishing_leaves_the_old_path_live(store, make_child):
    cycle = store.start_cycle("digits", "mu2net", 1, {})
    old = store.record_child(cycle, make_child(store.root(), 10))
    publish(store, cycle, old.id)
    cycle = store.start_cycle("digits", "mu2net", 1, {})
    new = store.record_child(cycle, make_child(old, 11))
    before = snapshot(store)
    (store.components.file(store.probe_record(old.id)[0])).unlink()
    at = 0
    while True:
        try:
            publish(Store.open(store.directory, FaultyFiles(Killed, at=at)), cycle, new.id)
            break
        except Killed:
            assert snapshot(Store.open(store.directory)) == before
            at += 1
    assert at > 5
    assert store.live_path("digits").id == new.id
    assert store.child(old.id).state == "retired"
    assert verify_files(store) == []


def test_a_crash_at_any_step_of_creating_can_be_repeated(tmp_path, make_store):
    at = 0
    while True:
        try:
            make_store(tmp_path / "system", FaultyFiles(Killed, at=at))
            break
        except Killed:
            at += 1
    assert at > 20
    assert verify_files(Store.open(tmp_path / "system")) == []


@pytest.mark.parametrize("function", ["_add_slots", "add_components"])
def test_a_failure_inside_the_transaction_of_a_child_leaves_nothing(store, make_child, monkeypatch, function):
    cycle = store.start_cycle("digits", "mu2net", 1, {})
    before = snapshot(store)
    original = getattr(recording, function)

    def run_and_die(*args: Any) -> None:
        original(*args)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(recording, function, run_and_die)
        with pytest.raises(Killed):
            store.record_child(cycle, make_child(store.root(), 10))
    assert snapshot(store) == before
    assert store.record_child(cycle, make_child(store.root(), 10)).id == "digits/0/0/0"


@pytest.mark.parametrize("function", ["end_cycle", "add_event"])
def test_a_failure_inside_the_transaction_of_a_publication_leaves_nothing(store, make_child, monkeypatch, function):
    cycle = store.start_cycle("digits", "mu2net", 1, {})
    path = store.record_child(cycle, make_child(store.root(), 10))
    before = snapshot(store)

    def die(*args: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(recording, function, die)
        with pytest.raises(Killed):
            publish(store, cycle, path.id)
    assert snapshot(store) == before
    publish(store, cycle, path.id)


def failure_of(act: Callable[[], object]) -> str | None:
    """Return what a store says that cannot go on, ``None`` where it did; any other error is a bug."""
    try:
        act()
    except StoreError as error:
        return str(error)
    return None


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EACCES], ids=errno.errorcode.get)
def test_an_error_at_any_step_changes_nothing_and_is_explained(store, make_child, number):
    """Of recording and of publishing; half of the bytes are written where writing fails."""
    cycle = store.start_cycle("digits", "mu2net", 1, {})
    child, before = make_child(store.root(), 10), snapshot(store)

    def fail():
        return OSError(number, os.strerror(number), "somewhere")

    for act in (
        lambda one: one.record_child(cycle, child),
        lambda one: publish(one, cycle, "digits/0/0/0"),
    ):
        for at in itertools.count():
            said = failure_of(lambda act=act, at=at: act(Store.open(store.directory, FaultyFiles(fail, at=at))))
            if said is None:
                break
            assert os.strerror(number) in said
            assert snapshot(store) == before
            assert verify_files(store) == []
        assert at > 8, "every step was tried"
        before = snapshot(store)
    assert store.live_path("digits").id == "digits/0/0/0"
    assert verify_files(store) == []


def no_space() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("step", ["create", "write", "sync", "rename"])
def test_a_full_disk_while_publishing_loses_nothing(store, make_child, step):
    cycle = store.start_cycle("digits", "mu2net", 1, {})
    path = store.record_child(cycle, make_child(store.root(), 10))
    before = snapshot(store)
    full = Store.open(store.directory, FaultyFiles(no_space, name=step))
    for act in (lambda: publish(full, cycle, path.id), lambda: full.record_child(cycle, make_child(path, 11, child=1))):
        with pytest.raises(StoreError, match=r"No space left.*nothing was lost.*free some space"):
            act()
    assert snapshot(store) == before
    assert list(store.directory.glob("**/.tmp-*")) == [], "the space is given back"
    publish(store, cycle, path.id)
    assert store.live_path("digits").id == path.id
    assert verify_files(store) == []


def test_a_disk_that_fails_otherwise_is_named(store, make_child):
    cycle = store.start_cycle("digits", "mu2net", 1, {})
    failing = Store.open(store.directory, FaultyFiles(lambda: OSError(errno.EIO, "Input/output error"), name="sync"))
    with pytest.raises(StoreError, match=r"'digits/0/0/0' cannot be written: Input/output error.*check the disk"):
        failing.record_child(cycle, make_child(store.root(), 10))


def test_a_disk_that_is_full_for_the_registry_loses_nothing(store, make_child):
    cycle = store.start_cycle("digits", "mu2net", 1, {})
    path = store.record_child(cycle, make_child(store.root(), 10))
    before = snapshot(store)
    full = Store.open(store.directory)

    def no_more_pages(connection: Any, record: Any) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    event.listen(full._registry.engine, "connect", no_more_pages)
    environment = {"text": "x" * 100_000}
    with pytest.raises(StoreError, match=r"database or disk is full; nothing was changed; free some space"):
        full.publish(cycle, path.id, Metrics(0.9, 1), {"logits": torch.ones(1)}, environment)
    assert snapshot(store) == before
    publish(store, cycle, path.id)


PROCESSES = """
import itertools, os, random, signal, sys, time
import torch
from mu2net.core.component import Slot
from mu2net.core.path import Metrics
from mu2net.core.proposal import Proposal, SlotPlan
from mu2net.store.records import NewComponent, TrainedRecord
from mu2net.store.store import Store
from mu2net.store.verify import verify_files
from tests.faults import FaultyFiles, Killed

HEAD = Slot("head", "head")


def write(directory, start, finished):
    store = Store.open(directory)
    shared = [SlotPlan(component.slot, "share", component.digest) for component in store.root().components[:2]]
    with store.evolving("digits"):
        for seed in itertools.count(start):
            cycle = store.running_cycle("digits") or store.start_cycle("digits", "mu2net", seed, {})
            tensors = {"weight": torch.full((64, 64), float(seed))}
            new = NewComponent(HEAD, tensors, 4096, momentum={"weight": -tensors["weight"]})
            slots = (*shared, SlotPlan(HEAD, "fresh", None))
            generation = len(store.history("digits", cycle.number))
            path = store.record_child(cycle, TrainedRecord(
                generation, 0, Proposal("root", "root", slots, {"seed": seed}), (new,), Metrics(0.5, 1), True))
            logits = {"logits": torch.full((2, 3), float(seed))}
            store.publish(cycle, path.id, Metrics(0.5, 1, extra={"seed": seed}), logits, {"seed": seed})
            os.write(finished, b"%d\\n" % seed)


def read(directory):
    store, seen = Store.open(directory), []
    while len(set(seen)) < 8:
        path = store.live_path("digits")
        if path is None:
            continue
        seed = path.hparams["seed"]
        assert path.metrics.extra == {"seed": seed}, "a path and its metrics belong together"
        assert float(store.load(path.digests[-1])["weight"][0, 0]) == seed
        assert float(store.momentum(path.digests[-1])["weight"][0, 0]) == -seed
        tensors, environment = store.probe(path.id)
        assert float(tensors["logits"][0, 0]) == environment["seed"] == seed
        assert len(store.live_paths()) == 1
        seen.append(seed)
    assert verify_files(store) == []
    assert seen == sorted(seen), seen


def start(function, *args):
    process = os.fork()
    if process == 0:
        try:
            function(*args)
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    return process


def kill(process):
    os.kill(process, signal.SIGKILL)
    assert os.waitpid(process, 0)[1] == signal.SIGKILL, "it ran until it was killed"
"""

TWO_READERS = """
_, finished = os.pipe()
writer, readers = start(write, sys.argv[1], 1, finished), [start(read, sys.argv[1]) for _ in range(2)]
codes = [os.waitpid(reader, 0)[1] for reader in readers]
kill(writer)
assert codes == [0, 0], codes
"""

KILLED_WRITERS = """
seed, draw = 1, random.Random(5)
for _ in range(4):
    output, finished = os.pipe()
    writer = start(write, sys.argv[1], seed, finished)
    os.close(finished)
    lines = os.read(output, 100)
    time.sleep(draw.uniform(0.0, 0.3))
    kill(writer)
    while more := os.read(output, 1000):
        lines += more
    store = Store.open(sys.argv[1])
    assert verify_files(store) == []
    children = store.children("digits")
    published = {child.path.hparams["seed"] for child in children if child.state != "child"}
    assert set(map(int, lines.split())) <= published, "what was reported as finished is there"
    assert len(store.live_paths()) == 1
    seed = max(child.path.hparams["seed"] for child in children) + 1
"""


def run(script: str, store: Store) -> None:
    command = [sys.executable, "-c", PROCESSES + script, str(store.directory)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr


def test_two_processes_read_while_one_writes(store):
    run(TWO_READERS, store)
    assert verify_files(store) == []


def test_kill_9_at_any_moment_leaves_a_system_that_goes_on(store):
    run(KILLED_WRITERS, store)
    assert len(store.cycles("digits")) >= 4


def test_only_the_seam_touches_files():
    forbidden = {"open", "read_bytes", "write_bytes", "read_text", "write_text", "unlink", "rename", "mkdir", "chmod"}
    for module in Path(recording.__file__).parent.glob("*.py"):
        if module.name == "files.py":
            continue
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called == "Store.open" or "files." in called:
                    continue
                assert called.rpartition(".")[2] not in forbidden, (module.name, called)
                assert not called.startswith(("os.", "shutil.")) or called == "os.getpid", (module.name, called)
