"""Who asks: from an Authorization header to a principal, on a snapshot, without SQL.

The look-up is by HMAC under the pepper. What its time could tell is how far a digest nobody can predict without the
pepper agrees with another, so nothing about a secret; the key's id is then compared in constant time, and unknown,
expired and revoked keys take the same steps and give the same answer. Only the event (`audit_code`) tells them apart.
Whoever holds a revoked key is not told that the theft was noticed.

Cost: one HMAC-SHA-256 over 65 bytes, one dictionary look-up; what is refused is also held against the form of a key
(`benchmarks/decisions.py`).
"""

from __future__ import annotations

import hmac
from functools import cached_property
from typing import NoReturn

import msgspec

from fastness.access.addresses import Spans, inside
from fastness.access.apikeys import KEY_ID, KEY_LENGTH, PUBLIC_KEYS, well_formed
from fastness.core.clock import Instant
from fastness.core.errors import Unauthenticated
from fastness.core.identity import Action, Grant, Principal, PrincipalId, PrincipalKind, Role, Strength, TenantId
from fastness.core.limits import Limit

_SCHEME = b"Bearer "
_SCHEME_LENGTH = len(_SCHEME)
_HEADER_LENGTH = _SCHEME_LENGTH + KEY_LENGTH


class KeyRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a worker knows of a key: enough to recognise it, nothing to make it from.

    Attributes:
        limit: rate of this key.
        expires_at: ns since 1970 UTC, from which on it is refused.
        revoked: also true where its principal is no longer active.
        actions, models: what it is narrowed to; None leaves all that the roles permit.
        grants: its owner's roles on single models.
        networks: first and last address of each network whence it may be used; none leaves all.
    """

    key_id: str
    principal: PrincipalId
    kind: PrincipalKind
    tenant: TenantId
    roles: frozenset[Role]
    limit: Limit
    expires_at: int
    revoked: bool = False
    actions: frozenset[Action] | None = None
    models: frozenset[str] | None = None
    grants: frozenset[Grant] = frozenset()
    networks: Spans = ()


class Credentials(msgspec.Struct, frozen=True, dict=True):
    """The snapshot of all keys, pushed to the gateway workers.

    Attributes:
        pepper: the key of the HMAC; not printed.
        keys: HMAC-SHA-256 of a key's text to its record.
    """

    pepper: bytes
    keys: dict[bytes, KeyRecord]

    @cached_property
    def keyed(self) -> hmac.HMAC:
        """The HMAC under the pepper, to be copied: starting one costs more than all else of a look-up."""
        return hmac.new(self.pepper, digestmod="sha256")

    def __repr__(self) -> str:
        return f"Credentials(pepper=***, {len(self.keys)} keys)"

    def __rich_repr__(self) -> list[tuple[str, int]]:  # what rich prints instead of the fields
        return [("keys", len(self.keys))]


class Authenticated(msgspec.Struct, frozen=True):
    """Who asks, by which key, and that key's rate.

    Attributes:
        bound: the key is confined to networks: who remembers this answer remembers the address with it.
    """

    principal: Principal
    key_id: str
    limit: Limit
    bound: bool = False

    def permits(self, action: Action) -> bool:
        """Whether the key was left this action; `decide` asks that too."""
        return self.principal.actions is None or action in self.principal.actions


_NOBODY = KeyRecord("--------", PrincipalId(""), PrincipalKind.SYSTEM, TenantId(""), frozenset(), Limit(1, 1), 0)


def authenticate(
    authorization: bytes | None, credentials: Credentials, now: Instant, address: str | None = None
) -> Authenticated:
    """The owner of the key in the value of an Authorization header.

    Args:
        authorization: exactly `Bearer fst_…`: one space, nothing before or after; None where the header is missing.
        credentials: the current snapshot.
        address: of the peer; `local` or empty over a Unix socket. Without one, a key confined to networks is refused.

    Raises:
        Unauthenticated: `key-missing`, `key-malformed`, or `key-unknown`. The last stands also for expired and revoked
            ones, whose `audit_code` is `key-expired`, `key-revoked`, from elsewhere than the key's networks `key-address`,
            or, for a key printed in the documentation, `key-public`. Nothing of the header is repeated.
    """
    if not authorization:
        raise Unauthenticated("key-missing", "no API key was sent", "Send the header Authorization: Bearer fst_…")
    if len(authorization) != _HEADER_LENGTH or not authorization.startswith(_SCHEME):  # a flood is not copied
        raise _malformed()
    text = authorization[_SCHEME_LENGTH:]
    keyed = credentials.keyed.copy()
    keyed.update(text)
    record = credentials.keys.get(keyed.digest(), _NOBODY)
    known = hmac.compare_digest(record.key_id.encode(), text[KEY_ID])
    expired = record.expires_at <= now
    bound = record.networks != ()
    away = bound and not inside(address, record.networks)
    if not known or expired or record.revoked or away or text in PUBLIC_KEYS:
        _refuse(text, known=known, expired=expired, away=away and not record.revoked)
    principal = Principal(
        record.kind, record.principal, record.tenant, record.roles, Strength.KEY, now, record.actions, record.models,
        record.grants,
    )  # fmt: skip
    return Authenticated(principal, record.key_id, record.limit, bound)


def _malformed() -> Unauthenticated:
    return Unauthenticated(
        "key-malformed",
        "the Authorization header does not hold an API key",
        "Send exactly: Bearer, one space, and the key as it was shown, fst_ and 61 more characters.",
    )


def _refuse(text: bytes, *, known: bool, expired: bool, away: bool) -> NoReturn:
    if not well_formed(text):
        raise _malformed()
    if text in PUBLIC_KEYS:
        audit_code = "key-public"
    elif not known:
        audit_code = "key-unknown"
    else:
        audit_code = "key-expired" if expired else "key-address" if away else "key-revoked"
    raise Unauthenticated(
        "key-unknown",
        "the API key is not valid",
        "Check it, or ask an administrator for a new one: keys expire and are revoked.",
        audit_code,
    )
