"""The plug-ins that are shipped, and the union of their rules."""

from __future__ import annotations

import sys
from functools import cache

from fastness.core.errors import Conflict, Invalid
from fastness.core.findings import Rule
from fastness.core.plugins import discover
from fastness.models.scan import checks, layouts, readers
from fastness.models.scan.facts import Check, Layout, Reader
from fastness.models.scan.rules import RULES
from fastness.models.scan.witnesses import RULES as WITNESSED


@cache
def all_readers() -> tuple[Reader, ...]:
    """One of each reader, by name."""
    return tuple(kind() for kind in discover(readers, "READER").values())


@cache
def all_layouts() -> tuple[Layout, ...]:
    """One of each layout, by name."""
    return tuple(kind() for kind in discover(layouts, "LAYOUT").values())


@cache
def all_checks() -> tuple[Check, ...]:
    """One of each check, by name."""
    return tuple(kind() for kind in discover(checks, "CHECK").values())


@cache
def promises() -> tuple[dict[str, frozenset[str]], int]:
    """The plug-ins that a name's suffix speaks of, and the length of the longest suffix."""
    speaking: dict[str, frozenset[str]] = {}
    plugins: tuple[Reader | Layout, ...] = (*all_readers(), *all_layouts())
    for plugin in plugins:
        for suffix in plugin.suffixes:
            speaking[suffix] = speaking.get(suffix, frozenset()) | {plugin.name}
    return speaking, max(map(len, speaking))


@cache
def _by_id() -> dict[str, Rule]:
    found: dict[str, Rule] = {}
    plugins: list[Reader | Layout | Check] = [*all_readers(), *all_layouts(), *all_checks()]
    for rule in (*RULES, *WITNESSED, *(rule for plugin in plugins for rule in _rules_beside(plugin))):
        if rule.id in found:
            raise Conflict("rule-duplicate", f"two rules are called {rule.id!r}")
        found[rule.id] = rule
    return found


def _rules_beside(plugin: Reader | Layout | Check) -> tuple[Rule, ...]:
    module = sys.modules[type(plugin).__module__]
    beside = getattr(module, "RULES", None)
    if not isinstance(beside, tuple):
        raise Invalid("plugin-rules", f"{module.__name__} has no tuple RULES")
    return beside


def rules() -> tuple[Rule, ...]:
    """Every rule that a scan can raise, by id.

    Raises:
        Conflict: two share an id.
        Invalid: a plug-in has no rules.
    """
    return tuple(sorted(_by_id().values(), key=lambda rule: rule.id))


def rule_of(id: str) -> Rule:  # noqa: A002 - the name of the field of Rule
    """The rule of that id.

    Raises:
        KeyError: there is none, which is a fault of the plug-in that raised it.
    """
    return _by_id()[id]
