"""Limits kept in a real Redis; what a worker does while it is gone is what the settings say, and is seen."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastness.access.quotas import Kind, Quota
from fastness.app import load_settings
from fastness.app.held import Told
from fastness.app.home import Home
from fastness.app.settings import shared_counters
from fastness.core.clock import SystemClock
from fastness.core.events import EventKind
from fastness.core.limits import Unit, Window
from fastness.foundation.crypto import references
from fastness.foundation.telemetry import Metrics
from fastness.gateway import Gateway, create_app
from tests.redis_process import RedisProcess
from tests.unit.gateway.house import House, Reply, json_body


async def asked(app: Gateway, house: House) -> Reply:
    body, sent = json_body(), []
    headers = house.headers() | {"content-length": str(len(body))}

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "raw_path": b"/v2/models/digits/infer", "query_string": b"",
        "client": ("127.0.0.1", 1), "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }  # fmt: skip
    await app(scope, receive, send)
    said = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Reply(sent[0]["status"], said, sent[1]["body"])


@pytest.mark.parametrize(("degraded", "code"), [("local", ""), ("refuse", "counters-unreachable")])
def test_limits_are_counted_in_redis_and_what_happens_without_it_is_seen(
    tmp_path: Path, degraded: str, code: str
) -> None:
    for name in ("redis", "worker"):
        (tmp_path / name).mkdir()
    redis = RedisProcess(tmp_path / "redis")
    flags = {"redis.url": redis.url, "redis.degraded": degraded, "redis.retry_s": "0.05", "redis.timeout_s": "5"}
    settings = load_settings(Home(tmp_path), flags)
    house, metrics = House(tmp_path / "worker"), Metrics()
    house.limit(principal_each=(Quota(Kind.PRINCIPAL, "*", Unit.REQUESTS, Window.DAY, 3),))
    teller = Told(house.journal, metrics, "gateway-0")

    async def story() -> tuple[list[int], Reply, Reply]:
        secrets = references.open_secrets(settings.secrets, {})
        shared = shared_counters(settings, secrets, SystemClock(), teller.counters)
        app = create_app(replace(house.parts, shared=shared, metrics=metrics), house.settings)
        statuses = [(await asked(app, house)).status for _ in range(4)]
        redis.kill()
        alone = await asked(app, house)
        redis.start()
        await asyncio.sleep(0.2)
        again = await asked(app, house)
        await shared.close()
        return statuses, alone, again

    try:
        statuses, alone, again = asyncio.run(story())
    finally:
        redis.kill()
    assert statuses == [200, 200, 200, 429]
    assert (alone.status, alone.code if code else "") == (503 if code else 200, code)
    assert again.status == 200  # the server came back without its data; the accountant gives it back in its second
    told = [event.reason for event in house.events() if event.kind is EventKind.COUNTERS_CHANGED]
    assert told == ["degraded", "restored"]
    page = metrics.render()
    assert b'fastness_gateway_counters_changes_total{now="degraded"} 1.0' in page
    assert (b"fastness_gateway_local_charges_total 1.0" in page) is (degraded == "local")
