"""Attack: who can write the database changes, moves or deletes each cell and row of it, one after the other.

What is served stays what was approved, or is refused with a reason; nothing that was not approved is deployed; and no
fault of Python's escapes, which would stop the feed to the gateways for good. Success rate: 0.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TypeVar

import pytest

from fastness.access import KeysProjection, principals
from fastness.core.errors import FastnessError
from fastness.foundation.crypto import Purpose
from fastness.foundation.storage import METADATA
from fastness.models.release import views
from tests.unit.models.release.world import ALICE, World, copied, digits_onnx

FoundT = TypeVar("FoundT")
TABLES = sorted(METADATA.tables)
ROWS = 1


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Version 1 is deployed, 2 is approved, 3 is not."""
    with copied(tmp_path_factory.mktemp("tampered") / "home") as made:
        made.push(digits_onnx(0.5))
        made.deploy(1)
        made.settle()
        yield made


def hostile(value: object) -> list[object]:
    """Values of other types, and of the same."""
    same: dict[type, list[object]] = {
        int: [0, -1, 1 << 62], float: [0.0, -1.0], str: ["", "x", "\u202e"], bytes: [b"", b"{}"], type(None): [],
    }  # fmt: skip
    return [*same[type(value)], None, b"\xff" if isinstance(value, str) else "text"]


def edits(raw: sqlite3.Connection, table: str) -> Iterator[str]:
    """Make each edit, hand it out, and undo it."""
    rows = raw.execute(f"SELECT rowid, * FROM {table} LIMIT {ROWS}").fetchall()
    names = [row[1] for row in raw.execute(f"PRAGMA table_info({table})")]
    for rowid, *row in rows:
        for name, old in zip(names, row, strict=True):
            for new in hostile(old):
                try:
                    raw.execute(f'UPDATE {table} SET "{name}" = ? WHERE rowid = ?', (new, rowid))
                except sqlite3.Error:
                    continue  # SQLite itself refuses it
                at = raw.execute(f'SELECT rowid FROM {table} WHERE "{name}" IS ? LIMIT 1', (new,)).fetchone()
                yield f"{table}.{name} of row {rowid} becomes {new!r}"
                back = rowid if raw.execute(f"SELECT 1 FROM {table} WHERE rowid = ?", (rowid,)).fetchone() else at[0]
                raw.execute(f'UPDATE {table} SET "{name}" = ? WHERE rowid = ?', (old, back))
        raw.execute(f"DELETE FROM {table} WHERE rowid = ?", (rowid,))
        yield f"row {rowid} of {table} is gone"
        marks = ",".join("?" * (len(row) + 1))
        columns = ",".join(f'"{name}"' for name in names)
        raw.execute(f"INSERT INTO {table} (rowid, {columns}) VALUES ({marks})", (rowid, *row))


def outcome(work: Callable[[], FoundT]) -> FoundT | FastnessError:
    try:
        return work()
    except FastnessError as error:
        return error


def served(world: World) -> set[tuple[str, int, str, str]]:
    return {(key, r.version, r.revision, r.socket) for key, r in world.routes().by_key.items() if not r.problem}


def shown(world: World) -> None:
    with world.records.read(ALICE) as reading:
        views.model_views(reading, world.parts)
        views.version_views(reading, world.parts, "digits")
        views.history_view(reading, world.parts, "digits")


def known(world: World) -> None:
    with world.records.read(ALICE) as reading:
        principals(reading)
        KeysProjection(world.keyring.mac(Purpose.KEY_PEPPER)).load(reading)


@pytest.mark.parametrize("table", TABLES)
def test_no_edit_puts_anything_else_into_service(world: World, table: str) -> None:
    right = served(world)
    assert {version for _, version, _, _ in right} == {1}
    assert world.verify(1).ticket.blob
    with closing(sqlite3.connect(world.folder / "records.db", isolation_level=None)) as raw:
        raw.execute("PRAGMA foreign_keys = OFF")
        for edit in edits(raw, table):
            found = outcome(lambda: served(world))
            assert isinstance(found, FastnessError) or found <= right, edit
            loaded = outcome(lambda: world.verify(1))
            assert isinstance(loaded, FastnessError) or loaded.revision.version == 1, edit
            assert isinstance(outcome(lambda: world.deploy(3)), FastnessError), edit
            outcome(lambda: shown(world))
            outcome(lambda: known(world))
    assert served(world) == right
