"""All rules on one page, as Markdown: what each role may do, what nobody may do, and what asks for more."""

from __future__ import annotations

from collections.abc import Iterable

from fastness.access.cedar import Rule
from fastness.access.decisions import Policies
from fastness.core.identity import Action, Role


def page(policies: Policies) -> str:
    """The page of a set of rules; every rule stands on it once, with its sentence."""
    rules = list(policies.rules.by_id.values())
    parts = [
        "# Who may do what",
        f"Version `{policies.version}`. Nothing is permitted that no rule permits, and a rule that forbids outweighs all that permit.",
        "## What is permitted",
        _table(rule for rule in rules if rule.effect == "permit"),
        "## What is forbidden, whatever the roles",
        _table(rule for rule in rules if rule.effect == "forbid" and not rule.lifted),
        "## What asks for more",
        _table(rule for rule in rules if rule.lifted),
        "## Actions by role",
        _matrix([rule for rule in rules if rule.effect == "permit"]),
    ]
    return "\n\n".join(parts) + "\n"


def _table(rules: Iterable[Rule]) -> str:
    lines = ["| rule | says | actions | obliges | file |", "|---|---|---|---|---|"]
    for rule in rules:
        actions = "all" if rule.actions == frozenset(Action) else ", ".join(sorted(rule.actions))
        says = rule.says + ("" if rule.unconditional else " *(with conditions)*")
        cells = (f"`{rule.id}`", says, actions, rule.obliges or "", rule.file)
        lines.append("| " + " | ".join(_cell(text) for text in cells) + " |")
    return "\n".join(lines)


def _matrix(permits: list[Rule]) -> str:
    lines = ["| action | " + " | ".join(Role) + " |", "|---|" + "---|" * len(Role)]
    for action in Action:
        cells = [_mark(action, role, permits) for role in Role]
        lines.append(f"| {action} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _mark(action: Action, role: Role, permits: list[Rule]) -> str:
    """x: by the role alone; o: under conditions, or for everybody under conditions; empty: not at all."""
    found = [rule for rule in permits if action in rule.actions and (role in rule.roles or not rule.roles)]
    if any(rule.unconditional for rule in found):
        return "x"
    return "o" if found else ""


def _cell(text: str) -> str:
    """A text of a policy file as one cell: no line, column or markup of its own."""
    flat = " ".join(text.split())
    return flat.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
