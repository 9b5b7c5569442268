"""What several persons must say yes to: signed approvals, and the requests that ask for them.

`record_approval` and `quorum` keep and count what was signed about a digest; releases use them as they are. Module `requests` adds
who asks, until when and on what terms, for all else.
"""

from fastness.access.approvals import requests
from fastness.access.approvals.settings import ApprovalSettings
from fastness.access.approvals.signed import (
    ALTERED,
    COUNTED,
    MISSING,
    NOT_COUNTED,
    PREDICATE_TYPE,
    REJECTED,
    RULES,
    Approval,
    Choice,
    proposal,
    public_keys,
    quorum,
    record_approval,
)

__all__ = [
    "ALTERED",
    "COUNTED",
    "MISSING",
    "NOT_COUNTED",
    "PREDICATE_TYPE",
    "REJECTED",
    "RULES",
    "Approval",
    "ApprovalSettings",
    "Choice",
    "proposal",
    "public_keys",
    "quorum",
    "record_approval",
    "requests",
]
