"""Attack on static separation of duties: two roles that do not go together, brought into one hand by every two ways there are.

The ways are a list; each is tried as the first and as the second half with each other one, over sealed rows. Success rate: 0.
Not covered: one person with two accounts.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fastness.access import create_principal, members
from fastness.access import records as rows
from fastness.access.directory import groups, leaving
from fastness.access.duties import ROLES, Separation, conflicts
from fastness.access.federation.parts import Proven
from fastness.access.oauth import GrantType, Wanted
from fastness.access.scim import Provisioning, ScimReply, ScimRequest, serve
from fastness.access.standing import deactivate, set_roles
from fastness.core.errors import Conflict
from fastness.core.events import EventKind
from fastness.core.identity import PrincipalId, PrincipalKind, Role, Strength
from fastness.foundation.crypto import Purpose, SealedKeyRing
from fastness.foundation.storage import SqliteRecords
from fastness.foundation.storage.contracts import Constraint
from tests.unit.access.authority import SERVICE, Authority
from tests.unit.access.federated import Gate
from tests.unit.access.house import ADMIN, House

USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
HOUSE_ONLY = {Role.ADMINISTRATOR, Role.SECURITY_OFFICER, Role.AUDITOR}  # no roles on models
SCIM = Provisioning("https://fastness.example/scim/v2", {f"the {role}": frozenset({role}) for role in Role})
ALICE = PrincipalId("user:alice")


RING = SealedKeyRing.in_memory(os.urandom)


def kept(constraint: Constraint | None = None, path: Path | None = None) -> SqliteRecords:
    made = SqliteRecords(path or ":memory:", os.urandom, seal=RING.mac(Purpose.ROWS), constraint=constraint)
    made.create_all()
    return made


@dataclass
class Apart(House):
    """A house that refuses roles that do not go together, and somebody new for each case."""

    records: SqliteRecords = field(default_factory=lambda: kept(Separation()))
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def scim(self, method: str, path: str, body: Any) -> ScimReply:
        return serve(self.records, ADMIN, self.clock.now(), SCIM, ScimRequest(method, path, {}, body))

    def newcomer(self) -> tuple[PrincipalId, str]:
        """Somebody without roles, and their id in the directory service."""
        made = self.scim("POST", "/Users", {"schemas": [USER], "userName": f"p{next(self.numbers)}"})
        assert made.status == 201
        assert made.body is not None
        return PrincipalId(f"user:{made.body['userName']}"), str(made.body["id"])

    def group(self, *roles: Role, source: str = groups.HOUSE) -> str:
        with self.begin() as tx:
            return groups.create_group(tx, f"g{next(self.numbers)}", frozenset(roles), source)

    def held(self, person: PrincipalId) -> frozenset[Role]:
        with self.records.read(ADMIN) as reading:
            row = rows.find_principals(reading)[person]
        return row.roles | {grant.role for grant in row.grants}

    def found(self, person: PrincipalId) -> list[str]:
        with self.records.read(ADMIN) as reading:
            everybody = rows.find_principals(reading)
            granted = [(row.id, grant) for row in everybody.values() for grant in row.grants]
            return [f.message for f in conflicts(reading, granted).findings if f.where == f"principal:{person}"]


Way = Callable[[Apart, PrincipalId, str, Role], None]


def by_roles(house: Apart, person: PrincipalId, _: str, role: Role) -> None:
    with house.begin() as tx:
        set_roles(tx, person, rows.find_principals(tx, person)[person].direct | {role})


def by_joining(house: Apart, person: PrincipalId, _: str, role: Role) -> None:
    group = house.group(role)
    with house.begin() as tx:
        groups.add_member(tx, group, person)


def by_members(house: Apart, person: PrincipalId, _: str, role: Role) -> None:
    group = house.group(role)
    with house.begin() as tx:
        groups.set_members(tx, group, frozenset({person}), groups.HOUSE)


def by_group(house: Apart, person: PrincipalId, _: str, role: Role) -> None:
    group = house.group()
    with house.begin() as tx:
        groups.add_member(tx, group, person)
    with house.begin() as tx:
        groups.change_group(tx, group, roles=frozenset({role}))


def by_grant(house: Apart, person: PrincipalId, _: str, role: Role) -> None:
    with house.begin() as tx:
        groups.grant(tx, person, role, "digits")


def by_coming_back(house: Apart, person: PrincipalId, _: str, role: Role) -> None:
    group = house.group(role)
    with house.begin() as tx:
        deactivate(tx, person)
    with house.begin() as tx:
        groups.set_members(tx, group, frozenset({person}), groups.HOUSE)
    with house.begin() as tx:
        leaving.take_back(tx, person, "here again")


def _by_scim(house: Apart, path: str, body: dict[str, Any]) -> str:
    reply = house.scim("PUT" if path.count("/") > 1 else "POST", path, {"schemas": [GROUP], **body})
    assert reply.body is not None
    if reply.status == 409:
        raise Conflict("roles-conflict", str(reply.body["detail"]))
    assert reply.status in {200, 201}, reply
    return str(reply.body["id"])


def _only(house: Apart, role: Role) -> None:
    """Make the name of the role's group free: there is one of each."""
    with house.begin() as tx:
        for group in groups.groups(tx):
            if group.name == f"the {role}":
                rows.change_group(tx, group.id, f"old {next(house.numbers)}", group.roles)
                tx.emit(tx.events.make(EventKind.GROUP_CHANGED, f"group:{group.id}"))


