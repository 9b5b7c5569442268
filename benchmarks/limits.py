"""What a limit costs: counters in memory, on lease and in Redis, beside the library `limits` and plain calls of redis-py.

Method: a redis-server of its own on a Unix socket, without persistence. CPU is that of the asking process (process_time) and, in
a column of its own, that of the server (INFO cpu), an operation; each figure is the best of the rounds, for noise only adds. "a tick"
is how many operations are begun in one turn of the event loop (uvloop), as a gateway under load does; 1 is a caller alone. Each is asked
by a task of its own, with its own key, of one tenant; "net" leaves out what such tasks cost that wait for nothing but a future,
measured in the same run, for a gateway's requests are tasks anyhow. Peers run in an environment of their own, which is made under --environments where it is
missing; without network they are left out.

Caveats: an operation of ours with four limits (key, principal, tenant, model) is taken whole or not at all; the peers do one limit an
operation, and neither batches nor keeps to Redis's clock. `limits` is asked in its synchronous form, which is its cheaper one.
Plain INCR and EXPIRE count without refusing. The clients are without hiredis. Exit status 1 if the target is missed.

    python benchmarks/limits.py [--quick] [--environments DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET_US = 5.0
TICKS = (1, 16, 64, 256)
REQUIREMENTS = ("limits==5.6.0", "redis")


def best_us(act: Callable[[], object], count: int, rounds: int) -> float:
    """CPU microseconds an operation, of `act`, which does `count` of them."""
    found = []
    for _ in range(rounds):
        began = time.process_time_ns()
        act()
        found.append((time.process_time_ns() - began) / count / 1e3)
    return min(found)


# ---------------------------------------------------------------- the peer, in its own environment
def peer(url: str, rounds: int) -> dict[str, float]:
    """What `limits` costs; needs nothing of Fastness."""
    import limits

    day = limits.RateLimitItemPerDay(1_000_000_000)
    stores = {"memory": limits.storage.MemoryStorage(), "redis": limits.storage.storage_from_string(url)}
    found = {}
    for place, store in stores.items():
        kinds = {
            "fixed": limits.strategies.FixedWindowRateLimiter,
            "sliding counter": limits.strategies.SlidingWindowCounterRateLimiter,
        }
        for name, kind in kinds.items():
            limiter, count = kind(store), 20_000 if place == "memory" else 2_000

            def hits(limiter: object = limiter, count: int = count) -> None:
                for n in range(count):
                    assert limiter.hit(day, "acme", f"user:{n % 100}")  # type: ignore[attr-defined]

            found[f"limits, {name} window, {place}"] = best_us(hits, count, rounds)
    return found


def environment(folder: Path) -> Path | None:
    """The Python of the peer's environment, made where it is missing; None where it cannot be."""
    python = folder / "limits" / "bin" / "python"
    if not python.exists():
        print("      installing limits, about 5 MB", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder / "limits")], check=True)
        pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", *REQUIREMENTS]
        if subprocess.run(pip, check=False).returncode:
            python.unlink()
            return None
    return python


# ---------------------------------------------------------------- ours, and plain calls
def server_us(server: object) -> float:
    """CPU microseconds that the server has used."""
    text = server.talk(b"INFO cpu\r\n").decode()  # type: ignore[attr-defined]
    values = dict(line.split(":") for line in text.splitlines() if ":" in line)
    return (float(values["used_cpu_user"]) + float(values["used_cpu_sys"])) * 1e6


async def measured(server: object, act: Callable[[int], Awaitable[None]], rounds: int) -> tuple[float, float]:
    """The best CPU of a round here, and of the server in all rounds, an operation; `act` does as many as it is told."""
    count = 4096
    await act(256)
    found, began_there = [], server_us(server)
    for _ in range(rounds):
        began = time.process_time_ns()
        await act(count)
        found.append((time.process_time_ns() - began) / count / 1e3)
    return min(found), (server_us(server) - began_there) / count / rounds


