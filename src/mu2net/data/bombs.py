"""Tables that unpack to far more than they hold are refused before they are unpacked.

A Parquet file can name one long value a million times, and pack a gigabyte of zeros into a kilobyte; a CSV file can be
one endless line. A reader finds out when the memory is gone.
"""

from __future__ import annotations

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

_BATCH = 64  # rows of a Parquet file at a time
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
    metadata = pyarrow.parquet.read_metadata(file)
    total, repeated = 0, set()
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            width = _WIDTHS.get(column.physical_type) or metadata.schema.column(number).length
            total += max(column.total_uncompressed_size, column.num_values * width)
            if column.physical_type == "BYTE_ARRAY" and any("DICTIONARY" in name for name in column.encodings):
                repeated.add(column.path_in_schema)
    _refuse_above(limit, total, file, size, text)
    if not repeated:
        return
    # How often a value is repeated is told by the pages alone; as dictionaries they are read without repeating it.
    reader = pyarrow.parquet.ParquetFile(file, read_dictionary=sorted(repeated))
    for batch in reader.iter_batches(_BATCH, columns=sorted(repeated)):
        total += sum(_repeated_bytes(array) for array in batch.columns)
        _refuse_above(limit, total, file, size, text)


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


def _repeated_bytes(array: Any) -> int:
    """Return the bytes that an array has once its dictionaries are looked up."""
    import pyarrow
    import pyarrow.compute

    if pyarrow.types.is_dictionary(array.type):
        lengths = pyarrow.compute.binary_length(array.dictionary)
        return pyarrow.compute.sum(pyarrow.compute.take(lengths, array.indices)).as_py() or 0
    if pyarrow.types.is_struct(array.type):
        return sum(_repeated_bytes(array.field(number)) for number in range(array.type.num_fields))
    if pyarrow.types.is_list(array.type) or pyarrow.types.is_large_list(array.type):
        return _repeated_bytes(array.flatten())
    return int(array.nbytes)
