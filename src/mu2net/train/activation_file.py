"""One file of cached activations: rows that are filled in any order, by any process, and verified at every read.

A row is written before its checksum, and bytes count only if their checksum holds on the private copy that was read.
So a row that is half written, a flipped bit or a truncated file is a missing row, which is computed and written again.
Two processes that fill the same rows write equal bytes. Files are read, not mapped: a map of a file that
is truncated, or for which the disk has no space, ends the process.
"""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mu2net.data.task import Int64Array, UInt8Array
from mu2net.train.activation_entry import HEADER_BYTES, Entry, checksums
from mu2net.train.activation_memory import BoolArray, RowMemory

_LOG = logging.getLogger(__name__)
_TOUCH_SECONDS = 60.0

UInt64Array = NDArray[np.uint64]


class ActivationFile:
    """An open file of activations; it goes on working when the file is removed from its folder.

    Several processes may use one file; an object belongs to one thread. No fault of the disk raises: it is logged
    once for each file that is read, and once for writing, and the object goes on with what works.

    Args:
        descriptor: The open file, which the object closes.
        path: Its name, for messages.
        entry: What its header says.
        memory: Where rows are kept that were read or written; ``None`` to read the file each time.
        is_writable: Whether ``write`` writes to the file.
        said: What was logged already; shared with other files, so that a fault is not logged for each of them.
    """

    def __init__(
        self,
        descriptor: int,
        path: Path,
        entry: Entry,
        memory: RowMemory | None = None,
        *,
        is_writable: bool = True,
        said: set[object] | None = None,
    ) -> None:
        self.path, self.entry, self.memory = path, entry, memory
        self._descriptor, self._is_writable = descriptor, is_writable
        self._close = weakref.finalize(self, os.close, descriptor)
        self._table = np.zeros(entry.rows, np.uint64)
        self._said: set[object] = set() if said is None else said
        self._touched = time.monotonic()
        self._refresh(0, entry.rows)

    def close(self) -> None:
        """Close the file; the object cannot be used any more."""
        self._close()

    def known(self, rows: Int64Array) -> int:
        """Return how many of some rows are there, by the table of checksums; they are not read."""
        self._check(rows)
        known = self._checksums(rows) != 0
        return int((known if self.memory is None else known | self.memory.holds(rows)).sum())

    def read(self, rows: Int64Array) -> torch.Tensor | None:
        """Return activations ``[len(rows), *shape]`` on the CPU, or ``None`` unless all are there and verified.

        They lie in memory as those that were written, and belong to the caller.

        Args:
            rows: Their numbers, in any order; a number may be repeated.

        Raises:
            IndexError: There is no such row.
        """
        self._check(rows)
        if time.monotonic() - self._touched > _TOUCH_SECONDS:
            self.touch()  # a file in use is not the one that goes first
        content = self.entry.layout.empty(len(rows))
        if not self._fill(rows, content.numpy()):
            return None
        return self.entry.layout.restore(content)

    def write(self, rows: Int64Array, activations: torch.Tensor) -> None:
        """Keep activations; rows that are there already are not written again.

        Args:
            rows: Their numbers, in any order; a number may be repeated, with equal activations.
            activations: Shape ``[len(rows), *shape]``, on any device.

        Raises:
            IndexError: There is no such row.
            ValueError: The activations have another layout, or another number.
        """
        self._check(rows)
        if len(rows) != len(activations):
            raise ValueError(f"{len(activations)} activations for {len(rows)} rows")
        content = self.entry.layout.to_bytes(activations)
        if self.memory is not None:
            self.memory.put(rows, content)
        if self._is_writable:
            numbers, places = np.unique(rows, return_index=True)
            self._store(numbers, content[places])

    def is_in_place(self) -> bool:
        """Return whether the file is open and still has its name: it was not removed or replaced."""
        try:
            return self._close.alive and os.path.samestat(os.fstat(self._descriptor), self.path.stat())
        except OSError:
            return False

    def touch(self) -> None:
        """Make now the time at which the file was used last."""
        self._touched = time.monotonic()
        try:
            os.utime(self._open())
        except OSError:  # somebody else's file keeps its time
            _LOG.debug("the time of '%s' cannot be set", self.path, exc_info=True)

    def _open(self) -> int:
        assert self._close.alive, f"{self.path} is closed"
        return self._descriptor

    def _check(self, rows: Int64Array) -> None:
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.entry.rows:
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {self.entry.rows} in '{self.path}'")

    def _say(self, kind: object, text: str, reason: object) -> None:
        if kind not in self._said:
            self._said.add(kind)
            _LOG.warning("cached activations '%s' %s: %s", self.path, text, reason)

    def _checksums(self, rows: Int64Array) -> UInt64Array:
        """Return the checksums in the table; looks again for those that were 0, for other processes write too."""
        found: UInt64Array = self._table[rows]
        if not found.all():
            missing = rows[found == 0]
            self._refresh(int(missing.min()), int(missing.max()) + 1)
            found = self._table[rows]
        return found

    def _refresh(self, start: int, stop: int) -> None:
        """Read the checksums of a range of rows again."""
        table = np.zeros(stop - start, np.uint64)
        try:
            read_at(self._open(), table.data.cast("B"), HEADER_BYTES + 8 * start)
        except OSError as error:
            self._say(("read", self.path), "are computed again", error)
        else:
            self._table[start:stop] = table

    def _fill(self, rows: Int64Array, out: UInt8Array) -> bool:
        """Fill ``out`` with rows; returns whether all of them were there."""
        if self.memory is None or not self.memory.is_live:
            return self._load(rows, out)
        held = self.memory.holds(rows)
        if not held.all():
            lacking = np.unique(rows[~held])
            content = np.empty((len(lacking), self.entry.layout.row_bytes), np.uint8)
            if not self._load(lacking, content):
                return False
            self.memory.put(lacking, content)
        self.memory.take(rows, out)
        return True

    def _load(self, rows: Int64Array, out: UInt8Array) -> bool:
        """Fill ``out`` with rows of the file; returns whether all were there. Damaged ones count as missing after."""
        if not self._checksums(rows).all():
            return False
        is_whole = self._read_rows(rows, out)
        if not is_whole.all():
            self._forget(np.unique(rows[~is_whole]))
        return bool(is_whole.all())

    def _read_rows(self, rows: Int64Array, out: UInt8Array) -> BoolArray:
        """Fill ``out`` with rows of the file, and return which of them have the bytes that their checksums say."""
        size, view, descriptor = self.entry.layout.row_bytes, out.reshape(-1).data, self._open()
        is_there = np.zeros(len(rows), np.bool_)
        for start, stop in runs(rows):
            offset = self.entry.rows_offset + int(rows[start]) * size
            try:
                count = read_at(descriptor, view[start * size : stop * size], offset)
            except OSError as error:
                self._say(("read", self.path), "are computed again", error)
            else:
                is_there[start : start + count // size] = True
        is_whole: BoolArray = is_there & (np.array(checksums(rows.tolist(), out), np.uint64) == self._table[rows])
        return is_whole

    def _forget(self, rows: Int64Array) -> None:
        """Take the checksums of damaged rows away, so that the rows are written again."""
        self._say(("read", self.path), "are computed again", f"row {rows[0]} is damaged (of this batch: {len(rows)})")
        if self._is_writable:
            self._write_table(rows, np.zeros(len(rows), np.uint64))
        self._table[rows] = 0

    def _store(self, rows: Int64Array, content: UInt8Array) -> None:
        """Write those of some rows, ascending, whose checksums are not in the table, and then their checksums."""
        table = np.array(checksums(rows.tolist(), content), np.uint64)
        differs = self._checksums(rows) != table
        rows, content, table = rows[differs], content[differs], table[differs]
        size, view = self.entry.layout.row_bytes, content.reshape(-1).data
        try:
            for start, stop in runs(rows):
                offset = self.entry.rows_offset + int(rows[start]) * size
                write_at(self._open(), view[start * size : stop * size], offset)
        except OSError as error:
            self._give_up_writing(error)
        else:
            self._write_table(rows, table)

    def _write_table(self, rows: Int64Array, table: UInt64Array) -> None:
        """Write checksums of rows, ascending."""
        try:
            for start, stop in runs(rows):
                write_at(self._open(), table[start:stop].data.cast("B"), HEADER_BYTES + 8 * int(rows[start]))
                self._table[rows[start:stop]] = table[start:stop]
        except OSError as error:
            self._give_up_writing(error)

    def _give_up_writing(self, error: OSError) -> None:
        self._is_writable = False
        self._say("write to file", "are not completed by this process, which computes what is missing each time", error)


def runs(rows: Int64Array) -> Iterator[tuple[int, int]]:
    """Yield the places ``(start, stop)`` of rows that follow one another, for one system call each."""
    breaks = np.flatnonzero(np.diff(rows) != 1) + 1
    return pairwise((0, *breaks.tolist(), len(rows))) if len(rows) else iter(())


def read_at(descriptor: int, out: memoryview, offset: int) -> int:
    """Fill bytes from a place in a file, and return how many there were before its end.

    Raises:
        OSError: The disk cannot be read.
    """
    done = 0
    while done < len(out):
        count = os.preadv(descriptor, [out[done:]], offset + done)
        if count == 0:
            break
        done += count
    return done


def write_at(descriptor: int, content: memoryview, offset: int) -> None:
    """Write all bytes to a place in a file.

    Raises:
        OSError: The disk is full, or cannot be written.
    """
    while content:
        count = os.pwrite(descriptor, content, offset)
        content, offset = content[count:], offset + count