def by_scim_group(house: Apart, _: PrincipalId, user: str, role: Role) -> None:
    _only(house, role)
    _by_scim(house, "/Groups", {"displayName": f"the {role}", "members": [{"value": user}]})


def by_scim_member(house: Apart, _: PrincipalId, user: str, role: Role) -> None:
    _only(house, role)
    group = _by_scim(house, "/Groups", {"displayName": f"the {role}"})
    _by_scim(house, f"/Groups/{group}", {"displayName": f"the {role}", "members": [{"value": user}]})


def by_scim_name(house: Apart, _: PrincipalId, user: str, role: Role) -> None:
    _only(house, role)
    name, members_ = f"n{next(house.numbers)}", [{"value": user}]
    group = _by_scim(house, "/Groups", {"displayName": name, "members": members_})
    _by_scim(house, f"/Groups/{group}", {"displayName": f"the {role}", "members": members_})


def by_scim_coming_back(house: Apart, person: PrincipalId, user: str, role: Role) -> None:
    group = house.group(role)
    whole = {"schemas": [USER], "userName": person.removeprefix("user:")}
    assert house.scim("PUT", f"/Users/{user}", whole | {"active": False}).status == 200
    with house.begin() as tx:
        groups.set_members(tx, group, frozenset({person}), groups.HOUSE)
    reply = house.scim("PUT", f"/Users/{user}", whole | {"active": True})
    if reply.status == 409:
        raise Conflict("roles-conflict", str(reply.body and reply.body["detail"]))
    assert reply.status == 200


WAYS: tuple[Way, ...] = (
    by_roles, by_joining, by_members, by_group, by_grant, by_coming_back, by_scim_group, by_scim_member, by_scim_name,
    by_scim_coming_back,
)  # fmt: skip
CASES = list(itertools.product(WAYS, WAYS))


@pytest.fixture(scope="module")
def house() -> Iterator[Apart]:
    made = Apart()
    yield made
    made.records.close()


@pytest.mark.parametrize(("first", "second"), CASES, ids=lambda way: way.__name__)
def test_no_two_ways_bring_both_halves_into_one_hand(house: Apart, first: Way, second: Way) -> None:
    place = CASES.index((first, second))
    turned = ROLES[place % len(ROLES) :] + ROLES[: place % len(ROLES)]
    granted = by_grant in {first, second}
    pair = next(pair for pair in turned if not (granted and {pair.one, pair.two} & HOUSE_ONLY))
    for one, two in ((pair.one, pair.two), (pair.two, pair.one)):
        person, user = house.newcomer()
        first(house, person, user, one)
        assert house.held(person) == {one}
        with pytest.raises(Conflict) as refused:
            second(house, person, user, two)
        assert refused.value.code == "roles-conflict"
        assert pair.one in refused.value.message
        assert pair.two in refused.value.message
        assert house.found(person) == []


