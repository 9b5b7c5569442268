"""The SQL of login: every statement on its tables, and nothing that decides anything.

Rows are sealed (`access.sealing`). All but the three `locate_…` see only the tenant of their scope: who comes with nothing but an opaque text is looked up by
its keyed digest, which names the tenant. Challenges and the last use of a session are no decisions; they are written like
leases, without an event.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Table, and_, func, or_, select

from fastness.access.login.tables import (
    BUCKET,
    CHALLENGE,
    ELEVATION,
    INVITATION,
    PASSKEY,
    PASSWORD,
    RECOVERY,
    SESSION,
    TICKET,
    TOTP,
)
from fastness.access.sealing.records import change, genuine, put, remove
from fastness.access.tables import PRINCIPAL
from fastness.core.clock import Instant
from fastness.core.errors import Corrupt
from fastness.core.identity import PrincipalId, Role, Scope, Strength, TenantId
from fastness.foundation.crypto import WrappedKey
from fastness.foundation.storage import Reading, Transaction


class PasswordRow(NamedTuple):
    """A password as it is kept; without a hash where it was voided."""

    hash: str | None
    generation: int


class TotpRow(NamedTuple):
    """An authenticator app; its seed is encrypted."""

    id: str
    principal: PrincipalId
    label: str
    seed: WrappedKey
    created_at: Instant
    confirmed: bool
    last_counter: int


class PasskeyRow(NamedTuple):
    """A passkey."""

    id: str
    principal: PrincipalId
    label: str
    credential_id: bytes
    public_key: bytes
    sign_count: int
    created_at: Instant


class TicketRow(NamedTuple):
    """A login that waits for its second factor."""

    tenant: TenantId
    principal: PrincipalId
    agent: bytes
    network: str
    failures: int
    expires_at: Instant


class SessionRow(NamedTuple):
    """A session as it stands."""

    id: str
    digest: bytes
    tenant: TenantId
    principal: PrincipalId
    strength: Strength
    roles: frozenset[Role]
    agent: bytes
    network: str
    bound: bool
    created_at: Instant
    authenticated_at: Instant
    stepped_up_at: Instant | None
    seen_at: Instant
    expires_at: Instant
    ended_at: Instant | None


class ElevationRow(NamedTuple):
    """A second factor given with a key or a token."""

    tenant: TenantId
    principal: PrincipalId
    credential: str
    created_at: Instant
    expires_at: Instant


class BucketRow(NamedTuple):
    """Failures of one kind."""

    failures: int
    blocked_until: Instant
    forget_at: Instant


def _own(table: Table, reading: Reading, principal: PrincipalId) -> ColumnElement[bool]:
    return and_(table.c.tenant == reading.scope.tenant, table.c.principal == principal)


# --- passwords ---------------------------------------------------------------------------------------------------------


def has_people(reading: Reading, tenant: TenantId) -> bool:
    """Whether anybody belongs to `tenant`."""
    query = select(PRINCIPAL.c.id).where(PRINCIPAL.c.tenant == tenant).limit(1)
    return reading.execute(query).first() is not None


def joined_at(reading: Reading, principal: PrincipalId) -> tuple[Instant, ...]:
    """When the principal was made, and when it redeemed its code."""
    c = PRINCIPAL.c
    query = select(c.created_at, c.enrolled_at).where(c.tenant == reading.scope.tenant, c.id == principal)
    return tuple(Instant(at) for row in reading.execute(query) for at in row if at is not None)


def find_password(reading: Reading, principal: PrincipalId) -> PasswordRow | None:
    """What is kept of a password."""
    found = genuine(reading, PASSWORD, select(PASSWORD).where(_own(PASSWORD, reading, principal)))
    return PasswordRow(found[0].hash, found[0].generation) if found else None


def put_password(tx: Transaction, principal: PrincipalId, hashed: str | None) -> int:
    """Write a new password, or void it; the generation it has."""
    before = find_password(tx, principal)
    values = {"hash": hashed, "changed_at": tx.now}
    if before is None:
        generation = 1
        key = {"principal": principal, "generation": generation}
        put(tx, PASSWORD, values | key)
    else:
        generation = before.generation + 1
        change(tx, PASSWORD, (_own(PASSWORD, tx, principal),), values | {"generation": generation})
    return generation


def renew_password(tx: Transaction, principal: PrincipalId, before: str, hashed: str) -> None:
    """Write the same password at other parameters, if it is the same still."""
    change(tx, PASSWORD, (_own(PASSWORD, tx, principal), PASSWORD.c.hash == before), {"hash": hashed})


def add_invitation(tx: Transaction, digest: bytes, principal: PrincipalId, expires_at: Instant) -> None:
    """Write a one-time code; older ones of the principal go."""
    drop_invitations(tx, principal)
    put(tx, INVITATION, {"digest": digest, "principal": principal, "expires_at": expires_at})


def locate_invitation(reading: Reading, digest: bytes) -> Scope | None:
    """Whose code it is, in whatever tenant, good or not."""
    c = INVITATION.c
    found = genuine(reading, INVITATION, select(INVITATION).where(c.digest == digest))
    return Scope(TenantId(found[0].tenant), PrincipalId(found[0].principal)) if found else None


def use_invitation(tx: Transaction, digest: bytes) -> int:
    """Use up a code that is good now; 1 if it was. Of two who try at once, one gets 0."""
    c = INVITATION.c
    good = (c.digest == digest, c.tenant == tx.scope.tenant, c.expires_at > tx.now)
    return remove(tx, INVITATION, good)


def drop_invitations(tx: Transaction, principal: PrincipalId) -> None:
    """Remove the codes of a principal."""
    remove(tx, INVITATION, (_own(INVITATION, tx, principal),))


# --- authenticator apps and recovery codes -----------------------------------------------------------------------------


def add_totp(tx: Transaction, row: TotpRow) -> None:
    """Write an authenticator app."""
    values = {
        "id": row.id,
        "principal": row.principal,
        "label": row.label,
        "key_id": row.seed.key_id,
        "key_version": row.seed.version,
        "wrapped": row.seed.wrapped,
        "created_at": row.created_at,
        "confirmed_at": tx.now if row.confirmed else None,
        "last_counter": row.last_counter,
    }
    put(tx, TOTP, values)


def find_totp(reading: Reading, principal: PrincipalId) -> list[TotpRow]:
    """The authenticator apps of a principal, unconfirmed ones too, oldest first."""
    c = TOTP.c
    return [
        TotpRow(
            row.id,
            PrincipalId(row.principal),
            row.label,
            WrappedKey(row.key_id, row.key_version, bytes(row.wrapped)),
            Instant(row.created_at),
            row.confirmed_at is not None,
            row.last_counter,
        )
        for row in genuine(
            reading, TOTP, select(TOTP).where(_own(TOTP, reading, principal)).order_by(c.created_at, c.id)
        )
    ]


def use_counter(tx: Transaction, factor: str, counter: int) -> int:
    """Move the last counter up to `counter`; 1 if it was lower. Of two with the same code, one gets 0."""
    c = TOTP.c
    here = (c.id == factor, c.tenant == tx.scope.tenant, c.last_counter < counter)
    return change(tx, TOTP, here, {"last_counter": counter})


def confirm_totp(tx: Transaction, factor: str) -> int:
    """Mark an authenticator app as confirmed; 1 if it was not."""
    c = TOTP.c
    here = (c.id == factor, c.tenant == tx.scope.tenant, c.confirmed_at.is_(None))
    return change(tx, TOTP, here, {"confirmed_at": tx.now})


def drop_unconfirmed(tx: Transaction, principal: PrincipalId) -> None:
    """Remove what was begun and not confirmed."""
    remove(tx, TOTP, (_own(TOTP, tx, principal), TOTP.c.confirmed_at.is_(None)))


def put_recovery(tx: Transaction, principal: PrincipalId, digests: list[bytes]) -> None:
    """Write recovery codes in place of all older ones."""
    remove(tx, RECOVERY, (_own(RECOVERY, tx, principal),))
    values = {"principal": principal, "created_at": tx.now, "used_at": None}
    put(tx, RECOVERY, *({"digest": digest, **values} for digest in digests))


def use_recovery(tx: Transaction, principal: PrincipalId, digest: bytes) -> int:
    """Use up a recovery code; 1 if it was good. Of two who try at once, one gets 0."""
    here = (_own(RECOVERY, tx, principal), RECOVERY.c.digest == digest, RECOVERY.c.used_at.is_(None))
    return change(tx, RECOVERY, here, {"used_at": tx.now})


def count_recovery(reading: Reading, principal: PrincipalId) -> int:
    """How many recovery codes are left."""
    query = select(func.count()).where(_own(RECOVERY, reading, principal), RECOVERY.c.used_at.is_(None))
    return int(reading.execute(query)[0][0])


# --- passkeys ----------------------------------------------------------------------------------------------------------


def add_passkey(tx: Transaction, row: PasskeyRow) -> None:
    """Write a passkey. Raises Conflict where the tenant has it."""
    put(tx, PASSKEY, row._asdict())


def find_passkeys(reading: Reading, principal: PrincipalId) -> list[PasskeyRow]:
    """The passkeys of a principal, oldest first."""
    c = PASSKEY.c
    query = select(PASSKEY).where(_own(PASSKEY, reading, principal)).order_by(c.created_at, c.id)
    return [_passkey(row) for row in genuine(reading, PASSKEY, query)]


def find_passkey(reading: Reading, credential_id: bytes) -> PasskeyRow | None:
    """The passkey of that credential id in the tenant."""
    c = PASSKEY.c
    query = select(PASSKEY).where(c.tenant == reading.scope.tenant, c.credential_id == credential_id)
    found = genuine(reading, PASSKEY, query)
    return _passkey(found[0]) if found else None


def _passkey(row: Any) -> PasskeyRow:
    return PasskeyRow(*(getattr(row, name) for name in PasskeyRow._fields))


def use_passkey(tx: Transaction, factor: str, sign_count: int) -> int:
    """Note a use; 1 if the counter is higher than before, or was and is zero (the authenticator counts nothing)."""
    c = PASSKEY.c
    higher = c.sign_count < sign_count if sign_count else c.sign_count == 0
    here = (c.id == factor, c.tenant == tx.scope.tenant, higher)
    return change(tx, PASSKEY, here, {"sign_count": sign_count, "used_at": tx.now})


def add_challenge(
    tx: Transaction, digest: bytes, principal: PrincipalId | None, made_for: tuple[str, bytes], expires_at: Instant
) -> None:
    """Write a challenge made for a purpose and what binds it; of one purpose and binding the newest few stay."""
    c = CHALLENGE.c
    purpose, binding = made_for
    remove(tx, CHALLENGE, (c.expires_at <= tx.now,), recorded=False)
    same = (c.tenant == tx.scope.tenant, c.purpose == purpose, c.binding == binding)
    kept = select(c.digest).where(*same).order_by(c.expires_at.desc()).limit(_CHALLENGES_KEPT - 1)
    remove(tx, CHALLENGE, (*same, c.digest.not_in(kept)), recorded=False)
    values = {"digest": digest, "principal": principal, "expires_at": expires_at}
    put(tx, CHALLENGE, values | {"purpose": purpose, "binding": binding}, recorded=False)


_CHALLENGES_KEPT = 5


def count_challenges(reading: Reading) -> int:
    """How many challenges of the tenant are open."""
    query = select(func.count()).select_from(CHALLENGE).where(CHALLENGE.c.tenant == reading.scope.tenant)
    return int(reading.execute(query)[0][0])


def take_challenge(tx: Transaction, digest: bytes, principal: PrincipalId | None, made_for: tuple[str, bytes]) -> int:
    """Remove a challenge that is good now for this; 1 if it was. Of two who try at once, one gets 0."""
    c = CHALLENGE.c
    purpose, binding = made_for
    whose = c.principal.is_(None) if principal is None else c.principal == principal
    good = (c.digest == digest, c.tenant == tx.scope.tenant, whose, c.purpose == purpose, c.binding == binding)
    genuine(tx, CHALLENGE, select(CHALLENGE).where(*good))
    return remove(tx, CHALLENGE, (*good, c.expires_at > tx.now), recorded=False)


def drop_factor(tx: Transaction, principal: PrincipalId, factor: str) -> int:
    """Remove one authenticator app or passkey; the number removed."""
    return sum(remove(tx, table, (_own(table, tx, principal), table.c.id == factor)) for table in (TOTP, PASSKEY))


def drop_factors(tx: Transaction, principal: PrincipalId) -> dict[str, int]:
    """Remove all second factors of a principal; how many there were by kind."""
    kinds = {"totp": TOTP, "passkey": PASSKEY, "recovery": RECOVERY}
    return {kind: remove(tx, table, (_own(table, tx, principal),)) for kind, table in kinds.items()}


# --- tickets, elevations -----------------------------------------------------------------------------------------------


def add_ticket(tx: Transaction, digest: bytes, row: TicketRow) -> None:
    """Write a ticket; expired ones of the tenant go, and of the principal's all but the newest."""
    c = TICKET.c
    remove(tx, TICKET, (c.tenant == tx.scope.tenant, c.expires_at <= tx.now))
    kept = select(c.digest).where(_own(TICKET, tx, row.principal)).order_by(c.expires_at.desc()).limit(_TICKETS_KEPT)
    remove(tx, TICKET, (_own(TICKET, tx, row.principal), c.digest.not_in(kept)))
    put(tx, TICKET, row._asdict() | {"digest": digest})


