"""The SQL of sealed tables: the one way to write their rows, and what tells that somebody else did.

A seal says that a row was written by this house, not that it still stands: who kept a copy of an older one could put it back,
or take away a row that refuses something. So what the sealed rows of each table and tenant add up to is kept beside them, and
what these sums add up to in turn; each change moves both. Sums that do not fit name the tenant and the table.

Nobody can work towards a sum: what a row adds is a MAC of its seal that is stored nowhere, and what is stored is masked by the
number of the change. Putting back the sums with the rows takes the number of the house back, too; see `access.integrity`.

Cost: some 40 us for each change; reading them costs nothing, looking through all of them some microseconds a row.

Source: Clarke, Devadas, van Dijk, Gassend, Suh, "Incremental Multiset Hash Functions and Their Application to Memory Integrity
Checking", ASIACRYPT 2003, section 5.1 (MSet-Add-Hash); the number of the change stands for its random value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Float, Row, Select, Table, delete, insert, select, update

from fastness.access.sealing.seals import forged, holds, seal
from fastness.access.sealing.tables import SEAL_SUM, covered, sealed_tables, sealing_of
from fastness.core.errors import Corrupt
from fastness.foundation.storage import Reading, Transaction

Values = Mapping[str, Any]
Where = Iterable[ColumnElement[bool]]
EVERYBODY = "*"
"""Stands for all tenants where the sums themselves were changed."""

_WHOLE = 1 << 256
_COVERED = ("tenant", "name", "number", "total")
_HOUSE = ("", "seal_sum")


class Seen:
    """What looking at all rows of some tables has shown.

    Attributes:
        refused: of each row that somebody else wrote; it was left out.
        sums: what the genuine rows add up to, by tenant and table.
    """

    def __init__(self) -> None:
        self.refused: list[tuple[str, Corrupt]] = []
        self.sums: dict[tuple[str, str], int] = {}
        self.tables: set[str] = set()

    def doubted(self, reading: Reading) -> frozenset[str]:
        """The tenants of whom rows were put back or removed in the tables seen; `EVERYBODY` where that cannot be told."""
        return frozenset(tenant for tenant, _ in self.doubtful(reading))

    def doubtful(self, reading: Reading) -> set[tuple[str, str]]:
        """The same, each with its table."""
        if reading.seal is None:
            return set()
        kept, told = _sums(reading)
        places = {place for place in (*self.sums, *kept) if place[1] in self.tables}
        return told | {place for place in places if self.sums.get(place, 0) != kept.get(place, _Sum(0, 0)).total}


class _Sum(NamedTuple):
    number: int
    total: int


def put(tx: Transaction, table: Table, *rows: Values, recorded: bool = True) -> None:
    """Write sealed rows of the tenant.

    Args:
        recorded: whether the change needs an event; what decides nothing does not.
    """
    columns, run = covered(table), tx.execute if recorded else tx.execute_unrecorded
    added: list[tuple[str, bytes | None, bytes | None]] = []
    for row in rows:
        whole = _as_read(table, dict.fromkeys(columns) | {"tenant": tx.scope.tenant} | dict(row))
        tx.foresee(str(table.name), whole)
        fresh = seal(tx, table.name, columns, whole)
        run(insert(table).values(**whole, seal=fresh))
        added.append((str(whole["tenant"]), None, fresh))
    _move(tx, table, added)


def change(tx: Transaction, table: Table, where: Where, values: Values, *, recorded: bool = True) -> int:
    """Change the rows that fit, each sealed anew after its old seal held; how many. Of two who try at once, one gets 0.

    Raises:
        Corrupt: one of them was forged.
    """
    where, columns = tuple(where), covered(table)
    run = tx.execute if recorded else tx.execute_unrecorded
    moved: list[tuple[str, bytes | None, bytes | None]] = []
    for row in genuine(tx, table, select(table).where(*where)):
        whole = _as_read(table, row._asdict() | dict(values))
        tx.foresee(str(table.name), whole)
        here = [column == getattr(row, column.name) for column in table.primary_key.columns]
        fresh = seal(tx, table.name, columns, whole)
        if run(update(table).where(*here, *where).values(**values, seal=fresh)).count:
            moved.append((row.tenant, row.seal, fresh))
    _move(tx, table, moved)
    return len(moved)


def _as_read(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    """The row as the database gives it back, which is what a seal is held against: a whole number of a float column is 1.0."""
    floats = (column.name for column in table.columns if isinstance(column.type, Float))
    return row | {name: float(row[name]) for name in floats if row[name] is not None}


def remove(tx: Transaction, table: Table, where: Where, *, recorded: bool = True) -> int:
    """Remove the rows that fit, forged ones too; how many."""
    where, run = tuple(where), tx.execute if recorded else tx.execute_unrecorded
    if sealing_of(table).summed and tx.seal is not None:
        gone = genuine(tx, table, select(table).where(*where), Seen())
        _move(tx, table, [(row.tenant, row.seal, None) for row in gone])
    return run(delete(table).where(*where)).count


def genuine(reading: Reading, table: Table, query: Select[Any], seen: Seen | None = None) -> list[Row[Any]]:
    """The rows that the query finds.

    Args:
        seen: is told of forged rows, which are then left out, and of what the others add up to; without it one raises.

    Raises:
        Corrupt: `access-forged`.
    """
    columns, kept = covered(table), []
    summed = seen is not None and sealing_of(table).summed and reading.seal is not None
    if seen is not None and summed:
        seen.tables.add(str(table.name))
    for row in reading.execute(query):
        if holds(reading, table.name, columns, row._asdict()):
            kept.append(row)
            if seen is not None and summed:
                place = (row.tenant, str(table.name))
                seen.sums[place] = (seen.sums.get(place, 0) + _element(reading, row.seal)) % _WHOLE
        elif seen is None:
            raise forged(table.name)
        else:
            seen.refused.append((str(table.name), forged(table.name)))
    return kept


def look_through(reading: Reading, tables: Iterable[Table] | None = None) -> Seen:
    """Look at every row of the tables, of all tenants; of all sealed ones where none are named."""
    seen = Seen()
    for table in sealed_tables() if tables is None else tables:
        genuine(reading, table, select(table), seen)
    return seen


def change_number(reading: Reading) -> int:
    """How many changes there were in the life of the house; 0 where the sums say so and nothing can be believed."""
    kept, _ = _sums(reading)
    return kept[_HOUSE].number if _HOUSE in kept else 0


def seal_all(tx: Transaction, since: set[int]) -> int:
    """Seal every row of the tables that got their seals in these rounds, unseen; how many. Once in the life of a house."""
    count = 0
    for table in sealed_tables():
        if sealing_of(table).since not in since:
            continue
        for row in tx.execute(select(table)):
            here = [column == getattr(row, column.name) for column in table.primary_key.columns]
            tx.execute(update(table).where(*here).values(seal=seal(tx, table.name, covered(table), row._asdict())))
            count += 1
    return count


def settle(tx: Transaction) -> int:
    """Add up anew what stands there now, as it stands; how many sums differ thereby."""
    seen = look_through(tx)
    kept, told = _sums(tx)
    number = max((one.number for one in kept.values()), default=0)
    differ = len(told | seen.doubtful(tx))
    tx.execute(delete(SEAL_SUM))
    for (tenant, name), total in sorted(seen.sums.items()):
        _write(tx, (tenant, name), _Sum(number + 1, total), fresh=True)
    elements = [_element(tx, row.seal) for row in tx.execute(select(SEAL_SUM))]
    _write(tx, _HOUSE, _Sum(number + 1, sum(elements) % _WHOLE), fresh=True)
    return differ


def _move(tx: Transaction, table: Table, moved: Sequence[tuple[str, bytes | None, bytes | None]]) -> None:
    """Have the sums follow: for each row its tenant, the seal that it had and the one that it has."""
    if tx.seal is None or not sealing_of(table).summed:
        return
    deltas: dict[str, int] = {}
    for tenant, before, after in moved:
        delta = (_element(tx, after) if after else 0) - (_element(tx, before) if before else 0)
        deltas[tenant] = deltas.get(tenant, 0) + delta
    for tenant, delta in deltas.items():
        old, new = _add(tx, (tenant, str(table.name)), delta)
        _add(tx, _HOUSE, _element(tx, new) - (_element(tx, old) if old else 0))


def _add(tx: Transaction, place: tuple[str, str], delta: int) -> tuple[bytes | None, bytes]:
    """Add to a sum; its seal before and after. One that was changed is left as it is, so that it is told."""
    c = SEAL_SUM.c
    row = tx.execute(select(SEAL_SUM).where(c.tenant == place[0], c.name == place[1])).first()
    found = _Sum(0, 0) if row is None else _opened(tx, row)
    if found is None:
        assert row is not None
        return row.seal, row.seal
    fresh = _write(tx, place, _Sum(found.number + 1, (found.total + delta) % _WHOLE), fresh=row is None)
    return None if row is None else row.seal, fresh


def _write(tx: Transaction, place: tuple[str, str], what: _Sum, *, fresh: bool) -> bytes:
    masked = (what.total + _mask(tx, place, what.number)) % _WHOLE
    values: dict[str, Any] = {"tenant": place[0], "name": place[1], "number": what.number}
    values["total"] = masked.to_bytes(32, "big")
    values["seal"] = sealed = seal(tx, SEAL_SUM.name, _COVERED, values) or b""
    c = SEAL_SUM.c
    if fresh:
        tx.execute_unrecorded(insert(SEAL_SUM).values(**values))
    else:
        tx.execute_unrecorded(update(SEAL_SUM).where(c.tenant == place[0], c.name == place[1]).values(**values))
    return sealed


def _sums(reading: Reading) -> tuple[dict[tuple[str, str], _Sum], set[tuple[str, str]]]:
    """The sums as they are kept, that of the house among them, and what is wrong with them."""
    kept: dict[tuple[str, str], _Sum] = {}
    told: set[tuple[str, str]] = set()
    elements = 0
    for row in reading.execute(select(SEAL_SUM)):
        found = _opened(reading, row)
        place = (row.tenant, row.name)
        if found is None:
            told.add(place if place != _HOUSE else (EVERYBODY, "seal_sum"))
            continue
        kept[place] = found
        if place != _HOUSE:
            elements += _element(reading, row.seal)
    if kept.get(_HOUSE, _Sum(0, 0)).total != elements % _WHOLE:
        told.add((EVERYBODY, "seal_sum"))
    return kept, told


def _opened(reading: Reading, row: Row[Any]) -> _Sum | None:
    """The sum in a row; None where somebody else wrote it."""
    if not holds(reading, SEAL_SUM.name, _COVERED, row._asdict()):
        return None
    mask = _mask(reading, (row.tenant, row.name), row.number)
    return _Sum(row.number, (int.from_bytes(row.total, "big") - mask) % _WHOLE)


def _element(reading: Reading, sealed: bytes) -> int:
    assert reading.seal is not None
    return int.from_bytes(reading.seal.digest(b"fastness row in a sum 1\0" + sealed), "big")


def _mask(reading: Reading, place: tuple[str, str], number: int) -> int:
    assert reading.seal is not None
    text = "\0".join((*place, str(number)))
    return int.from_bytes(reading.seal.digest(b"fastness mask of a sum 1\0" + text.encode()), "big")
