from __future__ import annotations

import sqlite3
import threading
import time

import pytest
from sqlalchemy import create_mock_engine, make_url, text

from mu2net.errors import ConfigError, StoreError
from mu2net.store import engine as engine_module
from mu2net.store.engine import Registry, registry_engine, sqlite_url
from mu2net.store.schema import FactRow
from mu2net.store.store import Store


def make(file):
    """Return a registry with nothing but the table in which transactions count themselves."""
    made = Registry(registry_engine(sqlite_url(file)))
    with made.connection() as connection:
        FactRow.metadata.tables[FactRow.__tablename__].create(connection)
    return made


@pytest.fixture
def registry(tmp_path):
    made = make(tmp_path / "r.sqlite")
    with made.writing() as session:
        session.execute(text("CREATE TABLE numbers (n INTEGER)"))
    return made


def test_the_pragmas(registry):
    with registry.reading() as session:
        found = {
            name: session.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert found == {"journal_mode": "delete", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30_000}


def test_a_transaction_is_all_or_nothing(registry):
    def fail() -> None:
        with registry.writing() as session:
            session.execute(text("INSERT INTO numbers VALUES (1)"))
            session.execute(text("CREATE TABLE more (n INTEGER)"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with registry.reading() as session:
        assert session.execute(text("SELECT count(*) FROM numbers")).scalar() == 0
        tables = session.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars()
        assert set(tables) == {"facts", "numbers"}


def test_writers_take_their_turn_from_the_first_statement_on(registry):
    """A counter that is read and then written loses no step: BEGIN IMMEDIATE, not BEGIN."""
    with registry.writing() as session:
        session.execute(text("INSERT INTO numbers VALUES (0)"))

    def count() -> None:
        for _ in range(20):
            with registry.writing() as session:
                n = session.execute(text("SELECT n FROM numbers")).scalar()
                session.execute(text("UPDATE numbers SET n = :n"), {"n": n + 1})

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with registry.reading() as session:
        assert session.execute(text("SELECT n FROM numbers")).scalar() == 80


def test_a_reader_does_not_wait_for_a_writer_that_has_not_committed(registry, monkeypatch):
    with registry.writing() as writer:
        writer.execute(text("INSERT INTO numbers VALUES (1)"))
        with registry.reading() as reader:
            assert reader.execute(text("SELECT count(*) FROM numbers")).scalar() == 0


def test_a_registry_that_stays_locked_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(engine_module, "BUSY_SECONDS", 0.1)
    registry = make(tmp_path / "r.sqlite")
    with (
        registry.writing(),
        pytest.raises(StoreError, match=r"r\.sqlite cannot be written: database is locked.*another process"),
        registry.writing(),
    ):
        pass


def test_a_turn_comes_however_many_others_have_theirs_before(tmp_path, monkeypatch):
    """Others write for much longer than one of them may; nobody gives up."""
    monkeypatch.setattr(engine_module, "BUSY_SECONDS", 1.2)
    registry = make(tmp_path / "r.sqlite")
    with registry.writing() as session:
        session.execute(text("CREATE TABLE numbers (n INTEGER)"))
        session.execute(text("INSERT INTO numbers VALUES (0)"))
    is_over, failed, waited = threading.Event(), [], []

    def write() -> None:
        while not is_over.is_set():
            started = time.monotonic()
            try:
                with registry.writing() as session:
                    waited.append(time.monotonic() - started)
                    session.execute(text("UPDATE numbers SET n = n + 1"))
                    is_over.wait(0.4)
            except StoreError as error:
                failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(6)]
    for thread in threads:
        thread.start()
    is_over.wait(8.0)
    is_over.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert max(waited) > 1.2, "more than a single one may take"
    with registry.reading() as session:
        assert session.execute(text("SELECT n FROM numbers")).scalar() == len(waited)


def test_the_end_of_one_that_is_slow_is_waited_for(registry, monkeypatch):
    monkeypatch.setattr(engine_module, "BUSY_SECONDS", 10.0)
    is_in = threading.Event()

    def hold() -> None:
        with registry.writing() as session:
            session.execute(text("INSERT INTO numbers VALUES (1)"))
            is_in.set()
            time.sleep(0.3)

    thread = threading.Thread(target=hold)
    thread.start()
    assert is_in.wait(10)
    with registry.writing() as session:
        assert session.execute(text("SELECT n FROM numbers")).scalar() == 1
    thread.join()


def test_what_is_wrong_beside_locks_is_not_waited_for(tmp_path):
    registry = make(tmp_path / "r.sqlite")
    (tmp_path / "r.sqlite").write_bytes(b"no data base" * 1000)
    with pytest.raises(StoreError, match="not a database"), registry.writing():
        pass


def test_a_write_ahead_log_is_refused(store):
    file = store.directory / "registry.sqlite"
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    with pytest.raises(StoreError, match=r"journal mode 'wal'; expected 'delete'.*PRAGMA journal_mode=DELETE"):
        Store.open(store.directory)
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    Store.open(store.directory)


@pytest.mark.parametrize(
    "url", ["nonsense", "nobase://host/name", "postgresql+nodriver://host/name", "sqlite://", "sqlite:///:memory:"]
)
def test_an_impossible_url_is_refused(url):
    with pytest.raises(ConfigError, match="registry_url is not possible"):
        registry_engine(url)


def test_messages_hide_a_password():
    engine = create_mock_engine("postgresql://", executor=None)
    engine.url = make_url("postgresql://me:secret@host/name")
    assert Registry(engine).where == "postgresql://me:***@host/name"


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE tasks SET classes = '7'", "TypeError"),
        ("UPDATE tasks SET classes = '{broken'", "JSONDecodeError"),
        ("UPDATE tasks SET created_at = 'tomorrow'", "ValueError"),
    ],
)
def test_a_value_that_nobody_here_wrote_is_named(store, statement, said):
    with store.registry.writing() as session:
        session.execute(text(statement))
    with pytest.raises(StoreError, match=rf"holds something that mu2net did not write \({said}.*nothing was changed"):
        store.tasks()


def test_a_digest_that_is_none_gets_nowhere(store):
    with store.registry.writing() as session:
        session.execute(text("PRAGMA defer_foreign_keys = ON"))
        for table in ("components", "path_slots", "origins"):
            session.execute(
                text(f"UPDATE {table} SET digest = '../../secret' WHERE digest = :d"), {"d": store.root().digests[0]}
            )
    with pytest.raises(StoreError, match=r"'\.\./\.\./secret' is no digest"):
        store.root()


class Failing:
    """A connection on which a statement fails as SQLite lets it fail."""

    def __init__(self, failures):
        self.failures, self.said = failures, []

    def execute(self, statement):
        self.said.append(statement)
        for part, name in self.failures.items():
            if part in statement:
                error = sqlite3.OperationalError(name)
                error.sqlite_errorcode = getattr(sqlite3, name)
                raise error
        return self


@pytest.mark.parametrize(
    "failures", [{"BEGIN": "SQLITE_FULL"}, {"BEGIN": "SQLITE_BUSY", "data_version": "SQLITE_IOERR"}]
)
def test_only_for_a_lock_it_is_worth_waiting(failures):
    connection = Failing(failures)
    with pytest.raises(sqlite3.OperationalError, match=r"SQLITE_FULL|SQLITE_IOERR"):
        engine_module._take_turn(connection)
    assert connection.said.count("BEGIN IMMEDIATE") == 1
    assert connection.said[-1] == "PRAGMA busy_timeout = 30000", "as it was before"
