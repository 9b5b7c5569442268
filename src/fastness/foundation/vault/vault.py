"""Encrypted blobs: every byte hashed and sealed once, on the way in; each blob under a key of its own.

A blob's container is bound to its tenant and id (associated data), its wrapped key to the same and an epoch. So a
changed, cut, extended or exchanged container does not open. Identical content of one tenant is stored once; tenants
never share. Shredding deletes the wrapped key: the container that remains can be opened by nobody.

What it misses: backups that hold the wrapped key defeat shredding, and so does a saved key-encryption key.
"""

from __future__ import annotations

import hashlib
import threading
from enum import Enum, auto

from fastness.core.clock import SECOND, Entropy, Instant, later
from fastness.core.digests import BlobId
from fastness.core.errors import Conflict, Corrupt, Forbidden, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.identity import Resource, Scope
from fastness.core.secrets import SecretBytes
from fastness.core.sources import ByteSource
from fastness.foundation.crypto import DestructionReceipt, KeyContext, KeyRing, Purpose, floe
from fastness.foundation.storage import Blobs, Reading, Transaction
from fastness.foundation.vault.records import (
    Candidate,
    LoadTicket,
    add_blob,
    add_reference,
    load_ticket,
    pages,
    release,
    same_content,
    stop_sharing,
    stored_among,
    stored_ids,
)
from fastness.foundation.vault.sealing import Progress, Sealing
from fastness.foundation.vault.segments import Segments, corrupt, missing

_FORMAT = "fastness-blob-1"
_EPOCH = 1
_TIME_BYTES = 5


class _Own(Enum):
    """What became of a container that this process wrote and that has not been seen as a row yet."""

    TAKEN_IN = auto()  # the checks before its commit may take long
    COMMITTED = auto()  # a transaction took it; whether that one became durable, only a later view can tell
    UNWANTED = auto()  # its content was there already


