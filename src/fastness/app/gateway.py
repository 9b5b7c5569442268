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

from fastness.access.possession import Nonce, Nonces
from fastness.access.possession.signatures import Rule
from fastness.app.feed import Subscription
from fastness.app.held import Held, Told
from fastness.app.home import Home
from fastness.app.leaf import Leaf, load_leaf, strict_context
from fastness.app.lifeline import lifeline
from fastness.app.settings import ClientCertificates, Settings, load_settings, open_nonces, shared_counters
from fastness.app.snapshots import Rules
from fastness.core.clock import Instant, SystemClock, system_entropy
from fastness.core.errors import FastnessError
from fastness.foundation.crypto import references
from fastness.foundation.storage import FileJournal, MemoryCounters, counters
from fastness.foundation.telemetry import Metrics
from fastness.gateway import EdgeProtocol, GatewayParts, SharedNonces, create_app
from fastness.models.release import Route, Routes
from fastness.models.runtime import Predictor, WorkerPredictor

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


class _InThread:
    """A memory of nonces that waits for its server, asked from the event loop."""

    def __init__(self, nonces: Nonces) -> None:
        self._nonces = nonces

    async def once(self, nonce: Nonce, now: Instant) -> bool:
        return await asyncio.to_thread(self._nonces.once, nonce, now)


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
    nonces: SharedNonces = subscription
    if settings.redis.url:
        secrets = references.open_secrets(settings.secrets, os.environ)
        shared = shared_counters(settings, secrets, SystemClock(), told.counters)
        nonces = _InThread(open_nonces(settings, secrets, SystemClock()))
    parts = GatewayParts(
        credentials=held.credentials, tokens=held.tokens, policies=held.policies, restrictions=held.restrictions,
        quotas=held.quotas, routes=held.routes, predictor_for=predictors, shared=shared,
        counters=MemoryCounters(1 / settings.server.gateways), journal=journal, metrics=metrics, clock=SystemClock(),
        entropy=system_entropy, possession=held.possession, nonces=nonces,
        signed=Rule(settings.signatures, settings.server.authorities(listener.getsockname()[1])),
        certified=settings.server.client_certificates == ClientCertificates.REQUIRED,
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
