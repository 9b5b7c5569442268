"""Sessions: who is logged in, on which device, and for how much longer.

A session is a row; its cookie is 256 random bits that only its browser has. Every request reads the row and its owner, so
what is revoked, or who is deactivated, is refused with the next request, on every process that shares the records; topic
`sessions` moves for those who keep streams open. A presented id that is not known is refused and never taken over, and with
every change of rights (login, step-up, other roles) the session gets a new one, the old one being void at once. Until it has
a new id after its owner's roles changed, it has only the roles held both then and now.

Every session has a CSRF token, an HMAC of its id; it changes with the id and is stored nowhere.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from typing import Any

from fastness.access import records as members
from fastness.access.login import records
from fastness.access.login.desk import Client, Desk, Use, note, opaque
from fastness.access.login.records import SessionRow
from fastness.access.restrictions import barred
from fastness.core.clock import Instant, later, uuid7
from fastness.core.errors import Conflict, Forbidden, NotFound, Unauthenticated
from fastness.core.events import Detail, EventKind
from fastness.core.identity import Principal, PrincipalId, Role, Scope, Strength
from fastness.foundation.storage import Reading, Transaction

TOPIC = "sessions"
_SEEN_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that has just got its id; printing it shows neither secret.

    Attributes:
        cookie: for the browser alone: `__Host-`, Secure, HttpOnly, SameSite=Strict. It is nowhere else.
        csrf: goes into every form and the header of every changing request.
        device: a cookie by which this device is known at the next login; empty where it is known already.
        expires_at: it ends then at the latest.
    """

    id: str
    principal: PrincipalId
    expires_at: Instant
    cookie: str = field(repr=False)
    csrf: str = field(repr=False)
    device: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Session:
    """A session that was found good for one request.

    Attributes:
        row: as it stands.
        principal: who asks.
        csrf: what a changing request has to carry.
        due: its owner's roles have changed since it got its id: `rotate` it.
        stale: its last use is to be noted: `see` it.
    """

    row: SessionRow
    principal: Principal
    csrf: str = field(repr=False)
    due: bool
    stale: bool

    @property
    def scope(self) -> Scope:
        """In whose name it reads and writes."""
        return Scope(self.row.tenant, self.row.principal)

    @property
    def credential(self) -> str:
        """Names the session where elevations and events name credentials."""
        return f"session:{self.row.id}"


def start(
    tx: Transaction, desk: Desk, principal: PrincipalId, strength: Strength, client: Client, at: Instant | None = None
) -> NewSession:
    """A new session of an active principal, under an id that nobody had before. The oldest end where there are too many.

    Args:
        at: when the principal proved who it is, where that was elsewhere and before; None for now.

    Raises:
        NotFound: no such principal.
        Conflict: it is not active.
        Forbidden: it is blocked.
    """
    owner = members.find_principals(tx, principal).get(principal)
    if owner is None:
        raise NotFound("principal-unknown", "there is no such principal")
    if not owner.active:
        raise Conflict("principal-inactive", f"{principal} is no longer active")
    if barred(tx, principal, client.address, tx.now):  # whatever way led here
        raise Forbidden("restricted", "this is blocked at the moment", "Ask a security officer.")
    open_ones = records.find_sessions(tx, principal, tx.now)
    for old in open_ones[: max(0, len(open_ones) + 1 - desk.settings.sessions_max)]:
        _end(tx, old, "too-many")
    cookie, network = opaque("fss", tx.events.entropy), desk.network(client)
    proved_at = tx.now if at is None else at
    row = SessionRow(
        uuid7(tx.now, tx.events.entropy),
        desk.known(Use.SESSION, cookie),
        tx.scope.tenant,
        principal,
        strength,
        owner.roles,
        desk.agent(client),
        network,
        desk.settings.bind_network,
        tx.now,
        proved_at,
        proved_at if strength is Strength.MFA else None,
        tx.now,
        later(tx.now, desk.settings.absolute_s),
        None,
    )
    records.add_session(tx, row)
    details: dict[str, Detail] = {"strength": strength.name.lower(), "network": network}
    note(tx, EventKind.SESSION_STARTED, f"session:{row.id}", principal, details=details)
    return NewSession(row.id, principal, row.expires_at, cookie, csrf_token(desk, cookie))


def validate(reading: Reading, desk: Desk, cookie: str, client: Client, now: Instant) -> Session:
    """Who comes with this cookie; asked on every request.

    Args:
        reading: of whatever scope: the session says whose it is.

    Raises:
        Unauthenticated: `session-refused`; `audit_code` says why.
    """
    digest = desk.known(Use.SESSION, cookie)
    row = records.locate_session(reading, digest)
    if row is None or not hmac.compare_digest(row.digest, digest):
        raise _refused("unknown")
    if why := _over(desk, row, client, now):
        raise _refused(why)
    scope = Scope(row.tenant, row.principal)
    owner = members.find_principals(Rescoped(reading, scope), row.principal).get(row.principal)
    if owner is None or not owner.active:
        raise _refused("inactive")
    principal = Principal(
        owner.kind,
        owner.id,
        row.tenant,
        _held(row.roles, owner.roles),
        row.strength,
        row.authenticated_at,
        grants=owner.grants,
        stepped_up_at=row.stepped_up_at,
    )
    stale = later(row.seen_at, min(_SEEN_EVERY_S, desk.settings.idle_s / 4)) <= now
    return Session(row, principal, csrf_token(desk, cookie), row.roles != owner.roles, stale)


