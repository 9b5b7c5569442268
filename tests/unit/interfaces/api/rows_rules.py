"""The rows of policies, approval requests, restrictions, quotas, and of why somebody may."""

from __future__ import annotations

import msgspec

from fastness.client import ControlClient
from fastness.core.events import EventKind
from fastness.foundation.crypto import sign_statement
from fastness.wire import rules
from tests.unit.interfaces.api.rows import Route, encoded
from tests.unit.interfaces.api.town import Town, refused

OFFICER = "security-officer"
NIGHT = """
@id("night-{name}") @says("The night shift may take {name} back.")
permit (principal in Role::"developer", action == Action::"model.rollback", resource)
when {{ resource.name == "{name}" }};
"""
CASES = """
cases:
  - name: the night shift may take it back
    principal: {{id: "user:nora", roles: [developer], stepped_up: true}}
    action: model.rollback
    resource: model:{name}
    expect: {expect}
"""


def texts(name: str) -> dict[str, str]:
    return {"night.cedar": NIGHT.format(name=name)}


def propose(town: Town, name: str, who: str = OFFICER) -> rules.ProposalView:
    """As `fastness access policy propose` does."""
    client = town.client(who)
    draft = client.policies.draft(texts(name), "nights are long")
    subject = {"policies": draft.document.digest}
    predicate = dict(msgspec.to_builtins(draft.document))
    return client.policies.propose(
        sign_statement(town.signers[who], subject, draft.predicate_type, predicate).decode()  # type: ignore[arg-type]
    )


def signed(town: Town, who: str, request: str, decision: str = "approve") -> str:
    """As `fastness access approvals answer` does."""
    signing = town.client(who).approvals.show(request).signing
    predicate = {**signing.predicate, "decision": decision}
    return sign_statement(
        town.signers[who], {signing.subject: signing.digest}, signing.predicate_type, predicate  # type: ignore[dict-item]
    ).decode()  # fmt: skip


def answer(town: Town, request: str, *people: str, decision: str = "approve") -> None:
    for who in people:
        town.client(who).approvals.answer(request, signed(town, who, request, decision))


def _draft(town: Town) -> None:
    view = town.client("approver").policies.draft(texts("drafted"), "why")
    assert view.document.texts == texts("drafted")
    assert view.findings == ()
    loud = {"all.cedar": '@id("all") permit (principal, action, resource);'}
    found = town.client("auditor").policies.draft(loud, "why").findings
    assert {"policy-wildcard", "policy-silent"} <= {finding.rule for finding in found}
    assert all(finding.fix for finding in found)


def _tests(town: Town) -> None:
    client = town.client("auditor").policies
    good = client.test(texts("tried"), CASES.format(name="tried", expect="allow"))
    assert (good.passed, good.cases[0].allow, good.cases[0].wrong) == (True, True, "")
    bad = client.test(texts("tried"), CASES.format(name="other", expect="allow"))
    assert (bad.passed, bad.cases[0].reason) == (False, "not-permitted")
    assert "expected allow" in bad.cases[0].wrong
    assert refused(lambda: client.test({}, "cases: []")).code == "cases-empty"
    assert refused(lambda: client.test({"a": "permit"}, CASES.format(name="x", expect="deny"))).status == 400


def _propose(town: Town) -> None:
    made = propose(town, "proposed")
    kept = town.client("auditor").policies.show(made.set.number)
    assert (kept.set.author, kept.set.reason, kept.set.files) == (
        f"user:{OFFICER}", "nights are long", ("night.cedar",),
    )  # fmt: skip
    assert kept.document.digest == kept.set.digest == made.set.digest
    assert made.request in [view.asked.id for view in town.client("approver").approvals.waiting()]
    assert refused(lambda: town.client(OFFICER).policies.propose("{}")).code == "policies-signature"
    plain = ControlClient(town.carrier, town.keys[OFFICER])
    assert refused(lambda: plain.policies.propose("{}")).code == "step-up-required"


def _activate(town: Town) -> None:
    made = propose(town, "activated")
    officer = town.client(OFFICER).policies
    assert refused(lambda: officer.activate(made.set.number, made.request)).code == "approvals-missing"
    answer(town, made.request, "approver", "second")
    assert officer.activate(made.set.number, made.request).in_force
    assert [view.number for view in officer.list() if view.in_force] == [made.set.number]
    assert refused(lambda: officer.activate(made.set.number, made.request)).code == "policies-outdated"
    assert town.events(EventKind.POLICY_CHANGED)[-1].details["approvers"] == "user:approver user:second"


