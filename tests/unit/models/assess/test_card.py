"""Scores are shares of what passed; what was not run counts as failed unless an allowance names it."""

from __future__ import annotations

import msgspec
import pytest

from fastness.core.errors import Invalid
from fastness.core.settings import InvalidSetting, load
from fastness.core.signature import Datatype, ModelSignature, TensorSpec
from fastness.models.assess import AssessSettings, Measure, ReportCard, excused, scores

SIGNATURE = ModelSignature((TensorSpec("x", Datatype.FP32, (-1,)),), (TensorSpec("y", Datatype.FP32, (-1,)),))


def card(*measures: tuple[str, str, str]) -> ReportCard:
    return ReportCard(
        tuple(Measure(name, area, state, float(state == "passed")) for name, area, state in measures), SIGNATURE
    )


CARD = card(
    ("loads", "security", "passed"), ("finite", "security", "failed"), ("robustness", "security", "not-run"),
    ("poisoning", "security", "not-run"), ("membership-privacy", "privacy", "not-run"), ("memory", "performance", "passed"),
)  # fmt: skip


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        (set(), {"security": 0.25, "privacy": 0.0, "performance": 1.0}),
        ({"robustness"}, {"security": 0.5, "privacy": 0.0, "performance": 1.0}),
        ({"robustness", "poisoning"}, {"security": 0.75, "privacy": 0.0, "performance": 1.0}),
        ({"membership-privacy"}, {"security": 0.25, "privacy": 1.0, "performance": 1.0}),
        ({"finite"}, {"security": 0.25, "privacy": 0.0, "performance": 1.0}),
        ({"loads", "no-such-check"}, {"security": 0.25, "privacy": 0.0, "performance": 1.0}),
    ],
)
def test_scores(allowed: set[str], expected: dict[str, float]) -> None:
    assert scores(CARD, allowed) == expected


def test_only_what_was_not_run_is_excused() -> None:
    assert excused(CARD, {"finite", "loads", "robustness"}) == ["robustness"]


def test_an_empty_card_scores_nothing() -> None:
    assert scores(card(), {"loads"}) == {"security": 0.0, "privacy": 0.0, "performance": 0.0}


def test_a_score_claimed_by_what_was_not_run_does_not_count() -> None:
    lying = ReportCard((Measure("robustness", "security", "not-run", 1.0),), SIGNATURE)
    assert scores(lying, set())["security"] == 0.0


@pytest.mark.parametrize(
    ("area", "score", "value"), [("speed", 1.0, None), ("security", 1.1, None), ("security", 1.0, float("nan"))]
)
def test_a_measure_that_cannot_be_is_refused(area: str, score: float, value: float | None) -> None:
    with pytest.raises(Invalid, match="measure-"):
        Measure("m", area, "passed", score, value)


def test_a_card_survives_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(CARD), type=ReportCard) == CARD
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"name":"m","area":"security","state":"waived","score":1}', type=Measure)


@pytest.mark.parametrize("key", ["rounds", "rows", "timeout_s", "latency_s", "single_ms", "batch_ms", "memory_mib"])
def test_settings_out_of_range_stop(key: str) -> None:
    with pytest.raises(InvalidSetting):
        load(AssessSettings, None, {}, {key: "0"})
