"""A registry in PostgreSQL does what one in SQLite does: the same tests, and what only several processes can try."""

from __future__ import annotations

import functools
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import NullPool, create_engine, text

from mu2net.errors import ConfigError, StoreError
from mu2net.store import engine as engines
from mu2net.store.config import SystemConfig
from mu2net.store.engine import Registry, registry_engine
from mu2net.store.store import Store
from mu2net.system import System, evolution
from tests import postgresql
from tests.store import conftest, test_collect, test_lease, test_provenance, test_removal, test_store, test_transfer
from tests.store import test_usage as usage
from tests.system.conftest import SMALL, Here

psycopg = pytest.importorskip("psycopg")
pytestmark = pytest.mark.skipif(postgresql.binaries() is None, reason="no PostgreSQL server is installed")

OF_FILES = {
    "test_a_system_is_what_it_was_made_of",
    "test_two_live_paths_of_a_task_are_impossible",
    "test_a_missing_registry_is_never_made_anew",
    "test_a_registry_elsewhere",
    "test_a_damaged_registry_is_named",
    "test_a_system_without_its_toml_is_not_overwritten",
    "test_a_system_of_the_first_revision_learns_who_shaped_what",
    "test_a_damaged_registry_brings_nothing_here",
    "test_names_of_others_are_checked_too",
    "test_copies_that_diverged_in_a_cycle_can_be_brought_together",
    "test_a_copy_of_the_system_recognises_its_own_paths",
    "test_whatever_happens_nothing_reachable_is_ever_removed",
}
"""Tests that look into the file of an SQLite registry, copy a system with it, or make hundreds of them."""


def again(test: Callable[..., None]) -> Callable[..., None]:
    """Return a test that does the same, and that only ``--exhaustive`` runs."""
    same = functools.wraps(test)(lambda *arguments, **named: test(*arguments, **named))
    same.pytestmark = [*getattr(test, "pytestmark", ()), pytest.mark.thorough.mark]
    return same


for module in (test_store, test_lease, test_removal, test_collect, test_provenance, test_transfer, usage):
    same = {name: value for name, value in vars(module).items() if name.startswith("test_") and name not in OF_FILES}
    assert not same.keys() & globals().keys()
    is_short = module in (test_store, test_lease)
    globals().update(same if is_short else {name: again(test) for name, test in same.items()})

clock, leases, empty = test_lease.clock, test_lease.leases, test_transfer.empty


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    with postgresql.running() as url:
        yield url


@pytest.fixture(scope="session")
def new_url(server) -> Callable[[], str]:
    """Makes the URL of a registry that holds nothing."""
    numbers, engine = itertools.count(), create_engine(server, poolclass=NullPool)

    def new_url() -> str:
        name = f"registry_{next(numbers)}"
        with engine.begin() as connection:
            connection.execute(text(f"CREATE SCHEMA {name}"))
        return f"{server}&options=-csearch_path%3D{name}"

    return new_url


@pytest.fixture(scope="session")
def make_store(new_url) -> Callable[..., Store]:
    def make_store(directory: Path, files=None, config: SystemConfig = conftest.CONFIG) -> Store:
        return conftest.create(directory, files, config.model_copy(update={"registry_url": new_url()}))

    return make_store


@pytest.fixture
def store(make_store, tmp_path) -> Store:
    store = make_store(tmp_path / "system")
    store.add_task(conftest.task())
    return store


@pytest.fixture
def chain(store) -> Store:
    return conftest.make_chain(store)


@pytest.fixture
def grown(store) -> Store:
    return conftest.make_grown(store)


@pytest.mark.parametrize(("state", "error"), [("live", "duplicate key"), ("lively", "check constraint")])
def test_what_may_not_be_is_refused_by_the_data_base(store, make_child, state, error):
    cycle = store.start_cycle("digits", "mu2net", 1, {})
    for child in range(2):
        store.record_child(cycle, make_child(store.root(), 10 + child, child=child))
    with pytest.raises(StoreError, match=error), store.registry.connection() as connection:
        connection.execute(text(f"UPDATE paths SET state = '{state}' WHERE task = 'digits'"))


