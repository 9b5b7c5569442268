"""The event table as the ledger sees it: rows that wait are numbered, numbered rows are read in order.

The numbers are durable before anything else follows from them. Records of the journals are numbered together with how
far their files were read, in one transaction: each stands in the log once, whatever is killed when.

What it misses: one sequencer at a time is the caller's duty; two of them would only get in each other's way
(`Conflict`), not number twice. Cost: one statement for all waiting rows, about 10 us for a journal's record.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import delete, func, insert, select, update

from fastness.core.clock import Instant
from fastness.core.errors import Conflict, Corrupt
from fastness.core.events import Detail, Event, EventFactory, EventKind, decode_event
from fastness.core.identity import SYSTEM_SCOPE
from fastness.foundation.storage.contracts import Exempt, Numbered, Records, Transaction, entry_of
from fastness.foundation.storage.journal import JournalRecord, read_journal, remove_finished
from fastness.foundation.storage.tables import EVENTS, JOURNALS

BATCH: Final = 8192
"""Rows and records numbered at once at most; bounds the memory and how long other writers wait."""

JOURNALLED: Final = frozenset({EventKind.REQUEST_ALLOWED, EventKind.REQUEST_REFUSED, EventKind.REQUEST_FAILED})
"""What a gateway worker tells. It holds outsiders' bytes: whoever takes it over says nothing of aliases or approvals."""

_PENDING: Final = EVENTS.c.idx.is_(None)
_NUMBERED: Final = EVENTS.c.idx.is_not(None)
_LAST: Final = select(EVENTS.c.idx).where(_NUMBERED).order_by(EVENTS.c.idx.desc()).limit(1)
_COLUMNS: Final = (EVENTS.c.idx, EVENTS.c.kind, EVENTS.c.resource, EVENTS.c.data)


