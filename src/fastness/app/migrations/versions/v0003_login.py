"""Passwords, second factors, recovery codes, sessions, elevations, lockouts."""

from __future__ import annotations

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables."""
