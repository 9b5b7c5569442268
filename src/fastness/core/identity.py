"""Who acts, and in whose house: principals, tenants, scopes, resources and actions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NamedTuple, NewType

import msgspec

from fastness.core.clock import Instant
from fastness.core.errors import Invalid

TenantId = NewType("TenantId", str)
PrincipalId = NewType("PrincipalId", str)
"""Kind and name, such as `user:alice` or `service:gateway`."""

DEFAULT_TENANT = TenantId("default")


class PrincipalKind(StrEnum):
    """What sort of actor a principal is."""

    USER = "user"
    SERVICE = "service"
    AGENT = "agent"
    SYSTEM = "system"


class Strength(IntEnum):
    """How a principal proved who it is; higher is stronger."""

    NONE = 0
    KEY = 1
    PASSWORD = 2
    SIGNED = 3
    MFA = 4


class Role(StrEnum):
    """The roles shipped; what each may do stands in the policies of `access`."""

    VIEWER = "viewer"
    DEVELOPER = "developer"
    PUBLISHER = "publisher"
    APPROVER = "approver"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    SECURITY_OFFICER = "security-officer"
    ADMINISTRATOR = "administrator"


def parse_role(text: str) -> Role:
    """The role called `text`.

    Raises:
        Invalid: there is none.
    """
    if text not in set(Role):
        raise Invalid("role-unknown", f"{text[:80]!r} is not a role", f"Use one of {', '.join(Role)}.")
    return Role(text)


class Grant(NamedTuple):
    """A role held on one model alone."""

    role: Role
    model: str


class Principal(msgspec.Struct, frozen=True):
    """An authenticated actor.

    Attributes:
        roles: held everywhere in the tenant.
        authenticated_at: when the credential in use proved who it is.
        actions: what the credential is narrowed to; None leaves all that the roles permit. It never widens.
        models: the names of the models that the credential is narrowed to; None leaves all.
        grants: roles held on single models.
        stepped_up_at: when a second factor was last given with this credential; None if never.
        actor: who acts in this principal's name, by delegation; empty where nobody else does.
        signed: the request carries a signature of this principal (RFC 9421).
        certified: it came over a connection that holds a certificate of this principal.
    """

    kind: PrincipalKind
    id: PrincipalId
    tenant: TenantId
    roles: frozenset[Role]
    strength: Strength
    authenticated_at: Instant
    actions: frozenset[Action] | None = None
    models: frozenset[str] | None = None
    grants: frozenset[Grant] = frozenset()
    stepped_up_at: Instant | None = None
    actor: PrincipalId = PrincipalId("")
    signed: bool = False
    certified: bool = False


@dataclass(frozen=True, slots=True)
class Scope:
    """In whose name stored things are read or written: everything stored belongs to a tenant."""

    tenant: TenantId
    principal: PrincipalId


@dataclass(frozen=True, slots=True)
class Resource:
    """What is acted on, such as Resource("model", "digits")."""

    kind: str
    id: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"


class Action(StrEnum):
    """What can be asked of the house. Policies name these, and nothing else."""

    MODEL_INFER = "model.infer"
    MODEL_READ = "model.read"
    MODEL_PUSH = "model.push"
    MODEL_PULL = "model.pull"
    MODEL_APPROVE = "model.approve"
    MODEL_DEPLOY = "model.deploy"
    MODEL_ROLLBACK = "model.rollback"
    MODEL_QUARANTINE = "model.quarantine"
    MODEL_DELETE = "model.delete"
    ALLOWANCE_GRANT = "allowance.grant"
    APPROVAL_GIVE = "approval.give"
    ACCESS_READ = "access.read"
    PRINCIPAL_CREATE = "principal.create"
    ROLE_GRANT = "role.grant"
    GROUP_CHANGE = "group.change"
    TENANT_CREATE = "tenant.create"
    KEY_CREATE = "key.create"
    KEY_REVOKE = "key.revoke"
    SESSION_REVOKE = "session.revoke"
    CREDENTIAL_RESET = "credential.reset"
    CLIENT_CHANGE = "client.change"
    PROVIDER_CHANGE = "provider.change"
    TOKEN_DELEGATE = "token.delegate"  # noqa: S105 - a name, no password
    POLICY_READ = "policy.read"
    POLICY_CHANGE = "policy.change"
    RESTRICTION_CHANGE = "restriction.change"
    QUOTA_CHANGE = "quota.change"
    REVIEW_MANAGE = "review.manage"
    REVIEW_DECIDE = "review.decide"
    DIRECTORY_PROVISION = "directory.provision"
    KEYRING_ROTATE = "keyring.rotate"
    AUDIT_READ = "audit.read"
    AUDIT_EXPORT = "audit.export"
    METRICS_READ = "metrics.read"
    SYSTEM_READ = "system.read"


class Obligation(StrEnum):
    """What a decision may ask for besides its answer; a rule names them by `@obliges`.

    `step-up` is a second factor given lately, `two-persons` an approval by others, `mask` a reply without personal
    values, `log` an event also where the answer is yes.
    """

    STEP_UP = "step-up"
    TWO_PERSONS = "two-persons"
    MASK = "mask"
    LOG = "log"


SYSTEM = PrincipalId("system:fastness")
SYSTEM_SCOPE = Scope(DEFAULT_TENANT, SYSTEM)
