from __future__ import annotations

import pytest

from fastness.access import approvals, standing
from fastness.access.approvals import requests
from fastness.access.approvals.requests import LONGEST_S, MOST_OPEN, ApprovalRequest, RequestState, Terms
from fastness.core.clock import Instant, later
from fastness.core.errors import Conflict, FastnessError, Forbidden, Invalid, NotFound
from fastness.core.events import EventKind
from fastness.core.findings import Decision
from fastness.core.identity import Principal, PrincipalId, PrincipalKind, Role, Scope, Strength
from fastness.foundation.crypto import sign_statement
from tests.unit.access.house import ADMIN, START, SUBJECT, TENANT, House, Person

DAY = later(START, 86_400)
PURPOSE = "keyring.rotate"
TWO = Terms(2, frozenset({Role.APPROVER}), DAY)


@pytest.fixture
def crew(house: House) -> dict[str, Person]:
    roles = {"alice": Role.SECURITY_OFFICER, "bob": Role.APPROVER, "carol": Role.APPROVER, "dave": Role.VIEWER}
    return {name: house.person(name, role) for name, role in roles.items()}


def who(person: Person, actor: str = "") -> Principal:
    return Principal(
        PrincipalKind.USER, person.id, TENANT, frozenset(), Strength.MFA, START, actor=PrincipalId(actor)
    )  # fmt: skip


def asked(house: House, person: Person, terms: Terms = TWO, actor: str = "") -> ApprovalRequest:
    with house.begin(Scope(TENANT, person.id)) as tx:
        return requests.ask(tx, who(person, actor), PURPOSE, SUBJECT, terms, {"key": "attest"})


def signed(person: Person, request: ApprovalRequest, decision: str = "approve", **changes: str | int) -> bytes:
    subject, predicate = request.statement()
    return sign_statement(
        person.signer, {"request": subject}, approvals.PREDICATE_TYPE, predicate | {"decision": decision} | changes
    )


def say(house: House, person: Person, request: ApprovalRequest, decision: str = "approve") -> RequestState:
    with house.begin(Scope(TENANT, person.id)) as tx:
        envelope = signed(person, request, decision)
        return requests.answer(tx, request.id, envelope, approvals.public_keys(tx)).state


def use(house: House, request: ApprovalRequest, purpose: str = PURPOSE, at_least: int = 2) -> None:
    with house.begin() as tx:
        requests.use(tx, request.id, purpose, SUBJECT, at_least)


def waits_for(house: House, person: Person) -> set[str]:
    with house.records.read(ADMIN) as reading:
        return {request.id for request in requests.waiting_for(reading, person.id, house.clock.now())}


def test_two_say_yes_and_the_act_is_done_once(house: House, crew: dict[str, Person]) -> None:
    request = asked(house, crew["alice"])
    assert say(house, crew["bob"], request) is RequestState.OPEN
    assert say(house, crew["carol"], request) is RequestState.APPROVED
    use(house, request)
    with pytest.raises(Conflict, match="approval-used"):
        use(house, request)
    told = [(e.kind, e.reason) for e in house.events() if e.resource == f"approval:{request.id}"]
    assert told == [
        (EventKind.APPROVAL_REQUESTED, ""), (EventKind.APPROVAL_CLOSED, "approved"), (EventKind.APPROVAL_CLOSED, "used")
    ]  # fmt: skip
    with house.records.read(ADMIN) as reading:
        (kept,) = requests.find_all(reading)
        assert (kept.state, kept.used, kept.asked) == (RequestState.APPROVED, True, request.asked)
        assert requests.standing(reading, kept, house.clock.now()).decision is Decision.ALLOW


def test_one_no_closes(house: House, crew: dict[str, Person]) -> None:
    request = asked(house, crew["alice"])
    assert say(house, crew["bob"], request, "reject") is RequestState.REJECTED
    with pytest.raises(Conflict, match="approval-closed"):
        say(house, crew["carol"], request)
    with pytest.raises(Conflict, match="approvals-missing"):
        use(house, request)


