"""The first shape of the records."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "epochs",
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", name=op.f("pk_epochs")),
    )
    op.create_table(
        "events",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("idx", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("principal", sa.String(), nullable=False),
        sa.Column("resource", sa.String(), nullable=False),
        sa.Column("decision", sa.SmallInteger(), nullable=True),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_events")),
    )
    op.create_index(
        "ix_events_found",
        "events",
        ["kind", "resource", "idx"],
        unique=False,
        sqlite_where=sa.text("idx IS NOT NULL"),
        postgresql_where=sa.text("idx IS NOT NULL"),
    )
    op.create_index(
        "ix_events_pending",
        "events",
        ["seq"],
        unique=False,
        sqlite_where=sa.text("idx IS NULL"),
        postgresql_where=sa.text("idx IS NULL"),
    )
    op.create_index(
        "uq_events_idx",
        "events",
        ["idx"],
        unique=True,
        sqlite_where=sa.text("idx IS NOT NULL"),
        postgresql_where=sa.text("idx IS NOT NULL"),
    )
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.Column("leased_until", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
    )
    op.create_index("ix_jobs_due", "jobs", ["kind", "not_before"], unique=False)
    op.create_table(
        "journals",
        sa.Column("file", sa.String(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("file", name=op.f("pk_journals")),
    )
    op.create_table(
        "model",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "name", name=op.f("pk_model")),
    )
    op.create_table(
        "model_allowance",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("environment", sa.String(length=64), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_model_allowance")),
    )
    op.create_index(op.f("ix_model_allowance_environment"), "model_allowance", ["environment"], unique=False)
    op.create_table(
        "principal",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("enrolled_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_principal")),
    )
    op.create_table(
        "vault_blobs",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("content_id", sa.String(length=64), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("refcount", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("committed_at", sa.BigInteger(), nullable=False),
        sa.Column("shredded_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vault_blobs")),
        sa.UniqueConstraint("tenant", "content_id", name=op.f("uq_vault_blobs_tenant")),
    )
    op.create_table(
        "api_key",
        sa.Column("key_id", sa.String(length=8), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("per_s", sa.Float(), nullable=False),
        sa.Column("burst", sa.Float(), nullable=False),
        sa.Column("actions", sa.String(length=1024), nullable=True),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"], ["principal.tenant", "principal.id"], name=op.f("fk_api_key_tenant_principal")
        ),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_key_digest")),
    )
    op.create_table(
        "approval",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=71), nullable=False),
        sa.Column("purpose", sa.String(length=200), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("envelope_digest", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"], ["principal.tenant", "principal.id"], name=op.f("fk_approval_tenant_principal")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval")),
        sa.UniqueConstraint("tenant", "envelope_digest", name=op.f("uq_approval_tenant")),
    )
    op.create_index("ix_approval_found", "approval", ["tenant", "subject", "purpose"], unique=False)
    op.create_table(
        "enrolment",
        sa.Column("code_digest", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"], ["principal.tenant", "principal.id"], name=op.f("fk_enrolment_tenant_principal")
        ),
        sa.PrimaryKeyConstraint("code_digest", name=op.f("pk_enrolment")),
    )
    op.create_table(
        "model_alias",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "model"], ["model.tenant", "model.name"], name=op.f("fk_model_alias_tenant_model")
        ),
        sa.PrimaryKeyConstraint("tenant", "model", "name", name=op.f("pk_model_alias")),
    )
    op.create_table(
        "model_alias_history",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "model"], ["model.tenant", "model.name"], name=op.f("fk_model_alias_history_tenant_model")
        ),
        sa.PrimaryKeyConstraint("tenant", "model", "name", "sequence", name=op.f("pk_model_alias_history")),
    )
    op.create_table(
        "model_version",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("manifest", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=512), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "model"], ["model.tenant", "model.name"], name=op.f("fk_model_version_tenant_model")
        ),
        sa.PrimaryKeyConstraint("tenant", "model", "number", name=op.f("pk_model_version")),
        sa.UniqueConstraint("tenant", "model", "digest", name=op.f("uq_model_version_tenant")),
    )
    op.create_table(
        "principal_role",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"],
            ["principal.tenant", "principal.id"],
            name=op.f("fk_principal_role_tenant_principal"),
        ),
        sa.PrimaryKeyConstraint("tenant", "principal", "role", name=op.f("pk_principal_role")),
    )
    op.create_table(
        "public_key",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("keyid", sa.String(length=64), nullable=False),
        sa.Column("principal", sa.String(length=80), nullable=False),
        sa.Column("pem", sa.LargeBinary(), nullable=False),
        sa.Column("enrolled_at", sa.BigInteger(), nullable=False),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["tenant", "principal"], ["principal.tenant", "principal.id"], name=op.f("fk_public_key_tenant_principal")
        ),
        sa.PrimaryKeyConstraint("tenant", "keyid", name=op.f("pk_public_key")),
    )
    op.create_table(
        "vault_data_keys",
        sa.Column("blob", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("kek_id", sa.String(), nullable=False),
        sa.Column("kek_version", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["blob"], ["vault_blobs.id"], name=op.f("fk_vault_data_keys_blob_vault_blobs")),
        sa.PrimaryKeyConstraint("blob", name=op.f("pk_vault_data_keys")),
    )
    op.create_index(op.f("ix_vault_data_keys_kek_id"), "vault_data_keys", ["kek_id"], unique=False)
    op.create_table(
        "model_attestation",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "model", "number"],
            ["model_version.tenant", "model_version.model", "model_version.number"],
            name=op.f("fk_model_attestation_tenant_model_version"),
        ),
        sa.PrimaryKeyConstraint("tenant", "model", "number", "position", name=op.f("pk_model_attestation")),
    )
    op.create_table(
        "model_revision",
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("model", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant", "model", "number"],
            ["model_version.tenant", "model_version.model", "model_version.number"],
            name=op.f("fk_model_revision_tenant_model_version"),
        ),
        sa.PrimaryKeyConstraint("tenant", "id", name=op.f("pk_model_revision")),
    )
