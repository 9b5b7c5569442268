"""A software authenticator: it makes the objects that a browser and a security key would, and, asked to, wrong ones."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "===")


@dataclass(frozen=True)
class Authenticator:
    """One passkey in one browser; each field can be bent to make it lie.

    Attributes:
        counter: of signatures; 0 counts nothing, as synced passkeys do.
        rp_id: what it signs for; None for what the options say.
        challenge: what it answers; None for what the options say.
    """

    origin: str = "https://localhost"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    credential_id: bytes = field(default_factory=lambda: os.urandom(32))
    counter: int = 0
    flags: int = PRESENT | VERIFIED
    rp_id: str | None = None
    challenge: bytes | None = None
    cross_origin: bool = False
    handle: bytes | None = None
    kind: str | None = None

    def but(self, **changes: Any) -> Authenticator:
        return replace(self, **changes)

    def create(self, options: dict[str, Any]) -> tuple[Authenticator, dict[str, Any]]:
        """The passkey with its owner's handle, and what the browser sends."""
        data = self._client(options, self.kind or "webauthn.create")
        numbers = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32), -3: numbers.y.to_bytes(32)}
        attested = bytes(16) + len(self.credential_id).to_bytes(2) + self.credential_id + cbor2.dumps(cose)
        authenticated = self._head(options["rp"]["id"], self.flags | ATTESTED) + attested
        whole = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": authenticated})
        owned = self.but(handle=unb64(options["user"]["id"]))
        return owned, self._response({"clientDataJSON": b64(data), "attestationObject": b64(whole)})

    def get(self, options: dict[str, Any]) -> dict[str, Any]:
        data = self._client(options, self.kind or "webauthn.get")
        authenticated = self._head(options["rpId"], self.flags)
        signature = self.key.sign(authenticated + hashlib.sha256(data).digest(), ec.ECDSA(SHA256()))
        return self._response(
            {
                "clientDataJSON": b64(data),
                "authenticatorData": b64(authenticated),
                "signature": b64(signature),
                "userHandle": b64(self.handle or b""),
            }
        )

    def _client(self, options: dict[str, Any], kind: str) -> bytes:
        challenge = options["challenge"] if self.challenge is None else b64(self.challenge)
        data = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": self.cross_origin}
        return json.dumps(data).encode()

    def _head(self, rp_id: str, flags: int) -> bytes:
        return hashlib.sha256((self.rp_id or rp_id).encode()).digest() + bytes([flags]) + self.counter.to_bytes(4)

    def _response(self, parts: dict[str, str]) -> dict[str, Any]:
        name = b64(self.credential_id)
        return {"id": name, "rawId": name, "type": "public-key", "response": parts, "clientExtensionResults": {}}
