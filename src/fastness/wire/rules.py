"""Messages of the control plane about what holds for whom: policies, approvals, restrictions, quotas.

Those that are signed have a `digest`, which both sides compute from what they hold: a program signs what it was shown.
"""

from __future__ import annotations

import hashlib
from typing import Self

import msgspec

from fastness.wire.control import ApprovalSubject, FindingView, Message
from fastness.wire.shapes import (
    ActionName,
    Amount,
    Cases,
    DigestText,
    Hours,
    KindName,
    MeasureName,
    Minutes,
    Percents,
    PolicyTexts,
    PrincipalName,
    Reason,
    ShapeName,
    ThrottleBurst,
    ThrottleRate,
)

_encode = msgspec.json.Encoder(order="deterministic").encode


def _digest(message: Message) -> str:
    return f"sha256:{hashlib.sha256(_encode(message)).hexdigest()}"


class DraftRequest(Message, frozen=True):
    """Rules of a tenant's own, all of them: file name to Cedar text. None at all returns to the shipped ones."""

    texts: PolicyTexts
    reason: Reason


class PolicyDocument(Message, frozen=True):
    """What an author signs.

    Attributes:
        base: version of the shipped rules that it was written against.
    """

    tenant: str
    number: int
    texts: PolicyTexts
    base: str
    reason: str

    @property
    def digest(self) -> str:
        """What names it, and what is approved."""
        return _digest(self)


def to_signed(document: PolicyDocument) -> dict[str, object]:
    """A document as it stands in a signed statement."""
    made: dict[str, object] = msgspec.to_builtins(document)
    return made


class DraftView(Message, frozen=True):
    """The document to sign, and what is found in it; where a finding blocks it will not be taken."""

    document: PolicyDocument
    predicate_type: str
    findings: tuple[FindingView, ...] = ()


class SignedRequest(Message, frozen=True):
    """A DSSE envelope around an in-toto statement, signed with the caller's own key."""

    envelope: str


class PolicySetView(Message, frozen=True):
    """A set of rules of the tenant's own.

    Attributes:
        activated_at: empty while it waits.
        in_force: the newest that was activated.
    """

    number: int
    digest: str
    author: str
    reason: str
    created_at: str
    files: tuple[str, ...]
    activated_at: str = ""
    in_force: bool = False


class PolicySetWhole(Message, frozen=True):
    """A set with its texts."""

    set: PolicySetView
    document: PolicyDocument


class ProposalView(Message, frozen=True):
    """A set that waits for approval."""

    set: PolicySetView
    request: str
    findings: tuple[FindingView, ...] = ()


class ActivationRequest(Message, frozen=True):
    """Puts a set into force; `request` is the approved approval request, and is used up."""

    request: str


class PolicyTestRequest(Message, frozen=True):
    """Rules to be tried beside the shipped ones, and cases as YAML; nothing is kept."""

    texts: PolicyTexts
    cases: Cases


class CaseView(Message, frozen=True):
    """What became of a case; `wrong` says what differs from what it expects, or nothing."""

    name: str
    allow: bool
    reason: str
    rules: tuple[str, ...]
    obligations: tuple[str, ...] = ()
    wrong: str = ""


class PolicyTestView(Message, frozen=True):
    """The outcome of all cases, and what is found in the rules themselves.

    Attributes:
        passed: all cases went as written, and no finding blocks.
    """

    passed: bool
    cases: tuple[CaseView, ...]
    findings: tuple[FindingView, ...] = ()


class PolicyPage(Message, frozen=True):
    """All rules in force on one page, as Markdown.

    Attributes:
        number: of the tenant's own set in force; 0 where there is none.
    """

    version: str
    number: int
    text: str


class SaidView(Message, frozen=True):
    """What a rule said to a question; `error` is what went wrong in it."""

    rule: str
    effect: str
    says: str
    matched: bool
    obliges: str = ""
    error: str = ""


class ChangeView(Message, frozen=True):
    """What would have to be otherwise, such as `principal.roles` and `+operator`."""

    attribute: str
    to: str


class RestrictionRequest(Message, frozen=True):
    """Blocks, throttles, or asks for a second factor, for a while; a throttle says its pace.

    Attributes:
        kind: what is restricted: principal, key, address, tenant, model or action.
        target: its name.
    """

    measure: MeasureName
    kind: KindName
    target: str
    reason: Reason
    minutes: Minutes
    per_s: ThrottleRate | None = None
    burst: ThrottleBurst | None = None


class RestrictionView(Message, frozen=True):
    """A restriction; `standing` while it counts."""

    id: str
    measure: str
    kind: str
    target: str
    reason: str
    author: str
    created_at: str
    expires_at: str
    standing: bool
    per_s: float | None = None
    burst: float | None = None
    lifted_at: str = ""
    lifted_by: str = ""


