from __future__ import annotations

import importlib
import os
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mu2net.core.path import Metrics
from mu2net.errors import UnknownComponentError, UnknownNameError
from mu2net.store import collect as collecting
from mu2net.store.collect import GRACE, collect, compact_history
from mu2net.store.files import Files
from mu2net.store.reach import files_of, kept_paths
from mu2net.store.schema import ComponentRow, LeaseRow
from mu2net.store.store import Store
from mu2net.store.verify import verify_files

LATER = datetime.now(UTC) + GRACE + timedelta(days=1)
NOW = timedelta(0)


def files(store):
    return set(store.components.digests())


def of(store, *paths):
    with store.registry.reading() as session:
        return files_of(session, paths)


def test_nothing_goes_within_the_grace_period(grown):
    before = files(grown)
    found = collect(grown, is_dry=False)
    assert (found.files, found.num_bytes, found.is_done) == ((), 0, True)
    assert files(grown) == before


def test_a_dry_run_says_what_would_go_and_changes_nothing(grown):
    before, events = files(grown), len(grown.events())
    found = collect(grown, now=LATER)
    assert set(found.files) == before - of(grown, "root", "digits/1/0/0")
    assert found.num_bytes == sum(grown.components.size(digest) for digest in found.files)
    assert (found.orphans, found.is_done) == (0, False)
    assert (files(grown), len(grown.events())) == (before, events)


def test_after_the_grace_period_only_what_is_live_stays(grown):
    needed = of(grown, "root", "digits/1/0/0")
    found = collect(grown, is_dry=False, now=LATER)
    assert files(grown) == needed
    assert verify_files(grown) == []
    assert len(found.files) > 4
    assert collect(grown, is_dry=False, now=LATER).files == ()
    assert [path.id for path in grown.history("digits")] == ["digits/0/0/0", "digits/1/0/0", "digits/1/0/1"]
    lost = next(iter(of(grown, "digits/1/0/1") - needed))
    with grown.registry.reading() as session:
        rows = [row for row in session.query(ComponentRow) if row.collected_at is not None]
        assert lost in found.files
        assert {row.digest for row in rows} <= set(found.files)


def test_collected_components_cannot_be_built_on_and_may_come_back(grown, make_child):
    lost = grown.path("digits/1/0/1")
    collect(grown, is_dry=False, grace=NOW)
    cycle = grown.start_cycle("digits", "mu2net", 3, {})
    with pytest.raises(UnknownComponentError, match="was collected"):
        grown.record_child(cycle, make_child(lost, 9))
    again = grown.record_child(cycle, make_child(grown.live_path("digits"), 13))
    assert again.digests[3] == lost.digests[3]
    assert verify_files(grown) == []


def test_a_running_cycle_keeps_its_children_and_what_it_started_from(grown, make_child):
    live = [path.id for path in grown.live_paths()]
    cycle = grown.start_cycle("digits", "mu2net", 3, {"live": live})
    child = grown.record_child(cycle, make_child(grown.live_path("digits"), 9))
    collect(grown, is_dry=False, grace=NOW)
    assert of(grown, child.id, *live) <= files(grown)
    assert verify_files(grown) == []


def test_a_reader_keeps_what_it_holds(grown):
    old = of(grown, "digits/0/0/0")
    with grown.leases.reading(["digits/0/0/0"]):
        collect(grown, is_dry=False, grace=NOW)
        assert old <= files(grown)
    collect(grown, is_dry=False, grace=NOW)
    assert not old <= files(grown)


def test_a_reader_that_was_killed_is_forgotten_and_the_registry_stays_sealed(grown):
    with grown.registry.writing() as session:
        holder = {"pid": 1, "host": "gone", "started": None, "since": "then"}
        long_ago = datetime.now(UTC) - timedelta(days=1)
        session.add(LeaseRow(name="read:dead", token=1, holder=holder, paths=["digits/0/0/0"], expires_at=long_ago))
    old = of(grown, "digits/0/0/0")
    assert old & set(collect(grown, grace=NOW).files)
    assert grown.registry.problem() is None
    collect(grown, is_dry=False, grace=NOW)
    assert not old <= files(grown)
    assert verify_files(grown) == []
    with grown.registry.reading() as session:
        assert session.get(LeaseRow, "read:dead") is None


