"""Why a decision is as it is: which rules matched, which could have, and what would have to change.

What would have to change is found by trying: each role more, a second factor, another author or owner, a credential without
narrowing; and pairs of these, where no single one would do. So it is what the rules do, not what somebody reads into them.

Cost: each rule is asked by itself and each change is decided anew, some milliseconds: for people who ask why, not for requests.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from fastness.access.cedar import UNNAMED, Answer, Question, Rule
from fastness.access.decisions import AccessDecision, Context, Policies, decide, effective_roles
from fastness.core.clock import Instant
from fastness.core.identity import Action, Obligation, Principal, PrincipalId, PrincipalKind, Resource, Role, Strength

_ANOTHER = "user:somebody-else"
_Value = str | int | bool
_CARRIED = (Obligation.TWO_PERSONS, Obligation.MASK, Obligation.LOG)


class Said(NamedTuple):
    """A rule that spoke, or could have.

    Attributes:
        matched: its scope and conditions hold.
        error: what went wrong in it, or empty.
    """

    rule: str
    effect: str
    says: str
    obliges: Obligation | None
    matched: bool
    error: str


class Change(NamedTuple):
    """What would have to be otherwise, such as `principal.roles` and `+operator`."""

    attribute: str
    to: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with its reasons.

    Attributes:
        decision: as `decide` gives it.
        said: the rules about this action, those that matched first, forbids before permits.
        changes: the smallest sets of changes that would turn a refusal; none for a yes, or where none of two would.
    """

    decision: AccessDecision
    said: tuple[Said, ...]
    changes: tuple[tuple[Change, ...], ...]


class _Asked(NamedTuple):
    principal: Principal
    context: dict[str, _Value]


def explain(
    principal: Principal,
    action: Action,
    resource: Resource,
    context: Context,
    policies: Policies,
    now: Instant | None = None,
) -> Explanation:
    """Why `decide` answers as it does to the same question."""
    asked = _Asked(principal, dict(context))
    decision = decide(principal, action, resource, context, policies, now)
    said = tuple(_said(asked, action, resource, policies))
    changes: tuple[tuple[Change, ...], ...] = ()
    if not decision.carrying(*_CARRIED).allow:
        changes = tuple(_changes(asked, action, resource, policies, now))
    return Explanation(decision, said, changes)


def _said(asked: _Asked, action: Action, resource: Resource, policies: Policies) -> list[Said]:
    name = resource.id if policies.rules.named else UNNAMED
    roles = effective_roles(asked.principal, resource)
    try:
        shown = msgspec.json.encode(asked.context)
        answers = policies.rules.ask_each(Question(asked.principal, roles, action, resource.kind, name, shown))
    except (ValueError, TypeError):  # the decision says what does not fit
        return []
    found = [_one(policies.rules.by_id[rule], answer) for rule, answer in answers.items()]
    return sorted(found, key=lambda each: (not each.matched, each.effect, each.rule))


def _one(rule: Rule, answer: Answer) -> Said:
    matched = bool(answer.permits or answer.forbids)
    return Said(rule.id, rule.effect, rule.says, rule.obliges, matched, "; ".join(answer.errors))


def _changes(
    asked: _Asked, action: Action, resource: Resource, policies: Policies, now: Instant | None
) -> list[tuple[Change, ...]]:
    def allowed(steps: tuple[tuple[Change, _Step], ...]) -> bool:
        tried = asked
        for _, step in steps:
            tried = step.apply(tried)
        decision = decide(tried.principal, action, resource, tried.context, policies, now)
        return decision.carrying(*_CARRIED).allow

    steps = list(_steps(asked, now))
    for size in (1, 2):
        found = [tuple(change for change, _ in few) for few in itertools.combinations(steps, size) if allowed(few)]
        if found:
            return found
    return []


class _Step(NamedTuple):
    """One change to a question: fields of the principal, or of the context."""

    principal: dict[str, object]
    context: dict[str, _Value]
    role: Role | None = None

    def apply(self, asked: _Asked) -> _Asked:
        principal = msgspec.structs.replace(asked.principal, **self.principal)
        if self.role is not None:
            principal = msgspec.structs.replace(principal, roles=principal.roles | {self.role})
        return _Asked(principal, asked.context | self.context)


def _steps(asked: _Asked, now: Instant | None) -> Iterator[tuple[Change, _Step]]:
    who = asked.principal
    for role in Role:
        if role not in who.roles:
            yield Change("principal.roles", f"+{role}"), _Step({}, {}, role)
    better: list[tuple[str, str, object, str]] = [
        ("principal.strength", "strength", max(who.strength, Strength.MFA), "mfa"),
        ("principal.kind", "kind", PrincipalKind.USER, "user"),
        ("principal.actor", "actor", PrincipalId(""), "nobody"),
        ("principal.signed", "signed", True, "true"),
        ("principal.certified", "certified", True, "true"),
        ("credential.actions", "actions", None, "all"),
        ("credential.models", "models", None, "all"),
    ]
    if now is not None:
        better.append(("principal.stepped_up_at", "stepped_up_at", now, "now"))
    for attribute, field, value, to in better:
        if getattr(who, field) != value:
            yield Change(attribute, to), _Step({field: value}, {})
    for name, value in asked.context.items():
        for other in _others(name, value, who):
            yield Change(f"context.{name}", str(other)), _Step({}, {name: other})


def _others(name: str, value: _Value, who: Principal) -> list[_Value]:
    """What an attribute of the context could be instead."""
    if isinstance(value, bool):
        return [not value]
    known: dict[str, list[_Value]] = {
        "tenant": [who.tenant],
        "author": [who.id, _ANOTHER],
        "owner": [who.id, _ANOTHER],
    }
    return [other for other in known.get(name, []) if other != value]
