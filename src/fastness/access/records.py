"""The SQL of access: every statement on its tables, and nothing that decides anything.

All but `all_keys` (the projection serves every tenant) see only the tenant of their scope.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple, TypeVar

from sqlalchemy import Row, delete, insert, select, update

from fastness.access.tables import API_KEY, APPROVAL, ENROLMENT, PRINCIPAL, PRINCIPAL_ROLE, PUBLIC_KEY
from fastness.core.clock import Instant
from fastness.core.digests import Digest
from fastness.core.errors import Corrupt, Invalid
from fastness.core.identity import Action, PrincipalId, PrincipalKind, Role, TenantId
from fastness.core.limits import Limit
from fastness.foundation.storage import Reading, Transaction

WordT = TypeVar("WordT", bound=StrEnum)


class PrincipalRow(NamedTuple):
    """A principal as it stands."""

    id: PrincipalId
    kind: PrincipalKind
    roles: frozenset[Role]
    active: bool
    enrolled: bool


class KeyRow(NamedTuple):
    """An API key as it stands; `digest` is HMAC-SHA-256 of its text."""

    key_id: str
    tenant: TenantId
    principal: PrincipalId
    name: str
    digest: bytes
    limit: Limit
    actions: frozenset[Action] | None
    created_at: Instant
    expires_at: Instant
    revoked: bool


class PublicKeyRow(NamedTuple):
    """A person's public key; nothing but the signature it verifies is to be trusted."""

    keyid: str
    principal: PrincipalId
    pem: bytes
    revoked: bool


class ApprovalRow(NamedTuple):
    """An approval as it is stored: nothing in it is trusted yet."""

    subject: Digest
    purpose: str
    principal: PrincipalId
    envelope: bytes
    recorded_at: Instant


class EnrolmentRow(NamedTuple):
    """What became of a code."""

    principal: PrincipalId
    expires_at: Instant
    used: bool


def add_principal(tx: Transaction, principal: PrincipalId, kind: PrincipalKind) -> None:
    """Write a principal without roles."""
    tx.execute(
        insert(PRINCIPAL).values(
            tenant=tx.scope.tenant, id=principal, kind=kind.value, active=True, created_at=tx.now, enrolled_at=None
        )
    )


def find_principals(reading: Reading, principal: PrincipalId | None = None) -> dict[PrincipalId, PrincipalRow]:
    """The principals of the tenant by id, or the one; empty if there is none."""
    p, r = PRINCIPAL.c, PRINCIPAL_ROLE.c
    found = select(p.id, p.kind, p.active, p.enrolled_at).where(p.tenant == reading.scope.tenant)
    granted = select(r.principal, r.role).where(r.tenant == reading.scope.tenant)
    if principal is not None:
        found, granted = found.where(p.id == principal), granted.where(r.principal == principal)
    roles: dict[str, set[Role]] = {}
    for row in reading.execute(granted):
        roles.setdefault(row.principal, set()).add(_one_of(Role, row.role))
    return {
        row.id: PrincipalRow(
            PrincipalId(row.id),
            _one_of(PrincipalKind, row.kind),
            frozenset(roles.get(row.id, ())),
            active=bool(row.active),
            enrolled=row.enrolled_at is not None,
        )
        for row in reading.execute(found.order_by(p.id))
    }


def put_roles(tx: Transaction, principal: PrincipalId, roles: Iterable[Role]) -> None:
    """Give the principal these roles and no others."""
    r = PRINCIPAL_ROLE.c
    tx.execute(delete(PRINCIPAL_ROLE).where(r.tenant == tx.scope.tenant, r.principal == principal))
    for role in sorted(roles):
        tx.execute(insert(PRINCIPAL_ROLE).values(tenant=tx.scope.tenant, principal=principal, role=role.value))


def mark_enrolled(tx: Transaction, principal: PrincipalId) -> int:
    """Note that an active principal has enrolled; the number of rows changed."""
    c = PRINCIPAL.c
    here = (c.tenant == tx.scope.tenant, c.id == principal, c.active)
    return tx.execute(update(PRINCIPAL).where(*here).values(enrolled_at=tx.now)).count


