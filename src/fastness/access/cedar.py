"""Cedar, through cedarpy: rules from texts, and what they say of one question.

Cedar's cost is linear in the rules it is handed, so it is handed few: those whose scope takes in the action and, where an
action has many, only those that could match. They are looked up by what must hold for them to match (`guards.py`); what has
no guard is always asked. Where many are left, a sieve is asked first: one rule for each lot of them, which holds where any of
the lot does, for Cedar takes longer to begin with a rule than with a condition. Only lots that hold, or all where anything
errs, are then asked rule by rule. Cedar itself answers throughout, and since rules do not see each other, the answers of the
parts together are the answer of the whole set (`tests/property/test_access_rules.py` holds that against Cedar on whole random sets).

Source: Cutler et al., "Cedar: A New Language for Expressive, Fast, Safe, and Analyzable Authorization", OOPSLA 2024,
sections 3 (semantics) and 5 (policy slicing).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import cedarpy
import msgspec

from fastness.access.cedar_text import require_bounded
from fastness.access.guards import ROLE, Atom, Guard, Scope, condition, distinct, either, guards, read_policy, share
from fastness.core.errors import Invalid
from fastness.core.identity import Action, Obligation, Principal, Role

UNNAMED: Final = "*"
_ANNOTATIONS: Final = frozenset({"id", "says", "obliges"})
_UNDIVIDED: Final = 48  # as many rules cost Cedar about as much as two calls
_LOT: Final = 16  # rules that one of the sieve stands for: fewer make the sieve dear, more what is asked after it
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
        narrow: its scope or a guard of it names a principal or a role.
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


class _PolicySet(msgspec.Struct, frozen=True, rename="camel"):
    static_policies: dict[str, msgspec.Raw]
    templates: dict[str, msgspec.Raw] = {}
    template_links: list[msgspec.Raw] = []


class Rules:
    """The rules of some texts, checked, and prepared for questions.

    Args:
        texts: file name to Cedar text.
        schema: Cedar schema text.
        undivided: as many rules of an action are asked in one piece; a sieve is worth its while for twice as many.
        lot: rules that one of a sieve stands for.

    Attributes:
        by_id: the rules, in the order of their files.
        named: whether any rule could tell two resources of one kind apart.

    Raises:
        Invalid: `policies-empty`, `policies-large`, or `policies-unloadable` with what is wrong.
    """

    def __init__(self, texts: Mapping[str, str], schema: str, undivided: int = _UNDIVIDED, lot: int = _LOT) -> None:
        require_bounded(texts)
        try:
            self._schema = cedarpy.Schema.from_str(schema)
            self.by_id = _by_id(rule for file, text in texts.items() for rule in _parsed(file, text, self._schema))
            self.named = any(_speaks_of_names(rule) for rule in self.by_id.values())
            self._ruling = {a: _Index(self._of(a, lifted=False), undivided, lot) for a in Action}
            lifted = {a: rules for a in Action if (rules := self._of(a, lifted=True))}
            self._lifted = {a: _Index(rules, undivided, lot) for a, rules in lifted.items()}
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
            rule.id: _asked(_prepared([rule.document]), question, entities, self._schema)
            for rule in self.by_id.values()
            if question.action in rule.actions
        }


_SILENT = Answer(frozenset(), frozenset())


class _Facts:
    """Values by path, read once from the question and only where an index asks for them."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._values: dict[str, object] = {}

    def get(self, path: str) -> tuple[object, ...]:
        """The value at a path such as `context.tenant`; empty where there is none."""
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
        return (self._values[path],) if path in self._values else ()


class _Index:
    """The rules of one action, in groups by what must hold for them to match."""

    def __init__(self, rules: list[Rule], undivided: int, lot: int) -> None:
        told = {rule.id: guards(read_policy(rule.document)) if len(rules) > undivided else [] for rule in rules}
        sizes = Counter(atom for each in told.values() for guard in each for atom in guard)

        def asked_with(guard: Guard) -> tuple[float, list[Atom]]:
            return sum(sizes[atom] * share(atom) for atom in guard), sorted(guard)

        always: list[Rule] = []
        groups: dict[Atom, list[Rule]] = {}
        for rule in rules:
            guard = min(told[rule.id], key=asked_with, default=None)
            known = sum(sizes[atom] * share(atom) for atom in guard or () if share(atom) < 1)
            if guard is None or 2 * known > len(rules):  # nearly all would be asked with it
                always.append(rule)
                continue
            for atom in guard:
                groups.setdefault(atom, []).append(rule)
        self._always = _Group(always, undivided, lot)
        self._groups = {atom: _Group(group, undivided, lot) for atom, group in groups.items()}
        self._paths = tuple(sorted({atom.path for atom in groups}))
        self._lengths = {
            path: tuple(sorted({len(atom.value) for atom in groups if atom.starts and atom.path == path}))
            for path in self._paths
        }

    def ask(self, question: Question, entities: cedarpy.Entities, schema: cedarpy.Schema, facts: _Facts) -> Answer:
        """Ask the groups that could match, and put together what they say.

        The first, of no guard, is always asked: it is refused by what does not fit the schema.
        """
        answer = self._always.ask(question, entities, schema)
        if not self._groups:
            return answer
        atoms = (atom for path in self._paths for atom in self._atoms(path, question, facts))
        return _joined(
            [answer, *(group.ask(question, entities, schema) for atom in atoms if (group := self._groups.get(atom)))]
        )

    def _atoms(self, path: str, question: Question, facts: _Facts) -> Iterator[Atom]:
        """What holds of the question at a path, as far as any rule asks."""
        for value in question.roles if path == ROLE else facts.get(path):
            yield Atom(path, False, distinct(value))
            if isinstance(value, str):
                yield from (Atom(path, True, value[:n]) for n in self._lengths[path] if n <= len(value))


