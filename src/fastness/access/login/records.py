"""The SQL of login: every statement on its tables, and nothing that decides anything.

All but the three `locate_…` see only the tenant of their scope: who comes with nothing but an opaque text is looked up by
its keyed digest, which names the tenant. Challenges and the last use of a session are no decisions; they are written like
leases, without an event.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Table, and_, delete, func, insert, or_, select, update

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
    query = select(PASSWORD.c.hash, PASSWORD.c.generation).where(_own(PASSWORD, reading, principal))
    row = reading.execute(query).first()
    return None if row is None else PasswordRow(*row)


def put_password(tx: Transaction, principal: PrincipalId, hashed: str | None) -> int:
    """Write a new password, or void it; the generation it has."""
    before = find_password(tx, principal)
    values = {"hash": hashed, "changed_at": tx.now}
    if before is None:
        generation = 1
        key = {"tenant": tx.scope.tenant, "principal": principal, "generation": generation}
        tx.execute(insert(PASSWORD).values(**values, **key))
    else:
        generation = before.generation + 1
        tx.execute(update(PASSWORD).where(_own(PASSWORD, tx, principal)).values(**values, generation=generation))
    return generation


def renew_password(tx: Transaction, principal: PrincipalId, before: str, hashed: str) -> None:
    """Write the same password at other parameters, if it is the same still."""
    here = and_(_own(PASSWORD, tx, principal), PASSWORD.c.hash == before)
    tx.execute(update(PASSWORD).where(here).values(hash=hashed))


def add_invitation(tx: Transaction, digest: bytes, principal: PrincipalId, expires_at: Instant) -> None:
    """Write a one-time code; older ones of the principal go."""
    tx.execute(delete(INVITATION).where(_own(INVITATION, tx, principal)))
    values = {"digest": digest, "tenant": tx.scope.tenant, "principal": principal, "expires_at": expires_at}
    tx.execute(insert(INVITATION).values(**values))


def locate_invitation(reading: Reading, digest: bytes) -> Scope | None:
    """Whose code it is, in whatever tenant, good or not."""
    c = INVITATION.c
    row = reading.execute(select(c.tenant, c.principal).where(c.digest == digest)).first()
    return None if row is None else Scope(TenantId(row.tenant), PrincipalId(row.principal))


def use_invitation(tx: Transaction, digest: bytes) -> int:
    """Use up a code that is good now; 1 if it was. Of two who try at once, one gets 0."""
    c = INVITATION.c
    good = (c.digest == digest, c.tenant == tx.scope.tenant, c.expires_at > tx.now)
    return tx.execute(delete(INVITATION).where(*good)).count


def drop_invitations(tx: Transaction, principal: PrincipalId) -> None:
    """Remove the codes of a principal."""
    tx.execute(delete(INVITATION).where(_own(INVITATION, tx, principal)))


# --- authenticator apps and recovery codes -----------------------------------------------------------------------------


def add_totp(tx: Transaction, row: TotpRow) -> None:
    """Write an authenticator app."""
    tx.execute(
        insert(TOTP).values(
            id=row.id,
            tenant=tx.scope.tenant,
            principal=row.principal,
            label=row.label,
            key_id=row.seed.key_id,
            key_version=row.seed.version,
            wrapped=row.seed.wrapped,
            created_at=row.created_at,
            confirmed_at=tx.now if row.confirmed else None,
            last_counter=row.last_counter,
        )
    )


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
        for row in reading.execute(select(TOTP).where(_own(TOTP, reading, principal)).order_by(c.created_at, c.id))
    ]


def use_counter(tx: Transaction, factor: str, counter: int) -> int:
    """Move the last counter up to `counter`; 1 if it was lower. Of two with the same code, one gets 0."""
    c = TOTP.c
    here = (c.id == factor, c.tenant == tx.scope.tenant, c.last_counter < counter)
    return tx.execute(update(TOTP).where(*here).values(last_counter=counter)).count


def confirm_totp(tx: Transaction, factor: str) -> int:
    """Mark an authenticator app as confirmed; 1 if it was not."""
    c = TOTP.c
    here = (c.id == factor, c.tenant == tx.scope.tenant, c.confirmed_at.is_(None))
    return tx.execute(update(TOTP).where(*here).values(confirmed_at=tx.now)).count


def drop_unconfirmed(tx: Transaction, principal: PrincipalId) -> None:
    """Remove what was begun and not confirmed."""
    tx.execute(delete(TOTP).where(_own(TOTP, tx, principal), TOTP.c.confirmed_at.is_(None)))


def put_recovery(tx: Transaction, principal: PrincipalId, digests: list[bytes]) -> None:
    """Write recovery codes in place of all older ones."""
    tx.execute(delete(RECOVERY).where(_own(RECOVERY, tx, principal)))
    values = {"tenant": tx.scope.tenant, "principal": principal, "created_at": tx.now, "used_at": None}
    for digest in digests:
        tx.execute(insert(RECOVERY).values(digest=digest, **values))


def use_recovery(tx: Transaction, principal: PrincipalId, digest: bytes) -> int:
    """Use up a recovery code; 1 if it was good. Of two who try at once, one gets 0."""
    here = and_(_own(RECOVERY, tx, principal), RECOVERY.c.digest == digest, RECOVERY.c.used_at.is_(None))
    return tx.execute(update(RECOVERY).where(here).values(used_at=tx.now)).count


def count_recovery(reading: Reading, principal: PrincipalId) -> int:
    """How many recovery codes are left."""
    query = select(func.count()).where(_own(RECOVERY, reading, principal), RECOVERY.c.used_at.is_(None))
    return int(reading.execute(query)[0][0])


# --- passkeys ----------------------------------------------------------------------------------------------------------


def add_passkey(tx: Transaction, row: PasskeyRow) -> None:
    """Write a passkey. Raises Conflict where the tenant has it."""
    tx.execute(insert(PASSKEY).values(**row._asdict(), tenant=tx.scope.tenant, used_at=None))


def find_passkeys(reading: Reading, principal: PrincipalId) -> list[PasskeyRow]:
    """The passkeys of a principal, oldest first."""
    c = PASSKEY.c
    query = select(*(c[name] for name in PasskeyRow._fields)).where(_own(PASSKEY, reading, principal))
    return [PasskeyRow(*row) for row in reading.execute(query.order_by(c.created_at, c.id))]


def find_passkey(reading: Reading, credential_id: bytes) -> PasskeyRow | None:
    """The passkey of that credential id in the tenant."""
    c = PASSKEY.c
    query = select(*(c[name] for name in PasskeyRow._fields)).where(
        c.tenant == reading.scope.tenant, c.credential_id == credential_id
    )
    row = reading.execute(query).first()
    return None if row is None else PasskeyRow(*row)


def use_passkey(tx: Transaction, factor: str, sign_count: int) -> int:
    """Note a use; 1 if the counter is higher than before, or was and is zero (the authenticator counts nothing)."""
    c = PASSKEY.c
    higher = c.sign_count < sign_count if sign_count else c.sign_count == 0
    here = (c.id == factor, c.tenant == tx.scope.tenant, higher)
    return tx.execute(update(PASSKEY).where(*here).values(sign_count=sign_count, used_at=tx.now)).count


def add_challenge(
    tx: Transaction, digest: bytes, principal: PrincipalId | None, made_for: tuple[str, bytes], expires_at: Instant
) -> None:
    """Write a challenge made for a purpose and what binds it; of one purpose and binding the newest few stay."""
    c = CHALLENGE.c
    purpose, binding = made_for
    tx.execute_unrecorded(delete(CHALLENGE).where(c.expires_at <= tx.now))
    same = (c.tenant == tx.scope.tenant, c.purpose == purpose, c.binding == binding)
    kept = select(c.digest).where(*same).order_by(c.expires_at.desc()).limit(_CHALLENGES_KEPT - 1)
    tx.execute_unrecorded(delete(CHALLENGE).where(*same, c.digest.not_in(kept)))
    values = {"digest": digest, "tenant": tx.scope.tenant, "principal": principal, "expires_at": expires_at}
    tx.execute_unrecorded(insert(CHALLENGE).values(**values, purpose=purpose, binding=binding))


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
    return tx.execute_unrecorded(delete(CHALLENGE).where(*good, c.expires_at > tx.now)).count


def drop_factor(tx: Transaction, principal: PrincipalId, factor: str) -> int:
    """Remove one authenticator app or passkey; the number removed."""
    return sum(tx.execute(delete(t).where(_own(t, tx, principal), t.c.id == factor)).count for t in (TOTP, PASSKEY))


def drop_factors(tx: Transaction, principal: PrincipalId) -> dict[str, int]:
    """Remove all second factors of a principal; how many there were by kind."""
    kinds = {"totp": TOTP, "passkey": PASSKEY, "recovery": RECOVERY}
    return {kind: tx.execute(delete(t).where(_own(t, tx, principal))).count for kind, t in kinds.items()}


# --- tickets, elevations -----------------------------------------------------------------------------------------------


def add_ticket(tx: Transaction, digest: bytes, row: TicketRow) -> None:
    """Write a ticket; expired ones of the tenant go, and of the principal's all but the newest."""
    c = TICKET.c
    tx.execute(delete(TICKET).where(c.tenant == tx.scope.tenant, c.expires_at <= tx.now))
    kept = select(c.digest).where(_own(TICKET, tx, row.principal)).order_by(c.expires_at.desc()).limit(_TICKETS_KEPT)
    tx.execute(delete(TICKET).where(_own(TICKET, tx, row.principal), c.digest.not_in(kept)))
    tx.execute(insert(TICKET).values(**row._asdict(), digest=digest))


