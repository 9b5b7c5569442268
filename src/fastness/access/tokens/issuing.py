"""Access tokens are made here, and taken back.

A token says whose it is, for whom, until when and to what it is narrowed; roles do not stand in it, they are looked up
when it is used. Times are whole seconds: what was issued in the second of a revocation is revoked with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastness.access.tokens import jose, records
from fastness.access.tokens.keys import ACCESS_LIFE_S, TOPIC, Signers
from fastness.access.tokens.rights import Rights
from fastness.access.tokens.verifier import MOST_ACTORS, SKEW_S, TYPE
from fastness.core.clock import SECOND, Instant, later, uuid7
from fastness.core.errors import Invalid
from fastness.core.events import Detail, EventKind
from fastness.core.identity import PrincipalId, Strength
from fastness.foundation.storage import Transaction


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who issues, for whom, with which keys.

    Attributes:
        name: the `iss` of the tokens; an https address without query, fragment or slash at the end.
        audience: their `aud`: this house's interfaces.
        life_s: seconds that an access token lives, at most 600.
    """

    name: str
    audience: str
    signers: Signers
    life_s: int = ACCESS_LIFE_S

    def __post_init__(self) -> None:
        loopback = self.name.startswith(("http://127.0.0.1", "http://[::1]"))
        if not (self.name.startswith("https://") or loopback) or self.name.endswith("/") or set("?#") & set(self.name):
            raise Invalid(
                "token-settings", "the issuer is an https address without slash at the end, query or fragment"
            )
        if not self.audience or not 1 <= self.life_s <= ACCESS_LIFE_S:
            raise Invalid("token-settings", f"tokens need an audience, and live 1 to {ACCESS_LIFE_S} seconds")


@dataclass(frozen=True, slots=True)
class Grantee:
    """To whom, and on what grounds.

    Attributes:
        client: the OAuth2 client that gets the token.
        family: of the refresh tokens it came with; empty where there are none.
        actors: the chain of delegation, the present actor first.
        ancestors: ids of the tokens it was exchanged from.
        thumbprint: of the certificate it is bound to; empty for a bearer token.
        expires_by: it does not outlive this; None leaves the issuer's life.
    """

    principal: PrincipalId
    rights: Rights
    strength: Strength
    authenticated_at: Instant
    client: str
    family: str = ""
    actors: tuple[PrincipalId, ...] = ()
    ancestors: tuple[str, ...] = ()
    thumbprint: str = ""
    expires_by: Instant | None = None


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A fresh token; printing it does not show its text.

    Attributes:
        life_s: seconds until it expires.
    """

    id: str
    life_s: int
    text: str

    def __repr__(self) -> str:
        return f"AccessToken({self.id}, {self.life_s} s, ***)"


def issue(tx: Transaction, issuer: Issuer, grantee: Grantee) -> AccessToken:
    """An access token for `grantee`, recorded.

    Raises:
        Invalid: it would permit nothing, has expired already, or has too long a chain of actors.
        NotFound: there is no signing key yet.
    """
    now_s = tx.now // SECOND
    expires_s = now_s + issuer.life_s
    if grantee.expires_by is not None:
        expires_s = min(expires_s, grantee.expires_by // SECOND)
    if expires_s <= now_s:
        raise Invalid("token-lifetime", "the token would have expired already")
    if grantee.rights.empty():
        raise Invalid("scope-invalid", "a token that permits nothing is good for nothing")
    if len(grantee.actors) > MOST_ACTORS:
        raise Invalid("delegation-deep", f"at most {MOST_ACTORS} may act one for another")
    token_id = uuid7(tx.now, tx.events.entropy)
    claims: dict[str, Any] = {
        "iss": issuer.name,
        "aud": issuer.audience,
        "iat": now_s,
        "exp": expires_s,
        "jti": token_id,
        "sub": grantee.principal,
        "tenant": tx.scope.tenant,
        "client_id": grantee.client,
        "scope": grantee.rights.scope(),
        "acr": grantee.strength.name.lower(),
        "auth_time": min(grantee.authenticated_at, tx.now) // SECOND,
    }
    claims |= _where_given(grantee)
    text = jose.sign(issuer.signers.signing(tx), TYPE, claims)
    details: dict[str, Detail] = {
        "client": grantee.client,
        "scope": claims["scope"],
        "expires_at": expires_s * SECOND,
        "actors": " ".join(grantee.actors),
        "family": grantee.family,
    }
    event = tx.events.make(
        EventKind.TOKEN_ISSUED, f"token:{token_id}", details=details | {"subject": grantee.principal}
    )
    tx.emit(event)
    return AccessToken(token_id, expires_s - now_s, text)


def revoke(tx: Transaction, identifier: str, subject: PrincipalId, reason: str, life_s: int = ACCESS_LIFE_S) -> bool:
    """Refuse a token or a family from now on, wherever it is presented; False if it was refused already.

    Args:
        identifier: id of the token or the family, or `client/ID` for all that a client was issued.
        subject: whose it was, for the record.
        life_s: how long its tokens could still be good.
    """
    if not records.deny(tx, identifier, later(tx.now, life_s + SKEW_S)):
        return False
    details: dict[str, Detail] = {"subject": subject}
    tx.emit(tx.events.make(EventKind.TOKEN_REVOKED, f"token:{identifier}", reason=reason, details=details))
    tx.touch(TOPIC)
    return True


def revoke_all(tx: Transaction, principal: PrincipalId, reason: str) -> None:
    """Refuse every access token of a principal that was issued until now. Refresh tokens: `oauth.revoke_all`."""
    records.put_floor(tx, principal, Instant((tx.now // SECOND + 1) * SECOND))
    tx.emit(tx.events.make(EventKind.TOKEN_REVOKED, f"principal:{principal}", reason=reason))
    tx.touch(TOPIC)


def _where_given(grantee: Grantee) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if grantee.family:
        given["family"] = grantee.family
    if grantee.ancestors:
        given["via"] = list(grantee.ancestors)
    if grantee.thumbprint:
        given["cnf"] = {"x5t#S256": grantee.thumbprint}
    for actor in reversed(grantee.actors):
        given["act"] = {"sub": actor} | ({"act": given["act"]} if "act" in given else {})
    return given
