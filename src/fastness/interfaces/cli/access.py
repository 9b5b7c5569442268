"""`fastness access …`: who may do what."""

from __future__ import annotations

from typing import Annotated

import typer

from fastness.interfaces.cli import (
    approvals,
    clients,
    directory,
    factors,
    keyring,
    limits,
    policies,
    possession,
    providers,
    reviews,
    sessions,
)
from fastness.interfaces.cli.context import Format, Identity, Options
from fastness.interfaces.cli.output import print_json, say, show

app = typer.Typer(
    help="Who may do what: principals, keys, rules, approvals, restrictions, quotas.", no_args_is_help=True
)
user = typer.Typer(help="People and services.", no_args_is_help=True)
key = typer.Typer(help="API keys.", no_args_is_help=True)
allowance = typer.Typer(help="What may pass in an environment although it was not run.", no_args_is_help=True)
app.add_typer(user, name="user")
app.add_typer(key, name="key")
app.add_typer(allowance, name="allowance")
app.add_typer(factors.app, name="factor")
app.add_typer(sessions.app, name="session")
app.command()(sessions.whoami)
app.command()(sessions.password)
user.command()(sessions.invite)
user.command()(sessions.reset)
app.add_typer(policies.app, name="policy")
app.add_typer(approvals.app, name="approvals")
app.add_typer(keyring.app, name="keyring")
app.command()(policies.explain)
app.command()(policies.conflicts)
app.command()(policies.rights)
app.command()(policies.findings)
limits.add_to(app)
app.add_typer(directory.tenant, name="tenant")
app.add_typer(directory.group, name="group")
app.add_typer(directory.grant, name="grant")
app.add_typer(reviews.review, name="review")
app.add_typer(clients.client, name="client")
app.add_typer(clients.device, name="device")
app.add_typer(providers.provider, name="provider")
app.add_typer(providers.identity, name="identity")
app.add_typer(possession.certificate, name="certificate")
app.add_typer(possession.signing_key, name="signing-key")


@user.command("create")
def create_user(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Short name, such as alice.")],
    roles: Annotated[list[str], typer.Option("--role", help="A role; may be repeated.")],
    kind: Annotated[str, typer.Option(help="user, service or agent.")] = "user",
) -> None:
    """Create a principal and print its one-time code, which only its owner should redeem.

    Example: fastness access user create alice --role approver
    """
    from fastness.wire.control import PrincipalRequest

    options: Options = context.obj
    with options.control() as control:
        reply = control.access.create_principal(PrincipalRequest(name, tuple(roles), kind))
    say(
        options,
        reply,
        f"[bold green]created[/bold green] {reply.principal}\n"
        f"  one-time code, until {reply.expires_at}: [bold]{reply.code}[/bold]\n"
        f"  [dim]its owner runs[/dim] fastness access enroll {reply.code} --as {name}",
    )


@user.command("list")
def list_users(context: typer.Context) -> None:
    """All principals with their roles."""
    options: Options = context.obj
    with options.control() as control:
        found = control.access.principals()
    rows = [
        (p.principal, ", ".join(p.roles), "yes" if p.enrolled else "no", "yes" if p.active else "no") for p in found
    ]
    show(options, found, ("principal", "roles", "enrolled", "active"), rows)


@user.command("roles")
def set_roles(
    context: typer.Context,
    principal: Annotated[str, typer.Argument(help="Whose roles, such as user:operator.")],
    roles: Annotated[
        list[str] | None, typer.Option("--role", help="A role; may be repeated; none takes all away.")
    ] = None,
) -> None:
    """Give a principal these roles and no others; what it approved counts only while it may approve.

    Example: fastness access user roles user:operator --role operator --role viewer
    """
    options: Options = context.obj
    with options.control() as control:
        control.access.set_roles(principal, roles or ())
    shown = {"principal": principal, "roles": roles or []}
    say(options, shown, f"[bold green]changed[/bold green] {principal}: {', '.join(roles or ()) or 'no roles'}")


