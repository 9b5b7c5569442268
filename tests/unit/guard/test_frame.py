from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from fastness.core.findings import ALLOWED, Decision, Finding, Severity, judge
from fastness.core.signature import Datatype, ModelSignature, TensorSpec
from fastness.guard import PASSED, Checked, Fact, Guard, Message, Side

SIGNATURE = ModelSignature((TensorSpec("X", Datatype.FP32, (-1,)),), (TensorSpec("y", Datatype.FP32, (-1,)),))


def message(**facts: Fact) -> Message:
    return Message({"X": np.zeros(2, np.float32)}, 8, SIGNATURE, facts)


class Stands:
    """A stage that says what it is told to."""

    name: ClassVar[str] = "stands"
    side: ClassVar[Side] = Side.BOTH
    needs: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, answer: Checked | Exception = PASSED) -> None:
        self.answer = answer
        self.seen: list[Message] = []

    def check(self, message: Message, known: Mapping[str, Fact], /) -> Checked:
        self.seen.append(message)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Second(Stands):
    name: ClassVar[str] = "second"


class Knows(Stands):
    name: ClassVar[str] = "knows"
    needs: ClassVar[frozenset[str]] = frozenset({"label"})


def test_an_empty_guard_refuses_both_ways() -> None:
    for verdict in (Guard([]).check_input(message()), Guard([]).check_output(message())):
        assert verdict.decision is Decision.DENY
        assert [f.rule for f in verdict.findings] == ["guard-empty"]


def test_a_guard_without_an_output_stage_refuses_outputs() -> None:
    @dataclass(frozen=True)
    class Input:
        name: ClassVar[str] = "input"
        side: ClassVar[Side] = Side.INPUT
        needs: ClassVar[frozenset[str]] = frozenset()

        def check(self, message: Message, known: Mapping[str, Fact], /) -> Checked:
            return PASSED

    guard = Guard([Input()])
    assert guard.check_input(message()).decision is Decision.ALLOW
    assert guard.check_output(message()).decision is Decision.DENY


@pytest.mark.parametrize("error", [ValueError("4111"), ZeroDivisionError(), MemoryError(), RecursionError()])
def test_a_stage_that_raises_refuses_and_is_logged(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    verdict = Guard([Stands(error)]).check_input(message())
    assert verdict.decision is Decision.DENY
    assert [(f.rule, f.where) for f in verdict.findings] == [("guard-stage-failed", "stands")]
    assert "4111" not in verdict.findings[0].message
    assert "stands failed" in caplog.text


def test_a_missing_fact_refuses_and_a_known_one_is_given() -> None:
    stage = Knows()
    verdict = Guard([stage]).check_input(message())
    assert [f.rule for f in verdict.findings] == ["guard-fact-missing"]
    assert not stage.seen
    assert Guard([stage]).check_input(message(label="Internal")).decision is Decision.ALLOW


def test_the_first_refusal_ends_it() -> None:
    deny = Checked(judge([Finding("r", Severity.HIGH, "X", "no")]))
    later = Second()
    assert Guard([Stands(deny), later]).check_input(message()).decision is Decision.DENY
    assert not later.seen


def test_findings_below_a_refusal_are_kept_and_the_worst_decides() -> None:
    info = Checked(judge([Finding("a", Severity.INFO, "X", "hm")]))
    review = Checked(judge([Finding("b", Severity.MEDIUM, "X", "look")]))
    verdict = Guard([Stands(info), Second(review)]).check_input(message())
    assert verdict.decision is Decision.REVIEW
    assert [f.rule for f in verdict.findings] == ["a", "b"]


def test_later_stages_see_the_edits_and_the_caller_gets_them() -> None:
    clipped = np.ones(2, np.float32)
    later = Second()
    given = message()
    before = given.tensors
    assert Guard([Stands(Checked(ALLOWED, {"X": clipped})), later]).check_input(given).decision is Decision.ALLOW
    assert later.seen[0].tensors["X"] is clipped
    assert given.tensors["X"] is clipped
    assert before["X"].tolist() == [0, 0]
