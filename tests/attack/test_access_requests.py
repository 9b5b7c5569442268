"""Approval requests, attacked: by their author and the author's delegates, by replay, and by who can write the tables.

Success rate: 0. Not covered, since no table can tell: a request deleted, or marked as unused again (the ledger can).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from sqlalchemy import update

from fastness.access import approvals, standing
from fastness.access.approvals import requests
from fastness.access.approvals.requests import ApprovalRequest, Asked, RequestState, Terms
from fastness.access.approvals.tables import APPROVAL_REQUEST
from fastness.core.digests import Digest
from fastness.core.errors import Conflict, Corrupt, FastnessError, Forbidden, Invalid, NotFound
from fastness.core.identity import PrincipalId, PrincipalKind, Role, Scope, TenantId
from fastness.foundation.crypto import sign_statement
from fastness.foundation.storage.contracts import Exempt
from tests.unit.access.house import ADMIN, START, SUBJECT, TENANT, House, Person
from tests.unit.access.test_approval_requests import DAY, PURPOSE, TWO, asked, say, signed, use

OTHER = Digest("sha256:" + "cd" * 32)
ELSEWHERE = Scope(TenantId("other"), PrincipalId("user:root"))


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.records.close()


@pytest.fixture
def alice(house: House) -> Person:
    return house.person("alice", Role.APPROVER, Role.SECURITY_OFFICER)


@pytest.fixture
def bob(house: House) -> Person:
    return house.person("bob", Role.APPROVER)


@pytest.fixture
def carol(house: House) -> Person:
    return house.person("carol", Role.APPROVER)


def answered(house: House, person: Person, request: ApprovalRequest, envelope: bytes) -> str:
    with pytest.raises(FastnessError) as caught, house.begin(Scope(TENANT, person.id)) as tx:
        requests.answer(tx, request.id, envelope, approvals.public_keys(tx))
    return caught.value.code


def change(house: House, request: ApprovalRequest, **values: object) -> None:
    with house.records.begin_unrecorded(ADMIN, START, Exempt.PROJECTION) as tx:
        tx.execute(update(APPROVAL_REQUEST).where(APPROVAL_REQUEST.c.id == request.id).values(**values))


def changed(asked: Asked, **terms: object) -> bytes:
    less = msgspec.structs.replace(asked.terms, **terms)
    return msgspec.json.encode(msgspec.structs.replace(asked, terms=less), order="deterministic")


def test_the_author_does_not_approve(house: House, alice: Person) -> None:
    request = asked(house, alice)
    assert answered(house, alice, request, signed(alice, request)) == "approver-unfit"


def test_nor_whoever_acts_for_the_author(house: House, alice: Person, bob: Person, carol: Person) -> None:
    """Bob asks in alice's name by delegation; carol is alice's deputy and named so."""
    terms = Terms(1, frozenset({Role.APPROVER}), DAY, frozenset({carol.id}))
    request = asked(house, alice, terms, actor=bob.id)
    for person in (alice, bob, carol):
        assert answered(house, person, request, signed(person, request)) == "approver-unfit"
    with house.records.read(ADMIN) as reading:
        assert requests.waiting_for(reading, bob.id, START) == []


def test_nor_by_a_second_key_of_ones_own_program(house: House, alice: Person) -> None:
    bot = house.person("bot", Role.APPROVER, kind=PrincipalKind.AGENT)
    request = asked(house, alice)
    assert answered(house, bot, request, signed(bot, request)) == "approver-unfit"


def test_excluding_nobody_does_not_let_the_author_in(house: House, alice: Person) -> None:
    request = asked(house, alice, Terms(1, frozenset({Role.APPROVER}), DAY, frozenset()))
    assert alice.id in request.asked.terms.excluded


def test_one_person_counts_once(house: House, alice: Person, bob: Person) -> None:
    request = asked(house, alice)
    say(house, bob, request)
    with house.begin(Scope(TENANT, bob.id)) as tx:
        envelope = signed(bob, request, note="again")
        assert requests.answer(tx, request.id, envelope, approvals.public_keys(tx)).state is RequestState.OPEN


def test_an_approval_is_good_for_its_own_request_alone(house: House, alice: Person, bob: Person, carol: Person) -> None:
    """The same subject, purpose and terms, asked for twice."""
    first, second = asked(house, alice), asked(house, alice)
    for person in (bob, carol):
        assert answered(house, person, second, signed(person, first)) == "approval-refused"


@pytest.mark.parametrize(
    "where", [{"purpose": "policy.change"}, {"tenant": "other"}, {"purpose": "request:policy.change"}]
)
def test_nor_for_another_purpose_or_tenant(house: House, alice: Person, bob: Person, where: dict[str, str]) -> None:
    request = asked(house, alice)
    assert answered(house, bob, request, signed(bob, request, **where)) == "approval-refused"


def test_what_was_approved_for_a_release_opens_no_request_and_the_other_way_round(
    house: House, alice: Person, bob: Person, carol: Person
) -> None:
    request = asked(house, alice)
    predicate = approvals.proposal(TENANT, PURPOSE, {}) | {"decision": "approve"}
    for subject in (SUBJECT, request.asked.digest):
        envelope = sign_statement(bob.signer, {"manifest": subject}, approvals.PREDICATE_TYPE, predicate)
        assert answered(house, bob, request, envelope) == "approval-refused"
    for person in (bob, carol):
        say(house, person, request)
    with house.records.read(ADMIN) as reading:
        for purpose in (PURPOSE, f"request:{PURPOSE}"):
            verdict = approvals.quorum(reading, SUBJECT, purpose, 1, (), START)
            assert verdict.findings[0].rule == approvals.MISSING.id


@pytest.mark.parametrize(("purpose", "subject"), [("policy.change", SUBJECT), (PURPOSE, OTHER)])
def test_an_approved_request_does_nothing_else(
    house: House, alice: Person, bob: Person, carol: Person, purpose: str, subject: Digest
) -> None:
    request = asked(house, alice)
    for person in (bob, carol):
        say(house, person, request)
    with pytest.raises(Conflict, match="approval-other"), house.begin() as tx:
        requests.use(tx, request.id, purpose, subject, 2)


WEAKER: dict[str, dict[str, object]] = {
    "fewer": {"needed": 1},
    "nobody left out": {"excluded": frozenset()},
    "other roles": {"roles": frozenset(Role)},
    "later": {"deadline": DAY + 1},
}


@pytest.mark.parametrize("terms", WEAKER.values(), ids=WEAKER)
def test_terms_that_are_changed_in_the_table_have_no_approvals(
    house: House, alice: Person, bob: Person, carol: Person, terms: dict[str, object]
) -> None:
    request = asked(house, alice)
    for person in (bob, carol):
        say(house, person, request)
    change(house, request, document=changed(request.asked, **terms))
    with pytest.raises(Conflict, match="approvals-missing"):
        use(house, request, at_least=1)


def test_a_state_that_is_changed_in_the_table_approves_nothing(house: House, alice: Person, bob: Person) -> None:
    request = asked(house, alice)
    say(house, bob, request)
    change(house, request, state="approved")
    with pytest.raises(Conflict, match="approvals-missing"):
        use(house, request)


@pytest.mark.parametrize("document", [b"", b"{}", b"\xff", b"null"])
def test_a_document_that_is_none_is_named(house: House, alice: Person, document: bytes) -> None:
    request = asked(house, alice)
    change(house, request, document=document)
    with pytest.raises(Corrupt, match="access-changed"):
        use(house, request)


def test_a_document_of_another_request_is_named(house: House, alice: Person, bob: Person, carol: Person) -> None:
    good, evil = asked(house, alice), asked(house, alice)
    for person in (bob, carol):
        say(house, person, good)
    change(house, evil, document=msgspec.json.encode(good.asked, order="deterministic"), state="approved")
    with pytest.raises(Corrupt, match="access-changed"):
        use(house, evil)


def test_who_lost_role_place_or_key_since_does_not_count(house: House, alice: Person, bob: Person) -> None:
    for number, act in enumerate(("role", "place", "key")):
        leaver, other = house.person(f"l{number}", Role.APPROVER), house.person(f"o{number}", Role.APPROVER)
        request = asked(house, alice)
        for person in (leaver, other):
            say(house, person, request)
        with house.begin() as tx:
            if act == "role":
                standing.set_roles(tx, leaver.id, frozenset({Role.VIEWER}))
            elif act == "place":
                standing.deactivate(tx, leaver.id)
            else:
                standing.revoke_public_key(tx, leaver.signer.keyid)
        with pytest.raises(Conflict, match="approvals-missing"):
            use(house, request)


def test_a_later_no_undoes_the_quorum(house: House, alice: Person, bob: Person, carol: Person) -> None:
    """The request is closed; a rejection that reaches the tables all the same counts when the approval is used."""
    dave = house.person("dave", Role.APPROVER)
    request = asked(house, alice)
    for person in (bob, carol):
        say(house, person, request)
    change(house, request, state="open")
    say(house, dave, request, "reject")
    change(house, request, state="approved")
    with pytest.raises(Conflict, match="approvals-missing"):
        use(house, request)


def test_another_tenant_sees_and_answers_nothing(house: House, alice: Person, bob: Person) -> None:
    request = asked(house, alice)
    mallory = house.person("bob", Role.APPROVER, scope=ELSEWHERE)
    with house.records.read(ELSEWHERE) as reading:
        assert requests.find_all(reading) == []
        assert requests.waiting_for(reading, mallory.id, START) == []
        with pytest.raises(NotFound):
            requests.find(reading, request.id)
    with pytest.raises(NotFound), house.begin(ELSEWHERE) as tx:
        requests.answer(tx, request.id, signed(mallory, request), approvals.public_keys(tx))
    with pytest.raises(NotFound), house.begin(ELSEWHERE) as tx:
        requests.use(tx, request.id, PURPOSE, SUBJECT, 1)
    assert answered(house, bob, request, signed(mallory, request)) == "approval-refused"


def test_a_signature_of_many_or_of_nobody_is_refused(house: House, alice: Person, bob: Person) -> None:
    request = asked(house, alice)
    for envelope in (b"", b"{}", signed(bob, request, decision="maybe")):
        with pytest.raises((Invalid, Forbidden)), house.begin(Scope(TENANT, bob.id)) as tx:
            requests.answer(tx, request.id, envelope, approvals.public_keys(tx))
    assert TWO.needed == 2
