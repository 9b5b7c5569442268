"""Routes of who belongs: tenants, groups, roles on single models, and keys that follow others."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, PathParameter

from fastness.access import KeysProjection, keys, principals
from fastness.access.directory import Group, groups, tenants
from fastness.access.members import rotate_key
from fastness.app import House
from fastness.core.clock import rfc3339
from fastness.core.identity import Action, PrincipalId, Resource, TenantId, parse_role
from fastness.foundation.storage import Reading
from fastness.interfaces.api.access import bounds_of
from fastness.interfaces.api.doors import Caller, Doors
from fastness.interfaces.api.paging import Page, find_one
from fastness.interfaces.api.routes import WRITE, guarded
from fastness.wire import directory
from fastness.wire.shapes import MODEL_ROLES

_HOUR_S = 3600.0


class TenantRoutes(Controller):
    """Houses within the house."""

    path = "/tenants"
    tags = ("directory",)

    @get("/", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def tenants(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        page: NamedDependency[Page],
    ) -> Response[list[directory.TenantView]]:
        """The tenants that were made, for those who keep the house."""
        doors.allow(caller, Action.ACCESS_READ, Resource("access", "tenants"))
        with house.records.read(caller.scope) as reading:
            found = _tenants(reading)
        return page.of(found, lambda view: view.tenant)

    @get("/{tenant:str}", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def one(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        tenant: FromPath[str],
    ) -> directory.TenantView:
        """One tenant, for those who keep the house."""
        doors.allow(caller, Action.ACCESS_READ, Resource("tenant", tenant))
        with house.records.read(caller.scope) as reading:
            found = _tenants(reading)
        return find_one(found, lambda view: view.tenant, tenant, "tenant")

    @post("/", sync_to_thread=True, opt=guarded(Action.TENANT_CREATE, WRITE, shown_once=True))
    def create(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        data: JSONBody[directory.NewTenantRequest],
    ) -> directory.TenantReply:
        """Make a tenant, and the one-time code of its first administrator."""
        doors.allow(caller, Action.TENANT_CREATE, Resource("tenant", data.tenant))
        made = tenants.create_tenant(
            house.records, caller.scope, data.tenant, data.title, data.admin, house.clock.now()
        )  # fmt: skip
        return directory.TenantReply(data.tenant, made.principal, made.code, rfc3339(made.expires_at))

    @post(
        "/{tenant:str}/deactivation", status_code=200, sync_to_thread=True, opt=guarded(Action.TENANT_CREATE, WRITE)
    )  # fmt: skip
    def deactivate(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        tenant: FromPath[str],
    ) -> directory.EndedReply:
        """End a tenant and everybody in it; it cannot be begun again."""
        doors.allow(caller, Action.TENANT_CREATE, Resource("tenant", tenant))
        ended = tenants.deactivate_tenant(house.records, caller.scope, TenantId(tenant), house.clock.now())
        house.published(KeysProjection.topic)
        return directory.EndedReply(ended)


class GroupRoutes(Controller):
    """Groups, whose roles are held by who belongs to them."""

    path = "/groups"
    tags = ("directory",)

    @get("/", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def groups(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        page: NamedDependency[Page],
    ) -> Response[list[directory.GroupView]]:
        """All groups of the tenant with their members."""
        doors.allow(caller, Action.ACCESS_READ, Resource("access", "groups"))
        with house.records.read(caller.scope) as reading:
            found = groups.groups(reading)
        return page.of(map(_shown, found), lambda view: view.group)

    @get("/{group:str}", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def one(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        group: FromPath[str],
    ) -> directory.GroupView:
        """One group with its members."""
        doors.allow(caller, Action.ACCESS_READ, Resource("group", group))
        with house.records.read(caller.scope) as reading:
            found = groups.groups(reading)
        return find_one(map(_shown, found), lambda view: view.group, group, "group")

    @post("/", sync_to_thread=True, opt=guarded(Action.GROUP_CHANGE, WRITE))
    def create(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        data: JSONBody[directory.GroupRequest],
    ) -> directory.GroupReply:
        """Make a group without members."""
        roles = frozenset(parse_role(role) for role in data.roles)
        doors.allow(caller, Action.GROUP_CHANGE, Resource("access", "groups"), owner="")
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            made = groups.create_group(tx, data.name, roles)
        return directory.GroupReply(made)

    @put("/{group:str}", status_code=204, sync_to_thread=True, opt=guarded(Action.GROUP_CHANGE, WRITE))
    def change(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        group: FromPath[str],
        data: JSONBody[directory.GroupRequest],
    ) -> None:
        """Give a group this name and these roles. Nobody changes a group that they belong to."""
        roles = frozenset(parse_role(role) for role in data.roles)
        self._allow(house, doors, caller, group)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            groups.change_group(tx, group, name=data.name, roles=roles)
        house.published(KeysProjection.topic)

    @delete("/{group:str}", sync_to_thread=True, opt=guarded(Action.GROUP_CHANGE, WRITE))
    def remove(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        group: FromPath[str],
    ) -> None:
        """Remove a group; its members lose its roles."""
        self._allow(house, doors, caller, group)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            groups.delete_group(tx, group)
        house.published(KeysProjection.topic)

    @put(
        "/{group:str}/members/{principal:str}",
        status_code=204,
        sync_to_thread=True,
        opt=guarded(Action.GROUP_CHANGE, WRITE),
    )
    def add_member(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        group: FromPath[str],
        principal: FromPath[str],
    ) -> None:
        """Put a principal into a group. Nobody puts themselves into one."""
        doors.allow(caller, Action.GROUP_CHANGE, Resource("group", group), owner=principal)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            groups.add_member(tx, group, PrincipalId(principal))
        house.published(KeysProjection.topic)

    @delete("/{group:str}/members/{principal:str}", sync_to_thread=True, opt=guarded(Action.GROUP_CHANGE, WRITE))
    def remove_member(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        group: FromPath[str],
        principal: FromPath[str],
    ) -> None:
        """Take a principal out of a group."""
        doors.allow(caller, Action.GROUP_CHANGE, Resource("group", group), owner=principal)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            groups.remove_member(tx, group, PrincipalId(principal))
        house.published(KeysProjection.topic)

    @staticmethod
    def _allow(house: House, doors: Doors, caller: Caller, group: str) -> None:
        """The roles of a group are those of its members: for one of them the group is their own."""
        with house.records.read(caller.scope) as reading:
            found = next((one for one in groups.groups(reading) if one.id == group), None)
        member = found is not None and caller.principal.id in found.members
        owner = str(caller.principal.id) if member else ""
        doors.allow(caller, Action.GROUP_CHANGE, Resource("group", group), owner=owner)


class GrantRoutes(Controller):
    """Roles on single models."""

    path = "/grants"
    tags = ("directory",)

    @get("/", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def grants(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        page: NamedDependency[Page],
    ) -> Response[list[directory.GrantView]]:
        """All roles of the tenant that are held on single models."""
        doors.allow(caller, Action.ACCESS_READ, Resource("access", "grants"))
        with house.records.read(caller.scope) as reading:
            found = _grants(reading)
        return page.of(found, _grant_name)

    @get("/{principal:str}/{role:str}/{model:str}", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def one(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        principal: FromPath[str],
        role: Annotated[str, PathParameter(schema_extra={"enum": list(MODEL_ROLES)})],
        model: FromPath[str],
    ) -> directory.GrantView:
        """One role on a single model."""
        doors.allow(caller, Action.ACCESS_READ, Resource("principal", principal))
        with house.records.read(caller.scope) as reading:
            found = _grants(reading)
        return find_one(found, _grant_name, f"{principal}/{role}/{model}", "grant")

    @post("/", sync_to_thread=True, opt=guarded(Action.ROLE_GRANT, WRITE))
    def grant(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        data: JSONBody[directory.GrantRequest],
    ) -> directory.GrantView:
        """Give a principal a role on a single model."""
        role = parse_role(data.role)
        resource = Resource("principal", data.principal)
        doors.allow(caller, Action.ROLE_GRANT, resource, owner=data.principal)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            groups.grant(tx, PrincipalId(data.principal), role, data.model)
        house.published(KeysProjection.topic)
        return directory.GrantView(data.principal, role.value, data.model)

    @delete("/{principal:str}/{role:str}/{model:str}", sync_to_thread=True, opt=guarded(Action.ROLE_GRANT, WRITE))
    def withdraw(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        principal: FromPath[str],
        role: Annotated[str, PathParameter(schema_extra={"enum": list(MODEL_ROLES)})],
        model: FromPath[str],
    ) -> None:
        """Take a role on a single model away."""
        held = parse_role(role)
        doors.allow(caller, Action.ROLE_GRANT, Resource("principal", principal), owner=principal)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            groups.withdraw(tx, PrincipalId(principal), held, model)
        house.published(KeysProjection.topic)


class RotationRoutes(Controller):
    """Keys that follow others."""

    path = "/keys"
    tags = ("access",)

    @post("/{key_id:str}/rotation", sync_to_thread=True, opt=guarded(Action.KEY_CREATE, WRITE, shown_once=True))
    def rotate(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        key_id: FromPath[str],
        data: JSONBody[directory.RotationRequest],
    ) -> directory.RotationReply:
        """A successor with the same rights; the old key is good for a while beside it."""
        with house.records.read(caller.scope) as reading:
            found = next((key for key in keys(reading) if key.key_id == key_id), None)
            maker = bounds_of(reading, caller)
        owner = found.principal if found else ""
        kind = owner.partition(":")[0]
        doors.allow(caller, Action.KEY_CREATE, Resource("key", key_id), owner=owner, owner_kind=kind)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            made = rotate_key(tx, key_id, data.overlap_hours * _HOUR_S, maker, house.pepper)
        house.published(KeysProjection.topic)
        return directory.RotationReply(made.key_id, made.text, rfc3339(made.expires_at), key_id)


def _tenants(reading: Reading) -> list[directory.TenantView]:
    return [
        directory.TenantView(t.id, t.name, t.created_by, rfc3339(t.created_at), t.active)
        for t in tenants.tenants(reading)
    ]


def _grants(reading: Reading) -> list[directory.GrantView]:
    return [
        directory.GrantView(str(p.id), held.role.value, held.model) for p in principals(reading) for held in p.grants
    ]


def _grant_name(view: directory.GrantView) -> str:
    return f"{view.principal}/{view.role}/{view.model}"


def _shown(group: Group) -> directory.GroupView:
    roles, members = tuple(sorted(group.roles)), tuple(sorted(group.members))
    return directory.GroupView(group.id, group.name, group.source, roles, members, rfc3339(group.created_at))


DIRECTORY = (TenantRoutes, GroupRoutes, GrantRoutes, RotationRoutes)