class Vault:
    """The blobs of one home. One process writes; threads may share it.

    Args:
        blobs: where containers stand.
        keyring: wraps data keys and holds the key of deduplication.
        entropy: makes ids, data keys and nonces.
    """

    def __init__(self, blobs: Blobs, keyring: KeyRing, entropy: Entropy) -> None:
        self._blobs = blobs
        self._keyring = keyring
        self._entropy = entropy
        self._dedup = keyring.mac(Purpose.DEDUP)
        # Never swept, unless it is unwanted; and nothing but what stands here is ever discarded.
        self._own: dict[BlobId, _Own] = {}
        self._damaged: set[BlobId] = set()
        self._lock = threading.Lock()

    def intake(self, source: ByteSource, scope: Scope, now: Instant, progress: Progress | None = None) -> Candidate:
        """Hash and seal `source` in one pass into a new container, durable on return; no row is written.

        Args:
            progress: is told the bytes done so far, once a segment.

        Raises:
            Unavailable: the disk is full or fails. Whatever the source raises passes; nothing is left behind then.
        """
        blob = _new_id(now, self._entropy)
        context = KeyContext(scope.tenant, blob, _EPOCH)
        key = SecretBytes(self._entropy(32))
        with self._lock:
            self._own[blob] = _Own.TAKEN_IN
        try:
            wrapped = self._keyring.wrap(key, context)
            writer = floe.FloeWriter(key, context.aad(_FORMAT), self._entropy)
            sealing = Sealing(writer, source.chunks(), progress)
            self._blobs.put(blob, sealing.pieces())
        except BaseException:
            with self._lock:
                self._own.pop(blob, None)
            raise
        finally:
            key.wipe()
        return Candidate(scope.tenant, blob, source.name, sealing.digest, sealing.size, wrapped, _EPOCH)

    def compare(self, reading: Reading, candidate: Candidate) -> None:
        """Read what is stored of the same content, so that a commit does not rely on a copy that was damaged.

        Call it before the transaction of the commit, which nobody else's should wait for. Without it a copy counts as
        good if it is there and long enough. Cost: one pass over the stored copy, where there is one.
        """
        blob = same_content(reading, self._content_id(candidate))
        if blob is None:
            return
        try:
            with self.open(self.ticket(reading, blob)) as segments:
                for _ in segments:
                    pass
        except (Corrupt, NotFound):
            self._damaged.add(blob)
        else:
            self._damaged.discard(blob)

    def commit(self, tx: Transaction, candidate: Candidate) -> BlobId:
        """Make `candidate` a blob of the transaction's tenant and return its id: that of the same content, if stored.

        Raises:
            Forbidden: it was taken in for another tenant.
            NotFound: `blob-missing`, its container is not there any more.
        """
        if candidate.tenant != tx.scope.tenant:
            raise Forbidden("blob-tenant", "a candidate is committed by the tenant that took it in")
        content_id = self._content_id(candidate)
        blob = same_content(tx, content_id)
        if blob is not None and (blob in self._damaged or self._size(blob) < candidate.size):
            stop_sharing(tx, blob)  # it cannot be read any more; this candidate is the good copy
            blob = None
        if blob is None:
            if self._size(candidate.blob) < candidate.size:
                raise missing(candidate.blob)
            blob = self._add(tx, candidate, content_id)
        else:
            add_reference(tx, blob)
        shared = blob != candidate.blob
        details: dict[str, Detail] = {"digest": candidate.digest, "size": candidate.size, "deduplicated": shared}
        tx.emit(tx.events.make(EventKind.BLOB_COMMITTED, str(Resource("blob", blob)), details=details))
        with self._lock:
            self._own[candidate.blob] = _Own.UNWANTED if shared else _Own.COMMITTED
        return blob

    def discard(self, candidate: Candidate) -> None:
        """Delete the container of a candidate that is not wanted, or whose content was there already.

        One that was committed under its own id is left alone, also when a sweep has seen its row meanwhile; if that
        transaction was undone, a sweep after the next start takes it.
        """
        with self._lock:
            if self._own.get(candidate.blob) not in {_Own.TAKEN_IN, _Own.UNWANTED}:
                return
            del self._own[candidate.blob]
        self._delete(candidate.blob)

    def ticket(self, reading: Reading, blob: BlobId) -> LoadTicket:
        """What opens a committed blob of the reading's tenant.

        Raises:
            NotFound: `blob-unknown` for this tenant, or `blob-shredded`.
        """
        return load_ticket(reading, blob)

    def open(self, what: Candidate | LoadTicket) -> Segments:
        """The plain bytes behind a candidate or a ticket; the caller closes it.

        Raises:
            NotFound: `blob-missing`, or the key-encryption key is unknown or destroyed.
            Corrupt: `blob-corrupt`, the container was changed, cut, extended or exchanged; `key-corrupt`, the wrapped
                key was.
        """
        context = KeyContext(what.tenant, what.blob, what.epoch)
        key = self._keyring.unwrap(what.key, context)
        header = bytearray(floe.FloeReader.HEADER)
        try:
            count = self._blobs.read_into(what.blob, 0, header)
            size = self._blobs.size(what.blob)
            reader = floe.FloeReader(key, context.aad(_FORMAT), bytes(header[:count]))
        except NotFound as error:
            raise missing(what.blob) from error
        except Corrupt as error:
            raise corrupt(what.blob, "its header was changed, or it is another blob's") from error
        finally:
            key.wipe()
        if size != reader.sealed_size(what.size):
            raise corrupt(what.blob, "it was cut, or something was appended")
        name = what.name if isinstance(what, Candidate) else what.blob
        return Segments(self._blobs, what.blob, what.size, reader, name)

    def shred(self, tx: Transaction, blob: BlobId) -> DestructionReceipt:
        """Let go of a blob; when nobody else uses it, its wrapped key is deleted and nobody can read it again.

        The container is left to `sweep`, for an undone transaction must find it.

        Raises:
            NotFound: `blob-unknown` for this tenant, or `blob-shredded`.
            Conflict: somebody else changed it at the same time.
        """
        released = release(tx, blob)
        resource = str(Resource("blob", blob))
        if released.users:
            details: dict[str, Detail] = {"digest": released.digest, "users": released.users}
            tx.emit(tx.events.make(EventKind.BLOB_RELEASED, resource, details=details))
            return DestructionReceipt(resource, destroyed=False, fingerprint="")
        with self._lock:
            self._own.pop(blob, None)  # it was seen as a row; now it may be swept
        fingerprint = hashlib.sha256(released.wrapped).hexdigest()
        details = {"digest": released.digest, "fingerprint": fingerprint}
        tx.emit(tx.events.make(EventKind.BLOB_SHREDDED, resource, details=details))
        return DestructionReceipt(resource, destroyed=True, fingerprint=fingerprint)

    def sweep(self, reading: Reading, now: Instant, older_than_s: float = 3600) -> list[BlobId]:
        """Delete containers that no stored row of any tenant knows, and return their ids.

        Spared is what is younger than `older_than_s` (by the time in its id), and what this process took in and has
        neither discarded nor seen as a row. `reading` is a view just opened, and one sweep runs at a time.
        """
        swept: list[BlobId] = []
        for page in list(pages(self._blobs.ids())):
            stored = stored_among(reading, page)
            with self._lock:
                for blob in stored:
                    self._own.pop(blob, None)
                spared = {b for b in page if self._own.get(b) in {_Own.TAKEN_IN, _Own.COMMITTED}}
            orphans = [b for b in page if b not in stored and b not in spared]
            swept += [b for b in orphans if later(_made_at(b), older_than_s) <= now and self._delete(b)]
        return swept

    def missing(self, reading: Reading) -> list[BlobId]:
        """The stored blobs of all tenants whose container is not there."""
        return [blob for blob in stored_ids(reading) if self._size(blob) < 0]

    def _add(self, tx: Transaction, candidate: Candidate, content_id: str) -> BlobId:
        try:
            add_blob(tx, candidate, content_id)
        except Conflict:
            # Another transaction committed the same content since we looked.
            blob = same_content(tx, content_id)
            if blob is None:
                raise
            add_reference(tx, blob)
            return blob
        return candidate.blob

    def _content_id(self, candidate: Candidate) -> str:
        mac = self._dedup.derived(candidate.tenant.encode())
        return mac.digest(bytes.fromhex(candidate.digest.removeprefix("sha256:"))).hex()

    def _size(self, blob: BlobId) -> int:
        """Length of a container, -1 where there is none."""
        try:
            return self._blobs.size(blob)
        except NotFound:
            return -1

    def _delete(self, blob: BlobId) -> bool:
        try:
            self._blobs.delete(blob)
        except NotFound:
            return False
        return True


def _new_id(now: Instant, entropy: Entropy) -> BlobId:
    """A random id that ends with the second of its making: what tells how old a container without a row is."""
    return BlobId((entropy(32 - _TIME_BYTES) + (now // SECOND).to_bytes(_TIME_BYTES)).hex())


def _made_at(blob: BlobId) -> Instant:
    return Instant(int(blob[-2 * _TIME_BYTES :], 16) * SECOND)
