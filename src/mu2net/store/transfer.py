"""Moving tasks between systems of the same root, with their provenance (docs/format.md: moving tasks).

Only parameters that the task's live path uses are copied, and of those only what is not there yet; of what they descend
from come the rows alone. Everything is written in one transaction, after the files.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from mu2net.core.component import Digest
from mu2net.core.path import ROOT_ID
from mu2net.data.source import check_task_name
from mu2net.errors import ComponentError, ConfigError, PrivacyError
from mu2net.store import queries, recording
from mu2net.store.bundle import Bundle, Row, read_bundle
from mu2net.store.files import nothing_lost, only_read
from mu2net.store.reader import StoreReader
from mu2net.store.records import NewComponent, path_id
from mu2net.store.schema import ComponentRow, CycleRow, OriginRow, PathRow, PathSlotRow, ProbeRow, TaskRow
from mu2net.store.store import Store

_UNFINISHED = ".unfinished"


@dataclass(frozen=True)
class Imported:
    """What ``import_task`` did.

    Args:
        task: Name of the task here.
        path: Id of its live path here.
        influence: Every task whose data shaped it, by its name here, sorted.
        copied: Files that were copied.
        kept: Files that were here already.
        num_bytes: Bytes that were copied.
    """

    task: str
    path: str
    influence: tuple[str, ...]
    copied: int
    kept: int
    num_bytes: int


def import_task(
    store: Store,
    other: StoreReader,
    task: str,
    *,
    renamed: Mapping[str, str] | None = None,
    is_private: bool = False,
    unnamed: Collection[str] = (),
) -> Imported:
    """Bring a task of another system of the same root here, with its live path and its provenance.

    Tasks whose data shaped the path become known here by name, fingerprint and compartment, but are no tasks of this
    system until they are imported or added themselves. The other system may evolve and collect meanwhile.

    Args:
        store: The system that gets the task.
        other: The system that has it.
        task: Its name there.
        renamed: Other names here, by the names there: for the task, or for tasks that shaped it.
        is_private: Whether it is private here even if it is public there; one that is private there stays so.
        unnamed: Tasks that must not become known here where only the task's compartment names them.

    Raises:
        UnknownNameError: There is no such task there.
        ConfigError: It was never evolved there, its name is taken here, a task of the same name has other data here,
            a name is not safe, or the two systems have different roots.
        PrivacyError: Data shaped it that may not shape it here.
        ComponentError: A file of the other system is damaged.
        StoreError: The disk is full or cannot be written; nothing was changed.
    """
    _require_same_root(store, other)
    with _held(other, task) as whole:
        bundle = whole.without(unnamed)
        names = _names(bundle, renamed or {})
        with store.registry.reading() as session:  # before anything is copied
            _require_free(session, bundle, names)
        is_there, copied, num_bytes = False, set[Digest](), 0
        while not is_there:
            new = _copy(store, other, bundle.files)
            copied.update(new)
            num_bytes += sum(new.values())
            with store.registry.writing() as session:
                is_there = _are_there(store, bundle.files)
                if is_there:
                    sizes = {digest: store.components.size(digest) for digest in bundle.files}
                    merge = _Merge(session, bundle, names, sizes, is_private=is_private)
                    path = merge.write(str(other.directory))
    found = store.path(path)
    kept = len(bundle.files) - len(copied)
    return Imported(names[task], path, tuple(sorted(found.influence)), len(copied), kept, num_bytes)


def export_system(store: StoreReader, directory: Path, tasks: Sequence[str] | None = None) -> list[Imported]:
    """Make a new system of some tasks of this one: its root, their live paths, and their provenance.

    The new folder appears when it is complete.

    Args:
        store: The system.
        directory: The folder of the new one, which must not exist.
        tasks: The tasks; by default all that were evolved and are not private. A private one must be named.

    Returns:
        What came into the new system, one by one.

    Raises:
        ConfigError: The folder exists, a task was never evolved, or there is none.
        UnknownNameError: There is no such task.
        ComponentError: A file of this system is damaged.
        StoreError: The disk is full or cannot be written; there is no new system.
    """
    directory = directory.absolute()
    with only_read(str(directory)):
        if store.files.is_file(directory) or store.files.is_folder(directory):
            raise ConfigError(f"{directory} exists already; name a new folder")
    public = {task.name for task in store.tasks() if not task.is_private}
    chosen = [path.task or "" for path in store.live_paths() if path.task in public] if tasks is None else list(tasks)
    if not chosen:
        raise ConfigError(f"system {store.directory} has no public task that was evolved; name the tasks to export")
    made = directory.with_name(f".{directory.name}-{secrets.token_hex(8)}{_UNFINISHED}")
    with nothing_lost(f"system {directory}"), _removed_on_failure(store, made):
        new = Store.create(made, store.config.model_copy(update={"registry_url": None}), store.files)
        root = store.root()
        new.put_root(
            [NewComponent(part.slot, store.load(part.digest), part.num_params) for part in root.components],
            root.hparams,
        )
        unnamed = {task.name for task in store.tasks() if task.is_private} - set(chosen)
        found = [import_task(new, store, task, unnamed=unnamed) for task in chosen]
        store.files.rename(made, directory)
        store.files.sync_folder(directory.parent)
    return found


@contextmanager
def _removed_on_failure(store: StoreReader, folder: Path) -> Iterator[None]:
    """Remove a folder that was made within the context where that fails."""
    try:
        yield
    except Exception:
        with suppress(OSError):
            if store.files.is_folder(folder):
                store.files.remove_folder(folder)
        raise


@contextmanager
def _held(other: StoreReader, task: str) -> Iterator[Bundle]:
    """Give what belongs to a task's live path, whose files the other system keeps for as long as the context lasts."""
    while True:
        with other.registry.reading() as session:
            path = read_bundle(session, task).path
        with other.leases.reading([path]):
            with other.registry.reading() as session:
                bundle = read_bundle(session, task)
            if bundle.path == path:  # else another one was published meanwhile
                yield bundle
                return


