"""A house that issues tokens, for the tests of tokens, OAuth2 and what builds on them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from fastness.access import tokens
from fastness.access.tokens import (
    Grantee,
    Issuer,
    Rights,
    Signers,
    TokenKeys,
    TokenKeysProjection,
    Verifier,
)
from fastness.access.tokens.jose import SigningKey, read_header, sign, strict_object, unbase64
from fastness.access.tokens.rights import EVERYTHING
from fastness.core.identity import PrincipalId, Role, Strength
from fastness.foundation.crypto import SealedKeyRing
from tests.unit.access.house import ADMIN, House

ISSUER = "https://fastness.example"
AUDIENCE = "https://fastness.example/api"
ALICE = PrincipalId("user:alice")


@dataclass
class Mint(House):
    """A house with token keys, and one verifier."""

    ring: SealedKeyRing = field(default_factory=lambda: SealedKeyRing.in_memory(os.urandom))

    def __post_init__(self) -> None:
        self.signers = Signers(self.ring)
        self.issuer = Issuer(ISSUER, AUDIENCE, self.signers)
        with self.begin() as tx:
            tokens.rotate_keys(tx, self.signers)
        self.person("alice", Role.DEVELOPER)
        self.verifier = Verifier(self.snapshot(), os.urandom(32))

    def snapshot(self) -> TokenKeys:
        with self.records.read(ADMIN) as reading:
            return TokenKeysProjection(self.signers, ISSUER, AUDIENCE).load(reading)

    def refresh(self) -> None:
        self.verifier.use(self.snapshot())

    def issued(self, rights: Rights = EVERYTHING, **changes: Any) -> str:
        grantee = Grantee(
            changes.pop("principal", ALICE),
            rights,
            changes.pop("strength", Strength.MFA),
            changes.pop("authenticated_at", self.clock.now()),
            changes.pop("client", "app"),
            **changes,
        )
        with self.begin() as tx:
            return tokens.issue(tx, self.issuer, grantee).text

    def signing(self) -> SigningKey:
        with self.records.read(ADMIN) as reading:
            return self.signers.signing(reading)

    def forged(self, header: dict[str, Any] | None = None, **claims: Any) -> bytes:
        """A token that the house's own key signs, with claims changed or, by None, left out."""
        whole = claims_of(self.issued()) | claims
        kept = {name: value for name, value in whole.items() if value is not None}
        key = self.signing()
        return sign(key, (header or {}).get("typ", "at+jwt"), kept).encode()

    def verified(self, token: str | bytes, thumbprint: str = "") -> tokens.Bearer:
        data = token.encode() if isinstance(token, str) else token
        return self.verifier.verify(data, self.clock.now(), thumbprint)


def claims_of(token: str) -> dict[str, Any]:
    return strict_object(unbase64(token.split(".")[1].encode()))


def header_of(token: str) -> dict[str, Any]:
    return read_header(token.encode())
