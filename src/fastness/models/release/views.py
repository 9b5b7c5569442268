"""What people and programs are shown of models, as the messages of the control plane.

A version whose signatures do not hold is shown too, with what is wrong as a finding: hiding it would help nobody.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fastness.access import approvals
from fastness.core.clock import SECOND, Instant, rfc3339
from fastness.core.errors import FastnessError, NotFound
from fastness.core.findings import Finding, Rule, Severity
from fastness.foundation.storage import Reading
from fastness.models.registry import Version, alias, history, models, version
from fastness.models.release.deployment import approval_statement
from fastness.models.release.granting import Allowance, allowances
from fastness.models.release.parts import ENVIRONMENTS, ReleaseParts
from fastness.models.release.policy import RULES, area_scores, excuses, fix_of
from fastness.models.release.statements import BehaviourRecord, findings_of
from fastness.models.release.verification import Evidence, gather, purpose_of
from fastness.models.scan import rules as scan_rules
from fastness.wire import control


def rules() -> tuple[Rule, ...]:
    """Every rule by which a version is judged: of the scan, of the approvals, of the policy."""
    return (*scan_rules(), *approvals.RULES, *RULES)


def model_views(reading: Reading, parts: ReleaseParts) -> list[control.ModelView]:
    """Every model of the tenant, with what its aliases point at."""
    shown = []
    for model, numbers in models(reading).items():
        try:
            state = version(reading, model, numbers[-1]).state.value
        except FastnessError as error:
            state = error.code
        shown.append(control.ModelView(model, len(numbers), state, _aliases(reading, parts, model)))
    return shown


def version_views(reading: Reading, parts: ReleaseParts, model: str) -> list[control.VersionView]:
    """Every version of a model, newest first.

    Raises:
        NotFound: no such model.
    """
    numbers = models(reading).get(model, ())
    if not numbers:
        raise NotFound("model-unknown", f"there is no model {model[:80]!r}", "See `fastness models list`.")
    return [version_view(reading, parts, model, number) for number in reversed(numbers)]


def version_view(reading: Reading, parts: ReleaseParts, model: str, number: int) -> control.VersionView:
    """A version with everything that speaks for or against it.

    Raises:
        NotFound: no such version.
        Corrupt: its manifest cannot be read at all.
    """
    found = version(reading, model, number)
    try:
        evidence = gather(reading, parts, model, number)
    except FastnessError as error:
        broken = Finding(error.code, Severity.CRITICAL, found.resource, error.message)
        return _basics(found, (finding_view(broken),))
    now = parts.clock.now()
    measures, standing = evidence.behaviour.measures, {name: allowances(reading, parts, name) for name in ENVIRONMENTS}
    excused = {name: excuses(measures, standing[name]) for name in ENVIRONMENTS}
    return msgspec.structs.replace(
        _basics(found, tuple(finding_view(f) for f in findings_of(evidence.scan))),
        scores={name: area_scores(measures, excused[name]) for name in ENVIRONMENTS},
        measures=_measures(evidence.behaviour, excused),
        approvals=_approvals(reading, parts, evidence, now),
        attestations=_attestations(found, parts.attesting),
        aliases=tuple(name for name, at in _aliases(reading, parts, model).items() if at == number),
    )


def history_view(reading: Reading, parts: ReleaseParts, model: str) -> list[control.HistoryView]:
    """How the aliases of a model moved, newest first.

    Raises:
        NotFound: no such model.
        Corrupt: a move was changed or removed.
    """
    if model not in models(reading):
        raise NotFound("model-unknown", f"there is no model {model[:80]!r}", "See `fastness models list`.")
    moves = [move for name in ENVIRONMENTS for move in history(reading, parts.pointing, model, name)]
    return [
        control.HistoryView(
            m.name,
            m.sequence,
            m.version,
            m.revision,
            m.by,
            m.at,
            f"rolled back to move {m.restores}" if m.restores else "deployed",
        )
        for m in sorted(moves, key=lambda m: (m.at, m.name, m.sequence), reverse=True)
    ]


def approval_subject(
    reading: Reading, parts: ReleaseParts, model: str, number: int, environment: str
) -> control.ApprovalSubject:
    """What an approver signs, after adding `decision` to the predicate.

    Raises:
        NotFound: no such version or environment.
        Corrupt: the version was changed.
    """
    said = approval_statement(reading, parts, model, number, environment)
    return control.ApprovalSubject("manifest", said.subject, said.predicate_type, {**said.predicate})


def finding_view(finding: Finding) -> control.FindingView:
    """A finding with what to do about it."""
    return control.FindingView(
        finding.rule,
        finding.severity.name.lower(),
        finding.where,
        finding.message,
        fix_of(finding.rule),
        dict(finding.evidence),
    )


def _basics(found: Version, findings: tuple[control.FindingView, ...]) -> control.VersionView:
    manifest = found.manifest
    return control.VersionView(
        model=manifest.model,
        version=manifest.number,
        state=found.state.value,
        digest=found.digest,
        author=manifest.author,
        created_at=manifest.created_at,
        size=sum(file.size for file in manifest.files),
        format=", ".join(manifest.formats),
        findings=findings,
        signature={} if manifest.signature is None else msgspec.to_builtins(manifest.signature),
    )


def _measures(
    record: BehaviourRecord, excused: Mapping[str, Mapping[str, Allowance]]
) -> tuple[control.MeasureView, ...]:
    shown = []
    for m in record.measures:
        by = [f"{name} until {_time(found[m.name])}" for name, found in excused.items() if m.name in found]
        shown.append(control.MeasureView(m.name, m.area, m.state, m.detail, m.value, m.unit, ", ".join(by)))
    return tuple(shown)


def _approvals(
    reading: Reading, parts: ReleaseParts, evidence: Evidence, now: Instant
) -> tuple[control.ApprovalView, ...]:
    found = evidence.version
    shown = []
    for name in ENVIRONMENTS:
        needed, author = parts.settings.environment(name).approvals, found.manifest.author
        verdict = approvals.quorum(reading, found.digest, purpose_of(name), needed, {author}, now)
        for f in verdict.findings:
            if f.rule == approvals.COUNTED.id:
                at = rfc3339(Instant(int(f.evidence["recorded_at"])))
                choice, person = str(f.evidence["choice"]), str(f.evidence["principal"])
                shown.append(control.ApprovalView(person, name, choice, at, valid=True))
            elif f.rule in {approvals.NOT_COUNTED.id, approvals.ALTERED.id}:
                shown.append(control.ApprovalView(str(f.evidence["principal"]), name, f.message, "", valid=False))
    return tuple(shown)


def _attestations(found: Version, trusted: Mapping[str, bytes]) -> tuple[control.AttestationView, ...]:
    statements = found.statements(trusted)
    return tuple(
        control.AttestationView(s.predicate_type, key, rfc3339(at))
        for s, (_, at) in zip(statements, found.envelopes, strict=True)
        for key in sorted(s.keyids)
    )


def _aliases(reading: Reading, parts: ReleaseParts, model: str) -> dict[str, int]:
    shown = {}
    for name in ENVIRONMENTS:
        try:
            shown[name] = alias(reading, parts.pointing, parts.ledger, model, name).version
        except FastnessError:
            continue  # never deployed there, or changed: then the route and `models verify` say so
    return shown


def _time(allowance: Allowance) -> str:
    return rfc3339(Instant(allowance.expires_at * SECOND))
