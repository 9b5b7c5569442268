"""Things that may be used once: ids of tokens and messages, nonces, challenges. Whoever cannot tell refuses.

Only SHA-256 of a key is kept. Callers put their own word in front of it (`jti:…`, `signature:…`), so that two uses never meet.
"""

from __future__ import annotations

import hashlib
import threading
from typing import Final, Protocol

from sqlalchemy import delete, insert, select

from fastness.core.clock import Instant, later
from fastness.core.errors import Conflict, Unavailable
from fastness.core.identity import SYSTEM_SCOPE
from fastness.foundation.storage.contracts import Exempt, Records, Transaction
from fastness.foundation.storage.counting import life_ms
from fastness.foundation.storage.tables import SEEN

_SWEPT_AT_ONCE: Final = 10_000


class Seen(Protocol):
    """Remembers keys until their time is over."""

    def once(self, key: str, ttl_s: float, now: Instant) -> bool:
        """Whether `key` is seen for the first time; from then on, and for `ttl_s` seconds, nobody is told so again.

        Raises:
            Invalid: the time is not above 0, or longer than a year.
            Unavailable: it cannot be told; then it counts as seen.
        """
        ...


class MemorySeen:
    """`Seen` in this process. Full of what must be remembered, it refuses; it never forgets early.

    Args:
        most: keys at most, 100 bytes each.
    """

    def __init__(self, most: int = 1_000_000) -> None:
        self._most = most
        self._until: dict[bytes, int] = {}
        self._latest = 0
        self._swept = 0
        self._lock = threading.Lock()

    def once(self, key: str, ttl_s: float, now: Instant) -> bool:
        """See `Seen`. A clock that goes back stands still.

        Raises:
            Unavailable: there is no room (`seen-full`).
        """
        until, digest = later(now, life_ms(ttl_s) / 1000), _digest(key)
        with self._lock:
            self._latest = max(self._latest, now)
            if self._until.get(digest, 0) > self._latest:
                return False
            if len(self._until) >= self._most:
                self._sweep()
            if len(self._until) >= self._most:
                raise Unavailable("seen-full", "too much must be remembered at the moment", "Try again later.")
            self._until[digest] = until
            return True

    def _sweep(self) -> None:
        if self._latest - self._swept < 1_000_000_000 and self._swept:
            return
        self._swept = self._latest
        self._until = {digest: until for digest, until in self._until.items() if until > self._latest}


class RecordsSeen:
    """`Seen` in rows, for what must outlive a restart; each first use is a transaction of its own."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def once(self, key: str, ttl_s: float, now: Instant) -> bool:
        """See `Seen`.

        Raises:
            Unavailable: the records do not answer.
        """
        with self._records.begin_unrecorded(SYSTEM_SCOPE, now, Exempt.LEASE) as tx:
            return once_in(tx, key, ttl_s)

    def sweep(self, now: Instant) -> int:
        """Remove rows whose time is over, some thousands at a time; how many."""
        over = select(SEEN.c.digest).where(SEEN.c.until <= now).limit(_SWEPT_AT_ONCE)
        with self._records.begin_unrecorded(SYSTEM_SCOPE, now, Exempt.LEASE) as tx:
            return tx.execute_unrecorded(delete(SEEN).where(SEEN.c.digest.in_(over))).count


def once_in(tx: Transaction, key: str, ttl_s: float) -> bool:
    """As `Seen.once`, together with what the transaction does: undone with it.

    Raises:
        Invalid: the time is not above 0, or longer than a year.
    """
    until, digest = later(tx.now, life_ms(ttl_s) / 1000), _digest(key)
    tx.execute_unrecorded(delete(SEEN).where(SEEN.c.digest == digest, SEEN.c.until <= tx.now))
    try:
        tx.execute_unrecorded(insert(SEEN).values(digest=digest, tenant=tx.scope.tenant, until=until))
    except Conflict:
        return False
    return True


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "backslashreplace")).digest()