def mark_inactive(tx: Transaction, principal: PrincipalId) -> int:
    """End an active principal; the number of rows changed."""
    c = PRINCIPAL.c
    here = (c.tenant == tx.scope.tenant, c.id == principal, c.active)
    return tx.execute(update(PRINCIPAL).where(*here).values(active=False)).count


def add_enrolment(tx: Transaction, code_digest: str, principal: PrincipalId, expires_at: Instant) -> None:
    """Write a one-time code's digest."""
    tx.execute(
        insert(ENROLMENT).values(
            code_digest=code_digest, tenant=tx.scope.tenant, principal=principal, expires_at=expires_at, used_at=None
        )
    )


def use_enrolment(tx: Transaction, code_digest: str) -> int:
    """Use up a code that is good now; 1 if it was. Of two who try at once, one gets 0."""
    c = ENROLMENT.c
    good = (c.code_digest == code_digest, c.tenant == tx.scope.tenant, c.used_at.is_(None), c.expires_at > tx.now)
    return tx.execute(update(ENROLMENT).where(*good).values(used_at=tx.now)).count


def find_enrolment(reading: Reading, code_digest: str) -> EnrolmentRow | None:
    """What is known of a code."""
    c = ENROLMENT.c
    query = select(c.principal, c.expires_at, c.used_at).where(
        c.code_digest == code_digest, c.tenant == reading.scope.tenant
    )
    row = reading.execute(query).first()
    return None if row is None else EnrolmentRow(PrincipalId(row[0]), Instant(row[1]), row[2] is not None)


def void_enrolments(tx: Transaction, principal: PrincipalId) -> None:
    """Make the open codes of a principal void."""
    c = ENROLMENT.c
    here = (c.tenant == tx.scope.tenant, c.principal == principal, c.used_at.is_(None))
    tx.execute(update(ENROLMENT).where(*here).values(used_at=tx.now))


def add_key(tx: Transaction, row: KeyRow) -> None:
    """Write a new API key."""
    values = row._asdict()
    limit: Limit = values.pop("limit")
    del values["revoked"]
    values |= {"per_s": limit.per_s, "burst": limit.burst, "actions": _written(row.actions), "revoked_at": None}
    tx.execute(insert(API_KEY).values(values))


def find_keys(reading: Reading, key_id: str | None = None) -> list[KeyRow]:
    """The API keys of the tenant, or the one, oldest first."""
    c = API_KEY.c
    query = select(API_KEY).where(c.tenant == reading.scope.tenant)
    if key_id is not None:
        query = query.where(c.key_id == key_id)
    return [_key_row(row) for row in reading.execute(query.order_by(c.created_at, c.key_id))]


def all_principals(reading: Reading) -> dict[tuple[TenantId, PrincipalId], PrincipalRow]:
    """Every principal of every tenant as it stands."""
    p, r = PRINCIPAL.c, PRINCIPAL_ROLE.c
    roles: dict[tuple[str, str], set[Role]] = {}
    for row in reading.execute(select(r.tenant, r.principal, r.role)):
        roles.setdefault((row.tenant, row.principal), set()).add(_one_of(Role, row.role))
    return {
        (TenantId(row.tenant), PrincipalId(row.id)): PrincipalRow(
            PrincipalId(row.id),
            _one_of(PrincipalKind, row.kind),
            frozenset(roles.get((row.tenant, row.id), ())),
            active=bool(row.active),
            enrolled=row.enrolled_at is not None,
        )
        for row in reading.execute(select(p.tenant, p.id, p.kind, p.active, p.enrolled_at))
    }


def all_keys(reading: Reading) -> list[tuple[KeyRow, PrincipalRow]]:
    """Every API key of every tenant with its owner as it stands."""
    owners = all_principals(reading)
    keys = [_key_row(row) for row in reading.execute(select(API_KEY))]
    if any((key.tenant, key.principal) not in owners for key in keys):
        raise _changed("an API key of nobody")
    return [(key, owners[key.tenant, key.principal]) for key in keys]


