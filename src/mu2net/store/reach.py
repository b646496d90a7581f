"""Which files of the component folder something can still reach (docs/format.md: what may be removed)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from mu2net.core.component import Digest
from mu2net.store.schema import ComponentRow, CycleRow, PathRow, PathSlotRow, ProbeRow

CHUNK = 500
"""Values of an SQL list at most: data bases bound them."""


def kept_paths(session: Session, since: datetime | None, leased: Collection[str]) -> set[str]:
    """Return the ids of the paths whose files must stay.

    Args:
        session: In a transaction.
        since: Paths that were live, or children of cycles that ran, after this moment stay too; ``None`` for none of
            them.
        leased: Ids of paths on which somebody holds a lease.
    """
    kept = set(session.scalars(select(PathRow.id).where(PathRow.state.in_(("root", "live"))))) | set(leased)
    running = session.scalars(select(CycleRow).where(CycleRow.state == "running")).all()
    for cycle in running:
        kept.update(cycle.config.get("live", ()))
        kept.update(
            session.scalars(select(PathRow.id).where(PathRow.task == cycle.task, PathRow.cycle == cycle.number))
        )
    if since is not None:
        kept.update(session.scalars(select(PathRow.id).where(PathRow.retired_at > since)))
        ended = (
            select(PathRow.id)
            .join(CycleRow, (CycleRow.task == PathRow.task) & (CycleRow.number == PathRow.cycle))
            .where(PathRow.state == "child", PathRow.is_compacted.is_(False), CycleRow.ended_at > since)
        )
        kept.update(session.scalars(ended))
    return kept


def files_of(session: Session, paths: Iterable[str]) -> set[Digest]:
    """Return the digests of all files of some paths: components, their momentum, and probes."""
    found: set[Digest] = set()
    ids = sorted(paths)
    for start in range(0, len(ids), CHUNK):
        some = ids[start : start + CHUNK]
        query = (
            select(PathSlotRow.digest, ComponentRow.momentum_digest)
            .join(ComponentRow, ComponentRow.digest == PathSlotRow.digest)
            .where(PathSlotRow.path_id.in_(some))
        )
        for digest, momentum in session.execute(query):
            found.add(Digest(digest))
            if momentum is not None:
                found.add(Digest(momentum))
        found.update(map(Digest, session.scalars(select(ProbeRow.digest).where(ProbeRow.path_id.in_(some)))))
    return found


def named_files(session: Session) -> set[Digest]:
    """Return the digests of all files that any row names, reachable or not."""
    named: set[Digest] = set()
    for digest, momentum in session.execute(select(ComponentRow.digest, ComponentRow.momentum_digest)):
        named.add(Digest(digest))
        if momentum is not None:
            named.add(Digest(momentum))
    return named | set(map(Digest, session.scalars(select(ProbeRow.digest))))
