"""What the gateway is made of; `app` picks the implementations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastness.access import Credentials, Policies
from fastness.core.clock import Clock, Entropy
from fastness.foundation.storage import Counters, Journal, Live
from fastness.foundation.telemetry import Metrics
from fastness.guard import Guard, GuardSettings, build_guard
from fastness.models.release import Route, Routes
from fastness.models.runtime import Predictor


@dataclass(frozen=True)
class GatewayParts:
    """Everything that the request path reads or calls.

    Attributes:
        credentials, routes: snapshots, pushed from outside.
        predictor_for: who asks the worker of a route.
        guard_for: the guard that a revision asks for.
        journal: of this worker alone.
    """

    credentials: Live[Credentials]
    policies: Policies
    routes: Live[Routes]
    predictor_for: Callable[[Route], Predictor]
    counters: Counters
    journal: Journal
    metrics: Metrics
    clock: Clock
    entropy: Entropy
    guard_for: Callable[[GuardSettings], Guard] = build_guard
