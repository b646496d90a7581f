"""``registry.seal``: what the bytes of the registry hash to, so that any change of them is found.

SQLite checks the structure of a data base, not its content. The seal is written within every transaction that writes,
before it commits, and holds the state before and after it: whatever happens, the registry is in one of the two.
SQLite advances counters in the header while it commits; they are left out of the hash and compared on their own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import xxhash

from mu2net.errors import StoreError
from mu2net.store.files import Files

SEAL_NAME = "registry.seal"

_COUNTER, _VALID_FOR, _VERSION = slice(24, 28), slice(92, 96), slice(96, 100)
"""Bytes of the header that a commit changes: SQLite's file format, sections 1.3.7 and 1.3.16."""

_HEADER = 100

MAX_REGISTRY = 2**30
"""The largest registry in a file, in bytes: every transaction reads it all. 500 publications need 2.3 MB."""

_MAX_SEAL = 2**12


@dataclass(frozen=True)
class State:
    """A state of the registry.

    Args:
        counter: Commits so far, as the header counts them.
        version: Version number of the SQLite that wrote it.
        digest: XXH3 (128 bits) of all bytes, without the counters: against accidents, not against forgers, and a
            hundred times as fast as the rest of a transaction.
    """

    counter: int
    version: int
    digest: str

    @classmethod
    def of(cls, image: bytes) -> State:
        """Return the state that the bytes of a data base are in.

        Raises:
            ValueError: They are too few for a data base.
        """
        if len(image) < _HEADER:
            raise ValueError(f"{len(image)} bytes are no data base")
        view, state = memoryview(image), xxhash.xxh3_128()
        for part in (view[: _COUNTER.start], view[_COUNTER.stop : _VALID_FOR.start], view[_VERSION.stop :]):
            state.update(part)
        counter, version = (int.from_bytes(image[part], "big") for part in (_COUNTER, _VERSION))
        return cls(counter, version, state.hexdigest())

    def after_commit(self) -> State:
        """Return the state that a commit makes of it."""
        return State((self.counter + 1) % 2**32, sqlite3_version_number(), self.digest)

    def to_line(self) -> str:
        """Return it as a line of the seal."""
        return f"{self.counter} {self.version} {self.digest}\n"

    @classmethod
    def from_line(cls, line: str) -> State:
        """Return the state of a line of the seal.

        Raises:
            ValueError: It is no such line.
        """
        counter, version, digest = line.split(" ")
        found = cls(int(counter), int(version), digest)
        if found.to_line() != f"{line}\n" or len(digest) != xxhash.xxh3_128().digest_size * 2:
            raise ValueError(f"{line!r} is no state of a registry")
        return found


def sqlite3_version_number() -> int:
    """Return the version number of the SQLite that is used here, as it stands in headers."""
    major, minor, patch = sqlite3.sqlite_version_info
    return major * 1_000_000 + minor * 1000 + patch


