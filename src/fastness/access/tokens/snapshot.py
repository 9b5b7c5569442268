"""What a process without SQL needs to judge access tokens: public keys, who is in good standing, what was revoked."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from fastness.access import records as members
from fastness.access.sealing.records import EVERYBODY, Seen
from fastness.access.tokens import jose, records
from fastness.access.tokens.keys import TOPIC, Signers
from fastness.core.errors import Invalid
from fastness.core.identity import Grant, PrincipalKind, Role
from fastness.foundation.storage import Reading


class PublicKey(msgspec.Struct, frozen=True):
    """A key that verifies access tokens; `jwk` holds only the members that make up the key."""

    alg: str
    jwk: dict[str, str]


class Holder(msgspec.Struct, frozen=True, omit_defaults=True):
    """A principal as it stands.

    Attributes:
        not_before: ns since 1970 UTC; tokens issued before are refused.
        grants: roles held on single models.
    """

    kind: PrincipalKind
    roles: frozenset[Role]
    active: bool
    not_before: int = 0
    grants: frozenset[Grant] = frozenset()


class TokenKeys(msgspec.Struct, frozen=True):
    """The snapshot that is pushed to the gateway workers; no secret is in it.

    Attributes:
        issuer: whose tokens are accepted.
        audience: for whom they must be.
        keys: `kid` to key.
        holders: by `TENANT/KIND:NAME`.
        denied: `TENANT/ID` of tokens, families, and clients (`TENANT/client/ID`).
    """

    issuer: str
    audience: str
    keys: dict[str, PublicKey]
    holders: dict[str, Holder]
    denied: frozenset[str]


class TokenKeysProjection:
    """Loads `TokenKeys`. Its topic moves with the token keys and revocations; rebuild it also when `keys` moves, for
    that is when roles and standing change.

    Args:
        issuer: as in the `iss` of the tokens, such as `https://fastness.example`.
        audience: as in their `aud`.

    Attributes:
        doubted: the tenants of whom rows had been put back or removed at the last load.
    """

    topic: ClassVar[str] = TOPIC

    def __init__(self, signers: Signers, issuer: str, audience: str) -> None:
        if not issuer or not audience:
            raise Invalid("token-settings", "tokens need an issuer and an audience")
        self._signers = signers
        self._issuer = issuer
        self._audience = audience
        self.doubted: frozenset[str] = frozenset()

    def load(self, reading: Reading) -> TokenKeys:
        """The snapshot as of `reading`, of every tenant; of one whose rows were put back or removed, nobody is active.

        Raises:
            Corrupt: a signing key is not what the ring wrapped.
        """
        seen = Seen()
        floors, denied = records.all_floors(reading, seen), records.all_denied(reading, seen)
        holders = members.all_principals(reading, seen)
        doubted = self.doubted = seen.doubted(reading)
        return TokenKeys(
            self._issuer,
            self._audience,
            {
                kid: PublicKey(key.alg, jose.public_jwk(key.key))
                for kid, key in self._signers.published(reading).items()
            },
            {
                f"{tenant}/{row.id}": Holder(
                    row.kind,
                    row.roles,
                    row.active and doubted.isdisjoint((tenant, EVERYBODY)),
                    floors.get((tenant, row.id), 0),
                    row.grants,
                )
                for (tenant, _), row in holders.items()
            },
            frozenset(f"{tenant}/{identifier}" for tenant, identifier in denied),
        )
