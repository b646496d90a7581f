from __future__ import annotations

import sqlite3

import pytest

from mu2net.errors import StoreError
from mu2net.store.files import Files
from mu2net.store.migrate import migrate
from mu2net.store.seal import SEAL_NAME, State
from mu2net.store.store import Store
from mu2net.store.verify import verify_files


@pytest.fixture
def registry(store):
    return store.directory / "registry.sqlite"


def flip(file, position, bit=0):
    data = bytearray(file.read_bytes())
    data[position] ^= 1 << bit
    file.write_bytes(bytes(data))


def problem(store):
    try:
        return Store.open(store.directory).registry.problem()
    except StoreError as error:
        return str(error)


def test_a_registry_is_sealed_from_the_first_transaction_on(store, make_task):
    assert store.registry.problem() is None
    for number in range(3):
        store.add_task(make_task(f"t{number}"))
        assert store.registry.problem() is None
    assert len((store.directory / SEAL_NAME).read_text().splitlines()) == 3, "before, after, and the hash of both"


def test_every_byte_of_the_registry_counts(store, registry):
    """Each byte of the header, and some of all others."""
    whole = registry.read_bytes()
    for position in [*range(100), *range(100, len(whole), 997)]:
        flip(registry, position, position % 8)
        found = problem(store)
        assert found is not None, f"byte {position}"
        assert "registry" in found
        registry.write_bytes(whole)
    assert problem(store) is None


def test_a_complaint_that_is_no_text_is_a_damage(store, registry):
    """SQLite quotes the damaged schema; the quotation is not UTF-8."""
    flip(registry, registry.read_bytes().index(b"FOREIGN KEY") + 2, 7)
    with pytest.raises(StoreError, match=r"cannot be read: malformed text.*restore it from a backup"):
        Store.open(store.directory)


def test_a_change_through_sqlite_is_found(store, registry):
    connection = sqlite3.connect(registry)
    connection.execute("UPDATE tasks SET fingerprint = 'x'")
    connection.commit()
    connection.close()
    assert "altered" in problem(store)


def test_an_older_state_is_found(store, registry, make_task):
    old = registry.read_bytes()
    for number in range(2):
        store.add_task(make_task(f"t{number}"))
    registry.write_bytes(old)
    assert "altered" in problem(store)


def test_bytes_behind_the_end_and_missing_ones_are_found(store, registry):
    whole = registry.read_bytes()
    registry.write_bytes(whole + b"\0")
    assert "behind its end" in problem(store)
    registry.write_bytes(whole[:-4096])
    assert problem(store) is not None


def test_nothing_is_written_over_a_damage(store, registry, make_task):
    """Else the damage would be sealed."""
    whole = registry.read_bytes()
    for name in ("zeroth", "first"):
        store.add_task(make_task(name))
    current = registry.read_bytes()
    registry.write_bytes(whole)
    again = Store.open(store.directory)
    with pytest.raises(StoreError, match=r"altered.*nothing was written.*delete .*registry\.seal"):
        again.add_task(make_task("second"))
    assert "altered" in problem(store)
    assert registry.read_bytes() == whole
    registry.write_bytes(current)
    Store.open(store.directory).add_task(make_task("second"))
    assert problem(store) is None
    flip(registry, 3 * 4096 + 2000)
    assert verify_files(Store.open(store.directory)) != []
    assert verify_files(Store.open(store.directory)) != [], "the first look did not seal it"


def test_two_processes_seal_in_turn(store, make_task):
    one, other = Store.open(store.directory), Store.open(store.directory)
    for number in range(3):
        one.add_task(make_task(f"a{number}"))
        other.add_task(make_task(f"b{number}"))
        assert problem(store) is None


def test_every_byte_of_the_seal_counts(store, make_task):
    seal = store.directory / SEAL_NAME
    whole = seal.read_bytes()
    for position in range(len(whole)):
        flip(seal, position, position % 8)
        assert problem(store) is not None, f"byte {position}"
        seal.write_bytes(whole)
    assert problem(store) is None


def test_a_lost_or_damaged_seal_is_named_and_a_deleted_one_is_made_anew(store, make_task):
    seal = store.directory / SEAL_NAME
    whole = seal.read_bytes()
    for damaged in (b"", b"1 2\n", whole[:-2], whole.replace(b" ", b"  ", 1), b"\xff" * 10):
        seal.write_bytes(damaged)
        assert "registry.seal" in problem(store) or "altered" in problem(store)
        with pytest.raises(StoreError, match="nothing was written"):
            Store.open(store.directory).add_task(make_task("more"))
    seal.unlink()
    assert "is missing" in problem(store)
    assert "is missing" in verify_files(store)[0].message
    assert not seal.exists(), "who only looks makes none"
    store.add_task(make_task("more"))
    assert problem(store) is None
    assert verify_files(store) == []


