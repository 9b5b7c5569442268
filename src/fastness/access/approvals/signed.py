"""k of n: persons say yes or no to one thing, each with their own key, and the count is made anew each time.

An approval is a DSSE-signed in-toto statement about one digest, whose predicate names the tenant, the purpose and the
decision. The stored envelope is what counts. The columns beside it only find it: a row whose columns say otherwise, an
envelope edited or copied from another version, purpose or tenant is reported as altered, and refuses.

A person counts once, however many keys or approvals; a rejection cannot be outvoted, also not by its own author: make
a new version. What it misses: who can write the tables can hide a row (a rejection too), or enrol a key of their own;
both are seen only against the ledger, where each approval and enrolment has its event.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from fastness.access import records
from fastness.access.records import ApprovalRow, PrincipalRow, PublicKeyRow
from fastness.core.clock import Instant, uuid7
from fastness.core.digests import Digest, parse_digest
from fastness.core.errors import Conflict, Corrupt, Forbidden, Invalid
from fastness.core.events import Detail, EventKind
from fastness.core.findings import Finding, Rule, Severity, Verdict, judge
from fastness.core.identity import PrincipalId, PrincipalKind, Role, TenantId
from fastness.foundation.crypto import Statement, verify_statement
from fastness.foundation.storage import Reading, Transaction

PREDICATE_TYPE = "urn:fastness:predicate:approval:v1"
_LONGEST_PURPOSE = 200
_LONGEST_ENVELOPE = 65_536

MISSING = Rule(
    "approvals-missing",
    "Not enough approvals",
    Severity.HIGH,
    "Nothing is put into service on one person's word.",
    "Ask as many approvers as are missing; the author and programs do not count.",
)
REJECTED = Rule(
    "approval-rejected",
    "An approver said no",
    Severity.HIGH,
    "One rejection outweighs all approvals.",
    "Mend what the approver objects to and push a new version.",
)
ALTERED = Rule(
    "approval-altered",
    "An approval is not what was signed",
    Severity.HIGH,
    "Somebody changed the records: an approval was edited, copied from elsewhere, or given another name.",
    "Compare the records with the ledger; restore a backup.",
    {"cwe": "CWE-345"},
)
NOT_COUNTED = Rule(
    "approval-not-counted",
    "An approval does not count",
    Severity.LOW,
    "The approver is excluded, no longer holds the role, or the key was revoked.",
    "Ask another approver.",
)
COUNTED = Rule(
    "approval-counted",
    "An approval counts",
    Severity.INFO,
    "An approver in good standing signed it.",
    "Nothing is to be done.",
)
RULES = (MISSING, REJECTED, ALTERED, NOT_COUNTED, COUNTED)


class Choice(StrEnum):
    """What an approver can say."""

    APPROVE = "approve"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Approval:
    """An approval whose signature holds; whether it counts is another question."""

    principal: PrincipalId
    keyid: str
    choice: Choice

    @property
    def rejects(self) -> bool:
        """Whether it says no."""
        return self.choice is Choice.REJECT


class Who(NamedTuple):
    """Whose word counts: persons who hold one of the roles and are not excluded."""

    roles: frozenset[Role]
    excluded: Collection[PrincipalId] = ()


_APPROVERS = Who(frozenset({Role.APPROVER}))


def proposal(tenant: TenantId, purpose: str, details: Mapping[str, str | int]) -> dict[str, str | int]:
    """The predicate that an approver completes with `decision` (`approve` or `reject`) and signs.

    Args:
        details: what else the approver is shown, such as model and environment.
    """
    return {**details, "tenant": tenant, "purpose": purpose}


def public_keys(reading: Reading) -> dict[str, tuple[PrincipalId, bytes]]:
    """Key id to owner and PEM, of all keys not revoked of active principals of the tenant."""
    owners = records.find_principals(reading)
    return {
        key.keyid: (key.principal, key.pem)
        for key in records.find_public_keys(reading)
        if not key.revoked and _genuine(key) and key.principal in owners and owners[key.principal].active
    }


def enrolled_keys(reading: Reading) -> dict[str, tuple[PrincipalId, bytes]]:
    """As `public_keys`, of all keys that were ever enrolled: to read what was signed while they counted."""
    return {key.keyid: (key.principal, key.pem) for key in records.find_public_keys(reading) if _genuine(key)}


def record_approval(
    tx: Transaction, subject: Digest, purpose: str, envelope: bytes, trusted: Mapping[str, tuple[PrincipalId, bytes]]
) -> Approval:
    """Keep what an approver signed about `subject`.

    Args:
        purpose: what it is good for, such as `deploy:production`.
        envelope: DSSE around an in-toto statement with `subject` as its only subject, type `PREDICATE_TYPE` and a
            predicate as `proposal` makes it, with `decision`.
        trusted: `public_keys(tx)`.

    Raises:
        Invalid: it is not signed by exactly one trusted key, or says something else.
        Forbidden: the signer is no person with the role of an approver.
        Conflict: it is recorded already.
    """
    return record(tx, subject, purpose, envelope, (trusted, _APPROVERS))


def record(
    tx: Transaction,
    subject: Digest,
    purpose: str,
    envelope: bytes,
    by: tuple[Mapping[str, tuple[PrincipalId, bytes]], Who],
) -> Approval:
    """As `record_approval`, of the trusted keys and the persons `by`.

    Raises:
        Invalid, Forbidden, Conflict: as `record_approval`.
    """
    trusted, who = by
    parse_digest(subject)
    if not 0 < len(purpose) <= _LONGEST_PURPOSE or len(envelope) > _LONGEST_ENVELOPE:
        raise Invalid("approval-size", "the purpose is empty or too long, or the envelope is too long")
    try:
        approval = _opened(envelope, trusted, (tx.scope.tenant, subject, purpose))
    except Corrupt as error:
        raise Invalid(
            "approval-refused", f"this approval is not taken: {error.message}", "Sign it anew with your enrolled key."
        ) from error
    owner = records.find_principals(tx, approval.principal).get(approval.principal)
    if why := _excluded(approval.principal, who) or _not_fit(approval.principal, owner, who.roles):
        raise Forbidden("approver-unfit", why, "Ask somebody who is an approver.")
    row = ApprovalRow(subject, purpose, approval.principal, envelope, tx.now)
    try:
        records.add_approval(tx, uuid7(tx.now, tx.events.entropy), hashlib.sha256(envelope).hexdigest(), row)
    except Conflict as error:
        raise Conflict("approval-exists", "this approval is recorded already") from error
    details: dict[str, Detail] = {
        "approver": approval.principal,
        "purpose": purpose,
        "choice": approval.choice.value,
        "key": approval.keyid,
        "envelope": hashlib.sha256(envelope).hexdigest(),
    }
    tx.emit(tx.events.make(EventKind.APPROVAL_RECORDED, subject, details=details))
    return approval


def quorum(  # the contract's six
    reading: Reading, subject: Digest, purpose: str, needed: int, excluded: Collection[PrincipalId], now: Instant
) -> Verdict:
    """Whether enough persons approved `subject` for `purpose`: ALLOW, or DENY with findings that say what is missing.

    Each counted approval is a finding `approval-counted` with `principal`, `choice` and `recorded_at` as evidence.

    Args:
        needed: at least 1.
        excluded: who must not count, such as the author.
        now: approvals recorded later do not count.

    Raises:
        Invalid: fewer than one approval would do.
    """
    return count(reading, subject, purpose, Who(_APPROVERS.roles, excluded), needed, now)


def count(  # what a quorum counts, and whose word
    reading: Reading, subject: Digest, purpose: str, who: Who, needed: int, now: Instant
) -> Verdict:
    """As `quorum`, of the persons `who`.

    Raises:
        Invalid: fewer than one approval would do.
    """
    if needed < 1:
        raise Invalid("quorum-range", "a quorum is at least 1", "Nothing is approved by nobody.")
    findings: list[Finding] = []
    said: dict[PrincipalId, set[Choice]] = {}
    for row, finding in _judged(reading, subject, purpose, who, now):
        if finding.rule == COUNTED.id:
            said.setdefault(row.principal, set()).add(Choice(str(finding.evidence["choice"])))
        findings.append(finding)
    rejecting = sorted(p for p, choices in said.items() if Choice.REJECT in choices)
    approving = len(said) - len(rejecting)
    findings += [_finding(REJECTED, person, f"{person} said no") for person in rejecting]
    if approving < needed:
        reasons = [f.message for f in findings if f.rule in {NOT_COUNTED.id, ALTERED.id}]
        message = "; ".join([f"{approving} of {needed} approvals", *dict.fromkeys(reasons)])
        missing: dict[str, str | int] = {"have": approving, "need": needed, "purpose": purpose}
        findings.insert(0, Finding(MISSING.id, MISSING.severity, subject, message, missing))
    return judge(findings)


def _judged(
    reading: Reading, subject: Digest, purpose: str, who: Who, now: Instant
) -> Iterator[tuple[ApprovalRow, Finding]]:
    """Each row with what is to be said of it; nothing of a row is believed that its signature does not say."""
    keys = {key.keyid: key for key in records.find_public_keys(reading) if _genuine(key)}
    pems = {keyid: (key.principal, key.pem) for keyid, key in keys.items()}
    owners = records.find_principals(reading)
    for row in records.find_approvals(reading, subject, purpose):
        try:
            approval = _opened(row.envelope, pems, (reading.scope.tenant, subject, purpose))
        except Corrupt as error:
            yield row, _finding(ALTERED, row.principal, f"an approval under {row.principal}'s name: {error.message}")
            continue
        if approval.principal != row.principal:
            message = f"an approval under {row.principal}'s name was signed by {approval.principal}"
            yield row, _finding(ALTERED, row.principal, message)
            continue
        why = _not_fit(row.principal, owners.get(row.principal), who.roles)
        if keys[approval.keyid].revoked:
            why = f"{row.principal}'s key was revoked"
        why = _excluded(row.principal, who) or why
        if row.recorded_at > now:
            why = f"{row.principal} approved later"
        if why:
            yield row, _finding(NOT_COUNTED, row.principal, why)
            continue
        message = f"{row.principal}: {approval.choice}"
        evidence: dict[str, str | int] = {
            "principal": row.principal,
            "choice": approval.choice.value,
            "recorded_at": row.recorded_at,
        }
        yield row, Finding(COUNTED.id, COUNTED.severity, f"approval:{row.principal}", message, evidence)


def _opened(
    envelope: bytes, trusted: Mapping[str, tuple[PrincipalId, bytes]], expected: tuple[TenantId, Digest, str]
) -> Approval:
    """The approval in `envelope`, if one trusted key signed it and it says just what is expected. Raises Corrupt."""
    statement = verify_statement(envelope, {keyid: pem for keyid, (_, pem) in trusted.items()})
    tenant, subject, purpose = expected
    if len(statement.keyids) != 1:
        raise Corrupt("approval-signers", "it bears several signatures; an approval is one person's")
    if statement.predicate_type != PREDICATE_TYPE:
        raise Corrupt("approval-type", "it is signed, but is no approval")
    if list(statement.subjects.values()) != [subject]:
        raise Corrupt("approval-subject", "it is about something else")
    if statement.predicate.get("purpose") != purpose or statement.predicate.get("tenant") != tenant:
        raise Corrupt("approval-purpose", "it was given for another purpose or tenant")
    (keyid,) = statement.keyids
    return Approval(trusted[keyid][0], keyid, _choice(statement))


def _choice(statement: Statement) -> Choice:
    said = statement.predicate.get("decision")
    if said not in {Choice.APPROVE.value, Choice.REJECT.value}:
        raise Corrupt("approval-decision", "it says neither approve nor reject")
    return Choice(said)


def _excluded(principal: PrincipalId, who: Who) -> str:
    return f"the author {principal} cannot approve" if principal in who.excluded else ""


def _not_fit(principal: PrincipalId, owner: PrincipalRow | None, roles: frozenset[Role]) -> str:
    """Why this principal's word does not count now; empty if it does."""
    if owner is None or not owner.active:
        return f"{principal} is no longer active"
    if owner.kind is not PrincipalKind.USER:
        return f"{principal} is no person"
    if not owner.roles & roles:
        return f"{principal} does not hold the role {' or '.join(sorted(roles))}"
    return ""


def _genuine(key: PublicKeyRow) -> bool:
    """Whether the PEM is the one that the key id names."""
    return hashlib.sha256(key.pem).hexdigest() == key.keyid


def _finding(rule: Rule, principal: PrincipalId, message: str) -> Finding:
    return Finding(rule.id, rule.severity, f"approval:{principal}", message, {"principal": principal})
