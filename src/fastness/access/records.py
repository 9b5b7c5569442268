"""The SQL of access: every statement on its tables, and nothing that decides anything.

All but the `all_…` (the projections serve every tenant) and what is asked of the whole house see only the tenant of their
scope. Rows that give rights are sealed when they are written and checked when they are read (`access.sealing`).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, TypeVar

from sqlalchemy import Row, Table, insert, select

from fastness.access.addresses import parse_networks
from fastness.access.sealing.records import Seen, change, genuine, put, remove
from fastness.access.tables import (
    API_KEY,
    APPROVAL,
    ENROLMENT,
    GROUP,
    GROUP_MEMBER,
    MODEL_GRANT,
    PRINCIPAL,
    PRINCIPAL_ROLE,
    PUBLIC_KEY,
)
from fastness.core.clock import Instant
from fastness.core.digests import Digest
from fastness.core.errors import Corrupt, Invalid
from fastness.core.identity import Action, Grant, PrincipalId, PrincipalKind, Role, TenantId
from fastness.core.limits import Limit
from fastness.foundation.storage import Reading, Transaction

WordT = TypeVar("WordT", bound=StrEnum)


class PrincipalRow(NamedTuple):
    """A principal as it stands.

    Attributes:
        roles: held everywhere in the tenant: `direct` ones, and those of its groups.
        grants: roles held on single models.
    """

    id: PrincipalId
    kind: PrincipalKind
    roles: frozenset[Role]
    active: bool
    enrolled: bool
    grants: frozenset[Grant] = frozenset()
    direct: frozenset[Role] = frozenset()
    groups: frozenset[str] = frozenset()
    created_at: Instant = Instant(0)


class GroupRow(NamedTuple):
    """A group; `source` is `house` or `scim`."""

    id: str
    name: str
    source: str
    roles: frozenset[Role]
    created_at: Instant


class MemberRow(NamedTuple):
    """Who belongs to a group."""

    group: str
    principal: PrincipalId
    added_at: Instant


class KeyRow(NamedTuple):
    """An API key as it stands; `digest` is HMAC-SHA-256 of its text.

    Attributes:
        actions, models: what it is narrowed to; None leaves all.
        networks: whence it may be used; none leaves all addresses.
        successor: the key that took its place.
    """

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
    models: frozenset[str] | None = None
    networks: tuple[str, ...] = ()
    successor: str = ""


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
    values = {"id": principal, "kind": kind.value, "active": True, "created_at": tx.now, "enrolled_at": None}
    put(tx, PRINCIPAL, values)


def find_principals(reading: Reading, principal: PrincipalId | None = None) -> dict[PrincipalId, PrincipalRow]:
    """The principals of the tenant by id, or the one; empty if there is none.

    Raises:
        Corrupt: a row about them was forged or changed.
    """
    found = _standings(reading, reading.scope.tenant, principal, None)
    return {row.id: row for row in found.values()}


def all_principals(reading: Reading, seen: Seen | None = None) -> dict[tuple[TenantId, PrincipalId], PrincipalRow]:
    """Every principal of every tenant as it stands.

    Args:
        seen: is told of forged rows, which are then left out; without it the first one raises.
    """
    return _standings(reading, None, None, seen)


def _standings(
    reading: Reading, tenant: TenantId | None, principal: PrincipalId | None, seen: Seen | None
) -> dict[tuple[TenantId, PrincipalId], PrincipalRow]:
    """What principals hold: roles of their own and of their groups, and roles on single models. The one place that says so."""

    def rows(table: Table, owner: str | None = "principal") -> list[Row[Any]]:
        query = select(table)
        if tenant is not None:
            query = query.where(table.c.tenant == tenant)
        if principal is not None and owner is not None:
            query = query.where(table.c[owner] == principal)
        return genuine(reading, table, query, seen)

    direct: dict[tuple[str, str], set[Role]] = {}
    for row in rows(PRINCIPAL_ROLE):
        direct.setdefault((row.tenant, row.principal), set()).add(_one_of(Role, row.role))
    grants: dict[tuple[str, str], set[Grant]] = {}
    for row in rows(MODEL_GRANT):
        grant = Grant(_one_of(Role, row.role), row.model)
        grants.setdefault((row.tenant, row.principal), set()).add(grant)
    members = rows(GROUP_MEMBER)
    through: dict[tuple[str, str], dict[str, frozenset[Role]]] = {}
    if members:
        groups = {(row.tenant, row.id): _roles(row.roles) for row in rows(GROUP, None)}
        for row in members:
            if (row.tenant, row.group_id) in groups:
                held = groups[row.tenant, row.group_id]
                through.setdefault((row.tenant, row.principal), {})[row.group_id] = held
    found = {}
    for row in rows(PRINCIPAL, "id"):
        key = (TenantId(row.tenant), PrincipalId(row.id))
        own, by_group = frozenset(direct.get(key, ())), through.get(key, {})
        found[key] = PrincipalRow(
            key[1],
            _one_of(PrincipalKind, row.kind),
            own.union(*by_group.values()),
            active=bool(row.active),
            enrolled=row.enrolled_at is not None,
            grants=frozenset(grants.get(key, ())),
            direct=own,
            groups=frozenset(by_group),
            created_at=Instant(row.created_at),
        )
    return dict(sorted(found.items()))


def put_roles(tx: Transaction, principal: PrincipalId, roles: Iterable[Role]) -> None:
    """Give the principal these roles and no others."""
    r, wanted = PRINCIPAL_ROLE.c, {role.value for role in roles}
    here = (r.tenant == tx.scope.tenant, r.principal == principal)
    present = {row.role for row in genuine(tx, PRINCIPAL_ROLE, select(PRINCIPAL_ROLE).where(*here))}
    put(tx, PRINCIPAL_ROLE, *({"principal": principal, "role": role} for role in sorted(wanted - present)))
    remove(tx, PRINCIPAL_ROLE, (*here, r.role.not_in(wanted)))


def mark_enrolled(tx: Transaction, principal: PrincipalId) -> int:
    """Note that an active principal has enrolled; the number of rows changed."""
    c = PRINCIPAL.c
    return change(tx, PRINCIPAL, (c.tenant == tx.scope.tenant, c.id == principal, c.active), {"enrolled_at": tx.now})


def mark_active(tx: Transaction, principal: PrincipalId, *, active: bool) -> int:
    """End an active principal, or take one that ended back; the number of rows changed."""
    c = PRINCIPAL.c
    return change(
        tx, PRINCIPAL, (c.tenant == tx.scope.tenant, c.id == principal, c.active.is_(not active)), {"active": active}
    )


def add_enrolment(tx: Transaction, code_digest: str, principal: PrincipalId, expires_at: Instant) -> None:
    """Write a one-time code's digest."""
    put(tx, ENROLMENT, {"code_digest": code_digest, "principal": principal, "expires_at": expires_at})