_TICKETS_KEPT = 99


def locate_ticket(reading: Reading, digest: bytes) -> TicketRow | None:
    """The ticket of that digest, in whatever tenant."""
    found = genuine(reading, TICKET, select(TICKET).where(TICKET.c.digest == digest))
    return TicketRow(*(getattr(found[0], name) for name in TicketRow._fields)) if found else None


def count_failure(tx: Transaction, digest: bytes) -> None:
    """Note a failure on a ticket."""
    found = locate_ticket(tx, digest)
    if found is not None:
        change(tx, TICKET, (TICKET.c.digest == digest,), {"failures": found.failures + 1})


def drop_ticket(tx: Transaction, digest: bytes) -> int:
    """Use a ticket up; 1 if it was there."""
    return remove(tx, TICKET, (TICKET.c.digest == digest, TICKET.c.tenant == tx.scope.tenant))


def drop_tickets(tx: Transaction, principal: PrincipalId) -> None:
    """Remove all tickets of a principal."""
    remove(tx, TICKET, (_own(TICKET, tx, principal),))


def add_elevation(tx: Transaction, digest: bytes, row: ElevationRow) -> None:
    """Write an elevation; expired ones of the tenant go, and older ones of the same credential."""
    c = ELEVATION.c
    old = or_(c.expires_at <= tx.now, and_(c.principal == row.principal, c.credential == row.credential))
    remove(tx, ELEVATION, (c.tenant == tx.scope.tenant, old))
    put(tx, ELEVATION, row._asdict() | {"digest": digest})


