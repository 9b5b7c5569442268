from __future__ import annotations

import os
from dataclasses import dataclass

import msgspec
import pytest

from fastness.access import Policies, approvals, decide
from fastness.access.approvals import requests
from fastness.access.policysets import (
    SET_TYPE,
    PoliciesProjection,
    PolicyBook,
    PolicySet,
    PolicySnapshot,
    Proposal,
    activate,
    draft,
    page,
    propose,
    sets,
)
from fastness.access.policysets.cases import read_cases, run_cases, verdict_of
from fastness.access.policysets.findings import check, joined
from fastness.core.errors import Conflict, FastnessError, Invalid, NotFound
from fastness.core.events import EventKind
from fastness.core.findings import Decision
from fastness.core.identity import (
    Action,
    Principal,
    PrincipalId,
    PrincipalKind,
    Resource,
    Role,
    Scope,
    Strength,
    TenantId,
)
from fastness.foundation.crypto import SoftwareSigner, sign_statement
from tests.unit.access.house import ADMIN, START, TENANT, House, Person

SHIPPED = Policies.shipped()
NIGHT = """
@id("night-shift") @says("The night shift takes back faces.")
permit(principal in Role::"viewer", action == Action::"model.rollback", resource) when { resource.name == "faces" };
"""


@dataclass
class Town:
    """A house with who writes rules, who approves them, and the key that seals."""

    house: House
    author: Person
    bob: Person
    carol: Person
    seal: SoftwareSigner

    def scope(self, person: Person, tenant: TenantId = TENANT) -> Scope:
        return Scope(tenant, person.id)

    def propose(self, text: str = NIGHT) -> Proposal:
        return propose_as(self, self.author, {"night.cedar": text} if text else {})

    def approve(self, proposal: Proposal, *people: Person) -> None:
        for person in people:
            subject, predicate = proposal.request.statement()
            envelope = sign_statement(
                person.signer, {"request": subject}, approvals.PREDICATE_TYPE, predicate | {"decision": "approve"}
            )
            with self.house.begin(self.scope(person)) as tx:
                requests.answer(tx, proposal.request.id, envelope, approvals.public_keys(tx))

    def activate(self, proposal: Proposal) -> PolicySet:
        with self.house.begin(self.scope(self.author)) as tx:
            return activate(tx, self.seal, proposal.set.document.number, proposal.request.id, SHIPPED)

    def in_force(self, text: str = NIGHT) -> Proposal:
        proposal = self.propose(text)
        self.approve(proposal, self.bob, self.carol)
        self.activate(proposal)
        return proposal

    def snapshot(self) -> PolicySnapshot:
        with self.house.records.read(ADMIN) as reading:
            loaded = PoliciesProjection().load(reading)
        return msgspec.msgpack.decode(msgspec.msgpack.encode(loaded), type=PolicySnapshot)

    def book(self) -> PolicyBook:
        return PolicyBook(SHIPPED, {self.seal.keyid: self.seal.public_pem})


def principal(person: Person, *roles: Role, tenant: TenantId = TENANT) -> Principal:
    return Principal(PrincipalKind.USER, person.id, tenant, frozenset(roles), Strength.MFA, START)


def propose_as(
    town: Town,
    who: Person,
    texts: dict[str, str],
    signer: SoftwareSigner | None = None,
    changes: dict[str, object] | None = None,
) -> Proposal:
    with town.house.begin(town.scope(who)) as tx:
        document = msgspec.structs.replace(draft(tx, texts, "nights are long", SHIPPED), **changes or {})
        subject, predicate = document.statement()
        envelope = sign_statement(signer or who.signer, {"policies": subject}, SET_TYPE, predicate)
        return propose(tx, principal(who, Role.SECURITY_OFFICER), envelope, approvals.public_keys(tx), SHIPPED)


def settle(house: House) -> Town:
    alice = house.person("alice", Role.SECURITY_OFFICER)
    bob, carol = house.person("bob", Role.APPROVER), house.person("carol", Role.SECURITY_OFFICER)
    return Town(house, alice, bob, carol, SoftwareSigner.create(os.urandom))


@pytest.fixture
def town(house: House) -> Town:
    return settle(house)


def may_roll_back(policies: Policies, model: str) -> bool:
    who = Principal(PrincipalKind.USER, PrincipalId("user:v"), TENANT, frozenset({Role.VIEWER}), Strength.MFA, START,
                    stepped_up_at=START)  # fmt: skip
    return decide(who, Action.MODEL_ROLLBACK, Resource("model", model), {"tenant": TENANT}, policies, START).allow


