"""Setting, removing and showing quotas, and what was used of them."""

from __future__ import annotations

import msgspec

from fastness.access.quotas import records
from fastness.access.quotas.words import EACH, Kind, Quota
from fastness.core.clock import Instant
from fastness.core.errors import Conflict, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.limits import Unit, Window
from fastness.foundation.storage import Reading, Transaction, counters

TOPIC = "quotas"
MOST_OF_SUBJECT = 4
MOST_OF_TENANT = 20_000


class Use(msgspec.Struct, frozen=True):
    """How a quota stands for one subject in the present window, as of the last accounting.

    Attributes:
        subject: whose use it is; the quota may be for each of its kind.
        percent: of the amount, rounded down; 100 where the amount is 0.
    """

    quota: Quota
    subject: str
    start_us: int
    end_us: int
    used: int
    percent: int


def set_quota(tx: Transaction, quota: Quota) -> None:
    """Have a quota from the next snapshot on, in place of the one of the same subject, unit and window.

    What was used already in the present window counts under the new amount.

    Raises:
        Conflict: the subject, or the tenant, has too many.
    """
    present = records.find_quotas(tx, quota.kind)
    others = [q for q in present if q.subject == quota.subject and q.place != quota.place]
    if len(others) >= MOST_OF_SUBJECT:
        raise Conflict("quota-many", f"a subject has at most {MOST_OF_SUBJECT} quotas", "Remove one of them first.")
    if len(present) >= MOST_OF_TENANT:
        raise Conflict("quota-many", f"a tenant has at most {MOST_OF_TENANT} quotas of a kind", "Use * for all alike.")
    before = records.put_quota(tx, quota)
    details = _details(quota)
    if before is not None:
        details["before"] = before.amount
    tx.emit(tx.events.make(EventKind.QUOTA_CHANGED, _resource(quota.kind, quota.subject), details=details))
    tx.touch(TOPIC)


def remove_quota(tx: Transaction, kind: Kind, subject: str, unit: Unit, window: Window) -> None:
    """Have a quota no more.

    Raises:
        NotFound: there is none.
    """
    before = records.drop_quota(tx, kind, subject, unit, window)
    if before is None:
        raise NotFound("quota-unknown", "there is no such quota", "Look at the list of quotas.")
    details = _details(before)
    details["removed"] = True
    tx.emit(tx.events.make(EventKind.QUOTA_CHANGED, _resource(kind, subject), details=details))
    tx.touch(TOPIC)


def quotas(reading: Reading) -> list[Quota]:
    """The quotas of the tenant."""
    return records.find_quotas(reading)


def uses(reading: Reading, now: Instant, kind: Kind | None = None, subject: str | None = None) -> list[Use]:
    """What the tenant, or one subject, has used of each quota in the present windows; at most a flush old."""
    now_us = now // 1000
    since, _ = counters.window_at(Window.MONTH, now_us)
    placed = {(q.kind, q.subject, q.place): q for q in records.find_quotas(reading)}
    found = []
    for row in records.find_use(reading, since, kind, subject):
        counter = row.counter
        start, end = counters.window_at(counter.window, now_us)
        place = (counter.unit, counter.window)
        quota = placed.get((counter.kind, counter.subject, place)) or placed.get((counter.kind, EACH, place))
        if quota is not None and row.start_us == start:
            share = percent(row.used, quota.amount)
            found.append(Use(quota, counter.subject, start, end, row.used, share))
    return found


def percent(used: int, amount: int) -> int:
    """How much of `amount` was used, rounded down."""
    return used * 100 // amount if amount else 100


def _details(quota: Quota) -> dict[str, Detail]:
    return {
        "unit": quota.unit.value,
        "window": quota.window.value,
        "amount": quota.amount,
        "shape": quota.shape.value,
        "burst": quota.burst,
        "stops": quota.stops,
        "alerts": " ".join(map(str, quota.alerts)),
    }


def _resource(kind: Kind, subject: str) -> str:
    return f"{kind.value}:{subject}"
