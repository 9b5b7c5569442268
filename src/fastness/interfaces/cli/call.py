"""`fastness call`: ask a served model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from fastness.core.errors import Invalid
from fastness.interfaces.cli.context import Format, Options
from fastness.interfaces.cli.output import console, print_json

if TYPE_CHECKING:
    import numpy as np

    from fastness.app import Home

_KINDS = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "u2", "UINT32": "u4", "UINT64": "u8", "INT8": "i1", "INT16": "i2",
    "INT32": "i4", "INT64": "i8", "FP16": "f2", "FP32": "f4", "FP64": "f8",
}  # fmt: skip


def add_to(app: typer.Typer) -> None:
    """Add the command to the line."""
    app.command("call")(call)


def call(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name of the model.")],
    inputs: Annotated[list[str], typer.Option("--input", "-i", help="NAME=FILE.npy, NAME=FILE.json or NAME=JSON.")],
    version: Annotated[int, typer.Option(help="A version; 0 takes the one in service.", min=0)] = 0,
    key: Annotated[str, typer.Option(envvar="FASTNESS_KEY", help="An API key [that of --as].")] = "",
    url: Annotated[
        str, typer.Option(help="Where the gateway listens [where this house runs, or as its settings say].")
    ] = "",
    cert: Annotated[Path | None, typer.Option(help="Show this certificate, PEM, instead of a key.")] = None,
    cert_key: Annotated[Path | None, typer.Option(help="Its private key, PEM [CERT with the suffix .key].")] = None,
    sign: Annotated[
        Path | None, typer.Option(help="Sign with this private key, PEM, instead of sending a key.")
    ] = None,
    tenant: Annotated[str, typer.Option(help="Where the signing key is registered.")] = "default",
) -> None:
    """Send arrays to a served model and print its answer.

    Example: fastness call digits --input X=pixels.npy
    """
    from fastness.client import Client, ClientCertificate, RequestSigner

    options: Options = context.obj
    home = options.house
    target = url or _listening(home)
    number = version or None
    if cert is not None and sign is not None:
        raise Invalid("credentials-mixed", "a request has one credential", "Give --cert or --sign.")
    proof: str | ClientCertificate | RequestSigner
    if cert is not None:
        proof = ClientCertificate(cert, cert_key or cert.with_suffix(".key"))
    elif sign is not None:
        proof = RequestSigner.from_file(sign, tenant)
    else:
        proof = key or options.credential()()
    with Client(target, proof, home.ca) as client:
        declared = {str(i["name"]): str(i["datatype"]) for i in _inputs(client.metadata(model, number))}
        arrays = dict(_array(text, declared) for text in inputs)
        result = client.infer(model, arrays, number)
    if options.form is Format.JSON:
        outputs = {name: array.tolist() for name, array in result.outputs.items()}
        print_json({"model": result.model, "version": result.version, "request": result.request_id, "outputs": outputs})
        return
    out = console()
    out.print(f"[bold]{result.model}[/bold] version {result.version}  [dim]request {result.request_id}[/dim]")
    for name, array in result.outputs.items():
        out.print(f"  {name} {list(array.shape)} {array.tolist()}", markup=False, soft_wrap=True)


def _listening(home: Home) -> str:
    """Where `up` said that it listens, whatever port it was given; the settings, where it does not run here."""
    try:
        return home.url.read_text("utf-8")
    except FileNotFoundError:
        from fastness.app import load_settings

        return load_settings(home, {}).server.local_url


def _inputs(metadata: dict[str, object]) -> list[dict[str, object]]:
    return msgspec.convert(metadata.get("inputs", []), list[dict[str, object]])


def _array(text: str, declared: dict[str, str]) -> tuple[str, np.ndarray]:
    import numpy as np

    name, separator, value = text.partition("=")
    if not separator or not value:
        raise Invalid(
            "input-malformed", f"{text!r} is not an input", "Write NAME=FILE.npy, NAME=FILE.json or NAME=[[1, 2]]."
        )
    if name not in declared:
        raise Invalid("input-unknown", f"the model has no input {name!r}", f"It takes {', '.join(sorted(declared))}.")
    try:
        if value.endswith(".npy"):
            array = np.load(value, allow_pickle=False)
        else:
            raw = Path(value).read_bytes() if value.endswith(".json") else value.encode()
            array = np.array(msgspec.json.decode(raw))
        kind = _KINDS.get(declared[name])
        return name, array.astype(kind, casting="same_kind" if array.dtype.kind == "f" else "unsafe") if kind else array
    except (OSError, ValueError, TypeError, msgspec.MsgspecError) as error:
        raise Invalid(
            "input-unreadable", f"input {name}: {error}", "Give a .npy file, a .json file or a JSON array."
        ) from error
