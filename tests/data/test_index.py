from __future__ import annotations

import numpy as np
import pytest

from mu2net.data.index import SplitIndex, TaskIndex, index_path, read_index, stamp_paths, write_index
from mu2net.data.source import TaskSource


def split(table, count):
    rng = np.random.default_rng(count)
    return SplitIndex(
        table,
        np.arange(count),
        rng.integers(0, 2, count),
        rng.integers(1, 9, (count, 2), dtype=np.int32),
        rng.integers(0, 256, (count, 32), dtype=np.uint8),
        "f" * 64,
    )


@pytest.fixture
def index():
    splits = {"train": split("train", 5), "validation": split("train", 2), "test": split("test", 3)}
    return TaskIndex(("a", "é"), "0" * 64, splits, ("bad one",), (), stamp_paths(()))


def test_round_trip(tmp_path, index):
    path = tmp_path / "tasks" / "x.npz"
    write_index(path, index)
    found = read_index(path)
    assert (found.classes, found.fingerprint, found.skipped) == (index.classes, index.fingerprint, index.skipped)
    for role, its in index.splits.items():
        assert found.splits[role].table == its.table
        for name in ("rows", "labels", "sizes", "digests"):
            assert np.array_equal(getattr(found.splits[role], name), getattr(its, name))
            assert getattr(found.splits[role], name).dtype == getattr(its, name).dtype


def test_a_damaged_index_is_made_again(tmp_path, index, caplog):
    path = tmp_path / "x.npz"
    write_index(path, index)
    content = path.read_bytes()
    middle = content.index(index.splits["train"].digests.tobytes()) + 40
    for damaged in (b"", content[:100], content[:-30], content[:middle] + b"\0\0" + content[middle + 2 :]):
        path.write_bytes(damaged)
        assert read_index(path) is None
        assert "is made again" in caplog.text
        caplog.clear()
    assert read_index(tmp_path / "none.npz") is None
    assert not caplog.records


def test_an_index_is_stale_when_an_outer_image_changes(tmp_path, index):
    image = tmp_path / "1.png"
    image.write_bytes(b"1")
    paths = (str(image), str(tmp_path / "gone.png"))
    fresh = TaskIndex(index.classes, index.fingerprint, index.splits, (), paths, stamp_paths(paths))
    write_index(tmp_path / "x.npz", fresh)
    assert read_index(tmp_path / "x.npz") is not None
    image.write_bytes(b"12")
    assert read_index(tmp_path / "x.npz") is None


def test_a_disk_that_is_full_only_costs_time(tmp_path, index, caplog):
    (tmp_path / "tasks").write_text("in the way")
    write_index(tmp_path / "tasks" / "x.npz", index)
    assert "cannot be kept" in caplog.text


def test_the_key_covers_the_source_and_the_files_but_not_the_name(tmp_path):
    base = TaskSource(name="a", source="x")
    paths = {
        index_path(tmp_path, base, [["train", "1"]]),
        index_path(tmp_path, base, [["train", "2"]]),
        index_path(tmp_path, base.model_copy(update={"label_column": "l"}), [["train", "1"]]),
        index_path(tmp_path, base.model_copy(update={"skip_bad_images": True}), [["train", "1"]]),
    }
    assert len(paths) == 4
    assert index_path(tmp_path, base.model_copy(update={"name": "b"}), [["train", "1"]]) in paths
