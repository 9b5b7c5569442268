"""Policies that fail, and requests made to slip past them.

Cedar skips a policy that errors while it is evaluated. A `forbid` that errors then no longer forbids, and the `permit`
beside it wins: the first test shows that Cedar alone would allow, the others that this house denies. Success rate: 0.
"""

from __future__ import annotations

import cedarpy
import msgspec
import pytest

from fastness.access import Policies, decide
from fastness.access.decisions import AccessDecision
from fastness.core.clock import Instant
from fastness.core.identity import Action, Principal, PrincipalId, PrincipalKind, Resource, Role, Strength, TenantId

MODEL = Resource("model", "digits")
PERMIT = '@id("everything") permit(principal, action, resource);'
OVERFLOW = """
@id("old-versions") forbid(principal, action == Action::"model.infer", resource)
when { context has version && context.version * 9223372036854775807 > 10 };
"""


def mallory(*roles: Role, tenant: str = "default", **changes: object) -> Principal:
    fields: dict[str, object] = {
        "kind": PrincipalKind.USER,
        "id": PrincipalId("user:mallory"),
        "tenant": TenantId(tenant),
        "roles": frozenset(roles),
        "strength": Strength.KEY,
        "authenticated_at": Instant(1),
    }
    return Principal(**(fields | changes))  # type: ignore[arg-type]


def test_cedar_alone_would_let_a_failing_forbid_pass() -> None:
    """Not our promise but the reason for it: should Cedar change, the guard may go."""
    request = {
        "principal": 'Principal::"m"',
        "action": 'Action::"model.infer"',
        "resource": 'Resource::"d"',
        "context": {"version": 5},
    }
    result = cedarpy.is_authorized(request, PERMIT + OVERFLOW, [])
    assert result.allowed
    assert result.diagnostics.errors


def test_a_failing_forbid_does_not_fail_open() -> None:
    policies = Policies.from_texts({"own.cedar": PERMIT + OVERFLOW})
    without = decide(mallory(), Action.MODEL_INFER, MODEL, {"tenant": "default"}, policies)
    forbidden = decide(mallory(), Action.MODEL_INFER, MODEL, {"tenant": "default", "version": 1}, policies)
    failing = decide(mallory(), Action.MODEL_INFER, MODEL, {"tenant": "default", "version": 5}, policies)
    assert without.allow
    assert (forbidden.allow, forbidden.rules) == (False, ("old-versions",))
    assert (failing.allow, failing.reason) == (False, "policy-error")
    assert "overflow" in failing.message


def test_a_failing_permit_beside_a_good_one_denies_too() -> None:
    failing = '@id("odd") permit(principal, action, resource) when { principal.strength * 9223372036854775807 > 1 };'
    policies = Policies.from_texts({"own.cedar": PERMIT + failing})
    strong = mallory(strength=Strength.MFA)
    decision = decide(strong, Action.MODEL_READ, MODEL, {"tenant": "default"}, policies)
    assert (decision.allow, decision.reason) == (False, "policy-error")


def test_an_error_is_not_remembered_as_an_answer() -> None:
    policies = Policies.from_texts({"own.cedar": PERMIT + OVERFLOW})
    for _ in range(3):
        assert not decide(mallory(), Action.MODEL_INFER, MODEL, {"tenant": "default", "version": 5}, policies).allow
    assert not policies._young


def test_nothing_is_permitted_by_leaving_an_attribute_out() -> None:
    """A rule such as author-may-not-approve would not fire on a request that does not name the author."""
    policies = Policies.shipped()
    for action in (Action.MODEL_APPROVE, Action.MODEL_DEPLOY):
        for context in ({"tenant": "default"}, {}, {"tenant": "default", "author": ""}):
            decision = decide(mallory(*Role), action, MODEL, context, policies)
            assert not decision.allow


