"""The registry's first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create all tables."""
    _create_tasks()
    _create_components()
    _create_cycles()
    _create_events()
    _create_paths()
    _create_path_slots()
    _create_probes()


def downgrade() -> None:
    """Drop all tables."""
    for table in ("probes", "path_slots", "paths", "events", "cycles", "components", "tasks"):
        op.drop_table(table)


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("source", sa.JSON(), nullable=False),
        sa.Column("classes", sa.JSON(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("is_private", sa.Boolean(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_tasks")),
        sa.UniqueConstraint("number", name=op.f("uq_tasks_number")),
    )


def _create_components() -> None:
    op.create_table(
        "components",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("num_params", sa.BigInteger(), nullable=False),
        sa.Column("num_bytes", sa.BigInteger(), nullable=False),
        sa.Column("task", sa.String(length=255), nullable=True),
        sa.Column("source_digest", sa.String(length=64), nullable=True),
        sa.Column("momentum_digest", sa.String(length=64), nullable=True),
        sa.Column("created_by", sa.String(length=512), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["source_digest"], ["components.digest"], name=op.f("fk_components_source_digest")),
        sa.ForeignKeyConstraint(["task"], ["tasks.name"], name=op.f("fk_components_task")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_components")),
    )


def _create_cycles() -> None:
    op.create_table(
        "cycles",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("task", sa.String(length=255), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("agent", sa.String(length=255), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("spent_seconds", sa.Float(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.CheckConstraint("state IN ('running', 'published', 'abandoned')", name=op.f("ck_cycles_state")),
        sa.ForeignKeyConstraint(["task"], ["tasks.name"], name=op.f("fk_cycles_task")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cycles")),
        sa.UniqueConstraint("task", "number", name=op.f("uq_cycles_task_number")),
    )
    op.create_index(
        "uq_cycles_running",
        "cycles",
        ["task"],
        unique=True,
        sqlite_where=sa.text("state = 'running'"),
        postgresql_where=sa.text("state = 'running'"),
    )


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("task", sa.String(length=255), nullable=True),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["task"], ["tasks.name"], name=op.f("fk_events_task")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )


def _create_paths() -> None:
    op.create_table(
        "paths",
        sa.Column("id", sa.String(length=512), nullable=False),
        sa.Column("task", sa.String(length=255), nullable=True),
        sa.Column("cycle", sa.Integer(), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=True),
        sa.Column("child", sa.Integer(), nullable=True),
        sa.Column("parent_id", sa.String(length=512), nullable=True),
        sa.Column("agent", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("is_kept", sa.Boolean(), nullable=False),
        sa.Column("is_private", sa.Boolean(), nullable=False),
        sa.Column("publication", sa.Integer(), nullable=True),
        sa.Column("proposal", sa.JSON(), nullable=True),
        sa.Column("hparams", sa.JSON(), nullable=False),
        sa.Column("mutations", sa.JSON(), nullable=False),
        sa.Column("rates", sa.JSON(), nullable=False),
        sa.Column("metrics", sa.JSON(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.CheckConstraint("state IN ('root', 'child', 'live', 'retired')", name=op.f("ck_paths_state")),
        sa.ForeignKeyConstraint(["parent_id"], ["paths.id"], name=op.f("fk_paths_parent_id")),
        sa.ForeignKeyConstraint(["task"], ["tasks.name"], name=op.f("fk_paths_task")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_paths")),
        sa.UniqueConstraint("publication", name=op.f("uq_paths_publication")),
    )
    op.create_index("ix_paths_task_cycle", "paths", ["task", "cycle", "generation", "child"], unique=False)
    op.create_index(
        "uq_paths_live",
        "paths",
        ["task"],
        unique=True,
        sqlite_where=sa.text("state = 'live'"),
        postgresql_where=sa.text("state = 'live'"),
    )


def _create_path_slots() -> None:
    op.create_table(
        "path_slots",
        sa.Column("path_id", sa.String(length=512), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("slot", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["digest"], ["components.digest"], name=op.f("fk_path_slots_digest")),
        sa.ForeignKeyConstraint(["path_id"], ["paths.id"], name=op.f("fk_path_slots_path_id")),
        sa.PrimaryKeyConstraint("path_id", "position", name=op.f("pk_path_slots")),
    )
    op.create_index(op.f("ix_path_slots_digest"), "path_slots", ["digest"], unique=False)


def _create_probes() -> None:
    op.create_table(
        "probes",
        sa.Column("path_id", sa.String(length=512), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("environment", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["path_id"], ["paths.id"], name=op.f("fk_probes_path_id")),
        sa.PrimaryKeyConstraint("path_id", name=op.f("pk_probes")),
    )