def test_nobody_is_made_with_both(house: Apart) -> None:
    for number, pair in enumerate(ROLES):
        with pytest.raises(Conflict, match="would be") as refused, house.begin() as tx:
            create_principal(tx, PrincipalKind.USER, f"both{number}", frozenset({pair.one, pair.two}))
        assert (refused.value.code, pair.why in refused.value.message) == ("roles-conflict", True)
        assert "duties.conflicts" in refused.value.hint
    with house.records.read(ADMIN) as reading:
        assert not [one for one in members.principals(reading) if "both" in str(one)]


def test_what_goes_together_is_given(house: Apart) -> None:
    person, user = house.newcomer()
    for way, role in zip(WAYS, itertools.cycle((Role.VIEWER, Role.DEVELOPER, Role.PUBLISHER)), strict=False):
        way(house, person, user, role)
    assert house.held(person) == {Role.VIEWER, Role.DEVELOPER, Role.PUBLISHER}


def test_one_refused_in_a_group_refuses_all_of_it(house: Apart) -> None:
    group, (alice, _), (bob, _) = house.group(Role.OPERATOR), house.newcomer(), house.newcomer()
    with house.begin() as tx:
        set_roles(tx, bob, frozenset({Role.APPROVER}))
    with pytest.raises(Conflict, match=str(bob)), house.begin() as tx:
        groups.set_members(tx, group, frozenset({alice, bob}), groups.HOUSE)
    assert [house.held(alice), house.held(bob)] == [frozenset(), frozenset({Role.APPROVER})]


def test_who_catches_the_refusal_does_not_keep_the_roles(house: Apart) -> None:
    person, _ = house.newcomer()
    with pytest.raises(Conflict), house.begin() as tx:
        set_roles(tx, person, frozenset({Role.PUBLISHER, Role.APPROVER}))
        with pytest.raises(Conflict):
            tx.check()
    assert house.held(person) == frozenset()


def test_one_role_takes_the_place_of_the_other(house: Apart) -> None:
    person, _ = house.newcomer()
    with house.begin() as tx:
        set_roles(tx, person, frozenset({Role.PUBLISHER}))
    with house.begin() as tx:
        set_roles(tx, person, frozenset({Role.APPROVER}))
    assert house.held(person) == {Role.APPROVER}


def test_of_two_halves_at_once_one_is_refused(house: Apart) -> None:
    for pair in ROLES * 3:
        (person, user), begin, refused = house.newcomer(), threading.Barrier(2), []

        def bring(way: Way, role: Role, person: PrincipalId = person, user: str = user) -> None:
            begin.wait(30)  # noqa: B023 - both threads end within this round
            try:
                way(house, person, user, role)
            except Conflict as error:
                refused.append(error.code)  # noqa: B023

        both = [
            threading.Thread(target=bring, args=(by_roles, pair.one)),
            threading.Thread(target=bring, args=(by_joining, pair.two)),
        ]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join(60)
        assert refused == ["roles-conflict"]
        assert len(house.held(person)) == 1


# Roles from before


@pytest.fixture
def older(tmp_path: Path) -> Iterator[Apart]:
    """A house in which somebody held both before it was refused: publisher and approver, and a grant besides."""
    made = Apart(records=kept(path=tmp_path / "records.db"))
    with made.begin() as tx:
        create_principal(tx, PrincipalKind.USER, "alice", frozenset({Role.PUBLISHER, Role.APPROVER}))
        groups.grant(tx, ALICE, Role.APPROVER, "digits")
    made.records.close()
    made.records = kept(Separation(), tmp_path / "records.db")
    yield made
    made.records.close()


def test_who_holds_both_keeps_them_and_can_be_changed(older: Apart) -> None:
    assert len(older.found(ALICE)) == 1
    by_roles(older, ALICE, "", Role.VIEWER)
    with older.begin() as tx:
        deactivate(tx, ALICE)
    with pytest.raises(Conflict), older.begin() as tx:
        leaving.take_back(tx, ALICE, "here again")
    assert {Role.PUBLISHER, Role.APPROVER, Role.VIEWER} <= older.held(ALICE)


def test_no_third_is_added(older: Apart) -> None:
    with pytest.raises(Conflict, match="operator"):
        by_roles(older, ALICE, "", Role.OPERATOR)


