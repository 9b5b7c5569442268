"""The control process of `fastness up`: SQL, key ring, sequencer, snapshots, model workers; never the public listener."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import threading
from collections.abc import AsyncIterator

import msgspec

from fastness.access.integrity import refuse_default_credentials
from fastness.app.feed import Feed, Source
from fastness.app.house import House
from fastness.app.keeper import Keeper
from fastness.app.leaf import Leaf, client_authorities, load_leaf, strict_context
from fastness.app.settings import shared_counters
from fastness.app.snapshots import Rules
from fastness.app.upkeep import Upkeep
from fastness.core.clock import SECOND
from fastness.core.errors import FastnessError
from fastness.core.events import Detail, EventKind
from fastness.core.identity import SYSTEM, SYSTEM_SCOPE, Scope, TenantId
from fastness.foundation.crypto import CertificateAuthority
from fastness.foundation.storage import MemoryCounters, counters
from fastness.models.release import Route, Routes, RoutesProjection
from fastness.wire import control

LEAF_DAYS = 30
_RENEW_S = LEAF_DAYS * 86_400 * 2 / 3
_SEQUENCE_S = 0.1
_LOOK_S = 60.0
_PATIENCE_S = 1.0  # after which a worker that was not confirmed refuses
_CHANGES_BITS = 20  # of the routes' epoch: changes of workers since this process began; the rest counts in the records

_log = logging.getLogger(__name__)


class _Ruled:
    """The rules in force. The house takes them first, so that what is wrong with them is recorded once for all."""

    def __init__(self, house: House) -> None:
        self._house = house

    def epoch(self) -> int:
        return self._house.snapshots.policies.epoch()

    def load(self) -> Rules:
        self._house.snapshots.book()
        return self._house.snapshots.policies.load()


class _Routed:
    """Routes, each with the state of its worker."""

    def __init__(self, house: House, keeper: Keeper) -> None:
        self._house = house
        self._keeper = keeper
        self._known: tuple[int, Routes] | None = None

    def epoch(self) -> int:
        return (self._house.records.epoch(RoutesProjection.topic) << _CHANGES_BITS) + self._keeper.changes

    def load(self) -> msgspec.Struct:
        epoch = self._house.records.epoch(RoutesProjection.topic)
        if self._known is None or self._known[0] != epoch:
            self._known = (epoch, self._house.routes())
            self._keeper.want(self._known[1])
        return self._keeper.seen_from_outside(self._known[1])


class _Leaves:
    """The TLS certificate, renewed well before it ends."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._authority = CertificateAuthority.open(house.keyring)
        self._clients = client_authorities(house.settings.server, self._authority.ca_pem)

    def epoch(self) -> int:
        return int(self._house.clock.now() / SECOND / _RENEW_S)

    def load(self) -> Leaf:
        server = self._house.settings.server
        names = tuple(dict.fromkeys((*server.names, server.host, server.admin_host)))
        chain, key = self._authority.issue(names, LEAF_DAYS, self._house.clock.now())
        return Leaf(chain, key, server.client_certificates, self._clients)


class ControlProcess:
    """What runs beside the control plane's API."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.keeper = Keeper(house.host, house.load_model, self._record)
        self._leaves = _Leaves(house)
        tallies: counters.Tallies
        desk: counters.Desk | None = None
        if house.settings.redis.url:
            tallies = shared_counters(house.settings, house.secrets, house.clock)
        else:
            tallies = memory = MemoryCounters()
            desk = counters.Desk(memory)
        self._upkeep = Upkeep(house, tallies)
        sources: dict[str, Source] = {
            **house.snapshots.topics, "policies": _Ruled(house), "routes": _Routed(house, self.keeper),
            "tls": self._leaves,
        }  # fmt: skip
        self.feed = Feed(sources, desk, house.clock, None if house.settings.redis.url else house.nonces)
        self._stop = threading.Event()
        self._sequencing = threading.Thread(target=self._sequence, name="sequencer", daemon=True)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sequence, keep workers and feed gateways for as long as the context lasts."""
        self._loop = asyncio.get_running_loop()
        self._begin()
        await self._upkeep.begin()
        self.keeper.start()
        self._sequencing.start()
        feeding = asyncio.create_task(self.feed.serve(self.house.home.state_socket))
        keeping = asyncio.create_task(self._upkeep.run())
        try:
            yield
        finally:
            feeding.cancel()
            keeping.cancel()
            await asyncio.gather(feeding, keeping, return_exceptions=True)
            await asyncio.to_thread(self.keeper.close)
            self.house.record(SYSTEM_SCOPE, lambda events: events.make(EventKind.SERVER_STOPPED, "system:house"))
            self._stop.set()
            await asyncio.to_thread(self._sequencing.join)
            self.house.settle()

    def published(self, topic: str) -> None:
        """Wait until every gateway worker has a topic as it stands; one that does not answer refuses by itself soon."""
        waiting = asyncio.run_coroutine_threadsafe(self.feed.published(topic), self._loop)
        try:
            waiting.result(_PATIENCE_S)
        except TimeoutError:
            waiting.cancel()
            _log.warning("not every gateway worker has taken the snapshot %s", topic)

    @contextlib.asynccontextmanager
    async def secured(self) -> AsyncIterator[ssl.SSLContext]:
        """TLS for the listener of the control plane, with a certificate that is renewed for as long as the context lasts."""
        context = strict_context()
        epoch = self._leaves.epoch()
        load_leaf(context, await asyncio.to_thread(self._leaves.load))

        async def renew() -> None:
            nonlocal epoch
            while True:
                await asyncio.sleep(_LOOK_S)
                if (now := self._leaves.epoch()) != epoch:
                    load_leaf(context, await asyncio.to_thread(self._leaves.load))
                    epoch = now

        renewing = asyncio.create_task(renew())
        try:
            yield context
        finally:
            renewing.cancel()

    def system_view(self, version: str, url: str, tenant: TenantId) -> control.SystemView:
        """How the house stands, with the models of one tenant."""
        workers = tuple(
            control.ModelStatus(
                f"{w.route.model}/{w.route.version}", w.route.version, w.route.revision,
                w.problem or "serving", w.detail, w.pid,
            )
            for w in self.keeper.workers()
            if w.route.tenant == tenant
        )  # fmt: skip
        house = self.house
        size = house.ledger.checkpoint().size
        return control.SystemView(version, str(house.home.root), url, size, workers, self.feed.listeners)

    def _begin(self) -> None:
        """Record the start; the routes' epoch moves on with it, since the workers of before are gone.

        Raises:
            Conflict: `credentials-default`: somebody could come in by what everybody knows.
        """
        with self.house.records.read(SYSTEM_SCOPE) as reading:
            refuse_default_credentials(reading, self.house.pepper)
        with self.house.records.begin(SYSTEM_SCOPE, self.house.clock.now()) as tx:
            tx.emit(tx.events.make(EventKind.SERVER_STARTED, "system:house"))
            tx.touch(RoutesProjection.topic)

    def _sequence(self) -> None:
        while not self._stop.wait(_SEQUENCE_S):
            try:
                self.house.sequencer.run_once()
            except FastnessError:
                _log.exception("the sequencer cannot take events into the log")
                self._stop.wait(1.0)

    def _record(self, kind: EventKind, route: Route, reason: str, details: dict[str, Detail]) -> None:
        resource = f"model:{route.model}/{route.version}"
        scope = Scope(TenantId(route.tenant), SYSTEM)
        self.house.record(scope, lambda events: events.make(kind, resource, reason=reason, details=details))
