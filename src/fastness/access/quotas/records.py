"""The SQL of quotas. All but the functions for the projection and the accounting see only the tenant of their scope."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import Row, bindparam, delete, insert, select, update

from fastness.access.quotas.tables import QUOTA, QUOTA_USE
from fastness.access.quotas.words import Counter, Kind, Quota, Shape
from fastness.access.sealing.records import Seen, genuine, put, remove
from fastness.core.errors import Corrupt, Invalid
from fastness.core.limits import LARGEST, Unit, Window
from fastness.foundation.storage import Reading, Transaction


class UseRow(NamedTuple):
    """What a counter held in one window."""

    counter: Counter
    start_us: int
    used: int
    alerted: int


def put_quota(tx: Transaction, quota: Quota) -> Quota | None:
    """Write a quota in place of the one before, and return that one."""
    before = drop_quota(tx, quota.kind, quota.subject, quota.unit, quota.window)
    values = {
        "kind": quota.kind.value, "subject": quota.subject, "unit": quota.unit.value, "window": quota.window.value,
        "amount": quota.amount, "shape": quota.shape.value, "burst": quota.burst, "stops": quota.stops,
        "alerts": " ".join(map(str, quota.alerts)), "changed_at": tx.now,
    }  # fmt: skip
    put(tx, QUOTA, values)
    return before


def drop_quota(tx: Transaction, kind: Kind, subject: str, unit: Unit, window: Window) -> Quota | None:
    """Remove a quota, and return it."""
    c = QUOTA.c
    here = (c.tenant == tx.scope.tenant, c.kind == kind, c.subject == subject, c.unit == unit, c.window == window)
    found = genuine(tx, QUOTA, select(QUOTA).where(*here))
    if not found:
        return None
    remove(tx, QUOTA, here)
    return _quota(found[0])


def find_quotas(reading: Reading, kind: Kind | None = None, subject: str | None = None) -> list[Quota]:
    """The quotas of the tenant, of a kind, or of one subject."""
    c = QUOTA.c
    query = select(QUOTA).where(c.tenant == reading.scope.tenant)
    if kind is not None:
        query = query.where(c.kind == kind)
    if subject is not None:
        query = query.where(c.subject == subject)
    return [_quota(row) for row in genuine(reading, QUOTA, query.order_by(c.kind, c.subject, c.unit, c.window))]


def all_quotas(reading: Reading, seen: Seen) -> Iterator[tuple[str, Quota]]:
    """The quotas of every tenant, each with its tenant; `seen` is told of rows that somebody else wrote."""
    c = QUOTA.c
    for row in genuine(reading, QUOTA, select(QUOTA).order_by(c.tenant, c.kind, c.subject, c.unit, c.window), seen):
        yield row.tenant, _quota(row)


def find_use(reading: Reading, since_us: int, kind: Kind | None = None, subject: str | None = None) -> list[UseRow]:
    """What the tenant used in windows that began at `since_us` or later."""
    c = QUOTA_USE.c
    query = select(QUOTA_USE).where(c.tenant == reading.scope.tenant, c.start_us >= since_us)
    if kind is not None:
        query = query.where(c.kind == kind)
    if subject is not None:
        query = query.where(c.subject == subject)
    return [_use(row) for row in reading.execute(query.order_by(c.kind, c.subject, c.unit, c.window, c.start_us))]


def all_use(reading: Reading, since_us: int) -> Iterator[UseRow]:
    """What every tenant used in windows that began at `since_us` or later."""
    for row in reading.execute(select(QUOTA_USE).where(QUOTA_USE.c.start_us >= since_us)):
        yield _use(row)


def known_use(reading: Reading, since_us: int, subjects: Collection[str]) -> dict[tuple[Counter, int], UseRow]:
    """The rows of these subjects of the tenant, by counter and window."""
    c = QUOTA_USE.c
    found: dict[tuple[Counter, int], UseRow] = {}
    names = sorted(subjects)
    for at in range(0, len(names), 500):
        here = (c.tenant == reading.scope.tenant, c.start_us >= since_us, c.subject.in_(names[at : at + 500]))
        for row in map(_use, reading.execute(select(QUOTA_USE).where(*here))):
            found[row.counter, row.start_us] = row
    return found


def put_use(tx: Transaction, rows: Sequence[UseRow], known: Collection[tuple[Counter, int]]) -> None:
    """Write what was used: over those that are `known`, beside the others."""
    c = QUOTA_USE.c
    old = [_values(row, "b_") for row in rows if (row.counter, row.start_us) in known]
    new = [_values(row, "") for row in rows if (row.counter, row.start_us) not in known]
    here = [c[name] == bindparam(f"b_{name}") for name in ("tenant", "kind", "subject", "unit", "window", "start_us")]
    change = update(QUOTA_USE).where(*here).values(used=bindparam("b_used"), alerted=bindparam("b_alerted"))
    tx.execute(change, old)
    tx.execute(insert(QUOTA_USE), new)


def sweep_use(tx: Transaction, windows: Collection[Window], until_us: int) -> int:
    """Remove rows of windows that began before `until_us`; how many."""
    c = QUOTA_USE.c
    names = [window.value for window in windows]
    return tx.execute(delete(QUOTA_USE).where(c.start_us < until_us, c.window.in_(names))).count


def _values(row: UseRow, prefix: str) -> dict[str, object]:
    values = {
        "tenant": row.counter.tenant,
        "kind": row.counter.kind.value,
        "subject": row.counter.subject,
        "unit": row.counter.unit.value,
        "window": row.counter.window.value,
        "start_us": row.start_us,
        "used": row.used,
        "alerted": row.alerted,
    }
    return {f"{prefix}{name}": value for name, value in values.items()}


def _quota(row: Row[tuple[object, ...]]) -> Quota:
    try:
        return Quota(
            Kind(row.kind), row.subject, Unit(row.unit), Window(row.window), row.amount, Shape(row.shape), row.burst,
            bool(row.stops), tuple(int(alert) for alert in row.alerts.split()),
        )  # fmt: skip
    except (ValueError, Invalid) as error:
        raise _changed("a quota that is none") from error


def _use(row: Row[tuple[object, ...]]) -> UseRow:
    try:
        counter = Counter(row.tenant, Kind(row.kind), row.subject, Unit(row.unit), Window(row.window))
    except ValueError as error:
        raise _changed("a use of nothing") from error
    if not 0 <= row.used <= LARGEST or not 0 <= row.start_us <= LARGEST:
        raise _changed("a use that nobody can have had")
    return UseRow(counter, row.start_us, row.used, row.alerted)


def _changed(what: str) -> Corrupt:
    hint = "Somebody changed the database: compare it with the ledger, and restore a backup."
    return Corrupt("quotas-changed", f"the records of quotas hold {what}", hint)