def find_elevation(reading: Reading, digest: bytes) -> ElevationRow | None:
    """The elevation of that digest in the tenant."""
    c = ELEVATION.c
    query = select(ELEVATION).where(c.digest == digest, c.tenant == reading.scope.tenant)
    found = genuine(reading, ELEVATION, query)
    return ElevationRow(*(getattr(found[0], name) for name in ElevationRow._fields)) if found else None


def drop_elevations(tx: Transaction, principal: PrincipalId) -> None:
    """Remove all elevations of a principal."""
    remove(tx, ELEVATION, (_own(ELEVATION, tx, principal),))


# --- sessions ----------------------------------------------------------------------------------------------------------


def add_session(tx: Transaction, row: SessionRow) -> None:
    """Write a session; those of the principal that ended or expired long ago go."""
    c = SESSION.c
    old = or_(c.expires_at <= tx.now, c.ended_at.is_not(None))
    remove(tx, SESSION, (_own(SESSION, tx, row.principal), old))
    put(tx, SESSION, row._asdict() | {"strength": int(row.strength), "roles": " ".join(sorted(row.roles))})


def locate_session(reading: Reading, digest: bytes) -> SessionRow | None:
    """The session of that digest, in whatever tenant."""
    found = genuine(reading, SESSION, select(SESSION).where(SESSION.c.digest == digest))
    return _session(found[0]) if found else None


