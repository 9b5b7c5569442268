"""What stands before each path of the data plane, read from the tables that the running gateway dispatches by."""

from __future__ import annotations

from collections.abc import Iterator

from fastness.core.identity import Action
from fastness.core.limits import Limit
from fastness.gateway.doors import PROBE_LIMIT
from fastness.gateway.head import FIXED, MODEL_PATHS, PROBES, Paths
from fastness.wire.overview import Proof, RouteView

_USUAL_LIMIT = Limit(per_s=100.0, burst=200.0)
PERMISSIONS = {"infer": Action.MODEL_INFER, "metrics": Action.METRICS_READ}


def served_routes() -> Iterator[RouteView]:
    """Every path with its method; the limit of calls is each key's own: shown is that of a key made without saying another."""
    paths = Paths()
    named = [path.decode() for path in FIXED] + list(MODEL_PATHS)
    for path in named:
        target = paths.find(path.replace("{model}", "m").replace("{version}", "1").encode())
        if target.name in PROBES:
            limit, proof, permission = PROBE_LIMIT, Proof.PEER, "none"
        else:
            limit, proof = _USUAL_LIMIT, Proof.CREDENTIAL
            permission = PERMISSIONS.get(target.name, Action.MODEL_READ).value
        yield RouteView("data", target.method, path, permission, proof, limit.per_s, limit.burst)