@user.command()
def deactivate(
    context: typer.Context,
    principal: Annotated[str, typer.Argument(help="Whose membership ends, such as user:caller.")],
) -> None:
    """End a principal: its keys, codes and approvals count no more. It stays in the record."""
    options: Options = context.obj
    with options.control() as control:
        control.access.deactivate(principal)
    say(options, {"principal": principal, "active": False}, f"[bold yellow]deactivated[/bold yellow] {principal}")


@user.command("code")
def reissue_code(
    context: typer.Context,
    principal: Annotated[str, typer.Argument(help="Who has never enrolled, such as user:caller.")],
) -> None:
    """A new one-time code for somebody who lost theirs; the old one is void."""
    options: Options = context.obj
    with options.control() as control:
        reply = control.access.reissue_code(principal)
    say(options, reply, f"  one-time code, until {reply.expires_at}: [bold]{reply.code}[/bold]")


@app.command()
def enroll(context: typer.Context, code: Annotated[str, typer.Argument(help="The one-time code.")]) -> None:
    """Redeem a one-time code: make a signing key of your own here, and get an API key. Neither leaves your account.

    Example: fastness access enroll CODE --as alice
    """
    import os

    from fastness.foundation.crypto import SoftwareSigner

    options: Options = context.obj
    signer = SoftwareSigner.create(os.urandom)
    with options.control(anonymous=True) as control:
        reply = control.access.enrol(code, signer.public_pem.decode())
    path = options.keep(Identity(reply.principal, reply.api_key, signer.private_pem().decode()))
    shown = {"principal": reply.principal, "key_id": reply.key_id, "credentials": str(path), "app": reply.app}
    say(options, shown, f"[bold green]enrolled[/bold green] {reply.principal}; credentials in {path}")
    if reply.app is not None and options.form is Format.TABLE:
        with options.control() as control:
            factors.set_up(options, reply.app, control.login.confirm_totp)


@key.command("create")
def create_key(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="What the key is for.")],
    principal: Annotated[str, typer.Option("--for", help="Whose key, such as service:web [yourself].")] = "",
    per_s: Annotated[float, typer.Option("--rate", help="Requests a second, on average.", min=0.001)] = 100.0,
    burst: Annotated[float, typer.Option(help="Requests at once.", min=1)] = 200.0,
    days: Annotated[float, typer.Option(help="Days until it expires.", min=0.001, max=730)] = 90.0,
    actions: Annotated[
        list[str] | None, typer.Option("--action", help="An action that it may; may be repeated [all of its owner].")
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option("--model", help="A model that it may reach; may be repeated [all].")
    ] = None,
    networks: Annotated[
        list[str] | None,
        typer.Option("--address", help="An address or network it may come from; may be repeated [all]."),
    ] = None,
) -> None:
    """Create an API key; its text is shown this once. It is never wider than the credential that makes it.

    Example: fastness access key create web --for service:web --action model.infer --model digits --address 192.0.2.0/24
    """
    from fastness.wire.control import KeyRequest

    options: Options = context.obj
    with options.control() as control:
        owner = principal or control.login.me().principal
        request = KeyRequest(
            owner, name, per_s, burst, days, tuple(actions or ()), tuple(models or ()), tuple(networks or ())
        )  # fmt: skip
        reply = control.access.create_key(request)
    say(
        options,
        reply,
        f"[bold green]created[/bold green] key {reply.key_id} for {owner}, until {reply.expires_at}\n  {reply.api_key}\n"
        "  [dim]it is not shown again[/dim]",
    )


@key.command("list")
def list_keys(context: typer.Context) -> None:
    """All API keys, without their secrets."""
    options: Options = context.obj
    with options.control() as control:
        found = control.access.keys()
    rows = [
        (
            k.key_id,
            k.name,
            k.principal,
            "revoked" if k.revoked else "valid",
            k.expires_at,
            f"{k.per_s:g}/s, burst {k.burst:g}",
            "; ".join(", ".join(part) for part in (k.actions, k.models, k.networks) if part) or "all",
        )
        for k in found
    ]
    show(options, found, ("key", "name", "principal", "state", "expires", "limit", "confined to"), rows)


