"""Small entries of the activation cache in private memory: no system call, no checksum, one copy per row.

Rows get here from verified reads and from writes only. An activation is a pure function of its key, so what is held
stays right when the file that it came from is removed or replaced.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from mu2net.data.task import Int64Array, UInt8Array
from mu2net.train.activation_entry import Entry

BoolArray = NDArray[np.bool_]

ENTRY_BYTES = 64 * 2**20
"""Entries whose rows take more bytes than this are read from their files."""


class RowMemory:
    """Some rows of one entry, until ``drop`` gives the memory back.

    Args:
        entry: Whose rows.
    """

    def __init__(self, entry: Entry) -> None:
        # The operating system gives memory to the rows that are held, not to those that are only provided for.
        self._content: UInt8Array | None = np.empty((entry.rows, entry.layout.row_bytes), np.uint8)
        self._held = np.zeros(entry.rows, np.bool_)

    @property
    def is_live(self) -> bool:
        """Whether rows can be held."""
        return self._content is not None

    def holds(self, rows: Int64Array) -> BoolArray:
        """Return which of some rows are held."""
        held: BoolArray = self._held[rows]
        return held

    def put(self, rows: Int64Array, content: UInt8Array) -> None:
        """Hold rows.

        Args:
            rows: Their numbers.
            content: Their bytes, ``[len(rows), row_bytes]``.
        """
        if self._content is not None:
            self._content[rows] = content
            self._held[rows] = True

    def take(self, rows: Int64Array, out: UInt8Array) -> None:
        """Copy rows that are held.

        Args:
            rows: Their numbers, all held.
            out: Where to, ``[len(rows), row_bytes]``.
        """
        assert self._content is not None
        np.take(self._content, rows, axis=0, out=out, mode="clip")  # the other modes copy twice

    def drop(self) -> None:
        """Give the memory back; nothing is held from here on."""
        self._content = None
        self._held[:] = False


class RowMemories:
    """The rows in memory of the entries that were asked for last.

    Args:
        limit: Bytes that all of them may take.
        entry_limit: Bytes that one of them may take.
    """

    def __init__(self, limit: int, entry_limit: int = ENTRY_BYTES) -> None:
        self._limit, self._entry_limit = limit, entry_limit
        self._memories: OrderedDict[Entry, RowMemory] = OrderedDict()

    @property
    def size(self) -> int:
        """Bytes that are provided for."""
        return sum(_bytes(entry) for entry in self._memories)

    def of(self, entry: Entry) -> RowMemory | None:
        """Return the memory of an entry, or ``None`` where it is too large; drops those least recently asked for."""
        if _bytes(entry) > min(self._limit, self._entry_limit):
            return None
        if entry not in self._memories:
            while self.size + _bytes(entry) > self._limit:
                self._memories.popitem(last=False)[1].drop()
            self._memories[entry] = RowMemory(entry)
        self._memories.move_to_end(entry)
        return self._memories[entry]


def _bytes(entry: Entry) -> int:
    return entry.rows * entry.layout.row_bytes
