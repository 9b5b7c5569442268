"""Records in SQLite: one connection writes for all threads, many read, each from its own consistent view.

WAL with synchronous=FULL: a commit that returned survives a power cut. `":memory:"` is a database file in the
system's memory folder, gone with the process: the same code with the same isolation, which SQLite's own shared memory
databases do not have.

What it misses: a second writing process waits (`busy_timeout_s`) but shares no commits. A deferred foreign key would
fail at the commit of a whole group, so `create_all` refuses tables that declare one.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy import (
    Connection,
    CursorResult,
    Engine,
    Executable,
    Row,
    Select,
    create_engine,
    exc,
    insert,
    select,
    types,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.pool import NullPool, QueuePool

from fastness.core.clock import Entropy, Instant
from fastness.core.errors import Conflict, Corrupt, FastnessError, Forbidden, Invalid, Unavailable
from fastness.core.events import Event, EventFactory
from fastness.core.identity import SYSTEM_SCOPE, Scope
from fastness.foundation.storage.combining import GroupCommit
from fastness.foundation.storage.contracts import (
    Constraint,
    Exempt,
    Job,
    Kept,
    Parameters,
    Reading,
    Rows,
    Seal,
    StorageSettings,
    Transaction,
    Unrecorded,
    entry_of,
)
from fastness.foundation.storage.outbox import SqlOutbox
from fastness.foundation.storage.tables import EPOCHS, EVENTS, JOBS, METADATA

EventRow = tuple[str, None, int, str, str, str, str, int | None, bytes]
# Compiled once, for the driver takes tuples 1.7 times as fast as Core takes dictionaries. The order is EventRow's.
_INSERT_EVENTS: Final = str(
    insert(EVENTS).compile(
        dialect=sqlite.dialect(paramstyle="qmark"),
        column_keys=["id", "idx", "at", "kind", "tenant", "principal", "resource", "decision", "data"],
    )
)
_PRAGMAS: Final = ("journal_mode=WAL", "foreign_keys=ON", "trusted_schema=OFF", "cell_size_check=ON")
_IN_MEMORY: Final = ":memory:"
_KEPT_OPEN: Final = 8  # connections for reading that stay open when nobody reads


class SqliteRecords:
    """The records of one home in one file.

    Args:
        path: the database file, made with mode 0600 if it is not there, or ":memory:".
        entropy: for the ids of events.
        seal: for rows that packages seal; without one nothing is sealed, and no seal is asked for.
        constraint: has to hold at the end of every transaction.

    Raises:
        Unavailable: the file cannot be opened or made.
        Corrupt: it is not a database.
    """

    def __init__(
        self,
        path: Path | Literal[":memory:"],
        entropy: Entropy,
        settings: StorageSettings | None = None,
        seal: Seal | None = None,
        constraint: Constraint | None = None,
    ) -> None:
        self._entropy = entropy
        self._constraint = constraint
        self._seal = seal
        self._settings = settings or StorageSettings()
        self._durable = path != _IN_MEMORY
        self._path = Path(path) if path != _IN_MEMORY else _memory_file()
        if not self._durable:
            self._remove = weakref.finalize(self, shutil.rmtree, self._path.parent, ignore_errors=True)
        if not self._path.exists():
            with suppress(OSError):  # what is wrong, connecting says better
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        with _translated():
            raw = self._connect("secure_delete=ON")  # deleted rows may have held wrapped keys: overwrite their bytes
            self._writer = _Writer(raw, _engine(lambda: raw, poolclass=NullPool).connect())
        self._reads = _engine(
            lambda: self._connect("query_only=ON"),
            poolclass=QueuePool,
            pool_size=min(_KEPT_OPEN, self._settings.read_connections),
            max_overflow=max(0, self._settings.read_connections - _KEPT_OPEN),
            pool_timeout=self._settings.busy_timeout_s,
        )
        self._group: GroupCommit[EventRow] = GroupCommit(
            self._writer, self._settings.group_max, self._settings.group_age_s
        )
        self._outbox = SqlOutbox(self)

    @property
    def outbox(self) -> SqlOutbox:
        """The event table, for the ledger."""
        return self._outbox

    def begin(self, scope: Scope, now: Instant) -> AbstractContextManager[Transaction]:
        """A transaction; see `Records.begin`."""
        return self._begin(scope, now, None)

    def begin_unrecorded(self, scope: Scope, now: Instant, exempt: Exempt) -> AbstractContextManager[Transaction]:
        """A transaction that may write rows without an event; see `Exempt`."""
        return self._begin(scope, now, exempt)

    @contextmanager
    def _begin(self, scope: Scope, now: Instant, exempt: Exempt | None) -> Iterator[Transaction]:
        events = EventFactory(scope.tenant, scope.principal, now, self._entropy)
        transaction = _SqliteTransaction(self._group, self._writer, scope, events, (self._seal, self._constraint))
        try:
            yield transaction
        except BaseException:
            transaction.undo()
            raise
        transaction.finish(exempt)

    @contextmanager
    def read(self, scope: Scope) -> Iterator[Reading]:
        """A view of what is committed at its first statement."""
        with _translated():
            connection = self._reads.connect()
        try:
            connection.exec_driver_sql("BEGIN")
            yield _SqliteReading(connection, scope, self._seal)
        finally:
            connection.close()  # rolls the view back

    def epoch(self, topic: str) -> int:
        """How often `topic` was touched."""
        with self.read(SYSTEM_SCOPE) as reading:
            row = reading.execute(select(EPOCHS.c.epoch).where(EPOCHS.c.topic == topic)).first()
        return int(row.epoch) if row is not None else 0

    def create_all(self) -> None:
        """Make the tables that are missing.

        Raises:
            Invalid: a table declares a deferred foreign key, which would fail only when others' work is at stake.
        """
        for table in METADATA.tables.values():
            if any(constraint.deferrable for constraint in table.foreign_key_constraints):
                raise Invalid("foreign-key-deferred", f"table {table.name} has a deferred foreign key")
        self._group.take_turn()
        try:
            with _translated():
                METADATA.create_all(self._writer.connection)
        finally:
            self._group.drop()

    def close(self) -> None:
        """Wait for who writes now, and close all connections; later transactions raise Unavailable."""
        self._group.take_turn()
        try:
            self._writer.close()
        finally:
            self._group.drop()
        self._reads.dispose()
        if not self._durable:
            self._remove()

    def _connect(self, pragma: str) -> sqlite3.Connection:
        raw = sqlite3.connect(
            self._path,
            timeout=self._settings.busy_timeout_s,
            isolation_level=None,  # BEGIN and COMMIT are ours
            check_same_thread=False,
            cached_statements=256,
        )
        for setting in (*_PRAGMAS, f"synchronous={'FULL' if self._durable else 'OFF'}", pragma):
            raw.execute(f"PRAGMA {setting}")
        return raw


def _engine(creator: Callable[[], sqlite3.Connection], **pool: Any) -> Engine:
    # Values stay out of error texts. To SQLAlchemy every statement stands alone: transactions are made by hand.
    return create_engine("sqlite://", creator=creator, isolation_level="AUTOCOMMIT", hide_parameters=True, **pool)


class _Writer:
    """The one connection that writes; only the holder of the turn uses it.

    Attributes:
        lost: the database undid the whole group by itself (SQLite does on a full disk): all of it must fail.
    """

    def __init__(self, raw: sqlite3.Connection, connection: Connection) -> None:
        self.connection = connection
        self.lost: FastnessError | None = None
        self._raw = raw
        self._closed = False

    def mark(self) -> None:
        """Begin the group's transaction if need be, and a savepoint in it for one member."""
        if self._closed:
            raise Unavailable("storage-closed", "the records are closed")
        with _translated():
            if not self._raw.in_transaction:
                self._raw.execute("BEGIN IMMEDIATE")
            self._raw.execute("SAVEPOINT member")

    def keep(self) -> None:
        """The member is done; its work goes with the group."""
        with self._watched():
            self._raw.execute("RELEASE member")

    def undo(self) -> None:
        """Take back what the member did."""
        if self._raw.in_transaction:
            with self._watched():
                self._raw.execute("ROLLBACK TO member")
                self._raw.execute("RELEASE member")

    def execute(self, statement: Executable, parameters: Parameters | None) -> Rows:
        """Run one statement and count the rows it changed, in whatever words it was written."""
        before = self._raw.total_changes
        with self._watched():
            rows = _rows(_run(self.connection, statement, parameters))
        return Rows(rows, self._raw.total_changes - before)

    def commit(self, rows: Sequence[EventRow]) -> None:
        """Insert the group's events and commit."""
        if self.lost is not None:
            raise Unavailable(self.lost.code, f"the commit failed: {self.lost.message}", self.lost.hint)
        if self._closed:
            raise Unavailable("storage-closed", "the records are closed")
        with _translated():
            if not self._raw.in_transaction:
                self._raw.execute("BEGIN IMMEDIATE")
            if rows:
                self._raw.executemany(_INSERT_EVENTS, rows)
            self._raw.execute("COMMIT")

    def abandon(self) -> None:
        """Undo what is open."""
        self.lost = None
        if not self._closed and self._raw.in_transaction:
            with suppress(sqlite3.Error):  # it may be gone already; what failed before is what the caller is told
                self._raw.execute("ROLLBACK")

    def close(self) -> None:
        """Undo what is open and close."""
        self.abandon()
        self._closed = True
        self.connection.close()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        try:
            with _translated():
                yield
        except FastnessError as error:
            if not self._raw.in_transaction:
                self.lost = error
            raise


