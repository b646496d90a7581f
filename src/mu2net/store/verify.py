"""Prove that the files of a system are what its registry says."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

from mu2net.core.component import Digest
from mu2net.core.path import Path
from mu2net.errors import ComponentError
from mu2net.store.reader import StoreReader

Role = Literal["component", "momentum", "probe"]


@dataclass(frozen=True)
class Finding:
    """A damaged file.

    Args:
        digest: Its name.
        role: What it holds.
        tasks: The tasks whose live paths or running cycles use it, sorted; empty where only the root does.
        message: What is wrong with it, and the way out.
    """

    digest: Digest
    role: Role
    tasks: tuple[str, ...]
    message: str


def verify_files(store: StoreReader) -> list[Finding]:
    """Hash every file that the root, the live paths and the running cycles need, and compare it with the registry.

    Components, their momentum and the probes; each file is read once.

    Args:
        store: The system.

    Returns:
        One finding for each damaged file, ordered by digest; none where everything is as it was written.
    """
    users: dict[tuple[Digest, Role], set[str]] = defaultdict(set)
    live = store.live_paths()
    for path in (store.root(), *live, *_running(store)):
        for digest in path.digests:
            users[digest, "component"].update(() if path.task is None else (path.task,))
    records = store.component_records({digest for digest, _ in users})
    for digest, record in records.items():
        if record.momentum_digest is not None:
            users[record.momentum_digest, "momentum"] |= users[digest, "component"]
    for path in live:
        users[store.probe_record(path.id)[0], "probe"].add(path.task or "")
    findings = []
    for (digest, role), tasks in sorted(users.items(), key=lambda item: item[0]):
        expected = records[digest].num_bytes if role == "component" else None
        message = _problem(store, digest, expected)
        if message is not None:
            findings.append(Finding(digest, role, tuple(sorted(tasks)), message))
    return findings


def _running(store: StoreReader) -> list[Path]:
    """Return the children that running cycles have recorded: a resumed cycle needs them."""
    cycles = [store.running_cycle(task.name) for task in store.tasks()]
    return [path for cycle in cycles if cycle is not None for path in store.history(cycle.task, cycle.number)]


def _problem(store: StoreReader, digest: Digest, expected: int | None) -> str | None:
    """Return what is wrong with a file, ``None`` where nothing is."""
    try:
        store.components.verify(digest)
        found = store.components.size(digest)
    except ComponentError as error:
        return str(error)
    if expected is not None and found != expected:
        return (
            f"component {digest} has {found} bytes, but the registry says {expected}; "
            "restore the registry from a backup"
        )
    return None
