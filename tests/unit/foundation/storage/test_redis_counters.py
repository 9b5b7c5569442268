"""Counters in a real Redis: shared by processes, lost and back again, slow, without its scripts, with others' values."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fastness.core.clock import Instant, SystemClock
from fastness.core.errors import Corrupt, Invalid, Unavailable
from fastness.core.limits import Cap, Charge, Charged, LimitKey, Rate, Tally, Window, limit_key
from fastness.core.secrets import SecretBytes
from fastness.core.settings import InvalidSetting
from fastness.foundation.storage.counters import Counted, MemoryCounters, RedisCounters, RedisSeen, RedisSettings
from fastness.foundation.storage.redis_counters import key_of
from tests.needs import ROOT, need_tool
from tests.redis_process import RedisProcess

KEY = limit_key("principal", "acme", "user:alice", "requests", "month")
CAP = Cap(10, Window.MONTH)
NAME = key_of("fst", KEY).encode()


def now() -> Instant:
    return SystemClock().now()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisProcess]:
    made = RedisProcess(tmp_path)
    yield made
    made.kill()


@asynccontextmanager
async def opened(server: RedisProcess, **changes: Any) -> AsyncIterator[RedisCounters]:
    parts = {name: changes.pop(name) for name in ("password", "local", "changed") if name in changes}
    given = {"url": server.url, "timeout_s": 30.0, "retry_s": 0.01} | changes
    made = RedisCounters(RedisSettings(**given), **parts)
    try:
        yield made
    finally:
        await made.close()


def run(action: Coroutine[Any, Any, None]) -> None:
    asyncio.run(action)


async def take(counters: RedisCounters, limit: Rate | Cap = CAP, cost: int = 1, key: LimitKey = KEY) -> Charged:
    return await counters.take_all((Charge(key, limit, cost),), now())


async def until(answers: Coroutine[Any, Any, Any], seconds: float = 30) -> Any:
    async with asyncio.timeout(seconds):
        return await answers


def test_one_loop_tick_is_one_round_trip(server: RedisProcess) -> None:
    async def act() -> None:
        async with opened(server) as counters:
            await take(counters)
            server.talk(b"CONFIG RESETSTAT\r\n")
            keys = [limit_key("principal", "acme", f"user:{n}", "requests", "month") for n in range(200)]
            taken = await asyncio.gather(*(take(counters, key=key) for key in keys for _ in range(3)))
            assert all(each.allowed for each in taken)
            assert b"cmdstat_evalsha:calls=2," in server.talk(b"INFO commandstats\r\n")  # 512 operations a call at most

    run(act())


def test_tenants_share_a_round_trip_and_no_call(server: RedisProcess) -> None:
    async def act() -> None:
        async with opened(server) as counters:
            keys = [limit_key("tenant", f"t{n}", "requests") for n in range(5)]
            taken = await asyncio.gather(*(take(counters, key=key) for key in keys))
            assert all(each.allowed for each in taken)

    run(act())


def test_a_killed_server_refuses_and_a_new_one_serves_again(server: RedisProcess) -> None:
    async def act() -> None:
        told: list[str] = []
        async with opened(server, changed=told.append) as counters:
            assert (await take(counters)).allowed
            server.kill()
            for _ in range(3):
                with pytest.raises(Unavailable) as caught:
                    await take(counters)
                assert caught.value.code == "counters-unreachable"
            assert counters.degraded == "connection"
            server.start()
            await asyncio.sleep(0.02)
            while True:
                try:
                    assert (await take(counters)).allowed
                    break
                except Unavailable:
                    await asyncio.sleep(0.02)
            assert (counters.degraded, told) == ("", ["connection", ""])

    run(act())


def test_while_it_is_not_asked_nobody_waits(server: RedisProcess) -> None:
    async def act() -> None:
        async with opened(server, retry_s=60) as counters:
            server.kill()
            with pytest.raises(Unavailable):
                await take(counters)
            server.start()
            with pytest.raises(Unavailable):
                await take(counters)
            with pytest.raises(Unavailable):
                await counters.drain("acme")

    run(act())


def test_a_slow_server_is_given_up_on(server: RedisProcess) -> None:
    async def act() -> None:
        async with opened(server, timeout_s=0.1) as counters:
            while True:  # the first connection may itself take longer than that
                try:
                    await take(counters)
                    break
                except Unavailable:
                    await asyncio.sleep(0.02)
            server.pause()
            with pytest.raises(Unavailable):
                await until(take(counters))
            assert counters.degraded == "timeout"
            server.resume()

    run(act())


def test_local_counts_alone_while_redis_is_away_and_says_so(server: RedisProcess) -> None:
    async def act() -> None:
        told: list[str] = []
        async with opened(
            server, degraded="local", local=MemoryCounters(0.5), changed=told.append, retry_s=60
        ) as counters:
            assert not (await take(counters)).local
            server.kill()
            taken = [await take(counters) for _ in range(7)]
            assert [each.allowed for each in taken] == [True] * 5 + [False] * 2  # half of ten
            assert all(each.local for each in taken)
            await counters.settle_all(taken[0], (0,))
            assert (await take(counters)).allowed
            assert told == ["connection"]

    run(act())


def test_what_was_taken_alone_is_not_given_back_to_redis(server: RedisProcess) -> None:
    async def act() -> None:
        async with opened(server, degraded="local", local=MemoryCounters()) as counters:
            server.kill()
            alone = await take(counters, cost=9)
            server.start()
            await asyncio.sleep(0.02)
            shared = alone
            while shared.local:
                await asyncio.sleep(0.02)
                shared = await take(counters, cost=9)
            await counters.settle_all(alone, (0,))
            assert not (await take(counters, cost=2)).allowed

    run(act())


def test_lost_scripts_are_loaded_again_and_nothing_is_charged_twice(server: RedisProcess) -> None:
    async def act() -> None:
        async with opened(server) as counters:
            for _ in range(10):
                server.talk(b"SCRIPT FLUSH\r\n")
                assert (await take(counters)).allowed
            assert not (await take(counters)).allowed

    run(act())


def test_a_wrong_type_refuses_its_own_counter_and_no_other(server: RedisProcess) -> None:
    async def act() -> None:
        async with opened(server) as counters:
            server.talk(b"RPUSH %b x\r\n" % NAME)
            other = limit_key("principal", "acme", "user:bob", "requests", "month")
            bad, good = await asyncio.gather(take(counters), take(counters, key=other), return_exceptions=True)
            assert isinstance(bad, Corrupt)
            assert bad.code == "counter-changed"
            assert isinstance(good, Charged)
            assert good.allowed
            assert counters.degraded == ""

    run(act())


def test_a_changed_set_of_another_type_does_not_stop_the_loop(server: RedisProcess) -> None:
    async def act() -> None:
        async with opened(server) as counters:
            server.talk(b"SET fst:{acme} x\r\n")
            with pytest.raises(Unavailable):
                await take(counters)
            with pytest.raises(Unavailable):
                await counters.drain("acme")
            server.talk(b"DEL fst:{acme}\r\n")
            await asyncio.sleep(0.02)
            assert (await take(counters)).allowed

    run(act())


PROCESS = """
import asyncio, sys
from fastness.core.clock import SystemClock
from fastness.core.limits import *
from fastness.foundation.storage.counters import RedisCounters, RedisSettings
async def main():
    counters = RedisCounters(RedisSettings(url=sys.argv[1], timeout_s=60))
    key = limit_key("tenant", "acme", "requests", "month")
    charge = (Charge(key, Cap(1000, Window.MONTH), 1),)
    taken = 0
    for _ in range(40):
        lot = await asyncio.gather(*(counters.take_all(charge, SystemClock().now()) for _ in range(25)))
        taken += sum(each.allowed for each in lot)
    print(taken)
    await counters.close()