def find_sessions(reading: Reading, principal: PrincipalId | None, now: Instant) -> list[SessionRow]:
    """The sessions of a principal, or of the whole tenant, that neither ended nor expired, oldest first."""
    c = SESSION.c
    whose = c.tenant == reading.scope.tenant if principal is None else _own(SESSION, reading, principal)
    query = select(SESSION).where(whose, c.ended_at.is_(None), c.expires_at > now).order_by(c.created_at, c.id)
    return [_session(row) for row in genuine(reading, SESSION, query)]


def end_session(tx: Transaction, session: str, principal: PrincipalId | None = None) -> int:
    """End a session of the tenant, or only if it is the principal's; 1 if it had not ended."""
    c = SESSION.c
    whose = c.tenant == tx.scope.tenant if principal is None else _own(SESSION, tx, principal)
    return change(tx, SESSION, (whose, c.id == session, c.ended_at.is_(None)), {"ended_at": tx.now})


def change_session(tx: Transaction, session: SessionRow, digest: bytes) -> int:
    """Give a session a new id and what `session` says of strength, roles and time; 1 if it still had the old id."""
    c = SESSION.c
    here = (c.id == session.id, c.tenant == tx.scope.tenant, c.digest == session.digest, c.ended_at.is_(None))
    values = {
        "digest": digest,
        "strength": int(session.strength),
        "roles": " ".join(sorted(session.roles)),
        "stepped_up_at": session.stepped_up_at,
        "seen_at": tx.now,
    }
    return change(tx, SESSION, here, values)


