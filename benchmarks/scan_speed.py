"""How long a scan takes: small files in a running process, large ones against plain SHA-256 in the same run.

Method: small files are those of tests/data, each scanned once to warm up and then timed in turns by the process's own CPU clock; the figure is
the median over files of their medians. The large files are made here, a torch archive of 314 MB and 1 GB of safetensors, filled with bytes that do not
compress, and lie in the page cache. Three things take turns over them: the
scan alone in this process, the scan with the digest in a process of its own (as `fastness scan` does it), and plain hashlib over the same file.
The scan alone is rated by CPU time and keeps freed pages as the process that scans does; the other two by wall clock, for they use two
processors. Each is the best of its rounds, for noise only adds.

Caveats: on a busy or a virtual machine wall time is noisy, and the digest runs beside the scan on another processor where there is one: trust
the ratio within this run. A cold disk is slower than all of it. Peers are timed by CPU on the torch archive where --environments holds
what benchmarks/scan_accuracy.py installed. Exit status 1 if a target is missed.

    python benchmarks/scan_speed.py [--quick] [--environments DIR]
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from fastness.core.sources import FileSource  # noqa: E402 - the path comes first
from fastness.models.scan import Outcome, Scanner, pool, scan  # noqa: E402

SMALL_MS, SCAN_GB_S, WITH_HASH = 3.0, 1.0, 0.9
MB = 1_000_000
PEERS = ("picklescan", "modelscan", "fickling", "safeloadai", "modelaudit")


# ---------------------------------------------------------------- files
def text(value: str) -> bytes:
    """A short text of a pickle."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def tensor(key: int, count: int) -> bytes:
    """One tensor as torch pickles it: a storage by its persistent id, and how it is seen."""
    number = b"J" + struct.pack("<i", count)
    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(str(key)) + text("cpu") + number + b"tQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0" + number + b"\x85K\1\x85\x89" + hooks + b"tR"


