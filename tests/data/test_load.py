from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mu2net.data import prepare
from mu2net.data.load import load_task
from mu2net.data.source import TaskSource
from mu2net.errors import ConfigError

BENCH = Path(__file__).parents[3] / "shared" / "bench" / "diverse10"


def task_of(source, cache, **options):
    return load_task(TaskSource(name="x", source=str(source), **options), cache)


def same(one, other) -> bool:
    return one.fingerprint == other.fingerprint and one.classes == other.classes


@pytest.fixture
def containers(tmp_path, class_folders, table_file):
    """The same 60 images as class folders, Parquet with declared classes, Parquet with strings, and CSV."""
    counts = {"a": 35, "b": 25}
    class_folders(tmp_path / "folder", counts)
    labels = ["a"] * 35 + ["b"] * 25
    table_file(tmp_path / "declared.parquet", [int(label == "b") for label in labels], names=["a", "b"])
    table_file(tmp_path / "strings.parquet", labels)
    paths = sorted((tmp_path / "folder").rglob("*.png"))
    lines = [f"{path.relative_to(tmp_path)},{path.parent.name}" for path in paths]
    (tmp_path / "t.csv").write_text("\n".join(["path,class", *lines]))
    return [tmp_path / name for name in ("folder", "declared.parquet", "strings.parquet", "t.csv")]


def test_the_container_does_not_matter(tmp_path, containers):
    tasks = [task_of(source, tmp_path / "cache") for source in containers]
    for task in tasks[1:]:
        assert same(task, tasks[0])
        for role in ("train", "validation", "test"):
            one, other = getattr(task, role), getattr(tasks[0], role)
            assert one.fingerprint == other.fingerprint
            assert np.array_equal(one.labels, other.labels)
            every = np.arange(len(one))
            assert np.array_equal(one.pixels(6)[every], other.pixels(6)[every])


def test_missing_splits_are_carved_test_first(tmp_path, containers):
    task = task_of(containers[0], tmp_path / "cache")
    assert [np.bincount(split.labels).tolist() for split in (task.train, task.validation, task.test)] == [
        [31, 23],
        [2, 1],
        [2, 1],
    ]


def test_given_splits_are_kept_and_extra_sources_win(tmp_path, class_folders):
    class_folders(tmp_path / "in" / "train", {"a": 20, "b": 20})
    class_folders(tmp_path / "in" / "test", {"a": 3, "b": 2}, 100)
    class_folders(tmp_path / "more", {"b": 4}, 200)
    task = task_of(tmp_path / "in", tmp_path / "c")
    assert (len(task.train), len(task.validation), len(task.test)) == (38, 2, 5)
    task = task_of(tmp_path / "in", tmp_path / "c", validation=str(tmp_path / "more"))
    assert (len(task.train), task.validation.labels.tolist(), len(task.test)) == (40, [1] * 4, 5)
    task = task_of(tmp_path / "in", tmp_path / "c", test=str(tmp_path / "more"))
    assert (len(task.train), len(task.validation), task.test.labels.tolist()) == (38, 2, [1] * 4)


def test_declared_classes_in_another_order_are_matched_by_name(tmp_path, table_file):
    table_file(tmp_path / "in" / "train.parquet", [0, 1] * 5, names=["a", "b"])
    table_file(tmp_path / "in" / "test.parquet", [0, 0, 1], names=["b", "a"], first_seed=50)
    task = task_of(tmp_path / "in", tmp_path / "c")
    assert task.classes == ("a", "b")
    assert task.test.labels.tolist() == [1, 1, 0]


def test_groups_stay_together(tmp_path, table_file):
    writers = [f"w{row // 4}" for row in range(120)]
    path = table_file(tmp_path / "x.parquet", ["a", "b"] * 60, writer=writers)
    task = task_of(path, tmp_path / "c", group_column="writer")
    of = [{writers[row] for row in split._index.rows} for split in (task.train, task.validation, task.test)]
    assert not of[0] & of[1]
    assert not of[0] & of[2]
    assert not of[1] & of[2]
    assert len(task.test) == len(task.validation) == 4 or len(task.test) == 8