_TICKETS_KEPT = 99


def locate_ticket(reading: Reading, digest: bytes) -> TicketRow | None:
    """The ticket of that digest, in whatever tenant."""
    c = TICKET.c
    row = reading.execute(select(*(c[name] for name in TicketRow._fields)).where(c.digest == digest)).first()
    return None if row is None else TicketRow(*row)


def count_failure(tx: Transaction, digest: bytes) -> None:
    """Note a failure on a ticket."""
    tx.execute(update(TICKET).where(TICKET.c.digest == digest).values(failures=TICKET.c.failures + 1))


def drop_ticket(tx: Transaction, digest: bytes) -> int:
    """Use a ticket up; 1 if it was there."""
    return tx.execute(delete(TICKET).where(TICKET.c.digest == digest, TICKET.c.tenant == tx.scope.tenant)).count


def drop_tickets(tx: Transaction, principal: PrincipalId) -> None:
    """Remove all tickets of a principal."""
    tx.execute(delete(TICKET).where(_own(TICKET, tx, principal)))


def add_elevation(tx: Transaction, digest: bytes, row: ElevationRow) -> None:
    """Write an elevation; expired ones of the tenant go, and older ones of the same credential."""
    c = ELEVATION.c
    old = or_(c.expires_at <= tx.now, and_(c.principal == row.principal, c.credential == row.credential))
    tx.execute(delete(ELEVATION).where(c.tenant == tx.scope.tenant, old))
    tx.execute(insert(ELEVATION).values(**row._asdict(), digest=digest))


