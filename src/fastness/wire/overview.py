"""Messages of the control plane about its own doors, and those of the gateway."""

from __future__ import annotations

from enum import StrEnum

from fastness.wire.control import Message


class Proof(StrEnum):
    """How a route learns who asks."""

    CREDENTIAL = "credential"
    """An API key, a token, a session, a certificate or a signed request."""
    BODY = "credential-in-body"
    """A one-time code, a password or a client's secret, redeemed by this very request."""
    PEER = "peer-or-credential"
    """The own machine or a network that the settings name; from elsewhere a credential."""
    STEP = "step-of-login"
    """A page or document that leads to a proof, and tells nothing of the house."""


class RouteView(Message, frozen=True):
    """A route of the control plane or the gateway, and what stands before it.

    Attributes:
        plane: `control` or `data`.
        permission: an action; `own` for what belongs to the caller alone; `none` where no name is asked.
        per_s, burst: of one caller, or of one address where nobody is known; 0 where there is no limit.
        credentials: what counts as a credential there, by the settings as they are: key, token, session, signature, certificate.
    """

    plane: str
    method: str
    path: str
    permission: str
    proof: Proof
    per_s: float
    burst: float
    credentials: tuple[str, ...] = ()


class RoutesView(Message, frozen=True):
    """All routes, and the share that asks for a proof and has a limit.

    Attributes:
        guarded: routes with both.
        by_proof: how many routes ask for which proof.
    """

    total: int
    guarded: int
    by_proof: dict[str, int]
    routes: tuple[RouteView, ...]
