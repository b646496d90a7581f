"""Encoded images out of a table, in batches, decoded by a few threads in order."""

from __future__ import annotations

import os
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mu2net.data.decode import MAX_ENCODED, Encoded, too_long
from mu2net.data.tables import Table
from mu2net.data.task import Int64Array
from mu2net.errors import ImageError

BATCH = 32
"""Encoded images in memory at once."""

Progress = Callable[[int, int], None]
"""Called with (images done, images in all) while many images are decoded."""

T = TypeVar("T")


class Rows:
    """The encoded images of a table.

    Args:
        table: The table.
        column: Its image column: images, bytes, ``{bytes, path}``, paths, or ``zip://MEMBER::ARCHIVE`` (hub data sets).
    """

    def __init__(self, table: Table, column: str) -> None:
        self._table, self._column = table, column
        self._archives: dict[str, zipfile.ZipFile] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Number of rows."""
        return len(self._table)

    def read(self, rows: Int64Array) -> list[tuple[Encoded | ImageError | None, str]]:
        """Return encoded images, and what messages call them; ``None`` where a row holds nothing.

        Where what it holds must not be read, there is an ``ImageError`` that says why.

        Args:
            rows: Row numbers, shape ``[rows]``.
        """
        values = self._table.column(self._column, rows.tolist()).to_pylist()
        return [self._encoded(int(row), value) for row, value in zip(rows, values, strict=True)]

    def _encoded(self, row: int, value: Any) -> tuple[Encoded | ImageError | None, str]:
        where = f"in row {row} of {self._table.name}"
        if isinstance(value, dict):
            if value["bytes"] is not None:
                return value["bytes"], f"{where} ('{value['path']}')" if value["path"] else where
            value = value["path"]
        if isinstance(value, str) and value.startswith("zip://"):
            return self._read_member(value, where), f"'{value}' ({where})"
        if isinstance(value, str) and value:
            path = self._resolve(row, Path(value))
            return path, f"'{path}' ({where})"
        return (value or None), where

    def _read_member(self, value: str, where: str) -> bytes | ImageError | None:
        """Return a file inside a zip archive on this machine, or ``None`` if there is none."""
        member, _, archive = value.removeprefix("zip://").partition("::")
        try:
            with self._lock:
                if archive not in self._archives:
                    self._archives[archive] = zipfile.ZipFile(archive)
                size = self._archives[archive].getinfo(member).file_size
                if size > MAX_ENCODED:
                    return too_long(f"'{value}' ({where})", size)
                return self._archives[archive].read(member)
        except (OSError, KeyError, RuntimeError, NotImplementedError, zlib.error, zipfile.BadZipFile):
            return None

    def _resolve(self, row: int, path: Path) -> Path:
        bases = [base for first, base in self._table.bases if first <= row]
        return bases[-1] / path if bases else path


def decode_rows(
    rows: Rows, indices: Int64Array, work: Callable[[Encoded, str], T], progress: Progress | None = None
) -> Iterator[T | ImageError]:
    """Yield ``work(encoded image, name)`` for every row, in order, with at most ``BATCH`` images in memory.

    Args:
        rows: Where the images are.
        indices: Row numbers, shape ``[images]``.
        work: Decodes one image; runs in a thread.
        progress: Called after every batch.

    Yields:
        What ``work`` returned, or the ``ImageError`` that it raised.
    """

    def attempt(item: tuple[Encoded | ImageError | None, str]) -> T | ImageError:
        encoded, name = item
        if isinstance(encoded, ImageError):
            return encoded
        if encoded is None:
            return ImageError(f"image {name} is missing; correct the row, or skip bad images")
        try:
            return work(encoded, name)
        except ImageError as error:
            return error

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1), "mu2net-decode") as pool:
        for start in range(0, len(indices), BATCH):
            batch = rows.read(np.asarray(indices[start : start + BATCH], np.int64))
            yield from pool.map(attempt, batch)
            if progress is not None:
                progress(min(start + BATCH, len(indices)), len(indices))
