"""Rules that are looked up by what could match answer as Cedar does on the whole set, errors included."""

from __future__ import annotations

import cedarpy
import msgspec
from hypothesis import event, given, settings
from hypothesis import strategies as st

from fastness.access import Policies
from fastness.access.cedar import Question, Refused, Rules
from fastness.core.clock import Instant
from fastness.core.identity import Action, Principal, PrincipalId, PrincipalKind, Role, Strength, TenantId

SCHEMA = Policies.shipped().schema
NAMES = st.sampled_from(["a", "b", 'q"\\x', "user:a"])
TEXTS = NAMES.map(msgspec.json.encode).map(bytes.decode)
ACTIONS = [Action.MODEL_INFER, Action.MODEL_READ]


def one(*templates: str) -> st.SearchStrategy[str]:
    """One of the templates, with a text of its own for each %s."""
    return st.sampled_from(templates).flatmap(filled)


def filled(template: str) -> st.SearchStrategy[str]:
    return st.tuples(*[TEXTS] * template.count("%s")).map(lambda found: template % found)


PRINCIPALS = one(
    *["principal"] * 12,
    "principal == Principal::%s",
    "principal in Principal::%s",
    "principal in Role::%s",
    'principal in Role::"developer"',
    'principal in Role::"viewer"',
    "principal is Principal",
    'principal is Principal in Role::"viewer"',
)
WHICH = one(
    "action",
    'action == Action::"model.infer"',
    'action == Action::"model.read"',
    'action in [Action::"model.infer", Action::"model.read"]',
)
RESOURCES = one(*["resource"] * 8, "resource == Resource::%s", "resource in Resource::%s", "resource is Resource")
EQUALS = one(
    "context.tenant == %s",
    "resource.name == %s",
    "principal.id == %s",
    "principal.actor == %s",
    "%s == context.tenant",
    "principal.tenant == context.tenant",
    'resource.kind == "model"',
    "principal.strength == 1",
    "principal.strength == 4",
    "principal.signed == true",
    "principal.certified == false",
    "context has version && context.version == 1",
    "context has version && (context.version == 1 || 5 == context.version)",
    "principal.strength >= 2",
    "3 > principal.strength",
    "!(principal.strength <= 1)",
    "[%s, %s].contains(resource.name)",
    "[1, 4].contains(principal.strength)",
    "resource.name == %s || %s == resource.name",
    "(resource.name == %s || principal.id == %s || principal.strength >= 4)",
    '(resource.name like "us*" || context.tenant like "q*")',
    'principal.id like "user:*"',
    'principal.tenant like "a"',
    'principal.id like "u*r:a"',
    'resource.name like "*a"',
    'principal.kind == "user" || principal.kind == "agent"',
    "!principal.signed",
    "principal.certified",
    "principal.strength > 9",
)
FAILS = st.sampled_from(
    ["principal.strength * 9223372036854775807 > 5", "principal.strength - -9223372036854775807 > 5"]
)
OTHERS = one(
    'resource.name like "a*"',
    "principal is Principal",
    "principal.id != %s",
    "principal.id == context.tenant",
    "[%s, context.tenant].contains(principal.id)",
    "(if principal.signed then true else principal.strength - -9223372036854775807 > 5)",
    "principal == Principal::%s",
    'principal in Role::"viewer"',
    "true",
    "false",
)
ATOMS = st.sampled_from([EQUALS, EQUALS, FAILS, OTHERS]).flatmap(lambda kind: kind)
PAIRS = st.tuples(ATOMS, st.sampled_from(["&&", "&&", "||"]), ATOMS).map(" ".join)
CONDITIONS = st.one_of(
    EQUALS,
    PAIRS,
    st.tuples(PAIRS, ATOMS).map(lambda two: f"({two[0]}) && {two[1]}"),
    st.tuples(ATOMS, PAIRS).map(lambda two: f"{two[0]} && ({two[1]})"),
    ATOMS.map(lambda text: f"!({text})"),
    st.tuples(ATOMS, EQUALS, EQUALS).map(lambda three: "if {} then {} else {}".format(*three)),
)
CLAUSES = st.lists(st.tuples(st.sampled_from(["when", "when", "when", "unless"]), CONDITIONS), min_size=1, max_size=2)
POLICIES = st.tuples(st.sampled_from(["permit"] * 4 + ["forbid"]), PRINCIPALS, WHICH, RESOURCES, CLAUSES)
QUESTIONS = st.builds(
    lambda who, action, name, context: Question(who, who.roles, action, "model", name, msgspec.json.encode(context)),
    st.builds(
        Principal,
        kind=st.sampled_from(PrincipalKind),
        id=NAMES.map(PrincipalId),
        tenant=NAMES.map(TenantId),
        roles=st.frozensets(st.sampled_from([Role.DEVELOPER, Role.VIEWER, "a", "b"])),
        strength=st.sampled_from(Strength),
        authenticated_at=st.just(Instant(0)),
        actor=NAMES.map(PrincipalId),
        signed=st.booleans(),
        certified=st.booleans(),
    ),
    st.sampled_from(ACTIONS),
    NAMES,
    st.fixed_dictionaries(
        {"tenant": NAMES | st.sampled_from([1, True, {"a": "b"}, 1.5])}, optional={"version": st.sampled_from([0, True])}
    ) | st.fixed_dictionaries({"tenant": NAMES}) | st.fixed_dictionaries({"tenant": NAMES}, optional={"version": st.sampled_from([0, 1, 5])}),
)  # fmt: skip


