"""The SQL of tokens: every statement on their tables, and nothing that decides anything."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import delete, insert, select, update

from fastness.access.tokens.tables import TOKEN_DENIED, TOKEN_FLOOR, TOKEN_KEY
from fastness.core.clock import Instant
from fastness.core.errors import Conflict
from fastness.core.identity import PrincipalId, TenantId
from fastness.foundation.crypto import WrappedKey
from fastness.foundation.storage import Reading, Transaction


class KeyRow(NamedTuple):
    """A signing key as it stands; nothing in it is trusted until it was unwrapped."""

    kid: str
    alg: str
    state: str
    wrapped: WrappedKey
    changed_at: Instant


def add_key(tx: Transaction, row: KeyRow) -> None:
    """Write a new signing key."""
    tx.execute(
        insert(TOKEN_KEY).values(
            kid=row.kid,
            tenant=tx.scope.tenant,
            alg=row.alg,
            state=row.state,
            wrap_key=row.wrapped.key_id,
            wrap_version=row.wrapped.version,
            wrapped=row.wrapped.wrapped,
            created_at=tx.now,
            changed_at=row.changed_at,
        )
    )


def find_keys(reading: Reading) -> list[KeyRow]:
    """The signing keys of the house, whose tenant it is that reads: there is one issuer."""
    c = TOKEN_KEY.c
    return [
        KeyRow(
            row.kid,
            row.alg,
            row.state,
            WrappedKey(row.wrap_key, row.wrap_version, bytes(row.wrapped)),
            Instant(row.changed_at),
        )
        for row in reading.execute(select(TOKEN_KEY).order_by(c.created_at, c.kid))
    ]


def put_key_state(tx: Transaction, kid: str, state: str) -> None:
    """Give a signing key another state."""
    c = TOKEN_KEY.c
    tx.execute(update(TOKEN_KEY).where(c.kid == kid).values(state=state, changed_at=tx.now))


def remove_key(tx: Transaction, kid: str) -> None:
    """Forget a signing key, its private half with it."""
    tx.execute(delete(TOKEN_KEY).where(TOKEN_KEY.c.kid == kid))


def deny(tx: Transaction, identifier: str, expires_at: Instant) -> int:
    """Refuse a token or family until its tokens expire by themselves; 0 if it is refused already."""
    c = TOKEN_DENIED.c
    tx.execute(delete(TOKEN_DENIED).where(c.expires_at < tx.now))
    try:
        values = {"tenant": tx.scope.tenant, "id": identifier, "expires_at": expires_at}
        return tx.execute(insert(TOKEN_DENIED).values(values)).count
    except Conflict:
        return 0


def denied_of(reading: Reading, identifiers: frozenset[str]) -> list[str]:
    """Which of these are refused in the tenant."""
    c = TOKEN_DENIED.c
    query = select(c.id).where(c.tenant == reading.scope.tenant, c.id.in_(sorted(identifiers)))
    return [row.id for row in reading.execute(query)]


def all_denied(reading: Reading) -> list[tuple[TenantId, str]]:
    """What is refused, of every tenant."""
    return [(TenantId(row.tenant), row.id) for row in reading.execute(select(TOKEN_DENIED.c.tenant, TOKEN_DENIED.c.id))]


def put_floor(tx: Transaction, principal: PrincipalId, not_before: Instant) -> None:
    """Refuse the tokens of a principal that were issued before."""
    c = TOKEN_FLOOR.c
    here = (c.tenant == tx.scope.tenant, c.principal == principal)
    if tx.execute(update(TOKEN_FLOOR).where(*here).values(not_before=not_before)).count == 0:
        values = {"tenant": tx.scope.tenant, "principal": principal, "not_before": not_before}
        tx.execute(insert(TOKEN_FLOOR).values(values))


def floor_of(reading: Reading, principal: PrincipalId) -> Instant:
    """Since when the tokens of a principal of the tenant count."""
    c = TOKEN_FLOOR.c
    query = select(c.not_before).where(c.tenant == reading.scope.tenant, c.principal == principal)
    row = reading.execute(query).first()
    return Instant(0 if row is None else row.not_before)


def all_floors(reading: Reading) -> dict[tuple[TenantId, PrincipalId], Instant]:
    """Since when tokens count, by tenant and principal."""
    return {
        (TenantId(row.tenant), PrincipalId(row.principal)): Instant(row.not_before)
        for row in reading.execute(select(TOKEN_FLOOR))
    }
