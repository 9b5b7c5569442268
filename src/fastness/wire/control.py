"""Messages of the control plane, `/api/v1`: shared by the server, the SDK and the command line.

All are JSON objects. Times are RFC 3339 text in UTC, durations carry their unit in the name.
"""

from __future__ import annotations

import msgspec

from fastness.wire.shapes import (
    ActionName,
    Burst,
    Days,
    EnvironmentName,
    FactorLabel,
    Label,
    MethodName,
    ModelName,
    Name,
    NetworkText,
    Password,
    PrincipalKindName,
    PrincipalName,
    Rate,
    Reason,
    RoleName,
    TenantName,
)


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request or reply; unknown fields are refused, so that a misspelt one is not ignored."""


class EnrolmentRequest(Message, frozen=True):
    """Redeems a one-time code for a principal's own public key and API key."""

    code: str
    public_pem: str


class AppView(Message, frozen=True):
    """What an authenticator app takes in, shown this once; it counts from its first code on.

    Attributes:
        factor: names it.
        uri: `otpauth://…`, as text or as a QR code.
        secret: the seed in base 32, for who cannot scan.
    """

    factor: str
    uri: str
    secret: str


class EnrolmentReply(Message, frozen=True):
    """The API key is shown this once; people get an authenticator app to set up with it."""

    principal: str
    key_id: str
    api_key: str
    app: AppView | None = None


class LabelRequest(Message, frozen=True):
    """What a factor is called by its owner."""

    label: FactorLabel


class CodeRequest(Message, frozen=True):
    """A code of an authenticator app."""

    code: str


class FactorReply(Message, frozen=True):
    """A second factor that counts from now on; the recovery codes are shown this once."""

    factor: str
    recovery_codes: tuple[str, ...] = ()


class FactorView(Message, frozen=True):
    """A second factor of the caller."""

    factor: str
    method: str
    label: str
    created_at: str


class FactorsView(Message, frozen=True):
    """All second factors of the caller."""

    factors: tuple[FactorView, ...]
    recovery_codes_left: int


class PasskeyOptions(Message, frozen=True):
    """The argument of `navigator.credentials.create()` or `.get()`."""

    options: dict[str, object]


class PasskeyRequest(Message, frozen=True):
    """What the browser made of the options."""

    label: FactorLabel
    response: dict[str, object]


class WaysView(Message, frozen=True):
    """How the caller can give a second factor: `totp`, `passkey`, `recovery`."""

    methods: tuple[str, ...]
    passkey: dict[str, object] | None = None


class StepUpRequest(Message, frozen=True):
    """A second factor: a code, or for a passkey what the browser made of the options."""

    method: MethodName
    code: str = ""
    response: dict[str, object] | None = None


class ElevationReply(Message, frozen=True):
    """To be sent as `Fastness-Elevation` with the same credential, until it expires.

    Attributes:
        elevation: empty in a session, which is stepped up itself and has a new cookie.
        csrf: of the session from now on; empty with a key or a token.
    """

    elevation: str
    expires_at: str
    csrf: str = ""


class LoginRequest(Message, frozen=True):
    """The first step of a login."""

    name: str
    password: str
    tenant: TenantName = "default"


class TicketRequest(Message, frozen=True):
    """The second step by passkey begins."""

    ticket: str


class SecondRequest(Message, frozen=True):
    """The second step of a login: a code, or for a passkey what the browser made of the options."""

    ticket: str
    method: MethodName
    code: str = ""
    response: dict[str, object] | None = None


class TenantRequest(Message, frozen=True):
    """A login by passkey alone begins."""

    tenant: TenantName = "default"


class PasskeyLoginRequest(Message, frozen=True):
    """What the browser made of the options."""

    response: dict[str, object]
    tenant: TenantName = "default"


