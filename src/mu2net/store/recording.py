"""Writing the registry: everything here runs inside one transaction of the caller, after the files are on the disk."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update
from sqlalchemy.orm import Session

from mu2net.core.compartment import barred
from mu2net.core.component import Digest, Slot
from mu2net.core.path import ROOT_ID, Metrics, Value
from mu2net.core.proposal import Proposal
from mu2net.errors import ConfigError, PrivacyError, StoreError, UnknownComponentError, UnknownNameError
from mu2net.store.codec import metrics_to_json, mutations_to_json, proposal_to_json
from mu2net.store.migrate import mu2net_version
from mu2net.store.queries import compartments, is_only_known, task_row
from mu2net.store.records import CycleRecord, CycleState, NewComponent, TrainedRecord, path_id
from mu2net.store.schema import (
    ComponentRow,
    CycleRow,
    EventRow,
    OriginRow,
    PathRow,
    PathSlotRow,
    ProbeRow,
    RemovalRow,
    TaskRow,
)

# What every publication runs, without the session's own layer: that takes longer than the statements (docs/format.md:
# measured). A name in ``bindparam`` is a value that the statement is run with, as are columns without a value.
_PATHS, _PROBES, _CYCLES, _EVENTS = (
    row.metadata.tables[row.__tablename__] for row in (PathRow, ProbeRow, CycleRow, EventRow)
)
_CYCLE_STATE = select(_CYCLES.c.task, _CYCLES.c.state).where(_CYCLES.c.id == bindparam("cycle"))
_PATH_STATE = select(_PATHS.c.task, _PATHS.c.state, _PATHS.c.cycle, _PATHS.c.publication).where(
    _PATHS.c.id == bindparam("path")
)
_LIVE_BESIDE = select(_PATHS.c.id).where(
    _PATHS.c.task == bindparam("task"), _PATHS.c.state == "live", _PATHS.c.id != bindparam("path")
)
_NEXT_PUBLICATION = select(func.coalesce(func.max(_PATHS.c.publication) + 1, 0))
_RETIRE = (
    update(_PATHS).where(_PATHS.c.id == bindparam("path")).values(state="retired", retired_at=bindparam("retired_at"))
)
_MAKE_LIVE = (
    update(_PATHS)
    .where(_PATHS.c.id == bindparam("path"))
    .values(state="live", publication=bindparam("publication"), metrics=bindparam("metrics"))
)
_FORGET_PROBE = delete(_PROBES).where(_PROBES.c.path_id == bindparam("path"))
_NOTE_PROBE = insert(_PROBES)
_END_CYCLE = (
    update(_CYCLES)
    .where(_CYCLES.c.id == bindparam("cycle"))
    .values(state=bindparam("state"), ended_at=bindparam("ended_at"))
)
_NOTE_EVENT = insert(_EVENTS)
_RUNNING = select(CycleRow).where(CycleRow.state == "running")


@dataclass(frozen=True)
class StoredComponent:
    """A new component whose files are on the disk."""

    new: NewComponent
    digest: Digest
    num_bytes: int
    momentum_digest: Digest | None

    @property
    def files(self) -> tuple[Digest, ...]:
        """The digests of its files."""
        return (self.digest,) if self.momentum_digest is None else (self.digest, self.momentum_digest)


def now() -> datetime:
    """Return the moment that rows are stamped with, in UTC."""
    return datetime.now(UTC)


def add_event(session: Session, kind: str, task: str | None, payload: Mapping[str, Any]) -> None:
    """Write down that something happened."""
    session.connection().execute(_NOTE_EVENT, {"at": now(), "kind": kind, "task": task, "payload": dict(payload)})


def next_number(session: Session, column: Any, *conditions: Any) -> int:
    """Return one more than the largest number in a column, 0 where there is none."""
    largest: int | None = session.scalar(select(func.max(column)).where(*conditions))
    return 0 if largest is None else largest + 1


def running(session: Session, cycle: CycleRecord) -> CycleRow:
    """Return the row of a cycle that still runs.

    Raises:
        StoreError: It has ended, or is not in the registry.
    """
    require_running(session, cycle)
    return session.get_one(CycleRow, cycle.id)


def require_running(session: Session, cycle: CycleRecord) -> None:
    """Check that a cycle still runs.

    Raises:
        StoreError: It has ended, or is not in the registry.
    """
    row = session.connection().execute(_CYCLE_STATE, {"cycle": cycle.id}).first()
    if row is None or row.task != cycle.task or row.state != "running":
        found = "not in the registry" if row is None or row.task != cycle.task else row.state
        raise StoreError(
            f"cycle {cycle.number} of task {cycle.task!r} is {found}; expected 'running'; start a new cycle"
        )


def add_components(session: Session, stored: Iterable[StoredComponent], task: str | None, created_by: str) -> None:
    """Write the rows of components; a digest that has a row keeps it."""
    rows = {
        component.digest: {
            "digest": component.digest,
            "num_params": component.new.num_params,
            "num_bytes": component.num_bytes,
            "task": task,
            "source_digest": component.new.source_digest,
            "momentum_digest": component.momentum_digest,
            "created_by": created_by,
            "created_at": now(),
        }
        for component in stored
    }
    known = _known(session, rows)
    new = [row for digest, row in rows.items() if digest not in known]
    if new:
        session.execute(insert(ComponentRow), new)
    # Their files are back, whatever was collected before.
    for digest in known:
        its = {"collected_at": None, "momentum_digest": rows[digest]["momentum_digest"]}
        gone = (ComponentRow.digest == digest) & ComponentRow.collected_at.is_not(None)
        session.execute(update(ComponentRow).where(gone).values(**its))


def require_components(session: Session, digests: Collection[Digest], user: str) -> None:
    """Check that components have rows, and were not collected.

    Raises:
        UnknownComponentError: One has none, or was.
    """
    unknown = sorted(set(digests) - _known(session, digests))
    if unknown:
        raise UnknownComponentError(
            f"path {user!r} uses component {unknown[0]}, which no recorded path of this system has; "
            "propose children from this system's own paths"
        )
    gone = select(ComponentRow.digest).where(
        ComponentRow.digest.in_(list(digests)), ComponentRow.collected_at.is_not(None)
    )
    collected = session.scalars(gone.limit(1)).first()
    if collected is not None:
        raise UnknownComponentError(
            f"path {user!r} uses component {collected}, which was collected because nothing used it any more; "
            "propose children from live paths"
        )


def influence_of(session: Session, task: str, proposal: Proposal) -> frozenset[str]:
    """Return the tasks whose data shape a child: its own, and those of whatever it is built from.

    That is its parent, and every path that trained a component that it shares or was cloned from. What equals a
    component of the root needs nobody's data.

    Args:
        session: In a transaction.
        task: The child's task.
        proposal: What the child is.
    """
    digests = [plan.digest for plan in proposal.slots if plan.digest is not None]
    of_root = select(OriginRow.digest).where(OriginRow.path_id == ROOT_ID)
    makers = select(OriginRow.path_id).where(OriginRow.digest.in_(digests), OriginRow.digest.not_in(of_root))
    rows = session.scalars(select(PathRow.influence).where(PathRow.id.in_(makers) | (PathRow.id == proposal.parent_id)))
    return frozenset({task}.union(*rows))


def add_root(session: Session, root_id: str, stored: Sequence[StoredComponent], hparams: Mapping[str, Value]) -> None:
    """Write the root."""
    add_components(session, stored, None, root_id)
    values: dict[str, Any] = {"id": root_id, "agent": "", "state": "root", "is_kept": True, "is_private": False}
    values |= {"hparams": dict(hparams), "mutations": [], "rates": {}, "metrics": None, "proposal": None}
    values |= {"influence": [], "version": mu2net_version(), "created_at": now()}
    session.execute(insert(PathRow).values(**values))
    _add_slots(session, root_id, [(component.new.slot, component.digest) for component in stored])
    _add_origins(session, root_id, stored)
    add_event(session, "root_added", None, {})


def add_child(session: Session, cycle: CycleRecord, child: TrainedRecord, stored: Sequence[StoredComponent]) -> None:
    """Write a trained child; one that is there already, with equal components, changes nothing.

    Raises:
        StoreError: The cycle has ended, or a path of this id has other components.
        UnknownNameError: Its parent is not recorded.
        UnknownComponentError: A component that it shares or was cloned from is not recorded.
        PrivacyError: Data of a task that may not shape this one shaped what it is built from.
    """
    row = running(session, cycle)
    identity = path_id(cycle.task, cycle.number, child.generation, child.child)
    chain = _chain(child.proposal, stored)
    if session.get(PathRow, identity) is not None:
        require_equal(session, identity, [digest for _, digest in chain])
        return
    _check_parent(session, child.proposal, identity, cycle.task)
    sources = [component.new.source_digest for component in stored]
    shared = [plan.digest for plan in child.proposal.slots]
    require_components(session, {digest for digest in (*sources, *shared) if digest is not None}, identity)
    influence = influence_of(session, cycle.task, child.proposal)
    check_compartment(session, identity, cycle.task, influence)
    check_removals(session, identity, influence)
    add_components(session, stored, cycle.task, identity)
    values = _child_values(session, cycle, child) | {"influence": sorted(influence)}
    session.execute(insert(PathRow).values(id=identity, **values))
    _add_slots(session, identity, chain)
    _add_origins(session, identity, stored)
    row.spent_seconds += child.spent_seconds


def publish(
    session: Session, cycle: CycleRecord, identity: str, metrics: Metrics, probe: Digest, environment: Mapping[str, Any]
) -> None:
    """Make a path the live path of its task, retire the one before, and end the cycle.

    Raises:
        StoreError: The cycle has ended.
        UnknownNameError: There is no such path.
        ConfigError: The path is neither a child of the cycle nor the live path of its task.
    """
    require_running(session, cycle)
    connection = session.connection()
    row = connection.execute(_PATH_STATE, {"path": identity}).first()
    if row is None:
        ids = session.scalars(select(PathRow.id).where(PathRow.task == cycle.task))
        raise UnknownNameError("path", identity, ids)
    is_candidate = row.state == "live" or (row.state == "child" and row.cycle == cycle.number)
    if row.task != cycle.task or not is_candidate:
        raise ConfigError(
            f"path {identity!r} ({row.state}, of task {row.task!r}) cannot be published by cycle {cycle.number} "
            f"of task {cycle.task!r}; expected a child of that cycle, or the task's live path"
        )
    retired = connection.execute(_LIVE_BESIDE, {"task": cycle.task, "path": identity}).scalars().all()
    publication = row.publication if row.state == "live" else connection.execute(_NEXT_PUBLICATION).scalar_one()
    # In this order: at no moment may two paths of a task be live.
    for old in retired:
        connection.execute(_RETIRE, {"path": old, "retired_at": now()})
    live = {"path": identity, "publication": publication, "metrics": metrics_to_json(metrics)}
    connection.execute(_MAKE_LIVE, live)
    connection.execute(_FORGET_PROBE, {"path": identity})
    connection.execute(_NOTE_PROBE, {"path_id": identity, "digest": probe, "environment": dict(environment)})
    end_cycle(session, cycle, "published")
    payload = {"path": identity, "cycle": cycle.number, "retired": list(retired)}
    add_event(session, "path_published", cycle.task, payload)


def end_cycle(session: Session, cycle: CycleRecord, state: CycleState) -> None:
    """Write down that a cycle has ended."""
    session.connection().execute(_END_CYCLE, {"cycle": cycle.id, "state": state, "ended_at": now()})


def add_task(session: Session, values: Mapping[str, Any]) -> None:
    """Write a task; one of the same data that is only known from an import becomes one of this system.

    Raises:
        ConfigError: Its name is taken.
        UnknownNameError: A task that it allows or denies does not exist.
    """
    name = values["name"]
    row = session.get(TaskRow, name)
    is_known = row is not None and is_only_known(row)
    check_removals(session, name, [name])
    if is_known and values["is_private"]:
        require_unused(session, name)
    if row is not None and is_known and (row.fingerprint, row.classes) != (values["fingerprint"], values["classes"]):
        raise ConfigError(
            f"task {name!r} is known here from what was imported, with other data (fingerprint "
            f"{row.fingerprint[:12]}, now {values['fingerprint'][:12]}); choose another name"
        )
    if row is not None and not is_known:
        was_removed = "" if row.removed_at is None else f" (it was removed on {row.removed_at:%Y-%m-%d})"
        raise ConfigError(f"task {name!r} exists already{was_removed}; choose another name")
    known = set(session.scalars(select(TaskRow.name)))
    for other in (*(values.get("allow_from") or ()), *values.get("deny_from", ())):
        if other not in known:
            raise UnknownNameError("task", other, known)
    if is_known:
        values = {**values, "imported": None, "removed_at": None, "created_at": now()}
        session.execute(update(TaskRow).where(TaskRow.name == name).values(**values))
    else:
        number = next_number(session, TaskRow.number)
        session.execute(insert(TaskRow).values(number=number, created_at=now(), **values))
    add_event(session, "task_added", name, {"is_private": values["is_private"]})


def require_equal(session: Session, identity: str, digests: Sequence[str]) -> None:
    """Check that a recorded path has these components.

    Raises:
        StoreError: It has others.
    """
    query = select(PathSlotRow.digest).where(PathSlotRow.path_id == identity).order_by(PathSlotRow.position)
    recorded = session.scalars(query).all()
    if recorded != list(digests):
        raise StoreError(
            f"path {identity!r} is recorded already, with other components; a recorded child is never changed: "
            "continue behind it"
        )


def check_removals(session: Session, identity: str, influence: Collection[str]) -> None:
    """Check that nothing descends any more from a task that was removed with its influence.

    Raises:
        PrivacyError: It does.
    """
    query = select(RemovalRow).where(RemovalRow.task.in_(list(influence)), RemovalRow.state != "undone")
    gone = sorted({row.task for row in session.scalars(query) if row.payload["with_influence"]})
    if gone:
        raise PrivacyError(
            f"path {identity!r} would be shaped by data of {gone[0]!r}, which was removed with all its influence; "
            "nothing was recorded. Start the cycle anew, with --restart"
        )


def require_unused(session: Session, task: str) -> None:
    """Check that the data of a task that becomes private shape nothing of other tasks.

    Raises:
        PrivacyError: They do.
    """
    started = [identity for cycle in session.scalars(_RUNNING) for identity in cycle.config.get("live", ())]
    at_work = PathRow.id.in_(started) | (PathRow.state == "live")
    for row in session.scalars(select(PathRow).where(at_work, PathRow.task != task)):
        if task in row.influence:
            raise PrivacyError(
                f"task {task!r} cannot be private here: its data shaped path {row.id!r}; remove those first: "
                f"mu2net remove {task} --with-influence"
            )


def check_compartment(session: Session, identity: str, task: str, influence: Collection[str]) -> None:
    """Check that a task's path was shaped by no data that it may not use.

    Raises:
        PrivacyError: It was.
    """
    rules = compartments(session)
    others = barred(task, influence, rules)
    if others:
        named = ", ".join(repr(other) for other in others)
        why = "private" if any(rules[other].is_private for other in others if other in rules) else "not allowed"
        raise PrivacyError(
            f"path {identity!r} would be shaped by data of {named}, which task {task!r} may not use ({why}); "
            "nothing was recorded. Build on the root, or on paths that `mu2net provenance` shows free of it"
        )


def _known(session: Session, digests: Iterable[str]) -> set[Digest]:
    query = select(ComponentRow.digest).where(ComponentRow.digest.in_(list(digests)))
    return {Digest(digest) for digest in session.scalars(query)}


def _chain(proposal: Proposal, stored: Sequence[StoredComponent]) -> list[tuple[Slot, Digest]]:
    trained = {component.new.slot: component.digest for component in stored}
    return [
        (plan.slot, trained[plan.slot] if plan.is_trainable or plan.digest is None else plan.digest)
        for plan in proposal.slots
    ]


def _check_parent(session: Session, proposal: Proposal, identity: str, task: str) -> None:
    parent = session.get(PathRow, proposal.parent_id)
    if parent is None:
        raise UnknownNameError("path", proposal.parent_id, session.scalars(select(PathRow.id)))
    if parent.is_private and parent.task != task:
        raise PrivacyError(
            f"path {identity!r} has the parent {parent.id!r} of the private task {parent.task!r}; "
            "a private path may only seed its own task"
        )


def _child_values(session: Session, cycle: CycleRecord, child: TrainedRecord) -> dict[str, Any]:
    proposal = child.proposal
    return {
        "task": cycle.task,
        "cycle": cycle.number,
        "generation": child.generation,
        "child": child.child,
        "parent_id": proposal.parent_id,
        "agent": cycle.agent,
        "state": "child",
        "is_kept": child.is_kept,
        "is_private": task_row(session, cycle.task).is_private,
        "proposal": proposal_to_json(proposal),
        "hparams": dict(proposal.hparams),
        "mutations": mutations_to_json(proposal.mutations),
        "rates": dict(proposal.rates),
        "metrics": metrics_to_json(child.metrics),
        "version": mu2net_version(),
        "created_at": now(),
    }


def _add_origins(session: Session, identity: str, stored: Sequence[StoredComponent]) -> None:
    rows = {
        component.digest: {
            "digest": component.digest,
            "path_id": identity,
            "source_digest": component.new.source_digest,
        }
        for component in stored
    }
    session.execute(insert(OriginRow), list(rows.values()))


def _add_slots(session: Session, identity: str, chain: Sequence[tuple[Slot, Digest]]) -> None:
    session.execute(
        insert(PathSlotRow),
        [
            {"path_id": identity, "position": position, "slot": slot.name, "kind": slot.kind, "digest": digest}
            for position, (slot, digest) in enumerate(chain)
        ],
    )
