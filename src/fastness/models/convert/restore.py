"""Inside the sandbox: a pickle to objects, with nothing but reviewed globals.

The stream was scanned before; here its names are held against the same reviewed list once more, as they are looked up.
What a reviewed class does with a hostile state is the sandbox's to hold: no files, no network, no process.

Torch's archives are read without torch: its few rebuilding functions have stand-ins that make `Tensor` values.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle  # the one place where a stream is followed; see the module's first lines
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module

import numpy as np

Names = frozenset[tuple[str, str]]
MOST_BYTES = 2 << 30
_CODECS: tuple[tuple[bytes, Callable[[io.BytesIO], io.BufferedIOBase]], ...] = (
    (b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file)),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\x00", lzma.LZMAFile),
    (b"]\x00\x00", lzma.LZMAFile),
)


class Unrestorable(Exception):
    """The bytes cannot be made into objects here; the text says why."""


@dataclass(frozen=True)
class Tensor:
    """A tensor's elements in order, as safetensors wants them."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


@dataclass(frozen=True)
class _Storage:
    dtype: str
    width: int
    data: bytes


# Storage class or dtype of torch to the type's name in safetensors and the bytes of an element.
_TYPES = {
    "Double": ("F64", 8), "Float": ("F32", 4), "Half": ("F16", 2), "BFloat16": ("BF16", 2), "Long": ("I64", 8),
    "Int": ("I32", 4), "Short": ("I16", 2), "Char": ("I8", 1), "Byte": ("U8", 1), "Bool": ("BOOL", 1),
}  # fmt: skip
_NUMPY = {
    "float64": "F64", "float32": "F32", "float16": "F16", "int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8",
    "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip


def restore(data: bytes, allowed: Names) -> object:
    """The object in a pickle, a joblib file or a torch archive.

    Args:
        allowed: module and name of each global that it may look up.

    Raises:
        Unrestorable: it looks up another, or is none of these.
    """
    try:
        if data[:4] == b"PK\x03\x04":
            return _TorchArchive(data, allowed).load()
        return _restored(_inflated(data), allowed)
    except Unrestorable:
        raise
    except Exception as error:  # whatever a damaged or hostile stream makes the libraries raise
        raise Unrestorable(f"{type(error).__name__}: {error}") from error


def tensors_of(value: object, prefix: str = "") -> tuple[dict[str, Tensor], list[str]]:
    """The tensors in nested dicts, by dotted name, and the names of what is none.

    Raises:
        Unrestorable: two of them would have one name.
    """
    if isinstance(value, Mapping):
        found: dict[str, Tensor] = {}
        others: list[str] = []
        for key, inner in value.items():
            tensors, rest = tensors_of(inner, f"{prefix}.{key}" if prefix else str(key))
            if twice := found.keys() & tensors.keys():
                raise Unrestorable(f"two tensors would be called {min(twice)[:100]!a}")
            found |= tensors
            others += rest
        return found, others
    name = prefix or "array"
    if isinstance(value, Tensor):
        return {name: value}, []
    if isinstance(value, np.ndarray) and value.dtype.name in _NUMPY:
        ordered = np.ascontiguousarray(value.astype(value.dtype.newbyteorder("<"), copy=False))
        return {name: Tensor(_NUMPY[value.dtype.name], value.shape, ordered.tobytes())}, []
    return {}, [f"{name} ({type(value).__name__})"]


def _restored(data: bytes, allowed: Names) -> object:
    from joblib.numpy_pickle import NumpyUnpickler

    class Restricted(NumpyUnpickler):  # type: ignore[misc]  # joblib ships no types
        """joblib's own, which reads plain pickles too, with our names."""

        def find_class(self, module: str, name: str) -> object:
            return _reviewed(module, name, allowed)

    file = io.BytesIO(data)
    return Restricted("", file, ensure_native_byte_order=True).load()


def _reviewed(module: str, name: str, allowed: Names) -> object:
    if (module, name) not in allowed:
        raise Unrestorable(f"{module}.{name} is not among the reviewed names")
    return getattr(import_module(module), name)


def _inflated(data: bytes) -> bytes:
    for magic, opened in _CODECS:
        if data.startswith(magic):
            whole = opened(io.BytesIO(data)).read(MOST_BYTES + 1)
            break
    else:
        is_zlib = data[:1] == b"\x78" and int.from_bytes(data[:2], "big") % 31 == 0
        whole = zlib.decompressobj().decompress(data, MOST_BYTES + 1) if is_zlib else data
    if len(whole) > MOST_BYTES:
        raise Unrestorable("it is larger than 2 GiB when it is inflated")
    return whole


class _TorchArchive:
    """A file of `torch.save`."""

    def __init__(self, data: bytes, allowed: Names) -> None:
        self._zip = zipfile.ZipFile(io.BytesIO(data))
        self._allowed = allowed
        pickles = [name for name in self._zip.namelist() if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise Unrestorable("it is a zip archive, but not one of torch.save")
        self._pickle = pickles[0]
        self._folder = self._pickle.removesuffix("data.pkl")
        order = self._zip.namelist()
        if f"{self._folder}byteorder" in order and self._zip.read(f"{self._folder}byteorder") != b"little":
            raise Unrestorable("its numbers are big-endian")

    def load(self) -> object:
        """The object, its tensors as `Tensor`."""
        archive = self

        class Restricted(pickle.Unpickler):  # noqa: TID251 - reviewed names only, in the sandbox
            def find_class(self, module: str, name: str) -> object:
                return archive.find(module, name)

            def persistent_load(self, pid: object) -> object:
                return archive.storage(pid)

        return Restricted(io.BytesIO(self._zip.read(self._pickle))).load()

    def find(self, module: str, name: str) -> object:
        """Stand-ins for torch's own names; reviewed ones for the rest."""
        if module in {"torch", "torch.storage"} and name.removesuffix("Storage") in _TYPES:
            return name.removesuffix("Storage")
        if (module, name) in {("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_tensor")}:
            return _tensor
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _parameter
        if module == "torch" or module.startswith("torch."):
            raise Unrestorable(f"{module}.{name} is more than weights: save the model's state_dict()")
        return _reviewed(module, name, self._allowed)

    def storage(self, pid: object) -> _Storage:
        """The bytes that a persistent id names."""
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage" or pid[1] not in _TYPES:
            raise Unrestorable("it refers to something that is no storage")
        dtype, width = _TYPES[str(pid[1])]
        return _Storage(dtype, width, self._zip.read(f"{self._folder}data/{pid[2]}"))


def _tensor(storage: object, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: object) -> Tensor:
    if not isinstance(storage, _Storage):
        raise Unrestorable("a tensor without a storage")
    if any(isinstance(one, Mapping) and (one.get("neg") or one.get("conj")) for one in rest):
        raise Unrestorable("a tensor whose numbers are stored negated or conjugated")
    elements = np.frombuffer(storage.data, f"V{storage.width}")
    reach = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) if all(size) else 0
    if offset < 0 or any(step < 0 for step in stride) or reach >= max(1, len(elements)):
        raise Unrestorable("a tensor reaches beyond its storage")
    steps = tuple(step * storage.width for step in stride)
    view = np.lib.stride_tricks.as_strided(elements[offset:], size, steps, writeable=False)
    return Tensor(storage.dtype, tuple(size), view.tobytes())


def _parameter(tensor: object, *_: object) -> object:
    return tensor
