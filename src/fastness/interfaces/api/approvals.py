"""Routes of approval requests: what waits for whom, signed answers, and taking one's own request back."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from fastness.access import approvals
from fastness.access.approvals import requests
from fastness.app import House
from fastness.core.clock import Instant, later, rfc3339
from fastness.core.digests import Digest
from fastness.core.errors import Invalid
from fastness.core.identity import Action, PrincipalId, Resource
from fastness.foundation.storage import Reading
from fastness.interfaces.api.access import parse_action
from fastness.interfaces.api.approving import OPERATION
from fastness.interfaces.api.doors import Caller, Doors
from fastness.interfaces.api.paging import Page
from fastness.interfaces.api.routes import WRITE, guarded, own
from fastness.interfaces.rulebook import finding_view
from fastness.wire import control, rules

_LONGEST_BODY: Final = 16_384
_MOST_HOURS: Final = 720
_STATES: Final = [state.value for state in requests.RequestState]


class ApprovalRoutes(Controller):
    """What takes the word of several."""

    path = "/approvals"
    tags = ("approvals",)

    @get("/", sync_to_thread=True, opt=guarded(Action.POLICY_READ))
    def all(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        page: NamedDependency[Page],
        status: Annotated[str, QueryParameter(schema_extra={"enum": _STATES})] = "",
    ) -> Response[list[rules.ApprovalRequestView]]:
        """All requests, or those of one status: open, approved, rejected, expired, withdrawn."""
        if status and status not in set(requests.RequestState):
            known = ", ".join(requests.RequestState)
            raise Invalid("approval-status", f"{status[:40]!r} is no status of a request", f"Use one of {known}.")
        doors.allow(caller, Action.POLICY_READ, Resource("approvals", "all"))
        with house.records.read(caller.scope) as reading:
            found = requests.find_all(reading, requests.RequestState(status) if status else None)
        return page.of(map(_view, found), lambda view: view.asked.id)

    @post("/", sync_to_thread=True, opt=own(WRITE))
    def ask(
        self, house: NamedDependency[House], caller: NamedDependency[Caller], data: JSONBody[rules.ApprovalWish]
    ) -> rules.ApprovalRequestView:
        """Ask others to approve an operation that was refused for want of their word. Repeated unchanged, it then goes through once."""
        action, operation = parse_action(data.kind), data.operation
        if operation.digest != data.subject:
            raise Invalid("approval-subject", "the subject is not the digest of the operation", "Take it as refused.")
        if len(operation.body) > _LONGEST_BODY or not operation.path.startswith("/"):
            raise Invalid(
                "approval-operation", f"an operation has a path, and a body of up to {_LONGEST_BODY} characters"
            )
        if not 0 < data.hours <= _MOST_HOURS or not data.reason.strip():
            raise Invalid("approval-terms", f"a request says why, and stands for up to {_MOST_HOURS} hours")
        settings, now = house.settings.approvals, house.clock.now()
        needed = settings.needed_for(action, obliged=True)
        excluded = frozenset(map(PrincipalId, data.exclude))
        terms = requests.Terms(needed, settings.whose, later(now, data.hours * 3600), excluded)
        shown: dict[str, str | int] = {
            "reason": data.reason, "method": operation.method, "path": operation.path, "query": operation.query,
            "body": operation.body,
        }  # fmt: skip
        with house.records.begin(caller.scope, now) as tx:
            made = requests.ask(tx, caller.principal, f"{OPERATION}{action}", Digest(data.subject), terms, shown)
        return _view(made)

    @get("/waiting", sync_to_thread=True, opt=own())
    def waiting(
        self, house: NamedDependency[House], caller: NamedDependency[Caller], page: NamedDependency[Page]
    ) -> Response[list[rules.ApprovalRequestView]]:
        """The open requests that the caller can answer and has not answered."""
        with house.records.read(caller.scope) as reading:
            found = requests.waiting_for(reading, caller.principal.id, house.clock.now())
        return page.of(map(_view, found), lambda view: view.asked.id)

    @get("/{request_id:str}", sync_to_thread=True, opt=guarded(Action.POLICY_READ))
    def one(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        request_id: FromPath[str],
    ) -> rules.ApprovalRequestWhole:
        """A request, how its approvals stand now, and what an approver signs."""
        doors.allow(caller, Action.POLICY_READ, Resource("approval", request_id))
        with house.records.read(caller.scope) as reading:
            return _whole(reading, requests.find(reading, request_id), house.clock.now())

    @post(
        "/{request_id:str}/answers",
        status_code=200,
        sync_to_thread=True,
        opt=guarded(Action.APPROVAL_GIVE, WRITE, Action.POLICY_READ),
    )
    def answer(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        request_id: FromPath[str],
        data: JSONBody[rules.SignedRequest],
    ) -> rules.ApprovalRequestWhole:
        """Hand in a signed yes or no."""
        what = Resource("approval", request_id)
        doors.allow(caller, Action.POLICY_READ, what)  # the next lines tell whether it exists
        with house.records.read(caller.scope) as reading:
            author = requests.find(reading, request_id).asked.author
        doors.allow(caller, Action.APPROVAL_GIVE, what, author=author)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            found = requests.answer(tx, request_id, data.envelope.encode(), approvals.public_keys(tx))
        with house.records.read(caller.scope) as reading:
            return _whole(reading, found, house.clock.now())

    @post("/{request_id:str}/withdrawal", status_code=204, sync_to_thread=True, opt=own(WRITE))
    def withdraw(
        self, house: NamedDependency[House], caller: NamedDependency[Caller], request_id: FromPath[str]
    ) -> None:
        """Take back one's own request."""
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            requests.withdraw(tx, request_id)


def _view(found: requests.ApprovalRequest) -> rules.ApprovalRequestView:
    asked, terms = found.asked, found.asked.terms
    return rules.ApprovalRequestView(
        rules.Asked(
            asked.id,
            asked.tenant,
            asked.purpose,
            asked.subject,
            asked.author,
            rules.AskedTerms(terms.needed, frozenset(terms.roles), terms.deadline, frozenset(terms.excluded)),
            asked.details,
        ),
        found.state.value,
        rfc3339(Instant(terms.deadline)),
        found.used,
        "" if found.closed_at is None else rfc3339(found.closed_at),
    )


def _whole(reading: Reading, found: requests.ApprovalRequest, now: Instant) -> rules.ApprovalRequestWhole:
    digest, predicate = found.statement()
    signing = control.ApprovalSubject("request", digest, approvals.PREDICATE_TYPE, dict(predicate))
    findings = requests.standing(reading, found, now).findings
    return rules.ApprovalRequestWhole(_view(found), signing, tuple(map(finding_view, findings)))
