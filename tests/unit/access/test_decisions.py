from __future__ import annotations

import itertools
from collections.abc import Iterable

import pytest

from fastness.access.decisions import _GENERATION, AccessDecision, Policies, decide
from fastness.core.clock import Instant
from fastness.core.errors import Invalid
from fastness.core.identity import Action, Principal, PrincipalId, PrincipalKind, Resource, Role, Strength, TenantId

HOUSE = TenantId("default")
MODEL = Resource("model", "digits")
OTHERS = {
    "tenant": "default",
    "author": "user:bob",
    "own_approval": False,
    "owner": "user:bob",
    "owner_kind": "service",
}
CONTEXTS = {
    Action.MODEL_APPROVE: ("tenant", "author"),
    Action.MODEL_DEPLOY: ("tenant", "author", "own_approval"),
    Action.ROLE_GRANT: ("tenant", "owner"),
    Action.KEY_REVOKE: ("tenant", "owner"),
    Action.KEY_CREATE: ("tenant", "owner", "owner_kind"),
}


@pytest.fixture(scope="module")
def policies() -> Policies:
    return Policies.shipped()


def alice(*roles: Role, **changes: object) -> Principal:
    fields: dict[str, object] = {
        "kind": PrincipalKind.USER,
        "id": PrincipalId("user:alice"),
        "tenant": HOUSE,
        "roles": frozenset(roles),
        "strength": Strength.KEY,
        "authenticated_at": Instant(1),
    }
    return Principal(**(fields | changes))  # type: ignore[arg-type]


def context_for(action: Action, **changes: str | int | bool) -> dict[str, str | int | bool]:
    return {name: OTHERS[name] for name in CONTEXTS.get(action, ("tenant",))} | changes


def permitted(who: Principal, policies: Policies) -> set[Action]:
    return {action for action in Action if decide(who, action, MODEL, context_for(action), policies).allow}


ROLES = {
    Role.VIEWER: {Action.MODEL_READ, Action.SYSTEM_READ},
    Role.DEVELOPER: {Action.MODEL_INFER, Action.MODEL_READ},
    Role.PUBLISHER: {Action.MODEL_PUSH, Action.MODEL_PULL, Action.MODEL_READ},
    Role.APPROVER: {Action.MODEL_APPROVE, Action.MODEL_READ},
    Role.OPERATOR: {
        Action.MODEL_DEPLOY,
        Action.MODEL_ROLLBACK,
        Action.MODEL_READ,
        Action.METRICS_READ,
        Action.SYSTEM_READ,
    },
    Role.AUDITOR: {
        Action.AUDIT_READ,
        Action.ACCESS_READ,
        Action.MODEL_READ,
        Action.METRICS_READ,
        Action.SYSTEM_READ,
    },
    Role.SECURITY_OFFICER: {
        Action.ALLOWANCE_GRANT,
        Action.MODEL_QUARANTINE,
        Action.KEY_REVOKE,
        Action.MODEL_READ,
        Action.ACCESS_READ,
        Action.AUDIT_READ,
    },
    Role.ADMINISTRATOR: {
        Action.PRINCIPAL_CREATE,
        Action.ROLE_GRANT,
        Action.KEY_CREATE,
        Action.KEY_REVOKE,
        Action.ACCESS_READ,
        Action.SYSTEM_READ,
    },
}


@pytest.mark.parametrize("role", Role)
def test_a_role_permits_what_the_table_says_and_nothing_else(role: Role, policies: Policies) -> None:
    assert permitted(alice(role), policies) == ROLES[role]


def test_no_role_permits_nothing(policies: Policies) -> None:
    assert permitted(alice(), policies) == set()


def test_roles_add_up(policies: Policies) -> None:
    both = alice(Role.VIEWER, Role.DEVELOPER)
    assert permitted(both, policies) == ROLES[Role.VIEWER] | ROLES[Role.DEVELOPER]


def test_a_decision_names_its_rules_and_says_why(policies: Policies) -> None:
    allowed = decide(alice(Role.DEVELOPER), Action.MODEL_INFER, MODEL, {"tenant": HOUSE}, policies)
    denied = decide(alice(Role.VIEWER), Action.MODEL_INFER, MODEL, {"tenant": HOUSE}, policies)
    assert allowed == AccessDecision(True, ("developer",), "permitted", "A developer calls models and looks at them.")
    assert (denied.allow, denied.rules, denied.reason) == (False, (), "not-permitted")
    assert "viewer" in denied.message
    assert "model.infer" in denied.message


