"""The SQL of OAuth2: every statement on its tables, and nothing that decides anything.

Clients, refresh tokens and device codes are also found without their tenant: by them it is known whose house is meant.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Row, Table, select

from fastness.access.oauth.tables import OAUTH_CLIENT, OAUTH_CODE, OAUTH_DEVICE, OAUTH_FAMILY, OAUTH_REFRESH
from fastness.access.sealing.records import change, genuine, put, remove
from fastness.core.clock import Instant
from fastness.core.errors import Corrupt
from fastness.core.identity import PrincipalId, Strength, TenantId
from fastness.foundation.storage import Reading, Transaction


class ClientRow(NamedTuple):
    """A client as it stands; `secret_digest` is keyed."""

    client_id: str
    tenant: TenantId
    name: str
    secret_digest: bytes | None
    jwks: str
    redirects: str
    grants: str
    scope: str
    principal: PrincipalId | None
    introspects: bool
    disabled: bool


class Owner(NamedTuple):
    """Who granted something, and how they had proved who they are."""

    principal: PrincipalId
    strength: Strength
    authenticated_at: Instant


class FamilyRow(NamedTuple):
    """What one authorization gave: all refresh and access tokens that follow from it."""

    id: str
    client_id: str
    owner: Owner
    scope: str
    thumbprint: str
    expires_at: Instant
    revoked: bool


class RefreshRow(NamedTuple):
    """One refresh token of a family."""

    family: str
    expires_at: Instant
    used: bool


class CodeRow(NamedTuple):
    """An authorization code, and what it was given for."""

    client_id: str
    owner: Owner
    redirect: str
    scope: str
    challenge: str
    family: str
    expires_at: Instant
    used: bool


class DeviceRow(NamedTuple):
    """A device that waits for a person's word; `owner` is who gave it."""

    digest: bytes
    client_id: str
    scope: str
    state: str
    interval_s: int
    polled_at: Instant
    created_at: Instant
    expires_at: Instant
    owner: Owner | None
    network: str = ""


def add_client(tx: Transaction, row: ClientRow) -> None:
    """Write a new client."""
    values = row._asdict()
    del values["disabled"]
    put(tx, OAUTH_CLIENT, values | {"created_at": tx.now})


def find_client(reading: Reading, client_id: str) -> ClientRow | None:
    """The client of whatever tenant: ids are unique in the house."""
    found = genuine(reading, OAUTH_CLIENT, select(OAUTH_CLIENT).where(OAUTH_CLIENT.c.client_id == client_id))
    return _client(found[0]) if found else None


def find_clients(reading: Reading) -> list[ClientRow]:
    """The clients of the tenant."""
    c = OAUTH_CLIENT.c
    query = select(OAUTH_CLIENT).where(c.tenant == reading.scope.tenant).order_by(c.client_id)
    return [_client(row) for row in genuine(reading, OAUTH_CLIENT, query)]


def disable_client(tx: Transaction, client_id: str) -> int:
    """End a client of the tenant; the number of rows changed."""
    c = OAUTH_CLIENT.c
    here = (c.client_id == client_id, c.tenant == tx.scope.tenant, c.disabled_at.is_(None))
    return change(tx, OAUTH_CLIENT, here, {"disabled_at": tx.now})


def put_secret(tx: Transaction, client_id: str, secret_digest: bytes) -> int:
    """Give a client of the tenant that has a secret another one; the number of rows changed."""
    c = OAUTH_CLIENT.c
    here = (c.client_id == client_id, c.tenant == tx.scope.tenant, c.secret_digest.is_not(None))
    return change(tx, OAUTH_CLIENT, here, {"secret_digest": secret_digest})


def put_jwks(tx: Transaction, client_id: str, jwks: str) -> int:
    """Give a client of the tenant that has keys others; the number of rows changed."""
    c = OAUTH_CLIENT.c
    here = (c.client_id == client_id, c.tenant == tx.scope.tenant, c.jwks != "")
    return change(tx, OAUTH_CLIENT, here, {"jwks": jwks})


def add_family(tx: Transaction, row: FamilyRow) -> None:
    """Write a new family."""
    values = _flat(row._asdict())
    del values["revoked"]
    put(tx, OAUTH_FAMILY, values)


