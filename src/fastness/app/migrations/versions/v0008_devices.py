"""From where a device asked to be let in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Devices that wait now begin again: their rows are sealed without the column, and good for ten minutes anyway."""
    op.execute("DELETE FROM oauth_device")
    op.add_column("oauth_device", sa.Column("network", sa.String(length=64), nullable=True))
