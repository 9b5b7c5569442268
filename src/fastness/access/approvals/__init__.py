"""What several persons must say yes to: signed approvals, and the requests that ask for them.

`signed` counts what was signed about a digest; releases use it as it is. `requests` adds who asks, until when, and on what terms.
"""

from fastness.access.approvals.requests import (
    ApprovalRequest,
    RequestState,
    Terms,
    answer,
    ask,
    expire,
    find,
    find_all,
    standing,
    use,
    waiting_for,
    withdraw,
)
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
    enrolled_keys,
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
    "ApprovalRequest",
    "Choice",
    "RequestState",
    "Terms",
    "answer",
    "ask",
    "enrolled_keys",
    "expire",
    "find",
    "find_all",
    "proposal",
    "public_keys",
    "quorum",
    "record_approval",
    "standing",
    "use",
    "waiting_for",
    "withdraw",
]
