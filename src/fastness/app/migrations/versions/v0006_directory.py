"""Tenants, groups, grants on single models, reviews, provisioned identities, keys' addresses and last use."""

from __future__ import annotations

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the tables."""
