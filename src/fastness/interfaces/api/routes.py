"""What each route asks of its callers: declared beside it, or the application does not start.

A declaration is no label: `gate` asks for the credential and takes from the pace before the handler runs, and holds back
every good answer of a handler that did not ask for the permission declared here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from litestar import Litestar
from litestar.routes import HTTPRoute

from fastness.core.errors import FastnessError
from fastness.core.identity import Action
from fastness.core.limits import Limit
from fastness.gateway import served_routes
from fastness.interfaces.api.conditions import is_conditional
from fastness.interfaces.api.headers import CHANGING
from fastness.wire.overview import Proof, RouteView

DOOR = "door"


@dataclass(frozen=True, slots=True)
class Pace:
    """How often one caller may come through all doors of this pace together; without a credential, one address."""

    name: str
    limit: Limit


READ = Pace("read", Limit(50.0, 500.0))
WRITE = Pace("write", Limit(20.0, 200.0))
KNOCK = Pace("knock", Limit(2.0, 60.0))
PROBE = Pace("probe", Limit(10.0, 100.0))


@dataclass(frozen=True, slots=True)
class Door:
    """What stands before a route.

    Attributes:
        permission: asked for by the handler before any good answer; None where callers look after what is theirs
            alone, or nobody's name is asked.
        also: what the handler may ask besides.
        shown_once: the answer holds a secret, which is not kept for a repeated request.
        streams: the body or the answer flows, and is not held.
        replaces: the handler itself holds If-Match; everywhere else the gate does.
        steps: on the way to a second factor: where one is forced, this stays open.
        personal: the fields of its answer that a mask hides; without any, what obliges to a mask is refused.
        form: a page of the console: what it changes comes as a form of its own pages, with the session's token in it.
    """

    pace: Pace
    proof: Proof = Proof.CREDENTIAL
    permission: Action | None = None
    also: tuple[Action, ...] = ()
    shown_once: bool = False
    streams: bool = False
    replaces: bool = False
    form: bool = False
    steps: bool = False
    personal: frozenset[str] = frozenset()

    @property
    def shown(self) -> str:
        """The permission in one word."""
        if self.permission is not None:
            return self.permission.value
        return "own" if self.proof is Proof.CREDENTIAL else "none"


def guarded(
    permission: Action,
    pace: Pace = READ,
    *also: Action,
    shown_once: bool = False,
    streams: bool = False,
    replaces: bool = False,
) -> dict[str, Any]:
    """`opt` of a route that needs `permission`."""
    door = Door(
        pace, Proof.CREDENTIAL, permission, also, shown_once=shown_once, streams=streams, replaces=replaces
    )  # fmt: skip
    return {DOOR: door}


def own(
    pace: Pace = READ, *, also: tuple[Action, ...] = (), shown_once: bool = False, steps: bool = False
) -> dict[str, Any]:
    """`opt` of a route by which known callers look after what is theirs alone."""
    return {DOOR: Door(pace, also=also, shown_once=shown_once, steps=steps)}


def entry(proof: Proof = Proof.BODY, pace: Pace = KNOCK) -> dict[str, Any]:
    """`opt` of a route that is a step of proving who one is, or that asks for another proof than a credential."""
    return {DOOR: Door(pace, proof, shown_once=True)}


def personal(opt: dict[str, Any], *fields: str) -> dict[str, Any]:
    """`opt` of a route whose answer can be masked in these fields."""
    return {DOOR: replace(opt[DOOR], personal=frozenset(fields))}


def in_form(opt: dict[str, Any]) -> dict[str, Any]:
    """`opt` of a page of the console that stands behind the door of `opt`."""
    return {DOOR: replace(opt[DOOR], form=True)}


def door_of(handler: Any) -> Door:
    """The declaration of a handler.

    Raises:
        FastnessError: there is none: a fault of the program.
    """
    found = handler.opt.get(DOOR)
    if not isinstance(found, Door):
        raise FastnessError("route-undeclared", f"{handler} declares neither permission nor limit")
    return found


def control_routes(app: Litestar) -> Iterator[RouteView]:
    """Every method of every route of the running control plane, with what stands before it.

    OPTIONS is left out: Litestar answers it by itself, so `create_api` refuses it before Litestar sees it.

    Raises:
        FastnessError: a route declares nothing: the application must not start.
    """
    for view, _ in _control_doors(app):
        yield view


def conditional_routes(app: Litestar) -> Iterator[RouteView]:
    """Those of them that hold If-Match."""
    for view, door in _control_doors(app):
        changes = view.method in CHANGING and view.proof is Proof.CREDENTIAL and not (door.streams or door.form)
        if changes and is_conditional(app, view.path):
            yield view


def _control_doors(app: Litestar) -> Iterator[tuple[RouteView, Door]]:
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            raise FastnessError("route-undeclared", f"{route.path} is no route of HTTP")
        for method, (handler, _) in sorted(route.route_handler_map.items()):
            if method == "OPTIONS":
                continue
            door = door_of(handler)
            limit = door.pace.limit
            yield RouteView("control", str(method), route.path, door.shown, door.proof, limit.per_s, limit.burst), door


def all_routes(app: Litestar, *, certificates: bool) -> list[RouteView]:
    """The routes of both planes, by plane and path.

    Args:
        certificates: the listeners ask for them.
    """
    views = [_with_credentials(view, certificates=certificates) for view in (*control_routes(app), *served_routes())]
    return sorted(views, key=lambda view: (view.plane, view.path, view.method))


def _with_credentials(view: RouteView, *, certificates: bool) -> RouteView:
    if view.proof not in {Proof.CREDENTIAL, Proof.PEER}:
        return view
    kinds = ["key", "token", *(["session"] if view.plane == "control" else []), "signature"]
    return msgspec.structs.replace(view, credentials=(*kinds, *(["certificate"] if certificates else [])))
