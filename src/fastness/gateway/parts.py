"""What the gateway is made of; `app` picks the implementations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fastness.access import Credentials
from fastness.access.policysets import PolicyBook
from fastness.access.possession import Nonce, PossessionKeys
from fastness.access.possession.signatures import Rule
from fastness.access.quotas import QuotaBook
from fastness.access.restrictions import Restrictions
from fastness.access.tokens import TokenKeys
from fastness.core.clock import Clock, Entropy, Instant
from fastness.foundation.storage import Counters, Journal, Live
from fastness.foundation.storage import counters as counting
from fastness.foundation.telemetry import Metrics
from fastness.guard import Guard, GuardSettings, build_guard
from fastness.models.release import Route, Routes
from fastness.models.runtime import Predictor


class SharedNonces(Protocol):
    """Which signed requests came before, to whichever worker."""

    async def once(self, nonce: Nonce, now: Instant) -> bool:
        """Whether the request comes for the first time. Raises Unavailable where that cannot be told."""
        ...


@dataclass(frozen=True)
class GatewayParts:
    """Everything that the request path reads or calls.

    Attributes:
        credentials, tokens, possession, routes, restrictions, quotas: snapshots, pushed from outside.
        policies: the rules of every tenant; whoever pushes the snapshots has it take them.
        counters: of this worker alone, for probes and throttles.
        shared: of all workers, for rates and quotas.
        predictor_for: who asks the worker of a route.
        guard_for: the guard that a revision asks for.
        nonces: of all workers, for signed requests.
        signed: what is asked of those.
        certified: every connection has to hold a certificate of who asks.
        journal: of this worker alone.
    """

    credentials: Live[Credentials]
    tokens: Live[TokenKeys]
    policies: PolicyBook
    restrictions: Live[Restrictions]
    quotas: Live[QuotaBook]
    routes: Live[Routes]
    possession: Live[PossessionKeys]
    predictor_for: Callable[[Route], Predictor]
    counters: Counters
    shared: counting.SharedCounters
    journal: Journal
    metrics: Metrics
    clock: Clock
    entropy: Entropy
    nonces: SharedNonces
    signed: Rule
    certified: bool = False
    guard_for: Callable[[GuardSettings], Guard] = build_guard
