"""`fastness access certificate|signing-key …`: what principals prove themselves by without sending a secret."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastness.core.errors import Conflict, Invalid
from fastness.interfaces.cli.context import Options
from fastness.interfaces.cli.output import say, show

if TYPE_CHECKING:
    from fastness.wire.possession import PossessionView

certificate = typer.Typer(help="Client certificates, for mutual TLS.", no_args_is_help=True)
signing_key = typer.Typer(help="Public keys by which requests are signed.", no_args_is_help=True)

_LARGEST = 1 << 20
_DASHED = {"ignore_unknown_options": True}  # an id may begin with a hyphen
_For = Annotated[str, typer.Option("--for", help="Whose it is, such as service:web [yourself].")]
_Name = Annotated[str, typer.Option("--name", help="What it is for.")]
_Days = Annotated[float, typer.Option(help="Days until it ends.", min=0.001, max=730)]
_Rate = Annotated[float, typer.Option("--rate", help="Requests a second, on average.", min=0.001)]
_Burst = Annotated[float, typer.Option(help="Requests at once.", min=1)]
_Actions = Annotated[
    list[str] | None, typer.Option("--action", help="An action that it may; may be repeated [all of its owner].")
]
_Models = Annotated[list[str] | None, typer.Option("--model", help="A model that it may reach; may be repeated [all].")]
_Networks = Annotated[
    list[str] | None, typer.Option("--address", help="An address or network it may come from; may be repeated [all].")
]


@certificate.command("issue")
def issue(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    out: Annotated[Path, typer.Argument(help="Where the certificate is written, such as web.pem.")],
    principal: _For = "",
    request: Annotated[
        Path | None, typer.Option(help="A certificate request; without one, a key is made and written beside, OUT.key.")
    ] = None,
    name: _Name = "",
    days: Annotated[float, typer.Option(help="Days until it ends.", min=0.001, max=30)] = 30.0,
    per_s: _Rate = 100.0,
    burst: _Burst = 200.0,
    actions: _Actions = None,
    models: _Models = None,
    networks: _Networks = None,
) -> None:
    """Have the house's own authority issue a certificate. The private key stays here.

    Example: fastness access certificate issue web.pem --for service:web --days 7
    """
    from fastness.app import write_private
    from fastness.foundation.crypto.certificates import certificate_request, new_private_key
    from fastness.wire.possession import CertificateRequest

    options: Options = context.obj
    made = b"" if request else new_private_key()
    beside = out.with_suffix(".key")
    for path in (out, *([beside] if made else [])):
        if path.exists():
            raise Conflict("file-exists", f"{path} exists already", "Choose another name.")
    owner = principal or options.identity().principal
    asked = certificate_request(made, "fastness").decode() if made else _read(request)
    with options.control() as control:
        message = CertificateRequest(
            owner, name, asked, "", per_s, burst, days, tuple(actions or ()), tuple(models or ()), tuple(networks or ())
        )  # fmt: skip
        reply = control.certificates.create(message)
    if made:
        write_private(beside, made)
    out.write_text(reply.chain, "ascii")
    shown = {"certificate_id": reply.certificate_id, "expires_at": reply.expires_at, "certificate": str(out)}
    shown |= {"key": str(beside)} if made else {}
    kept = " and ".join(map(str, [out, *([beside] if made else [])]))
    text = (
        f"[bold green]issued[/bold green] {reply.certificate_id}\n  for {owner}, until {reply.expires_at}\n  in {kept}"
    )
    say(options, shown, text)


@certificate.command("add")
def add_certificate(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The certificate, PEM.")],
    key: Annotated[Path | None, typer.Option(help="Its private key, which stays here; or use --request.")] = None,
    request: Annotated[
        Path | None, typer.Option(help="A certificate request by its key, with the common name TENANT/KIND:NAME.")
    ] = None,
    principal: _For = "",
    tenant: Annotated[str, typer.Option(help="Yours.")] = "default",
    name: _Name = "",
    days: _Days = 90.0,
    per_s: _Rate = 100.0,
    burst: _Burst = 200.0,
    actions: _Actions = None,
    models: _Models = None,
    networks: _Networks = None,
) -> None:
    """Bind a certificate of another authority to a principal, and to nobody else. It takes a proof that its key is yours.

    Example: fastness access certificate add web.pem --key web.key --for service:web
    """
    from fastness.foundation.crypto.certificates import certificate_request
    from fastness.wire.possession import CertificateRequest

    options: Options = context.obj
    owner = principal or options.identity().principal
    if (key is None) == (request is None):
        raise Invalid("certificate-unproven", "whose the certificate is has to be shown", "Give --key or --request.")
    if key is not None:
        asked = certificate_request(_read(key).encode(), f"{tenant}/{owner}").decode()
    else:
        asked = _read(request)
    with options.control() as control:
        message = CertificateRequest(
            owner, name, asked, _read(file), per_s, burst, days, tuple(actions or ()), tuple(models or ()),
            tuple(networks or ()),
        )  # fmt: skip
        reply = control.certificates.create(message)
    say(
        options, reply, f"[bold green]bound[/bold green] {reply.certificate_id}\n  to {owner}, until {reply.expires_at}"
    )


@certificate.command("list")
def list_certificates(context: typer.Context) -> None:
    """All client certificates, with whom they belong to."""
    options: Options = context.obj
    with options.control() as control:
        found = control.certificates.list()
    show(options, found, ("certificate", *_COLUMNS), _rows(found))


@certificate.command("revoke", context_settings=_DASHED)
def revoke_certificate(
    context: typer.Context, certificate_id: Annotated[str, typer.Argument(help="Id of the certificate.")]
) -> None:
    """Revoke a certificate; every worker refuses it within a second, also on connections that are open."""
    options: Options = context.obj
    with options.control() as control:
        control.certificates.revoke(certificate_id)
    shown = {"certificate_id": certificate_id, "revoked": True}
    say(options, shown, f"[bold yellow]revoked[/bold yellow] {certificate_id}")


@signing_key.command("add")
def add_signing_key(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The public key, PEM: Ed25519 or ECDSA P-256.")],
    principal: _For = "",
    name: _Name = "",
    days: _Days = 90.0,
    per_s: _Rate = 100.0,
    burst: _Burst = 200.0,
    actions: _Actions = None,
    models: _Models = None,
    networks: _Networks = None,
) -> None:
    """Register a public key, by whose private half a principal signs its requests.

    Example: fastness access signing-key add web.pub.pem --for service:web
    """
    from fastness.wire.possession import SigningKeyRequest

    options: Options = context.obj
    owner = principal or options.identity().principal
    with options.control() as control:
        message = SigningKeyRequest(
            owner, name, _read(file), per_s, burst, days, tuple(actions or ()), tuple(models or ()),
            tuple(networks or ()),
        )  # fmt: skip
        reply = control.signing_keys.add(message)
    text = f"[bold green]registered[/bold green] {reply.keyid}\n  for {owner}, until {reply.expires_at}"
    say(options, reply, text)


@signing_key.command("list")
def list_signing_keys(context: typer.Context) -> None:
    """All signing keys, with whom they belong to."""
    options: Options = context.obj
    with options.control() as control:
        found = control.signing_keys.list()
    show(options, found, ("key", *_COLUMNS), _rows(found))


@signing_key.command("revoke", context_settings=_DASHED)
def revoke_signing_key(
    context: typer.Context, signing_key_id: Annotated[str, typer.Argument(help="Id of the key, without its tenant.")]
) -> None:
    """Revoke a signing key; every worker refuses it within a second."""
    options: Options = context.obj
    with options.control() as control:
        control.signing_keys.revoke(signing_key_id)
    shown = {"signing_key_id": signing_key_id, "revoked": True}
    say(options, shown, f"[bold yellow]revoked[/bold yellow] {signing_key_id}")


_COLUMNS = ("name", "principal", "state", "expires", "limit", "confined to")


def _rows(found: Iterable[PossessionView]) -> list[tuple[str, ...]]:
    return [
        (
            view.id,
            view.name,
            view.principal,
            "revoked" if view.revoked else "valid",
            view.expires_at,
            f"{view.per_s:g}/s, burst {view.burst:g}",
            "; ".join(", ".join(part) for part in (view.actions, view.models, view.networks) if part) or "all",
        )
        for view in found
    ]


def _read(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        with path.open(encoding="ascii") as file:
            return file.read(_LARGEST)
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("file-unreadable", f"{path} cannot be read as PEM: {error}") from error
