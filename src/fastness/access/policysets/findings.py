"""What is to be said of a tenant's own rules before anybody approves them.

They are added to those shipped and cannot replace one: a shipped forbid outweighs whatever they permit. What is looked for is
what would still be wrong: rules that cannot load, that take a shipped name, that open the house to everybody, that put into one
role what two must do, or that can never apply.

What it misses: conditions are read only as far as `a == literal` and plain truth values go; test the rest by cases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fastness.access.cedar import Rule as Policy
from fastness.access.decisions import Policies
from fastness.access.duties import ACTS
from fastness.access.guards import contradicts
from fastness.core.errors import Invalid
from fastness.core.findings import Finding, Rule, Severity, Verdict, judge
from fastness.core.identity import Action, Role

UNLOADABLE = Rule(
    "policies-unloadable",
    "The rules do not load",
    Severity.HIGH,
    "Rules that do not load decide nothing.",
    "Mend the rule named: syntax, an unknown attribute, or a missing @id.",
    incomplete=True,
)
SHADOW = Rule(
    "policy-shadows",
    "A rule takes the name of a shipped one",
    Severity.HIGH,
    "The record names rules by their ids; two of one name could not be told apart.",
    "Give it another @id.",
)
WILDCARD = Rule(
    "policy-wildcard",
    "A rule permits everything, or permits to everybody",
    Severity.HIGH,
    "An administrator of everything is checked by nobody.",
    "Name the role and the actions.",
    {"cwe": "CWE-732"},
)
TOXIC = Rule(
    "policy-duties",
    "A role would be permitted what two must do",
    Severity.HIGH,
    "Each of the two checks the other; in one hand neither is checked.",
    "Give one of the actions to another role.",
    {"cwe": "CWE-1317"},
)
UNREACHABLE = Rule(
    "policy-unreachable",
    "A rule never applies",
    Severity.MEDIUM,
    "A rule that never applies gives a false sense of what holds.",
    "Mend its scope or its conditions, or leave it out.",
    {"cwe": "CWE-561"},
)
REDUNDANT = Rule(
    "policy-redundant",
    "A rule permits what is permitted already",
    Severity.LOW,
    "It changes nothing today, and would go on permitting if the other were taken back.",
    "Leave it out.",
)
SILENT = Rule(
    "policy-silent",
    "A rule has no sentence",
    Severity.LOW,
    "Whoever is refused by it is not told why.",
    "Add @says(…).",
)
RULES = (UNLOADABLE, SHADOW, WILDCARD, TOXIC, UNREACHABLE, REDUNDANT, SILENT)
_MANY = len(Action) // 2


def check(texts: Mapping[str, str], shipped: Policies) -> Verdict:
    """What is found in `texts` as an addition to the shipped rules."""
    if not texts:
        return judge(())
    try:
        own = Policies.from_texts(dict(texts)).rules.by_id
    except Invalid as error:
        return judge([_finding(UNLOADABLE, "texts", error.message)])
    theirs = shipped.rules.by_id
    findings = [_finding(SHADOW, name, f"{name} is the name of a shipped rule") for name in own if name in theirs]
    for rule in own.values():
        findings += _of_rule(rule, list(theirs.values()))
    findings += _toxic(own, theirs)
    return judge(findings)


def joined(texts: Mapping[str, str], shipped: Policies) -> Policies:
    """The shipped rules and a tenant's own, as one set.

    Raises:
        Invalid: they do not load together.
    """
    return Policies.from_texts(shipped.texts | {f"own/{name}": text for name, text in texts.items()})


def _of_rule(rule: Policy, shipped: list[Policy]) -> Iterator[Finding]:
    if not rule.says:
        yield _finding(SILENT, rule.id, f"{rule.id} says nothing")
    if why := _never(rule):
        yield _finding(UNREACHABLE, rule.id, f"{rule.id} never applies: {why}")
    elif rule.effect == "permit":
        if len(rule.actions) > _MANY:
            yield _finding(WILDCARD, rule.id, f"{rule.id} permits {len(rule.actions)} of {len(Action)} actions")
        elif not rule.narrow:
            severity = Severity.HIGH if rule.unconditional else Severity.MEDIUM
            message = f"{rule.id} permits to everybody: it begins with neither a role nor a principal"
            yield Finding(WILDCARD.id, severity, f"policy:{rule.id}", message)
        if rule.roles and not rule.obliges and all(_permitted(rule, action, shipped) for action in rule.actions):
            yield _finding(REDUNDANT, rule.id, f"{rule.id} permits what its role may do already")


def _never(rule: Policy) -> str:
    if unknown := rule.roles - set(Role):
        return f"nobody holds the role {min(unknown)!r}"
    if not rule.actions:
        return "it names no action"
    return contradicts(rule.document)


def _permitted(rule: Policy, action: Action, shipped: list[Policy]) -> bool:
    return any(
        each.effect == "permit" and each.unconditional and each.roles == rule.roles and action in each.actions
        for each in shipped
    )


def _toxic(own: Mapping[str, Policy], shipped: Mapping[str, Policy]) -> Iterator[Finding]:
    permits = [rule for rule in (*shipped.values(), *own.values()) if rule.effect == "permit"]
    for role in Role:
        held = [rule for rule in permits if role in rule.roles or (rule.id in own and not rule.narrow)]
        given = {action: rule for rule in reversed(held) for action in rule.actions}
        for pair in ACTS:
            rules = [given[action] for action in (pair.one, pair.two) if action in given]
            if len(rules) == 2 and any(rule.id in own for rule in rules):
                names = " and ".join(sorted({rule.id for rule in rules}))
                message = f"{names} give {role} both {pair.one} and {pair.two}: {pair.why}"
                yield _finding(TOXIC, names, message)


def _finding(rule: Rule, where: str, message: str) -> Finding:
    return Finding(rule.id, rule.severity, f"policy:{where}", message)
