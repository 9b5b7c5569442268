"""What does not go together: roles in one hand, and acts in one session; as data, each with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from fastness.core.findings import Severity
from fastness.core.identity import Action, Grant, Role


class ToxicRoles(NamedTuple):
    """Two roles that one person should not hold."""

    one: Role
    two: Role
    severity: Severity
    why: str


class ToxicActs(NamedTuple):
    """Two actions that no role permits together, and that nobody does to one thing in one session."""

    one: Action
    two: Action
    why: str


ROLES = (
    ToxicRoles(Role.PUBLISHER, Role.APPROVER, Severity.MEDIUM, "who brings models in would also judge those of others who judge theirs"),
    ToxicRoles(Role.APPROVER, Role.OPERATOR, Severity.MEDIUM, "who says yes would also put into service"),
    ToxicRoles(Role.PUBLISHER, Role.OPERATOR, Severity.MEDIUM, "who brings models in would also run them"),
    ToxicRoles(Role.ADMINISTRATOR, Role.APPROVER, Severity.HIGH, "who makes people could make the second approver"),
    ToxicRoles(Role.ADMINISTRATOR, Role.OPERATOR, Severity.HIGH, "who makes people could make the approvers of what they run"),
    ToxicRoles(Role.ADMINISTRATOR, Role.SECURITY_OFFICER, Severity.HIGH, "who sets the rules would also choose whom they bind"),
    ToxicRoles(Role.ADMINISTRATOR, Role.AUDITOR, Severity.MEDIUM, "who is audited would be the auditor"),
    ToxicRoles(Role.SECURITY_OFFICER, Role.AUDITOR, Severity.MEDIUM, "who is audited would be the auditor"),
    ToxicRoles(Role.SECURITY_OFFICER, Role.OPERATOR, Severity.HIGH, "who grants allowances would also use them"),
)  # fmt: skip

ACTS = (
    ToxicActs(Action.MODEL_PUSH, Action.MODEL_APPROVE, "a model is judged by another than who brought it"),
    ToxicActs(Action.MODEL_PUSH, Action.MODEL_DEPLOY, "a model is put into service by another than who brought it"),
    ToxicActs(Action.MODEL_APPROVE, Action.MODEL_DEPLOY, "a model is put into service by another than who judged it"),
    ToxicActs(Action.ALLOWANCE_GRANT, Action.MODEL_DEPLOY, "an allowance is used by another than who granted it"),
    ToxicActs(Action.ROLE_GRANT, Action.MODEL_APPROVE, "who makes approvers is none"),
    ToxicActs(Action.ROLE_GRANT, Action.MODEL_DEPLOY, "who makes approvers does not use their word"),
    ToxicActs(Action.ROLE_GRANT, Action.POLICY_CHANGE, "who sets the rules does not choose whom they bind"),
    ToxicActs(Action.PRINCIPAL_CREATE, Action.MODEL_APPROVE, "who makes people does not judge in their name"),
    ToxicActs(Action.CREDENTIAL_RESET, Action.APPROVAL_GIVE, "who can take over accounts gives no approvals"),
    ToxicActs(Action.PROVIDER_CHANGE, Action.APPROVAL_GIVE, "who says whom to believe about people gives no approvals"),
    ToxicActs(Action.KEYRING_ROTATE, Action.AUDIT_EXPORT, "who holds the keys does not vouch for the record"),
)


def pairs_in(roles: frozenset[Role], grants: Iterable[Grant]) -> Iterator[tuple[ToxicRoles, str]]:
    """The pairs of roles in one hand that do not go together, each with the model on which they meet; empty for everywhere.

    Args:
        grants: roles on single models; they meet the roles held everywhere, and each other on the same model.
    """
    by_model: dict[str, frozenset[Role]] = {"": roles}
    for grant in grants:
        by_model[grant.model] = by_model.get(grant.model, roles) | {grant.role}
    for model, held in sorted(by_model.items()):
        for pair in ROLES:
            if {pair.one, pair.two} <= held and (not model or not {pair.one, pair.two} <= roles):
                yield pair, model
