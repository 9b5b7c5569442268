"""Approval, deployment, rollback and quarantine: what moves a version into service and out of it.

Each refusal is recorded in a transaction of its own, for the one that it ended is undone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fastness.access import approvals
from fastness.core.clock import Instant
from fastness.core.digests import Digest
from fastness.core.errors import Conflict, Corrupt, FastnessError, Forbidden
from fastness.core.events import Detail, EventKind
from fastness.core.findings import Decision
from fastness.core.identity import Action, Scope
from fastness.foundation.crypto import Purpose
from fastness.foundation.storage import Reading
from fastness.models.registry import (
    Revision,
    Version,
    VersionState,
    alias,
    create_revision,
    history,
    move_alias,
    revision,
    set_state,
    version,
)
from fastness.models.release.parts import ReleaseParts
from fastness.models.release.verification import (
    Standing,
    active,
    approvals_held_to_log,
    check,
    deployable,
    draft_revision,
    held_to_log,
    purpose_of,
)


@dataclass(frozen=True, slots=True)
class ApprovalStatement:
    """What an approver signs with their own key, after adding `decision` (`approve` or `reject`) to the predicate."""

    subject: Digest
    purpose: str
    predicate_type: str
    predicate: dict[str, str | int]


def approval_statement(
    reading: Reading, parts: ReleaseParts, model: str, number: int, environment: str
) -> ApprovalStatement:
    """What there is to sign about a version for an environment.

    Raises:
        NotFound: no such version or environment.
        Corrupt: the version was changed.
    """
    parts.settings.environment(environment)
    found = version(reading, model, number).verified(reading, parts.attesting)
    details: dict[str, str | int] = {"model": model, "version": number, "environment": environment}
    purpose = purpose_of(environment)
    predicate = approvals.proposal(reading.scope.tenant, purpose, details)
    return ApprovalStatement(found.digest, purpose, approvals.PREDICATE_TYPE, predicate)


def approve(
    parts: ReleaseParts, scope: Scope, model: str, number: int, environment: str, envelope: bytes
) -> approvals.Approval:
    """Record what an approver signed about a version, yes or no.

    Raises:
        NotFound: no such version or environment.
        Invalid: the envelope is not signed by an enrolled key, or is about something else.
        Forbidden: the signer is the version's author (`approval-by-author`) or no approver.
        Conflict: it is recorded already, or the version is not registered any more.
    """
    now = parts.clock.now()
    with (
        _refusals(parts, scope, now, (Action.MODEL_APPROVE, model, number, environment)),
        parts.records.begin(scope, now) as tx,
    ):
        found = version(tx, model, number).verified(tx, parts.attesting)
        said = approval_statement(tx, parts, model, number, environment)
        active(found)
        trusted = approvals.public_keys(tx)
        approval = approvals.record_approval(tx, said.subject, said.purpose, envelope, trusted)
        if approval.principal == found.manifest.author:
            raise Forbidden(
                "approval-by-author", f"{approval.principal} made {found.resource}", "Ask another approver."
            )
        details: dict[str, Detail] = {
            "approver": approval.principal,
            "choice": approval.choice.value,
            "environment": environment,
        }
        tx.emit(tx.events.make(EventKind.MODEL_APPROVED, found.resource, details=details))
        return approval


def deploy(parts: ReleaseParts, scope: Scope, model: str, number: int, environment: str) -> Revision:
    """Put a version into an environment: steps 8 to 10 of the path.

    Raises:
        NotFound: no such version or environment.
        Corrupt: manifest, statements, blob row or bytes were changed.
        Conflict: policy or approvals do not hold; the message has all reasons.
        Forbidden: the author or an approver deploys.
    """
    now = parts.clock.now()
    with _refusals(parts, scope, now, (Action.MODEL_DEPLOY, model, number, environment)):
        with parts.records.read(scope) as reading:
            evidence = check(reading, parts, (model, number, environment), now).evidence
            held_to_log(parts, evidence.version)
            deployable(evidence, draft_revision(parts, evidence.version, environment)).verify_bytes(parts.vault)
        with parts.records.begin(scope, now) as tx:
            found = check(tx, parts, (model, number, environment), now)  # 8 policy, 9 approvals
            held = found.evidence.version
            approvals_held_to_log(tx, parts, found, environment)
            _refuse_duties(scope, found)
            new = create_revision(tx, draft_revision(parts, held, environment))  # 10 release
            move_alias(tx, parts.keyring.signer(Purpose.ALIAS), environment, new)
            details: dict[str, Detail] = {"environment": environment, "revision": new.id, "digest": held.digest}
            details["allowances"] = ",".join(found.allowances)
            tx.emit(tx.events.make(EventKind.MODEL_DEPLOYED, held.resource, decision=Decision.ALLOW, details=details))
            tx.touch("routes")
            return new


def rollback(parts: ReleaseParts, scope: Scope, model: str, environment: str, reason: str) -> Revision:
    """Move an environment back to the revision before, which is verified like a new one except for its bytes.

    Raises:
        NotFound: nothing was ever deployed there.
        Conflict: there is no earlier revision that may still run.
        Corrupt: the alias was rolled back behind our back, or something was changed.
    """
    now = parts.clock.now()
    with _refusals(parts, scope, now, (Action.MODEL_ROLLBACK, model, 0, environment)):
        with parts.records.read(scope) as reading:
            before, sequence = previous(reading, parts, model, environment)
            newest = alias(reading, parts.pointing, parts.ledger, model, environment).sequence
            held_to_log(parts, version(reading, model, before.version))
        with parts.records.begin(scope, now) as tx:
            found = check(tx, parts, (model, before.version, environment), now, before)
            approvals_held_to_log(tx, parts, found, environment)
            move = move_alias(tx, parts.keyring.signer(Purpose.ALIAS), environment, before, sequence)
            if move.sequence != newest + 1:
                raise Conflict("alias-moved", f"{environment} of {model!r} was moved meanwhile", "Try again.")
            details: dict[str, Detail] = {"environment": environment, "revision": before.id, "reason": reason[:500]}
            resource = found.evidence.version.resource
            tx.emit(tx.events.make(EventKind.MODEL_ROLLED_BACK, resource, decision=Decision.ALLOW, details=details))
            tx.touch("routes")
            return before


def quarantine(parts: ReleaseParts, scope: Scope, model: str, number: int, reason: str) -> Version:
    """Take a version out of service for good.

    Raises:
        NotFound: no such version.
        Conflict: it is not registered any more.
    """
    now = parts.clock.now()
    with (
        _refusals(parts, scope, now, (Action.MODEL_QUARANTINE, model, number, "")),
        parts.records.begin(scope, now) as tx,
    ):
        after = set_state(tx, model, number, VersionState.QUARANTINED, reason.strip()[:500] or "no reason given")
        tx.touch("routes")
        return after


def previous(reading: Reading, parts: ReleaseParts, model: str, environment: str) -> tuple[Revision, int]:
    """The revision to which a rollback goes, and the number of the move that had put it there.

    After a rollback to move 1, the next one goes before move 1, not forward again. Versions that are not registered any
    more are passed over.

    Raises:
        NotFound: nothing was ever deployed there.
        Conflict: there is no earlier one.
        Corrupt: alias or history were changed.
    """
    current = alias(reading, parts.pointing, parts.ledger, model, environment)
    moves = {move.sequence: move for move in history(reading, parts.pointing, model, environment)}
    if current.sequence not in moves:
        raise Corrupt("alias-history-gap", f"the history of {environment} of {model!r} lacks its newest move")
    at = current.restores or current.sequence
    while (at := at - 1) in moves:
        at = moves[at].restores or at
        candidate = moves[at]
        registered = version(reading, model, candidate.version).state is VersionState.REGISTERED
        if candidate.revision != current.revision and registered:
            return revision(reading, candidate.revision), at
    raise Conflict("rollback-none", f"{environment} of {model!r} has no earlier revision to go back to", "Deploy one.")


def _refuse_duties(scope: Scope, found: Standing) -> None:
    """Who made a version or approved it does not deploy it: seen here too, where nothing can come in between."""
    held = found.evidence.version
    if scope.principal == held.manifest.author:
        raise Forbidden(
            "deploy-by-author", f"{scope.principal} made {held.resource}", "Have another operator deploy it."
        )
    if scope.principal in {f.evidence.get("principal") for f in found.approval.findings}:
        raise Forbidden(
            "deploy-by-approver", f"{scope.principal} approved {held.resource}", "Have another operator deploy it."
        )


@contextmanager
def _refusals(parts: ReleaseParts, scope: Scope, now: Instant, asked: tuple[Action, str, int, str]) -> Iterator[None]:
    """Record what was refused, then raise it."""
    try:
        yield
    except FastnessError as error:
        record_denial(parts, scope, now, asked, error)
        raise


def record_denial(
    parts: ReleaseParts, scope: Scope, now: Instant, asked: tuple[Action, str, int, str], error: FastnessError
) -> None:
    """Leave the evidence of a refusal."""
    action, model, number, environment = asked
    resource = f"model:{model[:64]}/{number}" if number else f"model:{model[:64]}"
    with parts.records.begin(scope, now) as tx:
        tx.emit(
            tx.events.make(
                EventKind.ADMISSION_DENIED,
                resource,
                action=action,
                decision=Decision.DENY,
                reason=error.code,
                details={"environment": environment[:64], "message": error.message[:2000]},
            )
        )