def test_a_principal_of_another_tenant_reaches_nothing_whatever_it_holds() -> None:
    policies = Policies.shipped()
    for action in Action:
        full = {"tenant": "default", "author": "user:bob", "own_approval": False, "owner": "b", "owner_kind": "service"}
        for names in (("tenant",), ("tenant", "author"), ("tenant", "author", "own_approval"), ("tenant", "owner"),
                      ("tenant", "owner", "owner_kind")):  # fmt: skip
            context = {name: full[name] for name in names}
            assert not decide(mallory(*Role, tenant="evil"), action, MODEL, context, policies).allow


HOSTILE = [
    '") || true || ("',
    '"; permit(principal, action, resource); //',
    "user:mallory\0",
    "\n\r\t",
    "\u202euser:bob",
    "\udcff",
    "x" * 100_000,
    'Role::"administrator"',
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_text_in_names_is_text_and_never_policy(text: str) -> None:
    policies = Policies.shipped()
    named = Policies.from_texts({"a.cedar": '@id("a") permit(principal, action, resource == Resource::"digits");'})
    context = {"tenant": "default"}
    who = mallory(id=PrincipalId(text))
    assert not decide(who, Action.MODEL_INFER, Resource(text, text), context, policies).allow
    assert not decide(mallory(), Action.MODEL_INFER, Resource("model", text), context, named).allow
    assert not decide(mallory(tenant=text), Action.MODEL_INFER, MODEL, context, policies).allow


def test_a_role_of_ones_own_making_permits_nothing() -> None:
    policies = Policies.shipped()
    made_up = msgspec.structs.replace(mallory(), roles=frozenset({"root", "Administrator", "administrator "}))
    for action in (Action.MODEL_READ, Action.ACCESS_READ):
        assert decide(made_up, action, MODEL, {"tenant": "default"}, policies).reason == "not-permitted"


@pytest.mark.parametrize("crowd", ['resource.name == "m%d"', 'principal.id like "*-%d"'], ids=["looked up", "sieved"])
def test_a_forbid_is_asked_however_many_rules_stand_around_it(crowd: str) -> None:
    """Rules are left out only where they cannot match: a forbid with no condition, or one that errs, never is."""
    rules = [
        f'@id("p{n}") permit(principal, action == Action::"model.infer", resource) when {{ {crowd % n} }};'
        for n in range(300)
    ]
    rules.append('@id("mine") permit(principal, action, resource) when { principal.id == "user:mallory" };')

    def asked(*more: str) -> AccessDecision:
        texts = {"a.cedar": "\n".join([*rules[:150], *more, *rules[150:]])}
        return decide(mallory(), Action.MODEL_INFER, MODEL, {"tenant": "default"}, Policies.from_texts(texts))

    assert asked().rules == ("mine",)
    assert asked('@id("no") forbid(principal, action, resource);').rules == ("no",)
    assert asked('@id("no") forbid(principal, action, resource) unless { principal.strength > 3 };').rules == ("no",)
    overflow = "principal.strength - -9223372036854775807 > 5"
    for body in (overflow, f'principal.tenant == "default" && {overflow}', f'{overflow} && resource.name == "other"'):
        err = asked(f'@id("no") forbid(principal, action, resource) when {{ {body} }};')
        assert (err.allow, err.reason) == (False, "policy-error")


def test_an_answer_for_one_is_not_given_to_another() -> None:
    """The cache is warm with allows; everyone who differs in any way is asked about anew."""
    policies = Policies.shipped()
    context = {"tenant": "default", "author": "user:bob"}

    def ask(who: Principal, **changes: str) -> AccessDecision:
        return decide(who, Action.MODEL_APPROVE, MODEL, context | changes, policies)

    assert ask(mallory(Role.APPROVER)).allow
    assert not ask(mallory(Role.VIEWER)).allow
    assert not ask(mallory(Role.APPROVER, tenant="evil")).allow
    assert not ask(mallory(Role.APPROVER, kind=PrincipalKind.SERVICE)).allow
    assert not ask(mallory(Role.APPROVER, strength=Strength.NONE)).allow
    assert not ask(mallory(Role.APPROVER, actions=frozenset({Action.MODEL_READ}))).allow
    assert not ask(mallory(Role.APPROVER), author="user:mallory").allow
    assert not ask(mallory(Role.APPROVER, id=PrincipalId("user:bob"))).allow
