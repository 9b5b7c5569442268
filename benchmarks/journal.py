"""What a gateway worker pays to record its requests: append and flush, per loop tick of 1, 16 and 64 events.

Method: FileJournal.append for each event, then one flush, as a gateway's loop does before its replies go out; beside
it one `write` of the same bytes, which no journal in the kernel's hands can undercut, and the making of the event itself.
`durable` (one shared fdatasync) is timed apart: only strict kinds wait for it.

Caveats: the file lies in the page cache; a disk that cannot keep up slows `write` in the end. CPU time of this process,
best of five rounds, since other load only adds to it. The target is a tenth of the gateway's 70 us a request.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from fastness.core.clock import Instant, system_entropy
from fastness.core.events import Event, EventFactory, EventKind, encode_event
from fastness.core.findings import Decision
from fastness.core.identity import DEFAULT_TENANT, PrincipalId
from fastness.foundation.storage import FileJournal

TARGET_US = 7.0
FACTORY = EventFactory(
    DEFAULT_TENANT, PrincipalId("service:gateway"), Instant(1_700_000_000_000_000_000), system_entropy
)


def event() -> Event:
    return FACTORY.make(
        EventKind.REQUEST_ALLOWED,
        "model:digits",
        action="model.infer",
        decision=Decision.ALLOW,
        details={"version": 3, "status": 200, "bytes": 3136},
    )


def journal_us(folder: Path, events: list[Event], per_tick: int) -> float:
    """CPU microseconds per event of append and flush."""
    journal = FileJournal(folder, "bench", segment_bytes=1 << 30)
    start = time.process_time()
    for first in range(0, len(events), per_tick):
        for one in events[first : first + per_tick]:
            journal.append(one)
        journal.flush()
    cpu = time.process_time() - start
    journal.close()
    return cpu / len(events) * 1e6


def write_us(folder: Path, data: bytes, count: int, per_tick: int) -> float:
    """CPU microseconds per event of the bare writes."""
    chunk = data * per_tick
    fd = os.open(folder / "raw", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    start = time.process_time()
    for _ in range(count // per_tick):
        os.write(fd, chunk)
    cpu = time.process_time() - start
    os.close(fd)
    (folder / "raw").unlink()
    return cpu / count * 1e6


async def durable_ms(folder: Path, waiters: int, rounds: int) -> float:
    """Median milliseconds that each of `waiters` waits for the disk."""
    journal = FileJournal(folder, "durable")
    times: list[float] = []

    async def one() -> None:
        journal.append(event())
        start = time.perf_counter()
        await journal.durable()
        times.append(time.perf_counter() - start)

    for _ in range(rounds):
        await asyncio.gather(*(one() for _ in range(waiters)))
    journal.close()
    return statistics.median(times) * 1e3


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the journal.")
    parser.add_argument("--quick", action="store_true", help="a second instead of ten")
    parser.add_argument("--folder", help="on the disk to measure; default: the system's temporary folder")
    arguments = parser.parse_args()
    print(__doc__)
    count = 6400 if arguments.quick else 64_000
    events = [event() for _ in range(count)]
    start = time.process_time()
    for _ in range(count):
        event()
    print(f"making the event: {(time.process_time() - start) / count * 1e6:.2f} us")
    print(f"{'events a tick':>13} {'journal us/event':>17} {'us/tick':>9} {'bare write us/event':>20} {'ratio':>6}")
    size = len(encode_event(events[0])) + 8
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        costs = {}
        for per_tick in (1, 16, 64):
            costs[per_tick] = min(journal_us(folder / f"{per_tick}-{i}", events, per_tick) for i in range(5))
            bare = min(write_us(folder, b"x" * size, count, per_tick) for _ in range(5))
            cost = costs[per_tick]
            print(f"{per_tick:>13} {cost:>17.2f} {cost * per_tick:>9.1f} {bare:>20.2f} {cost / bare:>6.1f}")
        for waiters in (1, 64):
            waited = asyncio.run(durable_ms(folder / f"durable-{waiters}", waiters, 20))
            print(f"durable, {waiters} at once: {waited:.2f} ms each")
    for per_tick, cost in costs.items():
        good = "PASS" if cost <= TARGET_US else "MISS"
        print(f"{good}  {per_tick} events a tick: {cost:.2f} us/event of {size} bytes (target <= {TARGET_US})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
