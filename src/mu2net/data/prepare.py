"""Reads a task's images for the first time: labels, decoding, bad images, missing splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mu2net.data.columns import Columns, Labels, find_columns, read_groups, read_labels
from mu2net.data.decode import Encoded, decode_rgb
from mu2net.data.fingerprint import (
    DIGEST_BYTES,
    digest_groups,
    digest_keys,
    image_digest,
    split_fingerprint,
    task_fingerprint,
)
from mu2net.data.index import SplitIndex, TaskIndex, stamp_paths
from mu2net.data.rows import Progress, Rows, decode_rows
from mu2net.data.source import ROLES, Role, TaskSource
from mu2net.data.splits import KEEP, carve
from mu2net.data.tables import Origin, Table
from mu2net.data.task import Int64Array, UInt8Array
from mu2net.errors import DataError, ImageError, SourceError


@dataclass(frozen=True)
class OpenTask:
    """The tables of a task and their columns.

    Args:
        tables: One table per split that the sources have.
        columns: The columns of each.
    """

    tables: dict[Role, Table]
    columns: dict[Role, Columns]

    def rows(self, role: Role) -> Rows:
        """Return the encoded images of a table."""
        return Rows(self.tables[role], self.columns[role].image)


def open_task(source: TaskSource, origins: dict[Role, Origin], cache_dir: Path) -> OpenTask:
    """Open the tables of a task.

    Args:
        source: The task's source.
        origins: The main source as ``train``, and the extra ones.
        cache_dir: Folder for memory-mapped tables.

    Raises:
        SourceError: A source cannot be read, has no training split, or an extra source has no fitting split.
        UnknownNameError: A column does not exist.
    """
    tables = dict(origins["train"].tables(cache_dir))
    if "train" not in tables:
        found = ", ".join(sorted(tables))
        raise SourceError(f"source '{source.source}' has no training split; found only: {found}; expected 'train'")
    for role in ROLES[1:]:
        if role in origins:
            tables[role] = _extra_table(role, origins[role].tables(cache_dir))
    return OpenTask(tables, {role: find_columns(tables[role], source) for role in ROLES if role in tables})


def _extra_table(role: Role, found: dict[Role, Table]) -> Table:
    """Return the table that an extra source gives for a split: its only one, or the one of that name."""
    if role in found:
        return found[role]
    if len(found) == 1:
        return next(iter(found.values()))
    names = ", ".join(table.name for table in found.values())
    raise SourceError(f"the {role} source has several splits and none named {role}: {names}; name one file or folder")


@dataclass(frozen=True)
class _Decoded:
    """What decoding a table told: rows that decode, their sizes and digests; and the others."""

    rows: Int64Array
    sizes: NDArray[np.int32]
    digests: UInt8Array
    skipped: tuple[str, ...]
    paths: tuple[str, ...]


def prepare_task(source: TaskSource, task: OpenTask, progress: Progress | None = None) -> TaskIndex:
    """Decode all images of a task once, check them, and carve the missing splits.

    Args:
        source: The task's source.
        task: Its open tables.
        progress: Called while images are decoded, counting those of all splits together.

    Raises:
        DataError: Labels, classes or splits cannot be used.
        ImageError: An image does not decode, and bad images are not skipped.
    """
    labels = {role: read_labels(table, task.columns[role].label) for role, table in task.tables.items()}
    classes = labels["train"].names
    indices = {role: _align(source, task.tables[role], classes, its) for role, its in labels.items()}
    _check_train(source, classes, indices["train"], "")
    groups = _read_groups(source, task)
    decoded = _decode_all(source, task, progress)
    skipped = tuple(name for role in task.tables for name in decoded[role].skipped)
    note = f" after {len(skipped)} bad images were skipped" if skipped else ""
    labels_of = {role: indices[role][decoded[role].rows] for role in task.tables}
    _check_train(source, classes, labels_of["train"], note)
    for role, left in labels_of.items():
        if not len(left):
            raise DataError(f"task {source.name!r}: the {role} split has no images{note}; give some, or another source")
    splits = _make_splits(decoded, labels_of, groups)
    paths = tuple(path for role in task.tables for path in decoded[role].paths)
    fingerprint = task_fingerprint(classes, [splits[role].fingerprint for role in ROLES])
    return TaskIndex(classes, fingerprint, splits, skipped, paths, stamp_paths(paths))


def _align(source: TaskSource, table: Table, classes: Sequence[str], labels: Labels) -> Int64Array:
    """Return labels as indices into the classes of the training split."""
    if not len(labels.indices):
        raise DataError(f"task {source.name!r}: {table.name} has no images; give some, or another source")
    position = {name: index for index, name in enumerate(classes)}
    used = np.unique(labels.indices)
    unknown = [labels.names[index] for index in used if labels.names[index] not in position]
    if unknown:
        raise DataError(
            f"task {source.name!r}: {table.name} has the class {unknown[0]!r}, which the training split does not know "
            f"(found {len(unknown)} such classes); rename it, or add training images"
        )
    return np.array([position.get(name, -1) for name in labels.names], np.int64)[labels.indices]


def _check_train(source: TaskSource, classes: Sequence[str], labels: Int64Array, note: str) -> None:
    """Raise unless there are two classes, and two training images of each."""
    if len(classes) < 2:
        raise DataError(
            f"task {source.name!r} has {len(classes)} class; classification needs at least 2 (found: {classes[0]!r})"
        )
    counts = np.bincount(labels, minlength=len(classes))
    few = [f"{name!r} has {count}" for name, count in zip(classes, counts.tolist(), strict=True) if count < KEEP]
    if few:
        more = f" (and {len(few) - 1} more classes)" if len(few) > 1 else ""
        raise DataError(
            f"task {source.name!r}: class {few[0]} training images{note}{more}; every class needs at least {KEEP}: add "
            "images, or remove the class"
        )


def _read_groups(source: TaskSource, task: OpenTask) -> NDArray[np.str_] | None:
    """Return the groups of the training table, after checking that none straddles two given splits."""
    if source.group_column is None:
        return None
    groups = {role: read_groups(table, source.group_column) for role, table in task.tables.items()}
    seen: dict[str, Role] = {}
    for role, its in groups.items():
        for group in np.unique(its).tolist():
            if seen.setdefault(group, role) != role:
                raise DataError(
                    f"task {source.name!r}: group {group!r} of column {source.group_column!r} is in the "
                    f"{seen[group]} and the {role} split; keep a group on one side, or leave the group column out"
                )
    return groups["train"]


def _decode_all(source: TaskSource, task: OpenTask, progress: Progress | None) -> dict[Role, _Decoded]:
    total, before = sum(len(table) for table in task.tables.values()), 0
    decoded: dict[Role, _Decoded] = {}
    for role, table in task.tables.items():
        shifted = None
        if progress is not None:
            shifted = _shift(progress, before, total)
        decoded[role] = _decode_table(task.rows(role), source.skip_bad_images, shifted)
        before += len(table)
    return decoded


def _shift(progress: Progress, before: int, total: int) -> Progress:
    return lambda done, _: progress(before + done, total)


def _decode_table(rows: Rows, skip: bool, progress: Progress | None) -> _Decoded:
    """Decode every image of a table once, for its size and digest."""
    count = len(rows)
    sizes, digests = np.zeros((count, 2), np.int32), np.zeros((count, DIGEST_BYTES), np.uint8)
    is_good, skipped, paths = np.zeros(count, bool), [], []

    def work(encoded: Encoded, name: str) -> tuple[tuple[int, int], bytes, str | None]:
        image = decode_rgb(encoded, name)
        return image.size, image_digest(image), str(encoded) if isinstance(encoded, Path) else None

    for row, result in enumerate(decode_rows(rows, np.arange(count), work, progress)):
        if isinstance(result, ImageError):
            if not skip:
                raise result
            skipped.append(str(result))
            continue
        is_good[row] = True
        sizes[row], digests[row] = result[0], np.frombuffer(result[1], np.uint8)
        if result[2] is not None:
            paths.append(result[2])
    good = np.flatnonzero(is_good)
    return _Decoded(good, sizes[good], digests[good], tuple(skipped), tuple(paths))


def _make_splits(
    decoded: dict[Role, _Decoded], labels: dict[Role, Int64Array], groups: NDArray[np.str_] | None
) -> dict[Role, SplitIndex]:
    """Return the three splits; the missing ones are carved out of the training table, test first."""
    chosen: dict[Role, tuple[Role, Int64Array]] = {role: (role, np.arange(len(its))) for role, its in labels.items()}
    missing = [role for role in reversed(ROLES) if role not in labels]
    if missing:
        train = decoded["train"]
        if groups is None:
            ids = digest_groups(train.digests)
        else:
            ids = np.unique(groups[train.rows], return_inverse=True)[1].astype(np.int64)
        carved = carve(labels["train"], ids, digest_keys(train.digests), missing)
        chosen.update({role: ("train", positions) for role, positions in carved.items()})
    return {role: _split(table, decoded[table], labels[table], at) for role, (table, at) in sorted(chosen.items())}


def _split(table: Role, decoded: _Decoded, labels: Int64Array, positions: Int64Array) -> SplitIndex:
    digests, its = decoded.digests[positions], labels[positions]
    return SplitIndex(
        table, decoded.rows[positions], its, decoded.sizes[positions], digests, split_fingerprint(digests, its)
    )
