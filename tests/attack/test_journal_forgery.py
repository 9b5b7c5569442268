"""Attack: a gateway worker that was taken over writes events of other parts of the house into its journal.

It could say that a version was quarantined, that an alias stands at a move nobody made, or that somebody approved: the
first two would stop serving for good, for they are held against the log. Success rate: 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fastness.core.clock import SystemClock, system_entropy
from fastness.core.events import EventFactory, EventKind
from fastness.core.identity import DEFAULT_TENANT, PrincipalId
from fastness.foundation.crypto import Purpose, SealedKeyRing
from fastness.foundation.ledger import Ledger, Sequencer
from fastness.foundation.storage import FileJournal, SqliteRecords

TOLD = {EventKind.REQUEST_ALLOWED, EventKind.REQUEST_REFUSED, EventKind.REQUEST_FAILED}


@pytest.fixture
def records() -> Iterator[SqliteRecords]:
    made = SqliteRecords(":memory:", system_entropy)
    made.create_all()
    yield made
    made.close()


@pytest.mark.parametrize("kind", EventKind, ids=str)
def test_a_worker_tells_of_requests_and_of_nothing_else(
    tmp_path: Path, records: SqliteRecords, kind: EventKind
) -> None:
    clock = SystemClock()
    ring = SealedKeyRing.in_memory(system_entropy)
    sequencer = Sequencer(tmp_path / "ledger", records, tmp_path / "journal", ring.signer(Purpose.CHECKPOINT), clock)
    events = EventFactory(DEFAULT_TENANT, PrincipalId("user:admin"), clock.now(), system_entropy)
    journal = FileJournal(tmp_path / "journal", "gateway-0")
    journal.append(events.make(kind, "alias:digits/production", details={"sequence": 99}))
    journal.append(events.make(EventKind.REQUEST_ALLOWED, "model:digits"))
    journal.close()
    sequencer.run_once()
    found = [entry.event for entry in Ledger(tmp_path / "ledger", records, sequencer.vkey).tail(-1)]
    sequencer.close()
    assert len(found) == 2
    assert found[1].kind is EventKind.REQUEST_ALLOWED
    if kind in TOLD:
        assert found[0].kind is kind
    else:
        assert (found[0].kind, found[0].reason) == (EventKind.LEDGER_REPAIRED, "journal-record-damaged")
        assert found[0].resource.startswith("journal:gateway-0.")
