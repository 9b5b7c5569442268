"""Signed requests that were changed, sent again, cut down or made up, sent to the gateway over real sockets.

What a signature has to cover and by which keys is attacked one by one in `test_access_signatures.py`; here are what only a server
can get wrong: bodies, framing, workers, restarts. Success rate: 0. Not covered: a Redis that lost its data within the minutes
for which a request is good.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastness.access import Policies
from fastness.access.members import UNBOUND, KeyTerms
from fastness.access.possession import (
    Kind,
    Nonce,
    Nonces,
    PossessionProjection,
    add_signing_key,
    revoke_possession,
)
from fastness.app.feed import Feed, Subscription
from fastness.client import Client, HttpTransport, RequestSigner, SignedTransport
from fastness.client.signing import content_digest
from fastness.core.clock import SystemClock, later
from fastness.core.errors import Invalid, Unavailable
from fastness.core.identity import Action, PrincipalId, PrincipalKind, Role
from fastness.core.limits import Limit
from fastness.foundation.crypto import SoftwareSigner
from fastness.foundation.storage import counters
from tests.redis_process import RedisProcess
from tests.unit.access.house import ADMIN
from tests.unit.access.house import House as Records
from tests.unit.gateway.house import House, Reply, Served, digit, json_body, serving

PATH = "/v2/models/digits/infer"
CALLER = PrincipalId("service:caller")


class Post:
    """A gateway, and somebody who signs."""

    def __init__(self, folder: Path, rules: Policies | None = None) -> None:
        self.records = Records()
        self.records.clock.advance((SystemClock().now() - self.records.clock.now()) / 1e9)
        self.records.person("caller", Role.DEVELOPER, kind=PrincipalKind.SERVICE)
        self.house = House(folder, rules=rules or Policies.shipped())
        self.signer = SoftwareSigner.create(os.urandom)
        self.id = self.register()
        self.served: Served

    def register(self, signer: SoftwareSigner | None = None, **terms: Any) -> str:
        with self.records.begin() as tx:
            given = KeyTerms(Limit(1e4, 1e4), later(self.records.clock.now(), 86_400), **terms)
            row = add_signing_key(tx, CALLER, (signer or self.signer).public_pem, given, UNBOUND)
        self.publish()
        return row.id

    def publish(self) -> None:
        with self.records.records.read(ADMIN) as reading:
            self.house.publish(self.house.possession, PossessionProjection().load(reading))

    def signed(
        self,
        body: bytes | None = None,
        path: str = PATH,
        method: str = "POST",
        authority: str = "gateway",
        **fields: str,
    ) -> dict[str, str]:
        """The fields of a request, signed by the SDK."""
        given = {"host": authority, **{name.replace("_", "-"): value for name, value in fields.items()}}
        if body is not None:
            given |= {"content-type": "application/json", "content-digest": content_digest(body)}
        own = RequestSigner(self.signer.private_pem())
        work = SignedTransport(HttpTransport("http://localhost"), own, f"https://{authority}")
        return given | work.signed(method, path, given)

    def ask(
        self, headers: Mapping[str, str], body: bytes | None = None, path: str = PATH, method: str = "POST"
    ) -> Reply:
        return self.served.ask(method, path, body, dict(headers))

    def refused(self, reply: Reply) -> str:
        assert (reply.status, reply.code) == (401, "signature-refused"), (reply.status, reply.body)
        return self.house.event(reply.request_id).reason


@pytest.fixture
def post(tmp_path: Path) -> Iterator[Post]:
    made = Post(tmp_path)
    with serving(made.house) as made.served:
        yield made
    made.records.records.close()


def test_a_signature_is_all_it_takes(post: Post) -> None:
    body = json_body()
    reply = post.ask(post.signed(body), body)
    assert reply.status == 200, reply.body
    event = post.house.event(reply.request_id)
    assert (event.principal, event.details["signing-key"]) == (CALLER, post.id)
    assert post.ask(post.signed(method="GET", path="/v2/models/digits"), None, "/v2/models/digits", "GET").status == 200
    key = {"authorization": f"Bearer {post.house.keys['caller']}"}
    both = post.ask(post.signed(body, **key), body)
    assert both.status == 200
    assert post.house.event(both.request_id).details["signed"] is True
    other = {"authorization": f"Bearer {post.house.keys['viewer']}"}
    assert post.ask(post.signed(body, **other), body).code == "credentials-mixed"
    post.served.serves()


def test_the_sdk_signs(post: Post, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(post.signer.private_pem())
    url = f"https://127.0.0.1:{post.served.port}"
    with Client(url, RequestSigner.from_file(key), ca=tmp_path / "chain.pem") as client:
        with pytest.raises(Exception, match="signature-refused"):  # this server does not go by that name
            client.infer("digits", {"X": digit()})
        assert post.house.events()[-1].reason == "signature-authority"
    with pytest.raises(Invalid, match="key-unreadable"):
        RequestSigner.from_file(tmp_path / "none")
    with pytest.raises(Invalid, match="key-malformed"):
        RequestSigner(b"x")
    with pytest.raises(Invalid, match="body-unsignable"):
        content_digest(iter([b"x"]))


def test_a_body_under_another_ones_signature(post: Post) -> None:
    body, other = json_body(), json_body(digit() + 1)
    for sent in (other, body + b" ", body[:-1], b"", b"[]"):
        assert post.refused(post.ask(post.signed(body), sent)) == "signature-body"
    assert post.house.predictor.calls == 0
    bare = post.signed(None, content_type="application/json")
    assert post.refused(post.ask(bare, body)) == "signature-body"  # no digest was signed, so there is no body


def test_how_a_body_is_framed_changes_nothing(post: Post) -> None:
    """Chunks, two lengths, trailers: what is held against the digest is what is read."""
    body, other = json_body(), json_body(digit() + 1)
    for chunks, status in (([body], 200), ([body[:7], body[7:]], 200), ([other], 401), ([body, b" "], 401), ([], 401)):
        headers = post.signed(body) | {"transfer-encoding": "chunked"}
        data = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nsignature: x=:AA==:\r\n\r\n"
        assert post.served.raw(_lines("POST", PATH, headers) + data).status == status
    for extra in ({"content-length": str(len(body))}, {"transfer-encoding": "gzip, chunked"}):
        headers = post.signed(body) | {"transfer-encoding": "chunked"} | extra
        assert post.served.raw(_lines("POST", PATH, headers) + b"0\r\n\r\n").status == 400
    short = post.signed(body) | {"content-length": "5"}
    smuggled = post.served.raw(_lines("POST", PATH, short) + body)
    assert post.refused(smuggled) == "signature-body"


def test_a_request_sent_again(post: Post) -> None:
    body = json_body()
    headers = post.signed(body)
    assert post.ask(headers, body).status == 200
    for _ in range(3):
        assert post.refused(post.ask(headers, body)) == "signature-replayed"
    refused = post.signed(body, path="/v2/models/unknown/infer")  # also one whose answer was no
    assert post.ask(refused, body, "/v2/models/unknown/infer").status == 404
    assert post.refused(post.ask(refused, body, "/v2/models/unknown/infer")) == "signature-replayed"


def test_a_request_moved_elsewhere(post: Post) -> None:
    body = json_body()
    assert post.refused(post.ask(post.signed(body), body, "/v2/models/broken/infer")) == "signature-forged"
    assert post.refused(post.ask(post.signed(body) | {"host": "127.0.0.1"}, body)) == "signature-authority"
    assert post.refused(post.ask(post.signed(body, authority="evil.example"), body)) == "signature-authority"
    binary = post.signed(body) | {"inference-header-content-length": "5"}
    assert post.refused(post.ask(binary, body)) == "signature-uncovered"


def test_fields_that_come_twice_and_two_signatures(post: Post) -> None:
    body = json_body()
    first, second = post.signed(body), post.signed(body)
    for name in ("signature", "signature-input", "host", "content-type", "authorization"):
        lines = _lines("POST", PATH, first | {"content-length": str(len(body))})
        twice = lines[:-2] + f"{name}: {second.get(name, 'x')}\r\n\r\n".encode()
        if name == "authorization":
            twice = twice[:-2] + b"authorization: y\r\n\r\n"
        assert post.served.raw(twice + body).code == "header-duplicate"
    joined = {
        name: f"{first[name]}, {second[name].replace('fastness=', 'other=', 1)}"
        for name in ("signature", "signature-input")
    }
    assert post.refused(post.ask(first | joined, body)) == "signature-malformed"
    digests = first | {"content-digest": f"{content_digest(b'x')}, {first['content-digest']}"}
    assert post.refused(post.ask(digests, body)) in {"signature-forged", "signature-malformed"}
    again = _lines("POST", PATH, first | {"content-length": str(len(body))})[:-2]
    again += f"content-digest: {content_digest(body)}\r\n\r\n".encode()
    assert post.refused(post.served.raw(again + body)) == "signature-malformed"


def test_revocation_counts_at_once(post: Post) -> None:
    body = json_body()
    assert post.ask(post.signed(body), body).status == 200
    with post.records.begin() as tx:
        revoke_possession(tx, Kind.SIGNING_KEY, post.id)
    post.publish()
    assert post.refused(post.ask(post.signed(body), body)) == "signature-key-revoked"


def test_what_a_signing_key_is_narrowed_to(post: Post) -> None:
    post.signer = SoftwareSigner.create(os.urandom)
    post.register(actions=frozenset({Action.MODEL_READ}))
    body = json_body()
    assert post.ask(post.signed(body), body).code == "access-denied"
    post.signer = SoftwareSigner.create(os.urandom)
    post.register(networks=("203.0.113.0/24",))
    assert post.refused(post.ask(post.signed(body), body)) == "signature-key-address"


def test_a_rule_can_demand_signatures(tmp_path: Path) -> None:
    shipped = Policies.shipped()
    rule = '@id("signed") @says("Sign it.") forbid (principal, action == Action::"model.infer", resource) unless { principal.signed };'
    own = Policies({**shipped.texts, "signed.cedar": rule}, shipped.schema)
    post = Post(tmp_path, own)
    body = json_body()
    with serving(post.house) as post.served:
        assert post.served.infer().code == "access-denied"
        assert post.ask(post.signed(body), body).status == 200
        assert post.served.infer().code == "access-denied"
        both = post.signed(body, authorization=f"Bearer {post.house.keys['caller']}")
        assert post.ask(both, body).status == 200
        assert post.served.infer().code == "access-denied"
    post.records.records.close()


TEXTS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF), max_size=60)
PARTS = st.sampled_from(
    [
        'fastness=("@method"', '"@authority"', '"@path")', ";created=", "1", ";nonce=", '"', ";keyid=", ";tag=", "fastness",
        "=:", ":", "AAAA", "?1", "=?0", "(", ")", ",", ";", "@1", "%", "\\", "\x80", "99999999999999999", "-1.5", '"@query-param";name="x"',
        '"@status"', ";req", ";bs", ";sf", ';key="x"', "*", "a=()", " ", "\t",
    ]
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(PARTS | TEXTS, max_size=14).map("".join), st.lists(PARTS | TEXTS, max_size=6).map("".join), st.booleans()
)
def test_nothing_that_stands_there_is_a_fault_of_ours(post: Post, described: str, given: str, keep: bool) -> None:
    body = json_body()
    headers = post.signed(body)
    if keep:  # a good one with something after it
        described, given = headers["signature-input"] + described, headers["signature"] + given
    changed = headers | {"signature-input": described.strip() or "x", "signature": given.strip() or "x"}
    reply = post.ask(changed, body)
    if described == headers["signature-input"] and given == headers["signature"]:
        return
    assert reply.status in {200, 400, 401}, (changed, reply.body)
    if reply.status == 200:  # what was appended is optional white space
        assert changed["signature-input"] == headers["signature-input"]


def test_a_flipped_byte_anywhere_is_refused(post: Post) -> None:
    body, chance = json_body(), random.Random(7)
    for name in ("signature-input", "signature", "content-digest", "content-type"):
        for _ in range(6):
            headers = post.signed(body)
            place = chance.randrange(len(headers[name]))
            flipped = headers[name][:place] + chr(ord(headers[name][place]) ^ 1) + headers[name][place + 1 :]
            reply = post.ask(headers | {name: flipped}, body)
            assert reply.status in {400, 401, 415}, (name, flipped)
    assert post.house.predictor.calls == 0


def test_one_memory_for_all_workers_and_none_that_begins_anew(tmp_path: Path) -> None:
    """Two workers ask the control process; when that was started again, what was signed before is refused."""

    async def story() -> None:
        clock, path = SystemClock(), tmp_path / "s"
        nonce = Nonce("default/k:" + "n" * 20, clock.now() // 10**9 + 30, 306.0)
        async with _control(path, Nonces(counters.MemorySeen(), clock.now(), 5)) as (first, second):
            assert await first.once(nonce, clock.now())
            assert not await second.once(nonce, clock.now())
            assert not await first.once(nonce, clock.now())
        born = later(clock.now(), 60)
        async with _control(path, Nonces(counters.MemorySeen(), born, 5)) as (first, second):
            for worker in (first, second):
                with pytest.raises(Unavailable, match="nonces-young"):
                    await worker.once(nonce, clock.now())
        with pytest.raises(Unavailable, match="nonces-unreachable"):
            await first.once(nonce, clock.now())
        async with _control(path, None) as (first, _):
            with pytest.raises(Unavailable, match="nonces-elsewhere"):
                await first.once(nonce, clock.now())

    asyncio.run(story())


def test_one_memory_in_redis(tmp_path: Path) -> None:
    now = SystemClock().now()
    nonce = Nonce("default/k:" + "n" * 20, now // 10**9, 306.0)
    redis = RedisProcess(tmp_path)
    try:
        seen = [counters.RedisSeen(counters.RedisSettings(redis.url)) for _ in range(2)]
        memories = [Nonces(each, None, 5) for each in seen]
        assert [memory.once(nonce, now) for memory in memories] == [True, False]
    finally:
        redis.kill()
    with pytest.raises(Unavailable, match="seen-unreachable"):
        memories[0].once(nonce, now)
    for each in seen:
        each.close()


@contextlib.asynccontextmanager
async def _control(path: Path, nonces: Nonces | None) -> Any:
    serving_ = asyncio.create_task(Feed({}, None, nonces=nonces).serve(path))
    workers = [Subscription(path, {}, lambda _: None) for _ in range(2)]
    running = [asyncio.create_task(worker.run()) for worker in workers]
    while any(worker._writer is None for worker in workers):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    try:
        yield workers
    finally:
        for task in (*running, serving_):
            task.cancel()
        await asyncio.gather(*running, serving_, return_exceptions=True)


def _lines(method: str, path: str, headers: Mapping[str, str]) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", *(f"{n}: {v}" for n, v in headers.items()), "", ""]).encode(
        "latin-1"
    )