def find_elevation(reading: Reading, digest: bytes) -> ElevationRow | None:
    """The elevation of that digest in the tenant."""
    c = ELEVATION.c
    query = select(*(c[name] for name in ElevationRow._fields)).where(
        c.digest == digest, c.tenant == reading.scope.tenant
    )
    row = reading.execute(query).first()
    return None if row is None else ElevationRow(*row)


def drop_elevations(tx: Transaction, principal: PrincipalId) -> None:
    """Remove all elevations of a principal."""
    tx.execute(delete(ELEVATION).where(_own(ELEVATION, tx, principal)))


# --- sessions ----------------------------------------------------------------------------------------------------------


def add_session(tx: Transaction, row: SessionRow) -> None:
    """Write a session; those of the principal that ended or expired long ago go."""
    c = SESSION.c
    old = or_(c.expires_at <= tx.now, c.ended_at.is_not(None))
    tx.execute(delete(SESSION).where(_own(SESSION, tx, row.principal), old))
    values: dict[str, Any] = row._asdict() | {"strength": int(row.strength), "roles": " ".join(sorted(row.roles))}
    tx.execute(insert(SESSION).values(**values))


def locate_session(reading: Reading, digest: bytes) -> SessionRow | None:
    """The session of that digest, in whatever tenant."""
    row = reading.execute(select(*_SESSION_COLUMNS).where(SESSION.c.digest == digest)).first()
    return None if row is None else _session(row)


