"""Versions, revisions and aliases of models: immutable where they can be, signed, and held against the ledger."""

from fastness.models.registry.aliases import alias, history, move_alias
from fastness.models.registry.lifecycle import (
    RegisterRequest,
    Version,
    VersionState,
    models,
    register,
    set_state,
    version,
)
from fastness.models.registry.manifest import ManifestFile, Predicate
from fastness.models.registry.revisions import Revision, create_revision, revision

__all__ = [
    "ManifestFile",
    "Predicate",
    "RegisterRequest",
    "Revision",
    "Version",
    "VersionState",
    "alias",
    "create_revision",
    "history",
    "models",
    "move_alias",
    "register",
    "revision",
    "set_state",
    "version",
]
