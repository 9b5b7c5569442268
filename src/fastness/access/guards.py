"""What must hold for a rule to match, as far as its text tells without Cedar: what it is looked up by.

A guard is some comparisons of which one at least must hold, such as `resource.name == "digits"` or `resource.name like "face-*"`.
Where none holds the rule can neither match nor err: a scope never errs, `&&` stops at the first false, and before the guard
stand only parts that cannot err. That they cannot rests on what `cedar.py` always tells of a principal and a resource, and for `context`
on Cedar's validator: it lets a rule read an attribute only where every context has it, or after `has` said so.

What it misses: all that is not a comparison of one attribute with a literal. Such rules are simply asked.

Source: Cutler et al., "Cedar: A New Language for Expressive, Fast, Safe, and Analyzable Authorization", OOPSLA 2024,
sections 3 (semantics), 4 (validation) and 5 (policy slicing).
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from fastness.core.identity import PrincipalKind, Strength

ROLE: Final = "role"
_TEXT: Final = frozenset(
    {"principal.id", "principal.kind", "principal.tenant", "principal.actor", "resource.kind", "resource.name"}
)
_DOMAINS: Final[Mapping[str, tuple[str | int | bool, ...]]] = {
    "principal.kind": tuple(kind.value for kind in PrincipalKind),
    "principal.strength": tuple(int(strength) for strength in Strength),
    "principal.signed": (False, True),
    "principal.certified": (False, True),
}
_ORDERS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TURNED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_MOST_ATOMS: Final = 64


class Atom(NamedTuple):
    """What is compared with what.

    Attributes:
        path: such as `resource.name`, or `ROLE`.
        starts: the value begins so; otherwise it is so.
        value: as `distinct` writes it, or the beginning.
    """

    path: str
    starts: bool
    value: str


Guard = frozenset[Atom]
"""Of these one must hold."""


class _Entity(msgspec.Struct, frozen=True):
    type: str
    id: str


class Scope(msgspec.Struct, frozen=True):
    """Of whom, what or which action a policy speaks."""

    op: str
    entity: _Entity | None = None
    entities: tuple[_Entity, ...] = ()


class _Condition(msgspec.Struct, frozen=True):
    kind: str
    body: Any


class Policy(msgspec.Struct, frozen=True):
    """One policy in Cedar's JSON."""

    effect: str
    principal: Scope
    action: Scope
    resource: Scope
    conditions: tuple[_Condition, ...] = ()
    annotations: dict[str, str | None] = {}


read_policy = msgspec.json.Decoder(Policy).decode


def distinct(value: object) -> str:
    """A dictionary takes True for 1; Cedar does not."""
    return f"{type(value).__name__ if isinstance(value, bool | int) else 'text'}:{value}"


def guards(policy: Policy) -> list[Guard]:
    """All that can be told of a policy, the scope's first."""
    found = list(_of_scope(policy))
    for part in _parts(policy):
        guard = _guard(part)
        if guard is not None and len(guard) <= _MOST_ATOMS:
            found.append(guard)
        if not _cannot_err(part):
            break
    return found


def share(atom: Atom) -> float:
    """Of how many questions an atom may hold, at most: all where its path may have any value."""
    return 1 / len(_DOMAINS.get(atom.path, "?"))


def conjuncts(body: object) -> list[object]:
    """What must hold for `body` to hold, in the order in which it is asked."""
    if isinstance(body, dict) and "&&" in body:
        return conjuncts(body["&&"]["left"]) + conjuncts(body["&&"]["right"])
    return [body]


def contradicts(document: bytes) -> str:
    """Why the conditions of a policy can never hold, as far as its comparisons tell; empty where they may."""
    conditions = read_policy(document).conditions
    for condition in conditions:
        if condition.body == {"Value": condition.kind == "unless"}:
            return f"its {condition.kind} is never met"
    parts = [part for condition in conditions if condition.kind == "when" for part in conjuncts(condition.body)]
    if {"Value": False} in parts:
        return "its when is never met"
    asked: dict[str, Guard] = {}
    for guard in map(_guard, parts):
        if guard == frozenset():
            return "what it compares cannot be"
        path = _one_path(guard) if guard else ""
        if guard and path and not asked.setdefault(path, guard) & guard:
            return f"{path} cannot be that"
    return ""


def _of_scope(policy: Policy) -> Iterator[Guard]:
    for scope, kind, path in (
        (policy.principal, "Principal", "principal.id"),
        (policy.resource, "Resource", "resource.name"),
    ):
        entity = scope.entity
        if scope.op not in {"==", "in"} or entity is None:
            continue
        if entity.type == kind:
            yield _is(path, entity.id)  # nothing has such parents, so "in" is "=="
        elif entity.type == "Role" and kind == "Principal" and scope.op == "in":
            yield _is(ROLE, entity.id)


def _parts(policy: Policy) -> Iterator[object]:
    for condition in policy.conditions:
        if condition.kind == "when":
            yield from conjuncts(condition.body)
        else:
            yield {"!": {"arg": condition.body}}


