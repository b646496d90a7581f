"""The data base engine of the registry: how SQLite is opened, and what its errors mean.

SQLite runs with a rollback journal, ``synchronous=FULL``, foreign keys, and ``BEGIN IMMEDIATE`` for writers. A
write-ahead log is refused: SQLite before 3.51.3 can corrupt one, and network file systems cannot hold one.

PostgreSQL gives the same: writers take turns by an advisory lock, readers see one snapshot and cannot write.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError
from sqlalchemy.orm import Session

from mu2net.errors import ConfigError, StoreError
from mu2net.store.files import Files, nothing_lost, only_read
from mu2net.store.seal import Seal

BUSY_SECONDS = 30.0
"""How long a statement waits for one transaction of another process before it gives up."""

_POLL_SECONDS = (0.001, 0.02)
"""Between two attempts to take a turn, drawn anew each time."""

_WRITES = "mu2net_writes"

_COUNT = "SELECT value FROM facts WHERE name = 'transactions'"
_COUNT_ONE_MORE = """
    INSERT INTO facts (name, value) VALUES ('transactions', '1')
    ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(facts.value AS BIGINT) + 1 AS VARCHAR(255))
"""
"""Every transaction counts itself: SQLite and PostgreSQL understand both."""


_TURN = 0x6D75326E6574
"""The advisory lock that whoever writes to a PostgreSQL registry holds until its transaction ends."""

_FOREIGN_VALUES = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)
"""What comes of a row whose values are not those that mu2net writes."""


def sqlite_url(file: Path) -> URL:
    """Return the URL of an SQLite file."""
    return URL.create("sqlite", database=str(file))


def registry_engine(url: URL | str) -> Engine:
    """Return an engine for a registry.

    Connections are not kept between transactions: SQLite's locks, and any connection, survive neither ``fork`` nor
    being shared.

    Args:
        url: An SQLAlchemy URL.

    Raises:
        ConfigError: The URL is malformed, or its driver is not installed.
    """
    try:
        url = make_url(url)
        if url.get_backend_name() == "postgresql":
            engine = create_engine(url, poolclass=NullPool)
            event.listen(engine, "begin", _begin_postgresql)
            return engine
        if url.get_backend_name() != "sqlite":
            raise NoSuchModuleError(f"{url.get_backend_name()!r} is neither SQLite nor PostgreSQL")
        if url.database in (None, "", ":memory:"):
            raise ArgumentError("an SQLite data base needs a file, in memory it ends with the process")
        engine = create_engine(url, poolclass=NullPool, connect_args={"timeout": BUSY_SECONDS})
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise ConfigError(
            f"registry_url is not possible: {error}; expected for instance "
            "'postgresql+psycopg://user@host/name' with its driver installed (pip install 'mu2net[postgres]')"
        ) from error
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


class Registry:
    """Transactions on a registry.

    Args:
        engine: From ``registry_engine``.
        files: The seam to the file system, for the seal.
    """

    def __init__(self, engine: Engine, files: Files | None = None) -> None:
        self.engine = engine
        is_file = engine.dialect.name == "sqlite"
        self.where = str(engine.url.database) if is_file else engine.url.render_as_string(hide_password=True)
        """What messages call the registry: its file, or its URL without a password."""
        self._writer = engine.execution_options(**{_WRITES: True})
        self.seal = Seal(Path(self.where), files or Files()) if is_file and engine.url.database else None
        """What its bytes hash to; ``None`` where it is no file."""

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Give a session that sees one state of the registry from its first query to its end.

        Raises:
            StoreError: The registry cannot be read, or holds values that mu2net does not write.
        """
        try:
            with self._explained("read"), Session(self.engine) as session, session.begin():
                yield session
        except _FOREIGN_VALUES as error:
            raise StoreError(
                f"registry {self.where} holds something that mu2net did not write ({type(error).__name__}: {error}); "
                "nothing was changed; run `mu2net verify`, and restore it from a backup"
            ) from error

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Give a session that writes: everything in it becomes visible at its end, or nothing does.

        Raises:
            StoreError: The registry cannot be written; nothing was changed.
        """
        with self._explained("written"), Session(self._writer) as session:
            with session.begin():
                connection = session.connection()  # takes the turn now, not at the first statement
                count = self._count(connection)
                self._require_intact(connection, count)
                yield session
                session.flush()
                connection.exec_driver_sql(_COUNT_ONE_MORE)
                self._seal(connection)
            if self.seal is not None:
                self.seal.remember(count + 1)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Give a connection in a transaction that writes, for migrations.

        Raises:
            StoreError: The registry cannot be written; nothing was changed.
        """
        with self._explained("migrated"), self._writer.begin() as connection:
            self._require_intact(connection)
            yield connection
            self._seal(connection)

    def problem(self) -> str | None:
        """Return what is wrong with the registry's bytes; ``None`` where nothing is, or they have no seal."""
        if self.seal is None:
            return None
        try:
            with only_read(f"registry {self.where}"), self.reading() as session:
                return self.seal.problem(driver_connection(session.connection()))
        except StoreError as error:
            return str(error)

    def _require_intact(self, connection: Connection, transactions: int | None = None) -> None:
        if self.seal is not None:
            with only_read(f"seal {self.seal.file}"):
                self.seal.require_intact(driver_connection(connection), transactions)

    def _count(self, connection: Connection) -> int:
        """Return how many transactions have written so far."""
        return int(connection.exec_driver_sql(_COUNT).scalar() or 0)

    def _seal(self, connection: Connection) -> None:
        """Write down what the bytes will be once the transaction has committed."""
        if self.seal is not None:
            with nothing_lost(f"seal {self.seal.file}"):
                self.seal.write(driver_connection(connection))

    @contextmanager
    def _explained(self, verb: str) -> Iterator[None]:
        try:
            yield
        except (DatabaseError, sqlite3.DatabaseError, UnicodeDecodeError) as error:
            # SQLite quotes what it finds; where that is no text, Python cannot even read the complaint.
            is_text = not isinstance(error, UnicodeDecodeError)
            message = str(error.orig if isinstance(error, DatabaseError) else error) if is_text else "malformed text"
            message = " ".join(message.split())  # PostgreSQL's have several lines
            raise StoreError(
                f"registry {self.where} cannot be {verb}: {message}; nothing was changed; {_way_out(message)}"
            ) from error


