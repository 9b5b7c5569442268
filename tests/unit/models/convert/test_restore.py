"""What the guest restores, and what it refuses; the same code runs in the sandbox, where a mistake of it is held."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable

import joblib
import numpy as np
import pytest

from fastness.models.convert.restore import Tensor, Unrestorable, restore, tensors_of
from fastness.models.scan import reviewed_globals
from tests.unit.models.scan.artifacts import EVIL

ALLOWED = reviewed_globals()
ARRAYS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array([True, False])}


def torch_archive(body: bytes, storages: dict[str, bytes], **members: bytes) -> bytes:
    """A zip archive as `torch.save` writes it, around the instructions of its pickle."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + body + b".")
        for name, data in storages.items():
            archive.writestr(f"archive/data/{name}", data)
        for name, data in members.items():
            archive.writestr(f"archive/{name}", data)
    return made.getvalue()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def numbers(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


def storage(kind: str, key: str, count: int) -> bytes:
    return (
        b"(" + text("storage") + f"ctorch\n{kind}Storage\n".encode() + text(key) + text("cpu") + number(count) + b"tQ"
    )


def tensor(source: bytes, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + source + number(offset) + numbers(*size) + numbers(*stride)
    return call + b"\x89ccollections\nOrderedDict\n)RtR"


def state(**tensors: bytes) -> bytes:
    return b"}(" + b"".join(text(name) + made for name, made in tensors.items()) + b"u"


FLOATS = np.arange(12, dtype="<f4").tobytes()


def test_weights_of_a_torch_archive_are_read_without_torch() -> None:
    body = state(
        whole=tensor(storage("Float", "0", 12), 0, (3, 4), (4, 1)),
        turned=tensor(storage("Float", "0", 12), 0, (4, 3), (1, 4)),
        part=tensor(storage("Float", "0", 12), 5, (2,), (3,)),
        brain=tensor(storage("BFloat16", "1", 2), 0, (2,), (1,)),
        none=tensor(storage("Float", "0", 12), 12, (0, 4), (4, 1)),
    )
    found, others = tensors_of(restore(torch_archive(body, {"0": FLOATS, "1": b"\x80\x3f\x00\x40"}), ALLOWED))
    whole = np.arange(12, dtype="<f4").reshape(3, 4)
    assert others == []
    assert found["whole"] == Tensor("F32", (3, 4), whole.tobytes())
    assert found["turned"] == Tensor("F32", (4, 3), np.ascontiguousarray(whole.T).tobytes())
    assert found["part"] == Tensor("F32", (2,), np.array([5, 8], "<f4").tobytes())
    assert found["brain"] == Tensor("BF16", (2,), b"\x80\x3f\x00\x40")
    assert found["none"] == Tensor("F32", (0, 4), b"")


HOSTILE_TORCH = {
    "beyond its storage": state(w=tensor(storage("Float", "0", 12), 0, (13,), (1,))),
    "beyond it by its steps": state(w=tensor(storage("Float", "0", 12), 0, (2, 2), (1, 12))),
    "before it": state(w=tensor(storage("Float", "0", 12), -1, (2,), (1,))),
    "backwards": state(w=tensor(storage("Float", "0", 12), 5, (2,), (-1,))),
    "of a storage that is not there": state(w=tensor(storage("Float", "7", 12), 0, (2,), (1,))),
    "of an unknown type": state(w=tensor(storage("Odd", "0", 12), 0, (2,), (1,))),
    "a path as the storage's key": state(w=tensor(storage("Float", "../version", 1), 0, (1,), (1,))),
    "a module of torch": b"ctorch.nn.modules.linear\nLinear\n)\x81",
    "a call of something else": b"cposix\nsystem\n" + text("true") + b"\x85R",
    "a persistent id of another kind": b"(" + text("module") + text("x") + b"tQ",
    "a storage that is none": state(
        w=b"ctorch._utils\n_rebuild_tensor_v2\n(N" + number(0) + numbers(1) + numbers(1) + b"tR"
    ),
}


@pytest.mark.parametrize("body", HOSTILE_TORCH.values(), ids=HOSTILE_TORCH)
def test_a_hostile_torch_archive_is_refused(body: bytes) -> None:
    with pytest.raises(Unrestorable):
        restore(torch_archive(body, {"0": FLOATS}, byteorder=b"little"), ALLOWED)


def test_big_endian_numbers_are_refused() -> None:
    body = state(w=tensor(storage("Float", "0", 12), 0, (12,), (1,)))
    with pytest.raises(Unrestorable, match="big-endian"):
        restore(torch_archive(body, {"0": FLOATS}, byteorder=b"big"), ALLOWED)


def _joblib(compress: object) -> bytes:
    made = io.BytesIO()
    joblib.dump(ARRAYS, made, compress=compress)
    return made.getvalue()


HONEST: dict[str, bytes] = {
    **{f"protocol {n}": pickle.dumps(ARRAYS, n) for n in range(2, 6)},
    "joblib": _joblib(0),
    **{f"joblib, {codec}": _joblib((codec, 3)) for codec in ("zlib", "gzip", "bz2", "xz", "lzma")},
    "gzip around it": gzip.compress(pickle.dumps(ARRAYS)),
}


@pytest.mark.parametrize("data", HONEST.values(), ids=HONEST)
def test_arrays_come_back_from_each_form(data: bytes) -> None:
    found, _ = tensors_of(restore(data, ALLOWED))
    assert found == {
        "w": Tensor("F32", (2, 3), ARRAYS["w"].tobytes()),
        "b": Tensor("BOOL", (2,), ARRAYS["b"].tobytes()),
    }


WRAPS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zlib": zlib.compress,
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
def test_a_name_that_is_not_reviewed_is_never_looked_up(wrap: Callable[[bytes], bytes]) -> None:
    with pytest.raises(Unrestorable, match="not among the reviewed names"):
        restore(wrap(EVIL), ALLOWED)


def test_names_with_dots_and_names_by_another_module_are_not_reviewed() -> None:
    for module, name in (("numpy", "core.os.system"), ("joblib.numpy_pickle", "os.system"), ("builtins", "eval")):
        stream = b"\x80\x04\x8c" + bytes([len(module)]) + module.encode() + b"\x8c" + bytes([len(name)]) + name.encode()
        with pytest.raises(Unrestorable):
            restore(stream + b"\x93.", ALLOWED)


@pytest.mark.parametrize("data", [b"", b"\x80", b"PK\x03\x04", b"\x1f\x8b\x08", b"x" * 100], ids=repr)
def test_what_is_no_model_is_refused(data: bytes) -> None:
    with pytest.raises(Unrestorable):
        restore(data, ALLOWED)


def test_what_is_no_tensor_is_named_and_left_out() -> None:
    found, others = tensors_of({"a": {"w": np.zeros(2, ">f8")}, "epoch": 3, "names": ["x"]})
    assert found == {"a.w": Tensor("F64", (2,), bytes(16))}
    assert others == ["epoch (int)", "names (list)"]
