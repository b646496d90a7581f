"""The tasks on disk: which there are, in which order a seed puts them, and a part of one."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from mu2net.errors import ConfigError, UnknownNameError

PART_IMAGES = 1000
"""Training images of a part of a task."""

PART = "-1k"
"""Ending of the name of a part of a task."""


def find_tasks(folder: Path, only: Sequence[str] = ()) -> dict[str, Path]:
    """Return the folders of tasks by name, in alphabetical order.

    Args:
        folder: Holds one folder per task, with ``train-*.parquet`` and ``test-*.parquet``.
        only: Names to keep; all where there are none.

    Raises:
        ConfigError: There is no such folder, no task in it, or a task has the name of a part of another.
        UnknownNameError: A name of ``only`` is no task.
    """
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}; name the folder of the tasks with --tasks")
    found = {path.name: path.resolve() for path in sorted(folder.iterdir()) if _is_task(path)}
    if not found:
        raise ConfigError(f"{folder} holds no task: no folder in it has train-*.parquet and test-*.parquet")
    for name in only:
        if name not in found:
            raise UnknownNameError("task", name, found)
    for name in found:
        if name.endswith(PART) and name.removesuffix(PART) in found:
            raise ConfigError(f"task {name!r} in {folder} has a name that is kept for a part of another; rename it")
    return {name: path for name, path in found.items() if not only or name in only}


def _is_task(folder: Path) -> bool:
    return all(any(folder.glob(f"{split}-*.parquet")) for split in ("train", "test"))


def ordered(names: Iterable[str], seed: int) -> tuple[str, ...]:
    """Return names in the order that a seed draws; some of them have the same order as among all."""
    return tuple(sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest()))


def part_of(source: Path, target: Path, num_train: int = PART_IMAGES) -> Path:
    """Return a copy of a task that has the first training images only, and all test images.

    Rows are expected to be shuffled, so that the first are a fair sample. A copy that is there is used again.

    Args:
        source: Folder of the task.
        target: Folder of the copy.
        num_train: Training images to keep.
    """
    if target.exists():
        return target
    draft = target.with_name(f"{target.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    left = num_train
    for file in sorted(source.glob("train-*.parquet")):
        rows = pq.read_table(file).slice(0, left)
        left -= rows.num_rows
        if rows.num_rows:
            pq.write_table(rows, draft / file.name)
    for file in source.glob("test-*.parquet"):
        shutil.copyfile(file, draft / file.name)
    draft.rename(target)
    return target