class LoginReply(Message, frozen=True):
    """How far a login has come. With `done` come the cookies of a session.

    Attributes:
        stage: `second-factor` or `done`.
        ticket: for the second step, by one of the `methods`.
        csrf: to be sent as `Fastness-CSRF` with every changing request of the session.
    """

    stage: str
    expires_at: str
    ticket: str = ""
    methods: tuple[str, ...] = ()
    principal: str = ""
    csrf: str = ""


class RedeemRequest(Message, frozen=True):
    """Sets a password by a one-time code."""

    code: str
    password: Password


class PasswordRequest(Message, frozen=True):
    """A new password.

    Attributes:
        old: in a session; with a key the first password is set, after a second factor.
    """

    new: Password
    old: str = ""


class PasswordReply(Message, frozen=True):
    """The password is changed; a session has a new cookie and a new `csrf`."""

    csrf: str = ""


class MeView(Message, frozen=True):
    """Who asks.

    Attributes:
        strength: how they proved it: `key`, `password`, `signed` or `mfa`.
        stepped_up_until: a second factor counts until then; empty without one.
        csrf: of the session; empty with a key or a token.
    """

    principal: str
    tenant: str
    roles: tuple[str, ...]
    credential: str
    strength: str
    stepped_up_until: str = ""
    csrf: str = ""


class SessionView(Message, frozen=True):
    """A session of the console; `current` is the one that asks."""

    session: str
    principal: str
    strength: str
    network: str
    started_at: str
    seen_at: str
    expires_at: str
    current: bool = False


class InvitationReply(Message, frozen=True):
    """A one-time code to set a password by, shown this once; its owner types it at `url`."""

    principal: str
    code: str
    expires_at: str
    url: str


class PrincipalRequest(Message, frozen=True):
    """Creates a principal; kind is user, service or agent."""

    name: Name
    roles: tuple[RoleName, ...]
    kind: PrincipalKindName = "user"


class PrincipalReply(Message, frozen=True):
    """The one-time code is shown this once."""

    principal: str
    code: str
    expires_at: str


class PrincipalView(Message, frozen=True):
    """A principal as it stands."""

    principal: str
    kind: str
    roles: tuple[str, ...]
    enrolled: bool
    active: bool


class RolesRequest(Message, frozen=True):
    """The roles of a principal from now on, all of them."""

    roles: tuple[RoleName, ...]


class ActionsRequest(Message, frozen=True):
    """The actions that a key is left."""

    actions: tuple[ActionName, ...]


class KeyRequest(Message, frozen=True):
    """Creates an API key for a principal; keys expire. Without actions, models or networks it is not narrowed to any."""

    principal: PrincipalName
    name: Label
    per_s: Rate = 100.0
    burst: Burst = 200.0
    days: Days = 90.0
    actions: tuple[ActionName, ...] = ()
    models: tuple[ModelName, ...] = ()
    networks: tuple[NetworkText, ...] = ()


class KeyReply(Message, frozen=True):
    """The API key is shown this once."""

    key_id: str
    api_key: str
    expires_at: str


class KeyView(Message, frozen=True):
    """A key without its secret, what it is narrowed to (empty is all), and the key that takes its place."""

    key_id: str
    name: str
    principal: str
    created_at: str
    expires_at: str
    revoked: bool
    per_s: float
    burst: float
    actions: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    successor: str = ""


class FindingView(Message, frozen=True):
    """A finding with what its rule says about mending it."""

    rule: str
    severity: str
    where: str
    message: str
    fix: str = ""
    evidence: dict[str, str | int | float] = msgspec.field(default_factory=dict)


class StepView(Message, frozen=True):
    """Progress of a push: one line for each step begun or done."""

    step: str
    state: str
    detail: str = ""
    elapsed_ms: float = 0.0


class AdmissionReply(Message, frozen=True):
    """The outcome of a push; `version` is 0 if it was refused, and `reason` then says at which step."""

    model: str
    decision: str
    version: int = 0
    digest: str = ""
    reason: str = ""
    findings: tuple[FindingView, ...] = ()