DUTIES = {
    "another tenant's": (Role.DEVELOPER, Action.MODEL_INFER, {"tenant": "other"}, "other-tenant"),
    "the author approves": (Role.APPROVER, Action.MODEL_APPROVE, {"author": "user:alice"}, "author-may-not-approve"),
    "nobody knows the author": (Role.APPROVER, Action.MODEL_APPROVE, {"author": ""}, "author-unknown"),
    "the author deploys": (Role.OPERATOR, Action.MODEL_DEPLOY, {"author": "user:alice"}, "author-may-not-deploy"),
    "an approver deploys": (Role.OPERATOR, Action.MODEL_DEPLOY, {"own_approval": True}, "approver-may-not-deploy"),
    "one's own roles": (Role.ADMINISTRATOR, Action.ROLE_GRANT, {"owner": "user:alice"}, "own-roles"),
    "a key for another person": (Role.ADMINISTRATOR, Action.KEY_CREATE, {"owner_kind": "user"}, "keys-of-persons"),
}


@pytest.mark.parametrize(("role", "action", "changes", "rule"), DUTIES.values(), ids=DUTIES)
def test_duties_are_separated_whatever_the_roles(
    role: Role, action: Action, changes: dict[str, str | int | bool], rule: str, policies: Policies
) -> None:
    for who in (alice(role), alice(*Role)):
        decision = decide(who, action, MODEL, context_for(action, **changes), policies)
        assert (decision.allow, decision.rules, decision.reason) == (False, (rule,), "forbidden")
        assert decision.message == policies.says[rule]


@pytest.mark.parametrize("kind", [PrincipalKind.SERVICE, PrincipalKind.AGENT, PrincipalKind.SYSTEM])
@pytest.mark.parametrize("action", [Action.MODEL_APPROVE, Action.ALLOWANCE_GRANT])
def test_a_program_does_not_decide_for_people(kind: PrincipalKind, action: Action, policies: Policies) -> None:
    program = alice(*Role, kind=kind, id=PrincipalId(f"{kind}:alice"))
    assert decide(program, action, MODEL, context_for(action), policies).rules == ("persons-decide",)


def test_who_has_not_proved_anything_may_do_nothing(policies: Policies) -> None:
    assert permitted(alice(*Role, strength=Strength.NONE), policies) == set()


def test_everybody_makes_and_revokes_their_own_keys(policies: Policies) -> None:
    own = {"tenant": "default", "owner": "user:alice"}
    assert decide(alice(), Action.KEY_REVOKE, MODEL, own, policies).rules == ("own-keys",)
    assert decide(alice(), Action.KEY_CREATE, MODEL, own | {"owner_kind": "user"}, policies).allow


def test_a_narrowed_credential_leaves_out_what_the_role_permits(policies: Policies) -> None:
    narrowed = alice(Role.DEVELOPER, actions=frozenset({Action.MODEL_READ}))
    assert permitted(narrowed, policies) == {Action.MODEL_READ}
    assert decide(narrowed, Action.MODEL_INFER, MODEL, {"tenant": HOUSE}, policies).reason == "credential-narrowed"


def test_a_credential_never_widens_a_role(policies: Policies) -> None:
    assert permitted(alice(Role.VIEWER, actions=frozenset(Action)), policies) == ROLES[Role.VIEWER]


@pytest.mark.parametrize("action", Action)
def test_an_attribute_left_out_refuses_and_is_named(action: Action, policies: Policies) -> None:
    for name in CONTEXTS.get(action, ("tenant",)):
        context = context_for(action)
        del context[name]
        decision = decide(alice(*Role), action, MODEL, context, policies)
        assert (decision.allow, decision.reason) == (False, "request-refused")
        assert name in decision.message