def written(number: int, policy: tuple[str, str, str, str, list[tuple[str, str]]]) -> str:
    effect, principal, action, resource, clauses = policy
    conditions = " ".join(f"{kind} {{ {text} }}" for kind, text in clauses)
    return f'@id("p{number}") {effect} ({principal}, {action}, {resource}) {conditions};'


def whole(text: str, question: Question) -> tuple[str, frozenset[str], bool]:
    """What Cedar says of the text in one piece: decision, deciding rules, and whether any erred."""
    who = question.principal
    entities = [
        {
            "uid": {"type": "Principal", "id": who.id},
            "attrs": {
                "id": who.id, "kind": who.kind, "tenant": who.tenant, "strength": int(who.strength), "actor": who.actor,
                "signed": who.signed, "certified": who.certified,
            },
            "parents": [{"type": "Role", "id": role} for role in question.roles],
        },
        {"uid": {"type": "Resource", "id": question.name}, "attrs": {"kind": "model", "name": question.name}, "parents": []},
    ]  # fmt: skip
    request = {
        "principal": {"type": "Principal", "id": who.id},
        "action": {"type": "Action", "id": question.action},
        "resource": {"type": "Resource", "id": question.name},
        "context": question.context.decode(),
    }
    result = cedarpy.is_authorized(request, text, msgspec.json.encode(entities).decode(), SCHEMA)
    if result.decision is cedarpy.Decision.NoDecision:
        return "refused", frozenset(), False
    found = result.diagnostics
    rules = frozenset(found.id_annotations_by_reason[reason] for reason in found.reasons)
    return ("allow" if result.allowed else "deny"), rules, bool(found.errors)


def looked_up(rules: Rules, question: Question) -> tuple[str, frozenset[str], bool]:
    try:
        answer, lifted = rules.ask(question)
    except (Refused, ValueError):
        return "refused", frozenset(), False
    assert not any(lifted)
    allowed = bool(answer.permits) and not answer.forbids
    return ("allow" if allowed else "deny"), answer.permits | answer.forbids, bool(answer.errors)


@settings(max_examples=150)
@given(st.lists(POLICIES, min_size=1, max_size=16), st.lists(QUESTIONS, min_size=4, max_size=8))
def test_divided_rules_answer_as_the_whole_set_does(
    policies: list[tuple[str, str, str, str, list[tuple[str, str]]]], questions: list[Question]
) -> None:
    text = "\n".join(written(number, policy) for number, policy in enumerate(policies))
    divided, undivided = Rules({"a": text}, SCHEMA, 0, 2), Rules({"a": text}, SCHEMA, 100)
    sieved = Rules({"a": text}, SCHEMA, 3, 1)
    for question in questions:
        expected = whole(text, question)
        event(f"{expected[0]}, {'some err' if expected[2] else 'none err'}")
        assert looked_up(divided, question) == expected
        assert looked_up(undivided, question) == expected
        assert looked_up(sieved, question) == expected
