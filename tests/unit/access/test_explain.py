from __future__ import annotations

import pytest

from fastness.access import Policies, decide
from fastness.access.policysets.explain import Change, explain
from fastness.core.identity import Action, Obligation, PrincipalId, PrincipalKind, Role
from tests.unit.access.test_decisions import MODEL, NOW, alice, context_for


@pytest.fixture(scope="module")
def policies() -> Policies:
    return Policies.shipped()


def test_a_yes_names_what_permits_and_what_could_have(policies: Policies) -> None:
    found = explain(alice(Role.DEVELOPER), Action.MODEL_INFER, MODEL, {"tenant": "default"}, policies, NOW)
    assert found.decision == decide(alice(Role.DEVELOPER), Action.MODEL_INFER, MODEL, {"tenant": "default"}, policies)
    assert [(s.rule, s.matched) for s in found.said] == [
        ("developer", True), ("not-authenticated", False), ("other-tenant", False)
    ]  # fmt: skip
    assert found.changes == ()


CHANGES = {
    "a role": (alice(Role.VIEWER), Action.MODEL_INFER, {}, ("principal.roles", "+developer")),
    "a second factor": (
        alice(Role.OPERATOR, stepped_up_at=None), Action.MODEL_ROLLBACK, {}, ("principal.stepped_up_at", "now"),
    ),
    "another author": (
        alice(Role.APPROVER), Action.MODEL_APPROVE, {"author": "user:alice"}, ("context.author", "user:somebody-else"),
    ),
    "no own approval": (
        alice(Role.OPERATOR), Action.MODEL_DEPLOY, {"own_approval": True}, ("context.own_approval", "False"),
    ),
    "the own tenant": (alice(Role.DEVELOPER), Action.MODEL_INFER, {"tenant": "x"}, ("context.tenant", "default")),
    "a person": (
        alice(Role.APPROVER, kind=PrincipalKind.AGENT), Action.MODEL_APPROVE, {}, ("principal.kind", "user"),
    ),
    "no delegate": (
        alice(Role.APPROVER, actor=PrincipalId("agent:a")), Action.MODEL_APPROVE, {}, ("principal.actor", "nobody"),
    ),
    "a wider credential": (
        alice(Role.DEVELOPER, actions=frozenset()), Action.MODEL_INFER, {}, ("credential.actions", "all"),
    ),
    "a credential for this model": (
        alice(Role.DEVELOPER, models=frozenset()), Action.MODEL_INFER, {}, ("credential.models", "all"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("who", "action", "context", "change"), CHANGES.values(), ids=CHANGES)
def test_a_no_names_what_would_have_to_change(
    who: object, action: Action, context: dict[str, str], change: tuple[str, str], policies: Policies
) -> None:
    asked = context_for(action, **context)
    found = explain(who, action, MODEL, asked, policies, NOW)  # type: ignore[arg-type]
    assert (Change(*change),) in found.changes
    assert all(len(changes) == 1 for changes in found.changes)


def test_two_changes_are_named_where_one_is_not_enough(policies: Policies) -> None:
    who = alice(Role.VIEWER, stepped_up_at=None)
    found = explain(who, Action.MODEL_ROLLBACK, MODEL, {"tenant": "default"}, policies, NOW)
    assert found.changes == ((Change("principal.roles", "+operator"), Change("principal.stepped_up_at", "now")),)


def test_obligations_that_are_open_are_in_the_decision(policies: Policies) -> None:
    found = explain(alice(Role.PUBLISHER), Action.MODEL_DELETE, MODEL, {"tenant": "default"}, policies, NOW)
    assert found.decision.open == (Obligation.TWO_PERSONS,)
    obliging = {said.rule: said.obliges for said in found.said if said.matched and said.obliges}
    assert obliging == {"step-up": Obligation.STEP_UP, "two-persons": Obligation.TWO_PERSONS}
    assert found.changes == ()  # the caller carries it out


def test_every_forbid_that_matches_is_named_though_one_decides_enough(policies: Policies) -> None:
    who = alice(*Role, kind=PrincipalKind.AGENT, actor=PrincipalId("agent:a"))
    found = explain(who, Action.MODEL_APPROVE, MODEL, {"tenant": "x", "author": "user:alice"}, policies, NOW)
    matched = [said.rule for said in found.said if said.matched and said.effect == "forbid"]
    assert matched == ["author-may-not-approve", "not-by-delegation", "other-tenant", "persons-decide"]
    assert [said.rule for said in found.said if said.matched and said.effect == "permit"] == ["approver"]


def test_an_error_is_shown_where_it_is() -> None:
    policies = Policies.from_texts({"a": '@id("all") permit(principal, action, resource);'
        '@id("odd") forbid(principal, action, resource) when { principal.strength * 9223372036854775807 > 1 };'})  # fmt: skip
    found = explain(alice(strength=4), Action.MODEL_READ, MODEL, {"tenant": "default"}, policies, NOW)
    assert found.decision.reason == "policy-error"
    assert ["overflow" in said.error for said in found.said if said.rule == "odd"] == [True]


def test_a_question_that_does_not_fit_is_explained_by_its_message(policies: Policies) -> None:
    found = explain(alice(*Role), Action.MODEL_DEPLOY, MODEL, {"tenant": "default"}, policies, NOW)
    assert (found.said, found.decision.reason) == ((), "request-refused")
    assert "author" in found.decision.message
