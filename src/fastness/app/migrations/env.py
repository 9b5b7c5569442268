"""Run by Alembic; gets the database's path from `fastness.app.migrate`."""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine, pool

from fastness.app.tables import METADATA

engine = create_engine(f"sqlite:///{context.config.attributes['database']}", poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=METADATA, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
