"""Tables that unpack to far more than they hold are refused before they are unpacked.

A Parquet file can name one long value a million times, and pack a gigabyte of zeros into a kilobyte; a CSV file can be
one endless line. A reader finds out when the memory is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mu2net.errors import SourceError

ALWAYS_FINE = 2**30
"""Unpacked bytes that any table may have."""

MAX_EXPANSION = 100
"""How many times larger than its file a table may be, beyond that: images do not shrink, raw pixels by ten at most."""

MAX_LINE = 2**20
"""The longest line of a CSV file, in bytes."""

MAX_COLUMNS = 10_000
"""The most columns of a CSV file."""

_BATCH_ROWS, _BATCH_BYTES = 256, 2**26  # of a Parquet file at a time
_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8, "BYTE_ARRAY": 4}


def check_parquet(file: Path, text: str) -> None:
    """Refuse a Parquet file that unpacks to more than ``MAX_EXPANSION`` times its size.

    Args:
        file: The file.
        text: The source string, for messages.

    Raises:
        SourceError: It does.
    """
    import pyarrow.parquet

    size = file.stat().st_size
    limit = max(ALWAYS_FINE, MAX_EXPANSION * size)
    reader = pyarrow.parquet.ParquetFile(file)
    total = sum(_described_bytes(reader.metadata, group) for group in range(reader.num_row_groups))
    _refuse_above(limit, total, file, size, text)
    # How often a value is repeated is told by the pages alone: they are read, a few rows at a time.
    for group in range(reader.num_row_groups):
        for column, largest in _repeating(reader.metadata.row_group(group)):
            rows = min(max(_BATCH_BYTES // max(largest, 1), 1), _BATCH_ROWS)
            for batch in reader.iter_batches(rows, row_groups=[group], columns=[column]):
                total += batch.nbytes
                _refuse_above(limit, total, file, size, text)


def _described_bytes(metadata: Any, group: int) -> int:
    """Return how many bytes a row group has by its own description: every number, and the pages of texts."""
    total = 0
    for number in range(metadata.num_columns):
        column = metadata.row_group(group).column(number)
        width = _WIDTHS.get(column.physical_type) or metadata.schema.column(number).length
        total += max(column.total_uncompressed_size, column.num_values * width)
    return total


def _repeating(group: Any) -> Iterator[tuple[str, int]]:
    """Yield the columns of a row group whose values may be repeated by a dictionary, and the bytes of its pages.

    No value is longer than they are.
    """
    for column in (group.column(number) for number in range(group.num_columns)):
        if column.physical_type == "BYTE_ARRAY" and any("DICTIONARY" in name for name in column.encodings):
            yield column.path_in_schema, column.total_uncompressed_size


def check_csv(file: Path, text: str) -> None:
    """Refuse a CSV file with an endless line, or with columns without end.

    Args:
        file: The file.
        text: The source string, for messages.

    Raises:
        SourceError: It has one.
    """
    with file.open("rb") as opened:
        line = opened.readline(MAX_LINE + 1)
        if line.count(b",") >= MAX_COLUMNS:
            raise SourceError(f"source '{text}': {file} has more than {MAX_COLUMNS:,} columns; is it a CSV file?")
        while line:
            if len(line) > MAX_LINE:
                raise SourceError(
                    f"source '{text}': {file} has a line of more than {MAX_LINE:,} bytes; is it a CSV file?"
                )
            line = opened.readline(MAX_LINE + 1)


def _refuse_above(limit: int, total: int, file: Path, size: int, text: str) -> None:
    if total > limit:
        raise SourceError(
            f"source '{text}': {file} has {size:,} bytes and would unpack to more than {total:,}; expected at most "
            f"{MAX_EXPANSION} times its size; write it again with every image once, or do not use it"
        )
