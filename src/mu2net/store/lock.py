"""One evolving process for each system."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from mu2net.errors import LockedError
from mu2net.store.files import Files, nothing_lost

LOCK_NAME = "evolve.lock"
"""The lock's file in the folder of a system; it stays there, and only the lock on it counts."""

_NAMING_SECONDS = 1.0


@contextmanager
def evolving(directory: Path, files: Files | None = None) -> Iterator[None]:
    """Be the one process that evolves a system, for as long as the context lasts.

    The lock belongs to the process: the operating system releases it even after ``kill -9``.

    Args:
        directory: The folder of the system.
        files: The seam to the file system.

    Raises:
        LockedError: Another process evolves this system; names its process id, its host and since when.
        StoreError: The folder cannot be written.
    """
    files = files or Files()
    file = directory / LOCK_NAME
    with nothing_lost(f"lock {file}"):
        descriptor = files.lock(file)
    if descriptor is None:
        raise LockedError(
            f"system {directory} is being evolved by {_holder(files, file)}; "
            "wait until it ends, or stop it: what it has finished is kept"
        )
    try:
        content = {"pid": os.getpid(), "host": socket.gethostname(), "since": _now()}
        with nothing_lost(f"lock {file}"):
            files.rewrite(descriptor, json.dumps(content).encode())
        yield
    finally:
        files.unlock(descriptor)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _holder(files: Files, file: Path) -> str:
    """Return who holds the lock, in words; waits a moment for a holder that has just begun to say so."""
    end = time.monotonic() + _NAMING_SECONDS
    while time.monotonic() < end:
        try:
            content = json.loads(files.read(file))
            return f"process {content['pid']} on {content['host']} since {content['since']}"
        except (ValueError, KeyError, TypeError):
            time.sleep(0.02)
    return f"another process (which has not written its name into {file})"
