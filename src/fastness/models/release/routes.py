"""Where requests go: what the gateway's workers are given of the releases."""

from __future__ import annotations

import msgspec

from fastness.core.signature import ModelSignature
from fastness.guard import GuardSettings


class Route(msgspec.Struct, frozen=True):
    """One served version, or why it is not served.

    Attributes:
        version: number of the version in its model.
        revision: id of the revision: version, guards, policy and limits as one.
        guard: the stages that requests and replies pass, as the revision has them.
        socket: path of the worker's Unix socket.
        problem: stable code of why it is not served; empty where it is.
        detail: what happened, for people.
    """

    tenant: str
    model: str
    version: int
    revision: str
    signature: ModelSignature
    socket: str
    problem: str = ""
    detail: str = ""
    guard: GuardSettings = msgspec.field(default_factory=GuardSettings)


class Routes(msgspec.Struct, frozen=True):
    """All routes.

    Attributes:
        by_key: by `model` (what the alias of the serving environment points at) and by `model/version`.
    """

    by_key: dict[str, Route]
