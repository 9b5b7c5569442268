"""Step 5 of the request path: how much of it. All limits that a request meets are taken at once, or none is.

Charged are the request and, where it is known before it comes, the body; what was measured instead (bytes, milliseconds of the
model) is settled after the answer. Nothing is settled that no limit counts.
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import Final

from fastness.access.quotas import Asker, Plan, Planner
from fastness.core.clock import SECOND
from fastness.core.errors import FastnessError, Limited
from fastness.core.events import EventKind
from fastness.core.limits import Charged, LimitKey, Unit, key_parts
from fastness.gateway.callers import Caller
from fastness.gateway.parts import GatewayParts
from fastness.gateway.record import Recorder, Request

_KEPT: Final = 4096
_SHORTEST_S: Final = 60.0
_INPUT, _INFER = 3, 4  # places of the marks after the input stages, and after the model's answer

_log = logging.getLogger(__name__)


class Meters:
    """Takes and settles."""

    def __init__(self, parts: GatewayParts, recorder: Recorder) -> None:
        self._parts = parts
        self._recorder = recorder
        self._planner = Planner()
        self._told: dict[LimitKey, int] = {}
        self._rest_us: dict[Asker, float] = {}
        self._local = parts.metrics.counter(
            "fastness_gateway_local_charges",
            "Requests counted by this worker alone, for the shared counters did not answer.",
        ).labels()

    async def take(self, request: Request, who: Caller, model: str, size: int | None) -> None:
        """Take what the request will use.

        Args:
            model: the name of the model it is for, or empty.
            size: bytes of the body, where they are known.

        Raises:
            Limited: something is used up: the rate of the key, or a quota of key, principal, tenant or model.
            Unavailable: the counters do not answer.
        """
        asker = Asker(who.principal.tenant, who.principal.id, who.key_id, model)
        plan = self._planner.plan(self._parts.quotas.current, asker, who.limit)
        charges = plan.charges({Unit.BYTES: size} if size and plan.measures else None)
        charged = await self._parts.shared.take_all(charges, request.now)
        if charged.local:
            self._local.inc()
        if charged.refused is not None:
            self._refuse(request, plan, charged, charged.refused)
        if plan.measures:
            request.charged = (asker, plan, charged)

    async def settle(self, request: Request) -> None:
        """Count what was used in place of what was charged; a failure changes no answer."""
        if request.charged is None:
            return
        asker, plan, charged = request.charged
        used = {Unit.BYTES: request.held, Unit.COMPUTE_MS: self._compute_ms(asker, request)}
        try:
            await self._parts.shared.settle_all(charged, plan.used(used))
        except FastnessError as error:
            _log.warning("what request %s used is not settled: %s", request.id, error)

    def _compute_ms(self, asker: Asker, request: Request) -> int:
        """Whole milliseconds that the model took; what is less is carried over to the next request of the same caller."""
        marks = request.marks
        if len(marks) <= _INPUT:
            return 0
        ended = marks[_INFER] if len(marks) > _INFER else perf_counter()
        us = self._rest_us.get(asker, 0.0) + max(0.0, ended - marks[_INPUT]) * 1e6
        whole, rest = divmod(us, 1000.0)
        if len(self._rest_us) >= _KEPT:
            self._rest_us.clear()
        self._rest_us[asker] = rest
        return int(whole)

    def _refuse(self, request: Request, plan: Plan, charged: Charged, place: int) -> None:
        """Refuse; that a quota is used up is told once for as long as it lasts.

        Raises:
            Limited: always.
        """
        try:
            plan.check(charged)
        except Limited as refused:
            key = charged.charges[place].key
            if refused.code != "rate-limited" and self._told.get(key, 0) <= request.now:
                if len(self._told) >= _KEPT:
                    self._told.clear()
                self._told[key] = request.now + int(max(_SHORTEST_S, min(refused.retry_after_s, 3600.0)) * SECOND)
                kind, _, subject, unit, window = key_parts(key)[:5]
                details = {"unit": unit, "window": window, "request": request.id}
                self._recorder.tell(EventKind.QUOTA_EXCEEDED, request, f"{kind}:{subject}", refused.code, dict(details))
            raise
