"""Logging in, step by step: a password, then a second factor if there is one, then a session; or a passkey at once.

The API, the command line and the console walk the same steps. Between them the caller holds a ticket: an opaque text, good
for five minutes, from the same browser and network, for one session. A passkey verifies its user, so it is both factors.

    password ──► SECOND ──► DONE        no factor enrolled: password ──► DONE        passkey ──► DONE

An attempt that fails is written down in the same transaction that would have let it in, so steps return an `Outcome`, to be
settled after the commit. Unknown names, wrong passwords, inactive and waiting accounts get the same answer after the same
work; only the event tells them apart. A password is checked before the transaction, and held against the row again in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from fastness.access import records as members
from fastness.access.login import accounts, factors, lockout, passkeys, records, sessions
from fastness.access.login.desk import Client, Desk, Outcome, Use, note, opaque
from fastness.access.login.factors import Answer, Method
from fastness.access.login.lockout import Area, Bucket
from fastness.access.login.passkeys import Expected, Json, Purpose
from fastness.access.login.passwords import Account, Proof, same
from fastness.access.login.records import TicketRow
from fastness.access.login.sessions import NewSession
from fastness.access.restrictions import barred
from fastness.core.clock import Instant, later
from fastness.core.errors import Unauthenticated
from fastness.core.events import Detail, EventKind
from fastness.core.identity import PrincipalId, Scope, Strength
from fastness.foundation.storage import Reading, Transaction

FAILURES_MAX = 5


class Stage(StrEnum):
    """How far a login has come."""

    SECOND = "second-factor"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Step:
    """What comes next.

    Attributes:
        ticket: with it the second factor is given, until `expires_at`; empty when done.
        methods: the kinds of second factors that the account has.
        session: when done.
    """

    stage: Stage
    expires_at: Instant
    ticket: str = field(default="", repr=False)
    methods: tuple[Method, ...] = ()
    session: NewSession | None = None


@dataclass(frozen=True, slots=True)
class Vouched:
    """How and when somebody proved who they are; by which `method`, for the record."""

    method: str
    strength: Strength
    at: Instant


def give_password(tx: Transaction, desk: Desk, account: Account, proof: Proof, client: Client) -> Outcome[Step]:
    """The first step, in the scope of the account.

    Args:
        account: of `accounts.look_up`.
        proof: of `desk.passwords.check(account, text)`, made before the transaction.
    """
    whose = (account.tenant, account.principal)
    where = lockout.buckets(desk, Area.PASSWORD, whose, client, account.device)
    why = _why_not(tx, account, proof, where, client)
    if why:
        resource = f"principal:{account.principal}" if account.known else "principal:unknown"
        details: dict[str, Detail] = {"method": "password", "network": desk.network(client)}
        note(tx, EventKind.AUTHENTICATION_FAILED, resource, reason=why, details=details)
        if why != "login-slowed":
            lockout.count(tx, desk, where, resource)
        return Outcome(refusal=_refused(why))
    lockout.forgive(tx, where)
    if proof.renewed and account.stored is not None:
        records.renew_password(tx, account.principal, account.stored, proof.renewed)
    return Outcome(_first(tx, desk, account.principal, Vouched("password", Strength.PASSWORD, tx.now), client))


def vouched_for(tx: Transaction, desk: Desk, principal: PrincipalId, vouched: Vouched, client: Client) -> Step:
    """The first step where somebody else has found out who that is, such as an external provider.

    A second factor of the house is asked for as after a password, unless the provider's counts as one.

    Raises:
        NotFound, Conflict: there is no such principal, or it is not active.
    """
    if vouched.strength is Strength.MFA:
        return _done(tx, desk, principal, vouched, client)
    return _first(tx, desk, principal, vouched, client)


def ticket_scope(reading: Reading, desk: Desk, ticket: str) -> Scope:
    """The scope in which a ticket's next step is taken.

    Raises:
        Unauthenticated: `ticket-refused`.
    """
    row = records.locate_ticket(reading, desk.known(Use.TICKET, ticket))
    if row is None:
        raise _ticket_refused("ticket-unknown")
    return Scope(row.tenant, PrincipalId(""))


def second_options(tx: Transaction, desk: Desk, ticket: str, client: Client) -> dict[str, Any]:
    """The argument of `navigator.credentials.get()` for the second step by passkey.

    Raises:
        Unauthenticated: `ticket-refused`.
    """
    row = _ticket(tx, desk, ticket, client)
    return passkeys.assertion_options(tx, desk, _second(desk, row.principal, ticket))


def give_second(tx: Transaction, desk: Desk, ticket: str, answer: Answer, client: Client) -> Outcome[Step]:
    """The second step, in the scope of `ticket_scope`. After five failures the ticket is void.

    Raises:
        Unauthenticated: `ticket-refused`.
    """
    row = _ticket(tx, desk, ticket, client)
    digest, me = desk.known(Use.TICKET, ticket), row.principal
    guessable = answer.method is not Method.PASSKEY
    password = records.find_password(tx, me)
    generation = 0 if password is None else password.generation
    device = desk.device(client.device, (row.tenant, me, generation), tx.now)
    where = lockout.buckets(desk, Area.FACTOR, (row.tenant, me), client, device)
    slowed = guessable and bool(lockout.wait_s(tx, where, tx.now))
    why = "factor-slowed" if slowed else factors.prove(tx, desk, me, answer, _second(desk, me, ticket))
    if not why and (records.drop_ticket(tx, digest) != 1):
        why = "ticket-unknown"
    why = why or _kept_out(tx, me, client)
    if not why:
        lockout.forgive(tx, where)
        return Outcome(_done(tx, desk, me, Vouched(answer.method.value, Strength.MFA, tx.now), client))
    details: dict[str, Detail] = {"method": answer.method.value, "network": row.network}
    note(tx, EventKind.AUTHENTICATION_FAILED, f"principal:{me}", reason=why, details=details)
    if not slowed:
        records.count_failure(tx, digest)
        if guessable:
            lockout.count(tx, desk, where, f"principal:{me}")
    if row.failures + 1 >= FAILURES_MAX:
        records.drop_ticket(tx, digest)
    return Outcome(refusal=factors.wrong(why))


def passkey_options(tx: Transaction, desk: Desk, client: Client) -> dict[str, Any]:
    """The argument of `navigator.credentials.get()` for a login without a name, in the scope of `accounts.passkey_scope`.

    Raises:
        Limited: `login-busy`.
    """
    return passkeys.assertion_options(tx, desk, passkeys.anybody(desk, client))


def give_passkey(tx: Transaction, desk: Desk, response: Json, client: Client) -> Outcome[Step]:
    """Log in by a passkey alone, in the scope of `accounts.passkey_scope`."""
    me, why = passkeys.use(tx, desk, passkeys.anybody(desk, client), response)
    why = why or _kept_out(tx, me, client)
    if not why:
        return Outcome(_done(tx, desk, me, Vouched(Method.PASSKEY.value, Strength.MFA, tx.now), client))
    resource = f"principal:{me}" if me else "principal:unknown"
    details: dict[str, Detail] = {"method": Method.PASSKEY.value, "network": desk.network(client)}
    note(tx, EventKind.AUTHENTICATION_FAILED, resource, reason=why, details=details)
    return Outcome(refusal=_refused(why))


def log_out(tx: Transaction, session: sessions.Session) -> None:
    """End one's own session."""
    sessions.revoke(tx, session.row.id, session.row.principal)


