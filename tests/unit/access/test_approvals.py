from __future__ import annotations

import os

import pytest

from fastness.access import approvals, standing
from fastness.access.approvals import PREDICATE_TYPE, RULES, Choice
from fastness.core.digests import Digest
from fastness.core.errors import Conflict, Forbidden, Invalid
from fastness.core.events import EventKind
from fastness.core.findings import Decision, Verdict
from fastness.core.identity import PrincipalKind, Role, TenantId
from fastness.foundation.crypto import SoftwareSigner
from tests.unit.access.house import ADMIN, PURPOSE, START, SUBJECT, House, Person, approval


@pytest.fixture
def bob(house: House) -> Person:
    return house.person("bob", Role.APPROVER)


@pytest.fixture
def carol(house: House) -> Person:
    return house.person("carol", Role.APPROVER)


def rules(verdict: Verdict) -> list[str]:
    return [finding.rule for finding in verdict.findings]


def test_two_of_two_allow(house: House, bob: Person, carol: Person) -> None:
    house.approve(bob)
    house.approve(carol)
    verdict = house.quorum(2)
    assert verdict.decision is Decision.ALLOW
    assert rules(verdict) == ["approval-counted", "approval-counted"]
    assert sorted((f.evidence for f in verdict.findings), key=lambda e: str(e["principal"])) == [
        {"principal": person.id, "choice": "approve", "recorded_at": START} for person in (bob, carol)
    ]


@pytest.mark.parametrize("needed", [1, 2, 3])
def test_nobody_is_not_enough(house: House, needed: int) -> None:
    verdict = house.quorum(needed)
    assert verdict.decision is Decision.DENY
    assert [f.message for f in verdict.findings] == [f"0 of {needed} approvals"]


@pytest.mark.parametrize("needed", [0, -1])
def test_a_quorum_of_nobody_is_refused(house: House, needed: int) -> None:
    with pytest.raises(Invalid, match="quorum-range"):
        house.quorum(needed)


def test_what_is_missing_is_said(house: House, bob: Person) -> None:
    alice = house.person("alice", Role.APPROVER)
    house.approve(alice)
    house.approve(bob)
    verdict = house.quorum(2, alice)
    assert verdict.decision is Decision.DENY
    assert verdict.findings[0].message == "1 of 2 approvals; the author user:alice cannot approve"
    assert verdict.findings[0].evidence == {"have": 1, "need": 2, "purpose": PURPOSE}


def test_a_person_counts_once(house: House, bob: Person) -> None:
    house.approve(bob)
    house.approve(bob, note="and again")
    assert house.quorum(2).findings[0].message == "1 of 2 approvals"
    assert house.quorum(1).decision is Decision.ALLOW


def test_a_rejection_outweighs_any_number(house: House, bob: Person, carol: Person) -> None:
    dave = house.person("dave", Role.APPROVER)
    for person in (bob, carol):
        house.approve(person)
    house.approve(dave, decision="reject")
    verdict = house.quorum(2)
    assert verdict.decision is Decision.DENY
    assert "approval-rejected" in rules(verdict)
    assert verdict.findings[-1].message == "user:dave said no"


def test_a_rejection_is_not_taken_back_by_approving(house: House, bob: Person, carol: Person) -> None:
    house.approve(bob, decision="reject")
    house.approve(bob)
    house.approve(carol)
    assert house.quorum(1).decision is Decision.DENY


def test_the_rejection_of_who_is_excluded_does_not_count(house: House, bob: Person) -> None:
    alice = house.person("alice", Role.APPROVER)
    house.approve(alice, decision="reject")
    house.approve(bob)
    assert house.quorum(1, alice).decision is Decision.ALLOW


FALLEN = {
    "left": (lambda tx, who: standing.deactivate(tx, who.id), "user:bob is no longer active"),
    "lost the role": (
        lambda tx, who: standing.set_roles(tx, who.id, frozenset({Role.VIEWER})),
        "user:bob does not hold the role approver",
    ),
    "lost the key": (lambda tx, who: standing.revoke_public_key(tx, who.signer.keyid), "user:bob's key was revoked"),
}


@pytest.mark.parametrize(("act", "why"), FALLEN.values(), ids=FALLEN)
def test_who_is_no_approver_now_does_not_count(house: House, bob: Person, act, why: str) -> None:  # noqa: ANN001
    house.approve(bob)
    assert house.quorum(1).decision is Decision.ALLOW
    with house.begin() as tx:
        act(tx, bob)
    verdict = house.quorum(1)
    assert verdict.decision is Decision.DENY
    assert verdict.findings[0].message == f"0 of 1 approvals; {why}"
    assert "approval-altered" not in rules(verdict)


