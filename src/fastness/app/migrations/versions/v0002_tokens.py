"""Clients, device and authorization codes, refresh tokens, denied tokens, external providers."""

from __future__ import annotations

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables."""