def torch_archive(path: Path, megabytes: int) -> None:
    """A state dict of tensors of 2 MB."""
    block = os.urandom(2 * MB)
    count = megabytes // 2
    body = b"".join(text(f"layer.{at}.weight") + tensor(at, len(block) // 4) for at in range(count))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}(" + body + b"u.")
        archive.writestr("archive/byteorder", "little")
        for at in range(count):
            archive.writestr(f"archive/data/{at}", block)
        archive.writestr("archive/version", "3\n")


def safetensors(path: Path, megabytes: int) -> None:
    """Tensors of 4 MB, one behind the other."""
    block = os.urandom(4 * MB)
    count = megabytes // 4
    header = {
        f"layer.{at}.weight": {"dtype": "F32", "shape": [len(block) // 4], "data_offsets": [at * len(block), (at + 1) * len(block)]}
        for at in range(count)
    }  # fmt: skip
    head = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(head)) + head)
        for _ in range(count):
            file.write(block)


# ---------------------------------------------------------------- measures
def scanned(path: Path) -> Outcome:
    """The scan of one file in this process, without its digest."""
    with FileSource(path, str(path)) as source:
        return scan(source).outcome


def small_files(rounds: int) -> float:
    """Print the medians of the families of small files; the median over all, in CPU milliseconds."""
    every: list[float] = []
    for family in sorted(path for path in (ROOT / "tests" / "data" / "artifacts").iterdir() if path.is_dir()):
        files = [path for path in sorted(family.rglob("*")) if path.is_file() and path.name != "SOURCES.md"]
        medians = []
        for path in files:
            scanned(path)
            taken = []
            for _ in range(rounds):
                began = time.process_time_ns()
                scanned(path)
                taken.append(time.process_time_ns() - began)
            medians.append(statistics.median(taken) / 1e6)
        if medians:
            every += medians
            slowest = max(medians)
            print(
                f"      {family.name:16} {len(medians):4d} files  median {statistics.median(medians):6.2f} ms   slowest {slowest:7.2f} ms"
            )
    return statistics.median(every)


def best_s(turns: dict[str, tuple[Callable[[], float], Callable[[], object]]], rounds: int) -> dict[str, float]:
    """Seconds of each by its clock, the best of the rounds; they take turns."""
    found = dict.fromkeys(turns, float("inf"))
    for _ in range(rounds):
        for name, (clock, call) in turns.items():
            began = clock()
            call()
            found[name] = min(found[name], clock() - began)
    return found


def keep_pages() -> None:
    """Let malloc keep what is freed, as the process that scans does (see models/scan/child.py)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for option in (-3, -1):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
            libc.mallopt(option, 32 << 20)


def plain_hash(path: Path) -> str:
    """SHA-256 of a file, as fast as hashlib makes it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def large_file(path: Path, bench: pool.Bench, rounds: int) -> bool:
    """Print the rates of one file and judge them; whether the targets are met."""

    def with_hash() -> None:
        seen = pool.scan_file(bench, pool.Work(path, path.name), None)
        if seen.report is None or seen.report.outcome is not Outcome.PASS:
            raise SystemExit(f"{path.name} did not pass: {seen.report}")

    def alone() -> None:
        if scanned(path) is not Outcome.PASS:
            raise SystemExit(f"{path.name} did not pass")

    wall, cpu = time.perf_counter, time.process_time
    turns: dict[str, tuple[Callable[[], float], Callable[[], object]]]
    turns = {"hash": (wall, lambda: plain_hash(path)), "both": (wall, with_hash), "scan (CPU)": (cpu, alone)}
    seconds = best_s(turns, rounds)
    size = path.stat().st_size / 1e9
    print(
        f"      {path.name}: {size:.2f} GB; "
        + ", ".join(f"{name} {value * 1000:.1f} ms" for name, value in seconds.items())
    )
    met = told(f"{path.name}, scan alone", size / seconds["scan (CPU)"], SCAN_GB_S, "GB/s", least=True)
    return (
        told(
            f"{path.name}, with the digest, of plain SHA-256",
            seconds["hash"] / seconds["both"],
            WITH_HASH,
            "x",
            least=True,
        )
        and met
    )


def peers(path: Path, folder: Path) -> None:
    """Print what the other scanners take for the same file, in a warm process, by CPU."""
    for name in PEERS:
        python = folder / name / "bin" / "python"
        if not python.exists():
            continue
        with tempfile.TemporaryDirectory() as scratch:
            jobs, out = Path(scratch, "jobs.json"), Path(scratch, "out.jsonl")
            small = next((ROOT / "tests" / "data" / "artifacts" / "sklearn").rglob("*.pkl"))
            jobs.write_text(json.dumps([("warm", str(small)), ("large", str(path))]))
            worker = [str(python), str(ROOT / "benchmarks" / "scan_accuracy.py"), "--worker", name, str(jobs), str(out)]
            subprocess.run(worker, cwd=scratch, check=False, capture_output=True)
            for line in out.read_text().splitlines() if out.exists() else ():
                key, outcome, why, cpu, peak = json.loads(line)
                if key == "large":
                    print(f"      {path.name} by {name:12} {1000 * cpu:8.1f} ms CPU, peak {peak} MB: {outcome} {why}")


def told(name: str, seen: float, target: float, unit: str, *, least: bool) -> bool:
    """Print one figure against its target."""
    met = seen >= target if least else seen <= target
    print(f"{'PASS' if met else 'MISS'}  {name}: {seen:.2f} {unit}, target {'>=' if least else '<='} {target:g} {unit}")
    return met


def main() -> None:
    """Print the figures; exit status 1 if one is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument(
        "--environments", type=Path, default=ROOT / "build" / "scanners", help="where peers are installed"
    )
    given = parser.parse_args()
    keep_pages()
    met = told("CPU of a small file, median", small_files(3 if given.quick else 9), SMALL_MS, "ms", least=False)
    with tempfile.TemporaryDirectory() as scratch, Scanner() as scanner:
        print(f"      scans with the digest run in: {scanner.isolation()}")
        bench = pool.Bench(scanner)
        files = [
            (Path(scratch, "model.pt"), torch_archive, 314),
            (Path(scratch, "model.safetensors"), safetensors, 1000),
        ]
        for path, make, megabytes in files:
            make(path, megabytes)
            with FileSource(path) as source:
                for _ in source.chunks():  # into the page cache
                    pass
            met &= large_file(path, bench, 3 if given.quick else 7)
        peers(files[0][0], given.environments)
    sys.exit(not met)


if __name__ == "__main__":
    main()
