"""A small log for the tests of the ledger: real records, real files, a real key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fastness.core.clock import Instant, ManualClock, system_entropy
from fastness.core.events import EventKind
from fastness.core.identity import SYSTEM_SCOPE
from fastness.foundation.ledger import Ledger, Sequencer
from fastness.foundation.storage import SqliteRecords

NOW = Instant(1_700_000_000_000_000_000)


class Ed25519Signer:
    def __init__(self, seed: bytes = b"\x07" * 32) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public_raw = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)


@dataclass
class Log:
    home: Path
    records: SqliteRecords
    signer: Ed25519Signer
    sequencer: Sequencer

    @property
    def folder(self) -> Path:
        return self.home / "ledger"

    @property
    def vkey(self) -> str:
        return self.sequencer.vkey

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.folder, self.records, self.vkey)

    def emit(self, count: int, kind: EventKind = EventKind.MODEL_PUSHED, resource: str = "") -> None:
        with self.records.begin(SYSTEM_SCOPE, NOW) as tx:
            for i in range(count):
                tx.emit(tx.events.make(kind, resource or f"model:{i}"))

    def grow(self, count: int) -> None:
        self.emit(count)
        self.sequencer.run_once()

    def reopen(self) -> None:
        """As after a restart of the process that writes."""
        self.sequencer.close()
        self.sequencer = Sequencer(self.folder, self.records, self.home / "journal", self.signer, ManualClock(NOW))

    def sql(self, statement: str, *values: object) -> None:
        """What an intruder with the database file could do."""
        self.records._writer._raw.execute(statement, values)

    def close(self) -> None:
        self.sequencer.close()
        self.records.close()


def make_log(home: Path, records: str = ":memory:") -> Log:
    made = SqliteRecords(":memory:" if records == ":memory:" else home / records, system_entropy)
    made.create_all()
    signer = Ed25519Signer()
    return Log(home, made, signer, Sequencer(home / "ledger", made, home / "journal", signer, ManualClock(NOW)))
