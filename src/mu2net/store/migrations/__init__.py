"""The registry's schema, step by step; Alembic runs it."""
