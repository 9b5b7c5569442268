"""Tenants, groups, grants on single models, reviews, provisioned identities, keys' addresses and last use; seals."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Make the tables; what stood before is sealed when the house is first opened with its key ring."""
    _columns()
    _groups()
    _tenants()
    _scim()
    _reviews()
    _decisions()


def _columns() -> None:
    op.add_column("api_key", sa.Column("models", sa.String(length=4224), nullable=True))
    op.add_column("api_key", sa.Column("networks", sa.String(length=2048), nullable=True))
    op.add_column("api_key", sa.Column("successor", sa.String(length=8), nullable=True))
    op.add_column("api_key", sa.Column("seal", sa.LargeBinary(length=32), nullable=True))
    op.add_column("enrolment", sa.Column("seal", sa.LargeBinary(length=32), nullable=True))
    op.add_column("principal", sa.Column("seal", sa.LargeBinary(length=32), nullable=True))
    op.add_column("principal_role", sa.Column("seal", sa.LargeBinary(length=32), nullable=True))
    op.add_column("public_key", sa.Column("seal", sa.LargeBinary(length=32), nullable=True))


def _groups() -> None:
    op.create_table(
        "access_group",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("source", sa.String(length=8), nullable=False),
        sa.Column("roles", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(length=32), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_access_group")),
        sa.UniqueConstraint("tenant", "name", name=op.f("uq_access_group_tenant")),
    )
    op.create_table(
        "access_group_member",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("group_id", sa.String(length=36), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("added_at", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "group_id"],
            ["access_group.tenant", "access_group.id"],
            name=op.f("fk_access_group_member_tenant_access_group"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"],
            ["principal.tenant", "principal.id"],
            name=op.f("fk_access_group_member_tenant_principal"),
        ),
        sa.PrimaryKeyConstraint("tenant", "group_id", "principal", name=op.f("pk_access_group_member")),
    )
    op.create_index("ix_access_group_member_principal", "access_group_member", ["tenant", "principal"], unique=False)
    op.create_table(
        "model_grant",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("granted_by", sa.String(length=80), nullable=False),
        sa.Column("granted_at", sa.BigInteger(), nullable=False),
        sa.Column("seal", sa.LargeBinary(length=32), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"], ["principal.tenant", "principal.id"], name=op.f("fk_model_grant_tenant_principal")
        ),
        sa.PrimaryKeyConstraint("tenant", "principal", "role", "model", name=op.f("pk_model_grant")),
    )


def _tenants() -> None:
    op.create_table(
        "access_last_use",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("what", sa.String(length=96), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "principal", "what", name=op.f("pk_access_last_use")),
    )
    op.create_index("ix_access_last_use_at", "access_last_use", ["tenant", "at"], unique=False)
    op.create_table(
        "access_use_taken",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_access_use_taken")),
    )
    op.create_table(
        "tenant",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("created_by", sa.String(length=80), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("deactivated_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_tenant")),
    )


def _scim() -> None:
    op.create_table(
        "scim_group",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("external_id", sa.String(length=255), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "id"], ["access_group.tenant", "access_group.id"], name=op.f("fk_scim_group_tenant_access_group")
        ),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_scim_group")),
    )
    op.create_table(
        "scim_user",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("user_key", sa.String(length=255), nullable=False),
        sa.Column("external_id", sa.String(length=255), nullable=True),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("deleted_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"], ["principal.tenant", "principal.id"], name=op.f("fk_scim_user_tenant_principal")
        ),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_scim_user")),
    )
    op.create_index("ix_scim_user_key", "scim_user", ["tenant", "user_key"], unique=False)
    op.create_index("ix_scim_user_principal", "scim_user", ["tenant", "principal"], unique=False)


def _reviews() -> None:
    op.create_table(
        "access_review",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("created_by", sa.String(length=80), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("deadline", sa.BigInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_access_review")),
    )


def _decisions() -> None:
    op.create_table(
        "access_review_item",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("review", sa.String(length=36), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("subject", sa.String(length=128), nullable=False),
        sa.Column("shown", sa.String(length=255), nullable=False),
        sa.Column("last_used_at", sa.BigInteger(), nullable=True),
        sa.Column("decision", sa.String(length=8), nullable=True),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("decided_by", sa.String(length=80), nullable=False),
        sa.Column("decided_at", sa.BigInteger(), nullable=True),
        sa.Column("ends_at", sa.BigInteger(), nullable=True),
        sa.Column("applied_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "review"],
            ["access_review.tenant", "access_review.id"],
            name=op.f("fk_access_review_item_tenant_access_review"),
        ),
        sa.PrimaryKeyConstraint("tenant", "review", "number", name=op.f("pk_access_review_item")),
    )
    op.create_index(
        "ix_access_review_item_open", "access_review_item", ["tenant", "review", "applied_at"], unique=False
    )
    op.create_table(
        "access_review_reviewer",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("review", sa.String(length=36), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"],
            ["principal.tenant", "principal.id"],
            name=op.f("fk_access_review_reviewer_tenant_principal"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant", "review"],
            ["access_review.tenant", "access_review.id"],
            name=op.f("fk_access_review_reviewer_tenant_access_review"),
        ),
        sa.PrimaryKeyConstraint("tenant", "review", "principal", name=op.f("pk_access_review_reviewer")),
    )
