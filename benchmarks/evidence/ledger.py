"""The ledger: one JSON line per record, appended and flushed to the disk, so that a benchmark can go on at any time."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from benchmarks.evidence.keys import Key
from benchmarks.evidence.records import Check, Failure, Record, Result, record_from_json
from mu2net.errors import ConfigError


class Ledger:
    """The records of a file. Of several with one key the last one counts.

    Args:
        file: The file; a missing one is empty.

    Raises:
        ConfigError: A line before the last one is no record.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.torn = ""
        self.records: list[Record] = []
        lines = file.read_bytes().split(b"\n") if file.exists() else [b""]
        for number, line in enumerate(lines, 1):
            self._read(line, number, is_last=number == len(lines))

    def _read(self, line: bytes, number: int, *, is_last: bool) -> None:
        if not line.strip():
            return
        if is_last:
            self.torn = (
                f"the last line of {self.file} is not complete: the benchmark was interrupted while "
                "it wrote; the line is left out"
            )
            return
        try:
            self.records.append(record_from_json(json.loads(line)))
        except (KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"line {number} of {self.file} is no record ({type(error).__name__}: {error}); "
                "put the file back as it was, or delete the line: it is read from its system then, or measured again"
            ) from error

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the one process that writes the file, and cut off a line that is not complete.

        Raises:
            ConfigError: Another process writes it.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise ConfigError(f"another benchmark writes {self.file}; wait until it ends, or stop it") from error
            whole = self.file.read_bytes().rpartition(b"\n")
            os.truncate(self.file, len(whole[0]) + len(whole[1]))
            yield

    def append(self, record: Record) -> None:
        """Write a record; it is on the disk when this returns. Called within ``writing``."""
        line = json.dumps(record.to_json(), allow_nan=False) + "\n"
        with self.file.open("ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
        self.records.append(record)

    def results(self) -> dict[Key, Result]:
        """Return the last result of every key."""
        return {record.key: record for record in self.records if isinstance(record, Result)}

    def checks(self) -> dict[Key, Check]:
        """Return the last check of every system."""
        return {record.key: record for record in self.records if isinstance(record, Check)}

    def failures(self) -> dict[Key, Failure]:
        """Return the failures after which the same thing, or for a whole run any task of it, did not succeed."""
        found: dict[Key, Failure] = {}
        for record in self.records:
            if isinstance(record, Failure):
                found[record.key] = record
            else:
                found.pop(record.key, None)
                found.pop(replace(record.key, task=""), None)
        return found
