"""Jinja templates that using the model renders, judged by their syntax tree."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.facts import FactKind, Facts, found
from fastness.models.scan.rules import MAPS, undecided

_INJECTION = {**MAPS, "cwe": "CWE-1336", "atlas": "AML.T0011.000"}
_PROMPT = {**MAPS, "owasp-llm": "LLM01:2025", "atlas": "AML.T0051.001"}
UNREADABLE = undecided(
    "template-unreadable", "A template that cannot be read",
    "What cannot be parsed cannot be vouched for, and other engines may read it.", "Correct the template, or remove it.",
)  # fmt: skip
ESCAPE = Rule(
    "template-escapes", "A template that reaches out of its values", Severity.CRITICAL,
    "From any value such names lead to Python's own inside; rendered without a sandbox, the template runs commands.",
    "Do not load it. Write the template with the plain fields of messages only.", _INJECTION,
)  # fmt: skip
BUILT_NAME = Rule(
    "template-built-name", "A template that puts names together", Severity.MEDIUM,
    "Names that are put together hide what is reached; a chat's fields have fixed names.",
    "Read the template, and write the names out.", _INJECTION,
)  # fmt: skip
UNUSUAL = Rule(
    "template-unusual", "A template that uses what others do not", Severity.MEDIUM,
    "It calls or reaches something that chats do not have; whoever renders it may give it more than it shows.",
    "Read the template, and compare it with the one of the original model.", _INJECTION,
)  # fmt: skip
INCLUDE = Rule(
    "template-include", "A template that loads others", Severity.MEDIUM,
    "What it loads is not in this file, and was not scanned with it.", "Write the other template into this one.", _INJECTION,
)  # fmt: skip
COSTLY = Rule(
    "template-costly", "A template that may take forever", Severity.MEDIUM,
    "Rendering it can hold up the server with a single request.",
    "Remove the loop or the size; chats need none.", {**MAPS, "cwe": "CWE-400", "owasp-llm": "LLM10:2025"},
)  # fmt: skip
TRIGGER = Rule(
    "template-trigger", "A template with text for certain words only", Severity.MEDIUM,
    "The model is given other instructions when a message holds the word: a back door that needs no change of weights.",
    "Read what is added and when, and compare with the template of the original model.", _PROMPT,
)  # fmt: skip
HIDDEN_TEXT = Rule(
    "template-hidden-text", "A template with hidden characters or orders", Severity.MEDIUM,
    "It gives the model instructions that the user is not to see.",
    "Remove them, or use the template of the original model.", _PROMPT,
)  # fmt: skip

RULES: tuple[Rule, ...] = (UNREADABLE, ESCAPE, BUILT_NAME, UNUSUAL, INCLUDE, COSTLY, TRIGGER, HIDDEN_TEXT)

_RULE_OF = {
    "unreadable": UNREADABLE,
    "escape": ESCAPE,
    "built name": BUILT_NAME,
    "unusual": UNUSUAL,
    "include": INCLUDE,
    "costly": COSTLY,
    "trigger": TRIGGER,
    "hidden text": HIDDEN_TEXT,
}
"""By the values of `templates.Sin`."""
_MOST = 40


@dataclass(frozen=True)
class Templates:
    """Judges templates; what one of them holds many times is told once a line."""

    name: ClassVar[str] = "templates"
    wants: ClassVar[AbstractSet[FactKind]] = frozenset({FactKind.TEMPLATE})

    def check(self, facts: Facts) -> Iterator[Finding]:
        """The findings of each template, the worst kinds first."""
        from fastness.models.scan.templates import look_at  # brings Jinja, which most scans never need

        for fact in facts.of(FactKind.TEMPLATE):
            met = sorted(look_at(str(fact.detail.get("text", ""))), key=lambda one: -_RULE_OF[one.sin].severity)
            if (
                fact.detail.get("only") == "escape"
            ):  # a text that may be no template: braces alone are nobody's business
                met = [one for one in met if one.sin == "escape"]
            for one in met[:_MOST]:
                message = f"{ascii(fact.name[:80])[1:-1]}, line {one.line}: {one.what}"
                yield found(_RULE_OF[one.sin], fact.source, fact.offset, message, line=one.line)


CHECK = Templates
