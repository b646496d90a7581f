from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from mu2net.errors import ConfigError, PrivacyError, StoreError, UnknownNameError
from mu2net.store.collect import GRACE, collect
from mu2net.store.provenance import provenance
from mu2net.store.reach import files_of
from mu2net.store.removal import plan_removal, remove_task, undo_removal
from mu2net.store.schema import ComponentRow
from mu2net.store.verify import verify_files


def live(store):
    return [path.task for path in store.live_paths()]


def test_a_task_alone_retires_and_others_keep_what_it_taught_them(chain):
    found = remove_task(chain, "a")
    assert (found.paths, found.cycles, found.others) == ({"a": "a/0/0/0"}, (), ())
    assert live(chain) == ["b", "c", "d"]
    assert [task.name for task in chain.tasks()] == ["digits", "b", "c", "d"]
    with pytest.raises(ConfigError, match=r"'a' was removed on .*undo"):
        chain.task("a")
    assert provenance(chain, "c").removed == ("a",)
    assert verify_files(chain) == []


def test_with_influence_nothing_in_use_descends_from_it(chain):
    planned = plan_removal(chain, "a", with_influence=True)
    assert live(chain) == ["a", "b", "c", "d"], "planning changes nothing"
    assert remove_task(chain, "a", with_influence=True) == planned
    assert planned.others == ("b", "c")
    assert live(chain) == ["d"]
    assert [task.name for task in chain.tasks()] == ["digits", "b", "c", "d"]
    assert all("a" not in path.influence for path in chain.live_paths())


def test_the_bytes_go_and_then_it_is_final(chain):
    with chain.registry.reading() as session:
        shaped = files_of(session, [f"{name}/0/0/0" for name in "abc"])
        kept = files_of(session, ["root", "d/0/0/0"])
    remove_task(chain, "a", with_influence=True)
    assert set(collect(chain, is_dry=False).files) == set(), "within the grace period it can be undone"
    collect(chain, is_dry=False, grace=timedelta(0))
    assert set(chain.components.digests()) == kept
    assert not (shaped - kept) & set(chain.components.digests())
    with pytest.raises(ConfigError, match="no removal that can be undone"):
        undo_removal(chain)
    assert verify_files(chain) == []


def test_undo_brings_back_exactly_what_was_live(chain):
    before = chain.live_paths(), chain.tasks(), chain.cycles("b")
    remove_task(chain, "a", with_influence=True)
    assert undo_removal(chain).paths == {name: f"{name}/0/0/0" for name in "abc"}
    assert (chain.live_paths(), chain.tasks(), chain.cycles("b")) == before
    with pytest.raises(ConfigError, match="no removal"):
        undo_removal(chain)


def test_undo_retires_what_was_published_since(chain, learn):
    remove_task(chain, "a", with_influence=True)
    newer = learn(chain, "b", chain.root(), 40)
    assert newer.influence == {"b"}
    undo_removal(chain)
    assert chain.live_path("b").id == "b/0/0/0"
    assert chain.child(newer.id).state == "retired"


def test_undo_has_an_end(chain):
    remove_task(chain, "a")
    with pytest.raises(ConfigError, match="longer ago than 14 days: it is final"):
        undo_removal(chain, now=datetime.now(UTC) + GRACE + timedelta(days=1))
    with chain.registry.reading() as session:
        (digest, *_) = sorted(files_of(session, ["a/0/0/0"]))
    chain.components.remove(digest)
    with pytest.raises(ConfigError, match=r"1 files of its paths are gone"):
        undo_removal(chain)


def test_undo_takes_back_that_files_were_about_to_go(chain, monkeypatch):
    class Crash(BaseException):
        pass

    def crash(*_):
        raise Crash

    remove_task(chain, "a", with_influence=True)
    monkeypatch.setattr(chain.components, "remove", crash)
    with pytest.raises(Crash):
        collect(chain, is_dry=False, grace=timedelta(0))
    undo_removal(chain)
    with chain.registry.reading() as session:
        needed = files_of(session, [f"{name}/0/0/0" for name in "abcd"])
        gone = session.query(ComponentRow).filter(ComponentRow.collected_at.is_not(None))
        assert not needed & {row.digest for row in gone}
    assert verify_files(chain) == []


def test_nothing_can_descend_from_what_was_removed_with_its_influence(chain, make_child):
    """Not even from a path of history whose files are still there."""
    old = chain.live_path("b")
    cycle = chain.start_cycle("d", "mu2net", 9, {"live": []})
    remove_task(chain, "a", with_influence=True)
    with pytest.raises(PrivacyError, match=r"data of 'a', which was removed with all its influence"):
        chain.record_child(cycle, make_child(old, 60))
    undo_removal(chain)
    assert chain.record_child(cycle, make_child(old, 60)).influence == {"a", "b", "d"}


def test_removals_are_undone_from_the_last_to_the_first(chain):
    remove_task(chain, "d")
    remove_task(chain, "c")
    assert undo_removal(chain).task == "c"
    assert undo_removal(chain).task == "d"
    assert live(chain) == ["a", "b", "c", "d"]


class TestCycles:
    def test_those_that_the_task_could_still_shape_end(self, chain, make_child):
        paths = [path.id for path in chain.live_paths()]
        mine = chain.start_cycle("a", "mu2net", 9, {"live": []})
        child = chain.start_cycle("b", "mu2net", 9, {"live": []})
        chain.record_child(child, make_child(chain.live_path("b"), 50))
        start = chain.start_cycle("c", "mu2net", 9, {"live": paths})
        free = chain.start_cycle("d", "mu2net", 9, {"live": ["d/0/0/0"]})
        assert plan_removal(chain, "a").cycles == (("a", mine.number),)
        found = remove_task(chain, "a", with_influence=True)
        assert found.cycles == (("a", mine.number), ("b", child.number), ("c", start.number))
        assert chain.running_cycle("d") == free
        with pytest.raises(StoreError, match="is abandoned"):
            chain.record_child(start, make_child(chain.root(), 51))

    def test_they_go_on_after_undo_unless_another_one_runs(self, chain):
        first = chain.start_cycle("b", "mu2net", 9, {"live": ["a/0/0/0"]})
        other = chain.start_cycle("c", "mu2net", 9, {"live": ["a/0/0/0"]})
        remove_task(chain, "a", with_influence=True)
        newer = chain.start_cycle("c", "mu2net", 10, {"live": []})
        undo_removal(chain)
        assert chain.running_cycle("b") == first
        assert chain.running_cycle("c") == newer != other


def test_what_cannot_be_removed_is_said(chain):
    with pytest.raises(UnknownNameError):
        remove_task(chain, "x")
    remove_task(chain, "a")
    with pytest.raises(ConfigError, match="was removed"):
        remove_task(chain, "a")
    with pytest.raises(ConfigError, match=r"'a' exists already \(it was removed on"):
        chain.add_task(chain.task("b").__class__(name="a", source={}, classes=("x",), fingerprint="f"))
