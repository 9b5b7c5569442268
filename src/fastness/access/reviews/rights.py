"""What somebody may do, by asking the policies about every action; and by which uses a right shows that it is needed.

Asked about others' things and with nothing in the way: no author of their own, no approval given. What everybody may do with
their own (keys, sessions) is therefore not in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from fastness.access.decisions import Policies, decide
from fastness.core.clock import Instant
from fastness.core.errors import Conflict
from fastness.core.identity import (
    Action,
    Grant,
    Obligation,
    Principal,
    PrincipalId,
    PrincipalKind,
    Resource,
    Role,
    Strength,
    TenantId,
)

_AUTHORED: Final = frozenset({Action.MODEL_APPROVE, Action.MODEL_DEPLOY, Action.APPROVAL_GIVE})
_PERSONAL: Final = frozenset(
    {
        Action.ROLE_GRANT, Action.GROUP_CHANGE, Action.KEY_REVOKE, Action.SESSION_REVOKE, Action.CREDENTIAL_RESET,
        Action.TOKEN_DELEGATE, Action.RESTRICTION_CHANGE, Action.QUOTA_CHANGE, Action.REVIEW_DECIDE, Action.KEY_CREATE,
    }
)  # fmt: skip
_SOMEBODY: Final = "user:-"  # no name begins with a dash


class Rights:
    """What roles permit under one set of policies, each question asked once."""

    def __init__(self, policies: Policies, tenant: TenantId, now: Instant) -> None:
        self._policies = policies
        self._tenant = tenant
        self._now = now
        self._known: dict[tuple[PrincipalKind, frozenset[Role], bool], frozenset[Action]] = {}

    def permitted(self, kind: PrincipalKind, roles: frozenset[Role], *, of_model: bool = False) -> frozenset[Action]:
        """The actions that these roles permit, after a second factor and approvals where those are asked for.

        Args:
            of_model: only what is done to models.

        Raises:
            Conflict: `rights-undecided`: the policies give errors.
        """
        key = (kind, roles, of_model)
        if key not in self._known:
            actions = [action for action in Action if not of_model or action.startswith("model.")]
            self._known[key] = frozenset(action for action in actions if self._permits(kind, roles, action))
        return self._known[key]

    def _permits(self, kind: PrincipalKind, roles: frozenset[Role], action: Action) -> bool:
        who = Principal(
            kind, PrincipalId(f"{kind}:0"), self._tenant, roles, Strength.MFA, self._now, stepped_up_at=self._now
        )
        resource = Resource("model" if action.startswith("model.") else "access", "any")
        decision = decide(who, action, resource, _context(action, self._tenant), self._policies, self._now)
        if decision.reason in {"request-refused", "policy-error"}:
            raise Conflict("rights-undecided", f"the policies do not decide {action}: {decision.message[:200]}")
        return decision.carrying(*Obligation).allow


def _context(action: Action, tenant: TenantId) -> Mapping[str, str | int | bool]:
    context: dict[str, str | int | bool] = {"tenant": tenant}
    if action in _AUTHORED:
        context["author"] = _SOMEBODY
    if action is Action.MODEL_DEPLOY:
        context["own_approval"] = False
    if action in _PERSONAL:
        context["owner"] = _SOMEBODY
    if action is Action.KEY_CREATE:
        context["owner_kind"] = PrincipalKind.SERVICE.value
    return context


class Uses:
    """When who last used what, looked up for what gives rights."""

    def __init__(self, found: Mapping[tuple[PrincipalId, str], Instant], rights: Rights) -> None:
        self._found = found
        self._rights = rights
        self._newest: dict[PrincipalId, Instant] = {}
        self._clients: dict[str, Instant] = {}
        for (principal, what), at in found.items():
            self._newest[principal] = max(at, self._newest.get(principal, at))
            if what.startswith("client:"):
                self._clients[what] = max(at, self._clients.get(what, at))

    def of_anything(self, principal: PrincipalId) -> Instant | None:
        """When the principal last did anything."""
        return self._newest.get(principal)

    def of_key(self, principal: PrincipalId, key_id: str) -> Instant | None:
        """When a key was last used."""
        return self._found.get((principal, f"key:{key_id}"))

    def of_client(self, client_id: str) -> Instant | None:
        """When a client last got a token."""
        return self._clients.get(f"client:{client_id}"[:96])

    def of_roles(self, principal: PrincipalId, kind: PrincipalKind, roles: frozenset[Role]) -> Instant | None:
        """When the principal last did something that these roles permit."""
        return self._latest(principal, (f"action:{action}" for action in self._rights.permitted(kind, roles)))

    def of_grant(self, principal: PrincipalId, kind: PrincipalKind, grant: Grant) -> Instant | None:
        """When the principal last did something to the model that the role permits."""
        permitted = self._rights.permitted(kind, frozenset({grant.role}), of_model=True)
        return self._latest(principal, (f"action:{action}@{grant.model}"[:96] for action in permitted))

    def _latest(self, principal: PrincipalId, whats: Iterable[str]) -> Instant | None:
        found = [at for what in whats if (at := self._found.get((principal, what))) is not None]
        return max(found, default=None)
