"""Tables: Parquet and CSV files that unpack to more than memory holds, and archives behind them."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from attacks.frame import Strike, attack
from attacks.make import picture, pipe, sparse
from mu2net.data.load import load_task
from mu2net.data.source import TaskSource
from mu2net.errors import DataError, ImageError, SourceError

_ROWS = 24
_IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def _read(file: Path, folder: Path) -> Strike:
    return lambda: load_task(TaskSource(name="attack", source=str(file)), folder / "cache")


def _labels(count: int = _ROWS) -> pa.Array:
    return pa.array(np.arange(count) % 2)


@attack(SourceError)
def table_of_one_image_a_million_times(folder: Path) -> Strike:
    """A dictionary holds one image of 1 MiB, which 100,000 rows name: 100 GB out of 1 MB."""
    image = np.random.default_rng(0).bytes(2**20)
    column = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, np.int32)), pa.array([image], pa.binary()))
    pq.write_table(pa.table({"image": column, "label": _labels(100_000)}), folder / "t.parquet")
    return _read(folder / "t.parquet", folder)


@attack(SourceError)
def table_of_zeros(folder: Path) -> Strike:
    """An image column of 2 GiB of zeros in a few KB."""
    rows = 32
    image = pa.array([bytes(2**26)], pa.binary())
    schema = pa.schema({"image": pa.binary(), "label": pa.int64()})
    with pq.ParquetWriter(folder / "t.parquet", schema, compression="zstd", use_dictionary=False) as writer:
        for row in range(rows):
            writer.write_table(pa.table({"image": image, "label": [row % 2]}, schema))
    return _read(folder / "t.parquet", folder)


@attack(SourceError)
def table_of_nothing_a_billion_times(folder: Path) -> Strike:
    """A column beside the images repeats one number 300 million times in one row."""
    numbers = pa.chunked_array([pa.array(np.zeros(10_000_000, np.int64))])
    lists = pa.ListArray.from_arrays(pa.array([0, len(numbers)], pa.int32()), numbers.combine_chunks())
    schema = pa.schema({"image": _IMAGE, "label": pa.int64(), "more": lists.type})
    row = {"image": pa.array([{"bytes": picture(), "path": None}], _IMAGE), "label": [0], "more": lists}
    with pq.ParquetWriter(folder / "t.parquet", schema) as writer:
        for _ in range(30):
            writer.write_table(pa.table(row, schema))
    return _read(folder / "t.parquet", folder)


@attack(SourceError)
def table_whose_footer_lies(folder: Path) -> Strike:
    """The footer of a Parquet file claims 2 GiB."""
    file = folder / "t.parquet"
    pq.write_table(pa.table({"image": pa.array([picture()] * _ROWS), "label": _labels()}), file)
    file.write_bytes(file.read_bytes()[:-8] + (2**31 - 1).to_bytes(4, "little") + b"PAR1")
    return _read(file, folder)


@attack(SourceError)
def table_of_noise(folder: Path) -> Strike:
    """Random bytes between the marks of a Parquet file."""
    noise = np.random.default_rng(1).bytes(4000)
    (folder / "t.parquet").write_bytes(b"PAR1" + noise + (3000).to_bytes(4, "little") + b"PAR1")
    return _read(folder / "t.parquet", folder)


@attack(SourceError)
def table_with_types_without_end(folder: Path) -> Strike:
    """The description of the columns is nested ten thousand times."""
    schema = '{"info":{"features":{"image":' + '{"_type":"Sequence","feature":' * 10_000 + "}" * 10_003
    table = pa.table({"image": pa.array([picture()] * _ROWS), "label": _labels()})
    pq.write_table(table.replace_schema_metadata({"huggingface": schema}), folder / "t.parquet")
    return _read(folder / "t.parquet", folder)


@attack(SourceError)
def table_of_one_endless_line(folder: Path) -> Strike:
    """A CSV file of a terabyte has no end of line."""
    return _read(sparse(folder / "t.csv", 2**40, b"image,label\n"), folder)


@attack(SourceError)
def table_of_a_million_columns(folder: Path) -> Strike:
    """A CSV file has half a million columns."""
    (folder / "t.csv").write_bytes(b"a," * 500_000 + b"a\n" + b"1," * 500_000 + b"1\n")
    return _read(folder / "t.csv", folder)


@attack(SourceError)
def table_that_is_a_pipe(folder: Path) -> Strike:
    """The table is a named pipe that nobody writes to."""
    return _read(pipe(folder / "t.parquet"), folder)


@attack(ImageError)
def table_that_points_outside(folder: Path) -> Strike:
    """The paths of a CSV file lead to secrets, which are no images."""
    (folder / "secret").write_text("password")
    (folder / "in").mkdir()
    rows = "".join(f"../secret,{number % 2}\n" for number in range(_ROWS))
    (folder / "in" / "t.csv").write_text(f"image,label\n{rows}")
    return _read(folder / "in" / "t.csv", folder)


@attack(ImageError)
def table_of_archive_bombs(folder: Path) -> Strike:
    """The images lie in an archive, where each is a gigabyte of zeros."""
    archive = folder / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened, opened.open("a.png", "w") as member:
        for _ in range(2**10):
            member.write(bytes(2**20))
    rows = "".join(f"zip://a.png::{archive},{number % 2}\n" for number in range(_ROWS))
    (folder / "t.csv").write_text(f"image,label\n{rows}")
    return _read(folder / "t.csv", folder)


@attack(DataError)
def table_of_a_class_for_every_row(folder: Path) -> Strike:
    """Every row of 100,000 has a class of its own: a head of a hundred million parameters."""
    rows = "".join(f"{number}.png,class{number}\n" for number in range(100_000))
    (folder / "t.csv").write_text(f"image,label\n{rows}")
    return _read(folder / "t.csv", folder)
