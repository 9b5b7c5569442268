"""A gateway worker of `fastness up`: `python -m fastness.app.gateway --home FOLDER --fd N --worker N`.

Holds outsiders' bytes, the TLS leaf, key digests and snapshots; never SQL and never key-encryption keys. It starts to
listen when it has its first snapshots, and refuses when they are not confirmed.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
from pathlib import Path

import msgspec
import uvicorn

from fastness.access import Credentials, Policies
from fastness.access.policysets import PolicyBook
from fastness.access.quotas import QuotaBook
from fastness.access.restrictions import Restrictions
from fastness.access.tokens import TokenKeys
from fastness.app.feed import Subscription, Topics
from fastness.app.home import Home
from fastness.app.leaf import Leaf, load_leaf, strict_context
from fastness.app.lifeline import lifeline
from fastness.app.settings import Settings, load_settings, shared_counters
from fastness.app.snapshots import Rules
from fastness.core.clock import SystemClock, system_entropy
from fastness.core.errors import FastnessError, Unavailable
from fastness.core.events import Detail, EventFactory, EventKind
from fastness.core.findings import Decision
from fastness.core.identity import DEFAULT_TENANT, SYSTEM, TenantId
from fastness.foundation.crypto import references
from fastness.foundation.storage import FileJournal, Journal, Live, MemoryCounters, counters
from fastness.foundation.telemetry import Metrics
from fastness.gateway import EdgeProtocol, GatewayParts, create_app
from fastness.models.release import Route, Routes
from fastness.models.runtime import Predictor, WorkerPredictor

_LONGEST_TEXT = 500

_log = logging.getLogger(__name__)


class _Predictors:
    """One connection to each model worker; those of workers that left are closed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings.runtime
        self._known: dict[str, WorkerPredictor] = {}

    def __call__(self, route: Route) -> Predictor:
        found = self._known.get(route.socket)
        if found is None:
            found = WorkerPredictor(Path(route.socket), route.signature, self._settings)
            self._known[route.socket] = found
        return found

    def keep(self, routes: Routes) -> None:
        """Close the connections that no route needs."""
        needed = {route.socket for route in routes.by_key.values()}
        for path in self._known.keys() - needed:
            self._known.pop(path).close()


def main() -> None:
    """Serve until the supervisor goes away or asks to stop."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--worker", type=int, required=True)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s gateway %(levelname)s %(message)s")
    home = Home(options.home)
    try:
        settings = load_settings(home, dict(item.split("=", 1) for item in options.set))
        if settings.gateway.access_log:
            logging.getLogger("fastness.access").setLevel(logging.INFO)
        listener = socket.socket(fileno=options.fd)
        with asyncio.Runner(loop_factory=uvicorn.Config(app="", loop="uvloop").get_loop_factory()) as runner:
            runner.run(_serve(home, settings, listener, options.worker))
    except FastnessError as error:
        sys.stderr.write(f"gateway: {error}\n")
        sys.exit(error.exit)


class Told:
    """What a worker tells of itself, besides its requests: in its journal, and in its metrics."""

    def __init__(self, journal: Journal, metrics: Metrics, worker: str) -> None:
        self._journal = journal
        self._worker = worker
        self._changes = metrics.counter(
            "fastness_gateway_counters_changes",
            "How often the shared counters ceased to answer, and began again.",
            ["now"],
        )

    def damage(self, tenant: TenantId, problem: str) -> None:
        """A tenant's rules are not as the house sealed them: its last good ones hold, or it is refused."""
        _log.error("the rules of %s: %s", tenant, problem)
        details: dict[str, Detail] = {"what": problem[:_LONGEST_TEXT]}
        self._tell(EventKind.INTEGRITY_FAILED, tenant, f"policies:{tenant}", "policies-corrupt", details)

    def counters(self, reason: str) -> None:
        """The shared counters ceased to answer, for this reason, or answer again."""
        now = "degraded" if reason else "restored"
        _log.warning("the shared counters are %s %s", now, reason)
        self._changes.labels(now).inc()
        self._tell(EventKind.COUNTERS_CHANGED, DEFAULT_TENANT, "system:counters", now, {"why": reason[:_LONGEST_TEXT]})

    def _tell(self, kind: EventKind, tenant: TenantId, resource: str, reason: str, details: dict[str, Detail]) -> None:
        """Where not even that can be recorded, no request is served either."""
        events = EventFactory(tenant, SYSTEM, SystemClock().now(), system_entropy)
        decision = Decision.DENY if kind is EventKind.INTEGRITY_FAILED else None
        details["worker"] = self._worker
        try:
            self._journal.append(events.make(kind, resource, decision=decision, reason=reason, details=details))
            self._journal.flush()
        except FastnessError:
            _log.exception("%s is not recorded", kind)


