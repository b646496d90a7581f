"""Prove that the files of a system are what its registry says, and the registry what its seal says."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from mu2net.core.component import Digest
from mu2net.errors import ComponentError, ConfigError, StoreError
from mu2net.store.collect import GRACE
from mu2net.store.config import CONFIG_NAME
from mu2net.store.files import only_read
from mu2net.store.reach import kept_paths
from mu2net.store.reader import StoreReader
from mu2net.store.schema import CheckRow, ComponentRow, PathRow, PathSlotRow, ProbeRow

_log = logging.getLogger("mu2net")

Role = Literal["component", "momentum", "probe", "orphan", "registry", "config"]

Depth = Literal["full", "sample", "quick"]
"""``full`` reads every byte, ``sample`` a share of them, the longest unchecked first, ``quick`` only looks at sizes."""

_CHUNK = 500


@dataclass(frozen=True)
class Finding:
    """A damaged file.

    Args:
        digest: Its name; the registry and the configuration have none, and hold ``""``.
        role: What it holds; an ``orphan`` is named by no row.
        tasks: The tasks whose paths need it (live ones, those of running cycles, those within the grace period),
            sorted; empty where only the root or the history does.
        message: What is wrong with it, and the way out.
    """

    digest: Digest
    role: Role
    tasks: tuple[str, ...]
    message: str


@dataclass(frozen=True)
class FileUse:
    """A file that a row names.

    Args:
        role: What it holds.
        num_bytes: Its size as the registry knows it, in bytes; ``None`` where it does not.
        tasks: The tasks whose paths need it.
        is_needed: Whether its absence is a damage: it was not collected.
    """

    role: Role
    num_bytes: int | None
    tasks: frozenset[str]
    is_needed: bool


@dataclass(frozen=True)
class FileReport:
    """What a check of the files found.

    Args:
        findings: One for each damaged file, ordered by role and digest.
        num_files: Files that were read, or in a quick check looked at.
        num_bytes: Their size together, in bytes.
    """

    findings: tuple[Finding, ...]
    num_files: int
    num_bytes: int


def verify_files(store: StoreReader) -> list[Finding]:
    """Return what is damaged among all files of a system; see ``check_files``."""
    return list(check_files(store).findings)


def check_files(store: StoreReader, depth: Depth = "full", share: float = 0.05) -> FileReport:
    """Compare the files of a system with its registry, and the registry with its seal.

    Args:
        store: The system.
        depth: How much is read of component files. Of those that are read and intact it is remembered when.
        share: Share of the bytes that a sample reads, in ]0, 1].

    Raises:
        ConfigError: The share lies outside its domain.
        StoreError: The registry cannot be read at all.
    """
    if not 0.0 < share <= 1.0:
        raise ConfigError(f"the share of a sample is {share:g}; expected more than 0, and 1 (100 %) at most")
    findings = _system_findings(store)
    is_believed = all(finding.role != "registry" for finding in findings)
    uses: dict[Digest, FileUse] = {}
    checked: dict[str, datetime] = {}
    if is_believed:  # what a damaged registry says is worth nothing; files are still compared with their names
        with store.registry.reading() as session:
            uses = file_uses(session)
            checked = {row.digest: row.checked_at for row in session.scalars(select(CheckRow))}
    with only_read(f"components of {store.directory}"):
        there = store.components.sizes()
    for digest in there:
        uses.setdefault(digest, FileUse("orphan", None, frozenset(), is_needed=False))
    chosen = sorted(there) if depth != "sample" else _sample(there, checked, share)
    intact: list[Digest] = []
    for digest in sorted({*chosen, *(digest for digest in uses if digest not in there)}):
        problem = _problem(store, digest, uses[digest], there.get(digest), reads=depth != "quick")
        if problem is not None:
            use = uses[digest]
            findings.append(Finding(digest, use.role, tuple(sorted(use.tasks)), problem))
        elif depth != "quick" and digest in there:
            intact.append(digest)
    if is_believed:  # nothing is written over a damage
        _remember(store, intact)
    order = sorted(findings, key=lambda finding: (finding.role, finding.digest))
    return FileReport(tuple(order), len(chosen), sum(there[digest] for digest in chosen))


def file_uses(session: Session) -> dict[Digest, FileUse]:
    """Return every file that a row names, and which tasks need it."""
    since = datetime.now(UTC) - GRACE
    needed = kept_paths(session, since, ())
    users: dict[str, set[str]] = defaultdict(set)
    for start in range(0, len(needed), _CHUNK):
        some = sorted(needed)[start : start + _CHUNK]
        query = (
            select(PathSlotRow.digest, PathRow.task)
            .join(PathRow, PathRow.id == PathSlotRow.path_id)
            .where(PathRow.id.in_(some))
        )
        for digest, task in session.execute(query):
            users[digest].update(() if task is None else (task,))
    uses: dict[Digest, FileUse] = {}
    for row in session.scalars(select(ComponentRow)):
        is_needed, tasks = row.collected_at is None, frozenset(users[row.digest])
        if row.momentum_digest is not None:
            uses[Digest(row.momentum_digest)] = FileUse("momentum", None, tasks, is_needed)
        uses[Digest(row.digest)] = FileUse("component", row.num_bytes, tasks, is_needed)
    probes = select(ProbeRow, PathRow.id, PathRow.task).join(PathRow, PathRow.id == ProbeRow.path_id)
    for probe, path, task in session.execute(probes):
        its = frozenset({task or ""} if path in needed else ())
        uses[Digest(probe.digest)] = FileUse("probe", None, its, probe.collected_at is None)
    return uses


def _system_findings(store: StoreReader) -> list[Finding]:
    """Return what is wrong with the registry and with ``mu2net.toml``."""
    problem = store.registry.problem()
    if problem is not None:
        return [Finding(Digest(""), "registry", (), problem)]
    file, expected = store.directory / CONFIG_NAME, store.config_digest()
    with only_read(str(file)):
        found = sha256(store.files.read(file)).hexdigest()
    if expected in (None, found):
        return []
    message = f"{file} was altered since the system was made; restore it from a backup"
    return [Finding(Digest(""), "config", (), message)]


def _sample(there: Mapping[Digest, int], checked: Mapping[str, datetime], share: float) -> list[Digest]:
    """Return the files that were checked longest ago, never-checked ones first, up to a share of all bytes."""
    oldest = datetime.min.replace(tzinfo=UTC)
    order = sorted(there, key=lambda digest: (checked.get(digest, oldest), digest))
    chosen, total, bound = [], 0, share * sum(there.values())
    for digest in order:
        if total >= bound:
            break
        chosen.append(digest)
        total += there[digest]
    return chosen


def _problem(store: StoreReader, digest: Digest, use: FileUse, size: int | None, *, reads: bool) -> str | None:
    """Return what is wrong with a file, ``None`` where nothing is."""
    if size is None and not use.is_needed:
        return None
    try:
        if reads or size is None:
            store.components.verify(digest)
    except ComponentError as error:
        return str(error)
    if use.num_bytes is not None and size != use.num_bytes:
        return (
            f"component {digest} has {size} bytes, but the registry says {use.num_bytes}; "
            "restore the registry from a backup"
        )
    return None


def _remember(store: StoreReader, digests: Sequence[Digest]) -> None:
    """Write down that files were read and found intact; where that cannot be written, a warning says so."""
    at = datetime.now(UTC)
    try:
        for start in range(0, len(digests), _CHUNK):
            with store.registry.writing() as session:
                for digest in digests[start : start + _CHUNK]:
                    session.merge(CheckRow(digest=digest, checked_at=at))
    except StoreError as error:
        _log.warning("it could not be written down which files were checked: %s", error)


def damaged_files(findings: Iterable[Finding]) -> list[Digest]:
    """Return the digests of the damaged component files, sorted."""
    return sorted(finding.digest for finding in findings if finding.digest)
