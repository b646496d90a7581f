from __future__ import annotations

import importlib
import sqlite3

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect

from mu2net.errors import FormatError, StoreError
from mu2net.store.engine import Registry, registry_engine, sqlite_url
from mu2net.store.migrate import alembic_config, migrate
from mu2net.store.schema import Base
from mu2net.store.store import Store


@pytest.fixture
def registry(tmp_path):
    return Registry(registry_engine(sqlite_url(tmp_path / "100% registry.sqlite")))


def test_the_revisions_make_the_declared_tables(registry):
    migrate(registry)
    with registry.reading() as session:
        context = MigrationContext.configure(session.connection(), opts={"compare_server_default": True})
        assert compare_metadata(context, Base.metadata) == []


def test_the_constraints_are_those_of_the_declaration(registry, tmp_path):
    """``compare_metadata`` does not look at lengths, checks, foreign keys' names and partial indices."""
    migrate(registry)
    declared = registry_engine(sqlite_url(tmp_path / "declared.sqlite"))
    with Registry(declared).connection() as connection:
        Base.metadata.create_all(connection)
    found, expected = inspect(registry.engine), inspect(declared)
    for table in Base.metadata.tables:
        assert found.get_pk_constraint(table) == expected.get_pk_constraint(table)
        columns = [
            {column["name"]: str(column["type"]) for column in side.get_columns(table)} for side in (found, expected)
        ]
        assert columns[0] == columns[1]
        for get in ("get_check_constraints", "get_foreign_keys", "get_unique_constraints"):
            left, right = (sorted(map(str, getattr(side, get)(table))) for side in (found, expected))
            assert left == right, (table, get)
    assert indices(registry) == indices(Registry(declared))
    assert len(indices(registry)) == 4


def indices(registry: Registry) -> set[str]:
    with registry.reading() as session:
        query = "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        return set(session.connection().exec_driver_sql(query).scalars())


def test_migrating_twice_changes_nothing(registry):
    migrate(registry)
    migrate(registry)
    with registry.reading() as session:
        assert session.connection().exec_driver_sql("SELECT count(*) FROM events").scalar() == 1


def test_a_failed_migration_leaves_nothing(registry, monkeypatch):
    def broken(*args):
        raise ZeroDivisionError

    monkeypatch.setattr("mu2net.store.migrate.insert", broken)
    with pytest.raises(ZeroDivisionError):
        migrate(registry)
    assert inspect(registry.engine).get_table_names() == []


def test_a_newer_revision_is_refused_and_says_what_it_needs(store):
    connection = sqlite3.connect(store.directory / "registry.sqlite")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.execute("""UPDATE events SET payload = '{"version": "7.1.0"}' WHERE kind = 'registry_migrated'""")
    connection.commit()
    with pytest.raises(FormatError, match=r"'9999', written by mu2net 7\.1\.0.*up to '0003'.*install"):
        Store.open(store.directory)
    connection.execute("DROP TABLE events")
    connection.commit()
    connection.close()
    with pytest.raises(FormatError, match=r"'9999', written by a version whose events this one cannot read"):
        Store.open(store.directory)


def test_the_revisions_can_be_taken_back(registry):
    migrate(registry)
    config = alembic_config()
    with registry.connection() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    assert inspect(registry.engine).get_table_names() == ["alembic_version"]
    migrate(registry)


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("CREATE TRIGGER t AFTER INSERT ON events BEGIN DELETE FROM probes; END", "trigger 't'"),
        ("CREATE VIEW v AS SELECT * FROM events", "view 'v'"),
        ("CREATE VIRTUAL TABLE w USING fts5(a)", "table 'w"),
    ],
)
def test_what_would_run_within_our_statements_is_refused(store, statement, kind):
    connection = sqlite3.connect(store.directory / "registry.sqlite")
    connection.execute(statement)
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match=f"has the {kind}.*which mu2net did not make; nothing was changed"):
        Store.open(store.directory)


def test_a_migration_that_does_not_arrive_is_told(registry, monkeypatch):
    monkeypatch.setattr(command, "upgrade", lambda *args: None)
    with pytest.raises(StoreError, match=r"did not reach revision '0003'; reinstall mu2net"):
        migrate(registry)
    assert inspect(registry.engine).get_table_names() == []


def test_the_environment_of_the_revisions_can_be_looked_at():
    """Tools import it outside of a migration; it then runs nothing."""
    assert callable(importlib.import_module("mu2net.store.migrations.env").run)