def see_session(tx: Transaction, session: str) -> None:
    """Note that a session was used."""
    here = (SESSION.c.id == session, SESSION.c.tenant == tx.scope.tenant, SESSION.c.seen_at < tx.now)
    change(tx, SESSION, here, {"seen_at": tx.now}, recorded=False)


def _session(row: Any) -> SessionRow:
    try:
        strength, roles = Strength(row.strength), frozenset(Role(name) for name in row.roles.split())
    except ValueError as error:
        hint = "Somebody changed the database: compare it with the ledger, and restore a backup."
        raise Corrupt("access-changed", "the records of access hold a session that is none", hint) from error
    plain = SessionRow(*(getattr(row, name) for name in SessionRow._fields))
    return plain._replace(strength=strength, roles=roles)


# --- failures ----------------------------------------------------------------------------------------------------------


def find_buckets(reading: Reading, digests: list[bytes], now: Instant) -> dict[bytes, BucketRow]:
    """What failed lately, by bucket."""
    c = BUCKET.c
    query = select(BUCKET).where(c.tenant == reading.scope.tenant, c.digest.in_(digests), c.forget_at > now)
    return {
        bytes(row.digest): BucketRow(row.failures, row.blocked_until, row.forget_at)
        for row in genuine(reading, BUCKET, query)
    }


def put_bucket(tx: Transaction, digest: bytes, names: tuple[str, bytes], row: BucketRow, most: int) -> None:
    """Write a bucket; where the tenant has too many, forgotten ones go and then those that would be forgotten first.

    Args:
        names: its kind, and the digest of the account it belongs to.
    """
    c = BUCKET.c
    here = (c.tenant == tx.scope.tenant, c.digest == digest)
    if change(tx, BUCKET, here, row._asdict()):
        return
    count = int(tx.execute(select(func.count()).select_from(BUCKET).where(c.tenant == tx.scope.tenant))[0][0])
    if count >= most:
        oldest = select(c.digest).where(c.tenant == tx.scope.tenant).order_by(c.forget_at, c.digest)
        gone = oldest.limit(count - most + 1 + most // 100)
        forgotten = or_(c.forget_at <= tx.now, c.digest.in_(gone))
        remove(tx, BUCKET, (c.tenant == tx.scope.tenant, forgotten))
    kind, account = names
    put(tx, BUCKET, {"digest": digest, "kind": kind, "account": account} | row._asdict())


def drop_buckets(tx: Transaction, digests: list[bytes]) -> None:
    """Forget these failures."""
    remove(tx, BUCKET, (BUCKET.c.tenant == tx.scope.tenant, BUCKET.c.digest.in_(digests)))


def drop_account(tx: Transaction, account: bytes) -> None:
    """Forget all failures of an account."""
    remove(tx, BUCKET, (BUCKET.c.tenant == tx.scope.tenant, BUCKET.c.account == account))
