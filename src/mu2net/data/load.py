"""From a task's source to its images: the entrance of this package."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mu2net.data.cache import default_memory_limit
from mu2net.data.decode import load_images
from mu2net.data.index import TaskIndex, index_path, read_index, write_index
from mu2net.data.pixels import SplitData
from mu2net.data.prepare import OpenTask, open_task, prepare_task
from mu2net.data.rows import Progress, Rows
from mu2net.data.source import ROLES, Role, TaskSource
from mu2net.data.tables import Origin, open_origin
from mu2net.data.task import TaskData
from mu2net.errors import ConfigError

__all__ = ["LoadedTask", "load_images", "load_task"]


@dataclass(frozen=True)
class LoadedTask(TaskData):
    """A task's images, and which were left out.

    Args:
        skipped: A message for each image that does not decode; empty unless bad images are skipped.
    """

    skipped: tuple[str, ...] = ()


def load_task(
    source: TaskSource, cache_dir: Path, *, memory_limit: int | None = None, progress: Progress | None = None
) -> LoadedTask:
    """Read a task's images.

    The first time every image is decoded once, which finds the bad ones and gives the fingerprint; later the
    answer comes from an index in the cache, unless the files have changed. Pixels are made when they are asked for.

    Args:
        source: Where the images are.
        cache_dir: Folder of the caches; may be deleted at any time.
        memory_limit: Bytes of decoded images of this task, at one side, that may be kept in memory-mapped files; more
            are decoded on the fly. ``None`` is a quarter of this machine's memory.
        progress: Called with (images done, images in all) while images are decoded.

    Raises:
        ConfigError: ``memory_limit`` is negative.
        DataError: Labels, classes or splits cannot be used.
        ImageError: An image does not decode, and bad images are not skipped.
        SourceError: A source cannot be read.
        UnknownNameError: A column or demo task does not exist.
    """
    if memory_limit is not None and memory_limit < 0:
        raise ConfigError(f"memory limit is {memory_limit} bytes; expected 0 or more")
    cache_dir = cache_dir.absolute()
    texts: dict[Role, str | None] = {"train": source.source, "validation": source.validation, "test": source.test}
    origins = {role: open_origin(text) for role, text in texts.items() if text is not None}
    tables = _LazyTables(source, origins, cache_dir)
    path = index_path(cache_dir, source, [[role, origin.identity()] for role, origin in origins.items()])
    index = read_index(path)
    if index is None:
        index = prepare_task(source, tables.get(), progress)
        write_index(path, index)
    limit = default_memory_limit() if memory_limit is None else memory_limit
    return _build(source.name, index, tables, cache_dir, limit, progress)


class _LazyTables:
    """Opens the tables of a task once, when the first image must be decoded; for several threads."""

    def __init__(self, source: TaskSource, origins: dict[Role, Origin], cache_dir: Path) -> None:
        self._source, self._origins, self._cache_dir = source, origins, cache_dir
        self._lock = threading.Lock()
        self._task: OpenTask | None = None

    def get(self) -> OpenTask:
        with self._lock:
            if self._task is None:
                self._task = open_task(self._source, self._origins, self._cache_dir)
            return self._task

    def opener(self, table: Role) -> Callable[[], Rows]:
        return lambda: self.get().rows(table)


def _build(
    name: str, index: TaskIndex, tables: _LazyTables, cache_dir: Path, limit: int, progress: Progress | None
) -> LoadedTask:
    count = sum(len(split.labels) for split in index.splits.values())

    def is_mapped(side: int) -> bool:
        return count * side * side * 3 <= limit

    splits = {
        role: SplitData(split, tables.opener(split.table), cache_dir, is_mapped, progress)
        for role, split in ((role, index.splits[role]) for role in ROLES)
    }
    return LoadedTask(
        name,
        index.classes,
        index.fingerprint,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        skipped=index.skipped,
    )
