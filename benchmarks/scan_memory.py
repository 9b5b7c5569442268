"""How much memory a scan takes, for files that are made to exhaust it and for large honest ones.

Method: each file is scanned twice. `fastness scan` is what a user runs: the highest resident memory of any of its processes (the one that parses
is limited, and ended beyond its limit) is followed in /proc while it runs. `in process` is the scan alone, without that limit, in a process
that does nothing else. Interpreter, readers and their tables are part of both. The files are made here. A bomb must not pass; a large honest
file must.

Caveats: resident memory counts pages that processes share, so a sum over processes would count them twice; what is shown is the largest.
A process that lives for a millisecond or two may be missed. Exit status 1 if a target is missed.

    python benchmarks/scan_memory.py [--quick]
"""

from __future__ import annotations

import argparse
import bz2
import contextlib
import gzip
import io
import json
import lzma
import os
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

PEAK_MB, LIMIT_S = 150.0, 60.0
MB = 1 << 20
ZEROS = bytes(MB)
COMMAND = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); from fastness.interfaces.cli import main; main()"
Case = tuple[str, Callable[[Path], object], bool]


def squeezed(opened: Callable[[Path], object], megabytes: int) -> Callable[[Path], object]:
    """Zeros through a compressor that is opened like a file."""

    def make(path: Path) -> None:
        with opened(path) as file:  # type: ignore[attr-defined]
            for _ in range(megabytes):
                file.write(ZEROS)

    return make


def zipped(megabytes: int, depth: int = 0) -> Callable[[Path], object]:
    """A member of zeros, deflated, within `depth` archives."""

    def make(path: Path) -> None:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("data.pkl", "w") as member:
            for _ in range(megabytes):
                member.write(ZEROS)
        for _ in range(depth):
            outer = io.BytesIO()
            with zipfile.ZipFile(outer, "w", zipfile.ZIP_DEFLATED) as archive:
                for at in range(10):
                    archive.writestr(f"{at}.zip", out.getvalue())
            out = outer
        path.write_bytes(out.getvalue())

    return make


def wrote(data: bytes | Callable[[], bytes]) -> Callable[[Path], object]:
    """These bytes."""
    return lambda path: path.write_bytes(data if isinstance(data, bytes) else data())


def large(head: bytes, megabytes: int) -> Callable[[Path], object]:
    """A head, and a payload behind it that holds no zeros."""

    def make(path: Path) -> None:
        block = os.urandom(MB)
        with path.open("wb") as file:
            file.write(head)
            for _ in range(megabytes):
                file.write(block)

    return make


def safetensors_head(megabytes: int) -> bytes:
    """The head of one tensor of that size."""
    head = json.dumps({"w": {"dtype": "U8", "shape": [megabytes * MB], "data_offsets": [0, megabytes * MB]}}).encode()
    return struct.pack("<Q", len(head)) + head


def npy_head(megabytes: int) -> bytes:
    """The head of one array of that size."""
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({megabytes * MB},), }}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode()


def doubling() -> bytes:
    """A pickle of lists that hold each other ten times over, twelve deep."""
    return b"\x80\x04]\x94" + b"".join(b"(" + (b"h" + bytes([at])) * 10 + b"l\x94" for at in range(12)) + b"."


def many_members(count: int) -> Callable[[Path], object]:
    """A tar of many empty files."""

    def make(path: Path) -> None:
        with tarfile.open(path, "w") as archive:
            for at in range(count):
                archive.addfile(tarfile.TarInfo(f"{at}.json"))

    return make


def many_names(count: int) -> Callable[[Path], object]:
    """A zip of many empty files."""

    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for at in range(count):
                archive.writestr(f"archive/data/{at}", b"")

    return make


