"""`fastness access tenant|group|grant …`: who belongs, and what gives them rights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fastness.core.errors import NotFound
from fastness.interfaces.cli.context import Options
from fastness.interfaces.cli.output import say, show

if TYPE_CHECKING:
    from fastness.client import ControlClient
    from fastness.wire.directory import GroupView

tenant = typer.Typer(help="Tenants: houses within the house.", no_args_is_help=True)
group = typer.Typer(help="Groups, whose roles are held by who belongs to them.", no_args_is_help=True)
grant = typer.Typer(help="Roles on single models.", no_args_is_help=True)

_Group = Annotated[str, typer.Argument(help="Name or id of the group.")]
_Who = Annotated[str, typer.Argument(help="Which principal, such as user:alice.")]
_Role = Annotated[str, typer.Argument(help="viewer, developer, publisher, approver or operator.")]
_Model = Annotated[str, typer.Argument(help="Which model.")]


@tenant.command("create")
def create_tenant(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Short name, such as north.")],
    title: Annotated[str, typer.Option(help="What it is called in lists [the short name].")] = "",
    admin: Annotated[str, typer.Option(help="Short name of its first administrator.")] = "admin",
) -> None:
    """Make a tenant and print the one-time code of its first administrator.

    Example: fastness access tenant create north --title "North Ltd." --admin nora
    """
    from fastness.wire.directory import NewTenantRequest

    options: Options = context.obj
    with options.control() as control:
        reply = control.directory.create_tenant(NewTenantRequest(name, title or name, admin))
    say(
        options,
        reply,
        f"[bold green]created[/bold green] tenant {reply.tenant} with {reply.principal}\n"
        f"  one-time code, until {reply.expires_at}: [bold]{reply.code}[/bold]\n"
        f"  [dim]its owner runs[/dim] fastness access enroll {reply.code} --as {admin}",
    )


@tenant.command("list")
def list_tenants(context: typer.Context) -> None:
    """The tenants that were made; for those who keep the house."""
    options: Options = context.obj
    with options.control() as control:
        found = control.directory.tenants()
    rows = [(t.tenant, t.title, t.created_by, t.created_at, "yes" if t.active else "ended") for t in found]
    show(options, found, ("tenant", "called", "made by", "since", "active"), rows)


@tenant.command("deactivate")
def deactivate_tenant(
    context: typer.Context, name: Annotated[str, typer.Argument(help="Short name of the tenant.")]
) -> None:
    """End a tenant and everybody in it. It cannot be begun again; its record stays.

    Example: fastness access tenant deactivate north
    """
    options: Options = context.obj
    with options.control() as control:
        reply = control.directory.deactivate_tenant(name)
    say(options, reply, f"[bold yellow]ended[/bold yellow] {name}, and {reply.ended} principals in it")


@group.command("create")
def create_group(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What the group is called.")],
    roles: Annotated[list[str] | None, typer.Option("--role", help="A role of its members; may be repeated.")] = None,
) -> None:
    """Make a group without members.

    Example: fastness access group create Operators --role operator --role viewer
    """
    from fastness.wire.directory import GroupRequest

    options: Options = context.obj
    with options.control() as control:
        reply = control.directory.create_group(GroupRequest(name, tuple(roles or ())))
    say(options, reply, f"[bold green]created[/bold green] group {name}: {reply.group}")


@group.command("list")
def list_groups(context: typer.Context) -> None:
    """All groups with their roles and members."""
    options: Options = context.obj
    with options.control() as control:
        found = control.directory.groups()
    rows = [(g.group, g.name, ", ".join(g.roles), ", ".join(g.members), g.source) for g in found]
    show(options, found, ("group", "name", "roles", "members", "kept by"), rows)


@group.command("change")
def change_group(
    context: typer.Context,
    name: _Group,
    roles: Annotated[
        list[str] | None, typer.Option("--role", help="A role of its members; may be repeated; none takes all away.")
    ] = None,
    rename: Annotated[str, typer.Option(help="Another name [the same].")] = "",
) -> None:
    """Give a group these roles and no others. Nobody changes a group that they belong to.

    Example: fastness access group change Operators --role operator
    """
    from fastness.wire.directory import GroupRequest

    options: Options = context.obj
    with options.control() as control:
        found = _one(control, name)
        control.directory.change_group(found.group, GroupRequest(rename or found.name, tuple(roles or ())))
    shown = {"group": found.group, "name": rename or found.name, "roles": roles or []}
    say(options, shown, f"[bold green]changed[/bold green] {name}: {', '.join(roles or ()) or 'no roles'}")


@group.command("delete")
def delete_group(context: typer.Context, name: _Group) -> None:
    """Remove a group; its members lose its roles."""
    options: Options = context.obj
    with options.control() as control:
        found = _one(control, name)
        control.directory.delete_group(found.group)
    say(options, {"group": found.group, "deleted": True}, f"[bold yellow]deleted[/bold yellow] {name}")


@group.command("add")
def add_member(context: typer.Context, name: _Group, principal: _Who) -> None:
    """Put somebody into a group. Nobody puts themselves into one.

    Example: fastness access group add Operators user:alice
    """
    options: Options = context.obj
    with options.control() as control:
        found = _one(control, name)
        control.directory.add_member(found.group, principal)
    say(options, {"group": found.group, "principal": principal}, f"[bold green]joined[/bold green] {principal}: {name}")


@group.command("remove")
def remove_member(context: typer.Context, name: _Group, principal: _Who) -> None:
    """Take somebody out of a group.

    Example: fastness access group remove Operators user:alice
    """
    options: Options = context.obj
    with options.control() as control:
        found = _one(control, name)
        control.directory.remove_member(found.group, principal)
    say(options, {"group": found.group, "principal": principal}, f"[bold yellow]left[/bold yellow] {principal}: {name}")


@grant.command("give")
def give(context: typer.Context, principal: _Who, role: _Role, model: _Model) -> None:
    """Give somebody a role on a single model.

    Example: fastness access grant give user:alice operator digits
    """
    from fastness.wire.directory import GrantRequest

    options: Options = context.obj
    with options.control() as control:
        view = control.directory.grant(GrantRequest(principal, role, model))
    say(options, view, f"[bold green]granted[/bold green] {principal} is {role} of {model}")


@grant.command("withdraw")
def withdraw(context: typer.Context, principal: _Who, role: _Role, model: _Model) -> None:
    """Take a role on a single model away.

    Example: fastness access grant withdraw user:alice operator digits
    """
    options: Options = context.obj
    with options.control() as control:
        control.directory.withdraw(principal, role, model)
    shown = {"principal": principal, "role": role, "model": model}
    say(options, shown, f"[bold yellow]withdrawn[/bold yellow] {principal} is no longer {role} of {model}")


@grant.command("list")
def list_grants(context: typer.Context) -> None:
    """All roles that are held on single models."""
    options: Options = context.obj
    with options.control() as control:
        found = control.directory.grants()
    show(options, found, ("principal", "role", "model"), [(g.principal, g.role, g.model) for g in found])


def _one(control: ControlClient, name: str) -> GroupView:
    """The group of this name or id. Raises NotFound."""
    for found in control.directory.groups():
        if name in {found.name, found.group}:
            return found
    raise NotFound("group-unknown", f"there is no group {name[:128]!r}", "See: fastness access group list.")
