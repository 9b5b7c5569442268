"""NumPy's archives: a zip of array files; among them the sparse matrices of scipy.

A member that promises to be an array is read as one; numpy tries those that are none as pickles where it may, and so does
the scanner, by their content. The arrays of a matrix are held against each other, for scipy looks at the lengths alone.

Misses: nothing known.

Source: numpy 2.4, `numpy.lib._npyio_impl.NpzFile`; scipy 1.17, `sparse/_matrix_io.py` (`load_npz`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule
from fastness.models.scan.bounds import LeadsOut, NotFollowed, Numbers, compressed, coordinates, whole_numbers
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.facts import Fact, found
from fastness.models.scan.readers.npy import numbers_of
from fastness.models.scan.rules import INDEX, UNFOLLOWED

RULES: tuple[Rule, ...] = ()

_FORMAT = "format.npy"
_FORMATS = frozenset({"csr", "csc", "bsr", "coo", "dia"})


@dataclass(frozen=True)
class NpzLayout:
    """Knows that the members are arrays."""

    name: ClassVar[str] = "npz"
    suffixes: ClassVar[tuple[str, ...]] = (".npz",)

    def claims(self, bundle: Bundle) -> bool:
        """Where an archive holds nothing but arrays, by their names, or says which form of matrix it is."""
        return _FORMAT in bundle or (len(bundle) > 0 and all(path.endswith(".npy") for path in bundle))

    def reader(self, path: str, bundle: Bundle) -> str:
        """The reader of arrays."""
        del bundle
        return "npy" if path.endswith(".npy") else ""

    def read(self, bundle: Bundle, budget: Budget) -> Iterator[Fact | Finding]:
        """Where the arrays are a sparse matrix, what is wrong with its indices.

        Raises:
            TooLarge: the budget is spent.
        """
        if _FORMAT not in bundle:
            return
        try:
            _matrix(bundle, budget)
        except LeadsOut as error:
            yield found(INDEX, bundle.name, 0, str(error))
        except NotFollowed as error:
            yield found(UNFOLLOWED, bundle.name, 0, str(error))


def _matrix(bundle: Bundle, budget: Budget) -> None:
    """Hold the arrays of a matrix against each other; an archive that has a `format` of another kind is no matrix."""

    def array(name: str) -> Numbers:
        if f"{name}.npy" not in bundle:
            raise NotFollowed(f"a matrix has no {name}")
        return numbers_of(bundle.source(f"{name}.npy"), budget)

    form = _text(array("format"))
    if form not in _FORMATS:
        return
    shape, values = whole_numbers(array("shape")), array("data").shape
    if not 1 <= len(shape) <= 32 or any(length < 0 for length in shape):
        raise LeadsOut(f"a matrix has the shape {shape}")
    if form == "coo":
        axes = array("coords").rows() if "coords.npy" in bundle else [array("row"), array("col")]
        coordinates(axes, values[0] if values else 0, shape)
    elif form == "dia":
        if len(values) != 2 or array("offsets").shape != values[:1]:
            raise LeadsOut(f"a matrix has diagonals of {values}")
    else:
        _lines(form, (array("indptr"), array("indices")), values, shape)


def _lines(form: str, arrays: tuple[Numbers, Numbers], values: tuple[int, ...], shape: tuple[int, ...]) -> None:
    rows, columns = (1, *shape) if len(shape) == 1 else shape[:2]
    block = values[1:] if form == "bsr" else (1, 1)
    if not values or len(block) != 2 or not block[0] or not block[1] or rows % block[0] or columns % block[1]:
        raise LeadsOut(f"a matrix of {shape} has values of {values}")
    lines, width = rows // block[0], columns // block[1]
    compressed(*arrays, values[0], *((width, lines) if form == "csc" else (lines, width)))


def _text(array: Numbers) -> str:
    """The text of an array that holds one."""
    if array.dtype.kind not in "US" or array.count != 1 or array.dtype.itemsize > 1024:
        return ""
    text = next(array.windows())[0]
    return bytes(text).decode("latin-1") if array.dtype.kind == "S" else str(text)


LAYOUT = NpzLayout
