from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.evidence.tasks import find_tasks, ordered, part_of
from mu2net.errors import ConfigError, UnknownNameError


def test_folders_with_both_splits_are_tasks(tasks):
    assert list(find_tasks(tasks)) == ["noise", "snow"]
    assert list(find_tasks(tasks, ["snow"])) == ["snow"]
    with pytest.raises(UnknownNameError, match="did you mean 'snow'"):
        find_tasks(tasks, ["snou"])


def test_a_folder_without_tasks_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="holds no task"):
        find_tasks(tmp_path)
    with pytest.raises(ConfigError, match="--tasks"):
        find_tasks(tmp_path / "nowhere")


def test_a_name_that_is_kept_for_a_part_is_refused(tmp_path):
    for name in ("pets", "pets-1k"):
        (tmp_path / name).mkdir()
        for split in ("train", "test"):
            (tmp_path / name / f"{split}-0.parquet").touch()
    with pytest.raises(ConfigError, match="'pets-1k'"):
        find_tasks(tmp_path)


def test_seeds_draw_orders_that_some_tasks_keep():
    names = [f"task{number}" for number in range(8)]
    orders = {ordered(names, seed) for seed in range(5)}
    assert len(orders) == 5
    assert all(sorted(order) == names for order in orders)
    assert ordered(reversed(names), 3) == ordered(names, 3)
    some = set(names[:4])
    assert ordered(some, 3) == tuple(name for name in ordered(names, 3) if name in some)


def test_a_part_has_the_first_training_images_and_all_test_images(tmp_path):
    source = tmp_path / "all"
    source.mkdir()
    for split, count in (("train-0", 6), ("train-1", 6), ("test-0", 20)):
        rows = pa.table({"label": [f"{split}/{number}" for number in range(count)]})
        pq.write_table(rows, source / f"{split}.parquet")
    part = part_of(source, tmp_path / "parts" / "all-1k", num_train=8)
    train = [label for file in sorted(part.glob("train-*")) for label in pq.read_table(file)["label"].to_pylist()]
    assert train == [f"train-0/{number}" for number in range(6)] + ["train-1/0", "train-1/1"]
    assert len(pq.read_table(part / "test-0.parquet")) == 20
    assert part_of(source, part, num_train=3) == part
    assert len(pq.read_table(part / "train-0.parquet")) == 6