def test_equal_pictures_never_straddle_a_carved_split(tmp_path, class_folders):
    class_folders(tmp_path / "in", {"a": 50, "b": 40})  # 5 % of 100 is odd: a pair would be cut
    for path in sorted((tmp_path / "in" / "a").iterdir()):
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
    task = task_of(tmp_path / "in", tmp_path / "c")
    of = [{digest.tobytes() for digest in split._index.digests} for split in (task.train, task.validation, task.test)]
    assert not of[0] & of[1]
    assert not of[0] & of[2]
    assert not of[1] & of[2]


def test_adding_images_keeps_the_place_of_most_others(tmp_path, class_folders):
    class_folders(tmp_path / "in", {"a": 100, "b": 100})
    before = {digest.tobytes() for digest in task_of(tmp_path / "in", tmp_path / "c").test._index.digests}
    class_folders(tmp_path / "in", {"b": 101}, 1000 - 100)
    class_folders(tmp_path / "in", {"b": 100}, 100)
    after = {digest.tobytes() for digest in task_of(tmp_path / "in", tmp_path / "c").test._index.digests}
    assert len(before & after) >= len(before) - 1


def test_a_second_load_decodes_nothing(tmp_path, containers, monkeypatch):
    tasks = [task_of(source, tmp_path / "cache") for source in containers]
    monkeypatch.setattr(prepare, "decode_rgb", None)
    for task, source in zip(tasks, containers, strict=True):
        assert same(task_of(source, tmp_path / "cache"), task)


def test_a_second_process_decodes_nothing_and_does_not_open_the_reader(tmp_path, containers):
    task = task_of(containers[1], tmp_path / "cache")
    task.train.pixels(6)
    program = f"""
import sys
from pathlib import Path
import numpy as np
from mu2net.data.load import load_task
from mu2net.data.source import TaskSource
task = load_task(TaskSource(name="x", source={str(containers[1])!r}), Path({str(tmp_path / "cache")!r}))
assert task.fingerprint == {task.fingerprint!r}
assert task.train.pixels(6)[np.arange(3)].shape == (3, 6, 6, 3)
assert "datasets" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_two_processes_load_at_once(tmp_path, containers):
    program = f"""
from pathlib import Path
import numpy as np
from mu2net.data.load import load_task
from mu2net.data.source import TaskSource
task = load_task(TaskSource(name="x", source={str(containers[1])!r}), Path({str(tmp_path / "cache")!r}))
print(task.fingerprint, task.train.pixels(6)[np.arange(len(task.train))].sum())
"""
    both = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(2)]
    answers = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("number", range(4))
def test_a_changed_image_gives_another_fingerprint(tmp_path, containers, number, table_file, picture):
    before = task_of(containers[number], tmp_path / "cache")
    if number in (0, 3):
        picture(777).save(tmp_path / "folder" / "a" / "003.png")
    else:
        table_file(containers[number], ["a"] * 35 + ["b"] * 25, first_seed=1)
    after = task_of(containers[number], tmp_path / "cache")
    assert after.fingerprint != before.fingerprint


def test_the_cache_may_be_deleted_at_any_time(tmp_path, containers):
    before = task_of(containers[1], tmp_path / "cache", group_column=None)
    first = before.train.pixels(5)[np.arange(3)]
    shutil.rmtree(tmp_path / "cache")
    after = task_of(containers[1], tmp_path / "cache")
    assert same(before, after)
    assert np.array_equal(after.train.pixels(5)[np.arange(3)], first)


def test_relative_paths_and_a_changed_folder(tmp_path, containers, monkeypatch):
    monkeypatch.chdir(tmp_path)
    task = load_task(TaskSource(name="x", source="folder"), Path("cache"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert task.train.pixels(4)[np.array([0])].shape == (1, 4, 4, 3)
    assert (tmp_path / "cache" / "images").is_dir()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_negative_limit_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="memory limit is -1 bytes"):
        load_task(TaskSource(name="x", source="demo:shapes"), tmp_path, memory_limit=-1)


@pytest.mark.skipif(not (BENCH / "dtd10").is_dir(), reason=f"the benchmark data are not at {BENCH}")
def test_real_photographs(tmp_path):
    task = task_of(BENCH / "dtd10", tmp_path)
    assert (len(task.classes), len(task.test)) == (10, 240)
    assert len(task.train) + len(task.validation) == 952
    assert np.bincount(task.validation.labels).min() >= 4
    assert task.train.native_side() == 96
