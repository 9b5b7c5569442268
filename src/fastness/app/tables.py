"""All tables of all packages, declared by being imported; Alembic compares the database with them."""

from __future__ import annotations

import importlib

from fastness.foundation.storage import METADATA

OWNERS = (
    "fastness.foundation.storage",
    "fastness.foundation.vault",
    "fastness.access",
    "fastness.access.approvals",
    "fastness.access.policysets",
    "fastness.access.restrictions",
    "fastness.access.duties",
    "fastness.access.login",
    "fastness.access.tokens",
    "fastness.access.oauth",
    "fastness.access.federation",
    "fastness.access.quotas",
    "fastness.access.directory",
    "fastness.access.scim",
    "fastness.access.reviews",
    "fastness.models.registry",
    "fastness.models.release",
)

for _owner in OWNERS:
    importlib.import_module(f"{_owner}.tables")

__all__ = ["METADATA"]
