"""Events: the durable, provable record of every decision. Not measurements, which are lossy and aggregated."""

from __future__ import annotations

import math
from enum import StrEnum

import msgspec

from fastness.core.clock import Entropy, Instant, uuid7
from fastness.core.findings import Decision, Finding
from fastness.core.identity import PrincipalId, TenantId


class EventKind(StrEnum):
    """Everything that leaves evidence."""

    HOME_CREATED = "home.created"
    SERVER_STARTED = "server.started"
    SERVER_STOPPED = "server.stopped"
    PRINCIPAL_CREATED = "principal.created"
    PRINCIPAL_ENROLLED = "principal.enrolled"
    PRINCIPAL_DEACTIVATED = "principal.deactivated"
    ROLES_CHANGED = "roles.changed"
    KEY_CREATED = "key.created"
    KEY_NARROWED = "key.narrowed"
    KEY_ROTATED = "key.rotated"
    KEYRING_ROTATED = "keyring.rotated"
    KEY_REVOKED = "key.revoked"
    AUTHENTICATION_SUCCEEDED = "authentication.succeeded"
    AUTHENTICATION_FAILED = "authentication.failed"
    STEP_UP_SUCCEEDED = "step-up.succeeded"
    STEP_UP_FAILED = "step-up.failed"
    SESSION_STARTED = "session.started"
    SESSION_ENDED = "session.ended"
    PASSWORD_CHANGED = "password.changed"  # noqa: S105 - a name, no password
    FACTOR_ENROLLED = "factor.enrolled"
    FACTOR_REMOVED = "factor.removed"
    LOCKOUT_STARTED = "lockout.started"
    TOKEN_ISSUED = "token.issued"  # noqa: S105
    TOKEN_REVOKED = "token.revoked"  # noqa: S105
    CLIENT_CHANGED = "client.changed"
    PROVIDER_CHANGED = "provider.changed"
    POLICY_CHANGED = "policy.changed"
    RESTRICTION_SET = "restriction.set"
    RESTRICTION_LIFTED = "restriction.lifted"
    QUOTA_CHANGED = "quota.changed"
    QUOTA_EXCEEDED = "quota.exceeded"
    BUDGET_REACHED = "budget.reached"
    COUNTERS_CHANGED = "counters.changed"
    GROUP_CHANGED = "group.changed"
    TENANT_CREATED = "tenant.created"
    GRANT_CHANGED = "grant.changed"
    REVIEW_STARTED = "review.started"
    REVIEW_DECIDED = "review.decided"
    REVIEW_CLOSED = "review.closed"
    DIRECTORY_CHANGED = "directory.changed"
    APPROVAL_REQUESTED = "approval.requested"
    APPROVAL_CLOSED = "approval.closed"
    ACCESS_ALLOWED = "access.allowed"
    APPROVAL_RECORDED = "approval.recorded"
    ACCESS_DENIED = "access.denied"
    ALLOWANCE_GRANTED = "allowance.granted"
    BLOB_COMMITTED = "blob.committed"
    BLOB_RELEASED = "blob.released"
    BLOB_SHREDDED = "blob.shredded"
    MODEL_PUSHED = "model.pushed"
    MODEL_SCANNED = "model.scanned"
    MODEL_ASSESSED = "model.assessed"
    MODEL_REFUSED = "model.refused"
    MODEL_REGISTERED = "model.registered"
    MODEL_APPROVED = "model.approved"
    MODEL_DEPLOYED = "model.deployed"
    MODEL_ROLLED_BACK = "model.rolled-back"
    MODEL_QUARANTINED = "model.quarantined"
    MODEL_RETIRED = "model.retired"
    ALIAS_MOVED = "alias.moved"
    ADMISSION_DENIED = "admission.denied"
    WORKER_STARTED = "worker.started"
    WORKER_LOST = "worker.lost"
    WORKER_REFUSED = "worker.refused"
    REQUEST_ALLOWED = "request.allowed"
    REQUEST_REFUSED = "request.refused"
    REQUEST_FAILED = "request.failed"
    BLOBS_SWEPT = "blobs.swept"
    LEDGER_VERIFIED = "ledger.verified"
    LEDGER_REPAIRED = "ledger.repaired"
    INTEGRITY_FAILED = "integrity.failed"
    JOB_FAILED = "job.failed"


class FindingRecord(msgspec.Struct, frozen=True, gc=False):
    """A finding as it stands in an event: rule and place, no evidence values."""

    rule: str
    severity: int
    where: str


Detail = str | int | float | bool


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One audit record. It maps to OCSF without loss; its JSON is the ledger's leaf.

    Attributes:
        id: UUID version 7.
        at: nanoseconds since 1970 UTC.
        kind: what happened.
        tenant: whose record it is.
        principal: who caused it; empty where nobody was authenticated.
        action: the action asked for, or empty.
        resource: `kind:id` of what was acted on, or empty.
        decision: the outcome, where there was one.
        reason: stable code of a refusal or failure.
        request: id of the request that caused it.
        epoch: epoch of the snapshot it was decided on.
        findings: the findings behind the decision.
        details: named values; never a raw secret or personal value.
    """

    id: str
    at: int
    kind: EventKind
    tenant: TenantId
    principal: PrincipalId
    action: str = ""
    resource: str = ""
    decision: Decision | None = None
    reason: str = ""
    request: str = ""
    epoch: int = 0
    findings: tuple[FindingRecord, ...] = ()
    details: dict[str, Detail] = msgspec.field(default_factory=dict)


class EventFactory:
    """Makes events for one principal at one instant, so that call sites name only what differs."""

    def __init__(self, tenant: TenantId, principal: PrincipalId, now: Instant, entropy: Entropy) -> None:
        self.tenant = tenant
        self.principal = principal
        self.now = now
        self.entropy = entropy

    def make(  # noqa: PLR0913 - the optional fields of Event, by keyword only
        self,
        kind: EventKind,
        resource: str = "",
        *,
        action: str = "",
        decision: Decision | None = None,
        reason: str = "",
        findings: tuple[Finding, ...] = (),
        details: dict[str, Detail] | None = None,
    ) -> Event:
        """An event of `kind` about `resource`."""
        return Event(
            id=uuid7(self.now, self.entropy),
            at=self.now,
            kind=kind,
            tenant=self.tenant,
            principal=self.principal,
            action=action,
            resource=_text(resource),
            decision=decision,
            reason=reason,
            findings=tuple(FindingRecord(f.rule, int(f.severity), _text(f.where)) for f in findings),
            details={_text(name): _detail(value) for name, value in details.items()} if details else {},
        )


def _text(text: str) -> str:
    """`text` with lone surrogates, as file names that are not UTF-8 have them, written out: no event may fail to encode."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _detail(value: Detail) -> Detail:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float) and not math.isfinite(value):  # JSON has none of them; null would not decode
        return str(value)
    return value


_ENCODER = msgspec.json.Encoder(order="deterministic")
_DECODER = msgspec.json.Decoder(Event)


def encode_event(event: Event) -> bytes:
    """The event as canonical JSON: what the journal holds and the ledger hashes."""
    return _ENCODER.encode(event)


def decode_event(data: bytes | memoryview) -> Event:
    """The event behind `encode_event`'s bytes.

    Raises:
        msgspec.MsgspecError: not an event.
    """
    try:
        return _DECODER.decode(data)
    except (UnicodeDecodeError, RecursionError) as error:  # msgspec lets these two through
        raise msgspec.DecodeError(str(error)) from error
