"""What the gateway is made of; `app` picks the implementations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fastness.access import Credentials, Policies
from fastness.core.clock import Clock, Entropy
from fastness.foundation.storage import Counters, Journal, Live
from fastness.foundation.telemetry import Metrics
from fastness.models.release import Route, Routes


class Predictor(Protocol):
    """Who asks a model's worker."""

    async def predict(self, tensors: dict[str, np.ndarray], timeout_s: float) -> dict[str, np.ndarray]:
        """Outputs for inputs.

        Raises:
            Unavailable: no answer (`worker-lost`, `worker-timeout`, `worker-overloaded`); never a wrong one.
        """
        ...


@dataclass(frozen=True)
class GatewayParts:
    """Everything that the request path reads or calls.

    Attributes:
        credentials, routes: snapshots, pushed from outside.
        predictor_for: who asks the worker of a route.
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