class _Group:
    """Rules that are asked together: all at once if they are few, else through a sieve."""

    def __init__(self, rules: Sequence[Rule], undivided: int, lot: int) -> None:
        self._whole = _prepared([rule.document for rule in rules])
        self._lots: list[cedarpy.PolicySet] = []
        if len(rules) <= 2 * undivided:
            return
        conditions = {rule.id: condition(read_policy(rule.document)) for rule in rules}
        if any(found is None for found in conditions.values()):
            return
        alike = sorted(rules, key=lambda rule: _encode(conditions[rule.id]))  # those that match together, together
        lots = [alike[at : at + lot] for at in range(0, len(alike), lot)]
        try:
            sieve = _prepared(
                [_sieving(number, [conditions[rule.id] for rule in each]) for number, each in enumerate(lots)]
            )
        except (ValueError, RecursionError, msgspec.MsgspecError):  # too deep in one piece: it is asked rule by rule
            return
        self._sieve = sieve
        self._lots = [_prepared([rule.document for rule in each]) for each in lots]

    def ask(self, question: Question, entities: cedarpy.Entities, schema: cedarpy.Schema) -> Answer:
        """What the rules say."""
        if not self._lots:
            return _asked(self._whole, question, entities, schema)
        held = _asked(self._sieve, question, entities, schema)
        if held.errors or 3 * len(held.permits) > len(self._lots):
            return _asked(self._whole, question, entities, schema)
        return _joined([_asked(self._lots[int(number)], question, entities, schema) for number in sorted(held.permits)])


def _sieving(number: int, conditions: list[object]) -> bytes:
    """Cedar's JSON of a rule that holds where any of the conditions does."""
    any_of = {"kind": "when", "body": either(conditions)}
    everything = {"op": "All"}
    return _encode(
        {
            "effect": "permit", "principal": everything, "action": everything, "resource": everything,
            "conditions": [any_of], "annotations": {"id": str(number)},
        }
    )  # fmt: skip


def _joined(answers: list[Answer]) -> Answer:
    forbids = frozenset[str]().union(*(a.forbids for a in answers))
    permits = frozenset[str]() if forbids else frozenset[str]().union(*(a.permits for a in answers))
    return Answer(permits, forbids, tuple(error for a in answers for error in a.errors))


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
    policy = read_policy(document)
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
        policy.principal.op not in {"All", "is"} or any(_names_principals(guard) for guard in guards(policy)),
        not policy.conditions and policy.resource.op == "All",
        document,
    )


def _names_principals(guard: Guard) -> bool:
    return bool(guard) and all(atom.path == "principal.id" and not atom.starts for atom in guard)


def _by_id(rules: Iterable[Rule]) -> dict[str, Rule]:
    found: dict[str, Rule] = {}
    for rule in rules:
        if rule.id in found:
            raise ValueError(f"two policies are called @id({rule.id!r})")
        found[rule.id] = rule
    if not found:
        raise Invalid("policies-empty", "there are no policies, so nothing would be permitted", "Load at least one.")
    return found


def _actions(scope: Scope) -> frozenset[Action]:
    if scope.op == "All":
        return frozenset(Action)
    named = {e.id for e in (scope.entity, *scope.entities) if e is not None}
    if scope.op not in {"==", "in"} or named - set(
        Action
    ):  # an action group of a foreign schema would hide its members
        raise ValueError(f"the scope of a policy names no known action: {scope.op} {sorted(named)}")
    return frozenset(Action(name) for name in named)


def _prepared(documents: list[bytes]) -> cedarpy.PolicySet:
    policies = {f"policy{number}": msgspec.Raw(document) for number, document in enumerate(documents)}
    whole = {"staticPolicies": policies, "templates": {}, "templateLinks": []}
    return cedarpy.PolicySet.from_str(cedarpy.policies_from_json_str(_encode(whole).decode("utf-8")))


def _speaks_of_names(rule: Rule) -> bool:
    """Whether the rule could tell two resources of one kind apart. Rather once too often: then the cache knows more."""
    text = msgspec.json.encode(msgspec.json.decode(rule.document))
    return b'"type":"Resource"' in text or b'"attr":"name"' in text
