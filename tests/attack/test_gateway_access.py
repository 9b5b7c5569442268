"""What security officers set, what was revoked and what is used up counts at a live worker.

How soon, `benchmarks/revocation.py` measures. That it is a second at most does not rest on speed: a worker that heard nothing
for a second refuses everything, as `test_gateway_requests` shows by a clock of its own.
The control process, its feed and the gateway's own subscription are real; the gateway answers in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fastness.access import create_key, create_principal, enrol, revoke_key, tokens
from fastness.access.quotas import Kind, Quota, Shape, set_quota, uses
from fastness.access.restrictions import Kind as What
from fastness.access.restrictions import Measure, Order, impose, lift
from fastness.access.tokens import Grantee, Rights
from fastness.app import ControlProcess, Home, House, Settings, create_home, open_house
from fastness.app.feed import Subscription
from fastness.app.held import Held, Told
from fastness.core.clock import SECOND, Instant, SystemClock, later, system_entropy
from fastness.core.events import Event, EventKind
from fastness.core.identity import SYSTEM_SCOPE, Action, PrincipalId, PrincipalKind, Role, Strength
from fastness.core.limits import Limit, Unit, Window
from fastness.foundation.crypto import SoftwareSigner
from fastness.foundation.storage import MemoryCounters, counters
from fastness.foundation.telemetry import Metrics
from fastness.gateway import GatewayParts, create_app
from fastness.models.release import Routes
from tests.unit.gateway import house as doll

WIDE = Limit(1e4, 1e4)
PATH = b"/v2/models/digits/infer"


@dataclass
class Answer:
    status: int
    code: str
    headers: dict[str, str]


@dataclass
class Live:
    """A house, its control process, and one worker that subscribes to it."""

    house: House
    folder: Path
    ready: threading.Event = field(default_factory=threading.Event)
    keys: dict[str, str] = field(default_factory=dict)

    def serve(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        process = ControlProcess(self.house)
        self.loop, self._ending = asyncio.get_running_loop(), asyncio.Event()
        async with process.running():
            made = doll.House(self.folder)
            held = Held(Told(made.journal, Metrics(), "gateway-0"))
            routes = made.routes.current
            topics = {name: topic for name, topic in held.topics.items() if name not in {"routes", "tls"}}
            subscription = Subscription(self.house.home.state_socket, topics, lambda s: self._taken(held, s))
            receiving = asyncio.create_task(subscription.run())
            await asyncio.wait_for(subscription.complete.wait(), 20)
            shared = counters.LeasedCounters(subscription.ask)
            parts = GatewayParts(
                credentials=held.credentials, tokens=held.tokens, policies=held.policies,
                restrictions=held.restrictions, quotas=held.quotas, routes=_Fixed(routes),  # type: ignore[arg-type]
                predictor_for=lambda _: made.predictor, counters=MemoryCounters(), shared=shared, journal=made.journal,
                metrics=Metrics(), clock=SystemClock(), entropy=system_entropy, possession=held.possession,
                nonces=subscription, signed=made.parts.signed,
            )  # fmt: skip
            self.app, self.doll = create_app(parts, made.settings), made
            self.ready.set()
            await self._ending.wait()
            await shared.close()
            receiving.cancel()

    def _taken(self, held: Held, snapshot: Any) -> None:
        if type(snapshot).__name__ == "Rules":
            held.take(snapshot)

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self._ending.set)

    def ask(self, credential: str, address: str = "203.0.113.7") -> Answer:
        return asyncio.run_coroutine_threadsafe(self._ask(credential, address), self.loop).result(20)

    async def _ask(self, credential: str, address: str) -> Answer:
        body, sent = doll.json_body(), []
        headers = self.doll.headers(None) | {"authorization": f"Bearer {credential}", "content-length": str(len(body))}

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "raw_path": PATH, "query_string": b"", "client": (address, 1),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }  # fmt: skip
        await self.app(scope, receive, send)
        said = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        reply = doll.Reply(sent[0]["status"], said, sent[1]["body"])
        return Answer(reply.status, "" if reply.status == 200 else reply.code, said)

    def soon(self, work: Callable[[], Answer], wanted: tuple[int, str]) -> Answer:
        """The answer that has to come, however slow the machine is."""
        deadline = time.monotonic() + 60.0
        answer = work()
        while (answer.status, answer.code) != wanted and time.monotonic() < deadline:
            time.sleep(0.02)
            answer = work()
        assert (answer.status, answer.code) == wanted
        return answer

    @contextlib.contextmanager
    def changing(self) -> Iterator[Any]:
        with self.house.records.begin(SYSTEM_SCOPE, self.house.clock.now()) as tx:
            yield tx

    def principal(self, name: str) -> PrincipalId:
        with self.changing() as tx:
            code = create_principal(tx, PrincipalKind.SERVICE, name, frozenset({Role.DEVELOPER})).code
        with self.changing() as tx:
            return enrol(tx, code, SoftwareSigner.create(system_entropy).public_pem, self.house.pepper)[0].id

    def key(self, principal: PrincipalId, name: str = "k") -> tuple[str, str]:
        with self.changing() as tx:
            until = later(tx.now, 3600.0)
            made = create_key(tx, principal, WIDE, until, name, self.house.pepper)
        self.soon(lambda: self.ask(made.text), (200, ""))
        return made.key_id, made.text

    def impose(self, measure: Measure, kind: What, target: str, limit: Limit | None = None) -> str:
        with self.changing() as tx:
            order = Order(measure, kind, target, "a test", later(tx.now, 600.0), limit)
            return impose(tx, order).id

    def lift(self, restriction: str) -> None:
        with self.changing() as tx:
            lift(tx, restriction, "over")

    def token(self, principal: PrincipalId, client: str = "app", **changes: Any) -> str:
        rights = Rights(frozenset({Action.MODEL_INFER}))
        issuer = changes.pop("issuer", self.house.issuer)
        with self.changing() as tx:
            grantee = Grantee(principal, rights, Strength.MFA, tx.now, client, **changes)
            return tokens.issue(tx, issuer, grantee).text

    def events(self, kind: EventKind) -> list[Event]:
        return [event for event in self.doll.events() if event.kind is kind]


class _Fixed:
    """Routes that no feed brings, for no worker is started here."""

    def __init__(self, routes: Routes) -> None:
        self.current = routes
        self.epoch = 1


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    home = Home(tmp_path_factory.mktemp("h") / "home")
    create_home(home, None, "admin", SoftwareSigner.create(system_entropy).public_pem)
    with home.locked(), open_house(home, Settings(), None) as house:
        made = Live(house, tmp_path_factory.mktemp("worker"))
        thread = threading.Thread(target=made.serve)
        thread.start()
        assert made.ready.wait(60)
        yield made
        made.end()
        thread.join(30)
    shutil.rmtree(home.root, ignore_errors=True)


@pytest.fixture(scope="module")
def anna(live: Live) -> tuple[PrincipalId, str, str]:
    name = live.principal("anna")
    return (name, *live.key(name))


TARGETS = {
    "principal": (What.PRINCIPAL, 0),
    "key": (What.KEY, 1),
    "model": (What.MODEL, "digits"),
    "action": (What.ACTION, "model.infer"),
}


@pytest.mark.parametrize(("kind", "target"), TARGETS.values(), ids=TARGETS)
def test_what_is_blocked_is_refused_and_let_in_again(
    live: Live, anna: tuple[PrincipalId, str, str], kind: What, target: int | str
) -> None:
    named = anna[target] if isinstance(target, int) else target
    restriction = live.impose(Measure.BLOCK, kind, named)
    live.soon(lambda: live.ask(anna[2]), (403, "restricted"))
    live.lift(restriction)
    live.soon(lambda: live.ask(anna[2]), (200, ""))


def test_a_blocked_address_is_refused_before_its_key_is_looked_at(
    live: Live, anna: tuple[PrincipalId, str, str]
) -> None:
    restriction = live.impose(Measure.BLOCK, What.ADDRESS, "198.51.100.0/24")
    live.soon(lambda: live.ask(anna[2], "198.51.100.9"), (403, "restricted"))
    assert live.ask("no key at all", "198.51.100.9").code == "restricted"
    assert live.ask(anna[2], "::ffff:198.51.100.9").code == "restricted"
    assert live.ask(anna[2], "198.51.101.9").status == 200
    refused = [event for event in live.events(EventKind.REQUEST_REFUSED) if event.reason == "restricted"]
    assert refused[-1].details["from"] == "::ffff:198.51.100.9"
    live.lift(restriction)
    live.soon(lambda: live.ask(anna[2], "198.51.100.9"), (200, ""))


def test_a_throttled_principal_is_slowed_down(live: Live) -> None:
    bert = live.principal("bert")
    _, key = live.key(bert)
    live.impose(Measure.THROTTLE, What.PRINCIPAL, bert, Limit(0.1, 1))
    answer = live.soon(lambda: live.ask(key), (429, "restricted"))
    assert 1 <= int(answer.headers["retry-after"]) <= 10


def test_a_second_factor_is_asked_for_where_an_officer_says_so(live: Live) -> None:
    cora = live.principal("cora")
    _, key = live.key(cora)
    live.impose(Measure.STEP_UP, What.PRINCIPAL, cora)
    live.soon(lambda: live.ask(key), (403, "step-up-required"))


def test_a_revoked_key_is_refused(live: Live) -> None:
    key_id, key = live.key(live.principal("dora"))
    with live.changing() as tx:
        revoke_key(tx, key_id)
    live.soon(lambda: live.ask(key), (401, "key-unknown"))


def test_a_token_is_good_until_its_client_is_revoked(live: Live) -> None:
    emil = live.principal("emil")
    token = live.token(emil, "desk")
    live.soon(lambda: live.ask(token), (200, ""))
    allowed = live.events(EventKind.REQUEST_ALLOWED)[-1]
    assert (allowed.principal, allowed.details["client"]) == (emil, "desk")
    with live.changing() as tx:
        tokens.revoke(tx, "client/desk", emil, "betrayed")
    live.soon(lambda: live.ask(token), (401, "token-refused"))
    assert live.events(EventKind.REQUEST_REFUSED)[-1].reason == "token-revoked"
    assert live.ask(live.token(emil, "other")).status == 200


def test_a_blocked_person_does_not_come_in_by_token(live: Live) -> None:
    fritz = live.principal("fritz")
    token = live.token(fritz)
    live.soon(lambda: live.ask(token), (200, ""))
    live.impose(Measure.BLOCK, What.PRINCIPAL, fritz)
    live.soon(lambda: live.ask(token), (403, "restricted"))


def test_a_token_for_another_or_too_old_or_bound_elsewhere_is_refused(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    gerd = live.principal("gerd")
    live.soon(lambda: live.ask(live.token(gerd)), (200, ""))
    ours = live.house.issuer
    elsewhere = tokens.Issuer(ours.name, "https://elsewhere", ours.signers)
    foreign = tokens.Issuer("https://elsewhere", ours.audience, ours.signers)
    with live.house.records.begin(SYSTEM_SCOPE, Instant(live.house.clock.now() - 3600 * SECOND)) as tx:
        rights = Rights(frozenset({Action.MODEL_INFER}))
        old = tokens.issue(tx, ours, Grantee(gerd, rights, Strength.MFA, tx.now, "app")).text
    refused = {
        live.token(gerd, issuer=elsewhere): "token-audience",
        live.token(gerd, issuer=foreign): "token-issuer",
        live.token(gerd, thumbprint="x" * 43): "token-binding",
        old: "token-expired",
        live.token(gerd)[:-8] + "AAAAAAAA": "token-forged",
    }
    for token, reason in refused.items():
        answer = live.ask(token)
        assert (answer.status, answer.code) == (401, "token-refused"), reason
        assert live.events(EventKind.REQUEST_REFUSED)[-1].reason == reason


def test_two_keys_of_one_principal_share_its_quota(live: Live) -> None:
    hans = live.principal("hans")
    keys = [live.key(hans, name)[1] for name in ("one", "two")]
    with live.changing() as tx:
        set_quota(tx, Quota(Kind.PRINCIPAL, hans, Unit.REQUESTS, Window.DAY, 5, Shape.FIXED))
    asked = 0
    while (answer := live.ask(keys[asked % 2])).status == 200 and asked < 1000:
        asked += 1
        time.sleep(0.01)
    assert (answer.status, answer.code) == (429, "quota-exceeded")
    assert {live.ask(key).code for key in keys} == {"quota-exceeded"}
    told = [event for event in live.events(EventKind.QUOTA_EXCEEDED) if event.principal == hans]
    assert [(event.resource, event.details["window"]) for event in told] == [(f"principal:{hans}", "day")]


def test_what_was_used_is_written_down(live: Live) -> None:
    """The accountant of the control process writes it within its second, from the counters that the worker leases from."""
    ida = live.principal("ida")
    _, key = live.key(ida)
    with live.changing() as tx:
        set_quota(tx, Quota(Kind.PRINCIPAL, ida, Unit.BYTES, Window.DAY, 1 << 30))
    size, deadline = len(doll.json_body()), time.monotonic() + 10
    used = 0
    while used < 3 * size and time.monotonic() < deadline:
        assert live.ask(key).status == 200
        time.sleep(0.2)
        with live.house.records.read(SYSTEM_SCOPE) as reading:
            used = sum(use.used for use in uses(reading, live.house.clock.now(), Kind.PRINCIPAL, ida))
    assert used >= 3 * size
