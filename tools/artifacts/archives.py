"""Archives and compressed files by several writers: zip, tar, 7z, and every codec that joblib and its users know."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.artifacts import Sample, file_of, stream_of

LIBRARIES = ("joblib", "numpy", "py7zr", "lz4", "zstandard")
FOLDER = "archives"
DAY = (2026, 1, 2, 3, 4, 6)


def members() -> dict[str, bytes]:
    """What is packed: honest files of a few kinds."""
    import numpy as np

    out = io.BytesIO()
    np.save(out, np.arange(200.0))
    config = json.dumps({"layers": 3, "name": "tiny"}).encode()
    return {"m/weights.npy": out.getvalue(), "m/model.pkl": pickle.dumps({"w": [1.0] * 40}, 4), "m/config.json": config}


def zips() -> Iterator[Sample]:
    """Python's zipfile with each method, streamed, with comments and folders, and nested."""
    files = members()
    methods = {"stored": 0, "deflated": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}
    for name, method in methods.items():
        yield f"zip-{name}", {"model.zip": zipped(files, method)}
    yield "zip-nested", {"model.zip": zipped({"inner.zip": zipped(files), **files})}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.comment = b"version 3\nby hand"
        archive.mkdir("m")
        for path, data in files.items():
            with archive.open(zipfile.ZipInfo(path, DAY), "w", force_zip64=True) as member:
                member.write(data)
        archive.writestr(zipfile.ZipInfo("m/größe.json", DAY), b"{}")
        archive.writestr(zipfile.ZipInfo("m/__init__.py", DAY), b"")
    yield "zip-comment-folders-zip64", {"model.zip": out.getvalue()}

    class Stream(io.RawIOBase):
        """Cannot seek, so that sizes stand behind the data."""

        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            """Yes."""
            return True

        def write(self, data: bytes) -> int:  # type: ignore[override]
            """Append."""
            self.data += bytes(data)
            return len(data)

    stream = Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(zipfile.ZipInfo(path, DAY), data)
    yield "zip-streamed", {"model.zip": stream.data}


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive by Python's zipfile."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for path, data in files.items():
            archive.writestr(zipfile.ZipInfo(path, DAY), data, method)
    return out.getvalue()


