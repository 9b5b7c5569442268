"""The same judgement inside a transaction, on the rows as they stand there: for the control process.

It is made by the same function as in the gateway (`verifier.judged`), on a snapshot of only those whom the token names.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastness.access import records as members
from fastness.access.tokens import jose, records
from fastness.access.tokens.issuing import Issuer
from fastness.access.tokens.snapshot import Holder, PublicKey, TokenKeys
from fastness.access.tokens.verifier import TYPE, Bearer, check_times, judged
from fastness.core.clock import Instant
from fastness.core.identity import PrincipalId
from fastness.foundation.storage import Reading


def verify_in(reading: Reading, issuer: Issuer, token: bytes, now: Instant, thumbprint: str | None) -> Bearer:
    """Who presents `token`, in the tenant that reads.

    Args:
        thumbprint: of the client certificate of the connection, empty where it has none; None does not ask, where the
            token is only looked at.

    Raises:
        Unauthenticated: `token-refused`, as `Verifier.verify`.
        Corrupt: a signing key is not what the ring wrapped.
    """
    found = jose.read(token, (TYPE,))
    check_times(found.claims, now)
    published = issuer.signers.published(reading)
    public = {kid: PublicKey(key.alg, jose.public_jwk(key.key)) for kid, key in published.items()}
    claims = jose.verify(found, {kid: jose.VerifyingKey(key.alg, key.key) for kid, key in published.items()})
    tenant = reading.scope.tenant
    named = {name for name in _named(claims) if isinstance(name, str)}
    identifiers = frozenset({*_texts(claims, "jti", "family"), f"client/{claims.get('client_id')}", *_via(claims)})
    keys = TokenKeys(
        issuer.name,
        issuer.audience,
        public,
        {f"{tenant}/{row.id}": row_holder for row, row_holder in _holders(reading, named)},
        frozenset(f"{tenant}/{identifier}" for identifier in records.denied_of(reading, identifiers)),
    )
    bearer = judged(claims, keys)
    if thumbprint is not None and bearer.thumbprint and bearer.thumbprint != thumbprint:
        jose.refuse("token-binding")
    return bearer


def _holders(reading: Reading, named: Iterable[str]) -> list[tuple[members.PrincipalRow, Holder]]:
    found = []
    for name in sorted(named):
        row = members.find_principals(reading, PrincipalId(name)).get(PrincipalId(name))
        if row is not None:
            found.append((row, Holder(row.kind, row.roles, row.active, records.floor_of(reading, row.id), row.grants)))
    return found


def _named(claims: dict[str, Any]) -> list[object]:
    """The subject and all who act for it; what is no chain is refused later."""
    found, act = [claims.get("sub")], claims.get("act")
    while isinstance(act, dict) and len(found) < 8:
        found.append(act.get("sub"))
        act = act.get("act")
    return found


def _texts(claims: dict[str, Any], *names: str) -> list[str]:
    return [value for name in names if isinstance(value := claims.get(name), str)]


def _via(claims: dict[str, Any]) -> list[str]:
    via = claims.get("via")
    return [item for item in via if isinstance(item, str)] if isinstance(via, list) else []
