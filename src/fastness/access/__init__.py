"""Who asks, and may they: principals, API keys, policy decisions, approvals.

`approvals` holds what is approved by several (`record_approval`, `quorum`, `public_keys`, `proposal`), `standing` what
changes for those who belong (`set_roles`, `deactivate`, `narrow_key`, `reissue_code`, `revoke_public_key`).
"""

from fastness.access import approvals, standing
from fastness.access.credentials import Authenticated, Credentials, authenticate
from fastness.access.decisions import AccessDecision, Policies, decide
from fastness.access.members import create_key, create_principal, enrol, keys, principals, revoke_key
from fastness.access.projection import KeysProjection

__all__ = [
    "AccessDecision",
    "Authenticated",
    "Credentials",
    "KeysProjection",
    "Policies",
    "approvals",
    "authenticate",
    "create_key",
    "create_principal",
    "decide",
    "enrol",
    "keys",
    "principals",
    "revoke_key",
    "standing",
]