def _sets(town: Town) -> None:
    made = propose(town, "listed")
    assert town.client("approver").policies.list()[-1] == made.set


def _set(town: Town) -> None:
    made = propose(town, "shown")
    assert town.client("approver").policies.show(made.set.number).document.texts == texts("shown")
    assert refused(lambda: town.client("approver").policies.show(10_000)).code == "policies-unknown"


def _page(town: Town) -> None:
    page = town.client("admin").policies.page()
    assert "| `viewer` | A viewer looks at models" in page.text
    assert page.version in page.text


def _approvals(town: Town) -> None:
    made = propose(town, "asked")
    client = town.client("auditor").approvals
    assert made.request in [view.asked.id for view in client.list("open")]
    assert made.request not in [view.asked.id for view in client.list("approved")]
    assert refused(lambda: client.list("lost")).code == "approval-status"


def _approval(town: Town) -> None:
    made = propose(town, "looked-at")
    found = town.client("approver").approvals.show(made.request)
    assert found.request.asked.digest == found.signing.digest
    assert found.request.asked.subject == made.set.digest
    assert [finding.rule for finding in found.findings] == ["approvals-missing"]


def _answer(town: Town) -> None:
    made = propose(town, "answered")
    answer(town, made.request, "approver")
    found = town.client("auditor").approvals.show(made.request)
    assert found.request.state == "open"
    assert [f.evidence["principal"] for f in found.findings if f.rule == "approval-counted"] == ["user:approver"]
    own = signed(town, OFFICER, made.request)
    assert refused(lambda: town.client(OFFICER).approvals.answer(made.request, own)).code == "asker-may-not-approve"
    assert refused(lambda: answer(town, made.request, "approver")).status == 409
    answer(town, made.request, "third", decision="reject")
    assert town.client("auditor").approvals.show(made.request).request.state == "rejected"
    assert refused(lambda: town.client(OFFICER).policies.activate(made.set.number, made.request)).status == 409


def _impose(town: Town) -> None:
    client = town.client(OFFICER).restrictions
    made = client.impose(rules.RestrictionRequest("throttle", "model", "slow", "too loud", 5, 1, 2))
    assert (made.standing, made.per_s, made.author) == (True, 1, f"user:{OFFICER}")
    assert made in client.list()
    own = rules.RestrictionRequest("block", "principal", f"user:{OFFICER}", "me", 5)
    assert refused(lambda: client.impose(own)).code == "own-limits"
    for request, code in (
        (rules.RestrictionRequest("ban", "model", "x", "why", 5), "restriction-measure"),
        (rules.RestrictionRequest("block", "planet", "x", "why", 5), "restriction-kind"),
        (rules.RestrictionRequest("block", "model", "x", "why", 0), "restriction-expiry"),
        (rules.RestrictionRequest("throttle", "model", "x", "why", 5, 1), "restriction-limit"),
        (rules.RestrictionRequest("block", "principal", "user:none", "why", 5), "principal-unknown"),
    ):
        assert refused(lambda asked=request: client.impose(asked)).code == code  # type: ignore[misc]


def _lift(town: Town) -> None:
    client = town.client(OFFICER).restrictions
    made = client.impose(rules.RestrictionRequest("block", "model", "lifted", "a trial", 5))
    ended = client.lift(made.id, "it was nothing")
    assert (ended.standing, ended.lifted_by) == (False, f"user:{OFFICER}")
    assert made.id not in [each.id for each in client.list()]
    assert ended in client.list(ended=True)
    assert client.show(made.id) == ended
    assert refused(lambda: client.lift(made.id, "again")).code == "restriction-unknown"
    assert town.events(EventKind.RESTRICTION_LIFTED)[-1].details["why"] == "it was nothing"


