"""The SQL of federation: every statement on its tables, and nothing that decides anything."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import delete, select, update

from fastness.access.federation.tables import FEDERATION_IDENTITY, FEDERATION_LOGIN, FEDERATION_PROVIDER
from fastness.access.sealing.records import genuine, put
from fastness.core.clock import Instant
from fastness.core.identity import PrincipalId, TenantId
from fastness.foundation.crypto import WrappedKey
from fastness.foundation.storage import Reading, Transaction


class ProviderRow(NamedTuple):
    """A provider as it was set."""

    name: str
    document: str
    secret: WrappedKey | None
    disabled: bool


class LoginRow(NamedTuple):
    """A login under way."""

    provider: str
    browser_digest: bytes
    return_to: str
    fresh: bool


def put_provider(tx: Transaction, row: ProviderRow) -> None:
    """Set a provider of the tenant, new or not."""
    c = FEDERATION_PROVIDER.c
    tx.execute(delete(FEDERATION_PROVIDER).where(c.tenant == tx.scope.tenant, c.name == row.name))
    secret = row.secret
    values = {
        "name": row.name,
        "document": row.document,
        "secret_key": None if secret is None else secret.key_id,
        "secret_version": None if secret is None else secret.version,
        "secret_wrapped": None if secret is None else secret.wrapped,
        "changed_at": tx.now,
        "disabled_at": tx.now if row.disabled else None,
    }
    put(tx, FEDERATION_PROVIDER, values)


def find_providers(reading: Reading, name: str | None = None) -> list[ProviderRow]:
    """The providers of the tenant, or the one."""
    c = FEDERATION_PROVIDER.c
    query = select(FEDERATION_PROVIDER).where(c.tenant == reading.scope.tenant)
    if name is not None:
        query = query.where(c.name == name)
    return [
        ProviderRow(
            row.name,
            row.document,
            None
            if row.secret_key is None
            else WrappedKey(row.secret_key, row.secret_version, bytes(row.secret_wrapped)),
            disabled=row.disabled_at is not None,
        )
        for row in genuine(reading, FEDERATION_PROVIDER, query.order_by(c.name))
    ]


def add_login(tx: Transaction, state_digest: bytes, row: LoginRow, expires_at: Instant) -> None:
    """Write a login that begins; those long over go."""
    c = FEDERATION_LOGIN.c
    tx.execute(delete(FEDERATION_LOGIN).where(c.expires_at < tx.now))
    put(tx, FEDERATION_LOGIN, row._asdict() | {"state_digest": state_digest, "expires_at": expires_at})


def use_login(tx: Transaction, state_digest: bytes) -> int:
    """Use up a login that is under way; 1 if it was. Of two who try at once, one gets 0."""
    c = FEDERATION_LOGIN.c
    good = (c.state_digest == state_digest, c.tenant == tx.scope.tenant, c.used_at.is_(None), c.expires_at > tx.now)
    return tx.execute(update(FEDERATION_LOGIN).where(*good).values(used_at=tx.now)).count


def find_login(reading: Reading, state_digest: bytes) -> LoginRow | None:
    """The login that began with this state."""
    c = FEDERATION_LOGIN.c
    query = select(FEDERATION_LOGIN).where(c.state_digest == state_digest, c.tenant == reading.scope.tenant)
    found = genuine(reading, FEDERATION_LOGIN, query)
    if not found:
        return None
    row = found[0]
    return LoginRow(row.provider, bytes(row.browser_digest), row.return_to, bool(row.fresh))


def tenant_of(reading: Reading, state_digest: bytes) -> TenantId | None:
    """Whose house the login that began with this state is for."""
    c = FEDERATION_LOGIN.c
    row = reading.execute(select(c.tenant).where(c.state_digest == state_digest)).first()
    return None if row is None else TenantId(row.tenant)


def find_identity(reading: Reading, issuer: str, subject: str) -> PrincipalId | None:
    """The principal that an external identity is linked to."""
    c = FEDERATION_IDENTITY.c
    here = (c.tenant == reading.scope.tenant, c.issuer == issuer, c.subject == subject)
    found = genuine(reading, FEDERATION_IDENTITY, select(FEDERATION_IDENTITY).where(*here))
    return PrincipalId(found[0].principal) if found else None


def add_identity(tx: Transaction, issuer: str, subject: str, principal: PrincipalId) -> None:
    """Link an external identity to a principal. Raises Conflict where either is linked already."""
    values = {"issuer": issuer, "subject": subject, "principal": principal, "linked_at": tx.now}
    put(tx, FEDERATION_IDENTITY, values)


def remove_identity(tx: Transaction, issuer: str, principal: PrincipalId) -> int:
    """Unlink a principal from its identity at an issuer; the number of rows changed."""
    c = FEDERATION_IDENTITY.c
    here = (c.tenant == tx.scope.tenant, c.issuer == issuer, c.principal == principal)
    return tx.execute(delete(FEDERATION_IDENTITY).where(*here)).count
