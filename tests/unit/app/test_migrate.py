"""Migrations: what they make is what the packages declare; what is foreign is refused, not touched."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, pool

from fastness.app import migrate
from fastness.app.migrate import HEAD, upgrade
from fastness.app.tables import METADATA
from fastness.core.errors import Conflict, Corrupt

# Tests of storage declare tables of their own on the same metadata.
OURS = [name for name in METADATA.tables if not name.startswith("contract_")]


def differences(database: Path) -> list[object]:
    """What Alembic would have to change to bring the database to the declared tables."""
    engine = create_engine(f"sqlite:///{database}", poolclass=pool.NullPool)
    with engine.connect() as connection:
        options = {
            "compare_type": True,
            "compare_server_default": True,
            "include_name": lambda name, kind, _: kind != "table" or name in OURS,
            "include_object": lambda _, name, kind, *__: kind != "table" or name in OURS,
        }
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, METADATA))


def shape(database: Path) -> set[str]:
    with sqlite3.connect(database) as connection:
        found = {str(row[0]) for row in connection.execute("select sql from sqlite_master where sql is not null")}
    connection.close()
    return found


def test_a_fresh_database_has_the_declared_shape(tmp_path: Path) -> None:
    database = tmp_path / "records.db"
    upgrade(database)
    assert differences(database) == []
    engine = create_engine(f"sqlite:///{database}", poolclass=pool.NullPool)
    assert set(inspect(engine).get_table_names()) == set(OURS) | {"alembic_version"}


def test_a_difference_is_noticed(tmp_path: Path) -> None:
    database = tmp_path / "records.db"
    upgrade(database)
    with sqlite3.connect(database) as connection:
        connection.execute("drop table jobs")
    connection.close()
    assert differences(database) != []


def test_tables_that_are_made_and_tables_that_are_migrated_are_the_same(tmp_path: Path) -> None:
    """What tests make by `create_all` is what a home gets: every table, key, index and check."""
    upgrade(tmp_path / "migrated")
    engine = create_engine(f"sqlite:///{tmp_path / 'made'}", poolclass=pool.NullPool)
    METADATA.create_all(engine, [METADATA.tables[name] for name in OURS])
    engine.dispose()
    one, other = (
        create_engine(f"sqlite:///{tmp_path / name}", poolclass=pool.NullPool) for name in ("migrated", "made")
    )
    for table in OURS:
        for about in ("get_columns", "get_indexes", "get_pk_constraint", "get_foreign_keys", "get_check_constraints"):
            seen = [sorted(map(_told, _list(getattr(inspect(e), about)(table)))) for e in (one, other)]
            assert seen[0] == seen[1], (table, about)


def _told(found: object) -> str:
    return re.sub(r"<(\S+) object at 0x[0-9a-f]+>", r"\1", str(found))


def _list(found: object) -> list[object]:
    return list(found) if isinstance(found, list) else [found]


def test_a_second_upgrade_changes_nothing(tmp_path: Path) -> None:
    database = tmp_path / "records.db"
    upgrade(database)
    before, bytes_before = shape(database), database.read_bytes()
    upgrade(database)
    assert (shape(database), database.read_bytes()) == (before, bytes_before)


def test_a_database_of_a_newer_house_is_refused_and_left_alone(tmp_path: Path) -> None:
    database = tmp_path / "records.db"
    upgrade(database)
    with sqlite3.connect(database) as connection:
        assert connection.execute("update alembic_version set version_num = '9999'").rowcount == 1
    connection.close()
    before = database.read_bytes()
    with pytest.raises(Conflict) as caught:
        upgrade(database)
    assert (caught.value.code, "9999" in caught.value.message) == ("database-newer", True)
    assert database.read_bytes() == before


@pytest.mark.parametrize("content", [b"hello, I am a text file, long enough to have a header" * 40, b"\0" * 4096])
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    database = tmp_path / "records.db"
    database.write_bytes(content)
    with pytest.raises(Corrupt) as caught:
        upgrade(database)
    assert caught.value.code == "database-corrupt"
    assert database.read_bytes() == content


def test_the_head_is_the_newest_step() -> None:
    folder = Path(migrate.__file__).parent / "migrations" / "versions"
    assert max(step.name for step in folder.glob("v*.py")).startswith(f"v{HEAD}")