asyncio.run(main())
"""


def test_processes_share_a_limit_exactly(server: RedisProcess) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, server.url], cwd=ROOT / "src", stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    taken = [int(process.communicate()[0]) for process in started]
    assert sum(taken) == 1000


def test_counters_of_a_tenant_stand_on_one_node_of_a_cluster(tmp_path: Path) -> None:
    server = RedisProcess(tmp_path, "--cluster-enabled", "yes", "--port", "0", "--cluster-port", "16999")
    try:
        server.talk(b"CLUSTER ADDSLOTSRANGE 0 16383\r\n")

        async def act() -> None:
            async with opened(server) as counters:
                while b"cluster_state:ok" not in server.talk(b"CLUSTER INFO\r\n"):  # noqa: ASYNC110 - nobody tells it
                    await asyncio.sleep(0.05)
                charges = tuple(
                    Charge(limit_key(kind, "ac{me}", f"{kind}}}x{{", "requests"), CAP, 1)
                    for kind in ("key", "principal", "tenant", "model")
                )
                assert (await counters.take_all(charges, now())).allowed
                assert len(await counters.drain("ac{me}")) == 4

        run(act())
    finally:
        server.kill()


def test_a_password_is_asked_for_at_each_connection(server: RedisProcess) -> None:
    async def act() -> None:
        word = [b"one"]
        server.talk(b"CONFIG SET requirepass one\r\n")
        async with opened(server, password=lambda: SecretBytes(word[0])) as counters:
            assert (await take(counters)).allowed
            server.kill()
            server._options = ("--requirepass", "two")
            server.socket.unlink(missing_ok=True)
            with pytest.raises(Unavailable):
                await take(counters)
            server.start()
            word[0] = b"two"
            await asyncio.sleep(0.02)
            while True:
                try:
                    assert (await take(counters)).allowed
                    break
                except Unavailable:
                    await asyncio.sleep(0.02)

    run(act())


def test_a_wrong_password_refuses_and_is_not_shown(server: RedisProcess) -> None:
    async def act() -> None:
        server.talk(b"CONFIG SET requirepass right\r\n")
        async with opened(server, password=lambda: SecretBytes(b"wrong-secret")) as counters:
            with pytest.raises(Unavailable) as caught:
                await take(counters)
            assert "wrong-secret" not in str(caught.value)
            assert counters.degraded == "authentication"

    run(act())


def certificates(folder: Path) -> None:
    openssl = need_tool("openssl")

    def make(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    extra = folder / "names"
    extra.write_text("subjectAltName=IP:127.0.0.1", "utf-8")
    for name in ("ca", "server"):
        make("genpkey", "-algorithm", "ed25519", "-out", f"{name}.key")
    make("req", "-x509", "-key", "ca.key", "-subj", "/CN=ca", "-days", "2", "-out", "ca.pem")
    make("req", "-new", "-key", "server.key", "-subj", "/CN=redis", "-out", "server.csr")
    make(
        "x509",
        "-req",
        "-in",
        "server.csr",
        "-CA",
        "ca.pem",
        "-CAkey",
        "ca.key",
        "-days",
        "2",
        "-extfile",
        "names",
        "-out",
        "server.pem",
    )
    make("req", "-x509", "-key", "ca.key", "-subj", "/CN=another", "-days", "2", "-out", "other.pem")


def test_tls_holds_the_server_to_who_signed_it(tmp_path: Path) -> None:
    import socket

    certificates(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    named = ("--tls-cert-file", str(tmp_path / "server.pem"), "--tls-key-file", str(tmp_path / "server.key"))
    options = (
        "--tls-port",
        str(port),
        *named,
        "--tls-ca-cert-file",
        str(tmp_path / "ca.pem"),
        "--tls-auth-clients",
        "no",
    )
    server = RedisProcess(tmp_path, *options)
    try:

        async def act() -> None:
            url = f"rediss://127.0.0.1:{port}"
            async with opened(server, url=url, ca=str(tmp_path / "ca.pem")) as counters:
                assert (await take(counters)).allowed
            async with opened(server, url=url, ca=str(tmp_path / "other.pem")) as counters:
                with pytest.raises(Unavailable):
                    await take(counters)

        run(act())
        assert RedisSeen(RedisSettings(url=f"rediss://127.0.0.1:{port}", ca=str(tmp_path / "ca.pem"))).once(
            "a", 60, now()
        )
    finally:
        server.kill()


@pytest.mark.parametrize(
    "bad",
    [
        {"url": "http://localhost"}, {"url": "redis://redis.test"}, {"url": "redis://:pw@localhost"}, {"url": "redis://u@localhost"},
        {"url": "redis://localhost?password=x"}, {"degraded": "allow"}, {"timeout_s": 0.0}, {"retry_s": 0.0}, {"max_waiting": 0},
        {"prefix": "a:b"}, {"url": "redis://[::1"},
    ],
)  # fmt: skip
def test_settings_that_are_not_safe_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(InvalidSetting) as caught:
        RedisSettings(**bad)  # type: ignore[arg-type]
    assert "pw" not in str(caught.value)


def test_settings_that_are_safe() -> None:
    for url in (
        "redis://localhost",
        "redis://127.0.0.1:6380/1",
        "redis://[::1]",
        "rediss://redis.test",
        "unix:///run/redis.sock",
    ):
        assert RedisSettings(url=url).url == url
    assert RedisSettings(url="redis://redis.test", plaintext=True).plaintext
    with pytest.raises(Invalid):
        RedisCounters(RedisSettings())
    with pytest.raises(Invalid):
        RedisCounters(RedisSettings(url="redis://localhost", degraded="local"))
    with pytest.raises(Invalid):
        RedisSeen(RedisSettings())


def test_too_much_that_waits_is_refused(server: RedisProcess) -> None:
    async def act() -> None:
        async with opened(server, max_waiting=5) as counters:
            taken = await asyncio.gather(*(take(counters, cost=0) for _ in range(9)), return_exceptions=True)
            assert [isinstance(each, Unavailable) for each in taken] == [False] * 5 + [True] * 4
            assert (await take(counters)).allowed

    run(act())


def test_one_who_gives_up_waiting_disturbs_nobody(server: RedisProcess) -> None:
    async def act() -> None:
        async with opened(server) as counters:
            gone = asyncio.ensure_future(take(counters))
            stays = asyncio.ensure_future(take(counters))
            await asyncio.sleep(0)
            gone.cancel()
            assert (await stays).allowed

    run(act())


def test_closing_fails_what_waits(server: RedisProcess) -> None:
    async def act() -> None:
        async with opened(server) as counters:
            server.pause()
            waiting = asyncio.ensure_future(take(counters))
            await asyncio.sleep(0.01)
            await counters.close()
            with pytest.raises(Unavailable):
                await waiting
            server.resume()

    run(act())


def test_lost_data_has_another_generation(server: RedisProcess) -> None:
    async def act() -> None:
        async with opened(server) as counters, opened(server) as others:
            word = await counters.generation()
            assert word == await counters.generation() == await others.generation()
            server.talk(b"FLUSHALL\r\n")
            assert await others.generation() != word
            await counters.raise_to(Counted(KEY, Window.MONTH, Tally(0, 99)))

    run(act())


def test_keys_do_not_stay_longer_than_they_count(server: RedisProcess) -> None:
    async def act() -> None:
        async with opened(server) as counters:
            rate = limit_key("key", "acme", "abcd1234")
            await take(counters, Rate(1, 1_000_000, 5), 3, rate)
            left = int(server.talk(b"PTTL %b\r\n" % key_of("fst", rate).encode())[1:])
            assert 0 < left <= 4100
            await take(counters)
            assert int(server.talk(b"PTTL %b\r\n" % NAME)[1:]) > 28 * 86_400_000

    run(act())
