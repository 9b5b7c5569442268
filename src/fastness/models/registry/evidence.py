"""What the ledger holds about a thing, read in the same view as the thing itself.

Events wait in the outbox until the sequencer numbers them, so the newest may not have a number yet: both are read.
Whoever can write the records can add events, and delete those that still wait; what has a number leaves a gap behind,
and a gap is refused. What it misses: a numbered event that was overwritten in place with another; `fastness audit
verify` finds that, for it compares each entry with the signed tree.
Cost: linear in the events since the newest one found, about 30 ns each, in one counting query.
"""

from __future__ import annotations

import msgspec

from fastness.core.errors import Corrupt
from fastness.core.events import Event, EventKind, decode_event
from fastness.foundation.ledger import Ledger
from fastness.foundation.storage import Reading
from fastness.models.registry import records


def recorded(reading: Reading, kind: EventKind, resource: str) -> list[Event]:
    """The events of this kind about `resource`, oldest first, those that still wait for a number included.

    Raises:
        Corrupt: an event's row was changed.
    """
    events = [_opened(data) for _, data in records.events_about(reading, kind, resource)]
    expected = (kind, resource, reading.scope.tenant)
    if any((event.kind, event.resource, event.tenant) != expected for event in events):
        raise _changed(f"an event about {resource} was changed")
    return events


def without_gap(reading: Reading, ledger: Ledger, kind: EventKind, resource: str) -> None:
    """Return if no event is missing after the newest numbered one of this kind about `resource`.

    Raises:
        Corrupt: events are missing.
    """
    numbered = [index for index, _ in records.events_about(reading, kind, resource) if index is not None]
    newest = max(numbered, default=-1)
    count, last = records.events_after(reading, newest)
    if count != max(last + 1, ledger.checkpoint().size) - (newest + 1):
        raise _changed(f"events after number {newest} are missing from the records")


def _opened(data: bytes) -> Event:
    try:
        return decode_event(data)
    except msgspec.MsgspecError as error:
        raise _changed("an event cannot be read") from error


def _changed(what: str) -> Corrupt:
    return Corrupt("events-changed", what, "Somebody changed the records: run `fastness audit verify`.")
