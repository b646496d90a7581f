"""Influence, compartments, leases, checks and removals."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Columns = dict[str, tuple["sa.Column[Any]", ...]]


def _columns() -> Columns:
    """Return the new columns of every table; a column belongs to one table for ever, so they are made anew."""
    return {
        "tasks": (
            sa.Column("allow_from", sa.JSON(), nullable=True),
            sa.Column("deny_from", sa.JSON(), nullable=False, server_default=sa.text("'[]'")),
            sa.Column("removed_at", sa.DateTime(), nullable=True),
        ),
        "components": (sa.Column("collected_at", sa.DateTime(), nullable=True),),
        "probes": (sa.Column("collected_at", sa.DateTime(), nullable=True),),
        "paths": (
            sa.Column("influence", sa.JSON(), nullable=False, server_default=sa.text("'[]'")),
            sa.Column("version", sa.String(length=64), nullable=False, server_default=sa.text("''")),
            sa.Column("retired_at", sa.DateTime(), nullable=True),
            sa.Column("is_compacted", sa.Boolean(), nullable=False, server_default=sa.false()),
        ),
    }


def upgrade() -> None:
    """Add columns and tables, and find out who trained what in the paths that there are."""
    for table, columns in _columns().items():
        for column in columns:
            op.add_column(table, column)
    _create_origins()
    _create_leases()
    _create_removals()
    op.create_table(
        "checks",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("checked_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_checks")),
    )
    op.create_table(
        "facts",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_facts")),
    )
    _fill()


def downgrade() -> None:
    """Drop what ``upgrade`` added."""
    for table in ("removals", "leases", "checks", "facts", "origins"):
        op.drop_table(table)
    for table, columns in _columns().items():
        for column in columns:
            op.drop_column(table, column.name)


def _create_origins() -> None:
    op.create_table(
        "origins",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("path_id", sa.String(length=512), nullable=False),
        sa.Column("source_digest", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["digest"], ["components.digest"], name=op.f("fk_origins_digest")),
        sa.ForeignKeyConstraint(["path_id"], ["paths.id"], name=op.f("fk_origins_path_id")),
        sa.ForeignKeyConstraint(["source_digest"], ["components.digest"], name=op.f("fk_origins_source_digest")),
        sa.PrimaryKeyConstraint("digest", "path_id", name=op.f("pk_origins")),
    )


def _create_leases() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("holder", sa.JSON(), nullable=True),
        sa.Column("paths", sa.JSON(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )


def _create_removals() -> None:
    op.create_table(
        "removals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("state IN ('open', 'undone', 'final')", name=op.f("ck_removals_state")),
        sa.ForeignKeyConstraint(["task"], ["tasks.name"], name=op.f("fk_removals_task")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_removals")),
    )


_PATHS = """
    SELECT id, task, parent_id, proposal FROM paths
    ORDER BY CASE WHEN task IS NULL THEN 0 ELSE 1 END, created_at, id
"""
_SLOTS = "SELECT path_id, slot, digest FROM path_slots ORDER BY path_id, position"


def _fill() -> None:
    """Write the origins and the influence of the paths, in the order in which they were recorded."""
    connection = op.get_bind()
    # Nobody wrote down when they retired: their grace period begins now.
    retired = sa.text("UPDATE paths SET retired_at = :at WHERE state = 'retired'")
    connection.execute(retired.bindparams(sa.bindparam("at", datetime.now(UTC).replace(tzinfo=None), sa.DateTime())))
    chains: dict[str, dict[str, str]] = defaultdict(dict)
    for path_id, slot, digest in connection.execute(sa.text(_SLOTS)):
        chains[path_id][slot] = digest
    makers: dict[str, set[str]] = defaultdict(set)
    influence: dict[str, set[str]] = {}
    for path_id, task, parent_id, text in connection.execute(sa.text(_PATHS)).all():
        plans = json.loads(text)["slots"] if text else []
        made = {plan["slot"]: plan["digest"] for plan in plans if plan["action"] != "share"}
        if not plans:
            made = dict.fromkeys(chains[path_id])
        known = {*(plan["digest"] for plan in plans), *chains[path_id].values()} - {None}
        known = {digest for digest in known if "root" not in makers[digest]}
        shaped_by = {maker for digest in known for maker in makers[digest]} | {parent_id}
        tasks: Iterable[str] = set().union(*(influence.get(maker or "", set()) for maker in shaped_by))
        influence[path_id] = {*tasks, *([task] if task else [])}
        for slot, source in made.items():
            digest = chains[path_id][slot]
            if path_id in makers[digest]:
                continue
            makers[digest].add(path_id)
            connection.execute(
                sa.text("INSERT INTO origins (digest, path_id, source_digest) VALUES (:digest, :path, :source)"),
                {"digest": digest, "path": path_id, "source": source},
            )
        connection.execute(
            sa.text("UPDATE paths SET influence = :influence WHERE id = :path"),
            {"influence": json.dumps(sorted(influence[path_id])), "path": path_id},
        )
