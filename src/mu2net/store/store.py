"""The store: the components of a system on disk, and the registry that says what they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from hashlib import sha256
from pathlib import Path as FilePath
from typing import Any

import torch

from mu2net.core.component import Digest
from mu2net.core.path import ROOT_ID, Metrics, Path, Value
from mu2net.errors import ConfigError, StoreError
from mu2net.store import queries, recording
from mu2net.store.config import CONFIG_NAME, MAX_CONFIG, SystemConfig, config_from_toml
from mu2net.store.engine import Registry, registry_engine, sqlite_url
from mu2net.store.files import Files, nothing_lost, only_read
from mu2net.store.lease import Lease
from mu2net.store.migrate import migrate
from mu2net.store.reader import COMPONENTS_NAME, CONFIG_FACT, StoreReader
from mu2net.store.recording import StoredComponent
from mu2net.store.records import CycleRecord, NewComponent, TaskRecord, TrainedRecord, path_id
from mu2net.store.schema import CycleRow, FactRow, PathRow

REGISTRY_NAME = "registry.sqlite"


class Store(StoreReader):
    """A system on disk. Make one with ``Store.create`` or ``Store.open``.

    Concurrency contract:

    - *Readers*: any number of processes and threads may read at any time, also while another process writes. Every
      method reads one state of the registry; two calls may see two states. A reader waits at most for a
      commit, usually milliseconds.
    - *Writers*: every writing method is one transaction: it is visible to all processes when the method returns,
      or, after an error or a crash at any moment, not at all. Writers queue up. Component files are on the disk before
      the transaction that names them, so whatever the registry names is complete; a crash leaves at most files
      that nothing names.
    - *Evolving*: ``evolving(task)`` lets one process at a time evolve a task; the second gets a ``LockedError``. Every
      method that writes for a cycle checks that this store holds the task's lease, or that nobody does; a holder
      that lost it to another process gets a ``LeaseLostError``, and nothing is written.
    - *Immutable*: a recorded path's components, hyperparameters and lineage never change. Publishing only sets its
      state and metrics.
    - A store keeps no connection and no cache: it may be used after ``fork`` and need not be closed.

    Args:
        directory: The folder of the system.
        config: What its ``mu2net.toml`` says.
        registry: Its registry.
        files: The seam to the file system.
    """

    @classmethod
    def create(cls, directory: FilePath | str, config: SystemConfig, files: Files | None = None) -> Store:
        """Make a new system without a root, and return its store; ``put_root`` completes it.

        A folder that an interrupted creation left behind, without a root, is used again.

        Args:
            directory: The folder, which may exist.
            config: What ``mu2net.toml`` shall hold.
            files: The seam to the file system.

        Raises:
            ConfigError: There is a system already, or the folder is a file.
            StoreError: The folder cannot be written.
        """
        directory, files = FilePath(directory).absolute(), files or Files()
        if files.is_file(directory):
            raise ConfigError(f"{directory} is a file; expected a folder, or a name that is free")
        with nothing_lost(f"system {directory}"):
            if files.is_file(directory / CONFIG_NAME):
                _refuse_root(cls._attach(directory, _config(directory, files), files))
            files.make_folder(directory / COMPONENTS_NAME)
            store = cls(directory, config, _registry(directory, config, files), files)
            migrate(store._registry)
            _refuse_root(store)
            text = config.to_toml().encode()
            store._note_config(text)
            files.replace(directory / CONFIG_NAME, text, 0o644)
        return store

    @classmethod
    def open(cls, directory: FilePath | str, files: Files | None = None) -> Store:
        """Return the store of a system; a registry of an older version is migrated first.

        Args:
            directory: The folder of the system.
            files: The seam to the file system.

        Raises:
            ConfigError: There is no such folder, or it holds no system.
            FormatError: A newer version of mu2net wrote it.
            StoreError: ``mu2net.toml`` or the registry is missing or damaged, or the system was never completed.
        """
        directory, files = FilePath(directory).absolute(), files or Files()
        with only_read(f"system {directory}"):
            is_system, is_folder = files.is_file(directory / CONFIG_NAME), files.is_folder(directory)
        if not is_system:
            found = f"it has no {CONFIG_NAME}" if is_folder else "there is no such folder"
            raise ConfigError(
                f"{directory} is not a system: {found}; name another folder, or make one: "
                f"mu2net init --system {directory}"
            )
        store = cls._attach(directory, _config(directory, files), files)
        if not store._has_root():
            raise StoreError(
                f"system {directory} has no root: its creation was interrupted; run: mu2net init --system {directory}"
            )
        return store

    def evolving(self, task: str) -> AbstractContextManager[Lease]:
        """Return a context in which this store is the one that evolves a task.

        Args:
            task: Name of the task.

        Raises:
            LockedError: Another process evolves it; names its process id, its host and since when.
        """
        return self.leases.writing_for(task, self.directory)

    def add_task(self, task: TaskRecord) -> TaskRecord:
        """Add a task and return it as recorded.

        Args:
            task: The task.

        Raises:
            ConfigError: The name is taken.
            UnknownNameError: A task that it allows or denies does not exist.
        """
        values = {
            "name": task.name,
            "source": dict(task.source),
            "classes": list(task.classes),
            "fingerprint": task.fingerprint,
            "is_private": task.is_private,
            "counts": dict(task.counts),
            "allow_from": None if task.allow_from is None else sorted(set(task.allow_from)),
            "deny_from": sorted(set(task.deny_from)),
        }
        with self._registry.writing() as session:
            recording.add_task(session, values)
        return self.task(task.name)

    def put_root(self, components: Sequence[NewComponent], hparams: Mapping[str, Value]) -> Path:
        """Store the root and return its path; putting the same root again changes nothing.

        Args:
            components: One per slot, in the order of computation.
            hparams: The default hyperparameters, what children inherit.

        Raises:
            ConfigError: The system has another root.
            StoreError: The disk is full or cannot be written; nothing was changed.
        """
        is_there = False
        while not is_there:
            with nothing_lost("the root"):
                stored = [self._put(component) for component in components]
            with self._registry.writing() as session:
                is_there = self._are_there(component.digest for component in stored)
                if is_there and session.get(PathRow, ROOT_ID) is None:
                    recording.add_root(session, ROOT_ID, stored, hparams)
        root = self.root()
        if root.digests != tuple(component.digest for component in stored):
            raise ConfigError(f"system {self.directory} has another root; use another folder for this one")
        return root

    def start_cycle(self, task: str, agent: str, seed: int, config: Mapping[str, Any]) -> CycleRecord:
        """Start a cycle of a task.

        Args:
            task: Name of the task.
            agent: Name of the agent.
            seed: The seed that all draws derive from, below 2**63.
            config: Everything else that a resumed cycle must repeat, JSON values only.

        Raises:
            UnknownNameError: There is no such task.
            ConfigError: A cycle of the task runs already, or the seed is too large.
        """
        if not 0 <= seed < 2**63:
            raise ConfigError(f"seed is {seed}; expected 0 to 2**63 - 1")
        with self._registry.writing() as session:
            queries.task_row(session, task)
            self.leases.check(session, task)
            row = queries.running_cycle_row(session, task)
            if row is not None:
                raise ConfigError(
                    f"cycle {row.number} of task {task!r} runs already, with agent {row.agent!r}; "
                    "resume it or abandon it"
                )
            number = recording.next_number(session, CycleRow.number, CycleRow.task == task)
            row = CycleRow(
                task=task,
                number=number,
                agent=agent,
                seed=seed,
                state="running",
                config=dict(config),
                spent_seconds=0.0,
                started_at=recording.now(),
            )
            session.add(row)
            recording.add_event(session, "cycle_started", task, {"cycle": number, "agent": agent})
            session.flush()
            return queries.cycle_record(row)

    def record_child(self, cycle: CycleRecord, child: TrainedRecord) -> Path:
        """Record a trained child and return its path; a child that is recorded already changes nothing.

        Args:
            cycle: The running cycle that it belongs to.
            child: The child.

        Raises:
            ValueError: Its new components are not exactly the slots that its proposal trains.
            StoreError: The disk is full or cannot be written, the cycle has ended, or a path of this id has other
                components; nothing was changed.
            UnknownNameError: Its parent is not recorded.
            UnknownComponentError: A component that it shares is not recorded.
            PrivacyError: Data that may not shape its task shaped what it is built from.
        """
        identity = path_id(cycle.task, cycle.number, child.generation, child.child)
        given, trained = [component.slot for component in child.components], child.proposal.trainable
        if len(given) != len(trained) or set(given) != set(trained):
            raise ValueError(
                f"path {identity!r} trains {[slot.name for slot in trained]}, but has components for "
                f"{[slot.name for slot in given]}"
            )
        is_recorded = False
        while not is_recorded:
            with nothing_lost(f"path {identity!r}"):
                stored = [self._put(component) for component in child.components]
            with self._registry.writing() as session:
                self.leases.check(session, cycle.task)
                is_recorded = self._are_there(file for component in stored for file in component.files)
                if is_recorded:
                    recording.add_child(session, cycle, child, stored)
        return self.path(identity)

    def publish(
        self,
        cycle: CycleRecord,
        identity: str,
        metrics: Metrics,
        probe: Mapping[str, torch.Tensor],
        environment: Mapping[str, Any],
    ) -> Path:
        """Make a path the live path of its task, retire the one before, and end the cycle: all or nothing.

        Args:
            cycle: The running cycle.
            identity: A child of the cycle, or the path that is live now.
            metrics: All of its metrics, with the test accuracy.
            probe: A fixed batch of images and the path's logits on it.
            environment: Software and arithmetic that the logits were computed with, JSON values only.

        Raises:
            StoreError: The disk is full or cannot be written, or the cycle has ended; nothing was changed.
            UnknownNameError: There is no such path.
            ConfigError: The path belongs elsewhere.
        """
        is_published = False
        while not is_published:
            with nothing_lost(f"path {identity!r}"):
                digest = self.components.put(probe)
            with self._registry.writing() as session:
                self.leases.check(session, cycle.task)
                is_published = self._are_there([digest])
                if is_published:
                    recording.publish(session, cycle, identity, metrics, digest, environment)
        return self.path(identity)

    def abandon_cycle(self, cycle: CycleRecord, reason: str = "") -> None:
        """End a cycle without publishing anything; its children stay in the history.

        Args:
            cycle: The running cycle.
            reason: Why, for the event.

        Raises:
            StoreError: The cycle has ended.
        """
        with self._registry.writing() as session:
            self.leases.check(session, cycle.task)
            recording.require_running(session, cycle)
            recording.end_cycle(session, cycle, "abandoned")
            recording.add_event(session, "cycle_abandoned", cycle.task, {"cycle": cycle.number, "reason": reason})

    @classmethod
    def _attach(cls, directory: FilePath, config: SystemConfig, files: Files) -> Store:
        """Return the store of a folder that has a ``mu2net.toml``, with a root or without."""
        registry = directory / REGISTRY_NAME
        with only_read(f"registry {registry}"):
            is_there = config.registry_url is not None or files.is_file(registry)
        if not is_there:
            raise StoreError(f"registry {registry} is missing; restore it from a backup")
        store = cls(directory, config, _registry(directory, config, files), files)
        migrate(store._registry)
        if store.config_digest() is None:  # an earlier version made it
            store._note_config(files.read(directory / CONFIG_NAME))
        return store

    def _note_config(self, text: bytes) -> None:
        """Write down what ``mu2net.toml`` hashes to."""
        with self._registry.writing() as session:
            session.merge(FactRow(name=CONFIG_FACT, value=sha256(text).hexdigest()))

    def _has_root(self) -> bool:
        with self._registry.reading() as session:
            return session.get(PathRow, ROOT_ID) is not None

    def _are_there(self, digests: Iterable[Digest]) -> bool:
        """Return whether files still lie there; ``collect`` may have removed them before anything named them."""
        with only_read("what was just written"):
            return all(self._files.is_file(self.components.file(digest)) for digest in digests)

    def _put(self, component: NewComponent) -> StoredComponent:
        digest = self.components.put(component.tensors)
        momentum = None if component.momentum is None else self.components.put(component.momentum)
        return StoredComponent(component, digest, self.components.size(digest), momentum)


def _registry(directory: FilePath, config: SystemConfig, files: Files) -> Registry:
    return Registry(registry_engine(config.registry_url or sqlite_url(directory / REGISTRY_NAME)), files)


def _config(directory: FilePath, files: Files) -> SystemConfig:
    file = directory / CONFIG_NAME
    try:
        data = files.read(file, MAX_CONFIG)
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror}; check the disk and the permissions") from error
    return config_from_toml(data, str(file))


def _refuse_root(store: Store) -> None:
    if store._has_root():
        raise ConfigError(f"{store.directory} holds a system already; use it, or choose another folder")