def _set_quota(town: Town) -> None:
    client = town.client("admin").quotas
    made = client.set("model", "counted", "requests", "day", rules.QuotaRequest(1000, alerts=(80, 100)))
    assert made == rules.QuotaView(
        "model", "counted", "requests", "day", 1000, "fixed", 0, stops=True, alerts=(80, 100)
    )
    assert made in client.list()
    assert client.uses() == []
    assert refused(lambda: client.set("planet", "x", "requests", "day", rules.QuotaRequest(1))).code == "quota-kind"
    assert refused(lambda: client.set("model", "x", "requests", "day", rules.QuotaRequest(-1))).code == "quota-amount"
    own = rules.QuotaRequest(10)
    assert refused(lambda: client.set("principal", "user:admin", "requests", "day", own)).code == "own-limits"
    event = town.events(EventKind.QUOTA_CHANGED)[-1]
    assert (event.principal, event.resource, event.details["amount"]) == ("user:admin", "model:counted", 1000)


def _remove_quota(town: Town) -> None:
    client = town.client("admin").quotas
    client.set("model", "gone", "bytes", "hour", rules.QuotaRequest(5))
    client.remove("model", "gone", "bytes", "hour")
    assert "gone" not in [each.subject for each in client.list()]
    assert refused(lambda: client.remove("model", "gone", "bytes", "hour")).code == "quota-unknown"


def _explain(town: Town) -> None:
    client = town.client("auditor").policies
    deploy = client.explain("user:publisher", "model.deploy", "model:served/1")
    assert (deploy.allow, deploy.rules) == (False, ("author-may-not-deploy",))
    assert deploy.context["author"] == "user:publisher"
    late = client.explain("user:operator", "model.deploy", "model:served/1")
    assert (late.reason, late.open) == ("step-up-required", ("step-up",))
    assert client.explain("user:operator", "model.deploy", "model:served/1", stepped_up=True).allow
    assert ("principal.stepped_up_at", "now") in [(c.attribute, c.to) for few in late.changes for c in few]
    assert client.explain("user:viewer", "key.create", "principal:user:viewer").rules == ("own-keys",)
    made = propose(town, "explained")
    asked = client.explain(f"user:{OFFICER}", "approval.give", f"approval:{made.request}")
    assert asked.rules == ("asker-may-not-approve",)
    assert refused(lambda: client.explain("user:viewer", "model.deploy", "model:served")).code == "author-unknown"
    assert refused(lambda: client.explain("user:none", "model.read", "model:x")).code == "principal-unknown"
    assert refused(lambda: client.explain("user:viewer", "fly", "model:x")).code == "action-unknown"
    assert refused(lambda: client.explain("user:viewer", "model.read", "x")).code == "resource-malformed"
    made_order = rules.RestrictionRequest("block", "model", "explained", "a trial", 5)
    stands = town.client(OFFICER).restrictions.impose(made_order)
    assert client.explain("user:viewer", "model.read", "model:explained/1").restrictions == (stands,)


def _conflicts(town: Town) -> None:
    found = town.client("auditor").policies.conflicts()
    assert ("principal:user:third", "approver") in [(f.where, f.evidence["one"]) for f in found]
    assert all(f.rule == "duties-conflict" and f.fix for f in found)


def _rights(town: Town) -> None:
    found = {view.principal: view for view in town.client("auditor").policies.rights()}
    assert {"model.read", "system.read"} <= set(found["user:viewer"].actions)
    assert "model.deploy" not in found["user:viewer"].actions
    assert "model.deploy" in found["user:operator"].actions


def _findings(town: Town) -> None:
    found = town.client("auditor").policies.findings()
    assert "principal:user:third" in [f.where for f in found if f.rule == "duties-conflict"]
    assert all(f.fix for f in found)


def _rotation(town: Town) -> None:
    officer = ControlClient(town.carrier, town.keys[OFFICER], town.seconds[OFFICER], "once a year")
    asked = refused(lambda: officer.keyring.rotate("data"))
    assert asked.code == "approval-asked"
    request = next(view for view in town.client("approver").approvals.waiting() if view.asked.purpose == ROTATION)
    assert request.asked.details["path"] == "/api/v1/keyring/data/rotation"
    answer(town, request.asked.id, "approver", "second")
    assert town.client(OFFICER).keyring.rotate("data").key == "data"
    assert refused(lambda: town.client(OFFICER).keyring.rotate("data")).code == "approval-required"
    assert town.events(EventKind.KEYRING_ROTATED)[-1].principal == f"user:{OFFICER}"
    assert refused(lambda: town.client(OFFICER).keyring.rotate("house")).code == "keyring-key"


