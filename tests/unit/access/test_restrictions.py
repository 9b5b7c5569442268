from __future__ import annotations

import ipaddress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from fastness.access.restrictions import (
    Asking,
    Fence,
    Kind,
    Measure,
    Order,
    Restriction,
    Restrictions,
    RestrictionsProjection,
    expire,
    find,
    history,
    impose,
    lift,
    standing,
)
from fastness.access.restrictions.fence import Standing
from fastness.access.restrictions.orders import LONGEST_S
from fastness.access.restrictions.tables import RESTRICTION
from fastness.core.clock import Instant, later
from fastness.core.errors import Corrupt, FastnessError, Forbidden, Invalid, Limited, NotFound
from fastness.core.events import EventKind
from fastness.core.identity import (
    DEFAULT_TENANT,
    Action,
    Principal,
    PrincipalId,
    PrincipalKind,
    Role,
    Scope,
    Strength,
    TenantId,
)
from fastness.core.limits import Limit
from fastness.foundation.storage import MemoryCounters
from fastness.foundation.storage.contracts import Exempt
from tests.unit.access.house import ADMIN, START, House

HOUR = later(START, 3600)
OTHER = TenantId("other")


@pytest.fixture
def people(house: House) -> House:
    for name, role in [("root", Role.ADMINISTRATOR), ("alice", Role.DEVELOPER), ("bob", Role.VIEWER)]:
        house.person(name, role)
    return house


def order(measure: Measure = Measure.BLOCK, kind: Kind = Kind.PRINCIPAL, target: str = "user:alice", **changes: object) -> Order:  # fmt: skip
    fields: dict[str, object] = {"reason": "too many odd requests", "expires_at": HOUR}
    return Order(measure, kind, target, **(fields | changes))  # type: ignore[arg-type]


def set_up(house: House, *orders: Order, scope: Scope = ADMIN) -> list[Restriction]:
    with house.begin(scope) as tx:
        return [impose(tx, each) for each in orders]


def fence(house: House) -> Fence:
    with house.records.read(ADMIN) as reading:
        loaded = RestrictionsProjection().load(reading)
    return Fence(msgspec.msgpack.decode(msgspec.msgpack.encode(loaded), type=Restrictions))


def asking(name: str = "user:alice", **changes: object) -> Asking:
    fields: dict[str, object] = {
        "kind": PrincipalKind.USER,
        "id": PrincipalId(name),
        "tenant": DEFAULT_TENANT,
        "roles": frozenset(),
        "strength": Strength.KEY,
        "authenticated_at": START,
    }
    about = {name: changes.pop(name) for name in ("credential", "address", "model") if name in changes}
    action = changes.pop("action", Action.MODEL_INFER)
    return Asking(Principal(**(fields | changes)), action, **about)  # type: ignore[arg-type]


def answer(house: House, what: Asking, now: Instant = START) -> str:
    try:
        fence(house).enforce(what, MemoryCounters(), now)
    except FastnessError as error:
        return error.code
    return "free"


