"""What torch's loaders make of the persistent ids in their pickles: storages of numbers, and the source of a class.

Every other id is the loading program's own affair. Three forms are written: by zip archives, by the single files before
them, and by the tar archives before those.

Source: torch 2.9, `torch/serialization.py` (`_save`, `_legacy_save`, `_legacy_load`, `_load`) and
`torch/csrc/jit/serialization/pickler.cpp` (`pushStorageOfTensor`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fastness.models.scan.machine.values import Global, Items, Made, Standing, Text

MAKER = "torch.storage"
"""What the reviewed data calls the maker of a storage: `made:torch.storage`."""

_WIDTHS = {
    "Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1, "Bool": 1,
    "ComplexDouble": 16, "ComplexFloat": 8, "QUInt8": 1, "QInt8": 1, "QInt32": 4, "QUInt4x2": 1, "QUInt2x4": 1,
    "Untyped": 1, "_Untyped": 1, "Typed": 0, "_Typed": 0,
}  # fmt: skip
_STORAGE = re.compile(r"([A-Za-z0-9_]+)Storage")
_MODULES = frozenset({"torch", "torch.storage", "torch.cuda"})
_DTYPE = re.compile(r"(?:float|bfloat|int|uint|complex|qint|quint|bool|bits|half|double|long|short)[0-9a-z_]{0,24}")
_BITS = re.compile(r"(?:float|bfloat|int|uint|complex)(\d{1,3})(?:_e\w+)?")
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,80}")
_PLACE = re.compile(r"[A-Za-z0-9_]{1,32}(?::\d{1,4})?")
_OWN_ID = re.compile(r"[0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class Storage:
    """A row of numbers that stands elsewhere in the same file or archive.

    Attributes:
        key: by which the loader finds it; in a zip archive, the file `data/KEY` beside the pickle.
        type: path of the storage class or element type.
        width: bytes an element, 0 where the type does not say.
        count: how many elements.
        place: the device it stood on.
        offset: of the instruction that asks for it.
    """

    key: str
    type: str
    width: int
    count: int
    place: str
    offset: int


@dataclass(frozen=True, slots=True)
class Source:
    """The class of a module, beside which the pickle keeps the text of its source for comparison."""

    value: Global


def of_torch(pid: object, offset: int) -> Storage | Source | None:
    """What torch's loaders understand an id as; None where they would fail, or ask something else."""
    if isinstance(pid, str):
        return Storage(pid, "", 0, 0, "", offset) if _OWN_ID.fullmatch(pid) else None
    if type(pid) is int:
        return Storage(str(pid), "", 0, 0, "", offset) if pid >= 0 else None
    if not isinstance(pid, Items) or pid.kind != "tuple" or pid.count != len(pid.kept) or not pid.kept:
        return None
    parts = pid.kept
    if parts[0] == "storage":
        return _storage(parts, offset)
    return _source(parts[1:] if parts[0] == "module" else parts)


def made(storage: Storage) -> Made:
    """The abstract value of a storage."""
    return Made(MAKER, Standing.REVIEWED, storage)


def reaches_beyond(args: object) -> bool:
    """Whether a tensor that is rebuilt by (storage, offset, size, stride, ...) is larger than its storage.

    The loader would make the storage as large as the tensor says, whatever stands in the file.
    """
    if not isinstance(args, Items) or len(args.kept) < 4:
        return False
    storage, offset, size, stride = args.kept[:4]
    known = storage.args if isinstance(storage, Made) else None
    if not isinstance(known, Storage) or not known.width:
        return False
    last, lengths, steps = _whole(offset), _wholes(size), _wholes(stride)
    if last is None or lengths is None or steps is None or len(lengths) != len(steps):
        return True
    last += sum((length - 1) * step for length, step in zip(lengths, steps, strict=True))
    return 0 not in lengths and last >= known.count


def _whole(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 1 << 62 else None


def _wholes(values: object) -> list[int] | None:
    if not isinstance(values, Items):
        return None
    found = [one for one in map(_whole, values.kept) if one is not None]
    return found if len(found) == values.count else None


def _storage(parts: Sequence[object], offset: int) -> Storage | None:
    if len(parts) not in {5, 6} or (len(parts) == 6 and not _is_view(parts[5])):
        return None
    kind, key, place, count = parts[1], _key(parts[2]), parts[3], parts[4]
    if not isinstance(kind, Global) or (width := _width(kind)) is None:
        return None
    if key is None or not isinstance(place, str):
        return None
    if _PLACE.fullmatch(place) is None or type(count) is not int or not 0 <= count < 1 << 62:
        return None
    return Storage(key, kind.path, width, count, place, offset)


def _key(value: object) -> str | None:
    """The key of a storage, which is a number in packages: the file is `.data/KEY.storage`."""
    if type(value) is int:
        return str(value) if value >= 0 else None
    return value if isinstance(value, str) and _KEY.fullmatch(value) else None


def width_of(path: str) -> int:
    """Bytes an element of a storage class or element type, by its path; 0 where that does not say."""
    module, _, name = path.rpartition(".")
    return _width(Global(module, name, Standing.UNKNOWN)) or 0


def _is_view(value: object) -> bool:
    """Whether it is what `_legacy_save` says of a storage that is a part of another one."""
    if value is None:
        return True
    if not isinstance(value, Items) or value.kind != "tuple" or value.count != 3:
        return False
    key, start, length = value.kept
    return isinstance(key, str) and type(start) is int and type(length) is int and start >= 0 and length >= 0


def _source(parts: Sequence[object]) -> Source | None:
    if len(parts) != 3 or not isinstance(parts[0], Global):
        return None
    written = all(part is None or isinstance(part, str | Text) for part in parts[1:])
    return Source(parts[0]) if written else None


def _width(kind: Global) -> int | None:
    """Bytes an element, 0 where the name does not say; None where it is neither a storage class nor an element type."""
    storage = _STORAGE.fullmatch(kind.name)
    if storage is not None and kind.module in _MODULES:
        return _WIDTHS.get(storage[1])
    if kind.module != "torch" or _DTYPE.fullmatch(kind.name) is None:
        return None
    bits = _BITS.fullmatch(kind.name)
    return int(bits[1]) // 8 if bits else 0
