from __future__ import annotations

import itertools

import pytest

from fastness.access import Policies
from fastness.access.duties import ACTS, ROLES, conflicts, note, require_separate
from fastness.core.errors import Forbidden
from fastness.core.events import EventKind
from fastness.core.findings import Decision
from fastness.core.identity import Action, Grant, PrincipalId, Role, Scope, TenantId
from tests.unit.access.house import ADMIN, House

THING = "model:digits/3"


@pytest.mark.parametrize("pair", ROLES, ids=lambda pair: f"{pair.one}+{pair.two}")
def test_roles_that_do_not_go_together_are_reported(house: House, pair: tuple[Role, Role, int, str]) -> None:
    house.person("alice", pair[0], pair[1])
    house.person("bob", pair[0])
    house.person("carol", pair[1])
    with house.records.read(ADMIN) as reading:
        verdict = conflicts(reading)
    (finding,) = verdict.findings
    assert (finding.where, finding.severity) == ("principal:user:alice", pair[2])
    assert pair[3] in finding.message
    assert verdict.decision is not Decision.ALLOW


def test_roles_on_a_model_meet_those_held_everywhere(house: House) -> None:
    house.person("alice", Role.PUBLISHER)
    alice = PrincipalId("user:alice")
    granted = [(alice, Grant(Role.APPROVER, "digits")), (alice, Grant(Role.OPERATOR, "faces"))]
    with house.records.read(ADMIN) as reading:
        assert conflicts(reading).findings == ()
        found = conflicts(reading, granted).findings
    assert [(f.evidence["model"], f.evidence["two"]) for f in found] == [("digits", "approver"), ("faces", "operator")]


def test_no_role_that_is_shipped_is_toxic_by_itself() -> None:
    rules = Policies.shipped().rules.by_id.values()
    for role in Role:
        held = {action for rule in rules if rule.effect == "permit" and role in rule.roles for action in rule.actions}
        for pair in ACTS:
            assert not {pair.one, pair.two} <= held, (role, pair)


def test_each_pair_stands_once() -> None:
    for pairs in (ROLES, ACTS):
        named = [frozenset({pair.one, pair.two}) for pair in pairs]
        assert len(set(named)) == len(named)
        assert all(len(pair) == 2 for pair in named)


def did(house: House, session: str, action: Action, subject: str = THING, scope: Scope = ADMIN) -> None:
    with house.begin(scope) as tx:
        note(tx, session, action, subject)
        tx.emit(tx.events.make(EventKind.ACCESS_ALLOWED, subject, action=action))


def may(house: House, session: str, action: Action, subject: str = THING, scope: Scope = ADMIN) -> bool:
    with house.records.read(scope) as reading:
        try:
            require_separate(reading, session, action, subject)
        except Forbidden as error:
            return error.code != "duties-in-session"
    return True


@pytest.mark.parametrize("pair", ACTS, ids=lambda pair: f"{pair.one}+{pair.two}")
def test_one_session_does_not_do_both_halves(house: House, pair: tuple[Action, Action, str]) -> None:
    for number, (first, second) in enumerate(itertools.permutations(pair[:2])):
        session = f"s{number}"
        did(house, session, first)
        assert may(house, session, first)
        assert not may(house, session, second)
        assert may(house, session, second, "model:digits/4")
        assert may(house, "another", second)


def test_nor_in_another_name(house: House) -> None:
    """A session that acts for others by delegation is one session all the same."""
    did(house, "s", Action.MODEL_PUSH, scope=Scope(ADMIN.tenant, PrincipalId("user:bob")))
    assert not may(house, "s", Action.MODEL_APPROVE, scope=Scope(ADMIN.tenant, PrincipalId("user:carol")))


def test_a_session_of_another_tenant_is_another_session(house: House) -> None:
    did(house, "s", Action.MODEL_PUSH)
    assert may(house, "s", Action.MODEL_APPROVE, scope=Scope(TenantId("other"), PrincipalId("user:x")))


def test_what_was_long_ago_is_forgotten(house: House) -> None:
    did(house, "s", Action.MODEL_PUSH)
    did(house, "s", Action.MODEL_PUSH)  # twice is once
    house.clock.advance(31 * 86_400)
    did(house, "t", Action.MODEL_PUSH)
    assert may(house, "s", Action.MODEL_APPROVE)
