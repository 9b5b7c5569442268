"""Cedar, through cedarpy: rules from texts, and what they say of one question.

Cedar's cost is linear in the rules it is handed, so it is handed few: those whose scope takes in the action and, where an
action has many, only those that could match. A rule that names a role, a principal or a resource in its scope, or whose
condition begins with `attribute == literal`, is looked up by that; all others are always asked. What is left out cannot match
and cannot err: a scope never errs, and `&&` stops at the first false. Each group is one prepared set; Cedar itself answers,
and since rules do not see each other, the answers of the groups together are the answer of the whole set
(`tests/property/test_access_rules.py` holds that against Cedar on whole random sets).

Source: Cutler et al., "Cedar: A New Language for Expressive, Fast, Safe, and Analyzable Authorization", OOPSLA 2024,
sections 3 (semantics) and 5 (policy slicing).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import cedarpy
import msgspec

from fastness.access.cedar_text import require_bounded
from fastness.core.errors import Invalid
from fastness.core.identity import Action, Obligation, Principal, Role

UNNAMED: Final = "*"
_ANNOTATIONS: Final = frozenset({"id", "says", "obliges"})
_UNDIVIDED: Final = 48  # as many rules cost Cedar about as much as two calls
_OBLIGES = frozenset(Obligation)
_encode = msgspec.json.Encoder(order="deterministic").encode


class Rule(NamedTuple):
    """One policy of a set.

    Attributes:
        id: its `@id`.
        file: the text that it stands in.
        effect: `permit` or `forbid`.
        actions: those that its scope takes in.
        roles: the role in its scope, if there is one.
        says: its sentence, or empty.
        obliges: what it obliges to, if to anything.
        narrow: its scope or its first comparison names a principal or a role.
        unconditional: it has neither `when` nor `unless`, and names no resource.
        document: Cedar's JSON of it.
    """

    id: str
    file: str
    effect: str
    actions: frozenset[Action]
    roles: frozenset[str]
    says: str
    obliges: Obligation | None
    narrow: bool
    unconditional: bool
    document: bytes

    @property
    def lifted(self) -> bool:
        """Whether it is a forbid that is lifted by fulfilling its obligation."""
        return self.effect == "forbid" and self.obliges is not None


class Question(NamedTuple):
    """What Cedar gets to see.

    Attributes:
        roles: those that count for the resource.
        name: the resource's name, or `UNNAMED` where no rule speaks of names.
        context: JSON, as it was encoded.
    """

    principal: Principal
    roles: frozenset[Role]
    action: Action
    kind: str
    name: str
    context: bytes


class Answer(NamedTuple):
    """What the rules said: their ids, and what went wrong."""

    permits: frozenset[str]
    forbids: frozenset[str]
    errors: tuple[str, ...] = ()


class Refused(ValueError):
    """The question does not fit the schema."""


class _Entity(msgspec.Struct, frozen=True):
    type: str
    id: str


class _Scope(msgspec.Struct, frozen=True):
    op: str
    entity: _Entity | None = None
    entities: tuple[_Entity, ...] = ()


class _Condition(msgspec.Struct, frozen=True):
    kind: str
    body: object


class _Policy(msgspec.Struct, frozen=True):
    effect: str
    principal: _Scope
    action: _Scope
    resource: _Scope
    conditions: tuple[_Condition, ...] = ()
    annotations: dict[str, str | None] = {}


class _PolicySet(msgspec.Struct, frozen=True, rename="camel"):
    static_policies: dict[str, msgspec.Raw]
    templates: dict[str, msgspec.Raw] = {}
    template_links: list[msgspec.Raw] = []


_Key = tuple[str, str]


class Rules:
    """The rules of some texts, checked, and prepared for questions.

    Args:
        texts: file name to Cedar text.
        schema: Cedar schema text.
        undivided: as many rules of an action are asked in one piece.

    Attributes:
        by_id: the rules, in the order of their files.
        named: whether any rule could tell two resources of one kind apart.

    Raises:
        Invalid: `policies-empty`, `policies-large`, or `policies-unloadable` with what is wrong.
    """

    def __init__(self, texts: Mapping[str, str], schema: str, undivided: int = _UNDIVIDED) -> None:
        require_bounded(texts)
        try:
            self._schema = cedarpy.Schema.from_str(schema)
            self.by_id = _by_id(rule for file, text in texts.items() for rule in _parsed(file, text, self._schema))
            self.named = any(_speaks_of_names(rule) for rule in self.by_id.values())
            self._ruling = {a: _Index(self._of(a, lifted=False), undivided) for a in Action}
            self._lifted = {a: _Index(rules, undivided) for a in Action if (rules := self._of(a, lifted=True))}
        except (ValueError, msgspec.MsgspecError) as error:
            raise Invalid(
                "policies-unloadable", f"the policies do not load: {error}", "Mend the policy named."
            ) from error

    def _of(self, action: Action, *, lifted: bool) -> list[Rule]:
        return [rule for rule in self.by_id.values() if action in rule.actions and rule.lifted is lifted]

    def ask(self, question: Question) -> tuple[Answer, Answer]:
        """What the rules say, and what those say that are lifted by fulfilling their obligations.

        Raises:
            Refused: the question does not fit the schema.
        """
        entities, facts = _entities(question), _Facts(question)
        ruling = self._ruling[question.action].ask(question, entities, self._schema, facts)
        lifted = self._lifted.get(question.action)
        return ruling, _SILENT if lifted is None else lifted.ask(question, entities, self._schema, facts)

    def ask_each(self, question: Question) -> dict[str, Answer]:
        """What each rule by itself says, of those whose scope takes in the action. Slow: for explanations.

        Raises:
            Refused: the question does not fit the schema.
        """
        entities = _entities(question)
        return {
            rule.id: _asked(_prepared([rule]), question, entities, self._schema)
            for rule in self.by_id.values()
            if question.action in rule.actions
        }


_SILENT = Answer(frozenset(), frozenset())


class _Facts:
    """Values by path, read once from the question and only where an index asks for them."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._values: dict[str, object] = {}

    def get(self, path: str) -> object:
        """The value at a path such as `context.tenant`; None where there is none."""
        if not self._values:
            who, context = self._question.principal, msgspec.json.decode(self._question.context)
            self._values = {f"context.{name}": value for name, value in context.items()} | {
                "principal.id": who.id,
                "principal.kind": who.kind.value,
                "principal.tenant": who.tenant,
                "principal.strength": int(who.strength),
                "principal.actor": who.actor,
                "principal.signed": who.signed,
                "principal.certified": who.certified,
                "resource.kind": self._question.kind,
                "resource.name": self._question.name,
            }
        return self._values.get(path)


