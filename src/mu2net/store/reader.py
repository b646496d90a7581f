"""Reading a system: what its registry says, and the tensors of its components."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path as FilePath
from typing import Any

import torch
from sqlalchemy import func, select

from mu2net.core.compartment import Compartment
from mu2net.core.component import Digest
from mu2net.core.path import ROOT_ID, Path
from mu2net.errors import UnknownComponentError, UnknownNameError
from mu2net.store import queries
from mu2net.store.components import ComponentFiles
from mu2net.store.config import SystemConfig
from mu2net.store.engine import Registry
from mu2net.store.files import Files
from mu2net.store.lease import Leases
from mu2net.store.records import ChildRecord, ComponentRecord, CycleRecord, EventRecord, TaskRecord
from mu2net.store.schema import ComponentRow, CycleRow, EventRow, FactRow, PathRow, ProbeRow, TaskRow

COMPONENTS_NAME = "components"

CONFIG_FACT = "config"
"""Name of the fact that says what ``mu2net.toml`` hashes to."""


class StoreReader:
    """The reading half of ``Store``, whose docstring states the concurrency contract.

    Args:
        directory: The folder of the system.
        config: What its ``mu2net.toml`` says.
        registry: Its registry.
        files: The seam to the file system.
    """

    def __init__(self, directory: FilePath, config: SystemConfig, registry: Registry, files: Files) -> None:
        self.directory = directory
        self.config = config
        self.components = ComponentFiles(directory / COMPONENTS_NAME, files)
        self.leases = Leases(registry, files)
        self._registry = registry
        self._files = files

    @property
    def registry(self) -> Registry:
        """The registry, for the modules of this package that read and write it on their own."""
        return self._registry

    @property
    def files(self) -> Files:
        """The seam to the file system."""
        return self._files

    def tasks(self) -> list[TaskRecord]:
        """Return all tasks that were not removed, in the order in which they were added."""
        query = select(TaskRow).where(TaskRow.removed_at.is_(None)).order_by(TaskRow.number)
        with self._registry.reading() as session:
            return [queries.task_record(row) for row in session.scalars(query)]

    def compartments(self) -> dict[str, Compartment]:
        """Return the compartments of all tasks by name, removed ones included."""
        with self._registry.reading() as session:
            return queries.compartments(session)

    def task(self, name: str) -> TaskRecord:
        """Return a task.

        Raises:
            UnknownNameError: There is no such task; names the closest match.
        """
        with self._registry.reading() as session:
            return queries.task_record(queries.task_row(session, name))

    def root(self) -> Path:
        """Return the root.

        Raises:
            UnknownNameError: ``put_root`` was not called yet.
        """
        return self.path(ROOT_ID)

    def path(self, identity: str) -> Path:
        """Return a recorded path.

        Args:
            identity: Its id.

        Raises:
            UnknownNameError: There is no such path; names the closest match.
        """
        return self.child(identity).path

    def child(self, identity: str) -> ChildRecord:
        """Return a recorded path with its proposal and state.

        Args:
            identity: Its id.

        Raises:
            UnknownNameError: There is no such path; names the closest match.
        """
        with self._registry.reading() as session:
            found = queries.children(session, PathRow.id == identity)
            if not found:
                raise UnknownNameError("path", identity, session.scalars(select(PathRow.id)))
            return found[0]

    def live_paths(self) -> list[Path]:
        """Return the live path of every task that has one, in the order of publication, oldest first; not the root."""
        with self._registry.reading() as session:
            found = queries.children(session, PathRow.state == "live", order=queries.IN_PUBLISHED_ORDER)
        return [child.path for child in found]

    def live_path(self, task: str) -> Path | None:
        """Return the live path of a task, ``None`` before its first cycle has published.

        Raises:
            UnknownNameError: There is no such task.
        """
        with self._registry.reading() as session:
            queries.task_row(session, task)
            found = queries.children(session, PathRow.state == "live", PathRow.task == task)
        return found[0].path if found else None

    def children(self, task: str, cycle: int | None = None) -> list[ChildRecord]:
        """Return every recorded child of a task with its proposal and state, in the order of sampling.

        Args:
            task: Name of the task.
            cycle: Number of a cycle; all cycles by default.

        Raises:
            UnknownNameError: There is no such task.
        """
        conditions = [PathRow.task == task] + ([] if cycle is None else [PathRow.cycle == cycle])
        with self._registry.reading() as session:
            queries.task_row(session, task)
            return queries.children(session, *conditions)

    def history(self, task: str, cycle: int | None = None) -> list[Path]:
        """Return every recorded child of a task with its mutations, in the order of sampling.

        Args:
            task: Name of the task.
            cycle: Number of a cycle; all cycles by default.

        Raises:
            UnknownNameError: There is no such task.
        """
        return [child.path for child in self.children(task, cycle)]

    def ancestors(self) -> dict[str, Path]:
        """Return all recorded paths by id, the root included."""
        with self._registry.reading() as session:
            return {child.path.id: child.path for child in queries.children(session)}

    def running_cycle(self, task: str) -> CycleRecord | None:
        """Return the cycle of a task that has not ended, ``None`` where there is none.

        Raises:
            UnknownNameError: There is no such task.
        """
        with self._registry.reading() as session:
            queries.task_row(session, task)
            row = queries.running_cycle_row(session, task)
            return None if row is None else queries.cycle_record(row)

    def cycles(self, task: str) -> list[CycleRecord]:
        """Return all cycles of a task, oldest first.

        Raises:
            UnknownNameError: There is no such task.
        """
        with self._registry.reading() as session:
            queries.task_row(session, task)
            query = select(CycleRow).where(CycleRow.task == task).order_by(CycleRow.number)
            return [queries.cycle_record(row) for row in session.scalars(query)]

    def load(self, digest: Digest) -> dict[str, torch.Tensor]:
        """Return the tensors of a component, checked against its digest, owned by the caller.

        Raises:
            ComponentError: The file is missing, truncated or altered.
            UnknownComponentError: No recorded path has this component.
        """
        self.component(digest)
        return self.components.load(digest)

    def momentum(self, digest: Digest) -> dict[str, torch.Tensor] | None:
        """Return the momentum that a component was trained with, ``None`` where it has none.

        Raises:
            ComponentError: The momentum's file is missing, truncated or altered.
            UnknownComponentError: No recorded path has this component.
        """
        momentum = self.component(digest).momentum_digest
        return None if momentum is None else self.components.load(momentum)

    def probe(self, identity: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Return the probe of a published path: its tensors, and the environment of its logits.

        Raises:
            UnknownNameError: There is no such path, or it was never published.
            ComponentError: The probe's file is missing, truncated or altered.
        """
        digest, environment = self.probe_record(identity)
        return self.components.load(digest), environment

    def probe_record(self, identity: str) -> tuple[Digest, dict[str, Any]]:
        """Return the digest of a published path's probe, and the environment of its logits.

        Raises:
            UnknownNameError: There is no such path, or it was never published.
        """
        with self._registry.reading() as session:
            row = session.get(ProbeRow, identity)
            if row is None:
                raise UnknownNameError("published path", identity, session.scalars(select(ProbeRow.path_id)))
            return Digest(row.digest), row.environment

    def component(self, digest: Digest) -> ComponentRecord:
        """Return what the registry knows about a component.

        Raises:
            UnknownComponentError: No recorded path has this component.
        """
        found = self.component_records([digest])
        if digest not in found:
            raise UnknownComponentError(
                f"component {digest} belongs to no recorded path of system {self.directory}; "
                "take digests from this system's own paths"
            )
        return found[digest]

    def component_records(self, digests: Iterable[Digest]) -> dict[Digest, ComponentRecord]:
        """Return what the registry knows about components; a digest without a row is left out."""
        with self._registry.reading() as session:
            rows = session.scalars(select(ComponentRow).where(ComponentRow.digest.in_(list(digests))))
            return {Digest(row.digest): queries.component_record(row) for row in rows}

    def config_digest(self) -> str | None:
        """Return what ``mu2net.toml`` hashed to when the system was made; ``None`` where nobody wrote it down yet."""
        with self._registry.reading() as session:
            row = session.get(FactRow, CONFIG_FACT)
            return None if row is None else row.value

    def version(self) -> int:
        """Return a number that grows with everything that happens to tasks and live paths; cheap to ask for."""
        with self._registry.reading() as session:
            return session.scalar(select(func.max(EventRow.id))) or 0

    def moment(self) -> tuple[int, list[TaskRecord], list[Path]]:
        """Return the version, the tasks that were not removed, and the live paths, all at one moment."""
        query = select(TaskRow).where(TaskRow.removed_at.is_(None)).order_by(TaskRow.number)
        with self._registry.reading() as session:
            version = session.scalar(select(func.max(EventRow.id))) or 0
            tasks = [queries.task_record(row) for row in session.scalars(query)]
            live = queries.children(session, PathRow.state == "live", order=queries.IN_PUBLISHED_ORDER)
            return version, tasks, [child.path for child in live]

    def events(self) -> list[EventRecord]:
        """Return everything that happened to the system, oldest first."""
        with self._registry.reading() as session:
            return [queries.event_record(row) for row in session.scalars(select(EventRow).order_by(EventRow.id))]