def _require_same_root(store: StoreReader, other: StoreReader) -> None:
    if store.directory == other.directory:
        raise ConfigError(f"{other.directory} is this system itself; name another one")
    here, there = store.root(), other.root()
    ours, theirs = ({**one.config.backbone, "image_size": None} for one in (store, other))
    if here.digests != there.digests or ours != theirs:
        raise ConfigError(
            f"system {other.directory} has another root ({other.config.root!r}; here it is {store.config.root!r}): "
            "its paths build on parameters that this one does not have. Evolve the task here: mu2net add, mu2net evolve"
        )


def _names(bundle: Bundle, renamed: Mapping[str, str]) -> dict[str, str]:
    """Return the names of the tasks here by their names there."""
    known = [row["name"] for row in bundle.tasks]
    for old in renamed:
        if old not in known:
            raise ConfigError(
                f"there is no task {old!r} to rename: what moves is {', '.join(map(repr, sorted(known)))}"
            )
    names = {name: check_task_name(renamed.get(name, name)) for name in known}
    if len(set(names.values())) < len(names):
        raise ConfigError(f"two tasks would have the same name: {sorted(names.values())}; rename one of them otherwise")
    return names


def _require_free(session: Session, bundle: Bundle, names: Mapping[str, str]) -> None:
    """Check that the task's name is free here, and that tasks of the same name have the same data.

    Raises:
        ConfigError: They do not.
    """
    for row in bundle.tasks:
        name = names[row["name"]]
        here = session.get(TaskRow, name)
        if here is None:
            continue
        if row["name"] == bundle.task and not queries.is_only_known(here):
            was_removed = "" if here.removed_at is None else f" (it was removed on {here.removed_at:%Y-%m-%d})"
            raise ConfigError(f"task {name!r} exists already{was_removed}; import it under another name: --as NAME")
        if (here.fingerprint, here.classes) != (row["fingerprint"], row["classes"]):
            way_out = "--as NAME" if row["name"] == bundle.task else f"--rename {row['name']}=NAME"
            raise ConfigError(
                f"task {name!r} has other data here than there (fingerprint {here.fingerprint[:12]}, there "
                f"{row['fingerprint'][:12]}); bring the one from there under another name: {way_out}"
            )


def _copy(store: Store, other: StoreReader, digests: Iterable[Digest]) -> dict[Digest, int]:
    """Copy the files that are not here, or damaged here; return the sizes of those."""
    copied = {}
    for digest in sorted(digests):
        try:
            store.components.verify(digest)
        except ComponentError:
            with only_read(f"component {digest} of {other.directory}"):
                data = other.components.read(digest)
            with nothing_lost(f"component {digest}"):
                store.components.restore(digest, data)
            copied[digest] = len(data)
    return copied


def _are_there(store: Store, digests: Iterable[Digest]) -> bool:
    """Return whether files still lie here; ``collect`` may have removed them before anything named them."""
    with only_read("what was just written"):
        return all(store.files.is_file(store.components.file(digest)) for digest in digests)


