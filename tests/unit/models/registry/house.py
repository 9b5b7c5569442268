"""A small house for the registry: real records, key ring and ledger, no vault and no models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Executable

from fastness.core.clock import SECOND, Instant, ManualClock, system_entropy
from fastness.core.digests import BlobId, Digest
from fastness.core.events import Event, EventKind, decode_event
from fastness.core.identity import DEFAULT_TENANT, PrincipalId, Scope, TenantId
from fastness.core.signature import Datatype, ModelSignature, TensorSpec
from fastness.foundation.crypto import Purpose, SealedKeyRing, sign_statement
from fastness.foundation.ledger import Ledger, Sequencer
from fastness.foundation.storage import METADATA, SqliteRecords, Transaction
from fastness.models import registry
from fastness.models.registry import ManifestFile, Predicate, RegisterRequest, Revision, Version

START = Instant(1_780_000_000 * SECOND)
ALICE = Scope(DEFAULT_TENANT, PrincipalId("user:alice"))
OTHER = Scope(TenantId("other"), PrincipalId("user:mallory"))
NO_DIGEST = Digest("sha256:" + "0" * 64)
SIGNATURE = ModelSignature(
    (TensorSpec("X", Datatype.FP32, (-1, 64), 0.0, 16.0),), (TensorSpec("label", Datatype.INT64, (-1,)),)
)


class House:
    """Everything that a test of the registry touches."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(START)
        self.records = SqliteRecords(folder / "records.db", system_entropy)
        self.records.create_all()
        self.keyring = SealedKeyRing.in_memory(system_entropy)
        signer = self.keyring.signer(Purpose.CHECKPOINT)
        self.sequencer = Sequencer(folder / "ledger", self.records, None, signer, self.clock)
        self.sequencer.recover()
        self.ledger = Ledger(folder / "ledger", self.records, self.sequencer.vkey)

    @property
    def attesting(self) -> Mapping[str, bytes]:
        signer = self.keyring.signer(Purpose.ATTEST)
        return {signer.keyid: signer.public_pem}

    @property
    def pointing(self) -> Mapping[str, bytes]:
        signer = self.keyring.signer(Purpose.ALIAS)
        return {signer.keyid: signer.public_pem}

    @contextmanager
    def begin(self, scope: Scope = ALICE) -> Iterator[Transaction]:
        self.clock.advance(1)
        with self.records.begin(scope, self.clock.now()) as tx:
            yield tx

    def register(self, model: str = "digits", scope: Scope = ALICE) -> Version:
        with self.begin(scope) as tx:
            manifest, digest = request(model).manifest(tx)
            signer = self.keyring.signer(Purpose.ATTEST)
            envelope = sign_statement(signer, {"manifest": digest}, Predicate.MANIFEST, {"model": model})
            return registry.register(tx, manifest, [envelope], self.attesting)

    def deploy(self, version: Version, name: str = "production", restores: int = 0) -> registry.Alias:
        with self.begin() as tx:
            kept = registry.create_revision(tx, revision_of(version))
            return registry.move_alias(tx, self.keyring.signer(Purpose.ALIAS), name, kept, restores)

    def pointed(self, name: str = "production", scope: Scope = ALICE) -> registry.Alias:
        with self.records.read(scope) as reading:
            return registry.alias(reading, self.pointing, self.ledger, "digits", name)

    def moves(self, name: str = "production") -> list[registry.Alias]:
        with self.records.read(ALICE) as reading:
            return registry.history(reading, self.pointing, "digits", name)

    def tamper(self, statement: Executable) -> int:
        """What somebody does who can write the database and has no key; the event is a cover."""
        with self.begin(OTHER) as tx:
            tx.emit(tx.events.make(EventKind.ACCESS_DENIED))
            return tx.execute(statement).count

    def events(self, kind: EventKind) -> list[Event]:
        table = METADATA.tables["events"]
        with self.records.read(ALICE) as reading:
            rows = reading.execute(table.select().where(table.c.kind == kind).order_by(table.c.seq))
            return [decode_event(row.data) for row in rows]

    def close(self) -> None:
        self.sequencer.close()
        self.records.close()


def request(model: str = "digits") -> RegisterRequest:
    file = ManifestFile("model.onnx", 100, NO_DIGEST, BlobId("0" * 64))
    return RegisterRequest(model, (file,), ("onnx",), "onnx", SIGNATURE, (), NO_DIGEST, NO_DIGEST)


def revision_of(version: Version, environment: str = "production") -> Revision:
    manifest = version.manifest
    return Revision(
        manifest.tenant, manifest.model, manifest.number, version.digest, environment, {"max_rows": 10}, {}, {}
    )
