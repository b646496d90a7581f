"""What is known about a task's images after they were read once, kept so that they need not be decoded again.

An index file is a NumPy archive without pickled objects under ``cache/tasks/``; it may be deleted at any time. Its
name is a hash of the source and of the sizes and times of its files (or the commit on the hub). Images that a table
only points to are checked one by one.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mu2net.data.cache import remove_stale, write_atomically
from mu2net.data.source import ROLES, Role, TaskSource
from mu2net.data.task import Int64Array, UInt8Array

_LOG = logging.getLogger(__name__)
_VERSION = 1


@dataclass(frozen=True)
class SplitIndex:
    """The images of one split.

    Args:
        table: The split of the source whose table they lie in (carved splits lie in ``train``).
        rows: Their rows in that table, ascending, shape ``[images]``.
        labels: Class indices, shape ``[images]``.
        sizes: Width and height of the originals, in pixels, shape ``[images, 2]``.
        digests: Digests of the decoded originals, shape ``[images, 32]``.
        fingerprint: SHA-256 over digests and labels.
    """

    table: Role
    rows: Int64Array
    labels: Int64Array
    sizes: NDArray[np.int32]
    digests: UInt8Array
    fingerprint: str


@dataclass(frozen=True)
class TaskIndex:
    """All that is known about a task's images.

    Args:
        classes: Class names.
        fingerprint: SHA-256 of the task.
        splits: The three splits.
        skipped: What each image that was left out is called, and why.
        paths: Images that a table only points to.
        stamp: SHA-256 over the sizes and times of ``paths``.
    """

    classes: tuple[str, ...]
    fingerprint: str
    splits: dict[Role, SplitIndex]
    skipped: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    stamp: str = ""


def index_path(cache_dir: Path, source: TaskSource, identities: Sequence[Any]) -> Path:
    """Return where the index of a task lies; the task's name does not count.

    Args:
        cache_dir: Folder of the caches.
        source: The task's source.
        identities: JSON values that change whenever the content may have changed.
    """
    key = json.dumps([_VERSION, source.model_dump(exclude={"name"}), list(identities)], sort_keys=True)
    return cache_dir / "tasks" / f"{hashlib.sha256(key.encode()).hexdigest()}.npz"


def stamp_paths(paths: Sequence[str]) -> str:
    """Return the SHA-256 over the sizes and times of files; missing ones count as such."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            stat = Path(path).stat()
            digest.update(f"{stat.st_size} {stat.st_mtime_ns}\0".encode())
        except OSError:
            digest.update(b"missing\0")
    return digest.hexdigest()


def write_index(path: Path, index: TaskIndex) -> None:
    """Write an index atomically; a disk that is full only costs the next reader's time.

    Args:
        path: See ``index_path``.
        index: What is known.
    """
    meta = {
        "classes": index.classes,
        "fingerprint": index.fingerprint,
        "skipped": index.skipped,
        "paths": index.paths,
        "stamp": index.stamp,
        "splits": {
            role: {"table": split.table, "fingerprint": split.fingerprint} for role, split in index.splits.items()
        },
    }
    arrays: dict[str, Any] = {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}
    for role, split in index.splits.items():
        for name in ("rows", "labels", "sizes", "digests"):
            arrays[f"{role}_{name}"] = getattr(split, name)
    try:
        write_atomically(path, lambda file: np.savez(file, **arrays))
        remove_stale(path.parent)
    except OSError as error:
        _LOG.warning("the index '%s' cannot be kept: %s", path, error)


def read_index(path: Path) -> TaskIndex | None:
    """Return an index, or ``None`` if there is no whole one, or an image that a table points to has changed.

    Args:
        path: See ``index_path``.
    """
    try:
        content = io.BytesIO(path.read_bytes())
        with np.load(content, allow_pickle=False) as arrays:
            meta = json.loads(arrays["meta"].tobytes())
            splits = {role: _read_split(role, meta["splits"][role], arrays) for role in ROLES}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        _LOG.warning("the index '%s' is made again: %s", path, error)
        return None
    if stamp_paths(meta["paths"]) != meta["stamp"]:
        return None
    texts = {name: tuple(meta[name]) for name in ("classes", "skipped", "paths")}
    return TaskIndex(fingerprint=meta["fingerprint"], splits=splits, stamp=meta["stamp"], **texts)


def _read_split(role: Role, meta: dict[str, Any], arrays: Any) -> SplitIndex:
    rows, labels, sizes, digests = (arrays[f"{role}_{name}"] for name in ("rows", "labels", "sizes", "digests"))
    return SplitIndex(meta["table"], rows, labels, sizes, digests, meta["fingerprint"])