def test_who_gets_the_role_back_counts_again(house: House, bob: Person) -> None:
    house.approve(bob)
    for roles in (frozenset(), frozenset({Role.APPROVER})):
        with house.begin() as tx:
            standing.set_roles(tx, bob.id, roles)
    assert house.quorum(1).decision is Decision.ALLOW


def test_what_was_approved_later_does_not_count_yet(house: House, bob: Person) -> None:
    house.clock.advance(10)
    house.approve(bob)
    with house.records.read(ADMIN) as reading:
        verdict = approvals.quorum(reading, SUBJECT, PURPOSE, 1, (), START)
    assert verdict.findings[0].message == "0 of 1 approvals; user:bob approved later"


def test_an_approval_is_for_one_thing_and_purpose(house: House, bob: Person) -> None:
    house.approve(bob)
    with house.records.read(ADMIN) as reading:
        other = Digest("sha256:" + "cd" * 32)
        assert approvals.quorum(reading, other, PURPOSE, 1, (), START).decision is Decision.DENY
        assert approvals.quorum(reading, SUBJECT, "deploy:staging", 1, (), START).decision is Decision.DENY


def test_a_recorded_approval_leaves_its_event(house: House, bob: Person) -> None:
    with house.begin() as tx:
        kept = approvals.record_approval(tx, SUBJECT, PURPOSE, approval(bob), approvals.public_keys(tx))
    assert (kept.principal, kept.keyid, kept.choice) == (bob.id, bob.signer.keyid, Choice.APPROVE)
    event = house.events()[-1]
    assert (event.kind, event.resource) == (EventKind.APPROVAL_RECORDED, SUBJECT)
    assert event.details["approver"] == bob.id
    assert event.details["choice"] == "approve"


def test_the_same_envelope_is_recorded_once(house: House, bob: Person) -> None:
    house.approve(bob)
    with pytest.raises(Conflict, match="approval-exists"):
        house.approve(bob)


REFUSED = {
    "another thing": {"subject": Digest("sha256:" + "00" * 32)},
    "another purpose": {"purpose": "deploy:staging"},
    "another tenant": {"tenant": TenantId("other")},
    "another kind of statement": {"kind": "urn:fastness:predicate:manifest:v1"},
    "an older kind of approval": {"kind": PREDICATE_TYPE.replace("v1", "v0")},
    "no decision": {"decision": ""},
    "a decision that is none": {"decision": "maybe"},
    "a decision in capitals": {"decision": "APPROVE"},
}


@pytest.mark.parametrize("changes", REFUSED.values(), ids=REFUSED)
def test_an_approval_that_says_something_else_is_not_recorded(
    house: House, bob: Person, changes: dict[str, object]
) -> None:
    with pytest.raises(Invalid, match="approval-refused"):
        house.approve(bob, **changes)
    assert house.quorum(1).decision is Decision.DENY


def test_a_stranger_is_not_recorded(house: House, bob: Person) -> None:
    stranger = Person(bob.id, SoftwareSigner.create(os.urandom), bob.key)
    with pytest.raises(Invalid, match="approval-refused"):
        house.approve(stranger)


@pytest.mark.parametrize("envelope", [b"", b"{}", b"\xff", b"[]", b"{" * 1000, b"x" * 100_000])
def test_what_is_no_envelope_is_not_recorded(house: House, bob: Person, envelope: bytes) -> None:
    with pytest.raises(Invalid), house.begin() as tx:
        approvals.record_approval(tx, SUBJECT, PURPOSE, envelope, approvals.public_keys(tx))


def test_who_is_no_approver_is_not_recorded(house: House) -> None:
    for person in (
        house.person("eve", Role.OPERATOR, Role.ADMINISTRATOR),
        house.person("ci", Role.APPROVER, kind=PrincipalKind.SERVICE),
    ):
        with pytest.raises(Forbidden, match="approver-unfit"):
            house.approve(person)


@pytest.mark.parametrize("purpose", ["", "x" * 201])
def test_a_purpose_has_a_length(house: House, bob: Person, purpose: str) -> None:
    with pytest.raises(Invalid, match="approval-size"), house.begin() as tx:
        approvals.record_approval(tx, SUBJECT, purpose, approval(bob, purpose=purpose), approvals.public_keys(tx))


def test_a_malformed_subject_is_refused(house: House, bob: Person) -> None:
    with pytest.raises(Invalid, match="digest-malformed"), house.begin() as tx:
        approvals.record_approval(tx, Digest("sha256:zz"), PURPOSE, approval(bob), approvals.public_keys(tx))


def test_every_finding_has_its_rule(house: House) -> None:
    assert len({rule.id for rule in RULES}) == len(RULES) == 5
    assert all(rule.why and rule.fix and rule.title for rule in RULES)
