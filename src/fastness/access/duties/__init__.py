"""Separation of duties beyond single policies: toxic combinations of roles, and of acts in one session."""

from fastness.access.duties.separation import CONFLICT, RULES, conflicts, note, require_separate, unnote
from fastness.access.duties.settings import DutySettings
from fastness.access.duties.static import DELEGATION, Separation
from fastness.access.duties.toxic import ACTS, ROLES

__all__ = [
    "ACTS",
    "CONFLICT",
    "DELEGATION",
    "ROLES",
    "RULES",
    "DutySettings",
    "Separation",
    "conflicts",
    "note",
    "require_separate",
    "unnote",
]
