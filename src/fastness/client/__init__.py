"""The Python SDK: call served models (`Client`) and run the control plane (`ControlClient`).

Names are imported when they are first used: the control plane is run without numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fastness.client.calls import SecondFactor
    from fastness.client.control import ControlClient
    from fastness.client.inference import Client, InferResult
    from fastness.client.oauth import TokenCalls, Tokens, Waiting
    from fastness.client.signing import RequestSigner, SignedTransport
    from fastness.client.transport import Body, ClientCertificate, HttpTransport, Reply, Transport

__all__ = [
    "Body",
    "Client",
    "ClientCertificate",
    "ControlClient",
    "HttpTransport",
    "InferResult",
    "Reply",
    "RequestSigner",
    "SecondFactor",
    "SignedTransport",
    "TokenCalls",
    "Tokens",
    "Transport",
    "Waiting",
]

_MODULES = {
    "Body": "transport",
    "Client": "inference",
    "ClientCertificate": "transport",
    "ControlClient": "control",
    "HttpTransport": "transport",
    "InferResult": "inference",
    "Reply": "transport",
    "RequestSigner": "signing",
    "SecondFactor": "calls",
    "SignedTransport": "signing",
    "TokenCalls": "oauth",
    "Tokens": "oauth",
    "Transport": "transport",
    "Waiting": "oauth",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
