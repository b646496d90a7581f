from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.workplace import _subset


def test_training_leaves_the_prepared_images_alone(place):
    made = place.store.directory / "cache" / "made" / "by-training"
    made.parent.mkdir(exist_ok=True)
    made.write_bytes(b"0" * 10_000)
    place.forget_training()
    assert not made.exists()
    assert all(file.exists() for file in place.prepared)
    assert place.prepared


def test_a_part_of_a_task_has_its_first_rows(tmp_path):
    (tmp_path / "all").mkdir()
    for split in ("train", "test"):
        pq.write_table(pa.table({"label": list(range(20))}), tmp_path / "all" / f"{split}-00000.parquet")
    part = _subset(tmp_path / "all", tmp_path / "part", 7)
    assert pq.read_table(part / "train-00000.parquet")["label"].to_pylist() == list(range(7))
    assert len(pq.read_table(part / "test-00000.parquet")) == 20
    with pytest.raises(FileNotFoundError, match="holds no Parquet files"):
        _subset(tmp_path, tmp_path / "none", 7)
