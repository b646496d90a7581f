"""Bring a registry to the revision that this version of mu2net knows."""

from __future__ import annotations

import importlib.metadata
import sqlite3
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, StaticPool, create_engine, insert, select
from sqlalchemy.exc import DatabaseError

from mu2net.errors import FormatError, StoreError
from mu2net.store.engine import Registry, driver_connection
from mu2net.store.schema import EventRow

MIGRATED = "registry_migrated"
"""Kind of the event that says which version of mu2net brought the registry to which revision."""


def mu2net_version() -> str:
    """Return the version of the installed mu2net."""
    return importlib.metadata.version("mu2net")


def alembic_config() -> Config:
    """Return Alembic's configuration; a connection belongs into its ``attributes["connection"]``."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def migrate(registry: Registry) -> None:
    """Bring a registry to the newest revision, in one transaction; an empty one gets all tables.

    One that holds something is first migrated as a copy in memory; only where that went well is it touched itself.

    Args:
        registry: The registry.

    Raises:
        FormatError: A newer version of mu2net wrote it; names that version.
        StoreError: It cannot be migrated or written, or has triggers or views, which mu2net never makes; nothing was
            changed.
    """
    scripts = _scripts()
    newest = scripts.get_current_head()
    with registry.reading() as session:
        _refuse_foreign_schema(registry, session.connection())
        current = _revision(session.connection())
        if current == newest:
            return
        if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
            raise FormatError(
                f"registry {registry.where} has revision {current!r}, written by {_writer(session.connection())}; "
                f"this is mu2net {mu2net_version()}, which knows revisions up to {newest!r}: "
                "install the version that wrote it, or a newer one"
            )
    if current is not None and registry.seal is not None:
        _rehearse(registry)
    config = alembic_config()
    with registry.connection() as connection:
        # Another process may have migrated it since; Alembic then finds nothing to do.
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        if _revision(connection) != newest:
            raise StoreError(f"registry {registry.where} did not reach revision {newest!r}; reinstall mu2net")
        payload = {"revision": newest, "version": mu2net_version()}
        connection.execute(insert(EventRow).values(at=datetime.now(UTC), kind=MIGRATED, payload=payload))


@cache
def _scripts() -> ScriptDirectory:
    """Return the revisions that there are; reading them takes a third of the time in which a store opens."""
    return ScriptDirectory.from_config(alembic_config())


def _rehearse(registry: Registry) -> None:
    """Migrate a copy of a registry in memory, and check what comes of it.

    Raises:
        StoreError: It fails, or what comes of it is no sound data base.
    """
    with registry.reading() as session:
        image = driver_connection(session.connection()).serialize()
    copy = sqlite3.connect(":memory:")
    try:
        copy.deserialize(image)
        config = alembic_config()
        with create_engine("sqlite://", creator=lambda: copy, poolclass=StaticPool).begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        _require_sound(copy)
    except Exception as error:  # a revision meets rows that no version wrote
        raise StoreError(
            f"registry {registry.where} cannot be brought to this version's revision: {error}; it was tried on a copy, "
            "nothing was changed; run `mu2net verify` with the version that wrote it, or restore a backup"
        ) from error
    finally:
        copy.close()


def _require_sound(copy: sqlite3.Connection) -> None:
    (said,) = copy.execute("PRAGMA integrity_check").fetchone()
    orphan = copy.execute("PRAGMA foreign_key_check").fetchone()
    if said != "ok" or orphan is not None:
        raise StoreError(
            said if orphan is None else f"table {orphan[0]!r} names rows of {orphan[2]!r} that are missing"
        )


def _refuse_foreign_schema(registry: Registry, connection: Connection) -> None:
    """Refuse what would run within our own statements.

    Raises:
        StoreError: There is a trigger, a view or a virtual table.
    """
    if registry.seal is None:
        return
    query = "SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'view') OR sql LIKE 'CREATE VIRTUAL%'"
    found = connection.exec_driver_sql(query).first()
    if found is not None:
        raise StoreError(
            f"registry {registry.where} has the {found[0]} {found[1]!r}, which mu2net did not make; "
            "nothing was changed; restore it from a backup"
        )


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _writer(connection: Connection) -> str:
    """Return which version of mu2net migrated a registry last, as far as this one can read it."""
    query = select(EventRow.payload).where(EventRow.kind == MIGRATED).order_by(EventRow.id.desc()).limit(1)
    try:
        payload = connection.execute(query).scalar()
        return f"mu2net {payload['version']}" if payload else "an unknown version"
    except (DatabaseError, KeyError, TypeError):
        return "a version whose events this one cannot read"