def test_rules_are_proposed_approved_activated_and_taken(town: Town) -> None:
    book = town.book()
    assert book.take(town.snapshot()) == {}
    assert book.of(TENANT) is book.shipped
    proposal = town.in_force()
    assert book.take(town.snapshot()) == {}
    assert may_roll_back(book.of(TENANT), "faces")
    assert not may_roll_back(book.of(TENANT), "digits")
    assert book.of(TenantId("other")) is book.shipped
    with town.house.records.read(ADMIN) as reading:
        (kept,) = sets(reading)
    assert (kept.document, kept.activated_at) == (proposal.set.document, START)
    told = [e for e in town.house.events() if e.kind is EventKind.POLICY_CHANGED]
    assert [(e.reason, e.details["number"]) for e in told] == [("proposed", 1), ("activated", 1)]
    assert told[1].details["approvers"] == "user:bob user:carol"


def test_the_same_rules_stay_the_same_object_with_what_they_remember(town: Town) -> None:
    town.in_force()
    book = town.book()
    book.take(town.snapshot())
    before = book.of(TENANT)
    book.take(town.snapshot())
    assert book.of(TENANT) is before
    town.in_force(NIGHT.replace("faces", "digits"))
    book.take(town.snapshot())
    assert book.of(TENANT) is not before
    assert may_roll_back(book.of(TENANT), "digits")
    assert may_roll_back(before, "faces")  # who was deciding by them goes on undisturbed


def test_an_empty_set_returns_to_the_shipped_rules(town: Town) -> None:
    town.in_force()
    town.in_force("")
    book = town.book()
    assert book.take(town.snapshot()) == {}
    assert book.of(TENANT).version == joined({}, SHIPPED).version == SHIPPED.version


def test_a_set_waits_for_its_approvals(town: Town) -> None:
    proposal = town.propose()
    for people in ((), (town.bob,)):
        town.approve(proposal, *people)
        with pytest.raises(Conflict, match="approvals-missing"):
            town.activate(proposal)
    town.approve(proposal, town.carol)
    town.activate(proposal)
    with pytest.raises(Conflict, match="policies-outdated"):
        town.activate(proposal)


def test_an_older_set_does_not_come_back(town: Town) -> None:
    first = town.propose()
    town.approve(first, town.bob, town.carol)
    town.in_force(NIGHT.replace("faces", "digits"))
    with pytest.raises(Conflict, match="policies-outdated"):
        town.activate(first)


def test_a_set_that_is_not_there(town: Town) -> None:
    proposal = town.propose()
    with pytest.raises(NotFound), town.house.begin() as tx:
        activate(tx, town.seal, 7, proposal.request.id, SHIPPED)


REFUSED = {
    "number": ({"number": 2}, "policies-number"),
    "no reason": ({"reason": " "}, "policies-reason"),
    "another tenant": ({"tenant": "other"}, "policies-signer"),
    "does not load": ({"texts": {"a": "permit"}}, "policies-refused"),
}