def many_arrays(count: int) -> Callable[[Path], object]:
    """An honest npz of many small arrays."""
    array = npy_head(0).replace(b"'shape': (0,)", b"'shape': (8,)") + bytes(8)

    def make(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            for at in range(count):
                archive.writestr(f"layer.{at // 100}.weight.{at % 100}.npy", array)

    return make


def many_tensors(count: int) -> bytes:
    """Honest safetensors of many small tensors."""
    described = {
        f"model.layers.{at // 1536}.experts.{at % 1536}.weight": {
            "dtype": "U8",
            "shape": [2, 4],
            "data_offsets": [8 * at, 8 * at + 8],
        }
        for at in range(count)
    }
    head = json.dumps(described).encode()
    return struct.pack("<Q", len(head)) + head + bytes(8 * count)


def cases(*, quick: bool) -> Iterator[Case]:
    """Name of the file, how it is made, and whether it is honest."""
    size = 300 if quick else 1000
    yield "gzip.pkl.gz", squeezed(lambda path: gzip.open(path, "wb"), size), False  # noqa: SIM115 - squeezed closes it
    yield "bz2.pkl.bz2", squeezed(lambda path: bz2.open(path, "wb"), 300), False  # noqa: SIM115 - squeezed closes it
    yield "xz.pkl.xz", squeezed(lambda path: lzma.open(path, "wb", preset=1), size), False  # noqa: SIM115 - squeezed closes it
    try:
        import zstandard

        yield "zstd.pkl.zst", squeezed(lambda path: zstandard.open(path, "wb"), size), False
    except ImportError:
        print("      zstd is left out: zstandard is not installed")
    yield "deflate.zip", zipped(size), False
    yield "nested.zip", zipped(50, 3), False
    yield "members.tar", many_members(60_000), False
    yield "names.zip", many_names(60_000), False
    yield "doubling.pkl", wrote(doubling()), False
    yield "deep.pkl", wrote(b"\x80\x04" + b"]" * 1_000_000 + b"a" * 999_999 + b"."), False
    yield "marks.pkl", wrote(b"\x80\x04" + b"(" * 3_000_000 + b"t" * 3_000_000 + b"."), False
    yield "memo.pkl", wrote(lambda: b"\x80\x04" + b"N\x94" * 5_000_000 + b"."), False
    yield "text.pkl", large(b"\x80\x04\x8d" + struct.pack("<Q", size * MB), size), False
    yield "line.pkl", wrote(lambda: b"I" + b"1" * (64 * MB)), False
    yield "numbers.pkl", wrote(lambda: b"\x80\x04]" + (b"(" + b"K\x01" * 1000 + b"e") * 10_000 + b"."), True
    yield "header.safetensors", wrote(lambda: struct.pack("<Q", 90 * MB) + b'{"a":' + b"[" * (90 * MB)), False
    yield "lengths.gguf", wrote(b"GGUF" + struct.pack("<IQQ", 3, 1 << 62, 1 << 62)), False
    yield "deep.json", wrote(lambda: b'{"a":' * 1_000_000), False
    yield "fields.onnx", wrote(lambda: b"\x08\x08" + b"\x10\x01" * 10_000_000), False
    yield "large.safetensors", large(safetensors_head(size), size), True
    yield "tensors.safetensors", wrote(lambda: many_tensors(90_000)), True
    yield "arrays.npz", many_arrays(30_000), True
    yield "large.npy", large(npy_head(size), size), True


def work(path: str) -> None:
    """Scan one file in this process, and print the outcome and the highest memory."""
    from fastness.models.scan import scan_paths

    outcomes = sorted({report.outcome.value for report in scan_paths([Path(path)])})
    print(
        json.dumps({"reports": [{"verdict": outcome} for outcome in outcomes], "peak_mb": high_water_mb(os.getpid())})
    )


def high_water_mb(pid: int) -> float:
    """The most that a process has held; 0 where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM:")), 0.0)


def descendants(pid: int) -> Iterator[int]:
    """The process and all that it started."""
    yield pid
    for file in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in file.read_text().split():
                yield from descendants(int(child))


def measured(command: list[str], path: Path) -> tuple[list[str], float, float]:
    """The outcomes, the highest memory in MB of any process, and the seconds of a scan."""
    began, peak = time.perf_counter(), 0.0
    out = path.with_name("out.json")
    with (
        out.open("wb") as file,
        subprocess.Popen([*command, str(path)], stdout=file, stderr=subprocess.DEVNULL) as process,
    ):
        while process.poll() is None and time.perf_counter() - began < 2 * LIMIT_S:
            peak = max([peak, *map(high_water_mb, descendants(process.pid))])
            time.sleep(0.002)
        process.kill()
    try:
        tree = json.loads(out.read_text())
    except ValueError:
        return ["crash"], peak, time.perf_counter() - began
    outcomes = sorted({report["verdict"] for report in tree["reports"]})
    return outcomes, max(peak, tree.get("peak_mb", 0.0)), time.perf_counter() - began


def main() -> None:
    """Print the figures; exit status 1 if one is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller bombs")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work(given.worker)
        return
    met, highest = True, 0.0
    with tempfile.TemporaryDirectory() as scratch:
        for name, make, honest in cases(quick=given.quick):
            path = Path(scratch, name)
            make(path)
            alone = measured([sys.executable, __file__, "--worker"], path)
            outcomes, peak, seconds = measured([sys.executable, "-c", COMMAND, "scan", "--format", "json"], path)
            right = (outcomes == ["pass"]) if honest else not {"pass", "crash"} & set(outcomes)
            fits = right and seconds <= LIMIT_S and peak <= PEAK_MB
            size = f"{path.stat().st_size / MB:8.1f} MB"
            shown = f"{'/'.join(outcomes):12} peak {peak:6.1f} MB {seconds:6.2f} s"
            bare = f"in process: {'/'.join(alone[0]):12} peak {alone[1]:6.1f} MB {alone[2]:6.2f} s"
            print(f"{'     ' if fits else 'MISS '} {name:20} {size}  {shown}   {bare}", flush=True)
            met, highest = met and fits, max(highest, peak)
            path.unlink()
    met = met and highest <= PEAK_MB
    print(f"{'PASS' if highest <= PEAK_MB else 'MISS'}  highest memory: {highest:.1f} MB, target <= {PEAK_MB:g} MB")
    sys.exit(not met)


if __name__ == "__main__":
    main()
