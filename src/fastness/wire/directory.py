"""Messages of the control plane about who belongs: tenants, groups, roles on single models, and reviews."""

from __future__ import annotations

from typing import Annotated

from fastness.wire.control import Message
from fastness.wire.shapes import (
    EnrolledName,
    GroupName,
    ModelName,
    ModelRoleName,
    Name,
    PrincipalName,
    Reason,
    RoleName,
    described,
)

Choice = Annotated[str, described(enum=["keep", "revoke", "expire"])]
OverlapHours = Annotated[float, described(minimum=0, maximum=168)]
ReviewDays = Annotated[float, described(minimum=1 / 24, maximum=90)]
KeptDays = Annotated[float, described(minimum=0, maximum=366)]


class NewTenantRequest(Message, frozen=True):
    """Makes a tenant with its first administrator, `user:ADMIN`."""

    tenant: Name
    title: GroupName
    admin: Name = "admin"


class TenantReply(Message, frozen=True):
    """The one-time code of the first administrator, shown this once."""

    tenant: str
    principal: str
    code: str
    expires_at: str


class TenantView(Message, frozen=True):
    """A tenant as it stands."""

    tenant: str
    title: str
    created_by: str
    created_at: str
    active: bool


class EndedReply(Message, frozen=True):
    """How many principals were ended."""

    ended: int


class GroupRequest(Message, frozen=True):
    """A group's name and the roles that its members hold, all of them."""

    name: GroupName
    roles: tuple[RoleName, ...] = ()


class GroupReply(Message, frozen=True):
    """A group just made."""

    group: str


class GroupView(Message, frozen=True):
    """A group and who belongs to it; `source` is `house`, or `scim` where a directory service keeps it."""

    group: str
    name: str
    source: str
    roles: tuple[str, ...]
    members: tuple[str, ...]
    created_at: str


class GrantRequest(Message, frozen=True):
    """Gives a principal a role on a single model."""

    principal: PrincipalName
    role: ModelRoleName
    model: ModelName


class GrantView(Message, frozen=True):
    """A role held on a single model."""

    principal: str
    role: str
    model: str


class RotationRequest(Message, frozen=True):
    """How long the old key stays good beside its successor."""

    overlap_hours: OverlapHours = 24.0


class RotationReply(Message, frozen=True):
    """The successor of a key, shown this once."""

    key_id: str
    api_key: str
    expires_at: str
    replaces: str


class ReviewRequest(Message, frozen=True):
    """Starts a review of everything that gives rights; what is undecided after `days` is revoked."""

    name: GroupName
    reviewers: tuple[EnrolledName, ...]
    days: ReviewDays = 14.0


class ReviewView(Message, frozen=True):
    """A review and how far it is.

    Attributes:
        waiting: how many items each reviewer can still decide.
    """

    review: str
    name: str
    created_by: str
    created_at: str
    deadline: str
    closed_at: str
    total: int
    decided: int
    by_choice: dict[str, int]
    waiting: dict[str, int]


class ItemView(Message, frozen=True):
    """Something that gives rights, and what was decided about it; times that are not there are empty."""

    number: int
    kind: str
    principal: str
    subject: str
    shown: str
    last_used_at: str
    decision: str
    reason: str
    decided_by: str
    decided_at: str
    ends_at: str
    applied_at: str


class DecisionRequest(Message, frozen=True):
    """What is decided about an item; `days` says when that ends which is to expire."""

    decision: Choice
    reason: Reason
    days: KeptDays = 0.0
