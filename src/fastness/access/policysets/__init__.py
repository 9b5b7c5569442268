"""A tenant's own rules: written, tested, signed, approved, sealed, and taken by every worker as a whole."""

from fastness.access.policysets.cases import Case, Outcome, read_cases, run_cases, verdict_of
from fastness.access.policysets.documents import (
    SET_TYPE,
    PolicyDocument,
    PolicySet,
    Proposal,
    activate,
    draft,
    propose,
    sets,
)
from fastness.access.policysets.findings import RULES, check, joined
from fastness.access.policysets.page import page
from fastness.access.policysets.snapshot import PoliciesProjection, PolicyBook, PolicySnapshot, SealedRules

__all__ = [
    "RULES",
    "SET_TYPE",
    "Case",
    "Outcome",
    "PoliciesProjection",
    "PolicyBook",
    "PolicyDocument",
    "PolicySet",
    "PolicySnapshot",
    "Proposal",
    "SealedRules",
    "activate",
    "check",
    "draft",
    "joined",
    "page",
    "propose",
    "read_cases",
    "run_cases",
    "sets",
    "verdict_of",
]
