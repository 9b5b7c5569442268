from __future__ import annotations

import itertools
from collections.abc import Iterable

import msgspec
import pytest

from fastness.access.decisions import _GENERATION, AccessDecision, Policies, decide
from fastness.core.clock import Instant
from fastness.core.errors import Invalid
from fastness.core.identity import (
    Action,
    Grant,
    Obligation,
    Principal,
    PrincipalId,
    PrincipalKind,
    Resource,
    Role,
    Strength,
    TenantId,
)

HOUSE = TenantId("default")
MODEL = Resource("model", "digits")
OTHERS: dict[str, str | int | bool] = {
    "tenant": "default",
    "author": "user:bob",
    "own_approval": False,
    "owner": "user:bob",
    "owner_kind": "service",
}
CONTEXTS = {
    Action.MODEL_APPROVE: ("tenant", "author"),
    Action.MODEL_DEPLOY: ("tenant", "author", "own_approval"),
    Action.APPROVAL_GIVE: ("tenant", "author"),
    Action.KEY_CREATE: ("tenant", "owner", "owner_kind"),
    Action.ROLE_GRANT: ("tenant", "owner"),
    Action.GROUP_CHANGE: ("tenant", "owner"),
    Action.KEY_REVOKE: ("tenant", "owner"),
    Action.SESSION_REVOKE: ("tenant", "owner"),
    Action.CREDENTIAL_RESET: ("tenant", "owner"),
    Action.TOKEN_DELEGATE: ("tenant", "owner"),
    Action.RESTRICTION_CHANGE: ("tenant", "owner"),
    Action.QUOTA_CHANGE: ("tenant", "owner"),
    Action.REVIEW_DECIDE: ("tenant", "owner"),
}
NOW = Instant(1_700_000_000_000_000_000)
STEPPED_UP = {
    Action.MODEL_DEPLOY,
    Action.MODEL_ROLLBACK,
    Action.MODEL_DELETE,
    Action.KEYRING_ROTATE,
    Action.POLICY_CHANGE,
    Action.CREDENTIAL_RESET,
    Action.PROVIDER_CHANGE,
    Action.AUDIT_EXPORT,
}
BY_TWO = {Action.MODEL_DELETE, Action.KEYRING_ROTATE, Action.POLICY_CHANGE}


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
        "stepped_up_at": NOW,
    }
    return Principal(**(fields | changes))  # type: ignore[arg-type]


def context_for(action: Action, **changes: str | int | bool) -> dict[str, str | int | bool]:
    return {name: OTHERS[name] for name in CONTEXTS.get(action, ("tenant",))} | changes


def ask(who: Principal, action: Action, policies: Policies, now: Instant | None = NOW) -> AccessDecision:
    return decide(who, action, MODEL, context_for(action), policies, now).carrying(Obligation.TWO_PERSONS)


def permitted(who: Principal, policies: Policies) -> set[Action]:
    return {action for action in Action if ask(who, action, policies).allow}