WRONG = {
    "an unknown attribute": {"colour": "red"},
    "a number for a text": {"tenant": 1},
    "a fraction": {"tenant": 0.5},
    "nothing": {"tenant": None},
    "an entity in disguise": {"tenant": {"__entity": {"type": "Role", "id": "x"}}},
    "a lone surrogate": {"tenant": "\udc80"},
    "a number beyond 64 bits": {"version": 2**64},
    "no JSON at all": {"tenant": object()},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
def test_a_context_that_does_not_fit_is_refused(changes: dict[str, str], policies: Policies) -> None:
    decision = decide(alice(*Role), Action.MODEL_INFER, MODEL, {"tenant": HOUSE} | changes, policies)
    assert (decision.allow, decision.reason) == (False, "request-refused")


def cache_of(policies: Policies) -> int:
    return len(policies._young) + len(policies._old)


def test_a_second_question_is_answered_from_the_cache() -> None:
    policies = Policies.shipped()
    first = decide(alice(Role.DEVELOPER), Action.MODEL_INFER, MODEL, {"tenant": HOUSE}, policies)
    assert decide(alice(Role.DEVELOPER), Action.MODEL_INFER, MODEL, {"tenant": HOUSE}, policies) is first


def test_true_and_one_are_two_questions() -> None:
    policies = Policies.shipped()
    deploy = context_for(Action.MODEL_DEPLOY)
    assert decide(alice(Role.OPERATOR), Action.MODEL_DEPLOY, MODEL, deploy, policies).allow
    assert not decide(alice(Role.OPERATOR), Action.MODEL_DEPLOY, MODEL, deploy | {"own_approval": 0}, policies).allow


def test_made_up_resources_do_not_fill_the_cache() -> None:
    policies = Policies.shipped()
    for number in range(100):
        decide(alice(Role.DEVELOPER), Action.MODEL_INFER, Resource("model", f"m{number}"), {"tenant": HOUSE}, policies)
    assert cache_of(policies) == 1


def test_the_cache_is_bounded_and_stays_right() -> None:
    policies = Policies.shipped()
    for number in range(3 * _GENERATION):
        key = (number,)
        policies._remember(key, AccessDecision(False, (), "not-permitted"))
    assert cache_of(policies) <= 2 * _GENERATION
    assert permitted(alice(Role.DEVELOPER), policies) == ROLES[Role.DEVELOPER]


def test_an_old_answer_moves_to_the_young_generation() -> None:
    policies = Policies.shipped()
    kept = AccessDecision(True, ("viewer",), "permitted")
    policies._remember(("kept",), kept)
    for number in range(5 * _GENERATION):
        policies._remember((number,), AccessDecision(False, (), "not-permitted"))
        if number % 100 == 0:
            assert policies.cached(("kept",)) is kept


def own(text: str) -> Policies:
    return Policies.from_texts({"own.cedar": text})


NAMED = {
    "in the scope": '@id("a") permit(principal, action, resource == Resource::"digits");',
    "in a condition": '@id("a") permit(principal, action, resource) when { resource == Resource::"digits" };',
    "by attribute": '@id("a") permit(principal, action, resource) when { resource.name == "digits" };',
    "by pattern": '@id("a") permit(principal, action, resource) when { resource.name like "dig*" };',
    "from another file": '@id("a") permit(principal, action, resource) unless { resource.name != "digits" };',
}


@pytest.mark.parametrize("text", NAMED.values(), ids=NAMED)
def test_policies_that_speak_of_names_see_them_and_are_not_confused_by_the_cache(text: str) -> None:
    policies = own(text)
    for name, allow in [("digits", True), ("faces", False), ("digits", True), ("faces", False)]:
        who = alice()
        assert decide(who, Action.MODEL_INFER, Resource("model", name), {"tenant": HOUSE}, policies).allow is allow


def test_a_policy_may_speak_of_one_principal() -> None:
    policies = own('@id("a") permit(principal == Principal::"user:alice", action, resource);')
    mallory = alice(id=PrincipalId("user:mallory"))
    assert decide(alice(), Action.MODEL_INFER, MODEL, {"tenant": HOUSE}, policies).allow
    assert not decide(mallory, Action.MODEL_INFER, MODEL, {"tenant": HOUSE}, policies).allow


UNLOADABLE: dict[str, tuple[Iterable[str], str]] = {
    "no file": ([], "policies-empty"),
    "an empty file": ([""], "policies-empty"),
    "only a remark": (["// permit everything"], "policies-empty"),
    "not Cedar": (["permit everything"], "policies-unloadable"),
    "no id": (["permit(principal, action, resource);"], "policies-unloadable"),
    "an empty id": (['@id("") permit(principal, action, resource);'], "policies-unloadable"),
    "an id twice": (['@id("a") permit(principal, action, resource);'] * 2, "policies-unloadable"),
    "an unknown attribute": (
        ['@id("a") permit(principal, action, resource) when { principal.colour == "red" };'],
        "policies-unloadable",
    ),
    "an attribute only some actions have": (
        ['@id("a") forbid(principal, action, resource) when { context.author == "x" };'],
        "policies-unloadable",
    ),
    "an unknown action": (['@id("a") permit(principal, action == Action::"fly", resource);'], "policies-unloadable"),
    "a template": (['@id("a") forbid(principal == ?principal, action, resource);'], "policies-unloadable"),
    "a wrong type": (
        ['@id("a") permit(principal, action, resource) when { principal.strength == "high" };'],
        "policies-unloadable",
    ),
}


@pytest.mark.parametrize(("texts", "code"), UNLOADABLE.values(), ids=UNLOADABLE)
def test_what_cannot_be_loaded_is_refused(texts: Iterable[str], code: str) -> None:
    with pytest.raises(Invalid) as caught:
        Policies.from_texts({f"{number}.cedar": text for number, text in enumerate(texts)})
    assert caught.value.code == code


def test_a_schema_that_is_none_is_refused() -> None:
    with pytest.raises(Invalid, match="policies-unloadable"):
        Policies.from_texts({"a.cedar": '@id("a") permit(principal, action, resource);'}, "entity entity")


def test_the_version_follows_the_texts() -> None:
    first, second = (own(f'@id("{name}") permit(principal, action, resource);') for name in "ab")
    again = own('@id("a") permit(principal, action, resource);')
    assert first.version == again.version != second.version


def test_the_shipped_rules_each_say_what_they_do(policies: Policies) -> None:
    assert len(policies.says) == 18
    assert all(sentence.endswith(".") for sentence in policies.says.values())


def test_every_pair_of_roles_grants_the_union_and_no_more(policies: Policies) -> None:
    for one, two in itertools.combinations(Role, 2):
        assert permitted(alice(one, two), policies) == ROLES[one] | ROLES[two]
