"""The ledger against its own bounds: group commit, integration, checkpoints, proofs.

Method: group commit is compared with one caller committing alone, both through SqliteRecords with synchronous=FULL, in
the same run on the same disk; then again with 4 ms of sleep added to each commit (as on a disk of 250 syncs a second;
the sleep lets other threads run, as a sync does). Rates of integration are per CPU second of this process.

Caveats: 128 Python threads share one interpreter lock, so on a fast disk the callers and not the disk are the limit,
and other load on the machine shows; a virtual disk may acknowledge syncs that a power cut would lose. Each event has
about 300 bytes. Ratios are of this run only.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fastness.core.clock import SystemClock, system_entropy
from fastness.core.events import EventKind
from fastness.core.identity import SYSTEM_SCOPE
from fastness.foundation.ledger import Ledger, Sequencer, verify_inclusion, verify_log
from fastness.foundation.ledger.sequencer import _Growing
from fastness.foundation.storage import SqliteRecords

CALLERS = 128
SLOW_S = 0.004
FAST_DISK = 2000  # syncs a second from which a disk counts as fast
CLOCK = SystemClock()


class Ed25519Signer:
    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        self.public_raw = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data)


def verdict(name: str, value: float, target: float, unit: str, *, most: bool = False) -> None:
    good = value <= target if most else value >= target
    print(f"{'PASS' if good else 'MISS'}  {name}: {value:,.3g} {unit} (target {'<=' if most else '>='} {target:,g})")


def syncs_a_second(folder: Path, seconds: float) -> float:
    with (folder / "syncs").open("ab", buffering=0) as file:
        count, start = 0, time.perf_counter()
        while (passed := time.perf_counter() - start) < seconds:
            file.write(b"x" * 300)
            os.fdatasync(file.fileno())
            count += 1
    return count / passed


def commit_rate(path: Path, callers: int, seconds: float, added_s: float = 0.0) -> tuple[float, float, float]:
    """Durable rows a second, and the median and 99th percentile of what a caller waits, in ms."""
    records = SqliteRecords(path, system_entropy)
    records.create_all()
    if added_s:
        commit = records._writer.commit

        def slow(rows: Sequence[object]) -> None:
            commit(rows)  # type: ignore[arg-type]
            time.sleep(added_s)

        records._writer.commit = slow  # type: ignore[method-assign, assignment]
    waits: list[list[float]] = [[] for _ in range(callers)]
    end = time.perf_counter() + seconds

    def work(mine: list[float]) -> None:
        while (start := time.perf_counter()) < end:
            with records.begin(SYSTEM_SCOPE, CLOCK.now()) as tx:
                tx.emit(tx.events.make(EventKind.MODEL_PUSHED, "model:digits", details={"request": "x" * 100}))
            mine.append(time.perf_counter() - start)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in waits]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - start
    every = sorted(wait for mine in waits for wait in mine)
    records.outbox.number(None, 0, CLOCK.now())
    pending = len(every)
    while records.outbox.span(0)[1] < pending:
        records.outbox.number(None, 0, CLOCK.now())
    if records.outbox.span(0) != (pending, pending):
        raise SystemExit("rows were lost")
    records.close()
    return len(every) / wall, statistics.median(every) * 1e3, every[int(len(every) * 0.99)] * 1e3


def group_commit(folder: Path, seconds: float) -> None:
    disk = syncs_a_second(folder, seconds / 4)
    print(f"disk: {disk:,.0f} fdatasync a second ({'fast' if disk > FAST_DISK else 'slow'})")
    rates: dict[bool, tuple[float, float]] = {}
    for added in (0.0, SLOW_S):
        alone, median, last = commit_rate(folder / f"alone{added}.db", 1, seconds, added)
        title = f"+{added * 1e3:g} ms in each commit" if added else "disk as it is"
        print(f"{title}: 1 caller   {alone:>9,.0f} durable rows/s, p50 {median:.2f} ms, p99 {last:.2f} ms")
        group, median, last = commit_rate(folder / f"group{added}.db", CALLERS, seconds, added)
        print(f"{title}: {CALLERS} callers {group:>7,.0f} durable rows/s, p50 {median:.2f} ms, p99 {last:.2f} ms")
        print(f"{title}: ratio {group / alone:.1f}")
        rates[bool(added)] = (alone, group)
    verdict("group commit against one caller, slow disk (4 ms injected)", rates[True][1] / rates[True][0], 20, "x")
    verdict("durable rows a second, slow disk (4 ms injected)", rates[True][1], 5000, "rows/s")
    if disk > FAST_DISK:
        verdict("durable rows a second, fast disk", rates[False][1], 15_000, "rows/s")
    else:
        print("----  durable rows a second, fast disk: not judged, this disk is slow")


def integration(folder: Path, count: int) -> None:
    records = SqliteRecords(folder / "records.db", system_entropy)
    records.create_all()
    for first in range(0, count, 1000):
        with records.begin(SYSTEM_SCOPE, CLOCK.now()) as tx:
            for i in range(first, min(count, first + 1000)):
                tx.emit(tx.events.make(EventKind.MODEL_PUSHED, f"model:{i}", details={"request": "x" * 100}))
    sequencer = Sequencer(folder / "ledger", records, None, Ed25519Signer(), CLOCK)
    cpu, wall = time.process_time(), time.perf_counter()
    while sequencer.run_once():
        pass
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    ledger = Ledger(folder / "ledger", records, sequencer.vkey)
    entries = [entry.data for entry in ledger.tail(-1)]
    alone = _Growing(folder / "again")
    alone_cpu = time.process_time()
    for first in range(0, count, 4096):
        alone.append(entries[first : first + 4096])
    alone.settle()
    alone_cpu = time.process_time() - alone_cpu
    print(
        f"sequencer, all of it (numbering in SQL, reading, tiles, syncs): {count / cpu:,.0f}/cpu-s, {count / wall:,.0f}/s"
    )
    verdict("entries integrated per CPU second (hashes, tree, files)", count / alone_cpu, 100_000, "/s")
    checkpoints(records, sequencer)
    proofs(ledger, entries)
    start = time.perf_counter()
    verify_log(folder / "ledger", sequencer.vkey)
    print(f"verify_log: {count / (time.perf_counter() - start):,.0f} entries/s")
    sequencer.close()
    records.close()


def checkpoints(records: SqliteRecords, sequencer: Sequencer) -> None:
    times = []
    for _ in range(20):
        with records.begin(SYSTEM_SCOPE, CLOCK.now()) as tx:
            tx.emit(tx.events.make(EventKind.MODEL_PUSHED))
        start = time.perf_counter()
        sequencer.run_once()
        times.append(time.perf_counter() - start)
    print(
        f"one entry to its checkpoint: median {statistics.median(times) * 1e3:.1f} ms, worst {max(times) * 1e3:.1f} ms"
    )
    verdict("one entry numbered, written, synced, signed", max(times), 1.0, "s", most=True)


def proofs(ledger: Ledger, entries: Sequence[bytes]) -> None:
    signed = ledger.checkpoint()
    cold, warm = [], []
    for step in range(200):
        index = step * 7919 % len(entries)
        for times in (cold, warm):
            start = time.perf_counter()
            proof = ledger.inclusion(index, signed.size)
            times.append(time.perf_counter() - start)
        verify_inclusion(entries[index], index, signed.size, signed.root, proof)
    print(
        f"inclusion proof: median {statistics.median(cold) * 1e3:.2f} ms, again {statistics.median(warm) * 1e3:.2f} ms"
    )
    verdict("inclusion proof, median", statistics.median(cold) * 1e3, 5, "ms", most=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the ledger.")
    parser.add_argument("--quick", action="store_true", help="a few seconds instead of half a minute")
    parser.add_argument("--folder", help="on the disk to measure; default: the system's temporary folder")
    arguments = parser.parse_args()
    print(__doc__)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        group_commit(Path(folder), 1.0 if arguments.quick else 4.0)
        integration(Path(folder), 10_000 if arguments.quick else 100_000)
    return 0


if __name__ == "__main__":
    sys.exit(main())
