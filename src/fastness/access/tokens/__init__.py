"""Access tokens: short-lived, signed by the house, verified without SQL wherever they are presented."""

from fastness.access.tokens.issuing import Grantee, Issuer, issue, revoke, revoke_all
from fastness.access.tokens.keys import Signers, jwks, rotate_keys, withdraw_key
from fastness.access.tokens.rights import Rights, parse_scope
from fastness.access.tokens.snapshot import TokenKeys, TokenKeysProjection
from fastness.access.tokens.verifier import Bearer, Verifier

__all__ = [
    "Bearer",
    "Grantee",
    "Issuer",
    "Rights",
    "Signers",
    "TokenKeys",
    "TokenKeysProjection",
    "Verifier",
    "issue",
    "jwks",
    "parse_scope",
    "revoke",
    "revoke_all",
    "rotate_keys",
    "withdraw_key",
]