def waiting(tick: int) -> Callable[[int], Awaitable[None]]:
    """Tasks that wait for a future, as many a turn as `tick`."""

    async def act(count: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(count // tick):
            futures = [loop.create_future() for _ in range(tick)]

            async def wait(future: asyncio.Future[None]) -> None:
                await future

            together = asyncio.gather(*(wait(future) for future in futures))
            await asyncio.sleep(0)
            for future in futures:
                future.set_result(None)
            await together

    return act


async def ours(server: object, url: str, rounds: int) -> dict[str, tuple[float, ...]]:
    from fastness.core.clock import Instant
    from fastness.core.limits import Cap, Charge, Rate, Window, limit_key
    from fastness.foundation.storage.counters import RedisCounters, RedisSettings

    counters = RedisCounters(RedisSettings(url=url, timeout_s=30))
    rate, cap = Rate(1_000_000, 1_000_000, 1_000_000), Cap(1 << 40, Window.MONTH)
    one = [(Charge(limit_key("principal", "acme", f"user:{n}"), rate, 1),) for n in range(256)]
    four = [
        (
            Charge(limit_key("key", "acme", f"k{n}"), rate, 1),
            Charge(limit_key("principal", "acme", f"user:{n}"), rate, 1),
            Charge(limit_key("tenant", "acme", "*"), rate, 1),
            Charge(limit_key("model", "acme", "digits"), cap, 1),
        )
        for n in range(256)
    ]
    found = {}
    idle = {tick: (await measured(server, waiting(tick), rounds))[0] for tick in TICKS}
    for name, charges in (("one limit", one), ("four limits at once", four)):
        for tick in TICKS:

            async def act(count: int, charges: list[tuple[Charge, ...]] = charges, tick: int = tick) -> None:
                for _ in range(count // tick):
                    taken = await asyncio.gather(*(counters.take_all(charges[n], Instant(0)) for n in range(tick)))
                    assert all(each.allowed for each in taken)

            here, there = await measured(server, act, rounds)
            found[f"Redis, {name}, {tick} a tick"] = (here, there, here - idle[tick])
    await counters.close()
    return found


async def plain(server: object, url: str, rounds: int) -> dict[str, tuple[float, ...]]:
    from redis.asyncio import Redis

    client = Redis.from_url(url)
    found = {}

    async def alone(count: int) -> None:
        for n in range(count):
            await client.incr(f"plain:{n % 256}")

    found["  redis-py: INCR, awaited one by one"] = await measured(server, alone, rounds)
    for tick in TICKS[1:]:

        async def together(count: int, tick: int = tick) -> None:
            for _ in range(count // tick):
                async with client.pipeline(transaction=False) as pipeline:
                    for n in range(tick):
                        pipeline.incr(f"plain:{n}")
                        pipeline.expire(f"plain:{n}", 60)
                    await pipeline.execute()

        found[f"  redis-py: INCR and EXPIRE, {tick} a pipeline"] = await measured(server, together, rounds)
    await client.aclose()
    return found


def memory(rounds: int) -> dict[str, float]:
    from fastness.access.quotas import Asker, Planner, QuotaBook, QuotaSettings
    from fastness.core.clock import Instant
    from fastness.core.limits import Cap, Charge, Limit, Window, limit_key
    from fastness.foundation.storage.counters import Desk, LeasedCounters, LeaseReply, LeaseRequest, MemoryCounters

    now, count = Instant(1_700_000_000 * 10**9), 20_000
    charges = [(Charge(limit_key("principal", "acme", f"user:{n}"), Cap(1 << 40, Window.DAY), 1),) for n in range(100)]
    counters, planner, book = (
        MemoryCounters(),
        Planner(),
        QuotaBook({}, QuotaSettings(principal_burst=10**9, tenant_burst=10**9).defaults),
    )
    desk = Desk(MemoryCounters())

    async def ask(request: LeaseRequest) -> LeaseReply:
        return desk.serve(request, now)

    def charge() -> None:
        for n in range(count):
            assert counters.charge(charges[n % 100], now).allowed

    def planned() -> None:
        for n in range(count):
            plan = planner.plan(book, Asker("acme", f"user:{n % 100}", "k", "m"), Limit(1e9, 1e9))
            plan.check(counters.charge(plan.charges(), now))

    def leased() -> None:
        async def act() -> None:
            worker = LeasedCounters(ask)
            for n in range(count):
                assert (await worker.take_all(charges[n % 100], now)).allowed
            await worker.close()

        asyncio.run(act())

    return {
        "memory, one limit": best_us(charge, count, rounds),
        "memory, on lease, one limit": best_us(leased, count, rounds),
        "memory, three limits by a plan": best_us(planned, count, rounds),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument(
        "--environments", type=Path, default=ROOT / "build" / "limits", help="where the peer is installed"
    )
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    given = parser.parse_args()
    rounds = 3 if given.quick else 10
    if given.worker:
        print(json.dumps(peer(given.worker, rounds)))
        return 0
    sys.path[:0] = [str(ROOT), str(ROOT / "src")]
    import uvloop

    from tests.redis_process import RedisProcess

    with tempfile.TemporaryDirectory() as folder:
        server = RedisProcess(Path(folder))
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                shared = runner.run(ours(server, server.url, rounds)) | runner.run(plain(server, server.url, rounds))
            local = memory(rounds)
            python = environment(given.environments)
            if python is not None:
                command = [
                    str(python),
                    "-P",  # this file has the name of the library
                    __file__,
                    "--worker",
                    f"redis+{server.url}",
                    *(["--quick"] if given.quick else []),
                ]
                said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                local |= {f"  {name}": value for name, value in json.loads(said).items()}
        finally:
            server.kill()
    return report(shared, local)


def report(shared: dict[str, tuple[float, ...]], local: dict[str, float]) -> int:
    missed = 0
    print(f"{'CPU microseconds an operation':46s} {'here':>7s} {'net':>7s} {'server':>7s}")
    for name, (here, there, *net) in shared.items():
        held = name.startswith("Redis, one limit") and int(name.split()[-3]) >= 64
        verdict = "" if not held else "PASS" if net[0] <= TARGET_US else "MISS"
        missed += verdict == "MISS"
        print(f"{name:46s} {here:7.2f} {f'{net[0]:7.2f}' if net else '':>7s} {there:7.2f} {verdict}")
    for name, here in local.items():
        print(f"{name:46s} {here:7.2f}")
    ours_us = shared["Redis, one limit, 64 a tick"][0]
    print(
        f"\na pipelined limit / an awaited INCR: {ours_us / shared['  redis-py: INCR, awaited one by one'][0]:.2f}",
        end="",
    )
    print(
        f"   / INCR and EXPIRE, pipelined: {ours_us / shared['  redis-py: INCR and EXPIRE, 64 a pipeline'][0]:.2f}",
        end="",
    )
    for place in ("redis", "memory"):
        other = local.get(f"  limits, sliding counter window, {place}")
        if other is not None:
            mine = ours_us if place == "redis" else local["memory, one limit"]
            print(f"   / limits, {place}: {mine / other:.2f}", end="")
    print("\n" + __doc__[__doc__.index("Caveats") : __doc__.index("    python")].rstrip())
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
