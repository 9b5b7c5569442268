"""Scores are means of named measures; what was not run counts as failed unless an allowance that holds names it."""

from __future__ import annotations

from typing import Literal

import pytest

from fastness.core.clock import SECOND, Instant
from fastness.core.errors import NotFound
from fastness.core.findings import Decision, Verdict
from fastness.core.identity import DEFAULT_TENANT, PrincipalId
from fastness.core.settings import InvalidSetting, load
from fastness.models.assess import Measure
from fastness.models.release import ReleaseSettings
from fastness.models.release.granting import Allowance
from fastness.models.release.parts import EnvironmentPolicy
from fastness.models.release.policy import area_scores, excuses, fix_of, judge_measures

State = Literal["passed", "failed", "not-run"]
NOW = Instant(1_000_000 * SECOND)


def measure(name: str, area: str, state: State = "passed", score: float = 1.0) -> Measure:
    return Measure(name, area, state, score)


def allowance(*measures: str, start: int = 0, end: int = 2_000_000, identifier: str = "a") -> Allowance:
    who = PrincipalId("user:erin")
    return Allowance(DEFAULT_TENANT, identifier, "development", measures, "a reason", who, start, end)


GOOD = (measure("loads", "security"), measure("leaks", "privacy"), measure("latency", "performance"))


def judged(*measures: Measure, granted: tuple[Allowance, ...] = (), policy: EnvironmentPolicy | None = None) -> Verdict:
    return judge_measures(measures, policy or EnvironmentPolicy(), granted, NOW)


def rules(verdict: Verdict) -> list[str]:
    return [f.rule for f in verdict.findings if f.severity]


def test_all_measured_and_passed_is_allowed() -> None:
    verdict = judged(*GOOD)
    assert (verdict.decision, verdict.findings, verdict.score) == (Decision.ALLOW, (), 1.0)


@pytest.mark.parametrize(
    ("area", "scores", "allowed"),
    [
        ("security", (1.0, 0.6), True),
        ("security", (1.0, 0.59), False),
        ("privacy", (0.85,), True),
        ("privacy", (0.84,), False),
        ("performance", (1.0, 0.5), True),
        ("performance", (1.0, 0.49), False),
    ],
)
def test_the_mean_of_each_area_is_held_against_its_threshold(
    area: str, scores: tuple[float, ...], allowed: bool
) -> None:
    others = [m for m in GOOD if m.area != area]
    verdict = judged(*others, *(measure(f"m{i}", area, score=s) for i, s in enumerate(scores)))
    assert (verdict.decision is Decision.ALLOW) == allowed
    assert rules(verdict) == ([] if allowed else ["policy-denied"])


def test_what_was_not_run_counts_as_failed_whatever_score_it_claims() -> None:
    verdict = judged(*GOOD, measure("attack", "security", "not-run", 1.0))
    assert verdict.decision is Decision.DENY
    assert verdict.score == 0.5
    assert "attack not-run" in verdict.findings[0].message


def test_an_area_without_any_measure_is_denied() -> None:
    verdict = judged(*GOOD[:2])
    assert rules(verdict) == ["policy-denied"]
    assert "nothing was measured" in verdict.findings[0].message


def test_an_allowance_stands_in_and_is_told() -> None:
    verdict = judged(*GOOD, measure("attack", "security", "not-run"), granted=(allowance("attack"),))
    assert verdict.decision is Decision.ALLOW
    assert [f.rule for f in verdict.findings] == ["policy-allowance-used"]
    assert verdict.findings[0].evidence["expires_at"] == 2_000_000


def test_an_area_may_pass_by_allowances_alone() -> None:
    measures = (GOOD[0], GOOD[2], measure("leaks", "privacy", "not-run"))
    assert judged(*measures, granted=(allowance("leaks"),)).decision is Decision.ALLOW


def test_an_allowance_does_not_excuse_what_was_run_and_failed() -> None:
    measures = (*GOOD[1:], measure("loads", "security", "failed", 0.0))
    assert rules(judged(*measures, granted=(allowance("loads"),))) == ["policy-denied"]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 1_000_001, []),
        (1_000_000, 1_000_001, []),
        (0, 1_000_000, ["allowance-expired"]),
        (0, 999_999, ["allowance-expired"]),
        (1_000_001, 2_000_000, ["policy-denied"]),
    ],
)
def test_an_allowance_holds_from_its_start_until_just_before_its_end(start: int, end: int, expected: list[str]) -> None:
    measures = (*GOOD, measure("attack", "security", "not-run"))
    assert rules(judged(*measures, granted=(allowance("attack", start=start, end=end),))) == expected


def test_an_environment_may_honour_no_allowances() -> None:
    measures = (*GOOD, measure("attack", "security", "not-run"))
    strict = EnvironmentPolicy(allowances=False)
    assert rules(judged(*measures, granted=(allowance("attack"),), policy=strict)) == ["policy-denied"]


def test_of_several_allowances_the_longest_is_shown() -> None:
    short, long = allowance("attack", end=1_500_000), allowance("attack", end=1_600_000, identifier="b")
    found = excuses([measure("attack", "security", "not-run")], [long, short])
    assert found["attack"].id == "b"


def test_scores_are_given_for_every_area() -> None:
    assert area_scores(GOOD[:1], {}) == {"security": 1.0, "privacy": 0.0, "performance": 0.0}


@pytest.mark.parametrize("rule", ["policy-denied", "allowance-expired", "assess-failed", "approvals-missing"])
def test_every_refusal_says_what_to_do(rule: str) -> None:
    assert fix_of(rule)


def test_an_unknown_rule_has_no_fix() -> None:
    assert not fix_of("no-such-rule")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("production.security", "1.1"),
        ("production.privacy", "-0.1"),
        ("production.approvals", "0"),
        ("serving", "staging"),
        ("staging.security", "1"),
    ],
)
def test_bad_settings_stop_the_start(key: str, value: str) -> None:
    with pytest.raises(InvalidSetting):
        load(ReleaseSettings, None, {}, {key: value})


def test_the_shipped_thresholds() -> None:
    production = ReleaseSettings().environment("production")
    assert production.thresholds == {"security": 0.8, "privacy": 0.85, "performance": 0.75}
    assert production.approvals == 2
    with pytest.raises(NotFound, match="environment-unknown"):
        ReleaseSettings().environment("staging")
