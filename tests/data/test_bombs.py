from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mu2net.data import bombs
from mu2net.data.bombs import check_csv, check_parquet
from mu2net.errors import SourceError

STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@pytest.fixture(autouse=True)
def small_limits(monkeypatch):
    """A megabyte is always fine, and ten times the file's size beyond that."""
    monkeypatch.setattr(bombs, "ALWAYS_FINE", 2**20)
    monkeypatch.setattr(bombs, "MAX_EXPANSION", 10)


def noise(size, seed=0):
    return np.random.default_rng(seed).bytes(size)


def write(folder, table, **options):
    pq.write_table(table, folder / "t.parquet", **options)
    return folder / "t.parquet"


def images(kind, values):
    if kind == "bytes":
        return pa.array(values, pa.binary())
    if kind == "struct":
        return pa.array([{"bytes": value, "path": None} for value in values], STRUCT)
    if kind == "list":
        return pa.array([[value] for value in values], pa.list_(pa.binary()))
    return pa.array([value.hex() for value in values])


@pytest.mark.parametrize("kind", ["bytes", "struct", "list", "text"])
def test_a_value_that_is_repeated_counts_every_time(tmp_path, kind):
    file = write(tmp_path, pa.table({"image": images(kind, [noise(20_000)] * 200)}))
    assert file.stat().st_size < 50_000
    with pytest.raises(
        SourceError, match=r"source 'the text': .*would unpack to more than .*at most 10 times its size"
    ):
        check_parquet(file, "the text")
    file = write(tmp_path, pa.table({"image": images(kind, [noise(20_000)] * 10)}))
    check_parquet(file, "the text")


@pytest.mark.parametrize("kind", ["bytes", "struct", "list", "text"])
@pytest.mark.parametrize("is_coded", [True, False])
@pytest.mark.parametrize("rows", [200, 30])
def test_different_images_may_be_as_many_as_they_like(tmp_path, kind, is_coded, rows):
    """In one row group or in many."""
    values = [noise(20_000, seed) for seed in range(200)]
    table = pa.table({"image": images(kind, values)})
    check_parquet(write(tmp_path, table, use_dictionary=is_coded, row_group_size=rows), "t")


def test_images_with_paths_whose_dictionaries_change_from_group_to_group(tmp_path):
    """As the hub's data sets have them: bytes, and the names of the files that they came from."""
    rows = [{"bytes": noise(20_000, seed), "path": f"image_{seed}.png"} for seed in range(300)]
    file = write(tmp_path, pa.table({"image": pa.array(rows, STRUCT), "label": [0] * 300}), row_group_size=100)
    assert pq.ParquetFile(file).num_row_groups == 3
    check_parquet(file, "t")


def test_zeros_are_refused_before_they_are_unpacked(tmp_path):
    table = pa.table({"image": pa.array([bytes(2**20)] * 4, pa.binary())})
    with pytest.raises(SourceError, match="would unpack"):
        check_parquet(write(tmp_path, table, compression="zstd", use_dictionary=False), "t")


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.float32, np.float64, np.bool_])
def test_a_number_that_is_repeated_counts_every_time(tmp_path, dtype):
    with pytest.raises(SourceError, match="would unpack"):
        check_parquet(write(tmp_path, pa.table({"label": np.zeros(3_000_000, dtype)})), "t")
    check_parquet(write(tmp_path, pa.table({"label": np.zeros(10_000, dtype)})), "t")


def test_missing_values_and_fixed_sizes_count_too(tmp_path):
    for column in (pa.nulls(1_000_000, pa.string()), pa.array([bytes(16)] * 100_000, pa.binary(16))):
        with pytest.raises(SourceError, match="would unpack"):
            check_parquet(write(tmp_path, pa.table({"image": column})), "t")


def test_the_limit_is_exact(tmp_path, monkeypatch):
    """Four values of eight bytes, stored plainly."""
    file = write(tmp_path, pa.table({"a": np.arange(4)}), use_dictionary=False, compression=None)
    column = pq.read_metadata(file).row_group(0).column(0)
    monkeypatch.setattr(bombs, "MAX_EXPANSION", 0)
    monkeypatch.setattr(bombs, "ALWAYS_FINE", column.total_uncompressed_size)
    check_parquet(file, "t")
    monkeypatch.setattr(bombs, "ALWAYS_FINE", column.total_uncompressed_size - 1)
    with pytest.raises(SourceError):
        check_parquet(file, "t")


def test_lines_and_columns_of_a_csv_file(tmp_path, monkeypatch):
    monkeypatch.setattr(bombs, "MAX_LINE", 40)
    monkeypatch.setattr(bombs, "MAX_COLUMNS", 4)
    file = tmp_path / "t.csv"

    def check(text):
        file.write_text(text)
        check_csv(file, "the text")

    check("")
    check("a,b,c,d\n1,2,3,4")
    check("a,b\n" + "x" * 39 + "\n" + "y" * 40)
    for long in ("a,b\n" + "x" * 40 + "\n", "x" * 41, "a\nb\n" + "y" * 41):
        with pytest.raises(SourceError, match=r"source 'the text': .*t\.csv has a line of more than 40 bytes"):
            check(long)
    with pytest.raises(SourceError, match=r"t\.csv has more than 4 columns"):
        check("a,b,c,d,e\n1")
    check("a,b,c,d\n1,2,3,4,5")
