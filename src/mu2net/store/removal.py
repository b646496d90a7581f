"""Removing tasks, with all that their data shaped, and bringing them back (docs/format.md: removal)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from mu2net.core.component import Digest
from mu2net.errors import ConfigError
from mu2net.store import queries, recording
from mu2net.store.collect import GRACE
from mu2net.store.reach import CHUNK, files_of
from mu2net.store.reader import StoreReader
from mu2net.store.schema import ComponentRow, CycleRow, PathRow, ProbeRow, RemovalRow, TaskRow


@dataclass(frozen=True)
class Removal:
    """What the removal of a task changes.

    Args:
        task: The task.
        paths: Ids of the live paths that retire, by task: its own, and with influence those that it shaped.
        cycles: Running cycles that end, as (task, number).
        with_influence: Whether everything that its data shaped goes too.
    """

    task: str
    paths: Mapping[str, str]
    cycles: tuple[tuple[str, int], ...]
    with_influence: bool

    @property
    def others(self) -> tuple[str, ...]:
        """The other tasks that lose their path, sorted."""
        return tuple(sorted(set(self.paths) - {self.task}))


def plan_removal(store: StoreReader, task: str, *, with_influence: bool = False) -> Removal:
    """Return what the removal of a task would change; nothing is changed.

    Args:
        store: The system.
        task: The task.
        with_influence: Whether everything that its data shaped goes too.

    Raises:
        UnknownNameError: There is no such task.
        ConfigError: It was removed already, and with influence there is nothing left that it shaped.
    """
    with store.registry.reading() as session:
        return _plan(session, task, with_influence=with_influence)


def remove_task(store: StoreReader, task: str, *, with_influence: bool = False) -> Removal:
    """Remove a task: its path retires, its cycle ends, and it is listed no more.

    With influence, every live path that its data shaped retires too, and every running cycle ends that has such a
    child, or that started from such a path. A process that is evolving one of them fails at its next child. That can
    also be asked for of a task that was removed before without it, and of one that only shaped what was imported.

    Args:
        store: The system.
        task: The task.
        with_influence: Whether everything that its data shaped goes too.

    Returns:
        What was changed.

    Raises:
        UnknownNameError: There is no such task.
        ConfigError: It was removed already, and with influence there is nothing left that it shaped.
    """
    with store.registry.writing() as session:
        found = _plan(session, task, with_influence=with_influence)
        at = recording.now()
        ids = list(found.paths.values())
        session.execute(update(PathRow).where(PathRow.id.in_(ids)).values(state="retired", retired_at=at))
        for name, number in found.cycles:
            chosen = (CycleRow.task == name) & (CycleRow.number == number)
            session.execute(update(CycleRow).where(chosen).values(state="abandoned", ended_at=at))
        payload: dict[str, Any] = {"paths": dict(found.paths), "cycles": [list(cycle) for cycle in found.cycles]}
        payload["with_influence"] = with_influence
        if queries.task_row(session, task, is_removed_too=True).removed_at is None:
            session.execute(update(TaskRow).where(TaskRow.name == task).values(removed_at=at))
        else:
            payload["was_gone"] = True
        session.add(RemovalRow(task=task, state="open", payload=payload, at=at))
        recording.add_event(session, "task_removed", task, payload)
    return found


def undo_removal(store: StoreReader, *, grace: timedelta = GRACE, now: datetime | None = None) -> Removal:
    """Bring back what the last removal took away; a path that was published since for one of its tasks retires.

    Args:
        store: The system.
        grace: How long a removal can be undone.
        now: The time; now by default.

    Returns:
        What was brought back.

    Raises:
        ConfigError: There is no removal that can be undone.
    """
    now = now or datetime.now(UTC)
    with store.registry.writing() as session:
        row = session.scalars(
            select(RemovalRow).where(RemovalRow.state == "open").order_by(RemovalRow.id.desc()).limit(1)
        ).first()
        if row is None:
            raise ConfigError("there is no removal that can be undone: none was made, or `collect --now` made it final")
        if row.at < now - grace:
            raise ConfigError(
                f"task {row.task!r} was removed on {row.at:%Y-%m-%d}, longer ago than {grace.days} days: it is final"
            )
        paths: dict[str, str] = row.payload["paths"]
        _require_files(session, store, paths.values())
        _restore_paths(session, paths)
        _keep(session, paths.values())
        cycles = [
            (name, number) for name, number in row.payload["cycles"] if _restore_cycle(session, store, name, number)
        ]
        if not row.payload.get("was_gone"):
            session.execute(update(TaskRow).where(TaskRow.name == row.task).values(removed_at=None))
        row.state = "undone"
        recording.add_event(session, "removal_undone", row.task, row.payload)
        return Removal(row.task, paths, tuple(cycles), row.payload["with_influence"])


def _plan(session: Session, task: str, *, with_influence: bool) -> Removal:
    was_gone = queries.task_row(session, task, is_removed_too=with_influence).removed_at is not None
    live = session.scalars(select(PathRow).where(PathRow.state == "live").order_by(PathRow.publication)).all()
    paths = {
        row.task: row.id
        for row in live
        if row.task is not None and (row.task == task or (with_influence and task in row.influence))
    }
    running = session.scalars(select(CycleRow).where(CycleRow.state == "running").order_by(CycleRow.id)).all()
    cycles = [
        (cycle.task, cycle.number)
        for cycle in running
        if cycle.task == task or (with_influence and _is_influenced(session, cycle, task))
    ]
    if was_gone and _is_gone_for_good(session, task):
        queries.task_row(session, task)  # says when it was removed
    return Removal(task, paths, tuple(cycles), with_influence)


def _is_gone_for_good(session: Session, task: str) -> bool:
    """Return whether a task was removed with its influence already, which was not undone."""
    rows = session.scalars(select(RemovalRow).where(RemovalRow.task == task, RemovalRow.state != "undone"))
    return any(row.payload["with_influence"] for row in rows)


def _is_influenced(session: Session, cycle: CycleRow, task: str) -> bool:
    """Return whether a cycle has a child that a task's data shaped, or may still draw one."""
    own = (PathRow.task == cycle.task) & (PathRow.cycle == cycle.number)
    start = PathRow.id.in_(cycle.config.get("live", ()))
    influences: Sequence[Any] = session.scalars(select(PathRow.influence).where(own | start)).all()
    return any(task in influence for influence in influences)


