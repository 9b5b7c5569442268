"""Step 4 of the main job: what a caller may try over a real server with TLS. Each attempt gets its status and code, leaves
its event before the reply, and the gateway still serves afterwards."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from fastness.core.errors import Unavailable
from fastness.gateway import GatewaySettings
from fastness.guard import GuardSettings
from fastness.wire import oip
from tests.unit.gateway.house import House, Reply, Served, digit, json_body, serving

SETTINGS = GatewaySettings(
    header_deadline_s=0.4,
    body_deadline_s=0.8,
    body_grace_s=0.3,
    linger_s=1.0,
    max_json_bytes=100_000,
    max_body_bytes=200_000,
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(House(tmp_path_factory.mktemp("house"), SETTINGS, guard=GuardSettings(max_rows=64))) as served:
        yield served


@pytest.fixture(autouse=True)
def _whole(served: Served) -> Iterator[None]:
    served.house.publish_keys()
    yield
    served.serves()


def refused(served: Served, reply: Reply, status: int, code: str, reason: str = "") -> None:
    assert (reply.status, reply.code) == (status, code), reply.body
    problem = json.loads(reply.body)
    assert problem["hint"]
    assert problem["request_id"] == reply.request_id
    event = served.house.event(reply.request_id)
    assert event.kind == ("request.failed" if status >= 500 else "request.refused")
    assert event.reason == (reason or code)
    assert event.decision == 2
    assert event.details["status"] == status


def binary(array: np.ndarray) -> tuple[bytes, dict[str, str]]:
    body, headers = oip.encode_request({"X": array})
    return body, {name.replace("-", "_"): value for name, value in headers.items()}


def hurt(value: float) -> np.ndarray:
    array = digit()
    array[0, 7] = value
    return array


CASES: dict[str, tuple[Callable[[Served], Reply], int, str, str]] = {
    "no key": (lambda s: s.infer(key=None), 401, "key-missing", ""),
    "wrong key": (lambda s: s.infer(key=s.house.keys["caller"][:-60] + "x" * 60), 401, "key-malformed", ""),
    "unknown key": (lambda s: s.infer(key=_unknown()), 401, "key-unknown", ""),
    "expired key": (lambda s: s.infer(key="expired"), 401, "key-unknown", "key-expired"),
    "a role without the right": (lambda s: s.infer(key="viewer"), 403, "access-denied", ""),
    "a tenant's model asked by another": (lambda s: s.infer(path="/v2/models/foreign/infer"), 404, "model-unknown", ""),
    "wrong shape": (lambda s: s.infer(json_body(digit()[:, :63])), 400, "tensor-shape", ""),
    "shape and data at odds": (
        lambda s: s.infer(json_body().replace(b"[1,64]", b"[2,64]")),
        400,
        "tensor-count",
        "",
    ),
    "wrong data type": (lambda s: s.infer(json_body(digit().astype(np.int64))), 400, "tensor-datatype", ""),
    "wrong name": (lambda s: s.infer(json_body().replace(b'"X"', b'"Y"')), 400, "tensor-name", ""),
    "NaN in JSON": (lambda s: s.infer(json_body().replace(b"7.0", b"NaN", 1)), 400, "json-malformed", ""),
    "NaN in binary": (lambda s: _binary(s, hurt(np.nan)), 400, "tensor-not-finite", ""),
    "infinity in binary": (lambda s: _binary(s, hurt(np.inf)), 400, "tensor-not-finite", ""),
    "above the range": (lambda s: s.infer(json_body(hurt(17))), 400, "tensor-range", ""),
    "below the range": (lambda s: s.infer(json_body(hurt(-1))), 400, "tensor-range", ""),
    "too many rows": (lambda s: _binary(s, digit(65)), 400, "tensor-rows", ""),
    "truncated JSON": (lambda s: s.infer(json_body()[:100]), 400, "json-malformed", ""),
    "no body": (lambda s: s.infer(b""), 400, "json-malformed", ""),
    "a lying binary length": (
        lambda s: s.infer(b"{}", content_type="application/octet-stream", inference_header_content_length="99"),
        400,
        "binary-length",
        "",
    ),
    "oversize, declared": (lambda s: s.infer(b"x" * 100_001), 413, "body-too-large", ""),
    "oversize, declared, not sent": (
        lambda s: s.raw(_head(s, "content-length: 99999999999")),
        413,
        "body-too-large",
        "",
    ),
    "oversize, in chunks": (
        lambda s: s.raw(_head(s, "transfer-encoding: chunked") + b"8000\r\n" + (b"x" * 0x8000 + b"\r\n8000\r\n") * 5),
        413,
        "body-too-large",
        "",
    ),
    "unknown model": (lambda s: s.infer(path="/v2/models/letters/infer"), 404, "model-unknown", ""),
    "unknown version": (lambda s: s.infer(path="/v2/models/digits/versions/9/infer"), 404, "model-unknown", ""),
    "a version that lacks an approval": (
        lambda s: s.infer(path="/v2/models/digits/versions/2/infer"),
        409,
        "approvals-missing",
        "",
    ),
    "a damaged blob": (lambda s: s.infer(path="/v2/models/broken/infer"), 503, "blob-corrupt", ""),
    "unknown path": (lambda s: s.infer(path="/v3/models/digits/infer"), 404, "path-unknown", ""),
    "an escaped path": (lambda s: s.infer(path="/v2/models/%64igits/infer"), 404, "path-unknown", ""),
    "a path that climbs": (lambda s: s.infer(path="/v2/models/../../etc/passwd"), 404, "path-unknown", ""),
    "a doubled slash": (lambda s: s.infer(path="//v2/models/digits/infer"), 404, "path-unknown", ""),
    "a query": (lambda s: s.infer(path="/v2/models/digits/infer?x=1"), 400, "query-unexpected", ""),
    "wrong method": (lambda s: s.ask("GET", "/v2/models/digits/infer"), 405, "method-not-allowed", ""),
    "wrong content type": (lambda s: s.infer(content_type="text/plain"), 415, "media-type", ""),
    "a compressed body": (lambda s: s.infer(content_encoding="gzip"), 415, "content-encoding", ""),
}


def _unknown() -> str:
    from fastness.access.apikeys import format_key

    return format_key("abcdefgh", b"\x55" * 32)


def _binary(served: Served, array: np.ndarray) -> Reply:
    body, headers = binary(array)
    return served.infer(body, **headers)


def _head(served: Served, *lines: str, path: str = "/v2/models/digits/infer") -> bytes:
    given = [f"{name}: {value}" for name, value in served.house.headers().items()]
    return "\r\n".join([f"POST {path} HTTP/1.1", *given, *lines, "", ""]).encode()


@pytest.mark.parametrize("case", CASES)
def test_an_attempt_is_refused_recorded_and_survived(served: Served, case: str) -> None:
    act, status, code, reason = CASES[case]
    refused(served, act(served), status, code, reason)


def test_what_is_good_is_served_in_json_and_in_binary(served: Served) -> None:
    array = digit(3)
    plain = served.infer(json_body(array))
    assert plain.status == 200
    told = oip.decode_response(plain.body)
    dense = _binary(served, array)
    again = oip.decode_response(dense.body, dense.headers["inference-header-content-length"])
    assert told.model_version == again.model_version == "1"
    assert np.array_equal(told.outputs["label"], again.outputs["label"])
    assert np.allclose(told.outputs["p"], again.outputs["p"])
    event = served.house.event(dense.request_id)
    assert event.kind == "request.allowed"
    assert event.principal == "service:caller"
    assert event.resource == "model:digits"
    assert event.details == {
        "route": "infer",
        "status": 200,
        "model": "digits",
        "version": 1,
        "revision": "revision-1",
        "key": "00000001",
        "rows": 3,
    }


def test_a_revoked_key_is_refused_from_the_next_snapshot_on(served: Served) -> None:
    assert served.infer().status == 200
    served.house.publish_keys("caller")
    refused(served, served.infer(), 401, "key-unknown", "key-revoked")
    served.house.publish_keys()


def test_too_many_requests_are_told_when_to_come_back(served: Served) -> None:
    answers = [served.infer(key="slow") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    refused(served, answers[2], 429, "rate-limited")
    assert 1 <= int(answers[2].headers["retry-after"]) <= 100


def test_slow_headers_are_ended(served: Served) -> None:
    start = time.monotonic()
    reply = served.raw(b"POST /v2/models/digits/infer HTTP/1.1\r\nhost: gate")
    assert 0.3 < time.monotonic() - start < 5
    refused(served, reply, 408, "header-too-slow")


def test_a_header_each_now_and_then_does_not_move_the_deadline(served: Served) -> None:
    with served.connect() as sock:
        sock.sendall(b"GET /v2 HTTP/1.1\r\n")
        start = time.monotonic()
        try:
            while time.monotonic() - start < 5:
                sock.sendall(b"x-a: b\r\n")
                time.sleep(0.1)
        except OSError:
            pass
        assert time.monotonic() - start < 3


def test_a_slow_second_request_is_ended_too(served: Served) -> None:
    with served.connect() as sock:
        sock.sendall(b"GET /v2 HTTP/1.1\r\nhost: g\r\n\r\n")
        assert b"200" in sock.recv(4096)
        sock.sendall(b"GET /v2 HTT")
        assert b" 408 " in sock.recv(4096)
        assert sock.recv(4096) == b""


@pytest.mark.parametrize("tail", [b"", b'{"inp'])
def test_a_slow_body_is_ended(served: Served, tail: bytes) -> None:
    reply = served.raw(_head(served, "content-length: 500") + tail)
    refused(served, reply, 408, "body-too-slow")
    assert served.house.event(reply.request_id).principal == "service:caller"


def test_a_silent_connection_is_closed(served: Served) -> None:
    with served.connect() as sock:
        assert sock.recv(1) == b""


PATHS = [
    ("POST", "/v2/models/digits/infer"),
    ("POST", "/v2/models/digits/versions/1/infer"),
    ("GET", "/v2/models/digits"),
    ("GET", "/v2/models/digits/versions/1"),
    ("GET", "/v2/models/digits/ready"),
    ("GET", "/v2/models/digits/versions/1/ready"),
    ("GET", "/metrics"),
]
HOSTILE = [
    "' OR '1'='1",
    "Bearer ' OR 1=1 --",
    "Bearer fst_'); DROP TABLE keys;--",
    "Bearer fst_abcdefgh_" + "'" * 43 + "_00000000",
    "Basic YWRtaW46YWRtaW4=",
    "Bearer \xff\xfe",
    "Bearer " + "a" * 9000,
    "bearer",
]


@pytest.mark.parametrize(("method", "path"), PATHS)
def test_sql_in_the_authorization_header_is_only_a_malformed_key(served: Served, method: str, path: str) -> None:
    """LiteLLM, CVE-2026-42208: SQL injection before authentication, through the error path of the key check."""
    for value in HOSTILE:
        headers = served.house.headers(None) | {"authorization": value}
        reply = served.ask(method, path, json_body() if method == "POST" else None, headers)
        refused(served, reply, 401, "key-malformed")
        assert reply.headers["www-authenticate"] == "Bearer"
        for text in ("DROP", "1=1", "a" * 64):
            assert text.encode() not in reply.body
            assert text not in repr(served.house.event(reply.request_id))


@pytest.mark.parametrize("path", ["/v2", "/v2/health/live", "/v2/health/ready", "/healthz", "/readyz"])
def test_probes_need_no_key_and_write_nothing(served: Served, path: str) -> None:
    before = len(served.house.events())
    assert served.ask("GET", path, headers={"host": "g"}).status == 200
    assert len(served.house.events()) == before
    refused(served, served.ask("POST", path, b"", {"host": "g"}), 405, "method-not-allowed")


def test_metrics_are_for_those_who_may_read_them(served: Served) -> None:
    refused(served, served.ask("GET", "/metrics", headers=served.house.headers()), 403, "access-denied")
    reply = served.ask("GET", "/metrics", headers=served.house.headers("auditor"))
    assert reply.status == 200
    assert b'fastness_gateway_requests_total{route="infer",status="200"}' in reply.body
    assert b'fastness_gateway_step_seconds_count{step="infer"}' in reply.body


def test_models_describe_themselves(served: Served) -> None:
    reply = served.ask("GET", "/v2/models/digits", headers=served.house.headers("viewer"))
    assert json.loads(reply.body)["versions"] == ["1"]
    ready = served.ask("GET", "/v2/models/digits/versions/1/ready", headers=served.house.headers("viewer"))
    assert (ready.status, json.loads(ready.body)["ready"]) == (200, True)
    not_served = served.ask("GET", "/v2/models/digits/versions/2/ready", headers=served.house.headers("viewer"))
    refused(served, not_served, 409, "approvals-missing")


def test_a_stale_snapshot_refuses_everything(served: Served) -> None:
    house = served.house
    house.now_ns += 2_000_000_000
    try:
        refused(served, served.infer(), 503, "snapshot-stale")
        refused(served, served.ask("GET", "/readyz", headers={"host": "g"}), 503, "snapshot-stale")
        assert served.ask("GET", "/healthz", headers={"host": "g"}).status == 200
    finally:
        house.confirm()


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (Unavailable("worker-lost", "the worker is gone"), 503, "worker-lost"),
        (Unavailable("worker-timeout", "the worker is late"), 503, "worker-timeout"),
        (Unavailable("worker-overloaded", "too many wait"), 503, "worker-overloaded"),
        (RuntimeError("secret inside"), 500, "internal"),
    ],
)
def test_a_worker_that_fails_gives_no_answer(served: Served, failure: Exception, status: int, code: str) -> None:
    served.house.predictor.failure = failure
    try:
        reply = served.infer()
    finally:
        served.house.predictor.failure = None
    assert (reply.status, reply.code) == (status, code)
    assert served.house.event(reply.request_id).kind == "request.failed"
    assert b"secret" not in reply.body
    if status == 503:
        assert reply.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    "edits",
    [
        {"p": np.full((1, 10), np.nan, np.float32)},
        {"p": np.zeros((1, 9), np.float32)},
        {"label": np.zeros(2, np.int64)},
        {"other": np.zeros(1, np.float32)},
    ],
)
def test_an_answer_that_is_not_the_models_is_not_passed_on(served: Served, edits: dict[str, np.ndarray]) -> None:
    served.house.predictor.edits = edits
    try:
        refused(served, served.infer(), 503, "answer-refused")
    finally:
        served.house.predictor.edits = {}


@pytest.mark.parametrize("where", ["append", "flush"])
def test_a_full_disk_serves_nothing(served: Served, where: str) -> None:
    served.house.journal.full_at = where
    try:
        for act in (served.infer, lambda: served.infer(key=None), lambda: served.raw(b"\x00\x01\r\n\r\n")):
            reply = act()
            assert (reply.status, reply.code) == (503, "journal-full")
            assert b"label" not in reply.body
        if where == "flush":
            assert served.ask("GET", "/readyz", headers={"host": "g"}).status == 503
    finally:
        served.house.journal.full_at = ""


def test_a_caller_who_goes_away_is_recorded(served: Served) -> None:
    def gone() -> int:
        return sum(event.reason == "client-disconnected" for event in served.house.events())

    before = gone()
    served.house.predictor.delay_s = 0.3
    try:
        sock = served.connect()
        sock.sendall(_head(served, f"content-length: {len(json_body())}") + json_body())
        time.sleep(0.1)
        sock.close()
        with served.connect() as half:
            half.sendall(_head(served, "content-length: 500") + b"{")
            time.sleep(0.05)
        deadline = time.monotonic() + 5
        while gone() < before + 2 and time.monotonic() < deadline:
            served.infer()
    finally:
        served.house.predictor.delay_s = 0.0
    assert gone() == before + 2


def test_replies_tell_nothing_of_the_server_and_are_not_stored(served: Served) -> None:
    for reply in (served.infer(), served.infer(key=None)):
        assert "server" not in reply.headers
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["x-content-type-options"] == "nosniff"


def test_a_request_id_is_accepted_from_nobody(served: Served) -> None:
    reply = served.infer(x_request_id="00000000-0000-7000-8000-000000000000")
    assert reply.request_id != "00000000-0000-7000-8000-000000000000"
    assert reply.request_id[14] == "7"


def test_no_tensor_stands_in_an_event(served: Served) -> None:
    marked = digit()
    marked[0, :] = 13.671875
    reply = served.infer(json_body(marked))
    assert reply.status == 200
    assert "13.671875" not in repr(served.house.event(reply.request_id))
    marked[0, 5] = 4111.671875
    reply = served.infer(json_body(marked))
    assert "4111.671875" not in repr(served.house.event(reply.request_id))
    assert b"4111.671875" not in reply.body