class _SqliteReading:
    def __init__(self, connection: Connection, scope: Scope, seal: Seal | None) -> None:
        self._connection = connection
        self.scope = scope
        self.seal = seal

    def execute(self, statement: Executable, parameters: Parameters | None = None) -> Rows:
        with _translated():
            return Rows(_rows(_run(self._connection, statement, parameters)), 0)


class _SqliteTransaction:
    def __init__(
        self,
        group: GroupCommit[EventRow],
        writer: _Writer,
        scope: Scope,
        events: EventFactory,
        guarded: tuple[Seal | None, Constraint | None],
    ) -> None:
        self.scope = scope
        self.seal, self._constraint = guarded
        self._foreseen: Kept = {}
        self.events = events
        self.now = events.now
        self._group = group
        self._writer = writer
        self._rows: list[EventRow] = []
        self._has_turn = False
        self._wrote = False
        self._open = True

    def execute(self, statement: Executable, parameters: Parameters | None = None) -> Rows:
        rows = self.execute_unrecorded(statement, parameters)
        self._wrote = self._wrote or rows.count > 0
        return rows

    def execute_unrecorded(self, statement: Executable, parameters: Parameters | None = None) -> Rows:
        self._check_open()
        if parameters is not None and not parameters:
            return Rows([], 0)
        if not self._has_turn:
            self._group.take_turn()
            try:
                self._writer.mark()
            except BaseException:
                self._group.drop()
                raise
            self._has_turn = True
        return self._writer.execute(statement, parameters)

    def emit(self, event: Event) -> None:
        self._check_open()
        if event.tenant != self.scope.tenant:
            raise Forbidden(
                "event-tenant", "an event belongs to another tenant than its transaction", "Make it by tx.events."
            )
        self._rows.append(event_row(event))

    def touch(self, topic: str) -> None:
        statement = sqlite.insert(EPOCHS).values(topic=topic, epoch=1)
        self.execute(
            statement.on_conflict_do_update(index_elements=[EPOCHS.c.topic], set_={"epoch": EPOCHS.c.epoch + 1})
        )

    def enqueue(self, job: Job) -> None:
        self.execute(
            insert(JOBS).values(
                id=job.id, tenant=self.scope.tenant, kind=job.kind, payload=job.payload, not_before=job.not_before
            )
        )

    def foresee(self, what: str, values: Mapping[str, object]) -> None:
        if self._constraint is not None:
            self._constraint.before(self, self._foreseen, what, values)

    def check(self) -> None:
        if self._constraint is not None and self._foreseen:
            self._constraint.after(self, self._foreseen)

    def undo(self) -> None:
        """Take everything back."""
        self._open = False
        if self._has_turn:
            self._has_turn = False
            try:
                self._writer.undo()
            finally:
                self._group.drop()

    def finish(self, exempt: Exempt | None) -> None:
        """Become durable, unless the constraint refuses it, or rows were written that no event tells of."""
        try:
            self.check()
        except BaseException:
            self.undo()
            raise
        self._open = False
        if self._wrote and not self._rows and exempt is None:
            self.undo()
            raise Unrecorded(
                "unrecorded",
                "a transaction wrote rows and emitted no event; it was undone",
                "Emit the event that says what was done.",
            )
        if self._has_turn:
            try:
                self._writer.keep()
            except BaseException:
                self._group.drop()
                raise
        if self._has_turn or self._rows:
            self._group.finish(self._rows, has_turn=self._has_turn)

    def _check_open(self) -> None:
        if not self._open:
            raise Invalid("transaction-closed", "the transaction has ended", "Use it inside its with block.")