ROTATION = "operation:keyring.rotate"
WISHED = rules.Operation("POST", "/api/v1/keyring/data/rotation")
WISH = encoded(rules.ApprovalWish("keyring.rotate", WISHED.digest, "because", WISHED))
DRAFT = encoded(rules.DraftRequest({}, "because"))
SIGNED = encoded(rules.SignedRequest("{}"))
TRIED = encoded(rules.PolicyTestRequest({}, CASES.format(name="x", expect="deny")))
BLOCK = encoded(rules.RestrictionRequest("block", "principal", "user:viewer", "because", 5))
QUOTA = "/quotas/model/served/requests/day"
AMOUNT = encoded(rules.QuotaRequest(10))
EXPLAINED = "principal=user:viewer&action=model.read&resource=model:x"

RULE_ROUTES = {
    "POST /keyring/{key}/rotation": Route(
        "/keyring/data/rotation", None, "admin", "keyring.rotate", "keyring:data", _rotation
    ),
    "GET /policies": Route("/policies", None, "viewer", "policy.read", "policies:sets", _sets),
    "GET /policies/page": Route("/policies/page", None, "viewer", "policy.read", "policies:page", _page),
    "GET /policies/{number}": Route("/policies/1", None, "viewer", "policy.read", "policies:1", _set),
    "POST /policies/drafts": Route("/policies/drafts", DRAFT, "viewer", "policy.read", "policies:drafts", _draft),
    "POST /policies/tests": Route("/policies/tests", TRIED, "operator", "policy.read", "policies:tests", _tests),
    "POST /policies": Route("/policies", SIGNED, "approver", "policy.change", "policies:sets", _propose),
    "POST /policies/{number}/activation": Route(
        "/policies/1/activation", encoded(rules.ActivationRequest("x")), "auditor", "policy.change", "policies:1",
        _activate,
    ),
    "GET /access/explanations": Route(
        f"/access/explanations?{EXPLAINED}", None, "approver", "access.read", "access:explanations", _explain
    ),
    "GET /access/conflicts": Route("/access/conflicts", None, "viewer", "access.read", "access:conflicts", _conflicts),
    "GET /access/rights": Route("/access/rights", None, "viewer", "access.read", "access:rights", _rights),
    "GET /access/findings": Route("/access/findings", None, "viewer", "access.read", "access:findings", _findings),
    "GET /approvals": Route("/approvals", None, "viewer", "policy.read", "approvals:all", _approvals),
    "GET /approvals/{request_id}": Route(
        "/approvals/nothing", None, "viewer", "policy.read", "approval:nothing", _approval
    ),
    "POST /approvals/{request_id}/answers": Route(
        "/approvals/nothing/answers", SIGNED, "viewer", "policy.read", "approval:nothing", _answer
    ),
    "GET /restrictions": Route("/restrictions", None, "viewer", "access.read", "access:restrictions", _impose),
    "GET /restrictions/history": Route(
        "/restrictions/history", None, "operator", "access.read", "access:restrictions", _lift
    ),
    "GET /restrictions/{restriction}": Route(
        "/restrictions/x", None, "operator", "access.read", "restriction:x", _lift
    ),
    "POST /restrictions": Route(
        "/restrictions", BLOCK, "admin", "restriction.change", "restriction:principal:user:viewer", _impose
    ),
    "POST /restrictions/{restriction}/lift": Route(
        "/restrictions/x/lift", encoded(rules.LiftRequest("because")), "admin", "restriction.change", "restriction:x",
        _lift,
    ),
    "GET /quotas": Route("/quotas", None, "operator", "access.read", "access:quotas", _set_quota),
    "GET /quotas/uses": Route("/quotas/uses", None, "viewer", "access.read", "access:quotas", _set_quota),
    "GET /quotas/{kind}/{subject}/{unit}/{window}": Route(
        QUOTA, None, "viewer", "access.read", "quota:model:served", _set_quota
    ),
    "PUT /quotas/{kind}/{subject}/{unit}/{window}": Route(
        QUOTA, AMOUNT, OFFICER, "quota.change", "quota:model:served", _set_quota
    ),
    "DELETE /quotas/{kind}/{subject}/{unit}/{window}": Route(
        QUOTA, None, "operator", "quota.change", "quota:model:served", _remove_quota
    ),
}  # fmt: skip
RULE_OWN = {"GET /approvals/waiting": None, "POST /approvals": WISH, "POST /approvals/{request_id}/withdrawal": None}
