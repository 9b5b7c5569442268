"""Passwords of people: set, changed, lost and reset, and the one-time codes by which they come in.

A code `fsi_…` lets its holder set a password once within a day. It is made for who has neither password nor factor, or by
a reset, which takes both away: a lost factor is never given back beside a password that somebody else may know.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from fastness.access.login import factors, lockout, records, sessions
from fastness.access.login.desk import Client, Desk, Outcome, Use, note, opaque, require_own
from fastness.access.login.lockout import Area
from fastness.access.login.passwords import Account, Proof, same
from fastness.access.login.sessions import NewSession, Session
from fastness.access.members import active_principal
from fastness.access.restrictions import barred
from fastness.core.clock import Instant, later
from fastness.core.digests import parse_name
from fastness.core.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from fastness.core.events import Detail, EventKind
from fastness.core.identity import (
    DEFAULT_TENANT,
    Principal,
    PrincipalId,
    PrincipalKind,
    Scope,
    Strength,
    TenantId,
)
from fastness.foundation.storage import Reading, Transaction

INVITATION_S = 86_400.0
_NOBODY = PrincipalId("user:-")  # no name begins with a dash


@dataclass(frozen=True, slots=True)
class Invitation:
    """A one-time code to set a password by; printing it does not show the code."""

    principal: PrincipalId
    expires_at: Instant
    code: str = field(repr=False)


def passkey_scope(reading: Reading, tenant: str) -> Scope:
    """The scope in which a login by passkey alone is tried.

    Raises:
        Unauthenticated: `login-refused`, nobody belongs to such a tenant.
    """
    if not records.has_people(reading, TenantId(tenant)):
        raise Unauthenticated("login-refused", "this login is refused", "Check the tenant.", "tenant-unknown")
    return Scope(TenantId(tenant), PrincipalId(""))


def look_up(reading: Reading, desk: Desk, tenant: str, name: str, client: Client, now: Instant) -> Account:
    """The account that a login names, also if there is none. It takes the same steps for all.

    Args:
        reading: of whatever scope; that of the next step is the account's.

    Raises:
        Limited: `login-limited`, too many failures came from this network; not for known devices.
    """
    at, principal = TenantId(tenant), _principal(name)
    if not records.has_people(reading, at):
        at, principal = DEFAULT_TENANT, _NOBODY  # no rows are kept for tenants that somebody made up
    view = sessions.Rescoped(reading, Scope(at, PrincipalId("")))
    row = records.find_password(view, principal)
    stored, generation = (None, 0) if row is None else row
    device = desk.device(client.device, (at, principal, generation), now)
    if not device:
        lockout.refuse_flood(view, desk, Area.PASSWORD, client, now)
    return Account(at, principal, stored, bool(records.joined_at(view, principal)), device, generation)


def _principal(name: str) -> PrincipalId:
    try:
        return PrincipalId(f"user:{parse_name(name)}")
    except Invalid:
        return _NOBODY  # what was typed may be a password: it is kept nowhere


def own_account(reading: Reading, session: Session) -> Account:
    """The account of who is logged in, to check the old password before it is changed."""
    scope = session.scope
    row = records.find_password(sessions.Rescoped(reading, scope), scope.principal)
    stored, generation = (None, 0) if row is None else row
    return Account(scope.tenant, scope.principal, stored, known=True, device=session.credential, generation=generation)


def set_first_password(tx: Transaction, who: Principal, hashed: str) -> None:
    """Give a person their first password: in the transaction that redeems their code, or after a step-up.

    Args:
        hashed: of `desk.passwords.new`, made before the transaction.

    Raises:
        Forbidden: `factor-person` or `step-up-required`.
        Conflict: `password-exists`.
    """
    require_own(tx, who)
    if who.kind is not PrincipalKind.USER or who.actor:
        raise Forbidden("factor-person", "only people themselves have passwords")
    row = records.find_password(tx, who.id)
    if row is not None and row.hash is not None:
        raise Conflict("password-exists", f"{who.id} has a password already", "Change it in a session.")
    if tx.now not in records.joined_at(tx, who.id):
        factors.require_fresh(who, tx.now)
    records.put_password(tx, who.id, hashed)
    _told(tx, who.id, "first")


def change_password(  # what was proven and what it becomes
    tx: Transaction, desk: Desk, session: Session, proof: Proof, hashed: str, client: Client
) -> Outcome[NewSession]:
    """Change one's password; all other sessions, elevations and known devices end, this session gets a new id.

    Args:
        proof: of `desk.passwords.check(own_account(…), old)`, made before the transaction.
        hashed: of `desk.passwords.new`.

    Raises:
        Unauthenticated: `session-refused`, it ended meanwhile.
    """
    me = session.row.principal
    where = lockout.buckets(desk, Area.PASSWORD, (tx.scope.tenant, me), client, session.credential)
    slowed = bool(lockout.wait_s(tx, where, tx.now))
    row = records.find_password(tx, me)
    if slowed or not proof.right or row is None or not same(row.hash, proof.stored):
        why = "login-slowed" if slowed else "password-wrong"
        note(tx, EventKind.AUTHENTICATION_FAILED, f"principal:{me}", me, why, {"method": "password"})
        if not slowed:
            lockout.count(tx, desk, where, f"principal:{me}")
        message, hint = "the old password is not right", "After several failures wait some minutes."
        return Outcome(refusal=Unauthenticated("login-refused", message, hint, why))
    generation = records.put_password(tx, me, hashed)
    _end_all(tx, me, "password-changed", but=session.row.id)
    lockout.forgive(tx, where)
    _told(tx, me, "changed")
    made = sessions.rotate(tx, desk, session)
    return Outcome(with_device(tx, desk, made, generation))


def invite(tx: Transaction, desk: Desk, principal: PrincipalId) -> Invitation:
    """A code for a person who has neither password nor factor; whoever calls it may create principals. Older ones are void.

    Raises:
        NotFound: no such principal.
        Conflict: `credential-exists`, or it is not active.
        Forbidden: `factor-person`.
    """
    row = records.find_password(tx, principal)
    owner = active_principal(tx, principal)
    if owner.kind is not PrincipalKind.USER:
        raise Forbidden("factor-person", "only people have passwords")
    if (row is not None and row.hash is not None) or factors.factors(tx, principal):
        hint = "With an app: fastness access password. Without: an administrator can reset it."
        raise Conflict("credential-exists", f"{principal} has a password or a second factor already", hint)
    made = _invitation(tx, desk, principal)
    note(tx, EventKind.PASSWORD_CHANGED, f"principal:{principal}", reason="invited")
    return made


def invited(reading: Reading, desk: Desk, code: str) -> Scope:
    """Whose code it is; asked before the new password is hashed for them. Says nothing about whether it is good still.

    Raises:
        Unauthenticated: `code-refused`.
    """
    scope = records.locate_invitation(reading, desk.known(Use.INVITATION, code))
    if scope is None:
        raise _code_refused("code-unknown")
    return scope


def redeem(tx: Transaction, desk: Desk, code: str, hashed: str, client: Client) -> NewSession:
    """Set a password by a one-time code, in the scope of `invited`; the session in which to enrol a second factor.

    Raises:
        Unauthenticated: `code-refused`, it is used or expired, or its owner is no longer active, or blocked.
    """
    me = tx.scope.principal
    found = records.locate_invitation(tx, desk.known(Use.INVITATION, code))
    if found != tx.scope or records.use_invitation(tx, desk.known(Use.INVITATION, code)) != 1:
        raise _code_refused("code-used")
    try:
        active_principal(tx, me)
    except (NotFound, Conflict) as error:
        raise _code_refused("code-inactive") from error
    if barred(tx, me, client.address, tx.now):
        raise _code_refused("principal-restricted")
    generation = records.put_password(tx, me, hashed)
    _end_all(tx, me, "password-changed")
    _told(tx, me, "redeemed")
    return with_device(tx, desk, sessions.start(tx, desk, me, Strength.PASSWORD, client), generation)


def reset(tx: Transaction, desk: Desk, officer: Principal, principal: PrincipalId) -> Invitation:
    """Take away all of somebody else's factors and their password, end their sessions, and give a code to begin anew by.

    The caller has decided `credential.reset`; that the officer stepped up is asked here once more.

    Raises:
        Forbidden: `step-up-required`, or `reset-own`.
        NotFound: no such principal.
        Conflict: it is not active.
    """
    require_own(tx, officer)
    factors.require_fresh(officer, tx.now)
    if principal == officer.id:
        raise Forbidden(
            "reset-own", "nobody resets their own factors", "Remove them one by one, or ask another officer."
        )
    owner = active_principal(tx, principal)
    if owner.kind is not PrincipalKind.USER:
        raise Forbidden("factor-person", "only people have passwords and factors")
    removed = records.drop_factors(tx, principal)
    records.put_password(tx, principal, None)
    ended = _end_all(tx, principal, "credential-reset")
    records.drop_account(tx, lockout.account_tag(desk, tx.scope.tenant, principal))
    details: dict[str, Detail] = {**removed, "sessions": ended}
    note(tx, EventKind.FACTOR_REMOVED, f"principal:{principal}", officer.id, "credential-reset", details)
    return _invitation(tx, desk, principal)


def with_device(tx: Transaction, desk: Desk, made: NewSession, generation: int) -> NewSession:
    """The session with a cookie by which its device is known from now on."""
    device = desk.device_cookie(tx.scope.tenant, made.principal, generation, tx)
    return NewSession(made.id, made.principal, made.expires_at, made.cookie, made.csrf, device)


def _end_all(tx: Transaction, principal: PrincipalId, reason: str, but: str = "") -> int:
    records.drop_elevations(tx, principal)
    records.drop_tickets(tx, principal)
    records.drop_invitations(tx, principal)
    return sessions.revoke_all(tx, principal, reason, but)


def _invitation(tx: Transaction, desk: Desk, principal: PrincipalId) -> Invitation:
    code, expires_at = opaque("fsi", tx.events.entropy), later(tx.now, INVITATION_S)
    records.add_invitation(tx, desk.known(Use.INVITATION, code), principal, expires_at)
    return Invitation(principal, expires_at, code)


def _told(tx: Transaction, principal: PrincipalId, reason: str) -> None:
    note(tx, EventKind.PASSWORD_CHANGED, f"principal:{principal}", principal, reason)


def _code_refused(audit_code: str) -> Unauthenticated:
    hint = "Codes work once and for a day; ask for a new one."
    return Unauthenticated("code-refused", "the one-time code is not good", hint, audit_code)
