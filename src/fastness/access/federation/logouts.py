"""Which sessions began by which provider, and logging out: here when the provider says so, there when the person wants it.

Who logs in by a provider and still has to give a second factor has no session yet: until then the ticket stands in its
place. A logout token ends the one session that its `sid` names, or all of its `sub`; what is ended is refused with the
next request. Each token works once.

Source: OpenID Connect Back-Channel Logout 1.0, sections 2.4 to 2.7; OpenID Connect RP-Initiated Logout 1.0, section 2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from fastness.access.federation import idtokens, records
from fastness.access.federation.parts import Proven, refuse
from fastness.access.federation.providers import Known, Provider
from fastness.access.federation.records import SessionRow
from fastness.access.federation.talks import Talks
from fastness.access.login import sessions
from fastness.access.tokens.jose import VerifyingKey, open_jws, read_header, text
from fastness.access.tokens.keys import Wrapping
from fastness.core.clock import Instant
from fastness.core.digests import BlobId
from fastness.core.errors import NotFound, Unauthenticated
from fastness.core.events import Detail, EventKind
from fastness.core.identity import TenantId
from fastness.core.secrets import SecretBytes
from fastness.foundation.crypto import KeyContext
from fastness.foundation.storage import Transaction, counters

_EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
_REPLAY_S: Final = float(idtokens.OLDEST_S + 2 * idtokens.SKEW_S)


@dataclass(frozen=True, slots=True)
class Ordered:
    """A logout that a provider orders, verified.

    Attributes:
        subject, sid: whose sessions, or which one; one of them may be empty.
    """

    known: Known
    subject: str
    sid: str
    jti: str


class Leaving:
    """How people who came by a provider leave by it. Share one; it is safe between threads."""

    def __init__(self, talks: Talks, ring: Wrapping) -> None:
        self._talks = talks
        self._ring = ring

    def ordered(self, known: Known, token: str, now: Instant) -> Ordered:
        """What a logout token of the provider orders.

        Raises:
            Unauthenticated: `federation-refused`; `audit_code` says why.
            Unavailable, Invalid, Corrupt: as `prove`.
        """
        data = token.encode("utf-8", "replace")
        try:
            header = read_header(data)
            with self._talks.one():
                keys = self._talks.discovery.keys(known, header.get("kid"), now)
            return read(data, keys, known, now)
        except Unauthenticated as error:
            refuse(error.audit_code)

    def remember(self, tx: Transaction, proven: Proven, handle: str, expires_at: Instant) -> None:
        """Take down by which provider the session or ticket of this handle began."""
        provider, sid = proven.known.provider, proven.claims.get("sid", "")
        sid = sid if isinstance(sid, str) and len(sid) <= 255 else ""
        wrapped = self._ring.wrap(SecretBytes(proven.token.encode()), _token_context(tx.scope.tenant, provider.name))
        row = SessionRow(handle, provider.name, provider.issuer, proven.subject, sid, expires_at, wrapped)
        records.add_session(tx, row)

    def farewell(self, known: Known, row: SessionRow, return_to: str, now: Instant) -> str:
        """Where a browser goes to log out at the provider too; empty where the provider has no such place.

        Args:
            row: of the session that ended, from `logouts.leave`.
            return_to: an address of this house that is registered there.

        Raises:
            Unavailable, Invalid, Corrupt: as `prove`.
        """
        address = self._ended_at(known, now)
        if not address or row.issuer != known.provider.issuer:
            return ""
        asked = {"client_id": known.provider.client_id, "post_logout_redirect_uri": return_to}
        if row.token is not None:
            token = self._ring.unwrap(row.token, _token_context(known.tenant, row.provider))
            asked["id_token_hint"] = bytes(token.reveal()).decode("ascii")
        return f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}"

    def _ended_at(self, known: Known, now: Instant) -> str:
        with self._talks.one():
            return self._talks.discovery.endpoints(known, now).end_session


def read(token: bytes, keys: Mapping[str, VerifyingKey], known: Known, now: Instant) -> Ordered:
    """What a logout token of this provider orders.

    Raises:
        Unauthenticated: with an `audit_code` that says why.
    """
    provider: Provider = known.provider
    claims = open_jws(token, (None, "JWT", "logout+jwt"), keys)
    idtokens.require_addressed(claims, provider, now)
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(_EVENT), dict):
        refuse("logout-event")
    if "nonce" in claims:  # or an id token would log people out
        refuse("logout-nonce")
    subject, sid = _optional(claims, "sub"), _optional(claims, "sid")
    if not subject and not sid:
        refuse("logout-nobody")
    try:
        jti = text(claims, "jti", 255)
    except Unauthenticated:
        refuse("logout-claims")
    return Ordered(known, subject, sid, jti)


def obey(tx: Transaction, ordered: Ordered) -> int:
    """End the sessions that a provider ordered to end; how many.

    Raises:
        Unauthenticated: the order was obeyed before (`logout-replayed`).
    """
    provider = ordered.known.provider
    key = f"logout-token\0{tx.scope.tenant}\0{provider.issuer}\0{provider.client_id}\0{ordered.jti}"
    if not counters.once_in(tx, key, _REPLAY_S):
        refuse("logout-replayed")
    named = {"subject": ordered.subject, "sid": ordered.sid}
    return end(tx, "backchannel-logout", issuer=provider.issuer, **{name: to for name, to in named.items() if to})


def end(tx: Transaction, reason: str, **columns: str) -> int:
    """End the sessions that began by a provider and whose rows have these values; how many."""
    found = records.find_sessions(tx, **columns)
    ended = 0
    for row in found:
        records.remove_session(tx, row.handle)
        if row.handle.startswith("session:"):
            with suppress(NotFound):  # it ended by itself
                sessions.revoke(tx, row.handle.removeprefix("session:"))
                ended += 1
    details: dict[str, Detail] = {"sessions": ended}
    tx.emit(tx.events.make(EventKind.SESSION_ENDED, "provider:sessions", reason=reason, details=details))
    return ended


def follow(tx: Transaction, ticket: str, session: str, expires_at: Instant) -> None:
    """Take down that the session which a ticket led to began as the ticket did; nothing where no provider was asked."""
    row = leave(tx, ticket_handle(ticket))
    if row is not None:
        records.add_session(tx, row._replace(handle=session_handle(session), expires_at=expires_at))


def leave(tx: Transaction, handle: str) -> SessionRow | None:
    """By which provider a session began, forgotten with this; None where by none."""
    found = records.find_sessions(tx, handle=handle)
    if not found:
        return None
    records.remove_session(tx, handle)
    return found[0]


def session_handle(session: str) -> str:
    """What names a session here."""
    return f"session:{session}"


def ticket_handle(ticket: str) -> str:
    """What names a ticket here."""
    return f"ticket:{hashlib.sha256(ticket.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _optional(claims: Mapping[str, object], name: str) -> str:
    if name not in claims:
        return ""
    try:
        return text(claims, name, 255)
    except Unauthenticated:
        refuse("logout-claims")


def _token_context(tenant: TenantId, name: str) -> KeyContext:
    return KeyContext(tenant, BlobId(f"provider-token:{name}"), 0)
