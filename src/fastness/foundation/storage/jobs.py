"""Durable work: rows that a worker leases, does and removes. At least once; handlers are idempotent by job id.

A lease that ran out fences its holder off: `extend`, `done` and `fail` then raise `Conflict`, for somebody else may be
at work already. What it misses: no priorities, no fairness between tenants; the oldest due job goes first.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy import ColumnElement, delete, select, update

from fastness.core.clock import Instant, later
from fastness.core.errors import Conflict, Invalid
from fastness.core.events import Detail, EventKind
from fastness.core.identity import SYSTEM_SCOPE
from fastness.foundation.storage.contracts import Exempt, Job, Records, Transaction
from fastness.foundation.storage.tables import JOBS

__all__ = ["Job", "Jobs"]

_GIVEN_UP: Final = (1 << 63) - 1
_LONGEST_ERROR: Final = 500


class Jobs:
    """The jobs that transactions enqueued."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def lease(self, kinds: Collection[str], lease_s: float, now: Instant) -> Job | None:
        """The oldest due job of these kinds, for `lease_s` seconds nobody else's; None where nothing is due.

        Raises:
            Invalid: the lease is not longer than nothing.
            Unavailable: the records do not answer.
        """
        if lease_s <= 0:
            raise Invalid("lease-range", "a lease lasts more than 0 seconds")
        due = select(JOBS.c.id).where(
            JOBS.c.kind.in_(sorted(kinds)), JOBS.c.not_before <= now, JOBS.c.leased_until <= now
        )
        with self._records.read(SYSTEM_SCOPE) as reading:  # an idle worker's look takes no turn
            if reading.execute(due.limit(1)).first() is None:
                return None
        oldest = due.order_by(JOBS.c.not_before, JOBS.c.id).limit(1).scalar_subquery()
        leased = (
            update(JOBS)
            .where(JOBS.c.id == oldest)
            .values(leased_until=later(now, lease_s), attempts=JOBS.c.attempts + 1)
            .returning(JOBS.c.id, JOBS.c.kind, JOBS.c.payload, JOBS.c.not_before, JOBS.c.tenant, JOBS.c.attempts)
        )
        with self._records.begin_unrecorded(SYSTEM_SCOPE, now, Exempt.LEASE) as tx:
            row = tx.execute(leased).first()
        if row is None:
            return None
        return Job(row.id, row.kind, row.payload, Instant(row.not_before), row.tenant, row.attempts)

    def extend(self, job: Job, lease_s: float, now: Instant) -> None:
        """Keep a leased job for `lease_s` seconds from now.

        Raises:
            Conflict: the lease ran out (`lease-lost`), even if nobody else has the job yet.
        """
        with self._records.begin_unrecorded(SYSTEM_SCOPE, now, Exempt.LEASE) as tx:
            held = update(JOBS).where(*_held(job, now)).values(leased_until=later(now, lease_s))
            _check_held(tx.execute(held).count, job)

    def done(self, tx: Transaction, job: Job) -> None:
        """Remove a finished job together with what it did; asks for no event of its own.

        Raises:
            Conflict: the lease ran out (`lease-lost`).
        """
        _check_held(tx.execute_unrecorded(delete(JOBS).where(*_held(job, tx.now))).count, job)

    def fail(self, tx: Transaction, job: Job, error: str, retry_at: Instant | None) -> None:
        """Have a job done again at `retry_at`, or give it up (None): its row stays for the operator. Emits.

        Args:
            error: a stable code or a line without secrets.

        Raises:
            Conflict: the lease ran out (`lease-lost`).
        """
        again = {"not_before": retry_at, "leased_until": 0} if retry_at is not None else {"leased_until": _GIVEN_UP}
        failed = update(JOBS).where(*_held(job, tx.now)).values(error=error[:_LONGEST_ERROR], **again)
        _check_held(tx.execute(failed).count, job)
        details: dict[str, Detail] = {"kind": job.kind, "attempt": job.attempt, "retried": retry_at is not None}
        tx.emit(tx.events.make(EventKind.JOB_FAILED, f"job:{job.id}", reason=error[:_LONGEST_ERROR], details=details))


def _held(job: Job, now: Instant) -> tuple[ColumnElement[bool], ...]:
    return JOBS.c.id == job.id, JOBS.c.attempts == job.attempt, JOBS.c.leased_until > now


def _check_held(count: int, job: Job) -> None:
    if count != 1:
        raise Conflict("lease-lost", f"the lease of job {job.id} ran out", "Leave it to the next one who leases it.")