def tars() -> Iterator[Sample]:
    """Python's tarfile in each format, with long names, and compressed."""
    files = {**members(), "m/" + "long-name-" * 14 + ".json": b"{}"}
    for name, form in (("ustar", tarfile.USTAR_FORMAT), ("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT)):
        yield f"tar-{name}", {"model.tar": tarred(members() if name == "ustar" else files, form)}
    for mode in ("gz", "bz2", "xz"):
        yield f"tar-{mode}", {f"model.tar.{mode}": tarred(files, tarfile.PAX_FORMAT, mode)}


def tarred(files: dict[str, bytes], form: int, mode: str = "") -> bytes:
    """An archive by Python's tarfile."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{mode}", format=form) as archive:  # type: ignore[call-overload]
        for path, data in files.items():
            info = tarfile.TarInfo(f"./{path}")
            info.size, info.mtime = len(data), 1.5 if form == tarfile.PAX_FORMAT else 1
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


PROGRAMS = {
    "zip-infozip": ("model.zip", ["zip", "-q", "-X", "-r"]),
    "zip-infozip-unix": ("model.zip", ["zip", "-q", "-r"]),
    "zip-7zip": ("model.zip", ["7z", "a", "-bd", "-tzip"]),
    "zip-bsdtar": ("model.zip", ["bsdtar", "--format", "zip", "-cf"]),
    "tar-gnu-program": ("model.tar", ["tar", "--sort=name", "--owner=a:1", "--group=a:1", "-cf"]),
    "tar-bsdtar": ("model.tar", ["bsdtar", "--uname", "a", "--gname", "a", "-cf"]),
    "tar-bsdtar-pax": ("model.tar", ["bsdtar", "--uname", "a", "--gname", "a", "--format", "pax", "-cf"]),
    "7z-lzma2": ("model.7z", ["7z", "a", "-bd"]),
    "7z-lzma": ("model.7z", ["7z", "a", "-bd", "-m0=lzma"]),
    "7z-bzip2": ("model.7z", ["7z", "a", "-bd", "-m0=bzip2"]),
    "7z-deflate": ("model.7z", ["7z", "a", "-bd", "-m0=deflate"]),
    "7z-copy": ("model.7z", ["7z", "a", "-bd", "-m0=copy"]),
    "7z-bcj": ("model.7z", ["7z", "a", "-bd", "-m0=BCJ", "-m1=LZMA2"]),
    "7z-delta": ("model.7z", ["7z", "a", "-bd", "-m0=Delta:4", "-m1=LZMA2"]),
    "7z-not-solid": ("model.7z", ["7z", "a", "-bd", "-ms=off"]),
    "7z-plain-header": ("model.7z", ["7z", "a", "-bd", "-mhc=off"]),
}  # fmt: skip


def programs() -> Iterator[Sample]:
    """Archives by Info-ZIP, 7-Zip, GNU tar and bsdtar, where they are installed."""
    for name, (path, command) in PROGRAMS.items():
        if shutil.which(command[0]) is None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            for member, data in members().items():
                file = Path(folder, member)
                file.parent.mkdir(exist_ok=True)
                file.write_bytes(data)
            subprocess.run([*command, path, "m"], cwd=folder, check=True, capture_output=True)
            yield name, {path: Path(folder, path).read_bytes()}


def by_py7zr() -> Iterator[Sample]:
    """7z by py7zr."""
    import py7zr

    def pack(path: str) -> None:
        with py7zr.SevenZipFile(path, "w") as archive:
            for member, data in members().items():
                archive.writestr(data, member)

    yield "7z-py7zr", {"model.7z": file_of(pack, "model.7z")}


def compressed() -> Iterator[Sample]:
    """One pickle in each codec, in several streams, and one in another."""
    import lz4.frame
    import zstandard

    data = pickle.dumps({"w": list(range(300))}, 4)
    half = len(data) // 2
    zstd = zstandard.ZstdCompressor(write_checksum=True)
    codecs = {
        "gz": lambda part: gzip.compress(part, mtime=0),
        "bz2": bz2.compress,
        "xz": lzma.compress,
        "lz4": lz4.frame.compress,
        "zst": zstd.compress,
    }
    for suffix, compress in codecs.items():
        yield f"pickle-{suffix}", {f"model.pkl.{suffix}": compress(data)}
        yield f"pickle-two-streams-{suffix}", {f"model.pkl.{suffix}": compress(data[:half]) + compress(data[half:])}
    yield "pickle-lzma", {"model.pkl.lzma": lzma.compress(data, lzma.FORMAT_ALONE)}
    yield "pickle-zlib", {"model.pkl.z": zlib.compress(data)}
    yield "pickle-gz-in-xz", {"model.pkl.gz.xz": lzma.compress(gzip.compress(data, mtime=0))}
    streamed = zstandard.ZstdCompressor().compressobj()
    yield "pickle-zst-streamed", {"model.pkl.zst": streamed.compress(data) + streamed.flush()}


def joblibs() -> Iterator[Sample]:
    """Arrays by joblib with each codec."""
    import joblib
    import numpy as np

    value = {"w": np.arange(400.0).reshape(20, 20), "f": np.asfortranarray(np.ones((3, 4))), "names": ["a", "b"]}
    for codec in ("zlib", "gzip", "bz2", "xz", "lzma", "lz4"):
        yield f"joblib-{codec}", {"model.joblib": file_of(lambda path, c=codec: joblib.dump(value, path, (c, 3)), "m")}  # type: ignore[misc]
    yield "joblib-plain", {"model.joblib": stream_of(joblib.dump, value)}


def npz() -> Iterator[Sample]:
    """NumPy's archives, and several arrays in one file."""
    import numpy as np

    record = np.zeros(3, [("a", "<i4"), ("b", "S5"), ("c", "<f8", (2, 2)), ("d", "M8[ns]")])
    arrays: dict[str, Any] = {
        "w": np.ones((4, 5), "f4"),
        "record": record,
        "empty": np.zeros((0, 3)),
        "text": np.array(["a", "bcd"]),
    }
    yield "npz", {"w.npz": stream_of(np.savez, **arrays)}
    yield "npz-compressed", {"w.npz": stream_of(np.savez_compressed, **arrays)}
    yield "npy-several", {"w.npy": b"".join(stream_of(np.save, after=(array,)) for array in arrays.values())}
    yield "npy-objects", {"w.npy": stream_of(np.save, after=(np.array([1, "a", None], object),), allow_pickle=True)}


def torchserve() -> Iterator[Sample]:
    """A model archive, handmade to the specification: TorchServe's own handler, and a saved state."""
    manifest = {
        "createdOn": "02/01/2026 03:04:06", "runtime": "python", "archiverVersion": "0.12.0",
        "model": {"modelName": "tiny", "modelVersion": "1.0", "handler": "image_classifier", "serializedFile": "model.pkl"},
    }  # fmt: skip
    files = {"MAR-INF/MANIFEST.json": json.dumps(manifest).encode(), "model.pkl": members()["m/model.pkl"]}
    yield "torchserve", {"model.mar": zipped(files)}
    yield "torchserve-tgz", {"model.mar": tarred(files, tarfile.PAX_FORMAT, "gz")}


def samples() -> Iterator[Sample]:
    """All of them."""
    for family in (zips, tars, programs, by_py7zr, compressed, joblibs, npz, torchserve):
        yield from family()
