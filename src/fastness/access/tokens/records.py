"""The SQL of tokens: every statement on their tables, and nothing that decides anything."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select

from fastness.access.sealing.records import Seen, change, genuine, put, remove
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
    values = {
        "kid": row.kid,
        "alg": row.alg,
        "state": row.state,
        "wrap_key": row.wrapped.key_id,
        "wrap_version": row.wrapped.version,
        "wrapped": row.wrapped.wrapped,
        "created_at": tx.now,
        "changed_at": row.changed_at,
    }
    put(tx, TOKEN_KEY, values)


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
        for row in genuine(reading, TOKEN_KEY, select(TOKEN_KEY).order_by(c.created_at, c.kid))
    ]


def put_key_state(tx: Transaction, kid: str, state: str) -> None:
    """Give a signing key another state."""
    change(tx, TOKEN_KEY, (TOKEN_KEY.c.kid == kid,), {"state": state, "changed_at": tx.now})


def remove_key(tx: Transaction, kid: str) -> None:
    """Forget a signing key, its private half with it."""
    remove(tx, TOKEN_KEY, (TOKEN_KEY.c.kid == kid,))


def deny(tx: Transaction, identifier: str, expires_at: Instant) -> int:
    """Refuse a token or family until its tokens expire by themselves; 0 if it is refused already."""
    c = TOKEN_DENIED.c
    remove(tx, TOKEN_DENIED, (c.expires_at < tx.now,))
    try:
        put(tx, TOKEN_DENIED, {"id": identifier, "expires_at": expires_at})
    except Conflict:
        return 0
    return 1


def denied_of(reading: Reading, identifiers: frozenset[str]) -> list[str]:
    """Which of these are refused in the tenant."""
    c = TOKEN_DENIED.c
    query = select(TOKEN_DENIED).where(c.tenant == reading.scope.tenant, c.id.in_(sorted(identifiers)))
    return [row.id for row in reading.execute(query)]  # one that somebody else wrote only refuses


def all_denied(reading: Reading, seen: Seen) -> list[tuple[TenantId, str]]:
    """What is refused, of every tenant; `seen` is told of rows that somebody else wrote."""
    return [(TenantId(row.tenant), row.id) for row in genuine(reading, TOKEN_DENIED, select(TOKEN_DENIED), seen)]


def put_floor(tx: Transaction, principal: PrincipalId, not_before: Instant) -> None:
    """Refuse the tokens of a principal that were issued before."""
    c = TOKEN_FLOOR.c
    here = (c.tenant == tx.scope.tenant, c.principal == principal)
    if change(tx, TOKEN_FLOOR, here, {"not_before": not_before}) == 0:
        put(tx, TOKEN_FLOOR, {"principal": principal, "not_before": not_before})


def floor_of(reading: Reading, principal: PrincipalId) -> Instant:
    """Since when the tokens of a principal of the tenant count."""
    c = TOKEN_FLOOR.c
    query = select(TOKEN_FLOOR).where(c.tenant == reading.scope.tenant, c.principal == principal)
    found = genuine(reading, TOKEN_FLOOR, query)
    return Instant(found[0].not_before if found else 0)


def all_floors(reading: Reading, seen: Seen) -> dict[tuple[TenantId, PrincipalId], Instant]:
    """Since when tokens count, by tenant and principal; `seen` is told of rows that somebody else wrote."""
    return {
        (TenantId(row.tenant), PrincipalId(row.principal)): Instant(row.not_before)
        for row in genuine(reading, TOKEN_FLOOR, select(TOKEN_FLOOR), seen)
    }
