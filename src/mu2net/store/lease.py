"""Leases: who may write for a task, and whose files are being read (docs/format.md: leases)."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from mu2net.errors import LeaseLostError, LockedError, StoreError
from mu2net.store.engine import Registry
from mu2net.store.files import Files
from mu2net.store.holder import Holder
from mu2net.store.schema import LeaseRow

TERM_SECONDS = 60.0
"""How long a lease lasts that is not renewed."""

RENEWALS = 4
"""How often a lease is renewed in a term."""

_READING = "read:"

_log = logging.getLogger("mu2net")

_in_use: set[tuple[str, str, int]] = set()
"""Registry, name and token of the leases that this process holds: one that it could not give back is not among them."""


def lease_name(task: str) -> str:
    """Return the name of the lease of whoever writes for a task."""
    return f"task:{task}"


@dataclass(frozen=True)
class Lease:
    """A lease that this process holds.

    Args:
        name: What it is for.
        token: Larger than that of every holder before.
    """

    name: str
    token: int


class Leases:
    """The leases of one system, as one process takes and keeps them.

    Args:
        registry: The registry.
        files: The seam to the file system.
        term: Seconds that a lease lasts without renewal.
        now: The time.
    """

    def __init__(
        self,
        registry: Registry,
        files: Files,
        term: float = TERM_SECONDS,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._registry, self._files, self._now = registry, files, now
        self._term = timedelta(seconds=term)
        self._held: dict[str, Lease] = {}

    @contextmanager
    def writing_for(self, task: str, where: object) -> Iterator[Lease]:
        """Be the one that writes for a task, for as long as the context lasts.

        Args:
            task: Name of the task.
            where: What messages call the system.

        Raises:
            LockedError: Another process does; names its process id, its host and since when.
        """
        name = lease_name(task)
        with self._registry.writing() as session:
            lease = self._take(session, name, (), f"task {task!r} of system {where}")
        self._held[name] = lease
        try:
            with self._kept(lease):
                yield lease
        finally:
            if self._held.get(name) is lease:
                del self._held[name]

    @contextmanager
    def reading(self, paths: Sequence[str]) -> Iterator[Lease]:
        """Keep the files of some paths from being collected, for as long as the context lasts.

        Args:
            paths: Ids of the paths.
        """
        name = f"{_READING}{secrets.token_hex(8)}"
        with self._registry.writing() as session:
            lease = self._take(session, name, paths, "some paths")
        with self._kept(lease):
            yield lease

    def check(self, session: Session, task: str) -> None:
        """Check that this process may write for a task: it holds the lease, or nobody does.

        Args:
            session: In the transaction that writes.
            task: Name of the task.

        Raises:
            LeaseLostError: Another process has held the lease since this one took it.
            LockedError: Another process holds it, and this one never did.
        """
        name = lease_name(task)
        row, mine = session.get(LeaseRow, name), self._held.get(name)
        if mine is not None:
            if row is None or row.token != mine.token:
                raise LeaseLostError(
                    f"task {task!r} was taken over while this process did not answer (by {_holder(row)}); nothing was "
                    "written, what was recorded before is safe. Run the command again once the other one has ended"
                )
        elif row is not None and self._is_active(row):
            raise LockedError(f"task {task!r} is being evolved by {_holder(row)}; wait until it ends, or stop it")

    def _take(self, session: Session, name: str, paths: Sequence[str], what: str) -> Lease:
        row = session.get(LeaseRow, name)
        if row is not None and self._is_active(row):
            raise LockedError(
                f"{what} is being evolved by {_holder(row)}; "
                "wait until it ends, or stop it: what it has finished is kept"
            )
        token = 1 if row is None else row.token + 1
        values = {
            "token": token,
            "holder": Holder.here(self._files).to_json(),
            "paths": list(paths),
            "expires_at": self._now() + self._term,
        }
        if row is None:
            session.execute(insert(LeaseRow).values(name=name, **values))
        else:
            session.execute(update(LeaseRow).where(LeaseRow.name == name).values(**values))
        return Lease(name, token)

    def _is_active(self, row: LeaseRow) -> bool:
        if row.holder is None or row.expires_at is None or row.expires_at <= self._now():
            return False
        holder, here = Holder.from_json(row.holder), Holder.here(self._files)
        if (holder.pid, holder.host, holder.started) == (here.pid, here.host, here.started):
            return (self._registry.where, row.name, row.token) in _in_use
        return not holder.has_ended(self._files)

    @contextmanager
    def _kept(self, lease: Lease) -> Iterator[None]:
        """Renew a lease from a thread of its own until the context ends, and then give it back."""
        is_over, mine = threading.Event(), (self._registry.where, lease.name, lease.token)
        _in_use.add(mine)
        thread = threading.Thread(target=self._renew_until, args=(lease, is_over), name="mu2net-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()
            _in_use.discard(mine)
            self._release(lease)

    def _renew_until(self, lease: Lease, is_over: threading.Event) -> None:
        while not is_over.wait(self._term.total_seconds() / RENEWALS):
            try:
                if not self.renew(lease):
                    return
            except StoreError as error:
                _log.warning("the lease %s could not be renewed, and will be tried again: %s", lease.name, error)

    def renew(self, lease: Lease) -> bool:
        """Let a lease last a term from now on; return ``False`` where somebody else holds it."""
        with self._registry.writing() as session:
            mine = (LeaseRow.name == lease.name) & (LeaseRow.token == lease.token)
            done = session.execute(update(LeaseRow).where(mine).values(expires_at=self._now() + self._term))
            return bool(done.rowcount)  # type: ignore[attr-defined]

    def _release(self, lease: Lease) -> None:
        """Give a lease back; its token stays, except for a reader's, whose name never comes again."""
        mine = (LeaseRow.name == lease.name) & (LeaseRow.token == lease.token)
        try:
            with self._registry.writing() as session:
                if lease.name.startswith(_READING):
                    session.execute(delete(LeaseRow).where(mine))
                else:
                    session.execute(update(LeaseRow).where(mine).values(holder=None, paths=[], expires_at=None))
        except StoreError as error:
            _log.warning("%s could not be given back; it is free when this process ends: %s", lease.name, error)

    def held_paths(self, session: Session) -> set[str]:
        """Return the ids of all paths on which somebody holds a lease."""
        readers = session.scalars(select(LeaseRow).where(LeaseRow.name.startswith(_READING)))
        return {path for row in readers if self._is_active(row) for path in row.paths}

    def forget_readers(self, session: Session) -> None:
        """Delete the leases of readers that are gone; the session must write."""
        for row in session.scalars(select(LeaseRow).where(LeaseRow.name.startswith(_READING))).all():
            if not self._is_active(row):
                session.delete(row)


def _holder(row: LeaseRow | None) -> str:
    return "another process" if row is None or row.holder is None else str(Holder.from_json(row.holder))
