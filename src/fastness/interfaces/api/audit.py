"""Routes of the ledger and of the state of the house."""

from __future__ import annotations

import threading
from typing import Annotated, Final

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from fastness import __version__
from fastness.app import House
from fastness.core.errors import Conflict, Invalid, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.identity import DEFAULT_TENANT, Action, Resource, Role
from fastness.interfaces.api.doors import Caller, Doors
from fastness.interfaces.api.routes import WRITE, guarded, personal
from fastness.wire import control

LARGEST_PAGE = 1000
_VERIFYING: Final = threading.Lock()  # it reads every entry: one at a time


class AuditRoutes(Controller):
    """What happened, with proof."""

    tags = ("audit",)

    @get("/audit/entries", sync_to_thread=True, opt=personal(guarded(Action.AUDIT_READ), "from", "network", "why"))
    def entries(  # noqa: PLR0913 - one parameter a field of the query
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        after: Annotated[int, QueryParameter(ge=-1, lt=1 << 62)] = -1,
        limit: Annotated[int, QueryParameter(ge=1, le=LARGEST_PAGE)] = 100,
        kind: FromQuery[list[str] | None] = None,
        last: Annotated[int, QueryParameter(ge=0, le=LARGEST_PAGE)] = 0,
    ) -> list[control.EntryView]:
        """Ledger entries with an index above `after`, oldest first; with `last`, only among the newest so many."""
        doors.allow(caller, Action.AUDIT_READ, Resource("ledger", "entries"))
        if last:
            after = max(after, house.ledger.checkpoint().size - last - 1)
        found: list[control.EntryView] = []
        for entry in house.ledger.tail(after, _kinds(kind or []) or None):
            if entry.event.tenant == caller.scope.tenant:
                found.append(control.EntryView(entry.index, msgspec.json.decode(entry.data, type=dict[str, object])))
            if len(found) == limit:
                break
        return found

    @get("/audit/proofs/{index:int}", sync_to_thread=True, opt=guarded(Action.AUDIT_READ))
    def proof(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        index: FromPath[int],
    ) -> control.ProofView:
        """Proof that an entry is in the log, against the newest checkpoint."""
        doors.allow(caller, Action.AUDIT_READ, Resource("ledger", "proofs"))
        checkpoint = house.ledger.checkpoint()
        hashes = tuple(one.hex() for one in house.ledger.inclusion(index, checkpoint.size))
        entry = next(house.ledger.tail(index - 1))
        if entry.event.tenant != caller.scope.tenant:
            raise NotFound("entry-unknown", f"there is no entry {index} of this tenant")
        return control.ProofView(index, checkpoint.size, entry.data.decode(), hashes, checkpoint.note.decode())

    @post("/audit/verifications", status_code=200, sync_to_thread=True, opt=guarded(Action.AUDIT_READ, WRITE))
    def verify(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        data: JSONBody[control.VerificationRequest],
    ) -> control.VerificationReply:
        """Verify the whole log, and the event table against it; the outcome is recorded."""
        log = Resource("ledger", "log")
        doors.allow(caller, Action.AUDIT_READ, log)
        if not _VERIFYING.acquire(blocking=False):
            raise Conflict("verification-running", "the log is being verified already", "Wait for that to end.")
        try:
            report = house.verify_log(data.since.encode() or None)
        finally:
            _VERIFYING.release()
        shown: dict[str, Detail] = {"size": report.size, "root": report.root.hex()}
        house.record(caller.scope, lambda events: events.make(EventKind.LEDGER_VERIFIED, str(log), details=shown))
        return control.VerificationReply(report.origin, report.size, report.root.hex())

    @get("/system", sync_to_thread=True, opt=guarded(Action.SYSTEM_READ))
    def system(
        self, house: NamedDependency[House], doors: NamedDependency[Doors], caller: NamedDependency[Caller]
    ) -> control.SystemView:
        """How the house stands."""
        doors.allow(caller, Action.SYSTEM_READ, Resource("system", "house"))
        who = caller.principal
        view = house.system_view(__version__, who.tenant)
        if (
            who.tenant != DEFAULT_TENANT or Role.ADMINISTRATOR not in who.roles
        ):  # where it lies is the house's own affair
            return msgspec.structs.replace(view, home="")
        return view


def _kinds(texts: list[str]) -> frozenset[EventKind]:
    unknown = [text for text in texts if text not in set(EventKind)]
    if unknown:
        raise Invalid("kind-unknown", f"{unknown[0]!r} is not a kind of event", f"Use one of {', '.join(EventKind)}.")
    return frozenset(EventKind(text) for text in texts)
