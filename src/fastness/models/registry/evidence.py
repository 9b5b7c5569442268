"""What the ledger holds about a thing, read in the same view as the thing itself.

Events wait in the outbox until the sequencer numbers them, so the newest may not have a number yet: both are read.
Whoever can write the records can add events, and delete those that still wait (for about a second); what has a number is
held against the signed tree by `Ledger.find`, which also misses what was deleted.
"""

from __future__ import annotations

import msgspec

from fastness.core.errors import Corrupt, NotFound
from fastness.core.events import Event, EventKind, decode_event
from fastness.foundation.ledger import Ledger
from fastness.foundation.storage import Reading
from fastness.models.registry import records

_ALL = 1 << 20


def recorded(reading: Reading, kind: EventKind, resource: str) -> list[Event]:
    """The events of this kind about `resource`, oldest first, those that still wait for a number included.

    Raises:
        Corrupt: an event's row was changed.
    """
    events = [_opened(data) for data in records.events_about(reading, kind, resource)]
    if any((event.kind, event.resource) != (kind, resource) for event in events):
        raise _changed(f"an event about {resource} was changed")
    return [event for event in events if event.tenant == reading.scope.tenant]


def check_recorded(ledger: Ledger, kind: EventKind, resource: str) -> None:
    """Return if no numbered event of this kind about `resource` was changed, moved or deleted.

    Cost: the first time in the life of `ledger` up to its depth of rows is hashed, then only newer ones.

    Raises:
        Corrupt: records and signed tree differ.
    """
    try:
        ledger.find(kind, resource, _ALL)
    except NotFound:
        return  # nothing was ever signed: no event has a number yet


def _opened(data: bytes) -> Event:
    try:
        return decode_event(data)
    except msgspec.MsgspecError as error:
        raise _changed("an event cannot be read") from error


def _changed(what: str) -> Corrupt:
    return Corrupt("events-changed", what, "Somebody changed the records: run `fastness audit verify`.")