def test_what_was_given_up_does_not_come_back(older: Apart) -> None:
    with older.begin() as tx:
        set_roles(tx, ALICE, frozenset({Role.PUBLISHER, Role.VIEWER}))  # still approver of digits, as before
    assert older.held(ALICE) == {Role.PUBLISHER, Role.APPROVER, Role.VIEWER}
    with pytest.raises(Conflict):
        by_roles(older, ALICE, "", Role.APPROVER)
    with older.begin() as tx:
        groups.withdraw(tx, ALICE, Role.APPROVER, "digits")
    with pytest.raises(Conflict):
        by_grant(older, ALICE, "", Role.APPROVER)
    assert older.found(ALICE) == []


# Providers


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate(records=kept(Separation()))
    yield made
    made.records.close()


def came(gate: Gate, *names: str) -> frozenset[Role]:
    """What somebody holds after they logged in by a provider that says that they belong to these groups."""
    claims = {"sub": "subject-of-alice", "groups": list(names)}
    proven = Proven(gate.known(), "subject-of-alice", Strength.MFA, gate.clock.now(), "/models", claims)
    return gate.admitted(proven).principal.roles


def test_a_provider_gives_no_two_that_do_not_go_together(gate: Gate) -> None:
    with gate.begin() as tx:
        operators = groups.create_group(tx, "operators", frozenset({Role.OPERATOR}))
    mapped = {role.value: (role,) for role in (Role.PUBLISHER, Role.APPROVER, Role.VIEWER)}
    gate.settle("https://id.example", groups_claim="groups", groups=mapped, memberships={"ops": (operators,)})
    held = frozenset({Role.DEVELOPER})
    assert came(gate, "publisher", "viewer") == held | {Role.PUBLISHER, Role.VIEWER}
    assert came(gate, "approver", "publisher") == held | {Role.PUBLISHER}  # what is gone is gone, nothing is added
    assert came(gate, "publisher", "ops") == held | {Role.PUBLISHER}
    kept_ = [event for event in gate.events() if event.reason == "rights-kept"]
    assert len(kept_) == 2
    assert came(gate, "ops") == held | {Role.OPERATOR}  # moved, in one login
    assert came(gate, "approver") == held | {Role.APPROVER}


# Delegation


@pytest.fixture
def authority() -> Iterator[Authority]:
    made = Authority(records=kept(Separation()))
    yield made
    made.records.close()


def test_who_acts_for_another_is_no_hand_with_both(authority: Authority) -> None:
    own = authority.login(scope="model.infer token.delegate")["access_token"]
    assert authority.exchange(own).status == 200
    with authority.begin() as tx:
        set_roles(tx, SERVICE, frozenset({Role.DEVELOPER, Role.OPERATOR}))
        groups.grant(tx, ALICE, Role.APPROVER, "digits")
    reply = authority.exchange(own)
    assert reply.body["error"] == "access_denied"
    assert "roles-conflict" in reply.body["error_description"]
    with authority.begin() as tx:
        groups.withdraw(tx, ALICE, Role.APPROVER, "digits")
    assert authority.exchange(own).status == 200


def test_nor_at_the_end_of_a_chain(authority: Authority) -> None:
    with authority.begin() as tx:
        create_principal(tx, PrincipalKind.SERVICE, "relay", frozenset({Role.APPROVER}))
    alone = frozenset({GrantType.MACHINE, GrantType.EXCHANGE})
    relay, secret = authority.client(
        Wanted("relay", "model.infer token.delegate", alone, confidential=True, principal=PrincipalId("service:relay"))
    )
    token = authority.exchange(authority.login(scope="model.infer token.delegate")["access_token"]).body["access_token"]
    with authority.begin() as tx:
        set_roles(tx, SERVICE, frozenset({Role.PUBLISHER}))
    authority.robot, authority.robot_secret = relay, secret
    assert authority.exchange(token).body["error"] == "access_denied"


def test_where_it_is_only_reported_everything_is_given() -> None:
    made = Apart(records=kept())
    person, user = made.newcomer()
    for way, role in zip(WAYS, itertools.cycle((Role.PUBLISHER, Role.APPROVER, Role.OPERATOR)), strict=False):
        way(made, person, user, role)
    assert len(made.found(person)) >= 1
    made.records.close()
