"""HDF5 files as h5py writes them, in the structures of every version of the format that it can be asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tools.artifacts import Sample, file_of

FOLDER = "hdf5"
LIBRARIES = ("h5py",)


def samples() -> Iterator[Sample]:
    """Groups, attributes and datasets of all layouts; links; a block of the user's own in front."""
    for version in ("earliest", "v108", "latest"):
        options = {"libver": version, "track_order": version == "latest"}
        yield _written(f"values-{version}", _values, options)
        yield _written(f"chunks-{version}", _chunks, options)
        yield _written(f"groups-{version}", _groups, options)
    yield _written("userblock", _holes, {"userblock_size": 512})
    yield _written("pages", _holes, {"fs_strategy": "page", "fs_page_size": 512})
    yield _written("free-space", _holes, {"fs_strategy": "fsm", "fs_persist": True, "fs_threshold": 1})


def _written(name: str, fill: Callable[[Any], None], options: dict[str, Any]) -> Sample:
    import h5py

    def save(path: str) -> None:
        with h5py.File(path, "w", **options) as file:
            fill(file)

    return name, {f"{name}.h5": file_of(save, f"{name}.h5")}


def _holes(file: Any) -> None:
    _values(file)
    del file["whole"]


def _values(file: Any) -> None:
    import h5py
    import numpy as np

    file.attrs["text"] = "{}"
    file.attrs["names"] = ["x", "yy"]
    file.attrs["none"] = h5py.Empty("f4")
    whole = file.create_dataset("whole", data=np.arange(12.0).reshape(3, 4))
    file.create_dataset("texts", data=np.array([b"a", b"bc"], object), dtype=h5py.string_dtype())
    file.create_dataset("lists", (2,), h5py.vlen_dtype("i4"))[0] = [1, 2, 3]
    file.create_dataset("record", data=np.zeros(2, [("a", "i4"), ("b", "S3"), ("c", "f8", (2,))]))
    file.create_dataset("enum", data=np.zeros(2, "i1"), dtype=h5py.enum_dtype({"no": 0, "yes": 1}))
    file.create_dataset("opaque", data=np.zeros(2, "V4"))
    file.create_dataset("complex", data=np.zeros(2, "c8"))
    file.create_dataset("flags", data=np.zeros(2, bool))
    file.create_dataset("scalar", data=3)
    file.create_dataset("empty", shape=(0, 3), dtype="f4")
    file["type"] = np.dtype("f4")
    file.create_dataset("typed", (2,), dtype=file["type"])
    whole.attrs["reference"] = file["record"].ref


def _chunks(file: Any) -> None:
    import numpy as np

    file.create_dataset(
        "packed",
        data=np.arange(512, dtype="f4").reshape(64, 8),
        chunks=(16, 8),
        compression="gzip",
        shuffle=True,
        fletcher32=True,
    )
    file.create_dataset("bytes", data=np.zeros(300, "u1"), chunks=(100,), compression="gzip")
    file.create_dataset("lzf", data=np.zeros(300, "i4"), chunks=(100,), compression="lzf")
    file.create_dataset("one", data=np.zeros(8, "i2"), chunks=(8,))
    file.create_dataset("one-packed", data=np.zeros(8, "i2"), chunks=(8,), compression="gzip")
    file.create_dataset("fixed", data=np.zeros((6, 6), "i1"), chunks=(2, 2), maxshape=(6, 12))
    file.create_dataset("grows", data=np.zeros(120, "i2"), chunks=(4,), maxshape=(None,))
    file.create_dataset("grows-both", data=np.zeros((9, 9), "i2"), chunks=(4, 4), maxshape=(None, None))
    file.create_dataset("unwritten", (100,), "f4", chunks=(10,))


def _groups(file: Any) -> None:
    import h5py
    import numpy as np

    for number in range(24):
        file.create_dataset(f"w{number}", data=np.int8(number))
    for number in range(10):
        file.attrs[f"a{number}"] = number
    file["soft"] = h5py.SoftLink("/w1")
    file["again"] = file["w2"]
    inner = file.create_group("inner/inner")
    inner.attrs["long"] = np.zeros(200)
    del file["w3"]
