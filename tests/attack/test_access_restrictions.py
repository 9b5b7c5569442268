"""Restrictions as a weapon: to lock a house out of itself, to block many at once, to stay for ever, or to be slipped past.

Success rate: 0. What no table can tell (a row deleted) the ledger can: each restriction has its events.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fastness.access import standing as members
from fastness.access.restrictions import Kind, Measure, Order, impose, lift
from fastness.access.restrictions.orders import KEPT_OPEN, MOST_AN_HOUR
from fastness.core.clock import Instant, later
from fastness.core.errors import Conflict, FastnessError, Forbidden, Limited, NotFound
from fastness.core.identity import Action, PrincipalId, PrincipalKind, Role, Scope, TenantId
from tests.unit.access.house import ADMIN, START, TENANT, House, Person
from tests.unit.access.test_restrictions import answer, asking, order

OTHERS = Scope(TenantId("other"), PrincipalId("user:mallory"))


@pytest.fixture
def house() -> Iterator[House]:
    made = House()
    yield made
    made.records.close()


@pytest.fixture
def root(house: House) -> Person:
    return house.person("root", Role.ADMINISTRATOR)


def refused(house: House, what: Order, scope: Scope = ADMIN, here: str = "") -> str:
    with pytest.raises(FastnessError) as caught, house.begin(scope) as tx:
        impose(tx, what, here)
    return caught.value.code


def crowd(house: House, count: int) -> None:
    for number in range(count):
        house.person(f"p{number}", Role.VIEWER)


def test_the_last_administrator_is_not_blocked(house: House, root: Person) -> None:
    crowd(house, 4)
    assert refused(house, order(target=root.id)) == "restriction-lockout"
    assert refused(house, order(kind=Kind.KEY, target=root.key.key_id)) == "restriction-lockout"


def test_nor_one_after_the_other_nor_by_name_and_key(house: House, root: Person) -> None:
    crowd(house, 4)
    ada = house.person("ada", Role.ADMINISTRATOR)
    with house.begin() as tx:
        impose(tx, order(target=ada.id))
    assert refused(house, order(target=root.id)) == "restriction-lockout"
    assert refused(house, order(kind=Kind.KEY, target=root.key.key_id)) == "restriction-lockout"


def test_who_left_and_programs_do_not_count_as_administrators(house: House, root: Person) -> None:
    crowd(house, 4)
    gone = house.person("gone", Role.ADMINISTRATOR)
    house.person("bot", Role.ADMINISTRATOR, kind=PrincipalKind.SERVICE)
    with house.begin() as tx:
        members.deactivate(tx, gone.id)
    assert refused(house, order(target=root.id)) == "restriction-lockout"


def test_a_block_that_has_ended_does_not_count_against_the_next(house: House, root: Person) -> None:
    crowd(house, 4)
    ada = house.person("ada", Role.ADMINISTRATOR)
    with house.begin() as tx:
        impose(tx, order(target=ada.id))
    house.clock.advance(3600)
    with house.begin() as tx:
        impose(tx, order(target=root.id, expires_at=later(START, 7200)))


@pytest.mark.parametrize("action", sorted(KEPT_OPEN))
def test_what_sets_a_house_right_is_not_blocked(house: House, root: Person, action: Action) -> None:
    assert refused(house, order(kind=Kind.ACTION, target=action)) == "restriction-lockout"


@pytest.mark.parametrize("network", ["127.0.0.1", "127.0.0.0/8", "::1", "::ffff:127.0.0.1"])
def test_the_house_does_not_block_itself(house: House, root: Person, network: str) -> None:
    assert refused(house, order(kind=Kind.ADDRESS, target=network)) == "restriction-lockout"


@pytest.mark.parametrize("here", ["203.0.113.9", "::ffff:203.0.113.9"])
def test_who_blocks_a_network_does_not_sit_in_it(house: House, root: Person, here: str) -> None:
    assert refused(house, order(kind=Kind.ADDRESS, target="203.0.113.0/24"), here=here) == "restriction-lockout"


def test_more_than_half_of_the_people_are_not_blocked(house: House, root: Person) -> None:
    crowd(house, 5)
    with house.begin() as tx:
        for number in range(3):
            impose(tx, order(target=f"user:p{number}"))
    assert refused(house, order(target="user:p3")) == "restrictions-mass"


def test_one_author_blocks_so_many_an_hour(house: House, root: Person) -> None:
    with house.begin() as tx:
        for number in range(MOST_AN_HOUR):
            impose(tx, order(kind=Kind.MODEL, target=f"m{number}"))
    with pytest.raises(Limited), house.begin() as tx:
        impose(tx, order(kind=Kind.MODEL, target="more"))
    with house.begin(Scope(TENANT, PrincipalId("user:ada"))) as tx:
        impose(tx, order(kind=Kind.MODEL, target="more"))


def test_lifting_does_not_give_the_pace_back(house: House, root: Person) -> None:
    with house.begin() as tx:
        for number in range(MOST_AN_HOUR):
            lift(tx, impose(tx, order(kind=Kind.MODEL, target=f"m{number}")).id, "again")
    assert refused(house, order(kind=Kind.MODEL, target="more")) == "restrictions-fast"


@pytest.mark.parametrize("scope", [ADMIN, OTHERS])
def test_the_house_is_no_tenant_to_be_blocked(house: House, root: Person, scope: Scope) -> None:
    with pytest.raises(Forbidden), house.begin(scope) as tx:
        impose(tx, order(kind=Kind.TENANT, target=TENANT))


def test_a_tenant_restricts_no_other(house: House, root: Person) -> None:
    house.person("alice", Role.VIEWER)
    assert refused(house, order(), OTHERS) == "principal-unknown"
    assert refused(house, order(kind=Kind.KEY, target=root.key.key_id), OTHERS) == "key-unknown"
    assert refused(house, order(kind=Kind.TENANT, target="third"), OTHERS) == "restriction-tenant"
    with house.begin(OTHERS) as tx:
        impose(tx, order(kind=Kind.MODEL, target="digits"))
        impose(tx, order(kind=Kind.ACTION, target="model.infer"))
    assert answer(house, asking(model="digits")) == "free"


def test_a_tenant_lifts_none_of_another(house: House, root: Person) -> None:
    with house.begin() as tx:
        made = impose(tx, order(kind=Kind.MODEL, target="digits"))
    with pytest.raises(NotFound), house.begin(OTHERS) as tx:
        lift(tx, made.id, "mine now")
    assert answer(house, asking(model="digits")) == "restricted"


def test_a_restriction_that_has_ended_holds_nobody_even_in_an_old_snapshot(house: House, root: Person) -> None:
    with house.begin() as tx:
        impose(tx, order(kind=Kind.MODEL, target="digits"))
    for late in (later(START, 3600), later(START, 1e6)):
        assert answer(house, asking(model="digits"), Instant(late)) == "free"


def test_a_blocked_delegate_does_not_go_on_in_another_name(house: House, root: Person) -> None:
    house.person("helper", Role.DEVELOPER, kind=PrincipalKind.AGENT)
    house.person("alice", Role.DEVELOPER)
    with house.begin() as tx:
        impose(tx, order(target="agent:helper"))
    assert answer(house, asking("user:alice", actor=PrincipalId("agent:helper"))) == "restricted"


def test_an_address_in_another_dress_is_the_same_address(house: House, root: Person) -> None:
    with house.begin() as tx:
        impose(tx, order(kind=Kind.ADDRESS, target="2001:db8::1"))
    for dress in ("2001:0db8:0000::0001", "2001:DB8::1", "2001:db8::1%eth0"):
        assert answer(house, asking(address=dress)) == "restricted"


def test_a_second_factor_is_not_forced_by_saying_so(house: House, root: Person) -> None:
    house.person("alice", Role.VIEWER)
    with house.begin() as tx:
        impose(tx, order(Measure.STEP_UP))
    for at in (None, Instant(START + 1), Instant(0)):  # never, in the future, long ago
        assert answer(house, asking(stepped_up_at=at)) == "step-up-required"


def test_two_at_once_do_not_lock_out_together(house: House, root: Person) -> None:
    """Both look before either writes: the one who comes second sees the other's row, or waits for it."""
    crowd(house, 4)
    ada = house.person("ada", Role.ADMINISTRATOR)
    with house.begin() as tx:
        impose(tx, order(target=root.id))
        with pytest.raises(Conflict):
            impose(tx, order(target=ada.id))