ROLES = {
    Role.VIEWER: {Action.MODEL_READ, Action.SYSTEM_READ},
    Role.DEVELOPER: {Action.MODEL_INFER, Action.MODEL_READ},
    Role.PUBLISHER: {Action.MODEL_PUSH, Action.MODEL_PULL, Action.MODEL_DELETE, Action.MODEL_READ},
    Role.APPROVER: {Action.MODEL_APPROVE, Action.APPROVAL_GIVE, Action.MODEL_READ, Action.POLICY_READ},
    Role.OPERATOR: {
        Action.MODEL_DEPLOY,
        Action.MODEL_ROLLBACK,
        Action.MODEL_READ,
        Action.METRICS_READ,
        Action.SYSTEM_READ,
    },
    Role.AUDITOR: {
        Action.AUDIT_READ,
        Action.AUDIT_EXPORT,
        Action.ACCESS_READ,
        Action.POLICY_READ,
        Action.MODEL_READ,
        Action.METRICS_READ,
        Action.SYSTEM_READ,
    },
    Role.SECURITY_OFFICER: {
        Action.ALLOWANCE_GRANT,
        Action.APPROVAL_GIVE,
        Action.MODEL_QUARANTINE,
        Action.KEY_REVOKE,
        Action.SESSION_REVOKE,
        Action.POLICY_READ,
        Action.POLICY_CHANGE,
        Action.RESTRICTION_CHANGE,
        Action.REVIEW_MANAGE,
        Action.REVIEW_DECIDE,
        Action.KEYRING_ROTATE,
        Action.MODEL_READ,
        Action.ACCESS_READ,
        Action.AUDIT_READ,
    },
    Role.ADMINISTRATOR: {
        Action.PRINCIPAL_CREATE,
        Action.ROLE_GRANT,
        Action.GROUP_CHANGE,
        Action.TENANT_CREATE,
        Action.KEY_CREATE,
        Action.KEY_REVOKE,
        Action.SESSION_REVOKE,
        Action.CREDENTIAL_RESET,
        Action.CLIENT_CHANGE,
        Action.PROVIDER_CHANGE,
        Action.DIRECTORY_PROVISION,
        Action.QUOTA_CHANGE,
        Action.REVIEW_DECIDE,
        Action.POLICY_READ,
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
    "the asker approves": (Role.APPROVER, Action.APPROVAL_GIVE, {"author": "user:alice"}, "asker-may-not-approve"),
    "nobody knows who asked": (Role.APPROVER, Action.APPROVAL_GIVE, {"author": ""}, "asker-may-not-approve"),
    "one's own roles": (Role.ADMINISTRATOR, Action.ROLE_GRANT, {"owner": "user:alice"}, "own-roles"),
    "one's own group": (Role.ADMINISTRATOR, Action.GROUP_CHANGE, {"owner": "user:alice"}, "own-roles"),
    "one's own quota": (Role.ADMINISTRATOR, Action.QUOTA_CHANGE, {"owner": "user:alice"}, "own-limits"),
    "one's own block": (Role.SECURITY_OFFICER, Action.RESTRICTION_CHANGE, {"owner": "user:alice"}, "own-limits"),
    "one's own review": (Role.SECURITY_OFFICER, Action.REVIEW_DECIDE, {"owner": "user:alice"}, "own-review"),
    "one's own factors": (Role.ADMINISTRATOR, Action.CREDENTIAL_RESET, {"owner": "user:alice"}, "own-reset"),
    "another's rights": (Role.ADMINISTRATOR, Action.TOKEN_DELEGATE, {"owner": "user:bob"}, "delegates-of-persons"),
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
@pytest.mark.parametrize(
    "action",
    [
        Action.MODEL_APPROVE,
        Action.ALLOWANCE_GRANT,
        Action.APPROVAL_GIVE,
        Action.REVIEW_DECIDE,
        Action.POLICY_CHANGE,
        Action.CREDENTIAL_RESET,
    ],
)
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
    decision = decide(alice(*Role), Action.MODEL_INFER, MODEL, {"tenant": "default"} | changes, policies)
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
    who = alice(Role.OPERATOR)
    assert decide(who, Action.MODEL_DEPLOY, MODEL, deploy, policies, NOW).allow
    assert not decide(who, Action.MODEL_DEPLOY, MODEL, deploy | {"own_approval": 0}, policies, NOW).allow


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
    assert len(policies.says) == 27
    assert all(sentence.endswith(".") for sentence in policies.says.values())


def test_every_pair_of_roles_grants_the_union_and_no_more(policies: Policies) -> None:
    for one, two in itertools.combinations(Role, 2):
        assert permitted(alice(one, two), policies) == ROLES[one] | ROLES[two]


@pytest.mark.parametrize("action", sorted(STEPPED_UP))
@pytest.mark.parametrize("age_s", [None, -1, 0, 300, 300.1])
def test_what_is_hard_to_undo_takes_a_second_factor_given_lately(
    action: Action, age_s: float | None, policies: Policies
) -> None:
    at = None if age_s is None else Instant(NOW - int(age_s * 1e9))
    (role,) = [role for role in Role if action in ROLES[role]]
    decision = ask(alice(role, stepped_up_at=at), action, policies)
    assert decision.allow is (age_s in {0, 300})
    assert Obligation.STEP_UP in decision.obligations
    if not decision.allow:
        assert (decision.reason, decision.open) == ("step-up-required", (Obligation.STEP_UP,))
        assert "second factor" in decision.message
        assert "step-up" in decision.rules


def test_without_the_time_no_second_factor_counts(policies: Policies) -> None:
    assert ask(alice(Role.OPERATOR), Action.MODEL_ROLLBACK, policies, None).reason == "step-up-required"


def test_a_second_factor_is_asked_only_of_who_could_go_on(policies: Policies) -> None:
    """Nobody learns by it what others may do, and nobody gives it in vain."""
    late = {"stepped_up_at": None}
    assert ask(alice(Role.VIEWER, **late), Action.MODEL_DEPLOY, policies).reason == "not-permitted"
    author = alice(Role.OPERATOR, id=PrincipalId("user:bob"), **late)
    assert ask(author, Action.MODEL_DEPLOY, policies).rules == ("author-may-not-deploy",)


@pytest.mark.parametrize("action", Action)
def test_only_some_actions_oblige(action: Action, policies: Policies) -> None:
    (role, *_) = [role for role in Role if action in ROLES[role]] or [Role.VIEWER]
    expected = {Obligation.STEP_UP} if action in STEPPED_UP else set()
    expected |= {Obligation.TWO_PERSONS} if action in BY_TWO else set()
    assert set(ask(alice(role), action, policies).obligations) == expected


def test_what_the_caller_must_carry_out_is_open_until_it_says_so(policies: Policies) -> None:
    decision = decide(alice(Role.PUBLISHER), Action.MODEL_DELETE, MODEL, {"tenant": HOUSE}, policies, NOW)
    assert (decision.allow, decision.reason, decision.open) == (
        False, "two-persons-required", (Obligation.TWO_PERSONS,)
    )  # fmt: skip
    assert decision.carrying(Obligation.MASK) is decision
    carried = decision.carrying(Obligation.TWO_PERSONS)
    assert (carried.allow, carried.reason, carried.open) == (True, "permitted", ())


def test_a_second_factor_cannot_be_promised(policies: Policies) -> None:
    decision = ask(alice(Role.OPERATOR, stepped_up_at=None), Action.MODEL_ROLLBACK, policies)
    assert not decision.carrying(*Obligation).allow


OBLIGING = """
@id("all") permit(principal, action, resource);
@id("masked") @obliges("mask") permit(principal, action == Action::"model.infer", resource);
@id("logged") @obliges("log") forbid(principal, action == Action::"model.infer", resource)
when { resource.name == "faces" };
"""


def test_obligations_of_all_rules_that_match_add_up() -> None:
    policies = own(OBLIGING)
    for name, expected in [("digits", {Obligation.MASK}), ("faces", {Obligation.MASK, Obligation.LOG})]:
        decision = decide(alice(), Action.MODEL_INFER, Resource("model", name), {"tenant": HOUSE}, policies)
        assert set(decision.obligations) == set(decision.open) == expected
        assert decision.carrying(*expected).allow


@pytest.mark.parametrize("text", ['@obliges("pay")', '@obliges("")', "@obliges", '@obligates("mask")', '@Id("b")'])
def test_an_obligation_that_is_misspelt_does_not_load(text: str) -> None:
    with pytest.raises(Invalid, match="policies-unloadable"):
        own(f'@id("a") {text} permit(principal, action, resource);')


def test_a_grant_on_a_model_is_a_role_there_and_nowhere_else(policies: Policies) -> None:
    who = alice(grants=frozenset({Grant(Role.DEVELOPER, "digits"), Grant(Role.ADMINISTRATOR, "digits")}))
    asked = {"tenant": "default"}
    for resource, allow in {
        Resource("model", "digits"): True,
        Resource("model", "digits/3"): True,
        Resource("model", "digit"): False,
        Resource("model", "digits2"): False,
        Resource("model", "faces"): False,
        Resource("models", "all"): False,
        Resource("environment", "digits"): False,
    }.items():
        assert decide(who, Action.MODEL_INFER, resource, asked, policies).allow is allow, resource
    assert not decide(who, Action.PRINCIPAL_CREATE, Resource("principal", "digits"), asked, policies).allow


def test_a_credential_narrowed_to_models_is_good_for_nothing_else(policies: Policies) -> None:
    who = alice(*Role, models=frozenset({"digits"}))
    for resource, allow in {
        Resource("model", "digits"): True,
        Resource("model", "digits/2"): True,
        Resource("model", "faces"): False,
        Resource("models", "all"): False,
        Resource("environment", "digits"): False,
    }.items():
        decision = decide(who, Action.MODEL_READ, resource, {"tenant": HOUSE}, policies)
        assert (decision.allow, decision.reason == "credential-narrowed") == (allow, not allow), resource
    own_key = {"tenant": "default", "owner": "user:alice", "owner_kind": "user"}
    assert not decide(who, Action.KEY_CREATE, Resource("principal", "user:alice"), own_key, policies).allow


def test_a_delegate_decides_and_issues_nothing_in_the_name_of_another(policies: Policies) -> None:
    delegated = alice(*Role, actor=PrincipalId("agent:helper"))
    direct, narrowed = permitted(alice(*Role), policies), permitted(delegated, policies)
    assert direct - narrowed == {
        Action.MODEL_APPROVE, Action.APPROVAL_GIVE, Action.ALLOWANCE_GRANT, Action.REVIEW_DECIDE, Action.REVIEW_MANAGE,
        Action.POLICY_CHANGE, Action.RESTRICTION_CHANGE, Action.QUOTA_CHANGE, Action.ROLE_GRANT, Action.GROUP_CHANGE,
        Action.PRINCIPAL_CREATE, Action.TENANT_CREATE, Action.KEY_CREATE, Action.CREDENTIAL_RESET,
        Action.CLIENT_CHANGE, Action.PROVIDER_CHANGE, Action.DIRECTORY_PROVISION, Action.KEYRING_ROTATE,
    }  # fmt: skip
    assert narrowed < direct


def test_only_the_house_itself_makes_tenants(policies: Policies) -> None:
    other = alice(Role.ADMINISTRATOR, tenant=TenantId("other"))
    decision = decide(other, Action.TENANT_CREATE, Resource("tenant", "new"), {"tenant": "other"}, policies)
    assert decision.rules == ("tenants-of-the-house",)


@pytest.mark.parametrize("proof", ["signed", "certified"])
def test_a_rule_may_demand_a_proof_of_possession(proof: str) -> None:
    shipped = Policies.shipped()
    text = f"""@id("p") @says("It takes a proof.") forbid (principal, action == Action::"model.infer", resource)
        when {{ resource.name == "digits" && !principal.{proof} }};"""
    policies = Policies({**shipped.texts, "p.cedar": text}, shipped.schema)
    caller = Principal(PrincipalKind.USER, PrincipalId("user:a"), HOUSE, frozenset({Role.DEVELOPER}), Strength.KEY, NOW)
    proved = msgspec.structs.replace(caller, **{proof: True})
    for _ in range(2):  # the second answer comes from the cache
        assert decide(caller, Action.MODEL_INFER, MODEL, {"tenant": HOUSE}, policies).rules == ("p",)
        assert decide(proved, Action.MODEL_INFER, MODEL, {"tenant": HOUSE}, policies).allow
        assert decide(caller, Action.MODEL_INFER, Resource("model", "faces"), {"tenant": HOUSE}, policies).allow