class Held:
    """The snapshots that a worker decides by, each as it was last pushed.

    Args:
        told: what is wrong with the rules goes there.
    """

    def __init__(self, told: Told) -> None:
        self.credentials: Live[Credentials] = Live()
        self.tokens: Live[TokenKeys] = Live()
        self.restrictions: Live[Restrictions] = Live()
        self.quotas: Live[QuotaBook] = Live()
        self.routes: Live[Routes] = Live()
        self._rules: Live[Rules] = Live()
        self._leaf: Live[Leaf] = Live()
        self._book: PolicyBook | None = None
        self._told = told
        self._problems: dict[TenantId, str] = {}

    @property
    def topics(self) -> Topics:
        """What is subscribed."""
        return {
            "keys": (Credentials, self.credentials), "policies": (Rules, self._rules), "tokens": (TokenKeys, self.tokens),
            "restrictions": (Restrictions, self.restrictions), "quotas": (QuotaBook, self.quotas),
            "routes": (Routes, self.routes), "tls": (Leaf, self._leaf),
        }  # fmt: skip

    @property
    def policies(self) -> PolicyBook:
        """The rules of every tenant.

        Raises:
            Unavailable: none have arrived yet.
        """
        if self._book is None:
            raise Unavailable("snapshot-missing", "the rules have not arrived yet", "Try again in a moment.")
        return self._book

    def take(self, rules: Rules) -> None:
        """Have the rules hold; a problem is told once."""
        if self._book is None:
            self._book = PolicyBook(Policies.shipped(), rules.house)
        problems = self._book.take(rules.snapshot)
        for tenant, problem in problems.items():
            if self._problems.get(tenant) != problem:
                self._told.damage(tenant, problem)
        self._problems = problems


async def _serve(home: Home, settings: Settings, listener: socket.socket, worker: int) -> None:
    name = f"gateway-{worker}"
    journal, metrics = FileJournal(home.journal, name), Metrics({"worker": name})
    told = Told(journal, metrics, name)
    held = Held(told)
    predictors = _Predictors(settings)
    context = strict_context()

    def changed(snapshot: msgspec.Struct) -> None:
        if isinstance(snapshot, Leaf):
            load_leaf(context, snapshot)
        elif isinstance(snapshot, Routes):
            predictors.keep(snapshot)
        elif isinstance(snapshot, Rules):
            held.take(snapshot)

    subscription = Subscription(home.state_socket, held.topics, changed)
    receiving = asyncio.create_task(subscription.run())
    ending = asyncio.create_task(lifeline())
    await asyncio.wait({asyncio.create_task(subscription.complete.wait()), ending}, return_when=asyncio.FIRST_COMPLETED)
    if ending.done():
        return
    shared: counters.RedisCounters | counters.LeasedCounters = counters.LeasedCounters(subscription.ask)
    if settings.redis.url:
        secrets = references.open_secrets(settings.secrets, os.environ)
        shared = shared_counters(settings, secrets, SystemClock(), told.counters)
    parts = GatewayParts(
        credentials=held.credentials, tokens=held.tokens, policies=held.policies, restrictions=held.restrictions,
        quotas=held.quotas, routes=held.routes, predictor_for=predictors, shared=shared,
        counters=MemoryCounters(1 / settings.server.gateways), journal=journal, metrics=metrics, clock=SystemClock(),
        entropy=system_entropy,
    )  # fmt: skip
    config = uvicorn.Config(
        create_app(parts, settings.gateway), http=EdgeProtocol, ws="none", lifespan="off", access_log=False,
        log_level="warning", server_header=False, date_header=False, proxy_headers=False, timeout_graceful_shutdown=10,
    )  # fmt: skip
    config.load()
    config.ssl = context
    server = uvicorn.Server(config)
    ending.add_done_callback(lambda _: setattr(server, "should_exit", True))
    await server.serve(sockets=[listener])
    await shared.close()
    receiving.cancel()


if __name__ == "__main__":
    main()
