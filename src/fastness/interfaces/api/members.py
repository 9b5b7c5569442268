"""Routes for those who belong: other roles, a lost code, a narrower key, and the end of membership."""

from __future__ import annotations

from litestar import Controller, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from fastness.access import KeysProjection, keys, standing
from fastness.app import House
from fastness.core.clock import rfc3339
from fastness.core.identity import Action, PrincipalId, Resource, parse_role
from fastness.interfaces.api.access import parse_action
from fastness.interfaces.api.doors import Caller, Doors
from fastness.interfaces.api.routes import WRITE, guarded
from fastness.wire import control


class MemberRoutes(Controller):
    """What changes for those who belong."""

    path = "/principals"
    tags = ("access",)

    @put("/{principal:str}/roles", status_code=204, sync_to_thread=True, opt=guarded(Action.ROLE_GRANT, WRITE))
    def set_roles(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        principal: FromPath[str],
        data: JSONBody[control.RolesRequest],
    ) -> None:
        """Give a principal these roles and no others."""
        roles = frozenset(parse_role(r) for r in data.roles)
        doors.allow(caller, Action.ROLE_GRANT, Resource("principal", principal), owner=principal)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            standing.set_roles(tx, PrincipalId(principal), roles)
        house.published(KeysProjection.topic)

    @post("/{principal:str}/deactivation", status_code=204, sync_to_thread=True, opt=guarded(Action.ROLE_GRANT, WRITE))
    def deactivate(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        principal: FromPath[str],
    ) -> None:
        """End a principal: its keys, codes and approvals count no more."""
        doors.allow(caller, Action.ROLE_GRANT, Resource("principal", principal), owner=principal)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            standing.deactivate(tx, PrincipalId(principal))
        house.published(KeysProjection.topic)

    @post(
        "/{principal:str}/codes",
        sync_to_thread=True,
        opt=guarded(Action.PRINCIPAL_CREATE, WRITE, shown_once=True),
    )
    def reissue_code(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        principal: FromPath[str],
    ) -> control.PrincipalReply:
        """A new one-time code for a principal that has never enrolled; older ones are void."""
        doors.allow(caller, Action.PRINCIPAL_CREATE, Resource("principal", principal))
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            enrolment = standing.reissue_code(tx, PrincipalId(principal))
        return control.PrincipalReply(enrolment.principal, enrolment.code, rfc3339(enrolment.expires_at))


class KeyRoutes(Controller):
    """What changes for a key."""

    path = "/keys"
    tags = ("access",)

    @put("/{key_id:str}/actions", status_code=204, sync_to_thread=True, opt=guarded(Action.KEY_REVOKE, WRITE))
    def narrow_key(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        key_id: FromPath[str],
        data: JSONBody[control.ActionsRequest],
    ) -> None:
        """Take from a key all actions but these; it never gets one back."""
        actions = frozenset(map(parse_action, data.actions))
        with house.records.read(caller.scope) as reading:
            owner = next((k.principal for k in keys(reading) if k.key_id == key_id), "")
        doors.allow(caller, Action.KEY_REVOKE, Resource("key", key_id), owner=owner)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            standing.narrow_key(tx, key_id, actions)
        house.published(KeysProjection.topic)
