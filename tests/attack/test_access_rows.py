"""Who can write the database and has no key ring: every sealed table, whatever is done to its rows.

Success rate: 0. A row that was made, changed or moved is refused when it is read; one that was put back, and one that was
removed, is told by the next look, and its tenant is refused everything from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import BigInteger, Boolean, Float, Integer, LargeBinary, Table, delete, insert, select, update

from fastness.access import integrity, revoke_key
from fastness.access.restrictions import Asking, Fence, Kind, Measure, Order, RestrictionsProjection, impose, lift
from fastness.access.restrictions.tables import RESTRICTION
from fastness.access.sealing.records import EVERYBODY, change, genuine, look_through, put, remove
from fastness.access.sealing.tables import SEAL_SUM, covered, sealed_tables, sealing_of
from fastness.access.tables import API_KEY
from fastness.core.clock import later
from fastness.core.errors import Corrupt, Forbidden
from fastness.core.events import EventKind
from fastness.core.identity import Action, Principal, PrincipalId, PrincipalKind, Role, Strength, TenantId
from fastness.foundation.storage import MemoryCounters
from tests.unit.access.house import ADMIN, START, TENANT
from tests.unit.access.sealed import ACME, SealedHouse

TABLES = {table.name: table for table in sealed_tables()}
SUMMED = {name: table for name, table in TABLES.items() if sealing_of(table).summed}
EPHEMERAL = {"federation_login", "login_challenge", "login_elevation", "login_ticket", "oauth_code", "oauth_device"}
"""Good for minutes, which their seals say: who puts one back gains those."""


@pytest.fixture
def house() -> Iterator[SealedHouse]:
    made = SealedHouse()
    yield made
    made.records.close()


def row_of(table: Table, mark: int) -> dict[str, Any]:
    """A row as the house might write it."""
    values: dict[str, Any] = {}
    for column in table.columns:
        if column.name in {"seal", "tenant"}:
            continue
        kind = column.type
        if isinstance(kind, Boolean):
            values[column.name] = False
        elif isinstance(kind, BigInteger | Integer):
            values[column.name] = mark
        elif isinstance(kind, Float):
            values[column.name] = float(mark)
        elif isinstance(kind, LargeBinary):
            values[column.name] = bytes([mark]) * 32
        else:
            values[column.name] = f"v{mark}"
    return values


def other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return b"\xff" * 32 if isinstance(value, bytes) else f"{value}x"


def behind_the_back(house: SealedHouse, *statements: Any) -> None:
    with house.begin() as tx:
        for statement in statements:
            assert tx.execute(statement).count == 1
        tx.emit(tx.events.make(EventKind.ACCESS_ALLOWED))


def owners(table: Table) -> set[Table]:
    """What its rows belong to."""
    found = {key.column.table for key in table.foreign_keys}
    return found.union(*(owners(one) for one in found))


def furnish(house: SealedHouse, table: Table) -> None:
    """One row in the table, and in two tenants two of each thing that a row could belong to."""
    for scope in (ADMIN, ACME):
        with house.begin(scope) as tx:
            for owner in sealed_tables():
                if owner in owners(table):
                    rows = [row_of(owner, mark) for mark in (1, 2)]
                    put(
                        tx,
                        owner,
                        *(
                            row if scope == ADMIN or "digest" not in row else row | {"digest": b"x" * 32}
                            for row in rows
                        ),
                    )
            if scope == ADMIN:
                put(tx, table, row_of(table, 1))
            tx.emit(tx.events.make(EventKind.ACCESS_ALLOWED))


def looked(house: SealedHouse) -> tuple[set[str], set[tuple[str, str]]]:
    """Tables with forged rows, and tenants and tables with rows put back or removed."""
    with house.records.read(ADMIN) as reading:
        seen = look_through(reading)
        return {table for table, _ in seen.refused}, seen.doubtful(reading)


def test_what_the_house_writes_is_whole(house: SealedHouse) -> None:
    for name, table in TABLES.items():
        with house.begin() as tx:
            put(tx, table, row_of(table, 1), *([row_of(table, 2)] if name != "tenant" else []))
            tx.emit(tx.events.make(EventKind.ACCESS_ALLOWED))
    assert looked(house) == (set(), set())
    for table in reversed(sealed_tables()):
        with house.begin() as tx:
            assert remove(tx, table, (table.c.tenant == TENANT,)) >= 1
            tx.emit(tx.events.make(EventKind.ACCESS_ALLOWED))
    assert looked(house) == (set(), set())
    assert len(TABLES) >= 37


def moved(table: Table, name: str, value: Any) -> Any:
    column = table.c[name]
    if name == "tenant":
        return "acme"
    return "v2" if column.foreign_keys else other(value)


@pytest.mark.parametrize("name", TABLES)
def test_no_column_of_a_row_can_be_changed(house: SealedHouse, name: str) -> None:
    table = TABLES[name]
    furnish(house, table)
    before = row_of(table, 1) | {"tenant": TENANT}
    mine = table.c.tenant == TENANT
    for column in covered(table):
        forged = moved(table, column, before[column])
        with pytest.raises(_Undone), house.begin() as tx:
            assert tx.execute(update(table).where(mine).values({column: forged})).count == 1
            seen = look_through(tx)
            assert {refused for refused, _ in seen.refused} == {name}, column
            assert seen.doubtful(tx) == ({(TENANT, name)} if name in SUMMED else set()), column
            with pytest.raises(Corrupt, match="access-forged"):
                genuine(tx, table, select(table))
            raise _Undone


@pytest.mark.parametrize("name", TABLES)
def test_no_row_can_be_made(house: SealedHouse, name: str) -> None:
    table = TABLES[name]
    furnish(house, table)
    with house.records.read(ADMIN) as reading:
        mine = next(iter(reading.execute(select(table).where(table.c.tenant == TENANT))))
    for seal in (None, b"\0" * 32, mine.seal):
        with pytest.raises(_Undone), house.begin() as tx:
            tenant = "new" if name == "tenant" else TENANT
            tx.execute(insert(table).values(**row_of(table, 2), tenant=tenant, seal=seal))
            seen = look_through(tx)
            assert {refused for refused, _ in seen.refused} == {name}
            assert seen.doubtful(tx) == set()
            raise _Undone


class _Undone(Exception):
    pass


@pytest.mark.parametrize("name", SUMMED)
def test_a_row_that_was_put_back_or_removed_is_told(house: SealedHouse, name: str) -> None:
    table = TABLES[name]
    furnish(house, table)
    with house.records.read(ADMIN) as reading:
        older = next(iter(reading.execute(select(table).where(table.c.tenant == TENANT))))
    key = {column.name for column in table.primary_key.columns}
    free = (
        next(column for column in reversed(covered(table)) if column not in key and not table.c[column].foreign_keys)
        if len(key) + 1 < len(covered(table))
        else None
    )
    mine = table.c.tenant == TENANT
    with house.begin() as tx:
        if free is None:
            remove(tx, table, (mine,))
        else:
            change(tx, table, (mine,), {free: other(older._asdict()[free])})
        tx.emit(tx.events.make(EventKind.ACCESS_ALLOWED))
    assert looked(house) == (set(), set())
    back = insert(table) if free is None else update(table).where(mine)
    behind_the_back(house, back.values(**older._asdict()))
    assert looked(house) == (set(), {(TENANT, name)})
    behind_the_back(house, delete(table).where(mine))
    expected = set() if free is None else {(TENANT, name)}
    assert looked(house) == (set(), expected)


def test_the_rows_that_are_good_for_minutes_are_the_only_ones_without_sums() -> None:
    assert set(TABLES) - set(SUMMED) == EPHEMERAL


# --- the sums themselves -----------------------------------------------------------------------------------------------


def standing(house: SealedHouse) -> list[dict[str, Any]]:
    with house.records.read(ADMIN) as reading:
        return [row._asdict() for row in reading.execute(select(SEAL_SUM))]


def order(minutes: float = 10) -> Order:
    return Order(Measure.BLOCK, Kind.PRINCIPAL, "user:mallory", "leaked", later(START, minutes * 60))


def blocked(house: SealedHouse) -> str:
    house.person("root", Role.ADMINISTRATOR)
    house.person("mallory")
    house.person("erin")
    with house.begin() as tx:
        return impose(tx, order()).id


SUMS: dict[str, Callable[[SealedHouse], list[Any]]] = {
    "a sum removed": lambda _: [delete(SEAL_SUM).where(SEAL_SUM.c.name == "restriction")],
    "the sum of the house removed": lambda _: [delete(SEAL_SUM).where(SEAL_SUM.c.tenant == "")],
    "a number raised": lambda _: [update(SEAL_SUM).where(SEAL_SUM.c.name == "restriction").values(number=99)],
    "a total changed": lambda _: [update(SEAL_SUM).where(SEAL_SUM.c.name == "restriction").values(total=b"x" * 32)],
    "a sum of another table": lambda house: [
        update(SEAL_SUM)
        .where(SEAL_SUM.c.name == "restriction")
        .values(
            {
                k: v
                for k, v in next(s for s in standing(house) if s["name"] == "principal").items()
                if k not in {"tenant", "name"}
            }
        )
    ],
}


@pytest.mark.parametrize("change_sums", SUMS.values(), ids=SUMS)
def test_sums_are_not_changed_either(house: SealedHouse, change_sums: Callable[[SealedHouse], list[Any]]) -> None:
    blocked(house)
    behind_the_back(house, delete(RESTRICTION), *change_sums(house))
    forged, doubtful = looked(house)
    assert not forged
    assert doubtful & {(TENANT, "restriction"), (EVERYBODY, "seal_sum")}


def test_rows_put_back_with_their_sums_are_told_by_the_sum_of_the_house(house: SealedHouse) -> None:
    restriction = blocked(house)
    before = standing(house)
    with house.records.read(ADMIN) as reading:
        (older,) = reading.execute(select(RESTRICTION))
    with house.begin() as tx:
        lift(tx, restriction, "a mistake")
    row = next(one for one in before if one["name"] == "restriction")
    here = (SEAL_SUM.c.tenant == row["tenant"], SEAL_SUM.c.name == row["name"])
    behind_the_back(house, update(RESTRICTION).values(**older._asdict()), update(SEAL_SUM).where(*here).values(**row))
    assert looked(house) == (set(), {(EVERYBODY, "seal_sum")})


def test_all_of_it_put_back_is_told_while_the_house_runs(house: SealedHouse) -> None:
    house.person("root", Role.ADMINISTRATOR)
    before = standing(house)
    watch = integrity.Watch(house.records)
    restriction = blocked_again(house)
    assert watch.look(house.clock.now()) == frozenset()
    behind_the_back(house, delete(RESTRICTION).where(RESTRICTION.c.id == restriction))
    with house.begin() as tx:
        tx.execute(delete(SEAL_SUM))
        tx.execute(insert(SEAL_SUM), before)
        tx.emit(tx.events.make(EventKind.ACCESS_ALLOWED))
    assert watch.look(house.clock.now()) == {EVERYBODY}


def blocked_again(house: SealedHouse) -> str:
    with house.begin() as tx:
        return impose(tx, Order(Measure.BLOCK, Kind.ADDRESS, "203.0.113.7", "guesses", later(START, 600))).id


# --- what follows ------------------------------------------------------------------------------------------------------


def asking(tenant: TenantId = TENANT) -> Asking:
    who = Principal(PrincipalKind.USER, PrincipalId("user:mallory"), tenant, frozenset(), Strength.KEY, START)
    return Asking(who, Action.MODEL_READ)


def fence(house: SealedHouse) -> Fence:
    with house.records.read(ADMIN) as reading:
        return Fence(RestrictionsProjection().load(reading))


@pytest.mark.parametrize(
    "statement",
    [delete(RESTRICTION), update(RESTRICTION).values(expires_at=1), update(RESTRICTION).values(lifted_at=START)],
    ids=["removed", "ended", "lifted"],
)
def test_whoever_removes_a_restriction_gains_nothing(house: SealedHouse, statement: Any) -> None:
    blocked(house)
    with pytest.raises(Forbidden, match="restricted"):
        fence(house).enforce(asking(), MemoryCounters(), START)
    behind_the_back(house, statement)
    with pytest.raises(Forbidden) as caught:
        fence(house).enforce(asking(), MemoryCounters(), START)
    assert caught.value.code == "rows-doubtful"
    fence(house).enforce(asking(TenantId("acme")), MemoryCounters(), START)


def test_doubts_are_told_once_and_end_when_somebody_has_looked(house: SealedHouse) -> None:
    blocked(house)
    watch = integrity.Watch(house.records)
    behind_the_back(house, delete(RESTRICTION))
    assert watch.look(house.clock.now()) == {TENANT}
    assert watch.look(house.clock.now()) == {TENANT}
    (told,) = house.told(EventKind.INTEGRITY_FAILED)
    assert (told.reason, told.resource) == ("rows-doubtful", "table:restriction@default")
    assert integrity.settle(house.records, house.clock.now()) == 1
    assert watch.look(house.clock.now()) == frozenset()
    assert looked(house) == (set(), set())
    assert integrity.settle(house.records, house.clock.now()) == 0


def test_a_revoked_key_that_was_put_back_takes_all_keys_of_the_tenant(house: SealedHouse) -> None:
    mallory = house.person("mallory")
    with house.records.read(ADMIN) as reading:
        (older,) = reading.execute(select(API_KEY))
    with house.begin() as tx:
        revoke_key(tx, mallory.key.key_id)
    behind_the_back(house, update(API_KEY).values(**older._asdict()))
    assert all(key.revoked for key in house.credentials().keys.values())