def _node(body: object) -> tuple[str, Any]:
    """The operator of an expression and what it is applied to."""
    if isinstance(body, dict) and len(body) == 1:
        ((name, rest),) = body.items()
        return name, rest
    return "", None


def _guard(part: object) -> Guard | None:
    """The guard that `part` is, if it is one."""
    match _node(part):
        case ("==" | "<" | "<=" | ">" | ">=") as relation, {"left": left, "right": right}:
            return _compared(left, relation, right)
        case "contains", {"left": {"Set": [*members]}, "right": right}:
            return _listed(_path(right), [_literal(member) for member in members])
        case "like", {"left": left, "pattern": [*pattern]}:
            return _begun(_path(left), pattern)
        case "||", {"left": left, "right": right}:
            one, other = _guard(left), _guard(right)
            return None if one is None or other is None else one | other
        case "!", {"arg": arg}:
            return _turned(_guard(arg))
        case ".", _ if _DOMAINS.get(_path(part)) == (False, True):
            return _is(_path(part), True)
    return None


def _is(path: str, *values: object) -> Guard:
    return frozenset(Atom(path, False, distinct(value)) for value in values)


def _compared(left: object, relation: str, right: object) -> Guard | None:
    if not _path(left):
        left, relation, right = right, _TURNED.get(relation, relation), left
    path, literal = _path(left), _literal(right)
    if not path or literal is None:
        return None
    if relation == "==":
        return _is(path, literal)
    if path != "principal.strength" or type(literal) is not int:
        return None
    return _is(path, *(value for value in _DOMAINS[path] if _ORDERS[relation](value, literal)))


def _listed(path: str, literals: list[str | int | bool | None]) -> Guard | None:
    return _is(path, *literals) if path and None not in literals else None


def _turned(guard: Guard | None) -> Guard | None:
    """What holds where `guard` does not; None where that is no guard."""
    path = _one_path(guard) if guard else ""
    return _is(path, *_DOMAINS[path]) - guard if guard and path in _DOMAINS else None


def _one_path(guard: Guard) -> str:
    """The path whose values a guard lists; empty where there is more to it."""
    paths = {"" if atom.starts else atom.path for atom in guard}
    return paths.pop() if len(paths) == 1 else ""


def _begun(path: str, pattern: list[object]) -> Guard | None:
    """What a text that is like `pattern` begins with."""
    beginning = "".join(text for _, text in itertools.takewhile(lambda part: part[0] == "Literal", map(_node, pattern)))
    return frozenset({Atom(path, True, beginning)}) if path and beginning else None


def _cannot_err(part: object) -> bool:
    """Whether `part` cannot err, if all before it held."""
    match _node(part):
        case (("==" | "!="), {"left": left, "right": right}):
            return _is_plain(left) and _is_plain(right)
        case (("&&" | "||"), {"left": left, "right": right}):
            return _cannot_err(left) and _cannot_err(right)
        case "!", {"arg": arg}:
            return _cannot_err(arg)
        case "in", {"left": {"Var": _}, "right": {"Value": {"__entity": _}}}:
            return True
        case "like", {"left": left}:
            return _path(left) in _TEXT
        case ("Value", bool()) | ("is", {"left": {"Var": _}}) | ("has", {"left": {"Var": _}}):
            return True
    return _guard(part) is not None


def _is_plain(body: object) -> bool:
    return _node(body)[0] in {"Var", "Value"} or bool(_path(body))


def _path(body: object) -> str:
    """`principal.id` and the like, if `body` reads one attribute that the question has; else empty."""
    match _node(body):
        case ".", {"left": {"Var": str(variable)}, "attr": str(name)}:
            path = f"{variable}.{name}"
            return path if variable == "context" or path in _TEXT or path in _DOMAINS else ""
    return ""


def _literal(body: object) -> str | int | bool | None:
    name, value = _node(body)
    return value if name == "Value" and isinstance(value, str | int | bool) else None


def condition(policy: Policy) -> object | None:
    """When the policy matches an action of its scope, as one expression; None where its scope is of a form not known here."""
    parts: list[object] = []
    for scope, variable in ((policy.principal, "principal"), (policy.resource, "resource")):
        if scope.op in {"==", "in"} and scope.entity is not None:
            entity = {"__entity": {"type": scope.entity.type, "id": scope.entity.id}}
            parts.append({scope.op: {"left": {"Var": variable}, "right": {"Value": entity}}})
        elif scope.op != "All":
            return None
    parts += _parts(policy)
    whole: object = {"Value": True}
    for place, part in enumerate(parts):
        whole = part if place == 0 else {"&&": {"left": whole, "right": part}}
    return whole


def either(bodies: list[object]) -> object:
    """Whether any of the expressions holds; no deeper than it must be."""
    if len(bodies) == 1:
        return bodies[0]
    half = len(bodies) // 2
    return {"||": {"left": either(bodies[:half]), "right": either(bodies[half:])}}
