"""What belongs to a task's live path: its rows, and those of everything that its provenance names."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import TopologicalSorter
from typing import Any

from sqlalchemy import ColumnElement, Table, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from mu2net.core.component import Digest
from mu2net.core.path import ROOT_ID
from mu2net.data.source import check_task_name
from mu2net.errors import ConfigError
from mu2net.store import queries
from mu2net.store.codec import metrics_from_json, mutations_from_json, proposal_from_json
from mu2net.store.reach import CHUNK, files_of
from mu2net.store.schema import Base, ComponentRow, CycleRow, OriginRow, PathRow, PathSlotRow, ProbeRow, TaskRow

Row = dict[str, Any]
"""A row of a table by the names of its columns."""


@dataclass(frozen=True)
class Bundle:
    """A task's live path with its provenance, as rows; nothing in it belongs to the root.

    Args:
        task: The task.
        path: Id of its live path.
        tasks: The task, those whose data shaped its path, and those that its compartment names.
        cycles: The cycles of the paths.
        paths: The live path, and every path that it, or a component of it, descends from; parents first.
        slots: The slots of the paths.
        components: The components in the slots, and what they were cloned from; sources first.
        origins: Which of the paths trained which of the components.
        probe: The probe of the live path.
        files: The files of the live path: components, their momentum, and the probe.
    """

    task: str
    path: str
    tasks: Sequence[Row]
    cycles: Sequence[Row]
    paths: Sequence[Row]
    slots: Sequence[Row]
    components: Sequence[Row]
    origins: Sequence[Row]
    probe: Row
    files: frozenset[Digest]

    def without(self, names: Collection[str]) -> Bundle:
        """Return the bundle without tasks that only its compartment names: nobody learns that there are such.

        Args:
            names: The tasks; one whose data shaped a path stays.
        """
        shaping = {self.task}.union(*(row["influence"] for row in self.paths), (row["task"] for row in self.paths))
        left_out = set(names) - shaping

        def allowed(row: Row) -> Row:
            rules = {name: row[name] for name in ("allow_from", "deny_from") if row[name] is not None}
            return {**row, **{name: [one for one in rule if one not in left_out] for name, rule in rules.items()}}

        return replace(self, tasks=[allowed(row) for row in self.tasks if row["name"] not in left_out])


def read_bundle(session: Session, task: str) -> Bundle:
    """Return what belongs to a task's live path.

    Args:
        session: In a transaction.
        task: The task.

    Raises:
        UnknownNameError: There is no such task.
        ConfigError: It was never evolved, or was removed.
    """
    queries.task_row(session, task)
    live = session.scalars(select(PathRow.id).where(PathRow.task == task, PathRow.state == "live")).first()
    if live is None:
        raise ConfigError(f"task {task!r} was never evolved, so there is nothing to move; run: mu2net evolve {task}")
    root = _of_root(session)
    ids, digests = _closure(session, live, root)
    paths = _rows(session, PathRow, PathRow.id, ids)
    components = _rows(session, ComponentRow, ComponentRow.digest, digests)
    origins = [row for row in _rows(session, OriginRow, OriginRow.digest, digests) if row["path_id"] in ids]
    (own,) = _rows(session, TaskRow, TaskRow.name, {task})
    named = {task, *own["deny_from"], *(own["allow_from"] or ())}
    named.update(*(row["influence"] for row in paths), (row["task"] for row in paths))
    (probe,) = _rows(session, ProbeRow, ProbeRow.path_id, {live})
    bundle = Bundle(
        task=task,
        path=live,
        tasks=_rows(session, TaskRow, TaskRow.name, named),
        cycles=_cycles(session, paths),
        paths=_sorted(paths, "id", "parent_id"),
        slots=_rows(session, PathSlotRow, PathSlotRow.path_id, ids),
        components=_sorted(components, "digest", "source_digest"),
        origins=origins,
        probe=probe,
        files=frozenset(files_of(session, [live]) - root),
    )
    _require_sound(bundle)
    return bundle


def _require_sound(bundle: Bundle) -> None:
    """Check that rows are such as mu2net writes, and name nothing that is not among them.

    Raises:
        ValueError: They are not; so are the other errors of values that do not mean anything.
    """
    tasks = {row["name"] for row in bundle.tasks}
    cycles = {(row["task"], row["number"]) for row in bundle.cycles}
    paths = {row["id"]: row for row in bundle.paths}
    makers: dict[str, set[str]] = defaultdict(set)
    for row in bundle.origins:
        makers[row["digest"]].add(row["path_id"])
    for row in bundle.tasks:
        check_task_name(row["name"])
        _require(all(isinstance(name, str) for name in row["classes"]) and len(row["classes"]) > 0, row["name"])
        _require(isinstance(row["source"], dict) and isinstance(row["counts"], dict), row["name"])
        _require(all(type(count) is int and count >= 0 for count in row["counts"].values()), row["name"])
    (own,) = (row for row in bundle.tasks if row["name"] == bundle.task)
    _require({*own["deny_from"], *(own["allow_from"] or ())} <= tasks, bundle.task)
    for row in bundle.cycles:
        _require(isinstance(row["config"], dict), f"{row['task']}/{row['number']}")
    for identity, row in paths.items():
        _require_sound_path(row, cycles, {*paths, ROOT_ID})
        # Who made an equal component later did not shape this one.
        built_on = {plan["digest"] for plan in row["proposal"]["slots"]} - {None}
        shaped_by = {maker for digest in built_on for maker in makers[digest] & set(paths)} | {row["parent_id"]}
        earlier = (paths[one] for one in shaped_by - {ROOT_ID} if paths[one]["created_at"] < row["created_at"])
        influence = {row["task"]}.union(*(one["influence"] for one in earlier))
        _require(influence <= set(row["influence"]) <= tasks, identity)


def _require_sound_path(row: Row, cycles: Collection[tuple[str, int]], known: Collection[str]) -> None:
    identity = row["id"]
    _require((row["task"], row["cycle"]) in cycles and row["parent_id"] in known, identity)
    proposal, metrics = proposal_from_json(row["proposal"]), metrics_from_json(row["metrics"])
    _require(proposal.parent_id in known, identity)
    shares = [metrics.quality, *metrics.validations, *(() if metrics.test is None else (metrics.test,))]
    _require(all(isinstance(share, int | float) and 0.0 <= share <= 1.0 for share in shares), identity)
    _require(type(metrics.flops) is int and math.isfinite(metrics.seconds), identity)
    mutations_from_json(row["mutations"])
    _require(isinstance(row["hparams"], dict) and isinstance(row["rates"], dict), identity)


def _require(is_sound: bool, what: str) -> None:
    if not is_sound:
        raise ValueError(f"the row of {what!r} holds or names what it cannot")


def _of_root(session: Session) -> frozenset[Digest]:
    query = select(PathSlotRow.digest).where(PathSlotRow.path_id == ROOT_ID)
    return frozenset(map(Digest, session.scalars(query)))


def _closure(session: Session, path: str, root: Collection[str]) -> tuple[set[str], set[str]]:
    """Return the ids of all paths, and all components, that a path descends from, itself included, the root not."""
    paths: set[str] = set()
    digests: set[str] = set()
    new_paths, new_digests = {path}, set[str]()
    while new_paths or new_digests:
        paths |= new_paths
        digests |= new_digests
        parents = _values(session, PathRow.parent_id, PathRow.id, new_paths)
        makers = _values(session, OriginRow.path_id, OriginRow.digest, new_digests)
        members = _values(session, PathSlotRow.digest, PathSlotRow.path_id, new_paths)
        sources = _values(session, ComponentRow.source_digest, ComponentRow.digest, new_digests)
        sources |= _values(session, OriginRow.source_digest, OriginRow.digest, new_digests)
        new_paths = (parents | makers) - paths - {ROOT_ID}
        new_digests = (members | sources) - digests - set(root)
    return paths, digests


def _cycles(session: Session, paths: Sequence[Row]) -> list[Row]:
    wanted = {(row["task"], row["cycle"]) for row in paths}
    rows = _rows(session, CycleRow, CycleRow.task, {task for task, _ in wanted})
    return [row for row in rows if (row["task"], row["number"]) in wanted]


def _values(
    session: Session, wanted: InstrumentedAttribute[Any], column: InstrumentedAttribute[Any], values: Collection[str]
) -> set[str]:
    """Return the values of one column, without ``None``, in the rows where another has one of some values."""
    found: set[str] = set()
    for condition in _chunks(column, values):
        found.update(session.scalars(select(wanted).where(condition)))
    return {value for value in found if value is not None}


def _rows(
    session: Session, table: type[Base], column: InstrumentedAttribute[Any], values: Collection[str]
) -> list[Row]:
    """Return the rows of a table in which a column has one of some values."""
    columns = _table(table).columns
    found: list[Row] = []
    for condition in _chunks(column, values):
        found += [dict(row) for row in session.execute(select(*columns).where(condition)).mappings()]
    return found


def _chunks(column: InstrumentedAttribute[Any], values: Collection[str]) -> Iterator[ColumnElement[bool]]:
    chosen = sorted(values)
    for start in range(0, len(chosen), CHUNK):
        yield or_(column.in_(chosen[start : start + CHUNK]))


def _table(row: type[Base]) -> Table:
    return row.metadata.tables[row.__tablename__]


def _sorted(rows: Sequence[Row], key: str, needs: str) -> list[Row]:
    """Return rows such that each one comes after the row that it names."""
    by_key: Mapping[str, Row] = {row[key]: row for row in rows}
    order = TopologicalSorter({name: {row[needs]} & set(by_key) for name, row in by_key.items()}).static_order()
    return [by_key[name] for name in order]
