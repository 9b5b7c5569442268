"""The certificate of the listeners: issued in the control process, put into live contexts by memory alone."""

from __future__ import annotations

import contextlib
import os
import ssl

import msgspec


class Leaf(msgspec.Struct, frozen=True):
    """A certificate chain and its private key, PEM; lives in memory only."""

    chain_pem: bytes
    key_pem: bytes


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


def strict_context() -> ssl.SSLContext:
    """A server's context: TLS 1.3 and nothing older."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