def _why_not(tx: Transaction, account: Account, proof: Proof, where: list[Bucket], client: Client) -> str:
    """Why a password does not let in; empty if it does. The same questions are asked of every account."""
    row = records.find_password(tx, account.principal)
    kept_out, slowed = _kept_out(tx, account.principal, client), bool(lockout.wait_s(tx, where, tx.now))
    unchanged = row is not None and same(row.hash, account.stored) and same(row.hash, proof.stored)
    if slowed:
        return "login-slowed"
    if proof.public:
        return "password-public"
    if not account.known:
        return "principal-unknown"
    if not (proof.right and unchanged):
        return "password-wrong"
    return kept_out


def _kept_out(tx: Transaction, principal: PrincipalId, client: Client) -> str:
    """Why an account that proved itself does not come in; empty if it does."""
    owner = members.find_principals(tx, principal).get(principal)
    if owner is None or not owner.active:
        return "principal-inactive"
    return "principal-restricted" if barred(tx, principal, client.address, tx.now) else ""


def _first(tx: Transaction, desk: Desk, principal: PrincipalId, proven: Vouched, client: Client) -> Step:
    """What follows after the first factor: the second one, where there is one."""
    found = factors.methods(tx, principal)
    if not found:
        return _done(tx, desk, principal, proven, client)
    ticket, expires_at = opaque("fsl", tx.events.entropy), later(tx.now, desk.settings.ticket_s)
    row = TicketRow(tx.scope.tenant, principal, desk.agent(client), desk.network(client), 0, expires_at)
    records.add_ticket(tx, desk.known(Use.TICKET, ticket), row)
    details: dict[str, Detail] = {"method": proven.method, "network": row.network}
    event = EventKind.AUTHENTICATION_SUCCEEDED
    note(tx, event, f"principal:{principal}", principal, "second-factor-awaited", details)
    return Step(Stage.SECOND, expires_at, ticket, found)


def _done(tx: Transaction, desk: Desk, principal: PrincipalId, proven: Vouched, client: Client) -> Step:
    details: dict[str, Detail] = {"method": proven.method, "network": desk.network(client)}
    note(tx, EventKind.AUTHENTICATION_SUCCEEDED, f"principal:{principal}", principal, details=details)
    made = sessions.start(tx, desk, principal, proven.strength, client, proven.at)
    password = records.find_password(tx, principal)
    made = accounts.with_device(tx, desk, made, 0 if password is None else password.generation)
    return Step(Stage.DONE, made.expires_at, session=made)


def _ticket(tx: Transaction, desk: Desk, ticket: str, client: Client) -> TicketRow:
    row = records.locate_ticket(tx, desk.known(Use.TICKET, ticket))
    if row is None or row.tenant != tx.scope.tenant:
        raise _ticket_refused("ticket-unknown")
    if row.expires_at <= tx.now:
        raise _ticket_refused("ticket-expired")
    if not same(row.agent.hex(), desk.agent(client).hex()) or row.network != desk.network(client):
        raise _ticket_refused("ticket-foreign")
    return row


def _second(desk: Desk, principal: PrincipalId, ticket: str) -> Expected:
    return Expected(Purpose.SECOND, principal, desk.known(Use.TICKET, ticket))


def _refused(audit_code: str) -> Unauthenticated:
    return Unauthenticated(
        "login-refused",
        "this login is refused",
        "Check name and password. After several failures wait some minutes; a device that you used before, or a passkey, "
        "waits less or not at all.",
        audit_code,
    )


def _ticket_refused(audit_code: str) -> Unauthenticated:
    return Unauthenticated("ticket-refused", "this login is over", "Begin again.", audit_code)
