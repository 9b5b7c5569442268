"""Routes of the tenant's own rules: written, tried, signed, approved elsewhere, put into force."""

from __future__ import annotations

import threading
from typing import Final

from litestar import Controller, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from fastness.access import approvals, policysets
from fastness.app import House
from fastness.core.clock import later, rfc3339
from fastness.core.errors import Conflict, NotFound
from fastness.core.findings import Decision, Verdict, combine
from fastness.core.identity import Action, Obligation, Resource
from fastness.interfaces.api.doors import Caller, Doors
from fastness.interfaces.api.paging import Page
from fastness.interfaces.api.routes import WRITE, guarded
from fastness.interfaces.rulebook import finding_view
from fastness.wire import rules

APPROVED = (Obligation.TWO_PERSONS,)
"""Others are asked by `propose`, and their word is counted by `activate`."""
_TESTING: Final = threading.Lock()  # rules and cases may take seconds: one at a time


class PolicyRoutes(Controller):
    """What holds here besides the shipped rules."""

    path = "/policies"
    tags = ("policies",)

    @get("/", sync_to_thread=True, opt=guarded(Action.POLICY_READ))
    def sets(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        page: NamedDependency[Page],
    ) -> Response[list[rules.PolicySetView]]:
        """All sets of rules that the tenant ever had, and which is in force."""
        doors.allow(caller, Action.POLICY_READ, Resource("policies", "sets"))
        return page.of(_views(house, caller), lambda view: f"{view.number:010d}")

    @get("/page", sync_to_thread=True, opt=guarded(Action.POLICY_READ))
    def page(
        self, house: NamedDependency[House], doors: NamedDependency[Doors], caller: NamedDependency[Caller]
    ) -> rules.PolicyPage:
        """All rules in force on one page: what is permitted, what is forbidden, what asks for more."""
        doors.allow(caller, Action.POLICY_READ, Resource("policies", "page"))
        held = house.book.of(caller.scope.tenant)
        number = max((view.number for view in _views(house, caller) if view.in_force), default=0)
        return rules.PolicyPage(held.version, number, policysets.page(held))

    @get("/{number:int}", sync_to_thread=True, opt=guarded(Action.POLICY_READ))
    def one(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        number: FromPath[int],
    ) -> rules.PolicySetWhole:
        """A set with its texts."""
        doors.allow(caller, Action.POLICY_READ, Resource("policies", str(number)))
        with house.records.read(caller.scope) as reading:
            found = policysets.sets(reading)
        for each, view in zip(found, _shown(found), strict=True):
            if each.document.number == number:
                return rules.PolicySetWhole(view, _document(each.document))
        raise NotFound("policies-unknown", f"there is no policy set {number}", "See: fastness access policy list.")

    @post("/drafts", status_code=200, sync_to_thread=True, opt=guarded(Action.POLICY_READ, WRITE))
    def draft(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        data: JSONBody[rules.DraftRequest],
    ) -> rules.DraftView:
        """What an author has to sign to propose these rules, and what is found in them. Nothing is kept."""
        doors.allow(caller, Action.POLICY_READ, Resource("policies", "drafts"))
        with house.records.read(caller.scope) as reading:
            document = policysets.draft(reading, data.texts, data.reason, house.policies)
        found = policysets.findings.check(document.texts, house.policies).findings
        return rules.DraftView(_document(document), policysets.SET_TYPE, tuple(map(finding_view, found)))

    @post("/tests", status_code=200, sync_to_thread=True, opt=guarded(Action.POLICY_READ, WRITE))
    def test(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        data: JSONBody[rules.PolicyTestRequest],
    ) -> rules.PolicyTestView:
        """Whether rules, beside the shipped ones, decide as cases say. Nothing is kept."""
        doors.allow(caller, Action.POLICY_READ, Resource("policies", "tests"))
        if not _TESTING.acquire(blocking=False):
            raise Conflict("policy-test-running", "other rules are being tested", "Wait for that to end.")
        try:
            checked, outcomes = _tried(house, data)
        finally:
            _TESTING.release()
        verdict = combine([checked, policysets.cases.verdict_of(outcomes)])
        return rules.PolicyTestView(
            verdict.decision is not Decision.DENY,
            tuple(_case(outcome) for outcome in outcomes),
            tuple(map(finding_view, checked.findings)),
        )

    @post("/", sync_to_thread=True, opt=guarded(Action.POLICY_CHANGE, WRITE))
    def propose(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        data: JSONBody[rules.SignedRequest],
    ) -> rules.ProposalView:
        """Hand in a set that its author signed, and ask two others for their approval."""
        doors.allow(caller, Action.POLICY_CHANGE, Resource("policies", "sets"), APPROVED)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            made = policysets.propose(
                tx,
                caller.principal,
                data.envelope.encode(),
                approvals.public_keys(tx),
                house.policies,
                house.settings.approvals,
            )
        (view,) = _shown([made.set])
        return rules.ProposalView(view, made.request.id, tuple(map(finding_view, made.findings)))

    @post("/{number:int}/activation", status_code=200, sync_to_thread=True, opt=guarded(Action.POLICY_CHANGE, WRITE))
    def activate(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        number: FromPath[int],
        data: JSONBody[rules.ActivationRequest],
    ) -> rules.PolicySetView:
        """Put an approved set into force; when this is answered, every worker decides by it."""
        doors.allow(caller, Action.POLICY_CHANGE, Resource("policies", str(number)), APPROVED)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            made = policysets.activate(tx, house.seals, number, data.request, house.policies, house.settings.approvals)
        house.published(policysets.PoliciesProjection.topic)
        (view,) = _shown([made])
        return view


def _tried(house: House, data: rules.PolicyTestRequest) -> tuple[Verdict, list[policysets.cases.Outcome]]:
    """What is found in the rules, and what becomes of each case."""
    ends = later(house.clock.now(), policysets.cases.LONGEST_S)
    cases = policysets.cases.read_cases(data.cases.encode("utf-8", "surrogatepass"))
    checked = policysets.findings.check(data.texts, house.policies)
    rules = policysets.findings.joined(data.texts, house.policies)
    return checked, policysets.cases.run_cases(cases, rules, lambda: house.clock.now() > ends)


def _views(house: House, caller: Caller) -> list[rules.PolicySetView]:
    with house.records.read(caller.scope) as reading:
        return _shown(policysets.sets(reading))


def _shown(found: list[policysets.PolicySet]) -> list[rules.PolicySetView]:
    active = max((each.document.number for each in found if each.activated_at is not None), default=0)
    return [
        rules.PolicySetView(
            each.document.number,
            each.document.digest,
            each.author,
            each.document.reason,
            rfc3339(each.created_at),
            tuple(each.document.texts),
            "" if each.activated_at is None else rfc3339(each.activated_at),
            in_force=each.document.number == active,
        )
        for each in found
    ]


def _document(document: policysets.PolicyDocument) -> rules.PolicyDocument:
    return rules.PolicyDocument(
        document.tenant, document.number, document.texts, document.base, document.reason
    )  # fmt: skip


def _case(outcome: policysets.cases.Outcome) -> rules.CaseView:
    decision = outcome.decision
    return rules.CaseView(
        outcome.case.name,
        decision.allow,
        decision.reason,
        decision.rules,
        tuple(each.value for each in decision.obligations),
        outcome.wrong,
    )
