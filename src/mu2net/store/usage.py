"""Who uses how much of the disk."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from mu2net.core.component import Digest
from mu2net.store.reach import files_of, kept_paths, named_files
from mu2net.store.reader import StoreReader


@dataclass(frozen=True)
class TaskUsage:
    """The files of a task's live path.

    Args:
        task: The task; ``None`` for the root.
        own: Bytes of files that no other live path and not the root uses.
        shared: Bytes of files that others use too.
    """

    task: str | None
    own: int
    shared: int


@dataclass(frozen=True)
class Usage:
    """The bytes of a system, without its cache.

    Args:
        tasks: The root, then the live paths in the order of publication.
        live: Bytes of the root and all live paths, every file once.
        history: Bytes of files that only running cycles, or paths within the grace period, need, and of all others
            that a row names.
        orphans: Bytes of files that no row names.
    """

    tasks: tuple[TaskUsage, ...]
    live: int
    history: int
    orphans: int


def usage(store: StoreReader) -> Usage:
    """Return who uses how much of a system's disk space.

    Args:
        store: The system.
    """
    with store.registry.reading() as session:
        live = [store.root(), *store.live_paths()]
        files = {path.id: files_of(session, [path.id]) for path in live}
        current = files_of(session, kept_paths(session, None, ())) & set().union(*files.values())
        named = named_files(session)
    sizes = store.components.sizes()
    users = Counter(digest for its in files.values() for digest in its)
    rows = []
    for path in live:
        its = files[path.id]
        own = _total(sizes, {digest for digest in its if users[digest] == 1})
        rows.append(TaskUsage(path.task, own, _total(sizes, its) - own))
    return Usage(
        tuple(rows),
        live=_total(sizes, current),
        history=_total(sizes, named - current),
        orphans=_total(sizes, set(sizes) - named),
    )


def _total(sizes: dict[Digest, int], digests: set[Digest]) -> int:
    return sum(sizes.get(digest, 0) for digest in digests)
