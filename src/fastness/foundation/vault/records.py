"""The vault's rows: plain functions on a transaction or a reading, each within the tenant of its scope."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Row, delete, insert, select, update

from fastness.core.digests import BlobId, Digest
from fastness.core.errors import Conflict, NotFound
from fastness.core.identity import TenantId
from fastness.foundation.crypto import WrappedKey
from fastness.foundation.storage import Reading, Transaction
from fastness.foundation.vault.tables import BLOBS, DATA_KEYS

_PAGE = 500


class BlobState(StrEnum):
    """A stored blob can be opened; of a shredded one only the row is left, as evidence."""

    STORED = "stored"
    SHREDDED = "shredded"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A blob that is written and sealed, but not committed: no row knows it yet.

    Attributes:
        digest: SHA-256 of the plain bytes.
        size: length of the plain bytes.
        key: the blob's data key, wrapped.
        epoch: what the wrapped key is bound to, beside tenant and blob.
    """

    tenant: TenantId
    blob: BlobId
    name: str
    digest: Digest
    size: int
    key: WrappedKey
    epoch: int


@dataclass(frozen=True, slots=True)
class LoadTicket:
    """All that is needed to open a committed blob, without SQL; the fields are a candidate's."""

    tenant: TenantId
    blob: BlobId
    digest: Digest
    size: int
    key: WrappedKey
    epoch: int


def add_blob(tx: Transaction, candidate: Candidate, content_id: str) -> None:
    """Write the rows of a new blob.

    Raises:
        Conflict: the tenant has this content, or this blob, already.
    """
    tx.execute(
        insert(BLOBS).values(
            id=candidate.blob,
            tenant=tx.scope.tenant,
            digest=candidate.digest,
            content_id=content_id,
            size=candidate.size,
            refcount=1,
            state=BlobState.STORED,
            committed_at=tx.now,
        )
    )
    tx.execute(
        insert(DATA_KEYS).values(
            blob=candidate.blob,
            tenant=tx.scope.tenant,
            kek_id=candidate.key.key_id,
            kek_version=candidate.key.version,
            epoch=candidate.epoch,
            wrapped=candidate.key.wrapped,
        )
    )


def same_content(reading: Reading, content_id: str) -> BlobId | None:
    """The tenant's blob with this content, where there is one."""
    found = reading.execute(
        select(BLOBS.c.id).where(BLOBS.c.tenant == reading.scope.tenant, BLOBS.c.content_id == content_id)
    ).first()
    return BlobId(found.id) if found is not None else None


def add_reference(tx: Transaction, blob: BlobId) -> None:
    """Count one more user of a stored blob."""
    tx.execute(update(BLOBS).where(BLOBS.c.id == blob).values(refcount=BLOBS.c.refcount + 1))


def stop_sharing(tx: Transaction, blob: BlobId) -> None:
    """New candidates of the same content are stored on their own; who uses this blob keeps it."""
    tx.execute(update(BLOBS).where(BLOBS.c.id == blob).values(content_id=None))


def load_ticket(reading: Reading, blob: BlobId) -> LoadTicket:
    """What opens `blob`.

    Raises:
        NotFound: `blob-unknown` for this tenant, or `blob-shredded`.
    """
    row = _stored(reading, blob)
    key = reading.execute(select(DATA_KEYS).where(DATA_KEYS.c.blob == blob)).first()
    if key is None:
        raise _shredded(blob)
    wrapped = WrappedKey(key.kek_id, key.kek_version, bytes(key.wrapped))
    return LoadTicket(TenantId(row.tenant), blob, Digest(row.digest), row.size, wrapped, key.epoch)


@dataclass(frozen=True, slots=True)
class Released:
    """What is left after a user let go of a blob: the wrapped key where it was the last one."""

    digest: Digest
    users: int
    wrapped: bytes


def release(tx: Transaction, blob: BlobId) -> Released:
    """Count one user less; the last one takes the wrapped key along.

    Raises:
        NotFound: `blob-unknown` for this tenant, or `blob-shredded`.
        Conflict: somebody else changed it at the same time.
    """
    row = _stored(tx, blob)
    this = (BLOBS.c.id == blob) & (BLOBS.c.refcount == row.refcount)
    users = row.refcount - 1
    if users > 0:
        _changed(tx.execute(update(BLOBS).where(this).values(refcount=users)).count)
        return Released(Digest(row.digest), users, b"")
    ticket = load_ticket(tx, blob)
    shredded = {"refcount": 0, "state": BlobState.SHREDDED, "content_id": None, "shredded_at": tx.now}
    _changed(tx.execute(update(BLOBS).where(this).values(**shredded)).count)
    _changed(tx.execute(delete(DATA_KEYS).where(DATA_KEYS.c.blob == blob)).count)
    return Released(ticket.digest, 0, ticket.key.wrapped)


def stored_among(reading: Reading, ids: Sequence[BlobId]) -> frozenset[BlobId]:
    """Those of `ids` that a row of any tenant says are stored."""
    rows = reading.execute(select(BLOBS.c.id).where(BLOBS.c.id.in_(ids), BLOBS.c.state == BlobState.STORED))
    return frozenset(BlobId(row.id) for row in rows)


def stored_ids(reading: Reading) -> Iterator[BlobId]:
    """The ids of all stored blobs of all tenants, sorted."""
    after = ""
    while True:
        page = select(BLOBS.c.id).where(BLOBS.c.id > after, BLOBS.c.state == BlobState.STORED)
        rows = list(reading.execute(page.order_by(BLOBS.c.id).limit(_PAGE)))
        yield from (BlobId(row.id) for row in rows)
        if len(rows) < _PAGE:
            return
        after = rows[-1].id


def pages(ids: Iterator[BlobId]) -> Iterator[list[BlobId]]:
    """The ids in lists that one statement can take."""
    page: list[BlobId] = []
    for blob in ids:
        page.append(blob)
        if len(page) == _PAGE:
            yield page
            page = []
    if page:
        yield page


def _stored(reading: Reading, blob: BlobId) -> Row[Any]:
    row = reading.execute(select(BLOBS).where(BLOBS.c.id == blob, BLOBS.c.tenant == reading.scope.tenant)).first()
    if row is None:
        raise NotFound("blob-unknown", f"there is no blob {blob}")
    if row.state != BlobState.STORED:
        raise _shredded(blob)
    return row


def _shredded(blob: BlobId) -> NotFound:
    return NotFound("blob-shredded", f"blob {blob} was shredded; it cannot be read again")


def _changed(count: int) -> None:
    if count != 1:
        raise Conflict("blob-changed", "the blob was changed by somebody else", "Try again.")