def _run(connection: Connection, statement: Executable, parameters: Parameters | None) -> CursorResult[Any]:
    # The driver would run an empty list once, with nothing.
    return connection.execute(statement, [dict(row) for row in parameters] if parameters else None)


def _rows(result: CursorResult[Any]) -> list[Row[Any]]:
    """All rows, if each value is of its column's type: SQLite keeps any type in any column, for who edits the file."""
    if not result.returns_rows:
        return []
    rows = list(result.all())
    kinds = _kinds_of(result) if rows else ()
    if kinds and not all(all(map(isinstance, row, kinds)) for row in rows):
        raise Corrupt(
            "record-changed",
            "a record holds a value of another type than its column",
            "Somebody changed the database: restore a backup.",
        )
    return rows


def _kinds_of(result: CursorResult[Any]) -> tuple[tuple[type, ...], ...]:
    """What each column of a select may hold; empty for other statements."""
    compiled = result.context.compiled
    if compiled is None:
        return ()
    known = _KINDS_KNOWN.get(compiled)
    if known is None:
        columns = compiled.statement.selected_columns if isinstance(compiled.statement, Select) else ()
        known = _KINDS_KNOWN[compiled] = tuple(_kinds(column.type) for column in columns)
    return known


def _kinds(declared: types.TypeEngine[Any]) -> tuple[type, ...]:
    for kind, python in _PYTHON_TYPES:
        if isinstance(declared, kind):
            return (*python, type(None))
    return (object,)


