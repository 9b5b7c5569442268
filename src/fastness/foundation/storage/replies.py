"""What was answered to a request that carries an idempotency key, so that its repetition is answered alike and done once.

A key is claimed before the work begins. Where the process dies in between, the claim stays without an answer: whether
the work was done is then not known, so a repetition is refused until the claim is too old to matter.

Source: draft-ietf-httpapi-idempotency-key-header-07.
"""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import delete, insert, select, update

from fastness.core.clock import SECOND, Instant
from fastness.core.errors import Conflict
from fastness.core.identity import Scope
from fastness.foundation.storage.contracts import Exempt, Records
from fastness.foundation.storage.tables import REPLIES

LIFE_S: Final = 86_400


class KeptReply(msgspec.Struct, frozen=True):
    """An answer as it was given."""

    status: int
    media_type: str
    body: bytes


class Replies:
    """The answers of the last day, by tenant, principal and key."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def claim(self, scope: Scope, key: str, fingerprint: bytes, now: Instant) -> KeptReply | None:
        """The answer given to this request before; None where it is new, and now claimed.

        Args:
            fingerprint: digest of method, path and body: the same key on another request is a mistake.

        Raises:
            Conflict: `idempotency-reused` for another request, `idempotency-unfinished` where no answer is kept.
        """
        c = REPLIES.c
        mine = (c.tenant == scope.tenant, c.principal == scope.principal, c.key == key)
        with self._records.begin_unrecorded(scope, now, Exempt.LEASE) as tx:
            tx.execute(delete(REPLIES).where(c.at < now - LIFE_S * SECOND))
            found = tx.execute(select(c.fingerprint, c.status, c.media_type, c.body).where(*mine)).first()
            if found is None:
                tx.execute(
                    insert(REPLIES).values(
                        tenant=scope.tenant, principal=scope.principal, key=key, fingerprint=fingerprint, at=now
                    )
                )
                return None
        if bytes(found.fingerprint) != fingerprint:
            raise Conflict(
                "idempotency-reused", "this idempotency key belongs to another request", "Make a key for each request."
            )
        if found.status is None:
            raise Conflict(
                "idempotency-unfinished",
                "the first request with this idempotency key is still at work, its answer was shown once, or it was cut off",
                "See what stands now, and send a new key if it was not done.",
            )
        return KeptReply(found.status, found.media_type, bytes(found.body))

    def keep(self, scope: Scope, key: str, reply: KeptReply, now: Instant) -> None:
        """Keep the answer to a claimed request."""
        c = REPLIES.c
        mine = (c.tenant == scope.tenant, c.principal == scope.principal, c.key == key)
        values = {"status": reply.status, "media_type": reply.media_type, "body": reply.body}
        with self._records.begin_unrecorded(scope, now, Exempt.LEASE) as tx:
            tx.execute(update(REPLIES).where(*mine).values(values))

    def forget(self, scope: Scope, key: str, now: Instant) -> None:
        """Give up a claim: nothing was done."""
        c = REPLIES.c
        mine = (c.tenant == scope.tenant, c.principal == scope.principal, c.key == key)
        with self._records.begin_unrecorded(scope, now, Exempt.LEASE) as tx:
            tx.execute(delete(REPLIES).where(*mine))