def use_enrolment(tx: Transaction, code_digest: str) -> int:
    """Use up a code that is good now; 1 if it was. Of two who try at once, one gets 0."""
    c = ENROLMENT.c
    good = (c.code_digest == code_digest, c.tenant == tx.scope.tenant, c.used_at.is_(None), c.expires_at > tx.now)
    return change(tx, ENROLMENT, good, {"used_at": tx.now})


def find_enrolment(reading: Reading, code_digest: str) -> EnrolmentRow | None:
    """What is known of a code. Raises Corrupt where it was forged."""
    c = ENROLMENT.c
    query = select(ENROLMENT).where(c.code_digest == code_digest, c.tenant == reading.scope.tenant)
    for row in genuine(reading, ENROLMENT, query):
        return EnrolmentRow(PrincipalId(row.principal), Instant(row.expires_at), row.used_at is not None)
    return None


def tenant_of_code(reading: Reading, code_digest: str) -> TenantId | None:
    """To which tenant a code lets in; whether it still does is asked there."""
    row = reading.execute(select(ENROLMENT.c.tenant).where(ENROLMENT.c.code_digest == code_digest)).first()
    return None if row is None else TenantId(row.tenant)


def void_enrolments(tx: Transaction, principal: PrincipalId) -> None:
    """Make the open codes of a principal void."""
    c = ENROLMENT.c
    here = (c.tenant == tx.scope.tenant, c.principal == principal, c.used_at.is_(None))
    change(tx, ENROLMENT, here, {"used_at": tx.now})


def add_key(tx: Transaction, row: KeyRow) -> None:
    """Write a new API key."""
    values = row._asdict()
    del values["revoked"], values["limit"]
    put(tx, API_KEY, values | bounds_values(row) | {"successor": row.successor or None})


def find_keys(reading: Reading, key_id: str | None = None) -> list[KeyRow]:
    """The API keys of the tenant, or the one, oldest first. Raises Corrupt where one was forged."""
    c = API_KEY.c
    query = select(API_KEY).where(c.tenant == reading.scope.tenant)
    if key_id is not None:
        query = query.where(c.key_id == key_id)
    return [_key_row(row) for row in genuine(reading, API_KEY, query.order_by(c.created_at, c.key_id))]


def all_keys(reading: Reading, seen: Seen | None = None) -> list[tuple[KeyRow, PrincipalRow]]:
    """Every API key of every tenant with its owner as it stands; `seen` as in `all_principals`."""
    owners = all_principals(reading, seen)
    keys = [_key_row(row) for row in genuine(reading, API_KEY, select(API_KEY), seen)]
    nobodys = [key for key in keys if (key.tenant, key.principal) not in owners]
    if nobodys and not (seen and seen.refused):
        raise _changed("an API key of nobody")
    return [(key, owners[key.tenant, key.principal]) for key in keys if (key.tenant, key.principal) in owners]


