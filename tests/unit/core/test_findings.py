"""Findings and verdicts: the worst decides, nothing gets lost."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.findings import (
    ALLOWED,
    Decision,
    Finding,
    Rule,
    Severity,
    Verdict,
    combine,
    decision_of,
    judge,
)

FINDINGS = st.builds(Finding, st.text(max_size=8), st.sampled_from(Severity), st.text(max_size=8), st.text(max_size=8))
VERDICTS = st.builds(
    Verdict,
    st.sampled_from(Decision),
    st.lists(FINDINGS, max_size=3).map(tuple),
    st.none() | st.floats(0, 1),
)


@pytest.mark.parametrize(
    ("severity", "decision"),
    [
        (Severity.INFO, Decision.ALLOW),
        (Severity.LOW, Decision.ALLOW),
        (Severity.MEDIUM, Decision.REVIEW),
        (Severity.HIGH, Decision.DENY),
        (Severity.CRITICAL, Decision.DENY),
    ],
)
def test_what_each_severity_asks_for(severity: Severity, decision: Decision) -> None:
    assert decision_of(severity) == decision


def test_every_severity_has_its_case_above() -> None:
    assert len(Severity) == 5


def test_decisions_are_ordered_from_good_to_bad() -> None:
    assert Decision.ALLOW < Decision.REVIEW < Decision.DENY


def test_no_findings_allow() -> None:
    assert judge([]) == ALLOWED == Verdict(Decision.ALLOW, (), None)


@given(st.lists(FINDINGS, max_size=6))
def test_the_worst_finding_decides_and_all_are_kept(findings: list[Finding]) -> None:
    verdict = judge(iter(findings))
    assert verdict.findings == tuple(findings)
    assert verdict.decision == decision_of(max((f.severity for f in findings), default=Severity.INFO))


def test_no_verdicts_combine_to_allow_without_a_score() -> None:
    assert combine([]) == ALLOWED


@given(st.lists(VERDICTS, max_size=5))
def test_combining_takes_the_worst_the_lowest_score_and_every_finding(verdicts: list[Verdict]) -> None:
    seen = combine(iter(verdicts))
    assert seen.decision == max((v.decision for v in verdicts), default=Decision.ALLOW)
    assert seen.findings == tuple(f for v in verdicts for f in v.findings)
    scores = [v.score for v in verdicts if v.score is not None]
    assert seen.score == (min(scores) if scores else None)


@given(VERDICTS, VERDICTS, VERDICTS)
def test_combining_may_be_done_in_steps(a: Verdict, b: Verdict, c: Verdict) -> None:
    assert combine([combine([a, b]), c]) == combine([a, combine([b, c])]) == combine([a, b, c])


@given(st.lists(VERDICTS, min_size=1), VERDICTS)
def test_one_more_verdict_never_makes_it_better(verdicts: list[Verdict], more: Verdict) -> None:
    assert combine([*verdicts, more]).decision >= combine(verdicts).decision


def test_findings_and_rules_cannot_be_changed() -> None:
    finding = Finding("rule", Severity.LOW, "here", "seen")
    rule = Rule("rule", "title", Severity.LOW, "why", "fix")
    assert not rule.incomplete
    for thing in (finding, rule, ALLOWED):
        name = dataclasses.fields(thing)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(thing, name, "other")