def see(tx: Transaction, session: Session) -> None:
    """Note that the session was used, so that it does not end for idleness."""
    records.see_session(tx, session.row.id)


def rotate(tx: Transaction, desk: Desk, session: Session, stepped_up_at: Instant | None = None) -> NewSession:
    """Give the session a new id, and with it the roles that its owner has now, or a second factor given now.

    Raises:
        Unauthenticated: `session-refused`, it ended or has got another id meanwhile.
    """
    owner = members.find_principals(tx, session.row.principal).get(session.row.principal)
    if owner is None or not owner.active:
        raise _refused("inactive")
    cookie = opaque("fss", tx.events.entropy)
    changed = session.row._replace(roles=owner.roles)
    if stepped_up_at is not None:
        changed = changed._replace(strength=Strength.MFA, stepped_up_at=stepped_up_at)
    if records.change_session(tx, changed, desk.known(Use.SESSION, cookie)) != 1:
        raise _refused("rotated")
    reason = "roles-changed" if stepped_up_at is None else "stepped-up"
    note(tx, EventKind.SESSION_STARTED, session.credential, owner.id, reason)
    tx.touch(TOPIC)
    return NewSession(changed.id, owner.id, changed.expires_at, cookie, csrf_token(desk, cookie))


def sessions(reading: Reading, principal: PrincipalId | None, now: Instant) -> list[SessionRow]:
    """The open sessions of a principal, or with None of the whole tenant, oldest first."""
    return records.find_sessions(reading, principal, now)


def revoke(tx: Transaction, session: str, owner: PrincipalId | None = None) -> None:
    """End a session by its `id`: one of the `owner`, or with None anybody's in the tenant (`session.revoke`).

    Raises:
        NotFound: there is no such session, or it has ended.
    """
    found = [row for row in records.find_sessions(tx, owner, tx.now) if row.id == session]
    if not found:
        raise NotFound("session-unknown", "there is no such session", "It may have ended.")
    _end(tx, found[0], "revoked")
    tx.touch(TOPIC)


def revoke_all(tx: Transaction, principal: PrincipalId, reason: str = "revoked", but: str = "") -> int:
    """End all sessions of a principal, `but` one; how many."""
    found = [row for row in records.find_sessions(tx, principal, tx.now) if row.id != but]
    for row in found:
        _end(tx, row, reason)
    if found:
        tx.touch(TOPIC)
    return len(found)


def csrf_token(desk: Desk, cookie: str) -> str:
    """What proves that a request was made by a page of the console: an HMAC of the session's id."""
    return desk.digest(Use.CSRF, cookie).hex()


def check_csrf(session: Session, given: str) -> None:
    """Return if `given` is the session's token; asked of every request that changes something.

    Raises:
        Forbidden: `csrf-refused`.
    """
    if not hmac.compare_digest(session.csrf.encode(), given[:128].encode("utf-8", "replace")):
        message = "the form was not made for this session"
        raise Forbidden("csrf-refused", message, "Load the page again, and do it once more.")


@dataclass(frozen=True, slots=True)
class Rescoped:
    """The same view in another's name: who is known by an opaque text is then read as a member of their tenant."""

    reading: Reading
    scope: Scope

    @property
    def execute(self) -> Any:
        """What runs a statement of the view."""
        return self.reading.execute

    @property
    def seal(self) -> Any:
        """What the rows of the view are sealed under."""
        return self.reading.seal


def _held(then: frozenset[Role], now: frozenset[Role]) -> frozenset[Role]:
    return then & now


def _over(desk: Desk, row: SessionRow, client: Client, now: Instant) -> str:
    """Why the session is not good now; empty if it is."""
    if row.ended_at is not None:
        return "ended"
    if row.expires_at <= now:
        return "expired"
    if later(row.seen_at, desk.settings.idle_s) <= now:
        return "idle"
    if not hmac.compare_digest(row.agent, desk.agent(client)):
        return "agent"
    if row.bound and row.network != desk.network(client):
        return "network"
    return ""


def _end(tx: Transaction, row: SessionRow, reason: str) -> None:
    records.end_session(tx, row.id)
    note(tx, EventKind.SESSION_ENDED, f"session:{row.id}", reason=reason, details={"principal": row.principal})


def _refused(why: str) -> Unauthenticated:
    return Unauthenticated("session-refused", "you are not logged in", "Log in again.", f"session-{why}")