def find_sessions(reading: Reading, principal: PrincipalId | None, now: Instant) -> list[SessionRow]:
    """The sessions of a principal, or of the whole tenant, that neither ended nor expired, oldest first."""
    c = SESSION.c
    whose = c.tenant == reading.scope.tenant if principal is None else _own(SESSION, reading, principal)
    query = select(*_SESSION_COLUMNS).where(whose, c.ended_at.is_(None), c.expires_at > now)
    return [_session(row) for row in reading.execute(query.order_by(c.created_at, c.id))]


def end_session(tx: Transaction, session: str, principal: PrincipalId | None = None) -> int:
    """End a session of the tenant, or only if it is the principal's; 1 if it had not ended."""
    c = SESSION.c
    whose = c.tenant == tx.scope.tenant if principal is None else _own(SESSION, tx, principal)
    return tx.execute(update(SESSION).where(whose, c.id == session, c.ended_at.is_(None)).values(ended_at=tx.now)).count


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
    return tx.execute(update(SESSION).where(*here).values(**values)).count


def see_session(tx: Transaction, session: str) -> None:
    """Note that a session was used."""
    here = (SESSION.c.id == session, SESSION.c.tenant == tx.scope.tenant, SESSION.c.seen_at < tx.now)
    tx.execute_unrecorded(update(SESSION).where(*here).values(seen_at=tx.now))


_SESSION_COLUMNS = tuple(SESSION.c[name] for name in SessionRow._fields)


def _session(row: Any) -> SessionRow:
    try:
        strength, roles = Strength(row.strength), frozenset(Role(name) for name in row.roles.split())
    except ValueError as error:
        hint = "Somebody changed the database: compare it with the ledger, and restore a backup."
        raise Corrupt("access-changed", "the records of access hold a session that is none", hint) from error
    return SessionRow(*row)._replace(strength=strength, roles=roles)


# --- failures ----------------------------------------------------------------------------------------------------------


def find_buckets(reading: Reading, digests: list[bytes], now: Instant) -> dict[bytes, BucketRow]:
    """What failed lately, by bucket."""
    c = BUCKET.c
    query = select(c.digest, c.failures, c.blocked_until, c.forget_at).where(
        c.tenant == reading.scope.tenant, c.digest.in_(digests), c.forget_at > now
    )
    return {bytes(row.digest): BucketRow(*row[1:]) for row in reading.execute(query)}


def put_bucket(tx: Transaction, digest: bytes, names: tuple[str, bytes], row: BucketRow, most: int) -> None:
    """Write a bucket; where the tenant has too many, forgotten ones go and then those that would be forgotten first.

    Args:
        names: its kind, and the digest of the account it belongs to.
    """
    c = BUCKET.c
    here = (c.tenant == tx.scope.tenant, c.digest == digest)
    if tx.execute(update(BUCKET).where(*here).values(**row._asdict())).count:
        return
    count = int(tx.execute(select(func.count()).select_from(BUCKET).where(c.tenant == tx.scope.tenant))[0][0])
    if count >= most:
        oldest = select(c.digest).where(c.tenant == tx.scope.tenant).order_by(c.forget_at, c.digest)
        gone = oldest.limit(count - most + 1 + most // 100)
        forgotten = or_(c.forget_at <= tx.now, c.digest.in_(gone))
        tx.execute(delete(BUCKET).where(c.tenant == tx.scope.tenant, forgotten))
    kind, account = names
    key = {"tenant": tx.scope.tenant, "digest": digest, "kind": kind, "account": account}
    tx.execute(insert(BUCKET).values(**key, **row._asdict()))


def drop_buckets(tx: Transaction, digests: list[bytes]) -> None:
    """Forget these failures."""
    tx.execute(delete(BUCKET).where(BUCKET.c.tenant == tx.scope.tenant, BUCKET.c.digest.in_(digests)))


def drop_account(tx: Transaction, account: bytes) -> None:
    """Forget all failures of an account."""
    tx.execute(delete(BUCKET).where(BUCKET.c.tenant == tx.scope.tenant, BUCKET.c.account == account))