def find_family(reading: Reading, family: str) -> FamilyRow | None:
    """The family as it stands."""
    c = OAUTH_FAMILY.c
    query = select(OAUTH_FAMILY).where(c.tenant == reading.scope.tenant, c.id == family)
    found = genuine(reading, OAUTH_FAMILY, query)
    return _family(found[0]) if found else None


def families_of(
    reading: Reading, principal: PrincipalId | None = None, client_id: str | None = None
) -> list[FamilyRow]:
    """The families that are not revoked, of a principal or of a client."""
    c = OAUTH_FAMILY.c
    query = select(OAUTH_FAMILY).where(c.tenant == reading.scope.tenant, c.revoked_at.is_(None))
    if principal is not None:
        query = query.where(c.principal == principal)
    if client_id is not None:
        query = query.where(c.client_id == client_id)
    return [_family(row) for row in genuine(reading, OAUTH_FAMILY, query.order_by(c.id))]


def mark_family_revoked(tx: Transaction, family: str) -> int:
    """End a family; the number of rows changed."""
    c = OAUTH_FAMILY.c
    here = (c.tenant == tx.scope.tenant, c.id == family, c.revoked_at.is_(None))
    return change(tx, OAUTH_FAMILY, here, {"revoked_at": tx.now})


def add_refresh(tx: Transaction, digest: bytes, family: str, expires_at: Instant) -> None:
    """Write a refresh token's digest."""
    put(tx, OAUTH_REFRESH, {"digest": digest, "family": family, "expires_at": expires_at})


def find_refresh(reading: Reading, digest: bytes) -> RefreshRow | None:
    """The refresh token as it stands."""
    c = OAUTH_REFRESH.c
    query = select(OAUTH_REFRESH).where(c.digest == digest, c.tenant == reading.scope.tenant)
    found = genuine(reading, OAUTH_REFRESH, query)
    if not found:
        return None
    return RefreshRow(found[0].family, Instant(found[0].expires_at), used=found[0].used_at is not None)


def use_refresh(tx: Transaction, digest: bytes) -> int:
    """Use up a refresh token that is good now; 1 if it was. Of two who try at once, one gets 0."""
    c = OAUTH_REFRESH.c
    good = (c.digest == digest, c.tenant == tx.scope.tenant, c.used_at.is_(None), c.expires_at > tx.now)
    return change(tx, OAUTH_REFRESH, good, {"used_at": tx.now})


def add_code(tx: Transaction, digest: bytes, row: CodeRow) -> None:
    """Write an authorization code's digest."""
    values = _flat(row._asdict())
    del values["used"]
    put(tx, OAUTH_CODE, values | {"digest": digest})


def find_code(reading: Reading, digest: bytes) -> CodeRow | None:
    """The code as it stands."""
    c = OAUTH_CODE.c
    found = genuine(reading, OAUTH_CODE, select(OAUTH_CODE).where(c.digest == digest, c.tenant == reading.scope.tenant))
    if not found:
        return None
    row = found[0]
    return CodeRow(
        row.client_id,
        _owner(row),
        row.redirect,
        row.scope,
        row.challenge,
        row.family,
        Instant(row.expires_at),
        used=row.used_at is not None,
    )


def use_code(tx: Transaction, digest: bytes) -> int:
    """Use up a code that is good now; 1 if it was. Of two who try at once, one gets 0."""
    c = OAUTH_CODE.c
    good = (c.digest == digest, c.tenant == tx.scope.tenant, c.used_at.is_(None), c.expires_at > tx.now)
    return change(tx, OAUTH_CODE, good, {"used_at": tx.now})


def add_device(tx: Transaction, user_digest: bytes, row: DeviceRow) -> None:
    """Write a device that waits."""
    values = row._asdict()
    del values["owner"]
    shape = {"interval_s": values.pop("interval_s"), "polled_at": values.pop("polled_at")}
    put(tx, OAUTH_DEVICE, values | {"user_digest": user_digest, "strength": 0, "authenticated_at": 0} | shape)