class _Index:
    """The rules of one action, in groups by what a question must hold for them to match."""

    def __init__(self, rules: list[Rule], undivided: int) -> None:
        groups: dict[_Key | None, list[Rule]] = {None: []}
        for rule in rules:
            key = None if len(rules) <= undivided else _key(rule)
            groups.setdefault(key, []).append(rule)
        self._always = _prepared(groups.pop(None))
        self._groups = {key: _prepared(group) for key, group in groups.items() if key is not None}
        self._paths = tuple(sorted({path for path, _ in self._groups}))

    def ask(self, question: Question, entities: cedarpy.Entities, schema: cedarpy.Schema, facts: _Facts) -> Answer:
        """Ask the groups that could match, and put together what they say."""
        answer = _asked(self._always, question, entities, schema)
        if not self._groups:
            return answer
        answers = [answer]
        answers += [_asked(group, question, entities, schema) for group in self._relevant(question, facts)]
        forbids = frozenset[str]().union(*(a.forbids for a in answers))
        permits = frozenset[str]() if forbids else frozenset[str]().union(*(a.permits for a in answers))
        return Answer(permits, forbids, tuple(error for a in answers for error in a.errors))

    def _relevant(self, question: Question, facts: _Facts) -> Iterator[cedarpy.PolicySet]:
        for path in self._paths:
            value = facts.get(path)
            if path == "role":
                keys = [(path, _distinct(role)) for role in question.roles]
            elif value is None:  # what is not known leaves nothing out
                keys = [key for key in self._groups if key[0] == path]
            else:
                keys = [(path, _distinct(value))]
            yield from (self._groups[key] for key in keys if key in self._groups)


