"""Where tasks came from that another system learned."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; no task was imported so far."""
    op.add_column("tasks", sa.Column("imported", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("tasks", "imported")