@key.command("rotate")
def rotate_key(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(help="Id of the key.")],
    overlap: Annotated[float, typer.Option(help="Hours for which the old key stays good.", min=0, max=168)] = 24.0,
) -> None:
    """Make a successor of an API key with the same rights; both are good for a while, then the old one ends.

    Example: fastness access key rotate KEY_ID --overlap 48
    """
    from fastness.wire.directory import RotationRequest

    options: Options = context.obj
    with options.control() as control:
        reply = control.directory.rotate_key(key_id, RotationRequest(overlap))
    say(
        options,
        reply,
        f"[bold green]created[/bold green] key {reply.key_id} until {reply.expires_at}\n  {reply.api_key}\n"
        f"  [dim]it is not shown again;[/dim] {key_id} ends in {overlap:g} hours at the latest",
    )


@key.command()
def narrow(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(help="Id of the key.")],
    actions: Annotated[list[str], typer.Option("--only", help="An action that it keeps; may be repeated.")],
) -> None:
    """Take from an API key all actions but some; it never gets one back.

    Example: fastness access key narrow KEY_ID --only model.infer
    """
    options: Options = context.obj
    with options.control() as control:
        control.access.narrow_key(key_id, actions)
    say(
        options,
        {"key_id": key_id, "actions": actions},
        f"[bold green]narrowed[/bold green] {key_id} to {', '.join(actions)}",
    )


@key.command("revoke")
def revoke_key(context: typer.Context, key_id: Annotated[str, typer.Argument(help="Id of the key.")]) -> None:
    """Revoke an API key; every worker refuses it within a second."""
    options: Options = context.obj
    with options.control() as control:
        control.access.revoke_key(key_id)
    say(options, {"key_id": key_id, "revoked": True}, f"[bold yellow]revoked[/bold yellow] {key_id}")


@allowance.command("grant")
def grant(
    context: typer.Context,
    environment: Annotated[str, typer.Argument(help="Which environment.")],
    measures: Annotated[list[str], typer.Option("--measure", help="A measure that was not run; may be repeated.")],
    reason: Annotated[str, typer.Option(help="Why; it is signed and shown with every version.")],
    days: Annotated[float, typer.Option(help="Days until it ends.", min=0.001, max=365)] = 30.0,
) -> None:
    """Let measures that were not run pass in an environment, signed, for a while.

    Example: fastness access allowance grant development --measure robustness --reason "first trial" --days 14
    """
    from fastness.wire.control import AllowanceRequest

    options: Options = context.obj
    with options.control() as control:
        view = control.access.grant_allowance(environment, AllowanceRequest(tuple(measures), days, reason))
    say(
        options,
        view,
        f"[bold yellow]allowed[/bold yellow] {', '.join(view.measures)} in {environment} until {view.expires_at}",
    )


@allowance.command("list")
def list_allowances(
    context: typer.Context, environment: Annotated[str, typer.Argument(help="Which environment.")]
) -> None:
    """Allowances that stand in an environment."""
    options: Options = context.obj
    with options.control() as control:
        found = control.access.allowances(environment)
    rows = [(", ".join(a.measures), a.reason, a.granted_by, a.expires_at) for a in found]
    show(options, found, ("measures", "why", "granted by", "until"), rows)


@app.command()
def routes(context: typer.Context) -> None:
    """Every route of the control plane and the gateway, what proof and permission it asks for, and its limit.

    Read from the routers as they run. Exit status 1 if one of them asks for no proof or has no limit.
    """
    options: Options = context.obj
    with options.control() as control:
        view = control.access.routes()
    share = 100 * view.guarded / view.total if view.total else 0.0
    if options.form is Format.JSON:
        print_json(view)
    else:
        rows = [
            (
                r.plane,
                r.method,
                r.path,
                r.proof.value,
                ", ".join(r.credentials),
                r.permission,
                f"{r.per_s:g}/s, {r.burst:g} at once",
            )
            for r in view.routes
        ]
        show(options, view.routes, ("plane", "method", "path", "proof", "by", "permission", "limit"), rows)
        proofs = ", ".join(f"{count} {name}" for name, count in view.by_proof.items())
        say(
            options,
            view,
            f"[bold]{view.guarded} of {view.total}[/bold] ask for a proof and have a limit: {share:.0f} % ({proofs})",
        )
    if view.guarded < view.total:
        raise typer.Exit(1)