class SqlOutbox:
    """The event table of any SQL records; see `Outbox`."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def number(self, journals: Path | None, floor: int, now: Instant) -> int:
        """Number what waits, durably; see `Outbox.number`."""
        with self._records.read(SYSTEM_SCOPE) as reading:
            offsets = {row.file: row.next_offset for row in reading.execute(select(JOURNALS))}
            waits = reading.execute(select(EVENTS.c.seq).where(_PENDING).limit(1)).first() is not None
            last = reading.execute(_LAST).first()
        records = list(islice(read_journal(journals, offsets), BATCH)) if journals is not None else []
        if not waits and not records:
            return _checked_next(last.idx if last is not None else None, floor)
        events = [_decoded(record) for record in records]
        with self._records.begin_unrecorded(SYSTEM_SCOPE, now, Exempt.SEQUENCER) as tx:
            last = tx.execute(_LAST).first()
            first = _checked_next(last.idx if last is not None else None, floor)
            first += _number_waiting(tx, first)
            _insert_numbered(tx, first, records, events)
            _move_offsets(tx, offsets, records)
        return first + len(records)

    def rows(self, first: int, limit: int) -> list[Numbered]:
        """At most `limit` numbered rows from index `first` on, in order."""
        wanted = select(*_COLUMNS).where(EVENTS.c.idx >= first, _NUMBERED).order_by(EVENTS.c.idx).limit(limit)
        with self._records.read(SYSTEM_SCOPE) as reading:
            return [Numbered(*row) for row in reading.execute(wanted)]

    def find(self, kind: str, resource: str | None, limit: int) -> list[Numbered]:
        """The newest rows of a kind, newest first."""
        # The places come from the index alone; only the rows handed out are read.
        places = select(EVENTS.c.idx).where(EVENTS.c.kind == kind, _NUMBERED)
        if resource is not None:
            places = places.where(EVENTS.c.resource == resource)
        newest = places.order_by(EVENTS.c.idx.desc()).limit(limit).scalar_subquery()
        wanted = select(*_COLUMNS).where(EVENTS.c.idx.in_(newest), _NUMBERED).order_by(EVENTS.c.idx.desc())
        with self._records.read(SYSTEM_SCOPE) as reading:
            return [Numbered(*row) for row in reading.execute(wanted)]

    def span(self, first: int) -> tuple[int, int]:
        """How many rows have an index of at least `first`, and how many numbers were given in all."""
        with self._records.read(SYSTEM_SCOPE) as reading:
            counted = reading.execute(select(func.count()).select_from(EVENTS).where(EVENTS.c.idx >= first, _NUMBERED))
            last = reading.execute(_LAST).first()
            return int(counted[0][0]), last.idx + 1 if last is not None else 0

    def release(self, journals: Path, now: Instant) -> int:
        """Remove the journal files that are wholly numbered and closed; how many. A torn tail leaves its event."""
        with self._records.read(SYSTEM_SCOPE) as reading:
            offsets = {row.file: row.next_offset for row in reading.execute(select(JOURNALS))}
        removed = remove_finished(journals, offsets)
        gone = [file for file in offsets if not (journals / file).exists()]  # also those a crash left behind
        torn = {file: size for file, size in removed.items() if size}
        if gone or torn:
            with self._records.begin_unrecorded(SYSTEM_SCOPE, now, Exempt.SEQUENCER) as tx:
                tx.execute(delete(JOURNALS).where(JOURNALS.c.file.in_(gone)))
                for file, size in torn.items():
                    details: dict[str, Detail] = {"offset": offsets.get(file, 0), "bytes": size}
                    reason = "journal-tail-cut"
                    tx.emit(
                        tx.events.make(EventKind.LEDGER_REPAIRED, f"journal:{file}", reason=reason, details=details)
                    )
        return len(removed)


def _checked_next(last: int | None, floor: int) -> int:
    following = 0 if last is None else last + 1
    if following < floor:
        raise Corrupt(
            "ledger-rows-missing",
            f"the event table ends at {following} entries, but {floor} were signed",
            "Restore the records from a backup that is as new as the ledger.",
        )
    return following


def _number_waiting(tx: Transaction, first: int) -> int:
    waiting = (
        select(EVENTS.c.seq, (func.row_number().over(order_by=EVENTS.c.seq) + (first - 1)).label("number"))
        .where(_PENDING)
        .order_by(EVENTS.c.seq)
        .limit(BATCH)
        .subquery()
    )
    numbered = update(EVENTS).where(EVENTS.c.seq == waiting.c.seq).values(idx=waiting.c.number)
    return tx.execute(numbered).count


def _decoded(record: JournalRecord) -> Event | None:
    """The event of a record, or None where it holds none that a worker has to tell: it must not stop the log for ever."""
    if record.damaged:
        return None
    try:
        event = decode_event(record.data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return event if 0 <= event.at < 1 << 63 and event.kind in JOURNALLED else None


def _insert_numbered(
    tx: Transaction, first: int, records: Sequence[JournalRecord], events: Sequence[Event | None]
) -> None:
    rows: list[Mapping[str, object]] = []
    for index, (record, event) in enumerate(zip(records, events, strict=True), start=first):
        known = event if event is not None else _damage(tx.events, record)
        rows.append({
            "id": known.id,
            "idx": index,
            "at": known.at,
            "kind": known.kind.value,
            "tenant": known.tenant,
            "principal": known.principal,
            "resource": known.resource,
            "decision": None if known.decision is None else int(known.decision),
            # The bytes that the worker wrote are the entry: what it acknowledged is what is proved.
            "data": record.data if event is not None else entry_of(known),
        })  # fmt: skip
    tx.execute(insert(EVENTS), rows)


def _damage(events: EventFactory, record: JournalRecord) -> Event:
    return events.make(
        EventKind.LEDGER_REPAIRED,
        f"journal:{record.file}",
        reason="journal-record-damaged",
        details={
            "offset": record.offset,
            "bytes": record.next_offset - record.offset,
            "sha256": hashlib.sha256(record.data).hexdigest(),
        },
    )


def _move_offsets(tx: Transaction, offsets: Mapping[str, int], records: Sequence[JournalRecord]) -> None:
    reached = {record.file: record.next_offset for record in records}
    for file, next_offset in reached.items():
        if file not in offsets:
            tx.execute(insert(JOURNALS).values(file=file, next_offset=next_offset))
            continue
        moved = update(JOURNALS).where(JOURNALS.c.file == file, JOURNALS.c.next_offset == offsets[file])
        if tx.execute(moved.values(next_offset=next_offset)).count != 1:
            raise Conflict("journal-raced", f"another sequencer read the journal {file}", "Run one sequencer a home.")
