"""Brings a database to the present shape; the steps stand in `migrations/versions`."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from fastness.core.errors import Conflict, Corrupt

HEAD = "0011"
_FOLDER = Path(__file__).parent / "migrations"


def upgrade(database: Path) -> None:
    """Apply the migrations that are missing, each in a transaction.

    Raises:
        Conflict: the database was written by a newer Fastness.
        Corrupt: it is not a database.
    """
    present = _present(database)
    if present == HEAD:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    # SQLite gives the files beside it the same mode.
    os.close(os.open(database, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["database"] = database
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise Conflict(
            "database-newer",
            f"{database} has the shape {present!r}, which this Fastness does not know",
            "Upgrade Fastness.",
        ) from error


def _present(database: Path) -> str:
    """The revision that the database has; empty where it has none."""
    if not database.exists():
        return ""
    try:
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute("select version_num from alembic_version").fetchall()
    except sqlite3.OperationalError:
        return ""
    except sqlite3.DatabaseError as error:
        raise Corrupt(
            "database-corrupt", f"{database} is not a database: {error}", "Restore it from a copy."
        ) from error
    return str(rows[0][0]) if rows else ""
