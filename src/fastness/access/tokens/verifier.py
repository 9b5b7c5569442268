"""Who presents this access token? Answered on a snapshot, without SQL, and from memory where it was asked before.

What a token says is believed only if the house signed it; what changes sooner than tokens expire (roles, standing,
revocation) is looked up in the snapshot each time that moves. So a role taken away counts at once, and a token whose
signature was verified before is not verified again for a new snapshot.

The memory is keyed by SHA-256 of a secret block and the token: nobody outside can aim at a slot. It keeps good tokens
only, two generations of them, so that a flood of bad ones neither fills it nor pushes others out.

Cost: cached about 1.2 us, cold one signature verification; `benchmarks/tokens.py`.

Source: RFC 9068 (JWT access tokens), section 4; RFC 8705 (certificate binding), section 3; RFC 8693, section 4.1 (act).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastness.access.tokens import jose
from fastness.access.tokens.jose import refuse, seconds, text
from fastness.access.tokens.keys import ACCESS_LIFE_S
from fastness.access.tokens.rights import Rights, parse_scope
from fastness.access.tokens.snapshot import Holder, TokenKeys
from fastness.core.clock import SECOND, Instant
from fastness.core.errors import Invalid
from fastness.core.identity import Principal, PrincipalId, Strength, TenantId

TYPE: Final = "at+jwt"
SKEW_S: Final = 5
"""Seconds by which the clocks of two machines of the house may differ."""
MOST_ACTORS: Final = 3
"""Actors in a chain of delegations at most."""

_GENERATION = 4096
_STRENGTHS = {strength.name.lower(): strength for strength in Strength}


@dataclass(frozen=True, slots=True)
class Bearer:
    """Who presents a token, and what is to be known of the token itself.

    Attributes:
        client: the OAuth2 client it was issued to.
        family: what is revoked together with it; empty for tokens that stand alone.
        actors: who acts in the principal's name, the present one first.
        ancestors: ids of the tokens it was exchanged from.
        thumbprint: base64url SHA-256 of the certificate it is bound to; empty where it is bound to none.
        expires_at: from then on it is refused.
    """

    principal: Principal
    rights: Rights
    token_id: str
    client: str
    family: str
    actors: tuple[PrincipalId, ...]
    ancestors: tuple[str, ...]
    thumbprint: str
    issued_at: Instant
    expires_at: Instant


@dataclass(slots=True)
class _Known:
    claims: dict[str, Any]
    kid: str
    keys: TokenKeys
    bearer: Bearer
    until: int
    thumbprint: str


class Verifier:
    """Verifies access tokens on the newest snapshot it was given. One a process; safe between threads.

    Args:
        secret: 32 random bytes of this process.
    """

    def __init__(self, keys: TokenKeys, secret: bytes) -> None:
        if len(secret) < 32:
            raise Invalid("token-secret", "the verifier needs 32 random bytes")
        self._hash = hashlib.sha256(secret[:32].ljust(64, b"\0"))  # one whole block
        self._young: dict[bytes, _Known] = {}
        self._old: dict[bytes, _Known] = {}
        self._keys = keys
        self._public = _imported(keys)

    def use(self, keys: TokenKeys) -> None:
        """Judge by another snapshot from now on."""
        self._keys, self._public = keys, _imported(keys)

    def verify(self, token: bytes, now: Instant, thumbprint: str = "") -> Bearer:
        """Who presents `token`.

        Args:
            thumbprint: of the client certificate of the connection, where it has one.

        Raises:
            Unauthenticated: `token-refused`. Its `audit_code` says why: `token-malformed`, `token-header`,
                `token-type`, `token-key-unknown`, `token-algorithm`, `token-forged`, `token-claims`, `token-issuer`,
                `token-audience`, `token-expired`, `token-early`, `token-long-lived`, `token-revoked`,
                `token-principal`, `token-actor` or `token-binding`. Nothing of the token is repeated.
        """
        if len(token) > jose.LONGEST:
            refuse("token-malformed")
        hashed = self._hash.copy()
        hashed.update(token)
        key = hashed.digest()
        known = self._young.get(key)
        if known is not None and known.keys is self._keys and now < known.until and known.thumbprint == thumbprint:
            return known.bearer
        return self._judge(token, key, now, thumbprint)

    def _judge(self, token: bytes, key: bytes, now: Instant, thumbprint: str) -> Bearer:
        """The long way: look again at what was verified before, or verify it."""
        keys, public = self._keys, self._public
        known = self._young.get(key) or self._old.get(key)
        if known is not None and keys.keys.get(known.kid) == known.keys.keys.get(known.kid):
            claims, kid = known.claims, known.kid
            check_times(claims, now)
        else:
            found = jose.read(token, (TYPE,))
            _check_addresses(found.claims, keys)
            check_times(found.claims, now)  # before the signature: refusing old tokens costs nothing
            claims, kid = jose.verify(found, public), found.header["kid"]
        bearer = judged(claims, keys)
        if bearer.thumbprint and bearer.thumbprint != thumbprint:
            refuse("token-binding")
        until = bearer.expires_at + SKEW_S * SECOND
        if len(self._young) >= _GENERATION:
            self._old, self._young = self._young, {}
        self._young[key] = _Known(claims, kid, keys, bearer, until, thumbprint)
        return bearer


def judged(claims: Mapping[str, Any], keys: TokenKeys) -> Bearer:
    """Who the verified claims speak of, as things stand in the snapshot.

    Raises:
        Unauthenticated: a claim is missing or wrong, or what it names was revoked.
    """
    _check_addresses(claims, keys)
    tenant, subject = text(claims, "tenant", 64), text(claims, "sub", 80)
    token_id, client = text(claims, "jti", 64), text(claims, "client_id", 80)
    family = text(claims, "family", 64) if "family" in claims else ""
    ancestors = _texts(claims.get("via", []))
    issued_at = Instant(seconds(claims, "iat") * SECOND)
    holder = _holder(keys, tenant, subject, issued_at, "token-principal")
    refused = keys.denied
    if refused and any(
        f"{tenant}/{identifier}" in refused for identifier in (token_id, family, f"client/{client}", *ancestors)
    ):
        refuse("token-revoked")
    actors = _actors(claims.get("act"))
    for actor in actors:
        _holder(keys, tenant, actor, issued_at, "token-actor")
    rights = _rights(claims)
    authenticated_at = Instant(seconds(claims, "auth_time") * SECOND) if "auth_time" in claims else issued_at
    principal = Principal(
        holder.kind,
        PrincipalId(subject),
        TenantId(tenant),
        holder.roles,
        _strength(claims),
        authenticated_at,
        rights.actions,
        rights.models,
        holder.grants,
        actor=actors[0] if actors else PrincipalId(""),
    )
    expires_at = Instant(seconds(claims, "exp") * SECOND)
    return Bearer(
        principal, rights, token_id, client, family, actors, ancestors, _thumbprint(claims), issued_at, expires_at
    )


def _imported(keys: TokenKeys) -> dict[str, jose.VerifyingKey]:
    return {kid: jose.import_public(key.jwk, key.alg) for kid, key in keys.keys.items()}


def _check_addresses(claims: Mapping[str, Any], keys: TokenKeys) -> None:
    """Issuer and audience, each one text and the right one: a token for several is nobody's alone."""
    if claims.get("iss") != keys.issuer:
        refuse("token-issuer")
    if claims.get("aud") != keys.audience:
        refuse("token-audience")