def _asked(
    prepared: cedarpy.PolicySet, question: Question, entities: cedarpy.Entities, schema: cedarpy.Schema
) -> Answer:
    request = {
        "principal": {"type": "Principal", "id": question.principal.id},
        "action": {"type": "Action", "id": question.action.value},
        "resource": {"type": "Resource", "id": question.name},
        "context": question.context.decode("utf-8"),
    }
    result = cedarpy.is_authorized(request, prepared, entities, schema)
    found = result.diagnostics
    if result.decision is cedarpy.Decision.NoDecision:
        raise Refused("; ".join(found.errors))
    rules = frozenset(found.id_annotations_by_reason.get(reason, "") for reason in found.reasons)
    errors = tuple(found.errors)
    return Answer(rules, frozenset(), errors) if result.allowed else Answer(frozenset(), rules, errors)


def _entities(question: Question) -> cedarpy.Entities:
    who = question.principal
    document = [
        {
            "uid": {"type": "Principal", "id": who.id},
            "attrs": {
                "id": who.id,
                "kind": who.kind,
                "tenant": who.tenant,
                "strength": int(who.strength),
                "actor": who.actor,
                "signed": who.signed,
                "certified": who.certified,
            },
            "parents": [{"type": "Role", "id": role} for role in sorted(question.roles)],
        },
        {
            "uid": {"type": "Resource", "id": question.name},
            "attrs": {"kind": question.kind, "name": question.name},
            "parents": [],
        },
    ]
    return cedarpy.Entities.from_json_str(_encode(document).decode("utf-8"))


def _parsed(file: str, text: str, schema: cedarpy.Schema) -> list[Rule]:
    """The rules of a text. Raises ValueError, naming the file, for what would not decide or could not be named."""
    parsed = msgspec.json.decode(cedarpy.policies_to_json_str(text), type=_PolicySet)
    if parsed.templates or parsed.template_links:
        raise ValueError(f"{file}: templates (?principal, ?resource) are not supported; write the policy out")
    result = cedarpy.validate_policies(text, schema)
    if not result.validation_passed:
        raise ValueError(f"{file}: " + "; ".join(str(error) for error in result.errors))
    return [_rule(file, bytes(raw)) for raw in parsed.static_policies.values()]


def _rule(file: str, document: bytes) -> Rule:
    policy = msgspec.json.decode(document, type=_Policy)
    name = policy.annotations.get("id")
    if not name:
        raise ValueError(f"{file}: a policy lacks its @id(…)")
    if unknown := set(policy.annotations) - _ANNOTATIONS:  # a misspelt obligation would oblige to nothing
        raise ValueError(f"{file}: {name} has the unknown annotation @{min(unknown)}")
    obliges = policy.annotations.get("obliges")
    if "obliges" in policy.annotations and obliges not in _OBLIGES:
        raise ValueError(f"{file}: {name} obliges to {obliges!r}; use one of {', '.join(Obligation)}")
    role = policy.principal.entity
    return Rule(
        name,
        file,
        policy.effect,
        _actions(policy.action),
        frozenset({role.id}) if role is not None and role.type == "Role" else frozenset(),
        policy.annotations.get("says") or "",
        None if obliges is None else Obligation(obliges),
        policy.principal.op not in {"All", "is"} or (_first(policy) or ("",))[0] == "principal.id",
        not policy.conditions and policy.resource.op == "All",
        document,
    )