class PushLine(Message, frozen=True):
    """One line of the reply to a push: a step, or last the outcome, or a problem document."""

    step: StepView | None = None
    outcome: AdmissionReply | None = None
    problem: dict[str, str | int | float] | None = None


class MeasureView(Message, frozen=True):
    """One measurement of a version; `allowance` says until when one stands in for it."""

    name: str
    area: str
    state: str
    detail: str = ""
    value: float | None = None
    unit: str = ""
    allowance: str = ""


class ApprovalView(Message, frozen=True):
    """A decision of an approver on one version for one environment."""

    principal: str
    environment: str
    decision: str
    at: str
    valid: bool


class AttestationView(Message, frozen=True):
    """A signed statement about a version."""

    predicate_type: str
    key_id: str
    at: str


class VersionView(Message, frozen=True):
    """A version with everything that speaks for or against it."""

    model: str
    version: int
    state: str
    digest: str
    author: str
    created_at: str
    size: int
    format: str
    findings: tuple[FindingView, ...] = ()
    scores: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)
    measures: tuple[MeasureView, ...] = ()
    approvals: tuple[ApprovalView, ...] = ()
    attestations: tuple[AttestationView, ...] = ()
    aliases: tuple[str, ...] = ()
    signature: dict[str, object] = msgspec.field(default_factory=dict)


class ModelView(Message, frozen=True):
    """A model in a listing."""

    model: str
    versions: int
    latest_state: str
    aliases: dict[str, int] = msgspec.field(default_factory=dict)


class ApprovalSubject(Message, frozen=True):
    """What an approver signs with their own key: the server proposes, the approver's program checks and signs."""

    subject: str
    digest: str
    predicate_type: str
    predicate: dict[str, object]


class ApprovalRequest(Message, frozen=True):
    """A signed approval: a DSSE envelope around an in-toto statement."""

    environment: EnvironmentName
    envelope: str


class DeployRequest(Message, frozen=True):
    """Puts a version into an environment."""

    environment: EnvironmentName


class ReasonRequest(Message, frozen=True):
    """An act that must say why."""

    reason: Reason
    environment: EnvironmentName = ""


class RevisionView(Message, frozen=True):
    """What an alias points at."""

    revision: str
    model: str
    version: int
    environment: str


class HistoryView(Message, frozen=True):
    """One move of an alias."""

    alias: str
    sequence: int
    version: int
    revision: str
    principal: str
    at: str
    reason: str = ""


class AllowanceRequest(Message, frozen=True):
    """Lets named measures pass in an environment although they were not run, for a while and for a reason."""

    measures: tuple[str, ...]
    days: Days
    reason: Reason


class AllowanceView(Message, frozen=True):
    """A standing allowance."""

    id: str
    environment: str
    measures: tuple[str, ...]
    reason: str
    granted_by: str
    expires_at: str


class EntryView(Message, frozen=True):
    """A ledger entry; `event` is the leaf's JSON."""

    index: int
    event: dict[str, object]


class ProofView(Message, frozen=True):
    """An inclusion proof: check it with the entry's bytes, the checkpoint and the log's public key."""

    index: int
    size: int
    entry: str
    hashes: tuple[str, ...]
    checkpoint: str


class VerificationRequest(Message, frozen=True):
    """Verify the log; with `since`, the note of a kept checkpoint, also that it continues that."""

    since: str = ""


class VerificationReply(Message, frozen=True):
    """A log that was verified: how many entries under which root (hexadecimal)."""

    origin: str
    size: int
    root: str


class ModelStatus(Message, frozen=True):
    """A served model."""

    key: str
    version: int
    revision: str
    state: str
    detail: str = ""
    pid: int = 0


class SystemView(Message, frozen=True):
    """A running house; `home`, its folder, is shown to its own administrators alone."""

    version: str
    home: str
    url: str
    ledger_size: int
    models: tuple[ModelStatus, ...] = ()
    gateways: int = 0
