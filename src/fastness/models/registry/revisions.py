"""Revisions: a version with the guard, policy and limits it runs under, as one immutable thing named by its digest."""

from __future__ import annotations

import msgspec

from fastness.core.digests import Digest
from fastness.core.errors import Corrupt, NotFound
from fastness.core.identity import TenantId
from fastness.foundation.storage import Reading, Transaction
from fastness.models.registry import records
from fastness.models.registry.manifest import canonical, digest_bytes

Setting = str | int | float | bool


class Revision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is put into an environment.

    Attributes:
        manifest: digest of the version's manifest.
        guard: settings of the stages its requests and replies pass, by name.
        policy: thresholds and number of approvals it was admitted under.
        limits: bounds of its worker and its requests.
    """

    tenant: TenantId
    model: str
    version: int
    manifest: Digest
    environment: str
    guard: dict[str, Setting]
    policy: dict[str, Setting]
    limits: dict[str, Setting]

    @property
    def digest(self) -> Digest:
        """SHA-256 of the document."""
        return digest_bytes(canonical(self))

    @property
    def id(self) -> str:
        """The first 128 bits of the digest, in hex: short enough for the path of a socket."""
        return self.digest.removeprefix("sha256:")[:32]


def create_revision(tx: Transaction, revision: Revision) -> Revision:
    """Keep a revision; the same content is the same revision and is kept once.

    Raises:
        Corrupt: what is stored under its name is something else.
    """
    document = canonical(revision)
    stored = records.revision_document(tx, revision.id)
    if stored is None:
        records.add_revision(tx, revision.id, revision.model, revision.version, document)
    elif stored != document:
        raise Corrupt("revision-corrupt", f"the stored revision {revision.id} was changed", "Restore the records.")
    return revision


def revision(reading: Reading, identifier: str) -> Revision:
    """One revision, checked against its name.

    Raises:
        NotFound: the tenant has no such revision.
        Corrupt: it was changed.
    """
    document = records.revision_document(reading, identifier)
    if document is None:
        raise NotFound("revision-unknown", f"there is no revision {identifier!r}")
    try:
        found = msgspec.json.decode(document, type=Revision)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        found = None
    if found is None or found.id != identifier or found.tenant != reading.scope.tenant:
        raise Corrupt("revision-corrupt", f"the stored revision {identifier} was changed", "Restore the records.")
    return found
