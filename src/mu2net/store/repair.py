"""Move damaged files aside, and fetch intact ones from another system or a backup (docs/format.md: corruption)."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mu2net.core.component import Digest
from mu2net.errors import ComponentError, StoreError
from mu2net.store import recording
from mu2net.store.components import SUFFIX, ComponentFiles
from mu2net.store.files import nothing_lost, only_read
from mu2net.store.reader import COMPONENTS_NAME, StoreReader

QUARANTINE_NAME = "quarantine"

_log = logging.getLogger("mu2net")


@dataclass(frozen=True)
class Repaired:
    """What ``repair`` did.

    Args:
        restored: Digests of the files that are intact again, sorted.
        missing: Digests of those that the other system does not have, or has damaged too, sorted.
    """

    restored: tuple[Digest, ...]
    missing: tuple[Digest, ...]


def quarantine(store: StoreReader, digests: Iterable[Digest]) -> list[Path]:
    """Move files out of the component folder, where nothing finds them any more; return where they are.

    Files that are not there are left out. Nothing is deleted.

    Args:
        store: The system.
        digests: The damaged files.

    Raises:
        StoreError: The folder cannot be written.
    """
    folder, moved = store.directory / QUARANTINE_NAME, []
    for digest in digests:
        source = store.components.file(digest)
        with nothing_lost(f"quarantine of {digest}"):
            if not store.files.is_file(source):
                continue
            store.files.make_folder(folder)
            number = 0
            while store.files.is_file(target := folder / f"{digest}{SUFFIX}.{number}"):
                number += 1
            store.files.rename(source, target)
            store.files.sync_folder(folder)
            store.files.sync_folder(source.parent)
        moved.append(target)
    if moved:
        try:
            with store.registry.writing() as session:
                recording.add_event(session, "files_quarantined", None, {"files": [file.name for file in moved]})
        except StoreError as error:  # the files are away, which is what counts
            _log.warning("it could not be written down that files were moved: %s", error)
    return moved


def repair(store: StoreReader, digests: Iterable[Digest], other: Path) -> Repaired:
    """Fetch intact files from another system or backup; what is damaged here goes into quarantine first.

    What is intact already stays as it is.

    Args:
        store: The system.
        digests: The damaged or missing files.
        other: The folder of the other system or backup.

    Raises:
        StoreError: The other folder holds no components, or this one cannot be written.
    """
    with only_read(str(other)):
        is_there = store.files.is_folder(other / COMPONENTS_NAME)
    if not is_there:
        raise StoreError(f"{other} holds no components; name the folder of another system, or of a backup")
    source = ComponentFiles(other / COMPONENTS_NAME, store.files)
    restored, missing = [], []
    for digest in sorted(digests):
        if _is_intact(store, digest):
            continue
        try:
            data = source.read(digest)
        except ComponentError:
            missing.append(digest)
            continue
        quarantine(store, [digest])
        with nothing_lost(f"component {digest}"):
            store.components.restore(digest, data)
        restored.append(digest)
    if restored:
        with store.registry.writing() as session:
            recording.add_event(session, "files_restored", None, {"files": restored, "from": str(other)})
    return Repaired(tuple(restored), tuple(missing))


def _is_intact(store: StoreReader, digest: Digest) -> bool:
    try:
        store.components.verify(digest)
    except ComponentError:
        return False
    return True