def test_a_transaction_that_fails_leaves_a_sealed_registry(store):
    def fail():
        with store.registry.writing() as session:
            session.connection().exec_driver_sql("DELETE FROM events")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.events() != []
    assert problem(store) is None


def test_a_crash_between_the_seal_and_the_commit_leaves_a_sealed_registry(store, make_task):
    class Crash(BaseException):
        pass

    class Crashing(Files):
        def replace(self, file, data, mode, *, syncs_folder=True):
            super().replace(file, data, mode, syncs_folder=syncs_folder)
            raise Crash

    with pytest.raises(Crash):
        Store.open(store.directory, Crashing()).add_task(make_task("lost"))
    assert problem(store) is None
    assert [task.name for task in store.tasks()] == ["digits"]
    store.add_task(make_task("kept"))
    assert problem(store) is None


def test_a_crash_before_the_first_commit_under_a_new_seal_leaves_a_system_that_opens(store, make_task):
    """Somebody deleted the seal, as the message says: the state that is there is sealed first."""

    class Crash(BaseException):
        pass

    class Crashing(Files):
        seals = 0

        def replace(self, file, data, mode, *, syncs_folder=True):
            super().replace(file, data, mode, syncs_folder=syncs_folder)
            Crashing.seals += 1
            if Crashing.seals == 2:
                raise Crash

    (store.directory / SEAL_NAME).unlink()
    with pytest.raises(Crash):
        Store.open(store.directory, Crashing()).add_task(make_task("lost"))
    assert problem(store) is None
    Store.open(store.directory).add_task(make_task("kept"))
    assert problem(store) is None


def test_a_damage_is_not_sealed_by_the_process_that_wrote_last(store, registry, make_task):
    store.add_task(make_task("first"))
    flip(registry, 2 * 4096 + 4000)
    with pytest.raises(StoreError, match="nothing was written"):
        store.add_task(make_task("second"))
    assert "altered" in problem(store)


def test_who_reads_cannot_write(store):
    def write():
        with store.registry.reading() as session:
            session.connection().exec_driver_sql("DELETE FROM events")

    with pytest.raises(StoreError, match="attempt to write a readonly database"):
        write()
    assert store.events() != []
    with store.registry.reading() as session:
        assert session.connection().exec_driver_sql("PRAGMA secure_delete").scalar() == 1


def test_a_seal_that_cannot_be_written_stops_the_transaction(store, make_task):
    class Full(Files):
        def replace(self, file, data, mode, *, syncs_folder=True):
            raise OSError(28, "No space left on device")

    with pytest.raises(StoreError, match=r"No space left.*nothing was lost"):
        Store.open(store.directory, Full()).add_task(make_task("lost"))
    assert [task.name for task in store.tasks()] == ["digits"]
    assert problem(store) is None


def test_states_are_exact():
    state = State(7, 3040001, "a" * 32)
    assert State.from_line(state.to_line().rstrip("\n")) == state
    assert state.after_commit().counter == 8
    for line in ("7 3040001", "x 1 " + "a" * 32, "7 3040001 " + "a" * 31, "07 3040001 " + "a" * 32):
        with pytest.raises(ValueError, match=r".*"):
            State.from_line(line)
    with pytest.raises(ValueError, match="no data base"):
        State.of(b"short")


def test_a_registry_that_is_too_large_is_not_read(store, make_task, monkeypatch):
    size = (store.directory / "registry.sqlite").stat().st_size
    monkeypatch.setattr("mu2net.store.seal.MAX_REGISTRY", size)
    assert problem(store) is None
    monkeypatch.setattr("mu2net.store.seal.MAX_REGISTRY", size - 1)
    assert f"has {size:,} bytes; expected at most {size - 1:,}" in problem(store)
    with pytest.raises(StoreError, match="use PostgreSQL"):
        Store.open(store.directory).add_task(make_task("more"))


def test_a_registry_whose_time_cannot_be_told_is_hashed_again(store, make_task):
    class Blind(Files):
        stamps = 0

        def stamp(self, file):
            self.stamps += 1
            if self.stamps % 2 == 0:  # after the transaction
                raise OSError(5, "Input/output error")
            return super().stamp(file)

    blind = Store.open(store.directory, Blind())
    blind.add_task(make_task("first"))
    assert blind.registry.seal._known is None
    blind.add_task(make_task("second"))
    assert problem(store) is None


def test_a_registry_that_is_no_file_has_no_seal(store, make_task):
    """As a data base of its own has none."""
    store.registry.seal = None
    store.add_task(make_task("more"))
    assert store.registry.problem() is None
    with store.registry.connection() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM tasks").scalar() == 2
    migrate(store.registry)
    assert "altered" in problem(store), "others see it as a file that was not sealed"
