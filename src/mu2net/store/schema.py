"""The tables of the registry: what a system holds, and everything that was ever tried in it.

Only portable SQL, so that a PostgreSQL registry has the same tables. A change here needs a new revision in
``migrations/versions``; a test compares the two.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

_DIGEST = re.compile(r"[0-9a-f]{64}")


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; stored without a time zone, read back with it."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the moment as the column holds it."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the moment as Python code uses it."""
        return None if value is None else value.replace(tzinfo=UTC)


class DigestText(TypeDecorator[str]):
    """A digest: names a file, so anything else must not get that far."""

    impl = String(64)
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Return the digest.

        Raises:
            ValueError: It is none.
        """
        if value is not None and not (isinstance(value, str) and _DIGEST.fullmatch(value)):
            raise ValueError(f"{value!r} is no digest")
        return value


class Base(DeclarativeBase):
    """Base of the registry's tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class TaskRow(Base):
    """A task; ``number`` counts up in the order in which tasks were added.

    ``imported`` says from which system it came, and its name there; where ``is_only_known`` in it is true, the task was
    never one of this system, and is known because its data shaped a path that was imported.
    """

    __tablename__ = "tasks"
    __table_args__ = (UniqueConstraint("number"),)

    name: Mapped[str] = mapped_column(String(255), primary_key=True)
    number: Mapped[int] = mapped_column(Integer)
    source: Mapped[dict[str, Any]] = mapped_column(JSON)
    classes: Mapped[list[str]] = mapped_column(JSON)
    fingerprint: Mapped[str] = mapped_column(String(64))
    is_private: Mapped[bool]
    counts: Mapped[dict[str, int]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    allow_from: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    deny_from: Mapped[list[str]] = mapped_column(JSON, server_default=text("'[]'"))
    removed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    imported: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


class ComponentRow(Base):
    """A component; the row of a digest is written once, by the first path that made it.

    ``num_bytes`` is the size of its file. ``source_digest`` is what it was cloned from. ``momentum_digest`` names
    a file in the component folder that holds the optimiser's momentum. ``collected_at`` says when its files were
    removed because nothing could reach them.
    """

    __tablename__ = "components"

    digest: Mapped[str] = mapped_column(DigestText, primary_key=True)
    num_params: Mapped[int] = mapped_column(BigInteger)
    num_bytes: Mapped[int] = mapped_column(BigInteger)
    task: Mapped[str | None] = mapped_column(ForeignKey("tasks.name"))
    source_digest: Mapped[str | None] = mapped_column(DigestText, ForeignKey("components.digest"))
    momentum_digest: Mapped[str | None] = mapped_column(DigestText)
    created_by: Mapped[str] = mapped_column(String(512))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    collected_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class OriginRow(Base):
    """A path that trained a component, or brought it into the system: of equal components several did.

    ``source_digest`` is what that path cloned it from.
    """

    __tablename__ = "origins"

    digest: Mapped[str] = mapped_column(DigestText, ForeignKey("components.digest"), primary_key=True)
    path_id: Mapped[str] = mapped_column(ForeignKey("paths.id"), primary_key=True)
    source_digest: Mapped[str | None] = mapped_column(DigestText, ForeignKey("components.digest"))


class CycleRow(Base):
    """A cycle of a task; ``number`` counts a task's cycles from 0."""

    __tablename__ = "cycles"
    __table_args__ = (
        UniqueConstraint("task", "number"),
        CheckConstraint("state IN ('running', 'published', 'abandoned')", name="state"),
        Index(
            "uq_cycles_running",
            "task",
            unique=True,
            sqlite_where=text("state = 'running'"),
            postgresql_where=text("state = 'running'"),
        ),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    task: Mapped[str] = mapped_column(ForeignKey("tasks.name"))
    number: Mapped[int] = mapped_column(Integer)
    agent: Mapped[str] = mapped_column(String(255))
    seed: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(String(16))
    config: Mapped[dict[str, Any]] = mapped_column(JSON)
    spent_seconds: Mapped[float] = mapped_column(Float)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class PathRow(Base):
    """A path: the root, a sampled child, or what a cycle published.

    ``state`` is ``root``, ``child`` (recorded), ``live`` (published, serves its task) or ``retired`` (was live).
    ``publication`` counts up over the whole system with every publication. ``influence`` lists the tasks whose data
    shaped it. ``version`` is that of the mu2net that recorded it. ``is_compacted`` says that its parameters may go
    without a grace period.
    """

    __tablename__ = "paths"
    __table_args__ = (
        CheckConstraint("state IN ('root', 'child', 'live', 'retired')", name="state"),
        UniqueConstraint("publication"),
        Index("ix_paths_task_cycle", "task", "cycle", "generation", "child"),
        Index(
            "uq_paths_live",
            "task",
            unique=True,
            sqlite_where=text("state = 'live'"),
            postgresql_where=text("state = 'live'"),
        ),
    )

    id: Mapped[str] = mapped_column(String(512), primary_key=True)
    task: Mapped[str | None] = mapped_column(ForeignKey("tasks.name"))
    cycle: Mapped[int | None] = mapped_column(Integer)
    generation: Mapped[int | None] = mapped_column(Integer)
    child: Mapped[int | None] = mapped_column(Integer)
    parent_id: Mapped[str | None] = mapped_column(ForeignKey("paths.id"))
    agent: Mapped[str] = mapped_column(String(255))
    state: Mapped[str] = mapped_column(String(16))
    is_kept: Mapped[bool]
    is_private: Mapped[bool]
    publication: Mapped[int | None] = mapped_column(Integer)
    proposal: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    hparams: Mapped[dict[str, Any]] = mapped_column(JSON)
    mutations: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    rates: Mapped[dict[str, float]] = mapped_column(JSON)
    metrics: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    influence: Mapped[list[str]] = mapped_column(JSON, server_default=text("'[]'"))
    version: Mapped[str] = mapped_column(String(64), server_default=text("''"))
    retired_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    is_compacted: Mapped[bool] = mapped_column(server_default=false())


class PathSlotRow(Base):
    """The component in one slot of a path; ``position`` is its place in the order of computation."""

    __tablename__ = "path_slots"
    __table_args__ = (Index(None, "digest"),)

    path_id: Mapped[str] = mapped_column(ForeignKey("paths.id"), primary_key=True)
    position: Mapped[int] = mapped_column(Integer, primary_key=True)
    slot: Mapped[str] = mapped_column(String(64))
    kind: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(DigestText, ForeignKey("components.digest"))


class ProbeRow(Base):
    """The probe of a published path: ``digest`` names a file in the component folder with its images and logits."""

    __tablename__ = "probes"

    path_id: Mapped[str] = mapped_column(ForeignKey("paths.id"), primary_key=True)
    digest: Mapped[str] = mapped_column(DigestText)
    environment: Mapped[dict[str, Any]] = mapped_column(JSON)
    collected_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class EventRow(Base):
    """Something that happened to the system; ``id`` counts up in the order in which it did."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    kind: Mapped[str] = mapped_column(String(64))
    task: Mapped[str | None] = mapped_column(ForeignKey("tasks.name"))
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)


class LeaseRow(Base):
    """Who may write for a task, or reads some paths for long (docs/format.md: leases).

    ``token`` grows by one with every holder. ``holder`` is ``None``, and ``expires_at`` too, where nobody holds it.
    """

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(300), primary_key=True)
    token: Mapped[int] = mapped_column(Integer)
    holder: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    paths: Mapped[list[str]] = mapped_column(JSON)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class CheckRow(Base):
    """When a file in the component folder was last read and found to be what its name says."""

    __tablename__ = "checks"

    digest: Mapped[str] = mapped_column(DigestText, primary_key=True)
    checked_at: Mapped[datetime] = mapped_column(UtcDateTime)


class RemovalRow(Base):
    """The removal of a task; ``payload`` says what it changed. ``state`` is ``open``, ``undone`` or ``final``."""

    __tablename__ = "removals"
    __table_args__ = (CheckConstraint("state IN ('open', 'undone', 'final')", name="state"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    task: Mapped[str] = mapped_column(ForeignKey("tasks.name"))
    state: Mapped[str] = mapped_column(String(16))
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)
    at: Mapped[datetime] = mapped_column(UtcDateTime)


class FactRow(Base):
    """Something about the system that no other table says.

    ``config`` is the SHA-256 of ``mu2net.toml``, ``transactions`` counts those that wrote.
    """

    __tablename__ = "facts"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[str] = mapped_column(String(255))
