"""Whose data shaped what: every component's origin, every path's influence (docs/format.md: provenance)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from mu2net.core.component import Digest
from mu2net.errors import ConfigError
from mu2net.store import queries
from mu2net.store.reader import StoreReader
from mu2net.store.schema import OriginRow, PathRow, PathSlotRow


@dataclass(frozen=True)
class Origin:
    """A path that trained a component.

    Args:
        path: Its id; ``"root"`` brought it into the system.
        task: The task whose data trained it; ``None`` for the root.
        agent: The agent that asked for it.
        version: The version of mu2net that recorded it; empty for paths of early versions.
        at: When, in UTC.
        source: The component that it was cloned from; ``None`` for a fresh one, and for the root's.
        mutation: Name of the mutation that made the path train it, for instance ``"clone:block_03"``; ``None`` where it
            always trains.
        influence: Tasks whose data shaped the path that trained it, sorted.
    """

    path: str
    task: str | None
    agent: str
    version: str
    at: datetime
    source: Digest | None
    mutation: str | None
    influence: tuple[str, ...]


@dataclass(frozen=True)
class SlotProvenance:
    """The component in a slot of a path, and who trained it.

    Args:
        slot: Name of the slot.
        digest: The component.
        origins: The paths that trained it, oldest first; more than one where several made equal components.
        sources: What it was cloned from, what that was cloned from, and so on.
    """

    slot: str
    digest: Digest
    origins: tuple[Origin, ...]
    sources: tuple[Digest, ...]


@dataclass(frozen=True)
class Provenance:
    """Whose data shaped a task's live path.

    Args:
        task: The task.
        path: Id of its live path.
        influence: Every task whose data shaped any parameter that it uses, its own included, sorted.
        slots: Its components from the image to the head.
        removed: Tasks of the influence that were removed, sorted.
        elsewhere: Tasks of the influence that never were tasks of this system, sorted: another one learned them, and
            what they shaped was imported.
    """

    task: str
    path: str
    influence: tuple[str, ...]
    slots: tuple[SlotProvenance, ...]
    removed: tuple[str, ...]
    elsewhere: tuple[str, ...] = ()


def provenance(store: StoreReader, task: str) -> Provenance:
    """Return whose data shaped a task's live path, and how.

    Args:
        store: The system.
        task: The task.

    Raises:
        UnknownNameError: There is no such task.
        ConfigError: It has no live path.
    """
    with store.registry.reading() as session:
        queries.task_row(session, task)
        row = session.scalars(select(PathRow).where(PathRow.task == task, PathRow.state == "live")).first()
        if row is None:
            raise ConfigError(f"task {task!r} was never evolved, so nothing shaped it yet; run: mu2net evolve {task}")
        query = select(PathSlotRow).where(PathSlotRow.path_id == row.id).order_by(PathSlotRow.position)
        slots = tuple(_slot(session, slot.slot, Digest(slot.digest)) for slot in session.scalars(query).all())
        influence = tuple(sorted(row.influence))
        tasks = [queries.task_row(session, name, is_removed_too=True) for name in influence]
        elsewhere = tuple(one.name for one in tasks if queries.is_only_known(one))
        removed = tuple(one.name for one in tasks if one.removed_at is not None and one.name not in elsewhere)
        return Provenance(task, row.id, influence, slots, removed, elsewhere)


def _slot(session: Session, slot: str, digest: Digest) -> SlotProvenance:
    origins = _origins(session, slot, digest)
    sources: list[Digest] = []
    source = next((origin.source for origin in origins if origin.source), None)
    while source is not None and source not in sources:
        sources.append(source)
        source = next((origin.source for origin in _origins(session, slot, source) if origin.source), None)
    return SlotProvenance(slot, digest, origins, tuple(sources))


def _origins(session: Session, slot: str, digest: Digest) -> tuple[Origin, ...]:
    query = (
        select(OriginRow.source_digest, PathRow)
        .join(PathRow, PathRow.id == OriginRow.path_id)
        .where(OriginRow.digest == digest)
        .order_by(PathRow.created_at, PathRow.id)
    )
    return tuple(
        Origin(
            path=row.id,
            task=row.task,
            agent=row.agent,
            version=row.version,
            at=row.created_at,
            source=None if source is None else Digest(source),
            mutation=_mutation(row.mutations, slot),
            influence=tuple(sorted(row.influence)),
        )
        for source, row in session.execute(query)
    )


def _mutation(mutations: Sequence[Mapping[str, Any]], slot: str) -> str | None:
    names = [str(mutation["name"]) for mutation in mutations]
    return next((name for name in names if name.partition(":")[2] == slot), None)
