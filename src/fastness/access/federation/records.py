"""The SQL of federation: every statement on its tables, and nothing that decides anything."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select

from fastness.access.federation.tables import (
    FEDERATION_IDENTITY,
    FEDERATION_LOGIN,
    FEDERATION_PROVIDER,
    FEDERATION_SESSION,
)
from fastness.access.sealing.records import Seen, change, genuine, put, remove
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
    """A login under way.

    Attributes:
        principal, session: who links an identity to themselves by it, and in which session; empty for a login.
    """

    provider: str
    browser_digest: bytes
    return_to: str
    fresh: bool
    principal: str = ""
    session: str = ""


class IdentityRow(NamedTuple):
    """An external identity, and who that is here."""

    issuer: str
    subject: str
    principal: PrincipalId
    linked_at: Instant


class SessionRow(NamedTuple):
    """A session that began by a provider.

    Attributes:
        handle: names the session, or the step before it; see `logouts`.
        sid: what the provider calls its own session; empty where it does not say.
        token: the id token, by which the provider knows whom to log out.
    """

    handle: str
    provider: str
    issuer: str
    subject: str
    sid: str
    expires_at: Instant
    token: WrappedKey | None


def put_provider(tx: Transaction, row: ProviderRow) -> None:
    """Set a provider of the tenant, new or not."""
    c = FEDERATION_PROVIDER.c
    remove(
        tx,
        FEDERATION_PROVIDER,
        (
            c.tenant == tx.scope.tenant,
            c.name == row.name,
        ),
    )
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


def find_providers(reading: Reading, name: str | None = None, seen: Seen | None = None) -> list[ProviderRow]:
    """The providers of the tenant, or the one; forged ones raise, or are told to `seen` and left out."""
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
        for row in genuine(reading, FEDERATION_PROVIDER, query.order_by(c.name), seen)
    ]


def remove_provider(tx: Transaction, name: str) -> None:
    """Delete a provider of the tenant."""
    c = FEDERATION_PROVIDER.c
    remove(
        tx,
        FEDERATION_PROVIDER,
        (
            c.tenant == tx.scope.tenant,
            c.name == name,
        ),
    )


def add_login(tx: Transaction, state_digest: bytes, row: LoginRow, expires_at: Instant) -> None:
    """Write a login that begins; those long over go."""
    c = FEDERATION_LOGIN.c
    remove(tx, FEDERATION_LOGIN, (c.expires_at < tx.now,))
    put(tx, FEDERATION_LOGIN, row._asdict() | {"state_digest": state_digest, "expires_at": expires_at})


def use_login(tx: Transaction, state_digest: bytes) -> int:
    """Use up a login that is under way; 1 if it was. Of two who try at once, one gets 0."""
    c = FEDERATION_LOGIN.c
    good = (c.state_digest == state_digest, c.tenant == tx.scope.tenant, c.used_at.is_(None), c.expires_at > tx.now)
    return change(tx, FEDERATION_LOGIN, good, {"used_at": tx.now})


def find_login(reading: Reading, state_digest: bytes) -> LoginRow | None:
    """The login that began with this state."""
    c = FEDERATION_LOGIN.c
    query = select(FEDERATION_LOGIN).where(c.state_digest == state_digest, c.tenant == reading.scope.tenant)
    found = genuine(reading, FEDERATION_LOGIN, query)
    if not found:
        return None
    row = found[0]
    whose = (row.principal or "", row.session or "")
    return LoginRow(row.provider, bytes(row.browser_digest), row.return_to, bool(row.fresh), *whose)


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
    return remove(tx, FEDERATION_IDENTITY, here)


def remove_identities(tx: Transaction, issuer: str) -> int:
    """Unlink all principals of the tenant from an issuer; how many."""
    c = FEDERATION_IDENTITY.c
    return remove(
        tx,
        FEDERATION_IDENTITY,
        (
            c.tenant == tx.scope.tenant,
            c.issuer == issuer,
        ),
    )


def find_identities(
    reading: Reading, issuer: str | None = None, principal: PrincipalId | None = None
) -> list[IdentityRow]:
    """The identities that are linked in the tenant, at an issuer or to a principal."""
    c = FEDERATION_IDENTITY.c
    query = select(FEDERATION_IDENTITY).where(c.tenant == reading.scope.tenant)
    if issuer is not None:
        query = query.where(c.issuer == issuer)
    if principal is not None:
        query = query.where(c.principal == principal)
    return [
        IdentityRow(row.issuer, row.subject, PrincipalId(row.principal), Instant(row.linked_at))
        for row in genuine(reading, FEDERATION_IDENTITY, query.order_by(c.principal, c.issuer))
    ]


def add_session(tx: Transaction, row: SessionRow) -> None:
    """Write by which provider a session began; those long over go."""
    c = FEDERATION_SESSION.c
    remove(tx, FEDERATION_SESSION, (c.expires_at < tx.now,))
    token = row.token
    values = row._asdict() | {
        "token_key": None if token is None else token.key_id,
        "token_version": None if token is None else token.version,
        "token_wrapped": None if token is None else token.wrapped,
    }
    del values["token"]
    put(tx, FEDERATION_SESSION, values)


def find_sessions(reading: Reading, **columns: str) -> list[SessionRow]:
    """The sessions of the tenant whose columns have these values."""
    c = FEDERATION_SESSION.c
    query = select(FEDERATION_SESSION).where(
        c.tenant == reading.scope.tenant, *(c[name] == value for name, value in columns.items())
    )
    return [
        SessionRow(
            row.handle, row.provider, row.issuer, row.subject, row.sid, Instant(row.expires_at),
            None if row.token_key is None else WrappedKey(row.token_key, row.token_version, bytes(row.token_wrapped)),
        )
        for row in genuine(reading, FEDERATION_SESSION, query.order_by(c.handle))
    ]  # fmt: skip


def remove_session(tx: Transaction, handle: str) -> int:
    """Forget by which provider a session began; the number of rows changed."""
    c = FEDERATION_SESSION.c
    return remove(
        tx,
        FEDERATION_SESSION,
        (
            c.tenant == tx.scope.tenant,
            c.handle == handle,
        ),
    )