def mark_key_revoked(tx: Transaction, key_id: str) -> int:
    """Revoke a key that is not revoked yet; the number of rows changed."""
    c = API_KEY.c
    here = (c.key_id == key_id, c.tenant == tx.scope.tenant, c.revoked_at.is_(None))
    return tx.execute(update(API_KEY).where(*here).values(revoked_at=tx.now)).count


def put_actions(tx: Transaction, key_id: str, actions: frozenset[Action]) -> None:
    """Narrow a key to `actions`."""
    c = API_KEY.c
    here = (c.key_id == key_id, c.tenant == tx.scope.tenant)
    tx.execute(update(API_KEY).where(*here).values(actions=_written(actions)))


def add_public_key(tx: Transaction, keyid: str, principal: PrincipalId, pem: bytes) -> None:
    """Write a person's public key."""
    tx.execute(
        insert(PUBLIC_KEY).values(
            tenant=tx.scope.tenant, keyid=keyid, principal=principal, pem=pem, enrolled_at=tx.now, revoked_at=None
        )
    )


def find_public_keys(reading: Reading) -> list[PublicKeyRow]:
    """All public keys of the tenant, revoked ones too."""
    c = PUBLIC_KEY.c
    query = select(c.keyid, c.principal, c.pem, c.revoked_at).where(c.tenant == reading.scope.tenant)
    return [
        PublicKeyRow(row.keyid, PrincipalId(row.principal), bytes(row.pem), revoked=row.revoked_at is not None)
        for row in reading.execute(query.order_by(c.keyid))
    ]


def all_public_keys(reading: Reading) -> list[tuple[TenantId, PublicKeyRow]]:
    """The public keys of every tenant, revoked ones too."""
    return [
        (
            TenantId(row.tenant),
            PublicKeyRow(row.keyid, PrincipalId(row.principal), bytes(row.pem), revoked=row.revoked_at is not None),
        )
        for row in reading.execute(select(PUBLIC_KEY))
    ]


def mark_public_key_revoked(tx: Transaction, keyid: str) -> int:
    """Revoke a public key that is not revoked yet; the number of rows changed."""
    c = PUBLIC_KEY.c
    here = (c.keyid == keyid, c.tenant == tx.scope.tenant, c.revoked_at.is_(None))
    return tx.execute(update(PUBLIC_KEY).where(*here).values(revoked_at=tx.now)).count


def add_approval(tx: Transaction, approval_id: str, envelope_digest: str, row: ApprovalRow) -> None:
    """Write an approval."""
    values = row._asdict() | {"id": approval_id, "tenant": tx.scope.tenant, "envelope_digest": envelope_digest}
    tx.execute(insert(APPROVAL).values(values))


def find_approvals(reading: Reading, subject: Digest, purpose: str) -> list[ApprovalRow]:
    """What was recorded about `subject` for `purpose`, oldest first."""
    c = APPROVAL.c
    query = select(*(c[name] for name in ApprovalRow._fields)).where(
        c.tenant == reading.scope.tenant, c.subject == subject, c.purpose == purpose
    )
    return [ApprovalRow(*row) for row in reading.execute(query.order_by(c.recorded_at, c.id))]


def _key_row(row: Row[tuple[object, ...]]) -> KeyRow:
    return KeyRow(
        row.key_id,
        TenantId(row.tenant),
        PrincipalId(row.principal),
        row.name,
        bytes(row.digest),
        _limit(row.per_s, row.burst),
        None if row.actions is None else frozenset(_one_of(Action, name) for name in row.actions.split()),
        Instant(row.created_at),
        Instant(row.expires_at),
        revoked=row.revoked_at is not None,
    )


def _limit(per_s: float, burst: float) -> Limit:
    try:
        return Limit(per_s, burst)
    except (Invalid, TypeError) as error:
        raise _changed("the rate of an API key") from error


def _one_of(kind: type[WordT], text: str) -> WordT:
    try:
        return kind(text)
    except ValueError as error:
        raise _changed(f"a {kind.__name__} that is none") from error


def _changed(what: str) -> Corrupt:
    hint = "Somebody changed the database: compare it with the ledger, and restore a backup."
    return Corrupt("access-changed", f"the records of access hold {what}", hint)


def _written(actions: frozenset[Action] | None) -> str | None:
    return None if actions is None else " ".join(sorted(actions))
