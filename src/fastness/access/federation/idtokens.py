"""Id tokens: what a provider says of a person, verified by every rule of OpenID Connect Core 1.0, section 3.1.3.7."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, Final

from fastness.access.federation.parts import Proven, Resumed, refuse
from fastness.access.federation.providers import Provider
from fastness.access.tokens.jose import VerifyingKey, base64url, open_jws, seconds, text
from fastness.core.clock import SECOND, Instant
from fastness.core.errors import Unauthenticated
from fastness.core.identity import Strength

SKEW_S: Final = 30
OLDEST_S: Final = 600
"""Seconds since an id token was made, at most: it is fetched at once."""


STALE_S: Final = 3600
"""How long ago a login is taken to be whose time the provider does not say: too long to count as just made."""


def verify(token: bytes, keys: Mapping[str, VerifyingKey], provider: Provider, now: Instant) -> dict[str, Any]:
    """The claims of an id token of this provider, for this house, good now.

    Raises:
        Unauthenticated: with an `audit_code` that says why.
    """
    claims = open_jws(token, (None, "JWT"), keys)
    require_addressed(claims, provider, now)
    if claims.get("azp", provider.client_id) != provider.client_id:
        refuse("party-other")
    return claims


def require_addressed(claims: Mapping[str, Any], provider: Provider, now: Instant) -> None:
    """Return if a token is of this provider, for this house, and good now.

    Raises:
        Unauthenticated: with an `audit_code` that says why.
    """
    if claims.get("iss") != provider.issuer:
        refuse("issuer-other")
    audience = claims.get("aud")
    if audience not in (provider.client_id, [provider.client_id]):
        refuse("audience-other")  # several audiences would have to be trusted one by one; none is
    now_s = now // SECOND
    issued, expires = seconds(claims, "iat"), seconds(claims, "exp")
    if now_s >= expires + SKEW_S or issued < now_s - OLDEST_S:
        refuse("id-token-expired")
    if issued > now_s + SKEW_S or ("nbf" in claims and seconds(claims, "nbf") > now_s + SKEW_S):
        refuse("id-token-early")


def judged(claims: Mapping[str, Any], resumed: Resumed, access_token: str, age_s: int, now: Instant) -> Proven:
    """Who that is, and how and when they logged in.

    Raises:
        Unauthenticated: the token is of another login, or the login too old.
    """
    provider = resumed.known.provider
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not hmac.compare_digest(nonce.encode(), resumed.nonce.encode()):
        refuse("nonce-other")
    if "at_hash" in claims and not _fits(claims["at_hash"], access_token, resumed.alg):
        refuse("access-token-other")
    try:
        subject = text(claims, "sub", 255)
        unknown = not age_s and "auth_time" not in claims
        logged_in = now // SECOND - STALE_S if unknown else seconds(claims, "auth_time")
    except Unauthenticated:
        refuse("id-token-claims")
    now_s = now // SECOND
    if logged_in > now_s + SKEW_S or (age_s and logged_in < now_s - age_s - SKEW_S):
        refuse("login-old")
    at = Instant(min(logged_in, now_s) * SECOND)
    return Proven(
        resumed.known, subject, _strength(claims, provider), at, resumed.return_to, claims, asker=resumed.asker
    )  # fmt: skip


def _strength(claims: Mapping[str, Any], provider: Provider) -> Strength:
    """A second factor only where the provider says so in words that are settled with it."""
    acr, amr = claims.get("acr"), claims.get("amr")
    methods = {method for method in amr if isinstance(method, str)} if isinstance(amr, list) else set()
    strong = (isinstance(acr, str) and acr in provider.strong_acr) or bool(methods & set(provider.strong_amr))
    return Strength.MFA if strong else Strength.PASSWORD


def _fits(at_hash: object, access_token: str, alg: str) -> bool:
    """Whether the access token is the one that the id token was made with. OpenID Connect Core 1.0, section 3.1.3.6."""
    hashed = hashlib.sha512 if alg in {"EdDSA", "Ed25519"} else hashlib.sha256
    whole = hashed(access_token.encode("utf-8", "replace")).digest()
    left = base64url(whole[: len(whole) // 2])
    return isinstance(at_hash, str) and hmac.compare_digest(at_hash.encode("utf-8", "replace"), left)