def driver_connection(connection: Connection) -> sqlite3.Connection:
    """Return SQLite's own connection below one of SQLAlchemy's."""
    found: Any = connection.connection.driver_connection
    driver: sqlite3.Connection = found
    return driver


def _way_out(message: str) -> str:
    if "full" in message:
        return "free some space on its disk and run the command again"
    if "locked" in message or "lock timeout" in message:
        return f"another process has held it for {BUSY_SECONDS:.0f} seconds: wait for it, or stop it, and try again"
    if "not a database" in message or "malformed" in message:
        return "the file is damaged: restore it from a backup"
    if "readonly" in message or "unable to open" in message:
        return "check the permissions of the file and its folder"
    if "connection" in message:
        return "check that the server runs, and that registry_url names it and somebody whom it lets in"
    return "see the message above"


def _configure(connection: sqlite3.Connection, record: Any) -> None:  # noqa: ARG001
    # The driver's own BEGIN comes too late and is never IMMEDIATE: switched off here, done in _begin.
    connection.isolation_level = None
    (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    if mode != "delete":
        (_, _, file) = connection.execute("PRAGMA database_list").fetchone()
        raise StoreError(
            f"registry {file} has the journal mode {mode!r}; expected 'delete', which is safe on every "
            f"file system. Close all programs that use it and run: sqlite3 {file} 'PRAGMA journal_mode=DELETE'"
        )
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    # A registry from elsewhere may bring functions of its own in checks, indices and views.
    connection.execute("PRAGMA trusted_schema=OFF")
    # Freed pages are overwritten, and written: the seal hashes what will lie on the disk, and what is deleted is gone.
    connection.execute("PRAGMA secure_delete=ON")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    # Whoever only reads cannot write by mistake, which no seal would know of.
    connection.exec_driver_sql(f"PRAGMA query_only = {'OFF' if writes else 'ON'}")
    if writes:
        _take_turn(driver_connection(connection))
    else:
        connection.exec_driver_sql("BEGIN")


def _begin_postgresql(connection: Connection) -> None:
    if not connection.get_execution_options().get(_WRITES, False):
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return
    # Every statement sees what was committed before it. A snapshot would be taken by the statement that waits for the
    # turn, before what the others wrote meanwhile.
    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL READ COMMITTED READ WRITE")
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{round(1000 * BUSY_SECONDS)}ms'")
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_TURN})")


def _take_turn(connection: sqlite3.Connection) -> None:
    """Begin a transaction that writes, as soon as no other process is in one.

    SQLite's own waiting gives up after a fixed time, however many others had their turns meanwhile, and asks the less
    often the longer it has waited; among many writers some process never gets one. This one asks at the same pace all
    the time, and gives up only where a single transaction does not end.

    Raises:
        sqlite3.OperationalError: One transaction has been going on for ``BUSY_SECONDS``, or the registry is no good.
    """
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        version, end = None, 0.0
        while True:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                if not _is_locked(error):
                    raise
                found, now = _data_version(connection), time.monotonic()
                if version is None or found != version:
                    version, end = found, now + BUSY_SECONDS
                elif now >= end:
                    raise
                time.sleep(random.uniform(*_POLL_SECONDS))  # noqa: S311 - a pace, not a secret
            else:
                return
    finally:
        connection.execute(f"PRAGMA busy_timeout = {round(1000 * BUSY_SECONDS)}")


def _is_locked(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _data_version(connection: sqlite3.Connection) -> int:
    """Return a number that is another one whenever somebody else has committed; 0 while somebody does."""
    try:
        (version,) = connection.execute("PRAGMA data_version").fetchone()
    except sqlite3.OperationalError as error:
        if not _is_locked(error):
            raise
        return 0
    return int(version)