def check_times(claims: Mapping[str, Any], now: Instant) -> None:
    """Refuse a token before and after its time, and one that was made to live too long."""
    issued, expires = seconds(claims, "iat"), seconds(claims, "exp")
    not_before = seconds(claims, "nbf") if "nbf" in claims else issued
    if now >= (expires + SKEW_S) * SECOND:
        refuse("token-expired")
    if now < (max(issued, not_before) - SKEW_S) * SECOND:
        refuse("token-early")
    if expires - issued > ACCESS_LIFE_S:
        refuse("token-long-lived")


def _holder(keys: TokenKeys, tenant: str, name: str, issued_at: Instant, audit_code: str) -> Holder:
    holder = keys.holders.get(f"{tenant}/{name}")
    if holder is None or not holder.active:
        refuse(audit_code)
    if issued_at < holder.not_before:
        refuse("token-revoked")
    return holder


def _rights(claims: Mapping[str, Any]) -> Rights:
    scope = claims.get("scope")
    if not isinstance(scope, str):
        refuse("token-claims")
    try:
        return parse_scope(scope)
    except Invalid:
        refuse("token-claims")


def _strength(claims: Mapping[str, Any]) -> Strength:
    acr = claims.get("acr", "key")
    strength = _STRENGTHS.get(acr) if isinstance(acr, str) else None
    if strength is None:
        refuse("token-claims")
    return strength


def _actors(act: object) -> tuple[PrincipalId, ...]:
    """The chain in `act`, the present actor first. RFC 8693, section 4.1."""
    found: list[PrincipalId] = []
    while act is not None:
        if not isinstance(act, dict) or not act.keys() <= {"sub", "act"} or len(found) == MOST_ACTORS:
            refuse("token-actor")
        found.append(PrincipalId(text(act, "sub", 80)))
        act = act.get("act")
    return tuple(found)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > MOST_ACTORS or not all(isinstance(item, str) for item in value):
        refuse("token-claims")
    return tuple(value)


def _thumbprint(claims: Mapping[str, Any]) -> str:
    """What the token is bound to; a way of binding that is not known here cannot be checked, and so refuses."""
    bound = claims.get("cnf")
    if bound is None:
        return ""
    if not isinstance(bound, dict) or bound.keys() != {"x5t#S256"}:
        refuse("token-binding")
    return text(bound, "x5t#S256", 64)