class _Merge:
    """Writing a bundle into the registry of another system, within one transaction.

    Args:
        session: The transaction.
        bundle: What to write.
        names: Names of its tasks here by those there.
        sizes: Sizes of the files that are here now, in bytes.
        is_private: Whether the task is private here even if it is public there.
    """

    def __init__(
        self,
        session: Session,
        bundle: Bundle,
        names: Mapping[str, str],
        sizes: Mapping[Digest, int],
        *,
        is_private: bool,
    ) -> None:
        self._session, self._bundle, self._names, self._sizes = session, bundle, names, sizes
        self._at: datetime = recording.now()
        self._is_private = is_private
        self._cycles: dict[tuple[str, int], int] = {}
        self._ids: dict[str, str] = {ROOT_ID: ROOT_ID}

    def write(self, system: str) -> str:
        """Write everything; return the id of the live path here.

        Args:
            system: What the other system is called.

        Raises:
            ConfigError: A name is taken here.
            PrivacyError: Data shaped the path that may not shape it here.
            StoreError: A path of the same id has other components here.
        """
        _require_free(self._session, self._bundle, self._names)
        for row in self._bundle.tasks:
            self._write_task(row, system)
        for row in self._bundle.cycles:
            self._write_cycle(row)
        for row in self._bundle.paths:
            number = self._cycles[row["task"], row["cycle"]]
            self._ids[row["id"]] = path_id(self._names[row["task"]], number, row["generation"], row["child"])
        for row in self._bundle.components:
            self._write_component(row)
        for row in self._bundle.paths:
            self._write_path(row)
        for row in self._bundle.origins:
            self._write_origin(row)
        return self._publish(system)

    def _check_namesakes(self, identity: str, task: str) -> None:
        """Check that no data shaped the path that may not, and that this system knows by another name.

        Raises:
            PrivacyError: They did.
        """
        (row,) = (row for row in self._bundle.paths if row["id"] == self._bundle.path)
        data = {
            (one["fingerprint"], tuple(one["classes"])): one["name"]
            for one in self._bundle.tasks
            if one["name"] in row["influence"] and one["name"] != self._bundle.task
        }
        named = set(self._names.values())
        for here in self._session.scalars(select(TaskRow)).all():
            there = data.get((here.fingerprint, tuple(here.classes)))
            if there is None or here.name in named:
                continue
            try:
                recording.check_compartment(self._session, identity, task, [here.name])
                recording.check_removals(self._session, identity, [here.name])
            except PrivacyError as error:
                raise PrivacyError(
                    f"{error}. Task {there!r} of the other system has the same data as {here.name!r} here"
                ) from error

    def _write_task(self, row: Row, system: str) -> None:
        name, is_own = self._names[row["name"]], row["name"] == self._bundle.task
        imported = {"system": system, "name": row["name"], "at": self._at.isoformat(), "is_only_known": not is_own}
        here = self._session.get(TaskRow, name)
        source = {**row["source"], **({"name": name} if "name" in row["source"] else {})}
        is_private = row["is_private"] or (here is not None and here.is_private)
        if is_own:
            is_private = is_private or self._is_private
            if is_private:
                recording.require_unused(self._session, name)
            values: Row = {
                "is_private": is_private,
                "source": source,
                "allow_from": None if row["allow_from"] is None else self._renamed(row["allow_from"]),
                "deny_from": self._renamed(row["deny_from"]),
                "removed_at": None,
            }
        else:
            # Where its images are, and how many, is nobody's business who does not get the task.
            values = {"allow_from": None, "deny_from": [], "removed_at": self._at, "source": {}, "counts": {}}
        if here is None:
            number = recording.next_number(self._session, TaskRow.number)
            values = {**row, **values, "name": name, "number": number, "imported": imported}
            self._session.execute(insert(TaskRow).values(**values))
        elif is_own:
            values |= {"counts": row["counts"], "imported": imported}
            self._session.execute(update(TaskRow).where(TaskRow.name == name).values(**values))

    def _renamed(self, tasks: Iterable[str]) -> list[str]:
        return sorted(self._names[task] for task in tasks)

    def _write_cycle(self, row: Row) -> None:
        task = self._names[row["task"]]
        number = self._same_cycle(task, row)
        if number is None:
            number = recording.next_number(self._session, CycleRow.number, CycleRow.task == task)
            is_over = row["state"] != "running"
            values = {**row, "task": task, "number": number, "state": row["state"] if is_over else "abandoned"}
            values |= {"ended_at": row["ended_at"] or self._at, "config": {**row["config"], "live": []}}
            del values["id"]
            self._session.execute(insert(CycleRow).values(**values))
        self._cycles[row["task"], row["number"]] = number

    def _same_cycle(self, task: str, row: Row) -> int | None:
        """Return the number of a cycle here that is the same one; ``None`` where there is none, or it has diverged."""
        same = (
            select(CycleRow.number)
            .where(CycleRow.task == task, CycleRow.started_at == row["started_at"], CycleRow.state != "running")
            .where(CycleRow.seed == row["seed"], CycleRow.agent == row["agent"])
        )
        for number in self._session.scalars(same).all():
            if not any(self._differs(path, task, number) for path in self._bundle.paths if _is_of(path, row)):
                return int(number)
        return None

    def _differs(self, path: Row, task: str, number: int) -> bool:
        """Return whether a path that would have the same id here has other components."""
        identity = path_id(task, number, path["generation"], path["child"])
        query = select(PathSlotRow.digest).where(PathSlotRow.path_id == identity).order_by(PathSlotRow.position)
        here = list(self._session.scalars(query))
        return bool(here) and here != [slot["digest"] for slot in self._slots(path["id"])]

    def _slots(self, identity: str) -> list[Row]:
        found = (slot for slot in self._bundle.slots if slot["path_id"] == identity)
        return sorted(found, key=lambda slot: int(slot["position"]))

    def _write_component(self, row: Row) -> None:
        is_needed = row["digest"] in self._bundle.files
        here = self._session.get(ComponentRow, row["digest"])
        if here is None:
            task = None if row["task"] is None else self._names[row["task"]]
            values = {**row, "task": task, "created_by": self._ids.get(row["created_by"], row["created_by"])}
            values["collected_at"] = None if is_needed else self._at
            values["num_bytes"] = self._sizes.get(row["digest"], row["num_bytes"])
            self._session.execute(insert(ComponentRow).values(**values))
        elif is_needed and here.collected_at is not None:
            values = {"collected_at": None, "momentum_digest": row["momentum_digest"]}
            self._session.execute(update(ComponentRow).where(ComponentRow.digest == row["digest"]).values(**values))

    def _write_path(self, row: Row) -> None:
        identity = self._ids[row["id"]]
        slots = self._slots(row["id"])
        if self._session.get(PathRow, identity) is not None:
            recording.require_equal(self._session, identity, [slot["digest"] for slot in slots])
            return
        values = {
            **row,
            "id": identity,
            "task": self._names[row["task"]],
            "cycle": self._cycles[row["task"], row["cycle"]],
            "parent_id": self._ids[row["parent_id"]],
            "state": "child" if row["state"] == "child" else "retired",
            "is_private": row["is_private"] or (row["task"] == self._bundle.task and self._is_private),
            "publication": None,
            "proposal": {**row["proposal"], "parent_id": self._ids[row["proposal"]["parent_id"]]},
            "influence": self._renamed(row["influence"]),
            "retired_at": None,
        }
        self._session.execute(insert(PathRow).values(**values))
        self._session.execute(insert(PathSlotRow), [{**slot, "path_id": identity} for slot in slots])

    def _write_origin(self, row: Row) -> None:
        identity = self._ids[row["path_id"]]
        if self._session.get(OriginRow, (row["digest"], identity)) is None:
            self._session.execute(insert(OriginRow).values(**{**row, "path_id": identity}))

    def _publish(self, system: str) -> str:
        """Make the path live, unless its task may not use the data that shaped it."""
        identity, task = self._ids[self._bundle.path], self._names[self._bundle.task]
        (row,) = (row for row in self._bundle.paths if row["id"] == self._bundle.path)
        influence = self._renamed(row["influence"])
        recording.check_compartment(self._session, identity, task, influence)
        recording.check_removals(self._session, identity, influence)
        self._check_namesakes(identity, task)
        is_private = self._session.get_one(TaskRow, task).is_private
        own = (PathRow.task == task) & PathRow.is_private.is_not(is_private)
        self._session.execute(update(PathRow).where(own).values(is_private=is_private))
        number = recording.next_number(self._session, PathRow.publication)
        values: dict[str, Any] = {"state": "live", "publication": number, "retired_at": None}
        values |= {"metrics": row["metrics"]}
        self._session.execute(update(PathRow).where(PathRow.id == identity).values(**values))
        self._session.execute(delete(ProbeRow).where(ProbeRow.path_id == identity))
        probe = {**self._bundle.probe, "path_id": identity, "collected_at": None}
        self._session.execute(insert(ProbeRow).values(**probe))
        payload = {"system": system, "task": self._bundle.task, "path": identity, "influence": influence}
        recording.add_event(self._session, "task_imported", task, payload)
        return identity


def _is_of(path: Row, cycle: Row) -> bool:
    return (path["task"], path["cycle"]) == (cycle["task"], cycle["number"])