def test_a_reader_sees_one_state_and_cannot_write(store, make_task):
    with store.registry.reading() as session:
        before = session.execute(text("SELECT count(*) FROM tasks")).scalar()
        thread = threading.Thread(target=store.add_task, args=(make_task("meanwhile"),))
        thread.start()
        thread.join(30)
        assert not thread.is_alive(), "readers hold up nobody"
        assert session.execute(text("SELECT count(*) FROM tasks")).scalar() == before
    with pytest.raises(StoreError, match="read-only"), store.registry.reading() as session:
        session.execute(text("DELETE FROM events"))
    assert [task.name for task in store.tasks()] == ["digits", "meanwhile"]


ADD = """
import sys
from dataclasses import replace
from mu2net.store.store import Store
from tests.store.conftest import task

store = Store.open(sys.argv[1])
for number in range(int(sys.argv[3])):
    store.add_task(replace(task(f"{sys.argv[2]}-{number}"), fingerprint="0" * 64))
"""


def test_writers_of_many_processes_take_turns(store):
    command = [sys.executable, "-c", ADD, str(store.directory)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    processes = [subprocess.Popen([*command, name, "10"], env=environment) for name in "abc"]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    names = [task.name for task in store.tasks()]
    assert sorted(names) == sorted(["digits", *(f"{name}-{number}" for name in "abc" for number in range(10))])
    with store.registry.reading() as session:
        numbers = session.execute(text("SELECT number FROM tasks")).scalars().all()
    assert sorted(numbers) == list(range(min(numbers), min(numbers) + 31)), "each counted on from the one before"


def test_who_waits_for_a_turn_too_long_is_told(store, make_task, monkeypatch):
    monkeypatch.setattr(engines, "BUSY_SECONDS", 0.2)
    other, error = Registry(registry_engine(store.config.registry_url)), r"lock timeout.*another process has held it"
    with other.writing(), pytest.raises(StoreError, match=error):
        store.add_task(make_task("late"))
    assert [task.name for task in store.tasks()] == ["digits"]


def test_a_writer_that_is_killed_leaves_nothing_and_no_lock(store, make_task):
    code = """
        import os, signal, sys
        from mu2net.store.store import Store
        from tests.store.conftest import task
        from mu2net.store import recording
        store = Store.open(sys.argv[1])
        original = recording.add_event
        recording.add_event = lambda *arguments: (original(*arguments), os.kill(os.getpid(), signal.SIGKILL))
        from dataclasses import replace
        store.add_task(replace(task("killed")))
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", textwrap.dedent(code), str(store.directory)]
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL
    store.add_task(make_task("next"))
    assert [task.name for task in store.tasks()] == ["digits", "next"]


def test_a_system_learns_and_is_verified(new_url, tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(evolution, "ProcessExecutor", Here)
    root, url = "vit:dim=16,depth=2,heads=2,patch=4,image=8", new_url()
    with System.create(tmp_path / "system", root=root, registry_url=url) as system:
        system.add_task("one", pictures(tmp_path / "one", seed=1))
        system.evolve("one", children=3, **SMALL)
    with System.open(tmp_path / "system") as system:
        assert system.verify().is_intact
        assert system.task("one").children == 3
        assert not (tmp_path / "system" / "registry.sqlite").exists()
    with pytest.raises(ConfigError, match="holds a system already"):
        System.create(tmp_path / "other", root=root, registry_url=url)


def test_a_server_that_is_not_there_is_said(tmp_path):
    url = f"postgresql+psycopg://tester@/postgres?host={tmp_path}"
    with pytest.raises(StoreError, match=r"connection .* failed: .*; nothing was changed; check that the server runs"):
        System.create(tmp_path / "system", root="vit:dim=16,depth=2,heads=2,patch=4,image=8", registry_url=url)


def test_other_data_bases_are_refused():
    with pytest.raises(ConfigError, match="'mysql' is neither SQLite nor PostgreSQL"):
        registry_engine("mysql+pymysql://host/name")
