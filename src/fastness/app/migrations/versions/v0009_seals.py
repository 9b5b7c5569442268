"""Seals of logins, tokens, restrictions, quotas, requests, reviews, provisioned users and tenants; what seals add up to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_SEALED = (
    "access_review",
    "access_review_item",
    "access_review_reviewer",
    "approval_request",
    "login_bucket",
    "login_challenge",
    "login_elevation",
    "login_invitation",
    "login_passkey",
    "login_password",
    "login_recovery",
    "login_session",
    "login_ticket",
    "login_totp",
    "quota",
    "restriction",
    "scim_user",
    "session_act",
    "tenant",
    "token_denied",
    "token_floor",
    "token_key",
)


def upgrade() -> None:
    """Make the table and the columns; what stood before is sealed when the house is first opened with its key ring."""
    for table in _SEALED:
        op.add_column(table, sa.Column("seal", sa.LargeBinary(length=32), nullable=True))
    op.create_table(
        "seal_sum",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.LargeBinary(length=32), nullable=False),
        sa.Column("seal", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", name=op.f("pk_seal_sum")),
    )
