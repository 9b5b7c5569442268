"""The pickles within torch's files: as any pickle, but that their persistent ids name the storages of tensors.

Only a layout, or the reader of torch's older files, says that a file is one. Where the storages stand, and whether they
are long enough, is for those to find.

Cost: linear in the instructions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.bounds import LeadsOut, NotFollowed
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import Look, Told, found
from fastness.models.scan.machine import SPARSE_NAME, Dialect, Find, Trace, check_sparse
from fastness.models.scan.readers.pickles import TORCH, streams
from fastness.models.scan.rules import INDEX, PICKLE_MAPS, UNFOLLOWED

CONFLICT = Rule(
    "torch-storage-conflict", "One storage under two descriptions", Severity.HIGH,
    "The loader keeps the first description of a storage, so that another tool sees other numbers than the program.",
    "No honest library writes this. Save the model again as safetensors.", PICKLE_MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (CONFLICT,)

_WINDOW = 1 << 20


@dataclass(frozen=True)
class TorchPickleReader:
    """Reads what torch pickles."""

    name: ClassVar[str] = TORCH
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, look: Look) -> bool:
        """Never by itself."""
        del look
        return False

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The globals, calls, changes and storages of every stream.

        Raises:
            TooLarge: the budget is spent.
        """
        for item in streams(source, budget, Dialect.TORCH):
            if not isinstance(item, Trace):
                yield item
                continue
            for key, offset in item.conflicts:
                yield found(CONFLICT, source.name, offset, f"storage {key!a} has two types or lengths")
            if item.sparse and not names_sparse(source):  # the layout, which knows the storages, looks at the others
                yield found(UNFOLLOWED, source.name, item.sparse[0][0], "a sparse tensor is made under a hidden name")


def sparse_problems(name: str, offset: int, args: object, find: Find, budget: Budget) -> Iterator[Finding]:
    """What is wrong with the indices of one sparse tensor.

    Args:
        find: where the bytes of a storage stand.

    Raises:
        TooLarge: the budget is spent.
    """
    try:
        check_sparse(args, find, budget)
    except LeadsOut as error:
        yield found(INDEX, name, offset, str(error))
    except NotFollowed as error:
        yield found(UNFOLLOWED, name, offset, str(error))


def names_sparse(source: RandomAccess) -> bool:
    """Whether the name of what makes sparse tensors stands in a pickle."""
    held = b""
    for at in range(0, source.size, _WINDOW):
        held = held[-len(SPARSE_NAME) :] + source.read_at(at, _WINDOW)
        if SPARSE_NAME in held:
            return True
    return False


READER = TorchPickleReader
