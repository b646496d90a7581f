"""What a system's owner does beside learning: prove, trace, remove, and give space back."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path, PurePath
from typing import Any

from mu2net.core.component import Digest
from mu2net.nn.backbone import Backbone
from mu2net.search.events import Observer, Preparing, ignore
from mu2net.search.images import CACHE_NAME
from mu2net.store import backup as copying
from mu2net.store import collect as collecting
from mu2net.store import provenance as tracing
from mu2net.store import removal as removing
from mu2net.store import repair as repairing
from mu2net.store import transfer as moving
from mu2net.store import usage as measuring
from mu2net.store.backup import Backup
from mu2net.store.collect import GRACE, Collected
from mu2net.store.provenance import Provenance
from mu2net.store.removal import Removal
from mu2net.store.repair import Repaired
from mu2net.store.store import Store
from mu2net.store.transfer import Imported
from mu2net.store.usage import Usage
from mu2net.store.verify import Depth
from mu2net.system.summary import Verification
from mu2net.system.verification import verify_system

_log = logging.getLogger("mu2net")


class Upkeep:
    """The upkeep half of ``System``.

    Args:
        store: Where the system lives.
        backbone: What its slots compute.
    """

    def __init__(self, store: Store, backbone: Backbone) -> None:
        self._store, self._backbone = store, backbone

    def verify(self, *, depth: Depth = "full", share: float = 0.05, observer: Observer = ignore) -> Verification:
        """Prove that nothing was forgotten.

        Every file is hashed again, the registry is compared with its seal, and every live path's logits for its probe
        are computed again and compared with those recorded when it was published.

        Args:
            depth: ``full``; ``sample`` to read only the files that were checked longest ago, and remember it; or
                ``quick`` to compare names and sizes alone.
            share: Share of the bytes that a sample reads.
            observer: Told about progress.

        Raises:
            ConfigError: The share is not from 0 to 1.
        """
        return verify_system(self._store, self._backbone, observer, depth, share)

    def quarantine(self, digests: Sequence[str]) -> list[Path]:
        """Move damaged files aside, where nothing finds them any more, and return where they are; nothing is deleted.

        Args:
            digests: The files, as ``Verification.damaged_files`` names them.
        """
        return repairing.quarantine(self._store, [Digest(digest) for digest in digests])

    def repair(self, other: Path | str, digests: Sequence[str]) -> Repaired:
        """Fetch intact files from another system or a backup; what is damaged here goes into quarantine first.

        Args:
            other: The folder of the other system or backup.
            digests: The files, as ``Verification.damaged_files`` names them.

        Raises:
            StoreError: The other folder holds no components.
        """
        return repairing.repair(self._store, [Digest(digest) for digest in digests], Path(other))

    def backup(self, where: str, *, observer: Observer = ignore) -> Backup:
        """Copy the system as one moment sees it; others may evolve meanwhile, and only what is new is copied.

        Args:
            where: A folder, or a URL that fsspec knows.
            observer: Told about progress.

        Raises:
            ConfigError: The place cannot be used.
            StoreError: A file cannot be read or written.
        """
        return copying.backup(self._store, where, lambda done, total: observer(Preparing("copying", done, total)))

    def import_task(
        self,
        other: Path | str,
        name: str,
        *,
        as_name: str | None = None,
        renamed: Mapping[str, str] | None = None,
        is_private: bool = False,
    ) -> Imported:
        """Bring a task of another system of the same root here: its live path, its provenance, and its compartment.

        Parameters that are here already are not copied. The images stay where they are: evolving the task here needs
        them, predicting does not.

        Args:
            other: The folder of the other system.
            name: The task's name there.
            as_name: Its name here; the same by default.
            renamed: Other names here for tasks that shaped it, by their names there.
            is_private: Whether it is private here even if it is public there.

        Raises:
            ConfigError: The two systems have different roots, the task was never evolved there, or its name is taken.
            PrivacyError: Data shaped it that may not shape it here.
            UnknownNameError: There is no such task there.
        """
        names = {**(renamed or {}), **({} if as_name is None else {name: as_name})}
        return moving.import_task(self._store, Store.open(other), name, renamed=names, is_private=is_private)

    def export_system(self, directory: Path | str, tasks: Sequence[str] | None = None) -> list[Imported]:
        """Make a new system of some tasks of this one, with their live paths and their provenance.

        Args:
            directory: The folder of the new system, which must not exist.
            tasks: The tasks; by default all that were evolved and are not private. A private one must be named.

        Raises:
            ConfigError: The folder exists, or a task was never evolved.
            UnknownNameError: There is no such task.
        """
        return moving.export_system(self._store, Path(directory), tasks)

    def provenance(self, name: str) -> Provenance:
        """Return whose data shaped a task's live path: every component's origin, and all tasks together.

        Args:
            name: The task.

        Raises:
            ConfigError: The task was never evolved, or was removed.
            UnknownNameError: There is no such task.
        """
        return tracing.provenance(self._store, name)

    def plan_removal(self, name: str, *, with_influence: bool = False) -> Removal:
        """Return what ``remove`` would change; nothing is changed.

        Args:
            name: The task.
            with_influence: Whether everything that its data shaped goes too.

        Raises:
            ConfigError: It was removed already.
            UnknownNameError: There is no such task.
        """
        return removing.plan_removal(self._store, name, with_influence=with_influence)

    def remove(self, name: str, *, with_influence: bool = False) -> Removal:
        """Remove a task; with influence, also every path that its data shaped. ``undo`` takes it back for 14 days.

        Afterwards no live path has the task in its influence, if ``with_influence`` is given. Parameters stay on the
        disk until ``collect`` removes them: at the end of the grace period, or at once.

        Args:
            name: The task.
            with_influence: Whether everything that its data shaped goes too.

        Returns:
            What was changed.

        Raises:
            ConfigError: It was removed already.
            UnknownNameError: There is no such task.
        """
        return removing.remove_task(self._store, name, with_influence=with_influence)

    def undo(self) -> Removal:
        """Bring back what the last removal took away.

        Raises:
            ConfigError: There is no removal that can be undone.
        """
        return removing.undo_removal(self._store)

    def collect(self, *, grace: timedelta = GRACE, is_dry: bool = True) -> Collected:
        """Remove the files that nothing can reach, and return which (docs/format.md: what may be removed).

        Args:
            grace: How long ago a path must have been live, a cycle have ended, or a file without a row been written.
                With none, removals become final, and ``cache/`` is emptied too: it may hold a removed task's images.
            is_dry: Whether nothing is removed.
        """
        found = collecting.collect(self._store, grace=grace, is_dry=is_dry)
        cache = self._store.directory / CACHE_NAME
        if not is_dry and grace == timedelta(0) and cache.is_dir():
            shutil.rmtree(cache, ignore_errors=True)  # who evolves meanwhile may be writing there
            if cache.is_dir():
                _log.warning("%s could not be emptied while it is in use; delete it, or run the command again", cache)
        return found

    def compact_history(self, name: str | None = None) -> int:
        """Let the parameters of children that were never published go without a grace period; their rows stay.

        Args:
            name: Only children of this task; of all by default.

        Returns:
            How many children. ``collect`` then removes the files that nothing else uses.

        Raises:
            UnknownNameError: There is no such task.
        """
        return collecting.compact_history(self._store, name)

    def usage(self) -> Usage:
        """Return who uses how much of the disk."""
        return measuring.usage(self._store)


def to_json(value: Any) -> Any:
    """Return an answer as JSON values: dataclasses as objects, moments in ISO 8601, paths as text.

    Args:
        value: A dataclass, or values of which JSON is made.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, PurePath) else value
