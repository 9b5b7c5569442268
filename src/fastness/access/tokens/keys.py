"""The keys that sign tokens: one signs, the next is published ahead of its turn, the one before still verifies.

Private keys are wrapped by the key ring and stored beside each other; the public halves are made from them, so that a
row which this ring did not wrap makes no key at all: writing the table does not make an issuer.

What it misses: key pairs come from the operating system's randomness, not from `entropy`: no library here takes one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from fastness.access.tokens import jose, records
from fastness.access.tokens.records import KeyRow
from fastness.core.clock import SECOND, Instant
from fastness.core.digests import BlobId
from fastness.core.errors import Conflict, Corrupt, Forbidden, NotFound
from fastness.core.events import EventKind
from fastness.core.identity import DEFAULT_TENANT
from fastness.core.secrets import SecretBytes
from fastness.foundation.crypto import KeyContext, WrappedKey
from fastness.foundation.storage import Reading, Transaction

TOPIC = "tokens"
ACCESS_LIFE_S = 600
"""Seconds that an access token is good for, at most."""


class State(StrEnum):
    """Where a key stands in its life."""

    NEXT = "next"
    CURRENT = "current"
    PREVIOUS = "previous"


class Wrapping(Protocol):
    """Who wraps private keys; a key ring."""

    def wrap(self, dek: SecretBytes, context: KeyContext) -> WrappedKey:
        """`dek` under the key of the context's tenant."""
        ...

    def unwrap(self, key: WrappedKey, context: KeyContext) -> SecretBytes:
        """The key behind it. Raises Corrupt or NotFound."""
        ...


class Signers:
    """Opens the signing keys of the house, and remembers those it opened. Share one; it is safe between threads."""

    def __init__(self, ring: Wrapping) -> None:
        self._ring = ring
        self._opened: dict[tuple[str, bytes], jose.SigningKey] = {}

    def signing(self, reading: Reading) -> jose.SigningKey:
        """The key that signs now.

        Raises:
            NotFound: `token-key-missing`: `rotate_keys` has not been called yet.
            Corrupt: the row is not what the ring wrapped, or two keys claim to be current.
        """
        rows = [row for row in records.find_keys(reading) if row.state == State.CURRENT]
        if not rows:
            raise NotFound("token-key-missing", "there is no key to sign tokens with", "Rotate the token keys once.")
        if len(rows) > 1:
            raise Corrupt("token-key-corrupt", "two keys claim to sign tokens now", "Restore a backup.")
        return self._open(rows[0])

    def published(self, reading: Reading) -> dict[str, jose.SigningKey]:
        """All keys whose signatures count, by name.

        Raises:
            Corrupt: a row is not what the ring wrapped.
        """
        rows = records.find_keys(reading)
        found = {row.kid: self._open(row) for row in rows}
        kept = {(row.kid, row.wrapped.wrapped) for row in rows}
        self._opened = {name: key for name, key in self._opened.items() if name in kept}
        return found

    def changed_at(self, reading: Reading) -> Instant | None:
        """When a key was last made or took its turn; None while there is none. After a month it is time to rotate."""
        return max((row.changed_at for row in records.find_keys(reading)), default=None)

    def add(self, tx: Transaction, alg: str, state: State) -> str:
        """Make, wrap and store a key; the caller emits. Its name."""
        key = jose.make_key(alg)
        secret = SecretBytes(jose.private_bytes(key))
        wrapped = self._ring.wrap(secret, _context(key.kid))
        secret.wipe()
        records.add_key(tx, KeyRow(key.kid, alg, state.value, wrapped, tx.now))
        return key.kid

    def _open(self, row: KeyRow) -> jose.SigningKey:
        name = (row.kid, row.wrapped.wrapped)
        found = self._opened.get(name)
        if found is None:
            secret = self._ring.unwrap(row.wrapped, _context(row.kid))
            found = jose.load_private(bytes(secret.reveal()), row.alg, row.kid)
            secret.wipe()
            self._opened[name] = found
        return found


def rotate_keys(tx: Transaction, signers: Signers, alg: str = "ES256") -> str:
    """Let the next key sign, the present one verify until its tokens have expired, and publish a new next one.

    The first call makes the first keys. Call it again no sooner than an access token lives: until then there are
    tokens about that the key before the present one signed, and readers who have not seen the next one.

    Returns:
        The name of the key that signs from now on.

    Raises:
        Conflict: `rotation-too-soon`.
        Forbidden: the keys are the house's own, and this is a transaction of another tenant.
        Invalid: not an algorithm of this house.
    """
    _of_the_house(tx)
    rows = {State(row.state): row for row in records.find_keys(tx)}
    newest = max((row.changed_at for row in rows.values()), default=Instant(0))
    if rows and tx.now - newest < 2 * ACCESS_LIFE_S * SECOND:
        raise Conflict(
            "rotation-too-soon",
            "the keys were rotated a moment ago, and tokens of the older key are still good",
            f"Wait {2 * ACCESS_LIFE_S // 60} minutes, or withdraw a key that was betrayed.",
        )
    if (old := rows.get(State.PREVIOUS)) is not None:
        records.remove_key(tx, old.kid)
    if (current := rows.get(State.CURRENT)) is not None:
        records.put_key_state(tx, current.kid, State.PREVIOUS.value)
    return _promote(tx, signers, rows.get(State.NEXT), alg)


def withdraw_key(tx: Transaction, signers: Signers, kid: str) -> None:
    """Make a betrayed key void at once, with all tokens it signed. Where it was the one that signs, the next one does.

    Raises:
        NotFound: there is no such key.
        Forbidden: this is a transaction of another tenant.
    """
    _of_the_house(tx)
    rows = {State(row.state): row for row in records.find_keys(tx)}
    found = next((state for state, row in rows.items() if row.kid == kid), None)
    if found is None:
        raise NotFound("token-key-unknown", f"there is no token key {kid[:16]!r}")
    alg = rows[found].alg
    records.remove_key(tx, kid)
    tx.emit(tx.events.make(EventKind.KEY_REVOKED, f"token-key:{kid}"))
    if found is State.CURRENT:
        _promote(tx, signers, rows.get(State.NEXT), alg)
    elif found is State.NEXT:
        signers.add(tx, alg, State.NEXT)
    tx.touch(TOPIC)


def jwks(reading: Reading, signers: Signers) -> dict[str, list[dict[str, str]]]:
    """The JWK set that outsiders verify our tokens with, RFC 7517.

    Raises:
        Corrupt: a row is not what the ring wrapped.
    """
    keys = signers.published(reading).values()
    return {"keys": [jose.public_jwk(k.key) | {"kid": k.kid, "alg": k.alg, "use": "sig"} for k in keys]}


def _promote(tx: Transaction, signers: Signers, following: KeyRow | None, alg: str) -> str:
    if following is None:
        kid = signers.add(tx, alg, State.CURRENT)
    else:
        kid = following.kid
        records.put_key_state(tx, kid, State.CURRENT.value)
    ahead = signers.add(tx, alg, State.NEXT)
    tx.emit(tx.events.make(EventKind.KEY_ROTATED, f"token-key:{kid}", details={"next": ahead, "alg": alg}))
    tx.touch(TOPIC)
    return kid


def _context(kid: str) -> KeyContext:
    return KeyContext(DEFAULT_TENANT, BlobId(f"token-key:{kid}"), 0)


def _of_the_house(tx: Transaction) -> None:
    if tx.scope.tenant != DEFAULT_TENANT:
        raise Forbidden("token-key-tenant", "the keys that sign tokens belong to the house", "Use its own tenant.")
