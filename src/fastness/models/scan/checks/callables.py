"""What loading a pickle would import, call and change, judged by the reviewed data."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.facts import Fact, FactKind, Facts, found
from fastness.models.scan.machine import Standing
from fastness.models.scan.rules import PICKLE_MAPS, SAFE_FORMAT

DANGEROUS_CALL = Rule(
    "pickle-dangerous-call", "Loading it runs a dangerous function", Severity.CRITICAL,
    "Whoever loads the file runs this call with their own rights: it is how malicious models take over machines.",
    f"Do not load it, and tell whoever published it. {SAFE_FORMAT}", PICKLE_MAPS,
)  # fmt: skip
DANGEROUS_GLOBAL = Rule(
    "pickle-dangerous-global", "It holds a dangerous function", Severity.HIGH,
    "The function is not called while loading, but it stands in the object, where using the model can call it.",
    f"Do not load it. {SAFE_FORMAT}", PICKLE_MAPS,
)  # fmt: skip
COMPUTED_CALL = Rule(
    "pickle-computed-call", "Loading it calls something computed", Severity.HIGH,
    "What is called is the result of another call, so that the file does not say what will run.",
    f"Do not load it. {SAFE_FORMAT}", PICKLE_MAPS,
)  # fmt: skip
DOTTED_NAME = Rule(
    "pickle-dotted-name", "An imported name with dots", Severity.HIGH,
    "A dotted name walks from an object to its attributes, and so from a harmless module to any other.",
    f"Save the model without nested classes. {SAFE_FORMAT}", PICKLE_MAPS,
)  # fmt: skip
TAMPERING = Rule(
    "pickle-tampering", "Loading it changes an imported object", Severity.HIGH,
    "Giving a state to an imported function, class or module changes it for the whole process.",
    f"Do not load it. {SAFE_FORMAT}", PICKLE_MAPS,
)  # fmt: skip
UNKNOWN_CALL = Rule(
    "pickle-unknown-call", "Loading it calls something unknown", Severity.MEDIUM,
    "The callable is not among the reviewed ones; it may do anything when it is called.",
    f"Look at what the callable does, and have a second person confirm it. {SAFE_FORMAT}", PICKLE_MAPS,
)  # fmt: skip
UNKNOWN_GLOBAL = Rule(
    "pickle-unknown-global", "It imports something unknown", Severity.MEDIUM,
    "Importing runs the module's code, and the class is not among the reviewed ones.",
    f"Look at what the class does, and have a second person confirm it. {SAFE_FORMAT}", PICKLE_MAPS,
)  # fmt: skip
DANGEROUS_CODE = Rule(
    "pickle-dangerous-code", "It holds a function that reaches for the machine", Severity.HIGH,
    "A function is written into the file as code, and the code names what starts programs, opens connections or evaluates texts.",
    f"Do not load it. Save the model without its functions. {SAFE_FORMAT}", {**PICKLE_MAPS, "cwe": "CWE-94"},
)  # fmt: skip
UNUSUAL_CALL = Rule(
    "pickle-unusual-call", "A known callable, used in an unusual way", Severity.MEDIUM,
    "The callable is reviewed for other arguments, or for being named only; used this way it may do more.",
    f"Compare with what the library itself writes. {SAFE_FORMAT}", PICKLE_MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (
    DANGEROUS_CALL, DANGEROUS_GLOBAL, DANGEROUS_CODE, COMPUTED_CALL, DOTTED_NAME, TAMPERING, UNKNOWN_CALL, UNKNOWN_GLOBAL,
    UNUSUAL_CALL,
)  # fmt: skip

_CALLS = {
    Standing.DANGEROUS: DANGEROUS_CALL,
    Standing.COMPUTED: COMPUTED_CALL,
    Standing.DOTTED: DOTTED_NAME,
    Standing.UNKNOWN: UNKNOWN_CALL,
    Standing.MISUSED: UNUSUAL_CALL,
}
_IMPORTS = {
    Standing.DANGEROUS: DANGEROUS_GLOBAL,
    Standing.DOTTED: DOTTED_NAME,
    Standing.UNKNOWN: UNKNOWN_GLOBAL,
}


@dataclass(frozen=True)
class Callables:
    """Judges imports, calls, changes and the names in code; an import that is also called is told once, as the call."""

    name: ClassVar[str] = "callables"
    wants: ClassVar[AbstractSet[FactKind]] = frozenset({FactKind.IMPORT, FactKind.CALL, FactKind.TAMPER, FactKind.CODE})

    def check(self, facts: Facts) -> Iterator[Finding]:
        """One finding for each call, change or import that is not reviewed."""
        called = set()
        for fact in facts.of(FactKind.CALL):
            rule = _CALLS.get(_standing(fact))
            if rule is not None:
                called.add(fact.name)
                yield _finding(rule, fact, f"would run {_shown(fact)}({fact.detail['arguments']})")
        for fact in facts.of(FactKind.TAMPER):
            yield _finding(TAMPERING, fact, f"would change {_shown(fact)}")
        for fact in facts.of(FactKind.CODE):
            if fact.detail.get("standing") == Standing.DANGEROUS:
                yield _finding(DANGEROUS_CODE, fact, f"holds {_shown(fact)}")
        for fact in facts.of(FactKind.IMPORT):
            rule = _IMPORTS.get(_standing(fact))
            if rule is not None and fact.name not in called:
                yield _finding(rule, fact, f"imports {_shown(fact)}")


def _standing(fact: Fact) -> Standing:
    return Standing(int(fact.detail["standing"]))


def _shown(fact: Fact) -> str:
    """The name as it can be printed: it comes from the file."""
    return ascii(fact.name[:120])[1:-1]


def _finding(rule: Rule, fact: Fact, message: str) -> Finding:
    opcode = str(fact.detail["opcode"])
    text = f"{opcode} at byte {fact.offset} {message}"
    chain = {"chain": fact.detail["chain"]} if "chain" in fact.detail else {}
    return found(rule, fact.source, fact.offset, text, opcode=opcode, callee=_shown(fact), **chain)


CHECK = Callables