def test_what_waits_for_me(house: House, crew: dict[str, Person]) -> None:
    first, second = asked(house, crew["alice"]), asked(house, crew["bob"])
    third = asked(house, crew["alice"], Terms(1, frozenset({Role.VIEWER, Role.APPROVER}), later(START, 10)))
    assert waits_for(house, crew["bob"]) == {first.id, third.id}
    assert waits_for(house, crew["carol"]) == {first.id, second.id, third.id}
    assert waits_for(house, crew["dave"]) == {third.id}
    assert waits_for(house, crew["alice"]) == set()
    say(house, crew["carol"], first)
    house.clock.advance(10)
    assert waits_for(house, crew["carol"]) == {second.id}
    with house.begin() as tx:
        standing.deactivate(tx, crew["carol"].id)
    assert waits_for(house, crew["carol"]) == set()


def test_too_late_is_too_late(house: House, crew: dict[str, Person]) -> None:
    request, other = asked(house, crew["alice"]), asked(house, crew["alice"])
    for name in ("bob", "carol"):
        say(house, crew[name], other)
    house.clock.advance(86_400)
    with pytest.raises(Conflict, match="approval-closed"):
        say(house, crew["bob"], request)
    with pytest.raises(Conflict, match="deadline"):
        use(house, other)
    with house.begin() as tx:
        assert requests.expire(tx) == 1
    with house.records.read(ADMIN) as reading:
        assert requests.find(reading, request.id).state is RequestState.EXPIRED
        assert requests.find_all(reading, RequestState.OPEN) == []


def test_who_asked_takes_it_back_and_nobody_else(house: House, crew: dict[str, Person]) -> None:
    request = asked(house, crew["alice"])
    with pytest.raises(Forbidden), house.begin(Scope(TENANT, crew["bob"].id)) as tx:
        requests.withdraw(tx, request.id)
    with house.begin(Scope(TENANT, crew["alice"].id)) as tx:
        requests.withdraw(tx, request.id)
    with pytest.raises(Conflict, match="withdrawn"):
        say(house, crew["bob"], request)


REFUSED = {
    "nobody": Terms(0, frozenset({Role.APPROVER}), DAY),
    "a crowd": Terms(21, frozenset({Role.APPROVER}), DAY),
    "no role": Terms(1, frozenset(), DAY),
    "no time": Terms(1, frozenset({Role.APPROVER}), START),
    "no end": Terms(1, frozenset({Role.APPROVER}), Instant(later(START, LONGEST_S) + 1)),
}


@pytest.mark.parametrize("terms", REFUSED.values(), ids=REFUSED)
def test_terms_that_mean_nothing_are_refused(house: House, crew: dict[str, Person], terms: Terms) -> None:
    with pytest.raises(Invalid):
        asked(house, crew["alice"], terms)


def test_one_author_has_so_many_open_requests(house: House, crew: dict[str, Person]) -> None:
    with house.begin(Scope(TENANT, crew["alice"].id)) as tx:
        for _ in range(MOST_OPEN):
            requests.ask(tx, who(crew["alice"]), PURPOSE, SUBJECT, TWO, {})
    with pytest.raises(Conflict, match="approval-flood"):
        asked(house, crew["alice"])
    asked(house, crew["bob"])


def test_a_request_that_is_not_there(house: House) -> None:
    with pytest.raises(NotFound), house.records.read(ADMIN) as reading:
        requests.find(reading, "no-such-request")


def test_fewer_than_the_act_needs_are_not_enough(house: House, crew: dict[str, Person]) -> None:
    request = asked(house, crew["alice"], Terms(1, frozenset({Role.APPROVER}), DAY))
    assert say(house, crew["bob"], request) is RequestState.APPROVED
    with pytest.raises(FastnessError, match="approvals-missing"):
        use(house, request)
    use(house, request, at_least=1)