MATCHES = {
    "a principal": (order(), asking(), asking("user:bob")),
    "a delegate": (order(), asking("user:bob", actor=PrincipalId("user:alice")), asking("user:bob")),
    "an action": (order(kind=Kind.ACTION, target="model.infer"), asking(), asking(action=Action.MODEL_READ)),
    "a model": (order(kind=Kind.MODEL, target="digits"), asking(model="digits"), asking(model="faces")),
    "an address": (
        order(kind=Kind.ADDRESS, target="203.0.113.7"), asking(address="203.0.113.7"), asking(address="203.0.113.8"),
    ),
    "a network": (
        order(kind=Kind.ADDRESS, target="203.0.113.77/24"), asking(address="203.0.113.7"), asking(address="203.0.114.7"),
    ),
    "a mapped address": (
        order(kind=Kind.ADDRESS, target="::ffff:203.0.113.7"),
        asking(address="::ffff:203.0.113.7"), asking(address="::203.0.113.7"),
    ),
    "a mapped caller": (
        order(kind=Kind.ADDRESS, target="203.0.113.7"), asking(address="::ffff:203.0.113.7"), asking(address="local"),
    ),
    "a network of version 6": (
        order(kind=Kind.ADDRESS, target="2001:db8::/32"), asking(address="2001:db8:1::1%eth0"), asking(address="2001:db9::1"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("what", "held", "free"), MATCHES.values(), ids=MATCHES)
def test_a_block_holds_what_it_names_and_nothing_else(people: House, what: Order, held: Asking, free: Asking) -> None:
    set_up(people, what)
    assert answer(people, held) == "restricted"
    assert answer(people, free) == "free"
    assert answer(people, held, Instant(HOUR - 1)) == "restricted"
    assert answer(people, held, HOUR) == "free"


def test_a_key_is_blocked_by_its_id(people: House) -> None:
    carol = people.person("carol", Role.DEVELOPER)
    set_up(people, order(kind=Kind.KEY, target=carol.key.key_id))
    assert answer(people, asking(credential=carol.key.key_id)) == "restricted"
    assert answer(people, asking(credential="00000000")) == "free"


def test_the_house_blocks_a_tenant(people: House) -> None:
    set_up(people, order(kind=Kind.TENANT, target="other"))
    assert answer(people, asking(tenant=OTHER)) == "restricted"
    assert answer(people, asking()) == "free"


def test_a_tenant_restricts_its_own_and_the_house_restricts_addresses_for_all(people: House) -> None:
    theirs = Scope(OTHER, PrincipalId("user:boss"))
    people.person("boss", Role.ADMINISTRATOR, scope=theirs)
    people.person("alice", Role.VIEWER, scope=theirs)
    set_up(people, order(), order(kind=Kind.ADDRESS, target="203.0.113.7"), scope=theirs)
    assert answer(people, asking(tenant=OTHER)) == "restricted"
    assert answer(people, asking(address="203.0.113.7")) == "free"
    set_up(people, order(kind=Kind.ADDRESS, target="198.51.100.0/24"))
    assert answer(people, asking("user:x", tenant=OTHER, address="198.51.100.1")) == "restricted"


def test_only_the_house_closes_the_edge(people: House) -> None:
    theirs = Scope(OTHER, PrincipalId("user:boss"))
    set_up(people, order(kind=Kind.ADDRESS, target="203.0.113.0/24"))
    set_up(people, order(kind=Kind.ADDRESS, target="198.51.100.1"), scope=theirs)
    edge = fence(people)
    with pytest.raises(Forbidden, match="restricted"):
        edge.at_edge("203.0.113.9", START)
    edge.at_edge("203.0.113.9", HOUR)
    edge.at_edge("198.51.100.1", START)
    edge.at_edge("", START)


def test_a_forced_second_factor_counts_for_five_minutes(people: House) -> None:
    set_up(people, order(Measure.STEP_UP))
    assert answer(people, asking()) == "step-up-required"
    assert answer(people, asking(stepped_up_at=START)) == "free"
    assert answer(people, asking(stepped_up_at=START), later(START, 301)) == "step-up-required"


def test_a_throttle_slows_down(people: House) -> None:
    set_up(people, order(Measure.THROTTLE, limit=Limit(1, 2)))
    counters, kept = MemoryCounters(), fence(people)
    for _ in range(2):
        kept.enforce(asking(), counters, START)
    with pytest.raises(Limited) as caught:
        kept.enforce(asking(), counters, START)
    assert (caught.value.code, caught.value.retry_after_s) == ("restricted", 1.0)
    kept.enforce(asking("user:bob"), counters, START)
    kept.enforce(asking(), counters, later(START, 1.01))


def test_a_block_outweighs_a_throttle_and_costs_no_pace(people: House) -> None:
    set_up(people, order(Measure.THROTTLE, limit=Limit(1, 1)), order())
    counters = MemoryCounters()
    for _ in range(3):
        with pytest.raises(Forbidden, match="restricted"):
            fence(people).enforce(asking(), counters, START)


def test_what_the_blocked_is_told_names_no_reason(people: House) -> None:
    (made,) = set_up(people, order(reason="suspected of theft"))
    with pytest.raises(Forbidden) as caught:
        fence(people).enforce(asking(), MemoryCounters(), START)
    assert "theft" not in str(caught.value)
    assert made.id in caught.value.hint


def test_a_restriction_is_lifted_and_all_of_it_stands_in_the_record(people: House) -> None:
    (made,) = set_up(people, order())
    with people.begin() as tx:
        lift(tx, made.id, "it was a test")
    assert answer(people, asking()) == "free"
    with people.records.read(ADMIN) as reading:
        assert standing(reading, START) == []
        assert history(reading) == [find(reading, made.id)]
        assert find(reading, made.id).lifted_by == ADMIN.principal
    imposed, lifted = [e for e in people.events() if e.resource == f"restriction:{made.id}"]
    assert (imposed.kind, lifted.kind) == (EventKind.RESTRICTION_SET, EventKind.RESTRICTION_LIFTED)
    assert imposed.details == {
        "measure": "block", "target": "principal:user:alice", "expires_at": HOUR, "why": "too many odd requests"
    }  # fmt: skip
    with pytest.raises(NotFound), people.begin() as tx:
        lift(tx, made.id, "again")


def test_what_has_ended_is_put_away(people: House) -> None:
    set_up(people, order(), order(kind=Kind.MODEL, target="digits", expires_at=later(START, 7200)))
    people.clock.advance(3600)
    with people.begin() as tx:
        assert expire(tx) == 1
    with people.records.read(ADMIN) as reading:
        assert [r.order.kind for r in standing(reading, people.clock.now())] == [Kind.MODEL]
    assert people.events()[-1].reason == "expired"
    with people.begin() as tx:
        assert expire(tx) == 0


REFUSED = {
    "no reason": order(reason=" "),
    "a long reason": order(reason="x" * 513),
    "no end": order(expires_at=Instant(2**62)),
    "just too long": order(expires_at=Instant(later(START, LONGEST_S) + 1)),
    "ended already": order(expires_at=START),
    "a throttle without a limit": order(Measure.THROTTLE),
    "a block with a limit": order(limit=Limit(1, 1)),
    "a throttle that is a block": order(Measure.THROTTLE, limit=Limit(0.01, 1)),
    "no address": order(kind=Kind.ADDRESS, target="everywhere"),
    "everything": order(kind=Kind.ADDRESS, target="0.0.0.0/0"),
    "everything, mapped": order(kind=Kind.ADDRESS, target="::ffff:0:0/96"),
    "everything of version 6": order(kind=Kind.ADDRESS, target="::/0"),
    "no action": order(kind=Kind.ACTION, target="model.fly"),
    "nobody": order(target="user:nobody"),
    "no key": order(kind=Kind.KEY, target="00000000"),
    "an empty model": order(kind=Kind.MODEL, target=""),
    "a model with a line break": order(kind=Kind.MODEL, target="a\nb"),
}


@pytest.mark.parametrize("what", REFUSED.values(), ids=REFUSED)
def test_what_is_no_restriction_is_refused(people: House, what: Order) -> None:
    with pytest.raises((Invalid, NotFound)):
        set_up(people, what)


def test_a_row_that_was_changed_does_not_load(people: House) -> None:
    set_up(people, order())
    for changes in ({"measure": "stroke"}, {"kind": "mood"}, {"measure": "throttle"}, {"per_s": -1.0, "burst": 1.0}):
        with people.records.begin_unrecorded(ADMIN, START, Exempt.PROJECTION) as tx:
            tx.execute(update(RESTRICTION).values(**changes))
        with pytest.raises(Corrupt):
            fence(people)


NETWORKS = st.tuples(st.integers(0, 2**32 - 1), st.sampled_from([8, 9, 16, 23, 24, 31, 32])).map(
    lambda two: str(ipaddress.ip_network(two, strict=False))
)


@given(st.lists(NETWORKS, max_size=12), st.integers(0, 2**32 - 1), st.integers(0, 11))
def test_networks_are_found_as_by_asking_each(networks: list[str], number: int, near: int) -> None:
    if networks:  # an address inside or beside one of them
        number = int(ipaddress.ip_network(networks[near % len(networks)]).network_address) ^ (number & 0xFFFF)
    address = ipaddress.ip_address(number)
    rows = [
        Standing(str(place), DEFAULT_TENANT, Measure.BLOCK, Kind.ADDRESS, network, HOUR)
        for place, network in enumerate(networks)
    ]
    found = {each.id for each in Fence(Restrictions(tuple(rows)))._of_address(DEFAULT_TENANT, str(address))}
    assert found == {row.id for row in rows if address in ipaddress.ip_network(row.target)}
