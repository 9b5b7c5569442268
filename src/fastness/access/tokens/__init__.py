"""Access tokens: short-lived, signed by the house, verified without SQL wherever they are presented."""

from fastness.access.tokens.inside import verify_in
from fastness.access.tokens.issuing import AccessToken, Grantee, Issuer, issue, revoke, revoke_all
from fastness.access.tokens.jose import EXTERNAL, OURS
from fastness.access.tokens.keys import ACCESS_LIFE_S, TOPIC, Signers, jwks, rotate_keys, withdraw_key
from fastness.access.tokens.rights import EVERYTHING, Rights, parse_scope
from fastness.access.tokens.snapshot import TokenKeys, TokenKeysProjection
from fastness.access.tokens.verifier import MOST_ACTORS, Bearer, Verifier

__all__ = [
    "ACCESS_LIFE_S",
    "EVERYTHING",
    "EXTERNAL",
    "MOST_ACTORS",
    "OURS",
    "TOPIC",
    "AccessToken",
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
    "verify_in",
    "withdraw_key",
]
