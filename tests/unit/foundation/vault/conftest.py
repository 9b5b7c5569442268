from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fastness.core.clock import ManualClock, SystemClock, system_entropy
from fastness.core.events import Event, decode_event
from fastness.core.identity import DEFAULT_TENANT, PrincipalId, Scope, TenantId
from fastness.foundation.crypto import SealedKeyRing
from fastness.foundation.storage import FileBlobs, SqliteRecords
from fastness.foundation.storage.tables import EVENTS
from fastness.foundation.vault import Vault

ALICE = Scope(DEFAULT_TENANT, PrincipalId("user:alice"))
BOB = Scope(TenantId("other"), PrincipalId("user:bob"))


@dataclass
class House:
    """A vault over real storage, with what a test may look at or break."""

    folder: Path
    blobs: FileBlobs
    records: SqliteRecords
    ring: SealedKeyRing
    vault: Vault
    clock: ManualClock
    scope: Scope = ALICE
    other: Scope = BOB

    def path(self, blob: str) -> Path:
        return self.folder / "blobs" / blob[:2] / blob

    def events(self) -> list[Event]:
        with self.records.read(self.scope) as reading:
            rows = reading.execute(EVENTS.select().order_by(EVENTS.c.seq))
        return [decode_event(row.data) for row in rows]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    records = SqliteRecords(":memory:", system_entropy)
    records.create_all()
    ring = SealedKeyRing.in_memory(system_entropy)
    blobs = FileBlobs(tmp_path / "blobs")
    vault = Vault(blobs, ring, system_entropy)
    yield House(tmp_path, blobs, records, ring, vault, ManualClock(SystemClock().now()))
    records.close()
