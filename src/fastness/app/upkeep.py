"""What has to be done from time to time beside the records: what has ended is closed, what was used is written down, keys turn.

Each piece of work stands for itself: one that fails is told in the log, and is tried again when it is next due.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator

from fastness.access import oauth, restrictions, reviews
from fastness.access.approvals import requests
from fastness.access.directory import tenants, use
from fastness.access.quotas import Accountant
from fastness.app.house import House, keep_token_keys, look_through
from fastness.core.clock import later
from fastness.core.errors import FastnessError
from fastness.core.identity import DEFAULT_TENANT, SYSTEM, SYSTEM_SCOPE, Scope, TenantId
from fastness.foundation.storage import counters, jobs

ENDED_S = 15.0
SEALS_S = 15.0
USE_S = 60.0
HOURLY_S = 3_600.0
_LEASE_S = 300.0
_MOST_ATTEMPTS = 5

_log = logging.getLogger(__name__)


class Upkeep:
    """The work of one house; runs on the loop of the control process.

    Args:
        tallies: the counters that all gateways share.
    """

    def __init__(self, house: House, tallies: counters.Tallies) -> None:
        self._house = house
        self._accountant = Accountant(house.records, tallies)

    async def begin(self) -> None:
        """What has to be done before the gateways begin: counters get back what the rows hold, tokens their keys."""
        await _tried("quotas", self._flush)
        await asyncio.to_thread(self._keep_token_keys)

    async def run(self) -> None:
        """Work until cancelled; what was used is then written down a last time."""
        work: tuple[tuple[str, float, Callable[[], Awaitable[object]]], ...] = (
            ("quotas", self._house.settings.quotas.flush_s, self._flush),
            ("what has ended", ENDED_S, _threaded(self._close_ended)),
            ("last use", USE_S, _threaded(self._learn_use)),
            ("reviews", USE_S, _threaded(self._review)),
            ("token keys", HOURLY_S, _threaded(self._keep_token_keys)),
            ("old rows", HOURLY_S, _threaded(self._sweep)),
            ("seals", SEALS_S, _threaded(self._check_seals)),
        )
        tasks = [asyncio.create_task(_again(name, every_s, do)) for name, every_s, do in work]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await _tried("quotas", self._flush)

    async def _flush(self) -> None:
        book = await asyncio.to_thread(self._house.snapshots.quotas.load)
        await self._accountant.flush(book, self._house.clock.now())

    def _close_ended(self) -> None:
        """Close approval requests that nobody answered in time, and put away restrictions that have ended."""
        for scope in self._scopes():
            with self._house.records.begin(scope, self._house.clock.now()) as tx:
                requests.expire(tx)
                restrictions.expire(tx)

    def _learn_use(self) -> None:
        while use.learn_use(self._house.records, self._house.clock.now()):
            pass

    def _review(self) -> None:
        """Remind those who have to decide, and close the reviews whose deadline has passed."""
        house, waiting = self._house, jobs.Jobs(self._house.records)
        while (job := waiting.lease(reviews.JOBS, _LEASE_S, house.clock.now())) is not None:
            problem = ""
            try:
                reviews.handle(house.records, job, house.clock.now())
            except FastnessError as error:
                problem = error.code
            now = house.clock.now()
            with house.records.begin(Scope(TenantId(job.tenant), SYSTEM), now) as tx:
                if problem:
                    waiting.fail(tx, job, problem, later(now, USE_S) if job.attempt < _MOST_ATTEMPTS else None)
                else:
                    waiting.done(tx, job)

    def _keep_token_keys(self) -> None:
        keep_token_keys(self._house)

    def _sweep(self) -> None:
        now = self._house.clock.now()
        self._accountant.sweep(now)
        with self._house.records.begin_unrecorded(SYSTEM_SCOPE, now, counters.USAGE) as tx:
            oauth.doors.sweep(tx)

    def _check_seals(self) -> None:
        look_through(self._house)

    def _scopes(self) -> Iterator[Scope]:
        """Every tenant, the house's own first."""
        with self._house.records.read(SYSTEM_SCOPE) as reading:
            found = [tenant.id for tenant in tenants.tenants(reading)]
        yield from (Scope(tenant, SYSTEM) for tenant in dict.fromkeys((DEFAULT_TENANT, *found)))


def _threaded(work: Callable[[], None]) -> Callable[[], Awaitable[object]]:
    return lambda: asyncio.to_thread(work)


async def _again(name: str, every_s: float, work: Callable[[], Awaitable[object]]) -> None:
    while True:
        await asyncio.sleep(every_s)
        await _tried(name, work)


async def _tried(name: str, work: Callable[[], Awaitable[object]]) -> None:
    try:
        await work()
    except FastnessError as error:
        _log.warning("upkeep of %s: %s", name, error)
    except Exception:  # one piece of work does not end the others
        _log.exception("a fault in the upkeep of %s", name)
