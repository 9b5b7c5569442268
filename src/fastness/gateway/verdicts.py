"""What follows from a verdict of the guard on the live path: through, or the error that says what to change."""

from __future__ import annotations

from fastness.core.errors import FastnessError, Invalid, TooLarge, Unavailable
from fastness.core.findings import Decision, Finding, Severity, Verdict
from fastness.gateway.record import Request
from fastness.guard import rules


class Verdicts:
    """Turns verdicts into refusals.

    Args:
        allow_review: let pass what asks for a review; the findings stand in the event.
    """

    def __init__(self, *, allow_review: bool) -> None:
        self._worst_allowed = Decision.REVIEW if allow_review else Decision.ALLOW
        self._rules = {rule.id: rule for rule in rules()}

    def pass_input(self, request: Request, verdict: Verdict) -> None:
        """Return if a request may go on.

        Raises:
            Invalid, TooLarge: it is wrong.
            Unavailable: it could not be checked.
        """
        request.findings = verdict.findings
        if verdict.decision <= self._worst_allowed:
            return
        finding = _worst(verdict)
        rule = self._rules.get(finding.rule)
        if rule is not None and rule.incomplete:
            raise Unavailable(finding.rule, "the request could not be checked, so it is refused", rule.fix)
        kind: type[FastnessError] = TooLarge if finding.rule == "tensor-size" else Invalid
        raise kind(finding.rule, finding.message, rule.fix if rule is not None else "")

    def pass_output(self, request: Request, verdict: Verdict) -> None:
        """Return if a reply may leave.

        Raises:
            Invalid: the model is not confident; another input may fare better.
            Unavailable: the reply is not what the model declares, or could not be checked.
        """
        request.findings += verdict.findings
        if verdict.decision <= self._worst_allowed:
            return
        finding = _worst(verdict)
        rule = self._rules.get(finding.rule)
        fix = rule.fix if rule is not None else ""
        if finding.rule.startswith("confidence-"):
            raise Invalid(finding.rule, finding.message, fix)
        raise Unavailable("answer-refused", f"the model's answer is refused ({finding.rule}: {finding.message})", fix)


def _worst(verdict: Verdict) -> Finding:
    refused = Finding("guard-refused", Severity.HIGH, "message", "refused without a finding")
    return max(verdict.findings, key=lambda finding: finding.severity, default=refused)
