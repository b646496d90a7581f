"""Reading the registry: rows to records and to the values of ``core``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from mu2net.core.compartment import Compartment
from mu2net.core.component import Component, Digest, Slot
from mu2net.core.path import Path
from mu2net.errors import ConfigError, UnknownNameError
from mu2net.store.codec import metrics_from_json, mutations_from_json, proposal_from_json
from mu2net.store.records import (
    ChildRecord,
    ComponentRecord,
    CycleRecord,
    CycleState,
    EventRecord,
    PathState,
    TaskRecord,
)
from mu2net.store.schema import ComponentRow, CycleRow, EventRow, PathRow, PathSlotRow, TaskRow

Condition = ColumnElement[bool]
Order = Sequence[InstrumentedAttribute[Any]]

IN_SAMPLING_ORDER: Order = (PathRow.task, PathRow.cycle, PathRow.generation, PathRow.child)
IN_PUBLISHED_ORDER: Order = (PathRow.publication,)


def task_record(row: TaskRow) -> TaskRecord:
    """Return a task from its row."""
    return TaskRecord(
        row.name,
        row.source,
        tuple(row.classes),
        row.fingerprint,
        row.is_private,
        row.counts,
        row.created_at,
        allow_from=None if row.allow_from is None else tuple(row.allow_from),
        deny_from=tuple(row.deny_from),
        removed_at=row.removed_at,
        imported=row.imported,
    )


def is_only_known(row: TaskRow) -> bool:
    """Return whether a task was never one of this system: its data shaped a path that was imported."""
    return row.removed_at is not None and row.imported is not None and bool(row.imported["is_only_known"])


def _origin(row: TaskRow) -> str:
    return "" if row.imported is None else str(row.imported["system"])


def task_row(session: Session, name: str, *, is_removed_too: bool = False) -> TaskRow:
    """Return the row of a task.

    Args:
        session: In a transaction.
        name: Name of the task.
        is_removed_too: Whether a task that was removed is returned like any other.

    Raises:
        UnknownNameError: There is no such task; names the closest match.
        ConfigError: It was removed, or never was one of this system.
    """
    row = session.get(TaskRow, name)
    if row is None:
        known = select(TaskRow.name).where(TaskRow.removed_at.is_(None))
        raise UnknownNameError("task", name, session.scalars(known))
    if is_only_known(row) and not is_removed_too:
        raise ConfigError(
            f"task {name!r} is no task of this system: it only shaped what was imported from {_origin(row)}; "
            "add it, or import it from there"
        )
    if row.removed_at is not None and not is_removed_too:
        raise ConfigError(
            f"task {name!r} was removed on {row.removed_at:%Y-%m-%d}; "
            "within the grace period `mu2net undo` brings it back"
        )
    return row


def compartments(session: Session) -> dict[str, Compartment]:
    """Return the compartments of all tasks by name, removed ones included."""
    return {
        row.name: Compartment(
            row.is_private, None if row.allow_from is None else frozenset(row.allow_from), frozenset(row.deny_from)
        )
        for row in session.scalars(select(TaskRow))
    }


def cycle_record(row: CycleRow) -> CycleRecord:
    """Return a cycle from its row."""
    return CycleRecord(
        id=row.id,
        task=row.task,
        number=row.number,
        agent=row.agent,
        seed=row.seed,
        state=cast("CycleState", row.state),
        config=row.config,
        spent_seconds=row.spent_seconds,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


def running_cycle_row(session: Session, task: str) -> CycleRow | None:
    """Return the row of a task's running cycle, ``None`` where there is none."""
    return session.scalar(select(CycleRow).where(CycleRow.task == task, CycleRow.state == "running"))


def component_record(row: ComponentRow) -> ComponentRecord:
    """Return what is known about a component from its row."""
    return ComponentRecord(
        digest=Digest(row.digest),
        num_bytes=row.num_bytes,
        source_digest=None if row.source_digest is None else Digest(row.source_digest),
        momentum_digest=None if row.momentum_digest is None else Digest(row.momentum_digest),
        created_by=row.created_by,
    )


def event_record(row: EventRow) -> EventRecord:
    """Return an event from its row."""
    return EventRecord(row.at, row.kind, row.task, row.payload)


def children(session: Session, *conditions: Condition, order: Order = IN_SAMPLING_ORDER) -> list[ChildRecord]:
    """Return the recorded paths that meet all conditions, in an order.

    Args:
        session: In a transaction.
        conditions: On ``PathRow``.
        order: Columns of ``PathRow``.
    """
    rows = session.scalars(select(PathRow).where(*conditions).order_by(*order)).all()
    chains = _chains(session, conditions)
    return [
        ChildRecord(
            path=_path(row, chains[row.id]),
            proposal=None if row.proposal is None else proposal_from_json(row.proposal),
            is_kept=row.is_kept,
            state=cast("PathState", row.state),
            created_at=row.created_at,
        )
        for row in rows
    ]


def _chains(session: Session, conditions: Sequence[Condition]) -> dict[str, list[Component]]:
    query = (
        select(
            PathSlotRow.path_id,
            PathSlotRow.slot,
            PathSlotRow.kind,
            PathSlotRow.digest,
            ComponentRow.num_params,
            ComponentRow.task,
        )
        .join(ComponentRow, ComponentRow.digest == PathSlotRow.digest)
        .join(PathRow, PathRow.id == PathSlotRow.path_id)
        .where(*conditions)
        .order_by(PathSlotRow.path_id, PathSlotRow.position)
    )
    chains: dict[str, list[Component]] = defaultdict(list)
    for path, slot, kind, digest, num_params, task in session.execute(query):
        chains[path].append(Component(Digest(digest), Slot(slot, kind), num_params, task))
    return chains


def _path(row: PathRow, components: Sequence[Component]) -> Path:
    return Path(
        id=row.id,
        task=row.task,
        components=tuple(components),
        hparams=row.hparams,
        parent_id=row.parent_id,
        agent=row.agent,
        metrics=None if row.metrics is None else metrics_from_json(row.metrics),
        is_private=row.is_private,
        mutations=mutations_from_json(row.mutations),
        rates=row.rates,
        influence=frozenset(row.influence),
    )