def _missing(session: Session, store: StoreReader, paths: Iterable[str]) -> list[Digest]:
    """Return the files of some paths that are gone."""
    return [digest for digest in files_of(session, paths) if not store.files.is_file(store.components.file(digest))]


def _keep(session: Session, paths: Iterable[str]) -> None:
    """Take back that files of some paths were about to be collected."""
    digests = sorted(files_of(session, paths))
    for start in range(0, len(digests), CHUNK):
        some = digests[start : start + CHUNK]
        for row in (ComponentRow, ProbeRow):
            session.execute(update(row).where(row.digest.in_(some)).values(collected_at=None))


def _require_files(session: Session, store: StoreReader, paths: Iterable[str]) -> None:
    missing = _missing(session, store, paths)
    if missing:
        raise ConfigError(
            f"the removal cannot be undone: {len(missing)} files of its paths are gone, the first is {min(missing)}; "
            "restore them from a backup, or evolve the tasks again"
        )


def _restore_paths(session: Session, paths: Mapping[str, str]) -> None:
    at = recording.now()
    newer = (PathRow.task.in_(paths)) & (PathRow.state == "live")
    session.execute(update(PathRow).where(newer).values(state="retired", retired_at=at))
    session.execute(update(PathRow).where(PathRow.id.in_(paths.values())).values(state="live", retired_at=None))


def _restore_cycle(session: Session, store: StoreReader, task: str, number: int) -> bool:
    """Let a cycle run again, unless another one of its task does by now, or files that it needs are gone."""
    cycle = session.scalars(select(CycleRow).where(CycleRow.task == task, CycleRow.number == number)).one()
    children = session.scalars(select(PathRow.id).where(PathRow.task == task, PathRow.cycle == number)).all()
    needed = [*children, *cycle.config.get("live", ())]
    if queries.running_cycle_row(session, task) is not None or _missing(session, store, needed):
        return False
    cycle.state, cycle.ended_at = "running", None
    _keep(session, needed)
    session.flush()
    return True