class Seal:
    """The seal of a registry in a file.

    Args:
        registry: The registry's file.
        files: The seam to the file system.
    """

    def __init__(self, registry: Path, files: Files) -> None:
        self._registry, self._files = registry, files
        self.file = registry.with_name(SEAL_NAME)
        self._known: tuple[int, tuple[int, int]] | None = None

    def require_intact(self, connection: sqlite3.Connection, transactions: int | None = None) -> None:
        """Check, before a transaction writes, that the registry is in a state that was sealed.

        Else the transaction would seal a damage. A missing seal is none: a new one is made of the state that is there.
        The bytes are hashed once for every state that somebody else left.

        Args:
            connection: In a transaction that writes, and has written nothing yet.
            transactions: How many there were, as the registry itself counts; ``None`` where it does not yet.

        Raises:
            StoreError: The registry, or its seal, was altered.
        """
        if transactions is not None and self._known == (transactions, self._files.stamp(self._registry)):
            return
        image = self._image(connection)
        if not int.from_bytes(image[_COUNTER], "big"):  # its first transaction never ended
            return
        if not self._files.is_file(self.file):
            self._put([State.of(image)])
            return
        problem = self._problem(image)
        if problem is not None:
            raise StoreError(
                f"{problem}; nothing was written. To go on with the registry as it is, delete {self.file}: the next "
                "command that writes makes a new seal"
            )

    def remember(self, transactions: int) -> None:
        """Take note of what this process has just committed, so that it need not be hashed before the next time.

        Args:
            transactions: How many there were, as the registry itself counts.
        """
        try:
            self._known = (transactions, self._files.stamp(self._registry))
        except OSError:
            self._known = None

    def write(self, connection: sqlite3.Connection) -> None:
        """Seal what a transaction is about to commit, and what is there before.

        Args:
            connection: In a transaction that writes, with nothing left to do but to commit.

        Raises:
            OSError: The seal cannot be written; the transaction must not commit.
        """
        after = State.of(self._image(connection))
        before = [state for state in self._states() if state.counter == after.counter][:1]
        self._put([*before, after.after_commit()])

    def problem(self, connection: sqlite3.Connection) -> str | None:
        """Return what is wrong with the registry, ``None`` where it is as it was written.

        Args:
            connection: A new connection to it, in a transaction that reads.
        """
        return self._problem(self._image(connection))

    def _image(self, connection: sqlite3.Connection) -> bytes:
        """Return the bytes of the registry as a transaction sees them.

        Raises:
            StoreError: They are more than a file of SQLite may have here.
        """
        (pages,), (page_size,) = (
            connection.execute(f"PRAGMA {what}").fetchone() for what in ("page_count", "page_size")
        )
        if pages * page_size > MAX_REGISTRY:
            raise StoreError(
                f"registry {self._registry} has {pages * page_size:,} bytes; expected at most {MAX_REGISTRY:,}; "
                "restore it from a backup, or use PostgreSQL (registry_url) for a system that large"
            )
        return connection.serialize()

    def _problem(self, image: bytes) -> str | None:
        try:
            sealed = self._read()
        except FileNotFoundError:
            return f"{self.file} is missing, so the registry cannot be checked; restore both from a backup"
        except (ValueError, OSError) as error:
            return f"{self.file} is damaged ({error}); restore the registry and its seal from a backup"
        if self._files.size(self._registry) != len(image):
            return f"registry {self._registry} has bytes behind its end; restore it from a backup"
        if image[_COUNTER] != image[_VALID_FOR] or State.of(image) not in sealed:
            return f"registry {self._registry} was altered: its seal says other bytes; restore it from a backup"
        return None

    def _states(self) -> list[State]:
        """Return what the seal says, as far as it can be read: a damaged one is replaced by the next transaction."""
        try:
            return self._read()
        except (OSError, ValueError):
            return []

    def _put(self, states: Sequence[State]) -> None:
        """Write the seal; its name is on the disk before a commit is.

        SQLite waits for the same folder, when it has made its journal there and before it writes the first page. Until
        then the registry, and the seal of before, are what they were.
        """
        text = "".join(state.to_line() for state in states)
        self._files.replace(self.file, f"{text}{own_digest(text)}\n".encode(), 0o644, syncs_folder=False)

    def _read(self) -> list[State]:
        """Return the states that the seal names.

        Raises:
            OSError: It cannot be read.
            ValueError: It was altered: its last line is a hash of the others.
        """
        return states_of(self._files.read(self.file, _MAX_SEAL))


def states_of(data: bytes) -> list[State]:
    """Return the states that the bytes of a seal name.

    Raises:
        ValueError: They were altered: the last line is a hash of the others.
    """
    *lines, last = data.decode("ascii").splitlines(keepends=True) or [""]
    if last != f"{own_digest(''.join(lines))}\n":
        raise ValueError("its last line is not the hash of the others")
    return [State.from_line(line.removesuffix("\n")) for line in lines]


def own_digest(text: str) -> str:
    """Return the last line of a seal: what its other lines hash to (XXH3, 128 bits)."""
    return xxhash.xxh3_128(text.encode()).hexdigest()