def test_what_a_crash_left_behind_goes_after_the_grace_period(grown):
    orphan = grown.components.put({"weight": torch.ones(9)})
    unfinished = grown.components.file(orphan).with_name(".tmp-0123")
    unfinished.write_bytes(b"half")
    assert collect(grown).orphans == 0
    assert collect(grown).unfinished == ()
    old = (datetime.now(UTC) - GRACE - timedelta(days=1)).timestamp()
    for file in (grown.components.file(orphan), unfinished):
        os.utime(file, (old, old))
    found = collect(grown, is_dry=False)
    assert (found.files, found.orphans, found.unfinished) == ((orphan,), 1, (unfinished,))
    assert not unfinished.exists()


def test_compacting_ends_the_grace_period_of_what_was_never_published(grown, make_child):
    cycle = grown.start_cycle("digits", "mu2net", 3, {})
    running = grown.record_child(cycle, make_child(grown.root(), 9))
    assert compact_history(grown, "digits") == 1
    assert compact_history(grown) == 0
    found = collect(grown, is_dry=False)
    kept = of(grown, "root", "digits/0/0/0", "digits/1/0/0", running.id)
    assert files(grown) == kept
    assert set(found.files) == of(grown, "digits/1/0/1") - kept
    with pytest.raises(UnknownNameError):
        compact_history(grown, "digit")


def test_a_file_that_goes_before_it_is_named_is_put_again(grown, make_child, monkeypatch):
    """``collect --now`` comes between the file and the transaction that names it."""
    cycle = grown.start_cycle("digits", "mu2net", 3, {})
    original, calls = Store._put, []

    def put_and_lose(self, component):
        stored = original(self, component)
        if len(calls) < 2:
            collect(Store.open(self.directory), is_dry=False, grace=NOW)
        calls.append(stored.digest)
        return stored

    monkeypatch.setattr(Store, "_put", put_and_lose)
    child = grown.record_child(cycle, make_child(grown.live_path("digits"), 77))
    assert len(calls) == 4, "two components, twice"
    assert of(grown, child.id) <= files(grown)
    assert verify_files(grown) == []


def test_a_crash_while_collecting_is_finished_by_the_next_call(grown, monkeypatch):
    class Crash(BaseException):
        pass

    removed = []

    def remove(file):
        if len(removed) == 2:
            raise Crash
        removed.append(file)
        file.unlink()

    monkeypatch.setattr(grown.files, "remove", remove)
    with pytest.raises(Crash):
        collect(grown, is_dry=False, grace=NOW)
    again = Store.open(grown.directory)
    assert verify_files(again) == []
    collect(again, is_dry=False, grace=NOW)
    assert files(again) == of(again, "root", "digits/1/0/0")
    assert verify_files(again) == []


