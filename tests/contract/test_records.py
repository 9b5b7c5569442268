"""What every Records keeps to. PostgreSQL joins the list of `kinds` when it is there."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import Column, ForeignKey, Integer, LargeBinary, String, Table, delete, insert, select, text, update

from fastness.core.clock import Instant, system_entropy
from fastness.core.errors import Conflict, FastnessError, Forbidden, Invalid, Unavailable
from fastness.core.events import Event, EventKind, decode_event
from fastness.core.identity import DEFAULT_TENANT, PrincipalId, Scope, TenantId
from fastness.foundation.storage import METADATA, Reading, Records, SqliteRecords, Transaction
from fastness.foundation.storage.contracts import Exempt, Job, Kept, StorageSettings, Unrecorded

SHELVES = Table("contract_shelves", METADATA, Column("name", String, primary_key=True))
BOOKS = Table(
    "contract_books",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("tenant", String, nullable=False, default="default"),
    Column("title", String, unique=True, nullable=False),
    Column("shelf", String, ForeignKey("contract_shelves.name")),
    Column("body", LargeBinary),
)
SCOPE = Scope(DEFAULT_TENANT, PrincipalId("user:tester"))
NOW = Instant(1_700_000_000_000_000_000)


@pytest.fixture(params=["memory", "file"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Records]:
    made = SqliteRecords(":memory:" if request.param == "memory" else tmp_path / "records.db", system_entropy)
    made.create_all()
    yield made
    made.close()


def note(tx: Transaction, kind: EventKind = EventKind.HOME_CREATED, **more: str) -> None:
    tx.emit(tx.events.make(kind, **more))


def add(tx: Transaction, title: str, **values: object) -> int:
    return tx.execute(insert(BOOKS).values(title=title, **values)).count


def titles(records: Records) -> list[str]:
    with records.read(SCOPE) as reading:
        return [row.title for row in reading.execute(select(BOOKS.c.title).order_by(BOOKS.c.title))]


def logged(records: Records) -> list[Event]:
    records.outbox.number(None, 0, NOW)
    return [decode_event(row.data) for row in records.outbox.rows(0, 10_000)]


def test_what_was_written_is_there_with_its_event(records: Records) -> None:
    with records.begin(SCOPE, NOW) as tx:
        assert add(tx, "a") == 1
        note(tx, resource="book:a")
    assert titles(records) == ["a"]
    (event,) = logged(records)
    assert (event.kind, event.resource, event.principal, event.at) == ("home.created", "book:a", "user:tester", NOW)


def test_a_transaction_sees_its_own_writes_and_others_do_not(records: Records) -> None:
    with records.begin(SCOPE, NOW) as tx:
        add(tx, "a")
        assert len(tx.execute(select(BOOKS))) == 1
        assert titles(records) == []
        note(tx)


def test_an_exception_undoes_rows_events_epochs_and_jobs(records: Records) -> None:
    def fail() -> None:
        with records.begin(SCOPE, NOW) as tx:
            add(tx, "a")
            note(tx)
            tx.touch("topic")
            tx.enqueue(Job("j", "kind", b"", NOW))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (titles(records), logged(records), records.epoch("topic")) == ([], [], 0)
    with records.begin(SCOPE, NOW) as tx:  # and the writer is free again
        tx.enqueue(Job("j", "kind", b"", NOW))
        note(tx)


WRITES = {
    "insert": insert(BOOKS).values(title="b"),
    "update": update(BOOKS).values(title="c"),
    "delete": delete(BOOKS),
    "insert in plain text": text("insert into contract_books(tenant, title) values ('default', 'b')"),
    "update in plain text": text("/* select */ update contract_books set title = 'c'"),
}


@pytest.mark.parametrize("statement", WRITES.values(), ids=WRITES)
def test_rows_without_an_event_are_undone(records: Records, statement: object) -> None:
    with records.begin(SCOPE, NOW) as tx:
        add(tx, "a")
        note(tx)
    with pytest.raises(Unrecorded) as caught, records.begin(SCOPE, NOW) as tx:
        tx.execute(statement)  # type: ignore[arg-type]
    assert caught.value.code == "unrecorded"
    assert titles(records) == ["a"]


def test_touch_and_enqueue_are_changes_too(records: Records) -> None:
    with pytest.raises(Unrecorded), records.begin(SCOPE, NOW) as tx:
        tx.touch("topic")
    with pytest.raises(Unrecorded), records.begin(SCOPE, NOW) as tx:
        tx.enqueue(Job("j", "kind", b"", NOW))
    assert records.epoch("topic") == 0


def test_no_event_is_asked_for_where_no_row_changed(records: Records) -> None:
    with records.begin(SCOPE, NOW) as tx:
        assert tx.execute(update(BOOKS).values(title="x")).count == 0
        assert tx.execute(select(BOOKS)).count == 0
        assert tx.execute(insert(BOOKS), []).count == 0
    with records.begin(SCOPE, NOW):
        pass


def test_the_named_exceptions_write_without_an_event(records: Records) -> None:
    with records.begin_unrecorded(SCOPE, NOW, Exempt.PROJECTION) as tx:
        add(tx, "a")
    assert titles(records) == ["a"]


def test_a_taken_key_is_a_conflict_that_undoes_its_statement_only(records: Records) -> None:
    with records.begin(SCOPE, NOW) as tx:
        add(tx, "a")
        with pytest.raises(Conflict) as caught:
            add(tx, "a")
        add(tx, "b")
        note(tx)
    assert caught.value.code == "record-exists"
    assert titles(records) == ["a", "b"]


BAD_ROWS = {
    "no such shelf": ({"shelf": "none"}, Conflict, "record-reference"),
    "no title": ({"title": None}, Invalid, "record-invalid"),
    "key too large": ({"id": 1 << 70}, Invalid, "statement-invalid"),
    "lone surrogate": ({"title": "\ud800"}, Invalid, "statement-invalid"),
}


@pytest.mark.parametrize(("values", "kind", "code"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_a_bad_row_is_a_clear_error(records: Records, values: dict[str, object], kind: type, code: str) -> None:
    with pytest.raises(kind) as caught, records.begin(SCOPE, NOW) as tx:
        tx.execute(insert(BOOKS).values({"title": "a"} | values))
    assert caught.value.code == code
    with records.begin(SCOPE, NOW) as tx:
        add(tx, "after")
        note(tx)
    assert titles(records) == ["after"]


def test_values_do_not_show_in_errors(records: Records) -> None:
    with pytest.raises(FastnessError) as caught, records.begin(SCOPE, NOW) as tx:
        add(tx, "hunter2")
        add(tx, "hunter2")
    error: BaseException | None = caught.value
    while error is not None:
        assert "hunter2" not in str(error)
        error = error.__cause__ or error.__context__


def test_a_statement_that_is_none_is_invalid(records: Records) -> None:
    with pytest.raises(Invalid) as caught, records.begin(SCOPE, NOW) as tx:
        tx.execute(text("selekt 1"))
    assert caught.value.code == "statement-invalid"


def test_many_rows_at_once(records: Records) -> None:
    with records.begin(SCOPE, NOW) as tx:
        assert tx.execute(insert(BOOKS), [{"title": f"{i:03}"} for i in range(100)]).count == 100
        note(tx)
    assert len(titles(records)) == 100


def test_one_view_stays_as_it_was(records: Records) -> None:
    with records.read(SCOPE) as reading:
        assert len(reading.execute(select(BOOKS))) == 0
        with records.begin(SCOPE, NOW) as tx:
            add(tx, "a")
            note(tx)
        assert len(reading.execute(select(BOOKS))) == 0
    assert titles(records) == ["a"]


def test_a_reading_does_not_write(records: Records) -> None:
    with pytest.raises(Invalid) as caught, records.read(SCOPE) as reading:
        reading.execute(insert(BOOKS).values(title="a"))
    assert caught.value.code == "reading-writes"


def test_a_transaction_in_another_is_refused_and_the_outer_one_goes_on(records: Records) -> None:
    with records.begin(SCOPE, NOW) as outer:
        add(outer, "a")
        with pytest.raises(Invalid) as caught, records.begin(SCOPE, NOW) as inner:
            add(inner, "b")
        with pytest.raises(Invalid), records.begin(SCOPE, NOW) as only_emits:
            note(only_emits)
        note(outer)
    assert caught.value.code == "transaction-nested"
    assert titles(records) == ["a"]
    assert len(logged(records)) == 1


def test_a_transaction_that_ended_is_of_no_use(records: Records) -> None:
    with records.begin(SCOPE, NOW) as tx:
        note(tx)
    for use in (lambda: note(tx), lambda: add(tx, "a"), lambda: tx.touch("t")):
        with pytest.raises(Invalid) as caught:
            use()
        assert caught.value.code == "transaction-closed"


def test_epochs_count_touches(records: Records) -> None:
    assert records.epoch("keys") == 0
    for expected in (1, 2, 3):
        with records.begin(SCOPE, NOW) as tx:
            tx.touch("keys")
            note(tx)
        assert (records.epoch("keys"), records.epoch("routes")) == (expected, 0)


def test_an_event_of_another_tenant_is_refused(records: Records) -> None:
    event = Event(id="x", at=1, kind=EventKind.HOME_CREATED, tenant=TenantId("other"), principal=SCOPE.principal)
    with pytest.raises(Forbidden) as caught, records.begin(SCOPE, NOW) as tx:
        tx.emit(event)
    assert caught.value.code == "event-tenant"


BAD_EVENTS = {
    "too large": ({"details": {"x": "y" * 65_600}}, "event-too-large"),
    "lone surrogate": ({"resource": "\ud800"}, "event-invalid"),
    "no time": ({"at": -1}, "event-invalid"),
    "a time beyond the column": ({"at": 1 << 63}, "event-invalid"),
}


@pytest.mark.parametrize(("fields", "code"), BAD_EVENTS.values(), ids=BAD_EVENTS)
def test_an_event_that_no_log_takes_is_refused_at_emit(records: Records, fields: dict[str, object], code: str) -> None:
    base = {"id": "x", "at": 1, "kind": EventKind.HOME_CREATED, "tenant": DEFAULT_TENANT, "principal": "user:x"}
    with pytest.raises(Invalid) as caught, records.begin(SCOPE, NOW) as tx:
        tx.emit(Event(**(base | fields)))  # type: ignore[arg-type]
    assert caught.value.code == code


def test_the_largest_event_fits(records: Records) -> None:
    with records.begin(SCOPE, NOW) as tx:
        event = tx.events.make(EventKind.HOME_CREATED, reason="")
        note(tx, reason="x" * (65_535 - len('"reason":"",') - len(_json(event))))
    assert len(records.outbox.number(None, 0, NOW) * b"x") == 1
    assert len(records.outbox.rows(0, 1)[0].data) == 65_535


def _json(event: Event) -> bytes:
    from fastness.core.events import encode_event

    return encode_event(event)


def test_two_events_of_one_id_disturb_nobody(records: Records) -> None:
    with records.begin(SCOPE, NOW) as tx:
        event = tx.events.make(EventKind.HOME_CREATED)
        tx.emit(event)
        tx.emit(event)
    assert len(logged(records)) == 2


def test_many_threads_commit_together_and_each_is_there_once(records: Records) -> None:
    threads, each = 16, 20
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for i in range(each):
                with records.begin(SCOPE, NOW) as tx:
                    if i % 3:
                        add(tx, f"{number}-{i}")
                        tx.touch("books")
                    note(tx, resource=f"{number}-{i}")
                if i % 3:
                    with records.read(SCOPE) as reading:
                        wanted = select(BOOKS).where(BOOKS.c.title == f"{number}-{i}")
                        assert len(reading.execute(wanted)) == 1
        except BaseException as error:
            failed.append(error)

    _run_all([threading.Thread(target=work, args=(n,)) for n in range(threads)])
    assert failed == []
    assert sorted(e.resource for e in logged(records)) == sorted(
        f"{n}-{i}" for n in range(threads) for i in range(each)
    )
    written = threads * sum(1 for i in range(each) if i % 3)
    assert (len(titles(records)), records.epoch("books")) == (written, written)


def test_a_body_that_fails_takes_nobody_with_it(records: Records) -> None:
    outcomes: dict[int, str] = {}

    def work(number: int) -> None:
        try:
            with records.begin(SCOPE, NOW) as tx:
                add(tx, f"{number:02}")
                note(tx)
                _ = 1 // (1 - number % 2)
            outcomes[number] = "kept"
        except ZeroDivisionError:
            outcomes[number] = "undone"

    _run_all([threading.Thread(target=work, args=(n,)) for n in range(24)])
    assert outcomes == {n: "undone" if n % 2 else "kept" for n in range(24)}
    assert titles(records) == [f"{n:02}" for n in range(0, 24, 2)]


def test_others_wait_for_a_slow_body_and_lose_nothing(records: Records) -> None:
    inside, leave = threading.Event(), threading.Event()

    def slow() -> None:
        with records.begin(SCOPE, NOW) as tx:
            add(tx, "slow")
            note(tx)
            inside.set()
            assert leave.wait(30)

    def quick() -> None:
        with records.begin(SCOPE, NOW) as tx:
            add(tx, "quick")
            note(tx)

    first, second = threading.Thread(target=slow), threading.Thread(target=quick)
    first.start()
    assert inside.wait(30)
    second.start()
    leave.set()
    first.join(30)
    second.join(30)
    assert titles(records) == ["quick", "slow"]


def test_closed_records_refuse(tmp_path: Path) -> None:
    records = SqliteRecords(tmp_path / "records.db", system_entropy)
    records.create_all()
    records.close()
    for statement in (insert(BOOKS).values(title="a"), select(BOOKS)):
        with pytest.raises(Unavailable) as caught, records.begin(SCOPE, NOW) as tx:
            tx.execute(statement)
        assert caught.value.code == "storage-closed"
    with pytest.raises(Unavailable), records.begin(SCOPE, NOW) as tx:
        note(tx)


def test_small_groups_and_old_ones_commit(tmp_path: Path) -> None:
    for number, settings in enumerate((StorageSettings(group_max=1), StorageSettings(group_age_s=0.0))):
        records = SqliteRecords(tmp_path / f"{number}.db", system_entropy, settings)
        records.create_all()
        threads = [threading.Thread(target=_add_one, args=(records, f"{n:02}")) for n in range(12)]
        _run_all(threads)
        assert titles(records) == [f"{n:02}" for n in range(12)]
        records.close()


def _add_one(records: Records, title: str) -> None:
    with records.begin(SCOPE, NOW) as tx:
        add(tx, title)
        note(tx)


def _run_all(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


class Short:
    """A constraint: of what was foreseen, no title is longer than it was."""

    def before(self, reading: Reading, kept: Kept, what: str, values: Mapping[str, object]) -> None:
        kept.setdefault(what, frozenset(self._lengths(reading)))
        assert values == {"id": 1}

    def after(self, reading: Reading, kept: Kept) -> None:
        if not self._lengths(reading) <= kept["books"] | {1, 2, 3}:
            raise Conflict("title-long", "a title grew")

    @staticmethod
    def _lengths(reading: Reading) -> set[object]:
        return {len(row.title) for row in reading.execute(select(BOOKS.c.title))}


def test_a_constraint_holds_at_the_end_of_every_transaction(tmp_path: Path) -> None:
    made = SqliteRecords(tmp_path / "records.db", system_entropy, constraint=Short())
    made.create_all()

    def write(*names: str, exempt: Exempt | None = None) -> None:
        opened = made.begin(SCOPE, NOW) if exempt is None else made.begin_unrecorded(SCOPE, NOW, exempt)
        with opened as tx:
            for name in names:
                tx.foresee("books", {"id": 1})
                tx.execute(delete(BOOKS))
                add(tx, name, id=1)
            note(tx)

    write("one")
    write("longer", "two")  # the end counts
    for exempt in (None, Exempt.LEASE):
        with pytest.raises(Conflict, match="grew"):
            write("six", "three", exempt=exempt)
    assert titles(made) == ["two"]
    assert len(logged(made)) == 2
    with made.begin(SCOPE, NOW) as tx:
        tx.foresee("books", {"id": 1})
        tx.execute(update(BOOKS).values(title="four"))
        with pytest.raises(Conflict):
            tx.check()
        tx.execute(update(BOOKS).values(title="ten"))
        note(tx)
    write("two")
    made.close()