def mark_key_revoked(tx: Transaction, key_id: str) -> int:
    """Revoke a key that is not revoked yet; the number of rows changed."""
    c = API_KEY.c
    return change(
        tx, API_KEY, (c.tenant == tx.scope.tenant, c.key_id == key_id, c.revoked_at.is_(None)), {"revoked_at": tx.now}
    )


def mark_key_rotated(tx: Transaction, key_id: str, successor: str, expires_at: Instant) -> int:
    """Give a key a successor and an earlier end; the number of rows changed."""
    c = API_KEY.c
    here = (c.tenant == tx.scope.tenant, c.key_id == key_id, c.revoked_at.is_(None), c.successor.is_(None))
    return change(tx, API_KEY, here, {"successor": successor, "expires_at": expires_at})


def put_expiry(tx: Transaction, key_id: str, expires_at: Instant) -> int:
    """Have a key that is not revoked end then; the number of rows changed."""
    c = API_KEY.c
    return change(
        tx,
        API_KEY,
        (c.tenant == tx.scope.tenant, c.key_id == key_id, c.revoked_at.is_(None)),
        {"expires_at": expires_at},
    )


def put_actions(tx: Transaction, key_id: str, actions: frozenset[Action]) -> None:
    """Narrow a key to `actions`."""
    change(
        tx, API_KEY, (API_KEY.c.tenant == tx.scope.tenant, API_KEY.c.key_id == key_id), {"actions": _written(actions)}
    )


def digest_known(reading: Reading, digest: bytes) -> bool:
    """Whether a key of any tenant has this digest."""
    return reading.execute(select(API_KEY.c.key_id).where(API_KEY.c.digest == digest)).first() is not None


def add_public_key(tx: Transaction, keyid: str, principal: PrincipalId, pem: bytes) -> None:
    """Write a person's public key."""
    put(tx, PUBLIC_KEY, {"keyid": keyid, "principal": principal, "pem": pem, "enrolled_at": tx.now})


def find_public_keys(reading: Reading) -> list[PublicKeyRow]:
    """All public keys of the tenant, revoked ones too. Raises Corrupt where one was forged."""
    c = PUBLIC_KEY.c
    query = select(PUBLIC_KEY).where(c.tenant == reading.scope.tenant).order_by(c.keyid)
    return [_public_key_row(row) for row in genuine(reading, PUBLIC_KEY, query)]


def all_public_keys(reading: Reading, seen: Seen | None = None) -> list[tuple[TenantId, PublicKeyRow]]:
    """The public keys of every tenant, revoked ones too; `seen` as in `all_principals`."""
    found = genuine(reading, PUBLIC_KEY, select(PUBLIC_KEY), seen)
    return [(TenantId(row.tenant), _public_key_row(row)) for row in found]


def known_public_keys(reading: Reading) -> set[str]:
    """The ids of the valid public keys of every tenant."""
    c = PUBLIC_KEY.c
    return {row.keyid for row in reading.execute(select(c.keyid).where(c.revoked_at.is_(None)))}


def mark_public_key_revoked(tx: Transaction, keyid: str) -> int:
    """Revoke a public key that is not revoked yet; the number of rows changed."""
    c = PUBLIC_KEY.c
    return change(
        tx, PUBLIC_KEY, (c.tenant == tx.scope.tenant, c.keyid == keyid, c.revoked_at.is_(None)), {"revoked_at": tx.now}
    )


def add_group(tx: Transaction, group: str, name: str, source: str, roles: frozenset[Role]) -> None:
    """Write a group without members."""
    values = {"id": group, "name": name, "source": source, "roles": " ".join(sorted(roles)), "created_at": tx.now}
    put(tx, GROUP, values)


def find_groups(reading: Reading, group: str | None = None) -> list[GroupRow]:
    """The groups of the tenant by name, or the one. Raises Corrupt where one was forged."""
    c = GROUP.c
    query = select(GROUP).where(c.tenant == reading.scope.tenant)
    if group is not None:
        query = query.where(c.id == group)
    return [
        GroupRow(row.id, row.name, row.source, _roles(row.roles), Instant(row.created_at))
        for row in genuine(reading, GROUP, query.order_by(c.name))
    ]


def change_group(tx: Transaction, group: str, name: str, roles: frozenset[Role]) -> int:
    """Give a group this name and these roles; the number of rows changed."""
    return change(
        tx,
        GROUP,
        (GROUP.c.tenant == tx.scope.tenant, GROUP.c.id == group),
        {"name": name, "roles": " ".join(sorted(roles))},
    )


