"""Code that stands in a model: who runs it, and what it reaches.

`runs` in the detail of a fact says when: `load` (loading the model runs it, unasked), `use` (somebody asks for it, as by
`trust_remote_code=True`, or uses the part it belongs to), `never` (an example that nothing of the model names). A reader
that knows more adds `text` (Python source, which is then parsed here), or `reaches` (names of dangerous functions,
separated by spaces) with `when`: `import` where importing the module is enough, `call` otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.facts import Fact, FactKind, Facts, found, found_as
from fastness.models.scan.python_code import Reach, is_hard, reach_of
from fastness.models.scan.rules import MAPS

_CODE_MAPS = {**MAPS, "cwe": "CWE-94", "atlas": "AML.T0011.000"}
DANGEROUS = Rule(
    "code-dangerous", "Code that reaches dangerous functions when it is imported or loaded", Severity.HIGH,
    "It starts programs, runs text as code, opens connections or deletes files without anybody calling it.",
    "Do not load it. Read the code, and use the model without it (trust_remote_code=False).", _CODE_MAPS,
)  # fmt: skip
PRESENT = Rule(
    "code-in-model", "Code stands in the model", Severity.MEDIUM,
    "Code of a model runs with the rights of whoever loads it, and says what the model does.",
    "Read the code, pin its revision, and have a second person confirm it; or use the model without it.", _CODE_MAPS,
)  # fmt: skip
ASIDE = Rule(
    "code-aside", "Code lies beside the model", Severity.LOW,
    "Nothing in the model names it, so that loading the model does not run it.",
    "Leave it out of what is deployed.", _CODE_MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (DANGEROUS, PRESENT, ASIDE)


@dataclass(frozen=True)
class Code:
    """Judges code by when it runs and what it reaches."""

    name: ClassVar[str] = "code"
    wants: ClassVar[AbstractSet[FactKind]] = frozenset({FactKind.CODE})

    def check(self, facts: Facts) -> Iterator[Finding]:
        """One finding for each piece of code."""
        for fact in facts.of(FactKind.CODE):
            yield _judged(fact)


def _judged(fact: Fact) -> Finding:
    runs, language = str(fact.detail.get("runs", "load")), str(fact.detail.get("language", ""))
    reach = _reach(fact)
    what = ascii(fact.name[:120])[1:-1] + (f" ({ascii(language[:40])[1:-1]})" if language else "")
    names = ", ".join(ascii(name[:60])[1:-1] for name in (*reach.at_import, *reach.in_calls)[:6])
    message = f"{what} reaches {names}" if names else what
    evidence: dict[str, str] = {"runs": runs} | ({"reaches": names} if names else {})
    at_once = bool(reach.at_import) or (runs == "load" and any(is_hard(name) for name in reach.in_calls))
    if runs == "never":
        if at_once:
            return found_as(Severity.MEDIUM, DANGEROUS, fact, message, **evidence)
        return found(ASIDE, fact.source, fact.offset, message, **evidence)
    return found(DANGEROUS if at_once else PRESENT, fact.source, fact.offset, message, **evidence)


def _reach(fact: Fact) -> Reach:
    names = tuple(dict.fromkeys(str(fact.detail.get("reaches", "")).split()))
    told = Reach(names, ()) if fact.detail.get("when", "import") == "import" else Reach((), names)
    if "text" not in fact.detail:
        return told
    read = reach_of(str(fact.detail["text"]))
    return Reach((*told.at_import, *read.at_import), (*told.in_calls, *read.in_calls))


CHECK = Code
