"""What holds for every stage of the guard, those of tomorrow too."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping

import numpy as np
import pytest

from fastness.core.findings import Decision
from fastness.core.signature import Datatype, ModelSignature, TensorSpec
from fastness.guard import PASSED, Checked, Fact, Message, Side, rules, stages

SIGNATURE = ModelSignature(
    (TensorSpec("X", Datatype.FP32, (-1, 4), low=0, high=16),),
    (TensorSpec("p", Datatype.FP32, (-1, 3), low=0, high=1),),
    probabilities="p",
    min_confidence=0.5,
)
FACTS: Mapping[str, Fact] = {}

HOSTILE: dict[str, dict[str, np.ndarray]] = {
    "empty": {},
    "no elements": {"X": np.zeros((0, 4), np.float32), "p": np.zeros((0, 3), np.float32)},
    "scalars": {"X": np.array(1, np.float32), "p": np.array(1, np.float32)},
    "rank 8": {"X": np.zeros((1,) * 8, np.float32), "p": np.zeros((1,) * 8, np.float32)},
    "nan": {"X": np.full((2, 4), np.nan, np.float32), "p": np.full((2, 3), np.nan, np.float32)},
    "infinity": {"X": np.full((2, 4), np.inf, np.float32), "p": np.full((2, 3), -np.inf, np.float32)},
    "bytes that are not UTF-8": {"X": np.array([b"\xff\xfe"], object), "p": np.array([b"\xff"], object)},
    "booleans": {"X": np.ones((2, 4), np.bool_), "p": np.ones((2, 3), np.bool_)},
    "whole numbers": {"X": np.full((2, 4), -(2**63)), "p": np.full((2, 3), 2**63 - 1)},
    "half precision": {"X": np.full((2, 4), 65504, np.float16), "p": np.full((2, 3), 6e-8, np.float16)},
    "complex": {"X": np.full((2, 4), 1j), "p": np.full((2, 3), 1j)},
    "objects": {"X": np.array([[object()]], object), "p": np.array([[None]], object)},
    "strided": {"X": np.zeros((8, 8), np.float32)[::4, ::2], "p": np.ones((4, 6), np.float32)[::2, ::2]},
    "unaligned": {"X": np.frombuffer(b"\0" * 33, "<f4", 8, 1).reshape(2, 4), "p": np.zeros((2, 3), np.float32)},
    "hostile names": {"\x00../../etc": np.zeros(1), "X" * 256: np.zeros(1), "p\u202e": np.zeros(1)},
}


@pytest.mark.parametrize("name", stages())
@pytest.mark.parametrize("side", [Side.INPUT, Side.OUTPUT])
@pytest.mark.parametrize("case", HOSTILE)
def test_a_stage_answers_and_changes_nothing(name: str, side: Side, case: str) -> None:
    stage = stages()[name]()
    tensors = {key: tensor.copy() for key, tensor in HOSTILE[case].items()}
    for tensor in tensors.values():
        tensor.flags.writeable = False
    message = Message(dict(tensors), 10, SIGNATURE, dict.fromkeys(stage.needs, ""), side)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checked = stage.check(message, message.facts)
    assert isinstance(checked, Checked)
    assert checked.verdict.decision in Decision
    assert message.tensors == tensors
    known = {rule.id for rule in rules()}
    for finding in checked.verdict.findings:
        assert finding.rule in known
        assert finding.message
        assert len(finding.message) < 1000
    if checked.verdict.decision is Decision.DENY:
        assert checked.verdict.findings


@pytest.mark.parametrize("name", stages())
def test_a_stage_is_pure(name: str) -> None:
    stage = stages()[name]()
    message = Message(HOSTILE["nan"], 10, SIGNATURE, dict.fromkeys(stage.needs, ""))
    assert stage.check(message, message.facts) == stage.check(message, message.facts)


@pytest.mark.parametrize("name", stages())
@pytest.mark.parametrize("side", [Side.INPUT, Side.OUTPUT])
def test_a_stage_passes_what_fits(name: str, side: Side) -> None:
    stage = stages()[name]()
    tensors = {"X": np.ones((2, 4), np.float32)} if side is Side.INPUT else {"p": np.ones((2, 3), np.float32)}
    message = Message(tensors, 10, SIGNATURE, dict.fromkeys(stage.needs, ""), side)
    if stage.side in {side, Side.BOTH}:
        checked = stage.check(message, message.facts)
        assert checked is PASSED or checked.verdict.decision is Decision.ALLOW


@pytest.mark.parametrize("name", stages())
def test_a_huge_message_takes_linear_time(name: str) -> None:
    """Generous, for it asks only that nothing is done for each element in Python: 4 million of them."""
    stage = stages()[name]()
    message = Message({"X": np.ones((1_000_000, 4), np.float32)}, 16_000_000, SIGNATURE, dict.fromkeys(stage.needs, ""))
    start = time.process_time()
    stage.check(message, message.facts)
    assert time.process_time() - start < 1.0


def test_rules_are_complete_and_unique() -> None:
    found = rules()
    ids = [rule.id for rule in found]
    assert len(set(ids)) == len(ids)
    for rule in found:
        assert rule.title
        assert rule.why
        assert rule.fix
        assert rule.id == rule.id.lower().replace("_", "-")
