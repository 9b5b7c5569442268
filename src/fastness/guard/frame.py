"""The frame in which stages run: in order, the first refusal ends it, and whatever cannot be decided is refused."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Protocol

import numpy as np

from fastness.core.errors import Invalid
from fastness.core.findings import ALLOWED, Decision, Finding, Rule, Severity, Verdict, combine
from fastness.core.signature import ModelSignature, TensorSpec

_log = logging.getLogger(__name__)

Fact = str | int | float | bool
Tensors = Mapping[str, np.ndarray]


class Side(StrEnum):
    """On which way a stage stands."""

    INPUT = "input"
    OUTPUT = "output"
    BOTH = "both"


@dataclass(slots=True)
class Message:
    """What is checked: the working copy of one request or reply.

    Attributes:
        tensors: by name; a stage does not change them, the guard puts its edits in their place.
        size_bytes: of the body they came in, or were made of.
        signature: what the model declares.
        specs: what is declared for the side.
        facts: what the caller knows, such as the label of the data; a stage names those that it needs.
    """

    tensors: Tensors
    size_bytes: int
    signature: ModelSignature
    facts: Mapping[str, Fact] = field(default_factory=dict)
    side: Side = Side.INPUT
    specs: tuple[TensorSpec, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.stand_on(self.side)

    def stand_on(self, side: Side) -> None:
        """Be judged on `side`."""
        self.side = side
        self.specs = self.signature.outputs if side is Side.OUTPUT else self.signature.inputs


@dataclass(frozen=True, slots=True)
class Checked:
    """What a stage says: its verdict, and tensors to be put in the place of those it saw."""

    verdict: Verdict
    edits: Tensors = field(default_factory=dict)


PASSED = Checked(ALLOWED)
"""The answer of a stage that has nothing to say; to be returned itself, so that passing costs nothing."""


class Stage(Protocol):
    """One check. A pure function of its settings, the message and the facts: no I/O, no clock, no memory."""

    name: ClassVar[str]
    side: ClassVar[Side]
    needs: ClassVar[frozenset[str]]

    def check(self, message: Message, known: Mapping[str, Fact], /) -> Checked:
        """Judge `message`; `known` holds at least the facts in `needs`."""
        ...


RULES = (
    Rule(
        "guard-empty",
        "No stage stands on this way",
        Severity.HIGH,
        "A guard without stages would let everything through.",
        "Name at least one stage for the input and one for the output in the settings.",
        {"cwe": "CWE-636"},
        incomplete=True,
    ),
    Rule(
        "guard-stage-failed",
        "A stage failed while it checked",
        Severity.HIGH,
        "What could not be checked is refused; an error must not open the way.",
        "Look for the error in the log of the gateway, by the id of the request, and report it.",
        {"cwe": "CWE-636"},
        incomplete=True,
    ),
    Rule(
        "guard-fact-missing",
        "A stage needs a fact that is not known",
        Severity.HIGH,
        "The stage could only guess.",
        "Provide the fact, or take the stage out of the settings.",
        {"cwe": "CWE-636"},
        incomplete=True,
    ),
)


class Guard:
    """The stages of both ways, in order.

    Args:
        stages: each stands on the way, or ways, of its `side`.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        names = [stage.name for stage in stages]
        if len(set(names)) != len(names):
            raise Invalid("guard-duplicate", "a stage is named twice", "Name each stage once.")
        self._input = tuple(stage for stage in stages if stage.side is not Side.OUTPUT)
        self._output = tuple(stage for stage in stages if stage.side is not Side.INPUT)

    def check_input(self, message: Message) -> Verdict:
        """The verdict on a request, edits applied to `message.tensors`."""
        message.stand_on(Side.INPUT)
        return _run(self._input, message)

    def check_output(self, message: Message) -> Verdict:
        """The verdict on a reply, edits applied to `message.tensors`."""
        message.stand_on(Side.OUTPUT)
        return _run(self._output, message)


def _run(stages: Sequence[Stage], message: Message) -> Verdict:
    if not stages:
        return _undecided("guard-empty", "guard", f"no stage stands on the {message.side}")
    spoken: list[Verdict] = []
    for stage in stages:
        if stage.needs and not stage.needs <= message.facts.keys():
            missing = ", ".join(sorted(stage.needs - message.facts.keys()))
            spoken.append(_undecided("guard-fact-missing", stage.name, f"the stage needs to know: {missing}"))
            break
        try:
            checked = stage.check(message, message.facts)
        except Exception:  # the boundary of the stages: whatever one raises, the request is refused
            _log.exception("stage %s failed", stage.name)
            spoken.append(_undecided("guard-stage-failed", stage.name, "the stage failed; refused"))
            break
        if checked is PASSED:
            continue
        spoken.append(checked.verdict)
        if checked.verdict.decision is Decision.DENY:
            break
        if checked.edits:
            message.tensors = {**message.tensors, **checked.edits}
    return combine(spoken) if spoken else ALLOWED


def _undecided(rule: str, where: str, message: str) -> Verdict:
    return Verdict(Decision.DENY, (Finding(rule, Severity.HIGH, where, message),))