@pytest.mark.parametrize(("changes", "code"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_proposal_is_refused(town: Town, changes: dict[str, object], code: str) -> None:
    with pytest.raises(FastnessError) as caught:
        propose_as(town, town.author, {"night.cedar": NIGHT}, None, changes)
    assert caught.value.code == code


def finding(text: str) -> list[tuple[str, str]]:
    return [(f.rule, f.severity.name) for f in check({"own.cedar": text}, SHIPPED).findings]


S = '@says("Why not.")'
VIEWER = 'principal in Role::"viewer"'
FOUND = {
    "nothing": (f'@id("a") {S} permit({VIEWER}, action == Action::"metrics.read", resource);', []),
    "a forbid": (f'@id("a") {S} forbid(principal, action, resource) when {{ principal.kind == "agent" }};', []),
    "not Cedar": ("permit", [("policies-unloadable", "HIGH")]),
    "no id": ("permit(principal, action, resource);", [("policies-unloadable", "HIGH")]),
    "a shipped name": (
        f'@id("viewer") {S} permit({VIEWER}, action == Action::"metrics.read", resource);', [("policy-shadows", "HIGH")],
    ),
    "no sentence": (
        f'@id("a") permit({VIEWER}, action == Action::"metrics.read", resource);', [("policy-silent", "LOW")],
    ),
    "everything": (f'@id("a") {S} permit({VIEWER}, action, resource);', [("policy-wildcard", "HIGH")]),
    "everybody": (
        f'@id("a") {S} permit(principal, action == Action::"metrics.read", resource);', [("policy-wildcard", "HIGH")],
    ),
    "everybody, on conditions": (
        f'@id("a") {S} permit(principal, action == Action::"metrics.read", resource) when {{ principal.strength >= 2 }};',
        [("policy-wildcard", "MEDIUM")],
    ),
    "one person": (
        f'@id("a") {S} permit(principal == Principal::"user:x", action == Action::"metrics.read", resource);', [],
    ),
    "what is permitted already": (
        f'@id("a") {S} permit({VIEWER}, action == Action::"model.read", resource);', [("policy-redundant", "LOW")],
    ),
    "a role that nobody holds": (
        f'@id("a") {S} permit(principal in Role::"Viewer", action == Action::"metrics.read", resource);',
        [("policy-unreachable", "MEDIUM")],
    ),
    "never": (
        f'@id("a") {S} forbid(principal, action, resource) when {{ false }};', [("policy-unreachable", "MEDIUM")],
    ),
    "unless always": (
        f'@id("a") {S} forbid(principal, action, resource) unless {{ true }};', [("policy-unreachable", "MEDIUM")],
    ),
    "two things at once": (
        (f'@id("a") {S} forbid(principal, action, resource) when {{ principal.kind == "user" }} '
         'when { principal.tenant == "x" && principal.kind == "agent" };'),
        [("policy-unreachable", "MEDIUM")],
    ),
    "both halves by one": (
        f'@id("a") {S} permit({VIEWER}, action in [Action::"model.push", Action::"model.approve"], resource);',
        [("policy-duties", "HIGH")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), FOUND.values(), ids=FOUND)
def test_what_is_found_in_rules(text: str, expected: list[tuple[str, str]]) -> None:
    assert [pair for pair in finding(text) if pair[0] != "policy-duties" or expected == [pair]] == expected


def test_half_of_a_pair_added_to_the_other_is_found() -> None:
    text = f'@id("a") {S} permit(principal in Role::"operator", action == Action::"model.approve", resource);'
    (found,) = check({"own.cedar": text}, SHIPPED).findings
    assert (found.rule, "operator" in found.message, "model.deploy" in found.message) == ("policy-duties", True, True)


def test_the_shipped_rules_pass_their_own_check() -> None:
    for file, text in SHIPPED.texts.items():
        others = Policies.from_texts({"x": '@id("x") forbid(principal, action, resource);'})
        kinds = {f.rule for f in check({file: text}, others).findings}
        assert kinds <= {"policy-wildcard"}, file  # own-keys is for everybody, on what is theirs


CASES = b"""
cases:
  - name: the night shift takes back faces
    principal: {id: "user:nora", roles: [viewer], stepped_up: true}
    action: model.rollback
    resource: model:faces
    expect: allow
    by: [night-shift, step-up]
    obligations: [step-up]
  - name: but nothing else
    principal: {id: "user:nora", roles: [viewer], stepped_up: true}
    action: model.rollback
    resource: model:digits
    expect: deny
    by: []
  - name: nor without a second factor
    principal: {id: "user:nora", roles: [viewer]}
    action: model.rollback
    resource: model:faces
    expect: deny
  - name: a grant counts
    principal: {id: "service:ci", grants: [{role: developer, model: faces}], strength: mfa, models: [faces]}
    action: model.infer
    resource: model:faces
    context: {version: 3}
    expect: allow
"""


def test_cases_run_against_rules() -> None:
    outcomes = run_cases(read_cases(CASES), joined({"night.cedar": NIGHT}, SHIPPED))
    assert [outcome.wrong for outcome in outcomes] == ["", "", "", ""]
    assert verdict_of(outcomes).decision is Decision.ALLOW


def test_a_case_that_goes_otherwise_says_how() -> None:
    outcomes = run_cases(read_cases(CASES), SHIPPED)
    assert [bool(outcome.wrong) for outcome in outcomes] == [True, False, False, False]
    verdict = verdict_of(outcomes)
    (found,) = verdict.findings
    assert (verdict.decision, found.rule) == (Decision.DENY, "policy-case")
    assert "expected allow, got not-permitted" in found.message
    assert "expected by night-shift, step-up, got none" in found.message


BAD_CASES = {
    "no YAML": b"{",
    "nothing": b"",
    "no cases": b"cases: []",
    "not UTF-8": b"\xff",
    "an unknown field": CASES.replace(b"by:", b"because:"),
    "an unknown role": CASES.replace(b"[viewer]", b"[king]"),
    "an unknown action": CASES.replace(b"model.infer", b"model.fly"),
    "an unknown kind": CASES.replace(b"service:ci", b"robot:ci"),
    "an unknown strength": CASES.replace(b"strength: mfa", b"strength: great"),
    "neither yes nor no": CASES.replace(b"expect: deny", b"expect: maybe"),
    "too large": b"#" * (1 << 20) + CASES,
    "code": b"cases: !!python/object/apply:os.system [id]",
}


@pytest.mark.parametrize("data", BAD_CASES.values(), ids=BAD_CASES)
def test_what_is_no_file_of_cases_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        read_cases(data)


def test_the_page_holds_every_rule_once_with_its_sentence() -> None:
    shown = page(SHIPPED)
    for rule, says in SHIPPED.says.items():
        assert shown.count(f"| `{rule}` |") == 1
        assert says in shown
    assert "| model.deploy |  |  |  |  | x |  |  |  |" in shown
    assert shown.count("\n") < 110


def test_a_text_of_a_policy_makes_no_markup_of_its_own() -> None:
    says = r'@says("a | b\n<script>\\")'
    shown = page(joined({"x.cedar": f'@id("x") {says} forbid(principal, action, resource);'}, SHIPPED))
    (line,) = [line for line in shown.splitlines() if line.startswith("| `x` |")]
    assert "a \\| b &lt;script>" in line
