"""What Alembic runs around the revisions; ``mu2net.store.migrate`` gives it a connection in a transaction."""

from __future__ import annotations

from alembic import context

from mu2net.store.schema import Base


def run() -> None:
    """Run the revisions that the command asks for, on the connection in the configuration's attributes."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=Base.metadata,
        render_as_batch=True,
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()


# Alembic puts ``config`` there for the time that it runs this file; whoever imports it otherwise only looks at it.
if hasattr(context, "config"):
    run()