# By compiled statement, of which SQLAlchemy keeps few; with it they go.
_KINDS_KNOWN: Final[weakref.WeakKeyDictionary[Any, tuple[tuple[type, ...], ...]]] = weakref.WeakKeyDictionary()
_PYTHON_TYPES: Final[tuple[tuple[type[types.TypeEngine[Any]], tuple[type, ...]], ...]] = (
    (types.String, (str,)),
    (types.LargeBinary, (bytes,)),
    (types.Boolean, (bool,)),
    (types.Integer, (int,)),
    (types.Float, (float, int)),
)


def event_row(event: Event) -> EventRow:
    """The row of an event that waits for the sequencer.

    Raises:
        Invalid: it is too large, or holds what no database takes.
    """
    data = entry_of(event)
    decision = None if event.decision is None else int(event.decision)
    return (event.id, None, event.at, event.kind.value, event.tenant, event.principal, event.resource, decision, data)


@contextmanager
def _translated() -> Iterator[None]:
    """SQLite's and SQLAlchemy's errors in the words of the house, without the values of the statement."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translate(error) from error
    except exc.DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise _translate(error.orig) from error
        raise Unavailable("storage-failed", "the database failed") from error
    except exc.TimeoutError as error:
        raise Unavailable("storage-busy", "too many readers at once", "Try again.") from error
    except (exc.SQLAlchemyError, OverflowError, UnicodeEncodeError) as error:
        raise Invalid("statement-invalid", f"the statement cannot be run: {type(error).__name__}") from error


def _translate(error: sqlite3.Error) -> FastnessError:
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_CONSTRAINT"):
        if name.endswith(("_UNIQUE", "_PRIMARYKEY", "_ROWID")):
            return Conflict("record-exists", "a record with this key is there already")
        if name.endswith("_FOREIGNKEY"):
            return Conflict("record-reference", "a record that this one needs, or that needs this one, forbids it")
        return Invalid("record-invalid", "a value of the record is missing or out of range")
    for start, fault in _FAULTS:
        if name.startswith(start):
            return type(fault)(fault.code, fault.message, fault.hint)
    return Invalid("statement-invalid", f"the database refuses the statement: {name or type(error).__name__}")


_FAULTS: Final[tuple[tuple[str, FastnessError], ...]] = (
    (
        "SQLITE_FULL",
        Unavailable("storage-full", "the disk of the records is full", "Free space on it; then try again."),
    ),
    ("SQLITE_BUSY", Unavailable("storage-busy", "another process writes the records", "Try again.")),
    ("SQLITE_LOCKED", Unavailable("storage-busy", "another connection writes the records", "Try again.")),
    ("SQLITE_READONLY", Invalid("reading-writes", "a reading, or a read-only database, was written", "Use begin.")),
    ("SQLITE_IOERR", Unavailable("storage-io", "the disk of the records fails", "See the system's log.")),
    ("SQLITE_CANTOPEN", Unavailable("storage-unreachable", "the records cannot be opened", "Check folder and rights.")),
    ("SQLITE_NOTADB", Corrupt("storage-corrupt", "the file of the records is no database", "Restore a backup.")),
    ("SQLITE_CORRUPT", Corrupt("storage-corrupt", "the database of the records is damaged", "Restore a backup.")),
    ("SQLITE_NOMEM", Unavailable("storage-memory", "the database has no memory left")),
)


def _memory_file() -> Path:
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 - mkdtemp makes a private folder in it
    return Path(tempfile.mkdtemp(prefix="fastness-", dir=place)) / "records.db"
