"""Errors of the file system, and crashes, at every single step of what looks after a system."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mu2net.errors import StoreError
from mu2net.store.backup import Place, backup, restore
from mu2net.store.collect import GRACE, collect
from mu2net.store.reach import files_of
from mu2net.store.repair import quarantine, repair
from mu2net.store.store import Store
from mu2net.store.transfer import export_system, import_task
from mu2net.store.verify import check_files, damaged_files, verify_files
from tests.faults import ALL_STEPS, FaultyFiles, Killed

LATER = datetime.now(UTC) + GRACE + timedelta(days=1)

Act = Callable[[Store], object]


def eio() -> OSError:
    return OSError(errno.EIO, os.strerror(errno.EIO), "somewhere")


@dataclass(frozen=True)
class Failure:
    """What happens at a step: these in turn, at every step or at every second one."""

    kinds: tuple[Callable[[], BaseException], ...]
    stride: int = 1

    def at(self, step: int) -> Callable[[], BaseException]:
        return self.kinds[step // self.stride % len(self.kinds)]

    @property
    def steps(self) -> Iterator[int]:
        return itertools.count(step=self.stride)


EXHAUSTIVE = {"error": Failure((eio,)), "crash": Failure((Killed,))}
QUICK = {"alternating": Failure((eio, Killed), stride=2)}


def pytest_generate_tests(metafunc):
    """An error or a crash in turn at every second step, which takes a quarter of the time of ``--exhaustive``."""
    if "failure" in metafunc.fixturenames:
        failures = EXHAUSTIVE if metafunc.config.getoption("exhaustive") else QUICK
        metafunc.parametrize("failure", failures.values(), ids=failures)


def ends(act: Callable[[], object]) -> bool:
    """Return whether an action came to its end; one that did not says so as it must."""
    try:
        act()
    except Killed:
        return False
    except StoreError as raised:
        said = str(raised)
    else:
        return True
    assert "Input/output error" in said
    return False


def each_step(
    store: Store,
    failure: Callable[[int], Callable[[], BaseException]],
    act: Act,
    after: Callable[[Store], None],
    done: Act,
) -> int:
    """Let an action fail at its first step, then at its second, until it comes to its end; return how many failed.

    Args:
        store: The system; every attempt has a copy of it.
        failure: What happens at a step.
        act: The action.
        after: Looks at the system after every attempt.
        done: Looks at it after the action was repeated without a failure, which is tried every few steps.
    """
    copy = store.directory.with_name("copy of it")
    for at in failure.steps:
        shutil.copytree(store.directory, copy)
        files = FaultyFiles(failure.at(at), at=at, steps=ALL_STEPS)
        is_done = ends(lambda files=files: act(Store.open(copy, files)))
        after(Store.open(copy))
        is_over = files.steps <= at  # the failure never came
        if is_over or at // failure.stride % 3 == 0:  # after errors and crashes alike
            act(Store.open(copy))
            done(Store.open(copy))
        shutil.rmtree(copy)
        if is_over:
            assert is_done
            return at
    raise AssertionError


def live(store: Store) -> tuple[Any, ...]:
    return store.tasks(), store.ancestors(), store.live_paths(), store.cycles("digits")


def needed(store: Store) -> set[str]:
    with store.registry.reading() as session:
        return set(files_of(session, ["root", "digits/1/0/0"]))


def test_collect(grown, failure, make_task):
    before, kept = live(grown), needed(grown)
    assert set(grown.components.digests()) > kept

    def after(store: Store) -> None:
        assert live(store) == before
        assert kept <= set(store.components.digests())
        assert verify_files(store) == [], "what is gone is known to be"

    def done(store: Store) -> None:
        assert set(store.components.digests()) == kept
        store.add_task(make_task("more"))

    assert each_step(grown, failure, lambda store: collect(store, is_dry=False, now=LATER), after, done) > 20


def test_collect_of_unfinished_files(grown, failure):
    file = grown.components.file(grown.root().digests[0]).with_name(".tmp-0123456789abcdef")
    file.write_bytes(b"half")
    os.utime(file, (0, 0))

    def done(store: Store) -> None:
        assert list(store.components.temporary_files()) == []
        assert verify_files(store) == []

    act: Act = lambda store: collect(store, is_dry=False)  # noqa: E731
    assert each_step(grown, failure, act, lambda store: None, done) > 10


@pytest.fixture
def damaged(grown, tmp_path):
    """A system with two altered files, their digests, and an intact copy of it."""
    shutil.copytree(grown.directory, tmp_path / "intact")
    for digest in grown.live_path("digits").digests[:2]:
        file = grown.components.file(digest)
        file.chmod(0o644)
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    found = damaged_files(verify_files(grown))
    assert len(found) == 2
    return grown, found, tmp_path / "intact"


def test_quarantine(damaged, failure):
    grown, digests, _ = damaged
    sizes = {digest: grown.components.size(digest) for digest in digests}

    def after(store: Store) -> None:
        moved = list((store.directory / "quarantine").glob("*"))
        left = [digest for digest in digests if store.components.file(digest).is_file()]
        assert {file.name.partition(".")[0] for file in moved} | set(left) == set(digests), "nothing is deleted"
        assert all(file.stat().st_size == sizes[file.name.partition(".")[0]] for file in moved)
        assert damaged_files(verify_files(store)) == digests

    def done(store: Store) -> None:
        assert len(list((store.directory / "quarantine").glob("*"))) == 2

    assert each_step(grown, failure, lambda store: quarantine(store, digests), after, done) > 10


def test_repair(damaged, failure):
    grown, digests, intact = damaged
    before = live(grown)

    def after(store: Store) -> None:
        assert live(store) == before
        assert set(damaged_files(verify_files(store))) <= set(digests)

    def done(store: Store) -> None:
        assert verify_files(store) == []
        assert len(list((store.directory / "quarantine").glob("*"))) == 2, "what is intact is left alone"

    assert each_step(grown, failure, lambda store: repair(store, digests, intact), after, done) > 30


def test_verify(grown):
    """It never writes what is needed, and what it cannot read is an error or a finding, never a crash."""
    before = live(grown)

    def after(store: Store) -> None:
        assert live(store) == before
        assert verify_files(store) == []

    assert each_step(grown, Failure((eio,), stride=2), lambda store: check_files(store), after, lambda store: None) > 10


def test_backup(grown, failure, tmp_path, learn):
    """Of a system that has grown since: the backup of before is whole until the new one is."""
    old = tmp_path / "backup"
    backup(grown, str(old))
    learn(grown, "letters", grown.root(), 30)
    where, target = tmp_path / "new", tmp_path / "again"
    found = []

    def act(store: Store) -> None:
        backup(store, str(where))

    def restored() -> set[str | None]:
        restore(str(where), target)
        again = Store.open(target)
        assert verify_files(again) == []
        tasks = {path.task for path in again.live_paths()}
        shutil.rmtree(target)
        return tasks

    def after(store: Store) -> None:
        found.append(restored())
        shutil.rmtree(where)
        shutil.copytree(old, where)

    def done(store: Store) -> None:
        assert restored() == {"digits", "letters"}
        shutil.rmtree(where)
        shutil.copytree(old, where)

    shutil.copytree(old, where)
    assert each_step(grown, failure, act, after, done) > 10
    assert found[0] == {"digits"}
    assert found[-1] == {"digits", "letters"}


def test_a_place_that_fails_leaves_the_backup_of_before(grown, failure, tmp_path, learn, monkeypatch):
    """The other side: what fsspec writes."""
    where = tmp_path / "backup"
    backup(grown, str(where))
    learn(grown, "letters", grown.root(), 30)
    seen = set()
    for at in failure.steps:
        copy = tmp_path / f"copy{at}"
        shutil.copytree(where, copy)
        steps = itertools.count()

        def faulty(original: Any, steps: Any = steps, at: int = at) -> Any:
            def run(*args: Any, **options: Any) -> Any:
                if next(steps) == at:
                    raise failure.at(at)()
                return original(*args, **options)

            return run

        with monkeypatch.context() as patch:
            system = type(Place(str(copy))._system)
            for name in ("pipe_file", "mv", "makedirs", "rm_file", "size", "isfile", "cat_file"):
                patch.setattr(system, name, faulty(getattr(system, name)))
            is_done = ends(lambda copy=copy: backup(grown, str(copy)))
        target = tmp_path / f"again{at}"
        restore(str(copy), target)
        again = Store.open(target)
        assert verify_files(again) == []
        seen.add(frozenset(path.task for path in again.live_paths()))
        if next(steps) <= at:
            assert is_done
            break
    assert at > 10
    assert seen == {frozenset({"digits"}), frozenset({"digits", "letters"})}


def test_import(chain, failure, tmp_path, make_store):
    """What was there stays, what comes is there whole or not at all, and the other system is as it was."""
    other = make_store(tmp_path / "other")
    learned = [path.task for path in chain.live_paths()]

    def after(store: Store) -> None:
        assert verify_files(store) == []
        found = [path.task for path in store.live_paths()]
        assert found in ([], ["c"])
        assert [task.name for task in store.tasks()] == found
        assert [path.task for path in chain.live_paths()] == learned

    def act(store: Store) -> None:
        if not store.live_paths():
            import_task(store, Store.open(chain.directory), "c")

    def done(store: Store) -> None:
        assert store.live_path("c") == chain.live_path("c")

    if failure.stride > 1:
        failure = replace(failure, stride=5)
    assert each_step(other, failure, act, after, done) > 30


def test_export_of_a_system(grown, failure, tmp_path):
    """There is a whole new system, or none."""
    target = tmp_path / "new"

    def after(store: Store) -> None:
        if target.exists():
            new = Store.open(target)
            assert verify_files(new) == []
            assert new.live_paths() == store.live_paths()

    def act(store: Store) -> None:
        shutil.rmtree(target, ignore_errors=True)
        export_system(store, target)

    if failure.stride > 1:  # it has several hundred steps
        failure = replace(failure, stride=19)
    assert each_step(grown, failure, act, after, after) > 100


def test_restore(grown, failure, tmp_path):
    where, target = str(tmp_path / "backup"), tmp_path / "again"
    backup(grown, where)
    before, steps = live(grown), 0
    for at in failure.steps:
        files = FaultyFiles(failure.at(at), at=at, steps=ALL_STEPS)
        if ends(lambda files=files: restore(where, target, files)):
            break
        steps += 1
        if (target / "mu2net.toml").exists():  # it is complete, but for its leases and its seal
            assert live(Store.open(target)) == before
            shutil.rmtree(target)
    assert steps > 30
    assert live(Store.open(target)) == before
    assert verify_files(Store.open(target)) == []


def test_an_interrupted_restore_can_be_repeated_but_not_over_another_system(grown, tmp_path, make_store):
    where, target = str(tmp_path / "backup"), tmp_path / "again"
    backup(grown, where)
    restore(where, target)
    (target / "mu2net.toml").unlink()
    (target / "registry.seal").unlink()
    shutil.copy(next((tmp_path / "backup").glob("registry-*.sqlite")), target / "registry.sqlite")
    restore(where, target)
    assert live(Store.open(target)) == live(grown)
    other = make_store(tmp_path / "other")
    (other.directory / "mu2net.toml").unlink()
    registry = (other.directory / "registry.sqlite").read_bytes()
    with pytest.raises(Exception, match="holds a system already"):
        restore(where, other.directory)
    assert (other.directory / "registry.sqlite").read_bytes() == registry
