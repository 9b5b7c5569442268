"""The certificate of the listeners: issued in the control process, put into live contexts by memory alone."""

from __future__ import annotations

import contextlib
import os
import ssl
from pathlib import Path

import msgspec

from fastness.app.settings import ClientCertificates, ServerSettings
from fastness.core.settings import InvalidSetting


class Leaf(msgspec.Struct, frozen=True):
    """A certificate chain and its private key, PEM; lives in memory only.

    Attributes:
        clients: whether callers are asked for a certificate: `off`, `optional` or `required`.
        clients_pem: the authorities of those.
    """

    chain_pem: bytes
    key_pem: bytes
    clients: str = "off"
    clients_pem: str = ""


_VERIFY = {"optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}


def load_leaf(context: ssl.SSLContext, leaf: Leaf) -> None:
    """Put a certificate into a live context; handshakes from now on get it."""
    with contextlib.ExitStack() as stack:
        paths = []
        for name, data in (("chain", leaf.chain_pem), ("key", leaf.key_pem)):
            descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
            stack.callback(os.close, descriptor)
            os.write(descriptor, data)
            paths.append(f"/proc/self/fd/{descriptor}")
        context.load_cert_chain(*paths)
    if leaf.clients_pem:
        context.load_verify_locations(cadata=leaf.clients_pem)
        context.verify_mode = _VERIFY[leaf.clients]


def client_authorities(settings: ServerSettings, house_pem: bytes) -> str:
    """The authorities whose certificates callers may show, PEM; empty where they are asked for none.

    Args:
        house_pem: the house's own.

    Raises:
        InvalidSetting: `server.client_ca` is no file of certificates.
    """
    if settings.client_certificates == ClientCertificates.OFF:
        return ""
    text = house_pem.decode("ascii")
    if not settings.client_ca:
        return text
    try:
        text += Path(settings.client_ca).read_text("ascii")
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=text)
    except (OSError, ValueError) as error:
        raise InvalidSetting("server.client_ca", f"cannot be read as certificates in PEM: {error}") from error
    return text


def strict_context() -> ssl.SSLContext:
    """A server's context: TLS 1.3 and nothing older."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
