"""Step 10 of the request path: what happened, as an event in the worker's journal, and in the counters."""

from __future__ import annotations

import logging
import time

from fastness.access.possession.signatures import SignedRequest
from fastness.access.quotas import Asker, Plan
from fastness.core.clock import Clock, Entropy, Instant, uuid7
from fastness.core.errors import FastnessError, Unauthenticated
from fastness.core.events import Detail, Event, EventFactory, EventKind, FindingRecord
from fastness.core.findings import Decision, Finding
from fastness.core.identity import DEFAULT_TENANT, Principal, PrincipalId
from fastness.core.limits import Charged
from fastness.foundation.storage import Journal
from fastness.foundation.telemetry import CounterChild, HistogramChild, Metrics
from fastness.models.release import Route

_access_log = logging.getLogger("fastness.access")
_NOBODY = PrincipalId("")
_LOT = 256
STEPS = ("admit", "read", "input", "infer", "output", "record")
_FAILED = 500
_CLIENT_GONE = 499


_NO_DETAILS: dict[str, Detail] = {}


class Request:
    """What becomes known of one request on its way; the source of its event.

    Attributes:
        id: UUID version 7, also that of its event; never the caller's.
        marks: seconds on a monotonic clock: when it began, and when each of its steps ended.
        name: of the gateway's route, such as `infer`.
        read: nothing of the body is left to be read.
        address: where it comes from; empty for a Unix socket.
        peer: thumbprint of the client's certificate; empty without one.
        signed: the signature that it carries, where that counts.
        held: bytes of its body that count among all that are held.
        charged: what it was charged, where what it used is still to be settled.
    """

    name = "unknown"
    address = ""
    peer = ""
    signed: SignedRequest | None = None
    principal: Principal | None = None
    charged: tuple[Asker, Plan, Charged] | None = None
    action = ""
    resource = ""
    epoch = 0
    rows = 0
    findings: tuple[Finding, ...] = ()
    read = False
    held = 0

    def __init__(self, now: Instant, entropy: Entropy) -> None:
        self.id = uuid7(now, entropy)
        self.now = now
        self.marks = [time.perf_counter()]
        self.details = _NO_DETAILS


def route_details(route: Route, credential: dict[str, Detail]) -> dict[str, Detail]:
    """What an event says of a served version; made once a route and credential."""
    return {"model": route.model, "version": route.version, "revision": route.revision, **credential}


class Recorder:
    """Makes the event of each request and counts it. Appending is not yet keeping: see `Edge.post`."""

    def __init__(self, journal: Journal, metrics: Metrics, clock: Clock, entropy: Entropy, *, access_log: bool) -> None:
        self._journal = journal
        self._clock = clock
        self._entropy = entropy
        self._access_log = access_log
        self._requests = metrics.counter(
            "fastness_gateway_requests", "Requests by route and status.", ["route", "status"]
        )
        steps = metrics.histogram("fastness_gateway_step_seconds", "Seconds by step of the request path.", ["step"])
        self._steps: list[HistogramChild] = [steps.labels(step) for step in STEPS]
        self._marks: list[list[float]] = []
        self._children: dict[tuple[str, int], CounterChild] = {}

    def begin(self) -> Request:
        """A new request, now."""
        return Request(self._clock.now(), self._entropy)

    def settle(self) -> None:
        """Bring the steps of the latest requests into the histograms: a lot at a time costs less than each at its end."""
        marks, self._marks = self._marks, []
        for place, histogram in enumerate(self._steps):
            histogram.observe_all([each[place + 1] - each[place] for each in marks])

    def record(self, request: Request, status: int, error: FastnessError | None) -> None:
        """Append the event of `request`.

        Raises:
            Unavailable: the journal does not take it; then nothing may be served.
        """
        if error is None:
            kind, decision, reason = EventKind.REQUEST_ALLOWED, Decision.ALLOW, ""
        else:
            failed = status >= _FAILED or status == _CLIENT_GONE
            kind = EventKind.REQUEST_FAILED if failed else EventKind.REQUEST_REFUSED
            decision = Decision.DENY
            reason = error.audit_code if isinstance(error, Unauthenticated) else error.code
        who = request.principal
        details: dict[str, Detail] = {"route": request.name, "status": status, **request.details}
        if request.rows:
            details["rows"] = request.rows
        self._journal.append(
            Event(
                request.id,
                request.now,
                kind,
                DEFAULT_TENANT if who is None else who.tenant,
                _NOBODY if who is None else who.id,
                request.action,
                request.resource,
                decision,
                reason,
                request.id,
                request.epoch,
                tuple([FindingRecord(f.rule, int(f.severity), f.where) for f in request.findings]),
                details,
            )
        )

    def tell(self, kind: EventKind, request: Request, resource: str, reason: str, details: dict[str, Detail]) -> None:
        """Append what else a request has brought to light.

        Raises:
            Unavailable: the journal does not take it.
        """
        who = request.principal
        tenant, name = (DEFAULT_TENANT, _NOBODY) if who is None else (who.tenant, who.id)
        events = EventFactory(tenant, name, request.now, self._entropy)
        self._journal.append(events.make(kind, resource, decision=Decision.DENY, reason=reason, details=details))

    def count(self, request: Request, status: int) -> None:
        """Count an answer, and its steps where it went through all."""
        child = self._children.get((request.name, status))
        if child is None:
            child = self._children[request.name, status] = self._requests.labels(request.name, str(status))
        child.inc()
        if len(request.marks) > len(STEPS):
            self._marks.append(request.marks)
            if len(self._marks) >= _LOT:
                self.settle()
        if self._access_log:
            _access_log.info("%s %s %d", request.id, request.name, status)
