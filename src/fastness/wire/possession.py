"""Messages of the control plane about client certificates and signing keys."""

from __future__ import annotations

from typing import Annotated

from fastness.wire.control import Message
from fastness.wire.shapes import ActionName, Burst, Days, Label, ModelName, NetworkText, PrincipalName, Rate, described

Pem = Annotated[str, described(description="PEM", maxLength=32_768)]


class CertificateRequest(Message, frozen=True):
    """Gives a principal a certificate, or binds one of another authority to it. Without actions, models or networks it is not
    narrowed to any.

    Attributes:
        request: a certificate request (PKCS #10). To bind a certificate it is signed by that one's key, and its common name is
            `TENANT/KIND:NAME`.
        certificate: of another authority; empty has the house issue one.
        days: until it ends; what the house issues lives for 30 at most.
    """

    principal: PrincipalName
    name: Label
    request: Pem
    certificate: Pem = ""
    per_s: Rate = 100.0
    burst: Burst = 200.0
    days: Days = 30.0
    actions: tuple[ActionName, ...] = ()
    models: tuple[ModelName, ...] = ()
    networks: tuple[NetworkText, ...] = ()


class CertificateReply(Message, frozen=True):
    """A certificate that counts from now on.

    Attributes:
        certificate_id: base64url SHA-256 of the certificate.
        chain: what the house issued, with its authority, PEM; empty for one of another authority.
    """

    certificate_id: str
    expires_at: str
    chain: str


class SigningKeyRequest(Message, frozen=True):
    """Registers a public key, Ed25519 or ECDSA P-256, by whose private half a principal signs its requests."""

    principal: PrincipalName
    name: Label
    public_pem: Pem
    per_s: Rate = 100.0
    burst: Burst = 200.0
    days: Days = 90.0
    actions: tuple[ActionName, ...] = ()
    models: tuple[ModelName, ...] = ()
    networks: tuple[NetworkText, ...] = ()


class SigningKeyReply(Message, frozen=True):
    """A signing key that counts from now on.

    Attributes:
        keyid: what signatures name it by.
    """

    signing_key_id: str
    keyid: str
    expires_at: str


class PossessionView(Message, frozen=True):
    """A certificate or a signing key, and what it is narrowed to (empty is all).

    Attributes:
        keyid: what signatures name it by; empty for a certificate.
    """

    id: str
    keyid: str
    name: str
    principal: str
    created_at: str
    expires_at: str
    revoked: bool
    per_s: float
    burst: float
    actions: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