class LiftRequest(Message, frozen=True):
    """Why it ends before its time."""

    reason: Reason


class ExplanationView(Message, frozen=True):
    """A decision with its reasons.

    Attributes:
        rules: those that decided; empty where no rule spoke.
        obligations: what the deciding rules ask for besides; `open` are those not fulfilled.
        context: what the rules were told of the matter.
        said: every rule about this action, those that matched first.
        changes: the smallest sets of changes that would turn a refusal.
        restrictions: what stands against this besides the rules.
    """

    principal: str
    action: str
    resource: str
    allow: bool
    reason: str
    message: str
    rules: tuple[str, ...]
    roles: tuple[str, ...]
    context: dict[str, str | int | bool]
    version: str
    obligations: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    said: tuple[SaidView, ...] = ()
    changes: tuple[tuple[ChangeView, ...], ...] = ()
    restrictions: tuple[RestrictionView, ...] = ()


class AskedTerms(Message, frozen=True):
    """On what terms something counts as approved; `deadline` in ns since 1970 UTC."""

    needed: int
    roles: frozenset[str]
    deadline: int
    excluded: frozenset[str] = frozenset()


class Operation(Message, frozen=True):
    """A request that takes the approval of others, as approvers see it. Its digest is what they approve.

    Attributes:
        method, path, query: as the request line has them; the path begins with `/`.
        body: JSON with sorted keys and no white space; empty where nothing is sent.
    """

    method: str
    path: str
    query: str = ""
    body: str = ""

    @classmethod
    def of(cls, method: str, path: str, query: str, body: bytes) -> Self:
        """The operation of a request; how its body is spaced does not matter."""
        if not body:
            return cls(method, path, query)
        try:
            return cls(method, path, query, _encode(msgspec.json.decode(body)).decode())
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return cls(method, path, query, f"sha256:{hashlib.sha256(body).hexdigest()}")

    @property
    def digest(self) -> str:
        """What is approved."""
        return _digest(self)


class ApprovalWish(Message, frozen=True):
    """Asks others to approve an operation that was refused with `approval-required`.

    Attributes:
        kind: the permission that the operation takes.
        subject: the digest that the refusal named; it has to be that of `operation`.
        reason: why; it is signed and shown to who approves.
        hours: how long the request stands.
        exclude: who does not count besides the one who asks, such as whom it is about.
    """

    kind: ActionName
    subject: DigestText
    reason: Reason
    operation: Operation
    hours: Hours = 168.0
    exclude: tuple[PrincipalName, ...] = ()


class Asked(Message, frozen=True):
    """What approvers sign: the whole request.

    Attributes:
        purpose: what the approval is good for, such as `policy.change`.
        subject: digest of what is to be approved.
        author: who asks.
    """

    id: str
    tenant: str
    purpose: str
    subject: str
    author: str
    terms: AskedTerms
    details: dict[str, str | int]

    @property
    def digest(self) -> str:
        """What the approvals of this request are about."""
        return _digest(self)


class ApprovalRequestView(Message, frozen=True):
    """A request for approvals.

    Attributes:
        state: open, approved, rejected, expired or withdrawn.
        used: it was approved, and what it was asked for is done.
    """

    asked: Asked
    state: str
    deadline: str
    used: bool = False
    closed_at: str = ""


class ApprovalRequestWhole(Message, frozen=True):
    """A request, how its approvals stand now, and what an approver signs."""

    request: ApprovalRequestView
    signing: ApprovalSubject
    findings: tuple[FindingView, ...] = ()


class KeyRotationView(Message, frozen=True):
    """A key of the house, and the version that counts from now on."""

    key: str
    version: str


class QuotaRequest(Message, frozen=True):
    """How much may be used in a window.

    Attributes:
        shape: `even` is a rate, `fixed` and `sliding` count in windows of the calendar.
        burst: how much at once, of `even`; 0 is the whole amount.
        stops: more is refused; otherwise only told.
        alerts: percents of the amount at which it is told.
    """

    amount: Amount
    shape: ShapeName = "fixed"
    burst: Amount = 0
    stops: bool = True
    alerts: Percents = ()


class QuotaView(Message, frozen=True):
    """A quota; subject `*` is each of the kind that has none of its own."""

    kind: str
    subject: str
    unit: str
    window: str
    amount: int
    shape: str
    burst: int
    stops: bool
    alerts: tuple[int, ...]


class QuotaUseView(Message, frozen=True):
    """What a subject has used of a quota in the present window."""

    quota: QuotaView
    subject: str
    started_at: str
    ends_at: str
    used: int
    percent: int


class RightsView(Message, frozen=True):
    """What somebody may do by the rules in force: everywhere in the tenant, and besides to single models.

    Attributes:
        last_seen_at: empty where they never came, or not since that is kept.
    """

    principal: str
    active: bool
    actions: tuple[str, ...]
    on_models: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    last_seen_at: str = ""
