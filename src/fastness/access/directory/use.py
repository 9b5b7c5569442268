"""When who last used what, read from the log: the gateways write nothing for it, and no request costs more than before.

Each request that is let through leaves an event with its principal, its action, its model and its key. A job reads the events
that are new since the last time and keeps the newest of each. What is shown is as old as that job's last run and the
sequencer's; it is exact otherwise. Running it twice, or killing it, changes nothing: how far it came stands in the same commit.

What it misses: a key that was refused is not used; uses before the log was first read count from its beginning.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from fastness.access.directory import records
from fastness.core.clock import Instant
from fastness.core.events import Event, EventKind, decode_event
from fastness.core.identity import SYSTEM_SCOPE, PrincipalId
from fastness.foundation.storage import Reading, Records

_USED = frozenset({EventKind.REQUEST_ALLOWED, EventKind.ACCESS_ALLOWED})
_LONGEST = 96


def learn_use(rows: Records, now: Instant, limit: int = 2000) -> int:
    """Read at most `limit` more events of the log; how many were there. Call it until it gives 0, once a minute."""
    with rows.read(SYSTEM_SCOPE) as reading:
        first = records.taken(reading)
    entries = rows.outbox.rows(first, limit)
    if not entries:
        return 0
    uses: dict[tuple[str, str, str], int] = {}
    for entry in entries:
        try:
            event = decode_event(entry.data)
        except msgspec.MsgspecError:
            continue  # damage of the log is the ledger's to report
        for use in _uses(event):
            uses[use] = max(uses.get(use, 0), event.at)
    with rows.begin(SYSTEM_SCOPE, now) as tx:
        if records.taken(tx) == first:  # else another process was faster
            records.put_uses(tx, uses)
            records.put_taken(tx, entries[-1].place + 1)
    return len(entries)


def _uses(event: Event) -> Iterator[tuple[str, str, str]]:
    if event.kind is EventKind.TOKEN_ISSUED:
        client, subject = event.details.get("client"), event.details.get("subject")
        if isinstance(client, str) and isinstance(subject, str):
            yield event.tenant, subject[:80], f"client:{client}"[:_LONGEST]
    elif event.kind in _USED and event.principal:
        for name in ("key", "credential"):
            credential = event.details.get(name)
            if isinstance(credential, str) and len(credential) == 8:
                yield event.tenant, event.principal, f"key:{credential}"
        if event.action:
            yield event.tenant, event.principal, f"action:{event.action}"
            kind, _, name = event.resource.partition(":")
            if kind == "model":
                yield event.tenant, event.principal, f"action:{event.action}@{name.partition('/')[0]}"[:_LONGEST]


def last_uses(reading: Reading, principal: PrincipalId | None = None) -> dict[tuple[PrincipalId, str], Instant]:
    """When who of the tenant last used what: `key:ID`, `action:NAME`, `action:NAME@MODEL`, `client:ID`."""
    return records.find_uses(reading, principal)
