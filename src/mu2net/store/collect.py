"""Give back the space of what nothing can reach any more (docs/format.md: what may be removed)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path as FilePath

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session

from mu2net.core.component import Digest
from mu2net.store import queries, recording
from mu2net.store.files import only_read, only_removed
from mu2net.store.reach import files_of, kept_paths, named_files
from mu2net.store.reader import StoreReader
from mu2net.store.schema import CheckRow, ComponentRow, CycleRow, PathRow, ProbeRow, RemovalRow

GRACE = timedelta(days=14)
"""How long what was live, or was sampled, stays after it is not needed any more."""

UNFINISHED = timedelta(hours=1)
"""How old an unfinished file must be before it is taken for one that a crash left behind."""

BATCH = 200
"""Files that are removed in one transaction: writers wait for no more than these."""


@dataclass(frozen=True)
class Collected:
    """What ``collect`` removed, or would remove.

    Args:
        files: Digests of the files, ascending.
        num_bytes: Their size together, in bytes.
        orphans: How many of them no row named: a crash left them behind.
        unfinished: Files that were never completed.
        is_done: Whether they were removed.
    """

    files: tuple[Digest, ...]
    num_bytes: int
    orphans: int
    unfinished: tuple[FilePath, ...]
    is_done: bool


def collect(
    store: StoreReader, *, grace: timedelta = GRACE, is_dry: bool = True, now: datetime | None = None
) -> Collected:
    """Remove the files that nothing can reach, and return which.

    Safe beside any number of readers and writers: it is decided anew within every transaction that removes.

    Args:
        store: The system.
        grace: How long ago a path must have been live, a cycle have ended, or a file without a row been written.
        is_dry: Whether nothing is removed.
        now: The time; now by default.
    """
    now = now or datetime.now(UTC)
    since = now - grace if grace else None
    with only_read(f"components of {store.directory}"), store.registry.reading() as session:
        unfinished = tuple(_unfinished(store, now))
        named = named_files(session)
        sizes = store.components.sizes()
        found = _unreachable(session, store, since, sorted(sizes), named)
    removed = found
    if not is_dry:
        removed = [
            digest
            for start in range(0, len(found), BATCH)
            for digest in _remove(store, since, found[start : start + BATCH])
        ]
        with only_removed(f"unfinished files of {store.directory}"):
            for file in unfinished:
                if store.files.is_file(file):
                    store.files.remove(file)
        if grace == timedelta(0):
            _finish_removals(store, now)
    orphans = sum(digest not in named for digest in removed)
    total = sum(sizes[digest] for digest in removed)
    return Collected(tuple(removed), total, orphans, unfinished, is_done=not is_dry)


def compact_history(store: StoreReader, task: str | None = None) -> int:
    """Let the parameters of children that were never published go without a grace period; return how many children.

    Their rows stay. Children of running cycles keep theirs.

    Args:
        store: The system.
        task: Only children of this task; of all by default.

    Raises:
        UnknownNameError: There is no such task.
    """
    with store.registry.writing() as session:
        if task is not None:
            queries.task_row(session, task, is_removed_too=True)
        running = select(CycleRow.id).where(
            CycleRow.task == PathRow.task, CycleRow.number == PathRow.cycle, CycleRow.state == "running"
        )
        chosen = [PathRow.state == "child", PathRow.is_compacted.is_(False), ~running.exists()]
        if task is not None:
            chosen.append(PathRow.task == task)
        count = int(session.scalar(select(func.count()).select_from(PathRow).where(*chosen)) or 0)
        session.execute(
            update(PathRow).where(*chosen).values(is_compacted=True).execution_options(synchronize_session=False)
        )
        if count:
            recording.add_event(session, "history_compacted", task, {"children": count})
        return count


def _unfinished(store: StoreReader, now: datetime) -> list[FilePath]:
    before, found = (now - UNFINISHED).timestamp(), []
    for file in store.components.temporary_files():
        try:
            if store.files.modified(file) < before:
                found.append(file)
        except FileNotFoundError:  # it is complete by now
            continue
    return found


def _unreachable(
    session: Session, store: StoreReader, since: datetime | None, files: Sequence[Digest], named: set[Digest]
) -> list[Digest]:
    """Return which of some files nothing reaches; one without a row must have been written before the grace period."""
    reachable = files_of(session, kept_paths(session, since, store.leases.held_paths(session)))
    return [
        digest
        for digest in files
        if digest not in reachable and (digest in named or since is None or _is_older(store, digest, since))
    ]


def _is_older(store: StoreReader, digest: Digest, since: datetime) -> bool:
    modified = store.components.modified(digest)
    return modified is not None and modified < since.timestamp()


def _remove(store: StoreReader, since: datetime | None, files: Sequence[Digest]) -> list[Digest]:
    """Remove those of some files that still nothing reaches.

    Their rows say so first, in a transaction of their own: after a crash in between, the next call removes the rest. A
    writer that names such a file again takes that back, and the file stays, even if nothing reaches it any more by the
    time of the second look: the next call decides about it.
    """
    what = f"components of {store.directory}"
    with only_removed(what), store.registry.writing() as session:
        store.leases.forget_readers(session)
        gone = _unreachable(session, store, since, files, named_files(session))
        for row, uses in _uses(gone):
            chosen = uses & row.collected_at.is_(None)
            session.execute(update(row).where(chosen).values(collected_at=datetime.now(UTC)))
        session.execute(delete(CheckRow).where(CheckRow.digest.in_(gone)))
        if gone:
            recording.add_event(session, "files_collected", None, {"files": len(gone)})
    with only_removed(what), store.registry.writing() as session:
        taken_back = _taken_back(session, gone)
        gone = [d for d in _unreachable(session, store, since, gone, named_files(session)) if d not in taken_back]
        for digest in gone:
            store.components.remove(digest)
    return gone


def _uses(files: Sequence[Digest]) -> tuple[tuple[type[ComponentRow] | type[ProbeRow], ColumnElement[bool]], ...]:
    """Return which rows need some files."""
    components = ComponentRow.digest.in_(files) | ComponentRow.momentum_digest.in_(files)
    return (ComponentRow, components), (ProbeRow, ProbeRow.digest.in_(files))


def _taken_back(session: Session, files: Sequence[Digest]) -> set[str | None]:
    """Return which of some files belong to rows that do not say that they were collected, among other files."""
    (component, of_components), (probe, of_probes) = _uses(files)
    found: set[str | None] = set(session.scalars(select(probe.digest).where(of_probes, probe.collected_at.is_(None))))
    left = select(ComponentRow.digest, ComponentRow.momentum_digest)
    for digest, momentum in session.execute(left.where(of_components, component.collected_at.is_(None))):
        found |= {digest, momentum}
    return found


def _finish_removals(store: StoreReader, now: datetime) -> None:
    """Make the removals of tasks final that were made before: what would bring them back is gone."""
    with store.registry.writing() as session:
        chosen = (RemovalRow.state == "open") & (RemovalRow.at <= now)
        session.execute(update(RemovalRow).where(chosen).values(state="final"))