def _by_id(rules: Iterable[Rule]) -> dict[str, Rule]:
    found: dict[str, Rule] = {}
    for rule in rules:
        if rule.id in found:
            raise ValueError(f"two policies are called @id({rule.id!r})")
        found[rule.id] = rule
    if not found:
        raise Invalid("policies-empty", "there are no policies, so nothing would be permitted", "Load at least one.")
    return found


def _actions(scope: _Scope) -> frozenset[Action]:
    if scope.op == "All":
        return frozenset(Action)
    named = {e.id for e in (scope.entity, *scope.entities) if e is not None}
    if scope.op not in {"==", "in"} or named - set(
        Action
    ):  # an action group of a foreign schema would hide its members
        raise ValueError(f"the scope of a policy names no known action: {scope.op} {sorted(named)}")
    return frozenset(Action(name) for name in named)


def _prepared(rules: list[Rule]) -> cedarpy.PolicySet:
    policies = {f"policy{number}": msgspec.Raw(rule.document) for number, rule in enumerate(rules)}
    whole = {"staticPolicies": policies, "templates": {}, "templateLinks": []}
    return cedarpy.PolicySet.from_str(cedarpy.policies_from_json_str(_encode(whole).decode("utf-8")))


def _key(rule: Rule) -> _Key | None:
    """What a question must hold for the rule to match, if that can be told from its scope or its first comparison."""
    policy = msgspec.json.decode(rule.document, type=_Policy)
    for scope, path in ((policy.principal, "principal.id"), (policy.resource, "resource.name")):
        entity = scope.entity
        if scope.op in {"==", "in"} and entity is not None and not scope.entities:
            if entity.type == "Role" and scope.op == "in" and path == "principal.id":
                return "role", _distinct(entity.id)
            if entity.type == {"principal.id": "Principal", "resource.name": "Resource"}[path]:
                return path, _distinct(entity.id)  # nothing has such parents, so "in" is "=="
    return _first(policy)


def _first(policy: _Policy) -> _Key | None:
    if policy.conditions and policy.conditions[0].kind == "when":
        return _comparison(_conjuncts(policy.conditions[0].body)[0])
    return None


def contradicts(rule: Rule) -> str:
    """Why the conditions of a rule can never hold, as far as comparisons and truth values tell; empty where they may."""
    asked: dict[str, str] = {}
    for condition in msgspec.json.decode(rule.document, type=_Policy).conditions:
        if condition.body == {"Value": condition.kind == "unless"}:
            return f"its {condition.kind} is never met"
        for part in _conjuncts(condition.body) if condition.kind == "when" else ():
            if part == {"Value": False}:
                return "its when is never met"
            compared = _comparison(part)
            if compared is not None and asked.setdefault(*compared) != compared[1]:
                return f"{compared[0]} cannot be two things"
    return ""


def _conjuncts(body: object) -> list[object]:
    """What must hold for `body` to hold, in the order in which it is asked."""
    if isinstance(body, dict) and "&&" in body:
        return _conjuncts(body["&&"]["left"]) + _conjuncts(body["&&"]["right"])
    return [body]


def _comparison(body: object) -> _Key | None:
    """Path and literal of `a.b == literal`."""
    if not isinstance(body, dict) or "==" not in body:
        return None
    left, right = body["=="]["left"], body["=="]["right"]
    try:
        attribute, literal = left["."], right["Value"]
        path = f"{attribute['left']['Var']}.{attribute['attr']}"
    except (KeyError, TypeError):
        return None
    return (path, _distinct(literal)) if isinstance(literal, str | bool | int) else None


def _distinct(value: object) -> str:
    """A dictionary takes True for 1; Cedar does not."""
    return f"{type(value).__name__ if isinstance(value, bool | int) else 'text'}:{value}"


def _speaks_of_names(rule: Rule) -> bool:
    """Whether the rule could tell two resources of one kind apart. Rather once too often: then the cache knows more."""
    text = msgspec.json.encode(msgspec.json.decode(rule.document))
    return b'"type":"Resource"' in text or b'"attr":"name"' in text