def drop_group(tx: Transaction, group: str) -> int:
    """Remove a group and who belongs to it; the number of groups removed."""
    m, c = GROUP_MEMBER.c, GROUP.c
    remove(tx, GROUP_MEMBER, (m.tenant == tx.scope.tenant, m.group_id == group))
    return remove(tx, GROUP, (c.tenant == tx.scope.tenant, c.id == group))


def add_member(tx: Transaction, group: str, principal: PrincipalId) -> None:
    """Put a principal into a group. Raises Conflict where it belongs to it already."""
    put(tx, GROUP_MEMBER, {"group_id": group, "principal": principal, "added_at": tx.now})


def drop_member(tx: Transaction, group: str, principal: PrincipalId) -> int:
    """Take a principal out of a group; the number of rows removed."""
    m = GROUP_MEMBER.c
    here = (m.tenant == tx.scope.tenant, m.group_id == group, m.principal == principal)
    return remove(tx, GROUP_MEMBER, here)


def find_members(reading: Reading, group: str | None = None) -> list[MemberRow]:
    """Who belongs to the groups of the tenant, or to the one. Raises Corrupt where a row was forged."""
    m = GROUP_MEMBER.c
    query = select(GROUP_MEMBER).where(m.tenant == reading.scope.tenant)
    if group is not None:
        query = query.where(m.group_id == group)
    return [
        MemberRow(row.group_id, PrincipalId(row.principal), Instant(row.added_at))
        for row in genuine(reading, GROUP_MEMBER, query.order_by(m.group_id, m.principal))
    ]


def add_grant(tx: Transaction, principal: PrincipalId, grant: Grant) -> None:
    """Write a role on a single model. Raises Conflict where it is held already."""
    values = {"principal": principal, "role": grant.role.value, "model": grant.model}
    put(tx, MODEL_GRANT, values | {"granted_by": tx.scope.principal, "granted_at": tx.now})


def drop_grant(tx: Transaction, principal: PrincipalId, grant: Grant) -> int:
    """Take a role on a single model away; the number of rows removed."""
    c = MODEL_GRANT.c
    here = (c.tenant == tx.scope.tenant, c.principal == principal, c.role == grant.role.value, c.model == grant.model)
    return remove(tx, MODEL_GRANT, here)


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


def _key_row(row: Row[Any]) -> KeyRow:
    limit, actions, models, networks = bounds_row(row)
    return KeyRow(
        row.key_id,
        TenantId(row.tenant),
        PrincipalId(row.principal),
        row.name,
        bytes(row.digest),
        limit,
        actions,
        Instant(row.created_at),
        Instant(row.expires_at),
        revoked=row.revoked_at is not None,
        models=models,
        networks=networks,
        successor=row.successor or "",
    )


class Bounded(Protocol):
    """What is narrowed: an API key, or a proof of possession."""

    @property
    def limit(self) -> Limit: ...
    @property
    def actions(self) -> frozenset[Action] | None: ...
    @property
    def models(self) -> frozenset[str] | None: ...
    @property
    def networks(self) -> tuple[str, ...]: ...


def bounds_values(row: Bounded) -> dict[str, Any]:
    """The columns that say how often, for what and whence a credential may be used."""
    return {
        "per_s": float(row.limit.per_s), "burst": float(row.limit.burst), "actions": _written(row.actions),
        "models": _written(row.models), "networks": " ".join(row.networks) or None,
    }  # fmt: skip


def bounds_row(row: Row[Any]) -> tuple[Limit, frozenset[Action] | None, frozenset[str] | None, tuple[str, ...]]:
    """What those columns say. Raises Corrupt where they hold what is none."""
    actions, models, networks = row.actions, row.models, row.networks
    return (
        _limit(row.per_s, row.burst),
        None if actions is None else frozenset(_one_of(Action, name) for name in actions.split()),
        None if models is None else frozenset(models.split()),
        () if networks is None else _networks(networks),
    )


def _public_key_row(row: Row[Any]) -> PublicKeyRow:
    revoked = row.revoked_at is not None
    return PublicKeyRow(row.keyid, PrincipalId(row.principal), bytes(row.pem), revoked=revoked)


def _roles(text: str) -> frozenset[Role]:
    return frozenset(_one_of(Role, name) for name in text.split())


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


def _networks(text: str) -> tuple[str, ...]:
    found = tuple(text.split())
    try:
        if found and parse_networks(found) == found:
            return found
    except Invalid as error:
        raise _changed("the addresses of an API key") from error
    raise _changed("the addresses of an API key")


def _changed(what: str) -> Corrupt:
    hint = "Somebody changed the database: compare it with the ledger, and restore a backup."
    return Corrupt("access-changed", f"the records of access hold {what}", hint)


def _written(words: Iterable[str] | None) -> str | None:
    return None if words is None else " ".join(sorted(words))