STEPS = st.lists(
    st.tuples(st.sampled_from(["publish", "child", "abandon", "collect", "compact"]), st.integers(0, 3)), max_size=12
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_happens_nothing_reachable_is_ever_removed(steps, tmp_path_factory, make_store, make_task, make_child):
    store = make_store(tmp_path_factory.mktemp("system") / "system")
    for number in range(4):
        store.add_task(make_task(f"t{number}"))
    for seed, (step, number) in enumerate(steps):
        name = f"t{number}"
        cycle = store.running_cycle(name)
        if step == "collect":
            collect(store, is_dry=False, grace=NOW)
        elif step == "compact":
            compact_history(store, name)
        elif step == "abandon" and cycle is not None:
            store.abandon_cycle(cycle)
        elif step in ("child", "publish"):
            live = store.live_paths()
            cycle = cycle or store.start_cycle(name, "mu2net", seed, {"live": [path.id for path in live]})
            parent = live[seed % len(live)] if live else store.root()
            if parent.id not in [*cycle.config["live"], *(path.id for path in live)]:
                parent = store.root()
            generation = len(store.history(name, cycle.number))
            child = store.record_child(cycle, make_child(parent, seed + 100, generation))
            if step == "publish":
                store.publish(cycle, child.id, Metrics(0.9, 1), {"logits": torch.full((2,), float(seed))}, {})
        with store.registry.reading() as session:
            assert files_of(session, kept_paths(session, None, ())) <= files(store), (step, number)
        assert verify_files(store) == []


def test_unfinished_files_that_go_meanwhile(store):
    """Whoever wrote one has completed it, before it was looked at, or before it was removed."""
    file = store.components.file(store.root().digests[0]).with_name(".tmp-0123456789abcdef")
    file.write_bytes(b"half")
    os.utime(file, (0, 0))

    class Gone(Files):
        def modified(self, file):
            raise FileNotFoundError

    class GoneLater(Files):
        def is_file(self, file):
            return not file.name.startswith(".tmp-") and super().is_file(file)

    assert collect(Store.open(store.directory, Gone())).unfinished == ()
    assert len(collect(Store.open(store.directory, GoneLater()), is_dry=False).unfinished) == 1
    assert file.exists()
    collect(store, is_dry=False)
    assert not file.exists()


def test_what_is_needed_again_meanwhile_stays(grown, monkeypatch):
    """Between the first look and the turn to write, somebody named all of them again."""
    before = files(grown)
    module = importlib.import_module("mu2net.store.collect")
    original, looks = module._unreachable, []

    def again(*args):
        looks.append(args)
        return original(*args) if len(looks) == 1 else []

    monkeypatch.setattr(module, "_unreachable", again)
    assert collect(grown, is_dry=False, now=LATER).files == ()
    assert len(looks) == 3
    assert files(grown) == before
    assert [event for event in grown.events() if event.kind == "files_collected"] == []


def test_what_is_used_again_between_the_two_looks_stays(grown, learn, monkeypatch):
    """``letters`` makes by chance what is about to go, and drops it again before it goes."""
    old = grown.child("digits/0/0/0").path
    going = of(grown, old.id) - of(grown, "root", "digits/1/0/0")
    assert len(going) > 3
    original, entered = grown.registry.writing, []

    @contextmanager
    def writing():
        entered.append(None)
        if len(entered) == 2:
            with monkeypatch.context() as patch:
                patch.setattr(grown.registry, "writing", original)
                assert learn(grown, "letters", grown.root(), 11).digests == old.digests
                learn(grown, "letters", grown.root(), 55)
        with original() as session:
            yield session

    with monkeypatch.context() as patch:
        patch.setattr(grown.registry, "writing", writing)
        collect(grown, grace=NOW, is_dry=False)
    assert verify_files(grown) == []
    assert going & files(grown), "it was taken back"
    collect(grown, grace=NOW, is_dry=False)
    assert verify_files(grown) == []
    assert not going & files(grown)


def test_a_crash_after_any_file_leaves_none_that_is_missed(grown, monkeypatch):
    """A momentum may go in another transaction than its component, and the crash may come between."""

    class Crash(BaseException):
        pass

    remove, before = grown.components.remove, files(grown)

    def crash(digest):
        remove(digest)
        raise Crash

    monkeypatch.setattr(collecting, "BATCH", 1)
    monkeypatch.setattr(grown.components, "remove", crash)
    crashes = 0
    while True:
        try:
            collect(grown, grace=NOW, is_dry=False)
        except Crash:
            crashes += 1
            assert verify_files(grown) == []
        else:
            break
    assert len(before) - len(files(grown)) == crashes > 5
