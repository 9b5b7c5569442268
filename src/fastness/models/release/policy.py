"""Does a version meet the policy of an environment? Pure: measures, thresholds and allowances in, verdict out.

The score of an area is `models.assess.scores`: the share of its measures that passed. A check that was not run counts
as failed unless an allowance that holds names it. A check that was run and failed is not excused by anything.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache

from fastness.access import approvals
from fastness.core.clock import SECOND, Instant
from fastness.core.findings import Finding, Rule, Severity, Verdict, judge
from fastness.core.signature import Datatype, ModelSignature, TensorSpec
from fastness.models.assess import Measure, ReportCard, scores
from fastness.models.release.granting import Allowance
from fastness.models.release.parts import EnvironmentPolicy
from fastness.models.scan import rules as scan_rules

DENIED = Rule(
    "policy-denied",
    "A score is below the threshold of the environment",
    Severity.HIGH,
    "What was not measured, or measured badly, may fail in service.",
    "Have the checks named run, mend the model and push again, or ask a security officer for an allowance.",
)
EXPIRED = Rule(
    "allowance-expired",
    "A score is below the threshold since an allowance expired",
    Severity.HIGH,
    "An allowance is for a while only; what it stood in for was never measured.",
    "Have the checks named run, or ask a security officer for a new allowance.",
)
USED = Rule(
    "policy-allowance-used",
    "A check was not run and an allowance stands in for it",
    Severity.INFO,
    "Somebody took the risk on themselves, for a while and for a reason.",
    "Have the check run before the allowance expires.",
)
ASSESS_FAILED = Rule(
    "assess-failed",
    "The model does not do in the sandbox what a model has to do",
    Severity.HIGH,
    "A model that does not load, or does not answer as declared, fails in service.",
    "Run the model on the declared inputs before pushing it; correct the declaration, or export it again.",
)
RULES = (ASSESS_FAILED, DENIED, EXPIRED, USED)
NOT_RUN = "not-run"

_NOTHING = TensorSpec("unknown", Datatype.BYTES, (-1,))
NOTHING_KNOWN = ModelSignature((_NOTHING,), (_NOTHING,))
"""The signature where there is none, or none that can be read."""


@cache
def _rules_by_id() -> dict[str, Rule]:
    return {rule.id: rule for rule in (*scan_rules(), *approvals.RULES, *RULES)}


def fix_of(rule: str) -> str:
    """What to do about findings of this rule; empty for codes of errors, which carry their own hint."""
    known = _rules_by_id().get(rule)
    return known.fix if known is not None else ""


def judge_measures(
    measures: Sequence[Measure], policy: EnvironmentPolicy, granted: Sequence[Allowance], now: Instant
) -> Verdict:
    """Whether each area reaches its threshold; `score` is the lowest of them.

    Args:
        measures: what was measured, and what was not.
        policy: the thresholds, and whether allowances count.
        granted: the allowances of the environment, expired ones too.
        now: when they must hold.
    """
    standing = [a for a in granted if policy.allowances and a.holds(now)]
    gone = {name for a in granted if policy.allowances and now >= a.expires_at * SECOND for name in a.measures}
    excused = excuses(measures, standing)
    scored = area_scores(measures, excused)
    findings = [_used(name, allowance) for name, allowance in excused.items()]
    for area, threshold in policy.thresholds.items():
        if scored[area] < threshold:
            short = [m for m in measures if m.area == area and m.name not in excused and not _passed(m)]
            lapsed = gone & {m.name for m in short if m.state == NOT_RUN}
            findings.append(_low(EXPIRED if lapsed else DENIED, area, (scored[area], threshold), short))
    verdict = judge(findings)
    return Verdict(verdict.decision, verdict.findings, min(scored.values()))


def excuses(measures: Sequence[Measure], standing: Sequence[Allowance]) -> dict[str, Allowance]:
    """Check that was not run to the allowance that stands in for it, of several the one that lasts longest."""
    not_run = {m.name for m in measures if m.state == NOT_RUN}
    return {
        name: allowance
        for allowance in sorted(standing, key=lambda a: a.expires_at)
        for name in allowance.measures
        if name in not_run
    }


def area_scores(measures: Sequence[Measure], excused: Collection[str]) -> dict[str, float]:
    """The score of each area, in [0, 1]; what is excused counts as passed."""
    return scores(ReportCard(tuple(measures), NOTHING_KNOWN), frozenset(excused))


def _passed(measure: Measure) -> bool:
    return measure.state != NOT_RUN and measure.score >= 1


def _low(rule: Rule, area: str, scored: tuple[float, float], short: Sequence[Measure]) -> Finding:
    why = "; ".join(f"{m.name} {m.state}" + (f" ({m.detail})" if m.detail else "") for m in short)
    message = f"{area} is {scored[0]:.2f}, below {scored[1]:.2f}: {why or 'nothing was measured'}"
    evidence: dict[str, str | int | float] = {"score": round(scored[0], 4), "threshold": scored[1]}
    return Finding(rule.id, rule.severity, f"policy:{area}", message, evidence)


def _used(name: str, allowance: Allowance) -> Finding:
    message = f"{name} was not run; {allowance.granted_by} allows it in {allowance.environment}: {allowance.reason}"
    evidence: dict[str, str | int | float] = {"allowance": allowance.id, "expires_at": allowance.expires_at}
    return Finding(USED.id, USED.severity, f"measure:{name}", message, evidence)
