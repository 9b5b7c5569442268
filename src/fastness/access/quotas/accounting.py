"""What was used, written down: so that no restart resets a month, and so that budgets tell in time.

Every `flush_s` seconds the counters that changed are written into rows, a transaction for a tenant. After a start, or where the
counters were lost (a Redis without its data), the rows are given back to the counters first. A `kill -9` of the process that
holds counters in memory forgives what was used since the last flush, and nothing older; with Redis it forgives nothing.
Windows of a second and of a minute are not written: a restart begins them anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from fastness.access.quotas import records
from fastness.access.quotas.plans import QuotaBook
from fastness.access.quotas.records import UseRow
from fastness.access.quotas.stored import percent
from fastness.access.quotas.words import EACH, Counter, Quota
from fastness.core.clock import Instant
from fastness.core.events import Detail, EventKind
from fastness.core.identity import SYSTEM, SYSTEM_SCOPE, Scope, TenantId
from fastness.core.limits import Tally, Window
from fastness.foundation.storage import Records, Transaction, counters

_DAY_US = 86_400_000_000
KEPT_US = {Window.HOUR: 40 * _DAY_US, Window.DAY: 400 * _DAY_US, Window.MONTH: 2_000 * _DAY_US}


class Accountant:
    """The one who writes down what was used; one for a house, in the process that has the records.

    Args:
        tallies: the counters that all gateways share.
    """

    def __init__(self, records_: Records, tallies: counters.Tallies) -> None:
        self._records = records_
        self._tallies = tallies
        self._generation = ""
        self._kept: dict[Counter, counters.Counted] = {}

    async def flush(self, book: QuotaBook, now: Instant) -> int:
        """Write down what changed, tell of budgets that were reached, and return how many counters changed.

        The first call, and the first after the counters were lost, gives them back what the rows hold: call it before the
        gateways begin.

        Raises:
            Unavailable: the counters or the records do not answer; nothing is lost, the next call writes it.
        """
        generation = await self._tallies.generation()
        if generation != self._generation:
            await self._restore(now)
            self._generation = generation
        written = 0
        for tenant in sorted({*book.tenants, *(counter.tenant for counter in self._kept)}):
            for counted in await self._tallies.drain(tenant):
                counter = Counter.of(counted.key)
                if counter is not None and counter.tenant == tenant and counter.window is counted.window:
                    self._kept[counter] = counted  # until it is written
            written += await asyncio.to_thread(self._write, book, tenant, now)
        return written

    def sweep(self, now: Instant) -> int:
        """Remove what was used long ago: hours after 40 days, days after 400, months after 2,000; how many rows."""
        with self._records.begin_unrecorded(SYSTEM_SCOPE, now, counters.USAGE) as tx:
            return sum(records.sweep_use(tx, [window], now // 1000 - kept) for window, kept in KEPT_US.items())

    async def _restore(self, now: Instant) -> None:
        for counted in await asyncio.to_thread(self._standing, now // 1000):
            await self._tallies.raise_to(counted)

    def _standing(self, now_us: int) -> list[counters.Counted]:
        """What the rows hold of the present windows and of those before."""
        began = {window: _before(window, now_us) for window in counters.DURABLE}
        with self._records.read(SYSTEM_SCOPE) as reading:
            rows = list(records.all_use(reading, min(began.values())))
        return [
            counters.Counted(row.counter.key, row.counter.window, Tally(row.start_us, row.used))
            for row in rows
            if row.start_us >= began.get(row.counter.window, now_us)
        ]

    def _write(self, book: QuotaBook, tenant: str, now: Instant) -> int:
        mine = {counter: counted.tally for counter, counted in self._kept.items() if counter.tenant == tenant}
        if not mine:
            return 0
        since = min(tally.start_us for tally in mine.values())
        with self._records.begin_unrecorded(Scope(TenantId(tenant), SYSTEM), now, counters.USAGE) as tx:
            known = records.known_use(tx, since, {counter.subject for counter in mine})
            rows = [
                self._row(tx, book, counter, tally, known.get((counter, tally.start_us)))
                for counter, tally in mine.items()
            ]
            records.put_use(tx, rows, known)
        for counter in mine:
            del self._kept[counter]
        return len(mine)

    @staticmethod
    def _row(tx: Transaction, book: QuotaBook, counter: Counter, tally: Tally, before: UseRow | None) -> UseRow:
        """What is written of a counter; tells of each alert that it passed for the first time in its window."""
        alerted = 0 if before is None else before.alerted
        quota = _alerting(book.of(counter.tenant, counter.kind, counter.subject), counter)
        for alert in () if quota is None else quota.alerts:
            if quota is not None and alert > alerted and tally.used and percent(tally.used, quota.amount) >= alert:
                details: dict[str, Detail] = {
                    "unit": counter.unit.value,
                    "window": counter.window.value,
                    "start_us": tally.start_us,
                    "percent": alert,
                    "used": tally.used,
                    "amount": quota.amount,
                    "stops": quota.stops,
                }
                resource = f"{counter.kind.value}:{counter.tenant if counter.subject == EACH else counter.subject}"
                tx.emit(tx.events.make(EventKind.BUDGET_REACHED, resource, details=details))
                alerted = alert
        return UseRow(counter, tally.start_us, tally.used, alerted)


def _alerting(quotas: Iterable[Quota], counter: Counter) -> Quota | None:
    return next((q for q in quotas if q.place == (counter.unit, counter.window)), None)


def _before(window: Window, now_us: int) -> int:
    start, _ = counters.window_at(window, now_us)
    return counters.window_at(window, start - 1)[0]
