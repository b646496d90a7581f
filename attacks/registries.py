"""Registries of systems from elsewhere: rows, and code, that mu2net did not write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from attacks.frame import Strike, attack
from attacks.make import alter, sparse, store
from mu2net.errors import FormatError, StoreError
from mu2net.store.store import Store


def _opened(folder: Path, *statements: str, act: Callable[[Store], object] = Store.ancestors) -> Strike:
    directory = alter(store(folder), *statements)
    return lambda: act(Store.open(directory))


@attack(StoreError)
def registry_with_a_trigger(folder: Path) -> Strike:
    """A trigger deletes all tasks whenever an event is written."""
    return _opened(folder, "CREATE TRIGGER t AFTER INSERT ON events BEGIN DELETE FROM probes; END")


@attack(StoreError)
def registry_with_a_view_for_a_table(folder: Path) -> Strike:
    """A table is a view that makes up its rows."""
    return _opened(folder, "ALTER TABLE events RENAME TO hidden", "CREATE VIEW events AS SELECT * FROM hidden WHERE 0")


@attack(StoreError)
def registry_with_a_table_of_a_module(folder: Path) -> Strike:
    """A virtual table runs a module of SQLite."""
    return _opened(folder, "CREATE VIRTUAL TABLE v USING fts5(a)")


@attack(StoreError)
def registry_whose_digest_is_a_path(folder: Path) -> Strike:
    """A component is called ``../../../secret``."""
    name = "../../../secret"
    return _opened(
        folder,
        f"UPDATE components SET digest = '{name}'",
        f"UPDATE path_slots SET digest = '{name}'",
        f"UPDATE origins SET digest = '{name}'",
    )


@attack(StoreError)
def registry_with_json_that_is_none(folder: Path) -> Strike:
    """A column of JSON holds something else."""
    return _opened(folder, "UPDATE paths SET hparams = '{not json'")


@attack(StoreError)
def registry_with_json_without_end(folder: Path) -> Strike:
    """A column of JSON holds a hundred thousand open brackets."""
    return _opened(folder, f"UPDATE paths SET hparams = '{'[' * 100_000}'")


@attack(StoreError)
def registry_with_json_of_another_kind(folder: Path) -> Strike:
    """The classes of a task are a number."""
    return _opened(folder, "UPDATE tasks SET classes = '7'", act=Store.tasks)


@attack(StoreError)
def registry_with_mutations_of_another_kind(folder: Path) -> Strike:
    """A mutation has a field that no mutation has."""
    return _opened(folder, """UPDATE paths SET mutations = '[{"name": "x", "__class__": "y"}]'""")


@attack(StoreError)
def registry_with_a_date_that_is_none(folder: Path) -> Strike:
    """A moment is a word."""
    return _opened(folder, "UPDATE tasks SET created_at = 'tomorrow'", act=Store.tasks)


@attack(StoreError)
def registry_with_bytes_for_text(folder: Path) -> Strike:
    """A name is not UTF-8."""
    return _opened(folder, "UPDATE tasks SET fingerprint = CAST(x'fffe80' AS TEXT)", act=Store.tasks)


@attack(FormatError)
def registry_of_the_future(folder: Path) -> Strike:
    """The revision is one that does not exist."""
    return _opened(folder, "UPDATE alembic_version SET version_num = '../../etc'")


@attack(StoreError)
def registry_without_a_table(folder: Path) -> Strike:
    """A table is gone."""
    return _opened(folder, "DROP TABLE path_slots")


@attack(StoreError)
def registry_that_is_no_data_base(folder: Path) -> Strike:
    """The registry is a text."""
    directory = store(folder)
    (directory / "registry.sqlite").write_text("hello" * 1000)
    return lambda: Store.open(directory)


@attack(StoreError)
def registry_of_a_terabyte(folder: Path) -> Strike:
    """The registry has a terabyte, and its header says so too."""
    directory = store(folder)
    file = directory / "registry.sqlite"
    head = bytearray(file.read_bytes())
    head[28:32] = (2**28 - 1).to_bytes(4, "big")
    sparse(file, (2**28 - 1) * 4096, bytes(head))
    opened = Store.open(directory)
    return lambda: opened.start_cycle("digits", "mu2net", 0, {})


@attack(StoreError)
def registry_with_a_seal_of_a_terabyte(folder: Path) -> Strike:
    """The seal has a terabyte."""
    directory = store(folder)
    sparse(directory / "registry.seal", 2**40)
    opened = Store.open(directory)
    return lambda: opened.start_cycle("digits", "mu2net", 0, {})


@attack(StoreError)
def registry_in_another_journal_mode(folder: Path) -> Strike:
    """The registry has a write-ahead log, which may hold anything."""
    return _opened(folder, "PRAGMA journal_mode=WAL")
