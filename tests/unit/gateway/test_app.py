"""The application by itself, under an ASGI server of three lines: it knows nothing of the one that carries it."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import json
import logging
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fastness.access import Policies
from fastness.core.clock import Instant, ManualClock
from fastness.core.errors import Unavailable
from fastness.core.findings import Decision, Finding, Severity, Verdict, judge
from fastness.core.settings import InvalidSetting
from fastness.foundation.telemetry import Metrics
from fastness.gateway import Gateway, GatewaySettings
from fastness.gateway.answers import refusal, status_of
from fastness.gateway.edge import Edge, Runners
from fastness.guard import Guard, GuardSettings, Message
from tests.unit.gateway.house import SIGNATURE, House, Reply, json_body


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def scope(house: House, path: str = "/v2/models/digits/infer", method: str = "POST", **headers: str) -> dict[str, Any]:
    given = [(name.encode(), value.encode()) for name, value in house.headers(**headers).items()]
    return {"type": "http", "method": method, "raw_path": path.encode(), "query_string": b"", "headers": given}


class Carrier:
    """Feeds a body in parts and keeps what comes out."""

    def __init__(self, *parts: bytes, gone: bool = False) -> None:
        self.parts = list(parts)
        self.gone = gone
        self.received = 0
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        self.received += 1
        if not self.parts and self.gone:
            return {"type": "http.disconnect"}
        part = self.parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(self.parts) or self.gone}

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    @property
    def reply(self) -> Reply:
        start, body = self.sent
        headers = {name.decode(): value.decode() for name, value in start["headers"]}
        return Reply(start["status"], headers, body["body"])


def ask(house: House, *parts: bytes, gone: bool = False, **changes: Any) -> Carrier:
    carrier = Carrier(*parts, gone=gone)

    async def go() -> None:
        await house.app(scope(house, **changes), carrier.receive, carrier.send)

    asyncio.run(go())
    return carrier


def test_it_answers_under_any_server(house: House) -> None:
    body = json_body()
    carrier = ask(house, body[:100], body[100:200], b"", body[200:])
    assert carrier.reply.status == 200
    assert json.loads(carrier.reply.body)["model_name"] == "digits"
    assert house.event(carrier.reply.request_id).kind == "request.allowed"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"key": None}, 401),
        ({"key": "viewer"}, 403),
        ({"path": "/v2/models/letters/infer"}, 404),
        ({"path": "/nowhere"}, 404),
        ({"method": "GET"}, 405),
        ({"content_type": "text/plain"}, 415),
        ({"content_length": "99999999"}, 413),
    ],
)
def test_what_the_headers_decide_is_decided_before_the_body_is_read(
    house: House, changes: dict[str, str], status: int
) -> None:
    carrier = ask(house, json_body(), **changes)
    assert carrier.reply.status == status
    assert carrier.received == 0
    assert carrier.reply.headers["connection"] == "close"
    assert house.predictor.calls == 0


def test_a_used_up_rate_is_refused_before_the_body_is_read(house: House) -> None:
    carriers = [ask(house, json_body(), key="slow") for _ in range(3)]
    assert [c.reply.status for c in carriers] == [200, 200, 429]
    assert carriers[2].received == 0


def test_what_a_stage_refuses_never_reaches_the_model(house: House) -> None:
    assert ask(house, json_body().replace(b"FP32", b"FP64")).reply.status == 400
    assert house.predictor.calls == 0


def test_many_small_chunks_are_joined_once(house: House) -> None:
    body = json_body() + b" " * 20_000
    carrier = ask(house, *[body[i : i + 1] for i in range(len(body))])
    assert carrier.reply.status == 200


def test_a_caller_who_went_away_is_recorded_and_gets_nothing(house: House) -> None:
    carrier = ask(house, b"{", gone=True)
    assert carrier.sent == []
    (event,) = house.events()
    assert (event.kind, event.reason, event.details["status"]) == ("request.failed", "client-disconnected", 499)


def test_a_full_journal_serves_nothing_under_any_server(house: House) -> None:
    for where in ("append", "flush"):
        house.journal.full_at = where
        reply = ask(house, json_body()).reply
        assert (reply.status, reply.code) == (503, "journal-full")
    house.journal.full_at = ""
    assert ask(house, json_body()).reply.status == 200


def test_held_bytes_are_given_back_whatever_happens(tmp_path: Path) -> None:
    settings = GatewaySettings(max_inflight_bytes=30_000, max_body_bytes=20_000, max_json_bytes=20_000)
    house = House(tmp_path, settings)
    for _ in range(10):
        ask(house, b"x" * 15_000)
        ask(house, b"x" * 15_000, gone=True)
        ask(house, b"x" * 15_000, b"x" * 15_000)
    assert ask(house, json_body()).reply.status == 200


def test_a_policy_set_swapped_in_the_snapshot_takes_effect_at_once(house: House) -> None:
    assert ask(house, json_body()).reply.status == 200
    house.publish_keys("caller")
    assert ask(house, json_body()).reply.status == 401
    house.publish_keys()
    assert ask(house, json_body()).reply.status == 200


@pytest.mark.parametrize("effect", ["permit", "forbid"])
@pytest.mark.parametrize("obligation", ["mask", "two-persons", "step-up"])
def test_what_the_gateway_cannot_carry_out_is_refused(house: House, effect: str, obligation: str) -> None:
    """No answer of a model can be masked here, and nobody is asked for a second factor or a second person."""
    assert ask(house, json_body()).reply.status == 200
    text = f'@id("obliged") @obliges("{obligation}") {effect} (principal, action == Action::"model.infer", resource);'
    house.policies.shipped = Policies.from_texts({**Policies.shipped().texts, "own.cedar": text})
    calls = house.predictor.calls
    reply = ask(house, json_body()).reply
    assert (reply.status, reply.code, house.predictor.calls) == (403, "access-denied", calls)
    event = house.event(reply.request_id)
    assert (event.decision, event.action) == (Decision.DENY, "model.infer")
    house.policies.shipped = Policies.from_texts(
        {**Policies.shipped().texts, "own.cedar": text.replace(obligation, "log")}
    )
    assert ask(house, json_body()).reply.status == 200


def test_a_remembered_key_expires_all_the_same(tmp_path: Path) -> None:
    house = House(tmp_path)
    clock = ManualClock(Instant(10**18))
    house.app = Gateway(dataclasses.replace(house.parts, clock=clock, metrics=Metrics()), house.settings)
    held = house.credentials.current
    records = {digest: record for digest, record in held.keys.items() if record.key_id == "00000001"}
    short = {digest: msgspec.structs.replace(r, expires_at=10**18 + 2 * 10**9) for digest, r in records.items()}
    house.credentials.publish(type(held)(held.pepper, short), house.credentials.epoch + 1)
    assert ask(house, json_body()).reply.status == 200
    clock.advance(1.5)
    assert ask(house, json_body()).reply.status == 200
    clock.advance(1.6)
    reply = ask(house, json_body()).reply
    assert reply.status == 401
    assert house.event(reply.request_id).reason == "key-expired"


def test_the_steps_of_the_path_stand_in_one_function_with_their_numbers() -> None:
    source = inspect.getsource(Gateway._infer)
    assert re.findall(r"# (\d+) ", source) == [str(number) for number in range(1, 11)]


@pytest.mark.parametrize("allow", [True, False])
def test_a_review_refuses_unless_a_setting_says_otherwise(tmp_path: Path, allow: bool) -> None:
    class Asks(Guard):
        def check_input(self, message: Message) -> Verdict:
            return judge([Finding("odd", Severity.MEDIUM, "X[0, 0]", "looks odd")])

        check_output = check_input

    house = House(tmp_path, GatewaySettings(allow_review=allow), guard_for=lambda _: Asks([]))
    reply = ask(house, json_body()).reply
    assert reply.status == (200 if allow else 400)
    assert {f.rule for f in house.event(reply.request_id).findings} == {"odd"}


def test_a_guard_without_stages_is_our_fault_and_refuses(tmp_path: Path) -> None:
    house = House(tmp_path, guard_for=lambda _: Guard([]))
    reply = ask(house, json_body()).reply
    assert (reply.status, reply.code) == (503, "guard-empty")


def test_confidence_is_refused_as_422(tmp_path: Path) -> None:
    house = House(tmp_path, signature=msgspec.structs.replace(SIGNATURE, min_confidence=0.999))
    reply = ask(house, json_body()).reply
    assert (reply.status, reply.code) == (422, "confidence-low")
    assert house.event(reply.request_id).findings[0].rule == "confidence-low"


def test_the_access_log_is_a_line_without_content(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    house = House(tmp_path, GatewaySettings(access_log=True))
    with caplog.at_level(logging.INFO, "fastness.access"):
        reply = ask(house, json_body()).reply
    assert caplog.messages == [f"{reply.request_id} infer 200"]


def test_other_scopes_are_not_answered(house: House) -> None:
    with pytest.raises(NotImplementedError):
        asyncio.run(house.app({"type": "websocket"}, Carrier().receive, Carrier().send))


@pytest.mark.parametrize(
    "changes",
    [
        {"header_deadline_s": 0.0},
        {"max_headers": -1},
        {"body_deadline_s": float("inf")},
        {"predict_timeout_s": float("nan")},
        {"max_json_bytes": 1 << 30},
        {"max_inflight_bytes": 1 << 20},
    ],
)
def test_limits_that_would_not_hold_stop_the_start(changes: dict[str, float]) -> None:
    with pytest.raises(InvalidSetting) as refused:
        GatewaySettings(**changes)  # type: ignore[arg-type]  # a table of floats
    assert "gateway." in refused.value.message


def test_the_guard_is_that_of_the_revision(tmp_path: Path) -> None:
    house = House(tmp_path, guard=GuardSettings(max_bytes=100))
    reply = ask(house, json_body()).reply
    assert (reply.status, reply.code) == (413, "tensor-size")


def test_a_retry_is_advised_where_a_part_does_not_answer() -> None:
    error = Unavailable("worker-lost", "gone", "Try again.")
    answer = refusal(error, "id", 7)
    assert (status_of(error), dict(answer.headers)[b"retry-after"]) == (503, b"7")


class Waits:
    def __init__(self) -> None:
        self.left: list[bytes] = []

    def leave(self, data: bytes, *, close: bool = False) -> None:
        self.left.append(data)


def test_all_replies_of_a_tick_share_one_flush(house: House) -> None:
    async def go() -> tuple[int, list[bytes]]:
        flushes = 0
        flush = house.journal.flush

        def counted() -> None:
            nonlocal flushes
            flushes += 1
            flush()

        house.journal.flush = counted  # type: ignore[method-assign]  # counts what the real one does
        edge: Edge = house.app.edge
        waiting = Waits()
        for number in range(10):
            edge.post(waiting, b"%d" % number)
        assert waiting.left == []
        await asyncio.sleep(0)
        return flushes, waiting.left

    flushes, left = asyncio.run(go())
    assert flushes == 1
    assert left == [b"%d" % number for number in range(10)]


def test_runners_work_again_and_survive_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def go() -> tuple[list[int], int]:
        runners = Runners()
        seen: list[int] = []

        async def fails() -> None:
            raise ValueError("no")

        for number in range(50):

            async def works(number: int = number) -> None:
                seen.append(number)

            runners.run(works)
            if number == 10:
                runners.run(fails)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        tasks = len(asyncio.all_tasks())
        return seen, tasks

    seen, tasks = asyncio.run(go())
    assert seen == list(range(50))
    assert tasks <= 4
    assert "given up" in caplog.text
