"""How a table says that its rows are sealed, and what the sealed rows of each table add up to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, Column, LargeBinary, String, Table

from fastness.foundation.storage import METADATA

_KEY: Final = "fastness.seal"
LATEST: Final = 2


@dataclass(frozen=True, slots=True)
class Sealing:
    """What the seals of a table cover.

    Attributes:
        besides: columns that no right hangs on.
        since: in which round of sealing its rows of before were sealed; 0 where it always had seals.
        summed: whether rows that were put back or removed are told; not where they are good for minutes alone.
    """

    besides: frozenset[str]
    since: int
    summed: bool


def seal_column(*besides: str, since: int = LATEST, summed: bool = True) -> Column[bytes]:
    """The column of a table whose rows are sealed; null until they are, in a house that is older."""
    return Column("seal", LargeBinary(32), info={_KEY: Sealing(frozenset({"seal", *besides}), since, summed)})


SEAL_SUM = Table(
    "seal_sum",
    METADATA,
    Column("tenant", String(64), primary_key=True),  # empty: of this table itself
    Column("name", String(64), primary_key=True),  # of the table
    Column("number", BigInteger, nullable=False),  # grows with each change
    Column("total", LargeBinary(32), nullable=False),  # masked
    Column("seal", LargeBinary(32), nullable=False),
)


def sealing_of(table: Table) -> Sealing:
    """How its rows are sealed. Raises KeyError for a table that has no seals."""
    found = table.c.seal.info[_KEY]
    assert isinstance(found, Sealing)
    return found


def covered(table: Table) -> tuple[str, ...]:
    """The columns that a row's seal covers, in order."""
    besides = sealing_of(table).besides
    return tuple(column.name for column in table.columns if column.name not in besides)


def sealed_tables() -> tuple[Table, ...]:
    """Every table of the house whose rows are sealed, owners before what belongs to them."""
    return tuple(table for table in METADATA.sorted_tables if "seal" in table.c and _KEY in table.c.seal.info)
