"""What the table of routes is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from tests.unit.interfaces.api.town import Town


@dataclass(frozen=True)
class Route:
    """A route: what it is called with, who may not, why, and what it does for who may.

    Attributes:
        action, resource: of the event that a denial leaves.
        works: does it as somebody who may, and checks what came of it.
        reason: why `outsider` is refused.
    """

    path: str
    body: bytes | None
    outsider: str
    action: str
    resource: str
    works: Callable[[Town], None]
    reason: str = "not-permitted"


def encoded(message: msgspec.Struct) -> bytes:
    return msgspec.json.encode(message)
