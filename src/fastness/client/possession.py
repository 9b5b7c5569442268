"""Client certificates and signing keys."""

from __future__ import annotations

import builtins
from urllib.parse import quote

from fastness.client.calls import Calls
from fastness.wire import possession as wire


class CertificateCalls:
    """Client certificates."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def create(self, request: wire.CertificateRequest) -> wire.CertificateReply:
        """Have the house issue a certificate, or bind one of another authority."""
        return self._calls.call("POST", "/certificates", wire.CertificateReply, request)

    def list(self) -> builtins.list[wire.PossessionView]:
        """All certificates of the tenant."""
        return self._calls.all("/certificates", wire.PossessionView)

    def revoke(self, certificate_id: str) -> None:
        """Revoke a certificate; in force in every worker within a second."""
        self._calls.send("DELETE", f"/certificates/{quote(certificate_id, safe='')}", None).read()


class SigningKeyCalls:
    """Signing keys."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def add(self, request: wire.SigningKeyRequest) -> wire.SigningKeyReply:
        """Register a public key."""
        return self._calls.call("POST", "/signing-keys", wire.SigningKeyReply, request)

    def list(self) -> builtins.list[wire.PossessionView]:
        """All signing keys of the tenant."""
        return self._calls.all("/signing-keys", wire.PossessionView)

    def revoke(self, signing_key_id: str) -> None:
        """Revoke a signing key; in force in every worker within a second."""
        self._calls.send("DELETE", f"/signing-keys/{quote(signing_key_id, safe='')}", None).read()