def find_device(reading: Reading, *, digest: bytes | None = None, user_digest: bytes | None = None) -> DeviceRow | None:
    """The device, by its own code's digest or by that of what its person types."""
    c = OAUTH_DEVICE.c
    by = c.digest == digest if digest is not None else c.user_digest == user_digest
    found = genuine(reading, OAUTH_DEVICE, select(OAUTH_DEVICE).where(by, c.tenant == reading.scope.tenant))
    if not found:
        return None
    row = found[0]
    return DeviceRow(
        bytes(row.digest),
        row.client_id,
        row.scope,
        row.state,
        row.interval_s,
        Instant(row.polled_at),
        Instant(row.created_at),
        Instant(row.expires_at),
        _owner(row) if row.principal else None,
        row.network or "",
    )


def note_poll(tx: Transaction, digest: bytes, interval_s: int) -> None:
    """Note that a device asked; that is no decision, and leaves no event."""
    c = OAUTH_DEVICE.c
    change(tx, OAUTH_DEVICE, (c.digest == digest,), {"polled_at": tx.now, "interval_s": interval_s}, recorded=False)


def answer_device(tx: Transaction, digest: bytes, state: str, scope: str, owner: Owner) -> int:
    """Give a person's word on a device that still waits, and what it may have; 1 if it waited."""
    c = OAUTH_DEVICE.c
    waiting = (c.digest == digest, c.tenant == tx.scope.tenant, c.state == "waiting", c.expires_at > tx.now)
    values = {"state": state, "scope": scope, **owner._asdict(), "strength": int(owner.strength)}
    return change(tx, OAUTH_DEVICE, waiting, values)


def use_device(tx: Transaction, digest: bytes) -> int:
    """Use up a device code that was approved; 1 if it was. Of two who try at once, one gets 0."""
    c = OAUTH_DEVICE.c
    good = (c.digest == digest, c.tenant == tx.scope.tenant, c.state == "approved", c.expires_at > tx.now)
    return change(tx, OAUTH_DEVICE, good, {"state": "used"})


def tenant_of(reading: Reading, *, refresh: bytes | None = None, device: bytes | None = None) -> TenantId | None:
    """Whose house a refresh token or device code belongs to."""
    table, digest = (OAUTH_REFRESH, refresh) if refresh is not None else (OAUTH_DEVICE, device)
    row = reading.execute(select(table.c.tenant).where(table.c.digest == digest)).first()
    return None if row is None else TenantId(row.tenant)


def sweep(tx: Transaction, before: Instant) -> int:
    """Remove codes and refresh tokens that expired before; how many. Families stay, for the record."""
    tables: tuple[Table, ...] = (OAUTH_CODE, OAUTH_REFRESH, OAUTH_DEVICE)
    return sum(remove(tx, table, (table.c.expires_at < before,), recorded=False) for table in tables)


def _client(row: Row[tuple[object, ...]]) -> ClientRow:
    return ClientRow(
        row.client_id,
        TenantId(row.tenant),
        row.name,
        None if row.secret_digest is None else bytes(row.secret_digest),
        row.jwks,
        row.redirects,
        row.grants,
        row.scope,
        None if row.principal is None else PrincipalId(row.principal),
        introspects=bool(row.introspects),
        disabled=row.disabled_at is not None,
    )


def _family(row: Row[tuple[object, ...]]) -> FamilyRow:
    return FamilyRow(
        row.id,
        row.client_id,
        _owner(row),
        row.scope,
        row.thumbprint,
        Instant(row.expires_at),
        revoked=row.revoked_at is not None,
    )


def _owner(row: Row[tuple[object, ...]]) -> Owner:
    try:
        strength = Strength(row.strength)
    except ValueError as error:
        hint = "Somebody changed the database: compare it with the ledger, and restore a backup."
        raise Corrupt("access-changed", "the records of OAuth2 hold a strength that is none", hint) from error
    return Owner(PrincipalId(row.principal), strength, Instant(row.authenticated_at))


def _flat(values: dict[str, object]) -> dict[str, object]:
    owner = values.pop("owner")
    assert isinstance(owner, Owner)
    return values | owner._asdict() | {"strength": int(owner.strength)}
