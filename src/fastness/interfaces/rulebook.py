"""Every rule that can be found, from all floors: for the list of rules, and for what a finding says about mending it."""

from __future__ import annotations

from fastness.access import duties, policysets, reviews
from fastness.core.findings import Finding, Rule
from fastness.guard import rules as guard_rules
from fastness.models.release import views
from fastness.wire.control import FindingView


def access_rules() -> tuple[Rule, ...]:
    """The rules about rules, and about who holds which roles. Those of approvals are among the rules of releases."""
    return (*policysets.findings.RULES, *policysets.cases.RULES, *duties.RULES, *reviews.RULES)


def all_rules() -> list[Rule]:
    """All of them, by id."""
    return sorted((*views.rules(), *guard_rules(), *access_rules()), key=lambda rule: rule.id)


def finding_view(finding: Finding) -> FindingView:
    """A finding of `access_rules` or of approvals, with what to do about it."""
    fixes = {rule.id: rule.fix for rule in access_rules()}
    shown = views.finding_view(finding)
    return FindingView(
        shown.rule, shown.severity, shown.where, shown.message, fixes.get(finding.rule, shown.fix), shown.evidence
    )
