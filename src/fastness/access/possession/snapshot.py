"""The snapshot of all client certificates and signing keys, for the processes that have no SQL; no secret is in it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import msgspec

from fastness.access import records as members
from fastness.access.addresses import Spans, inside, spans
from fastness.access.credentials import Authenticated
from fastness.access.possession import records
from fastness.access.possession.keys import TOPIC
from fastness.access.possession.records import Kind
from fastness.access.sealing.records import EVERYBODY, Seen
from fastness.core.clock import Instant
from fastness.core.errors import Corrupt
from fastness.core.identity import Action, Grant, Principal, PrincipalId, PrincipalKind, Role, Strength, TenantId
from fastness.core.limits import Limit
from fastness.foundation.storage import Reading


class PossessionKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a worker knows of one, and of its owner as they stand.

    Attributes:
        public: the public key in PEM; empty for a certificate, which TLS has checked.
        revoked: also true where the owner is no longer active.
    """

    id: str
    principal: PrincipalId
    kind: PrincipalKind
    tenant: TenantId
    roles: frozenset[Role]
    limit: Limit
    expires_at: int
    public: bytes = b""
    revoked: bool = False
    actions: frozenset[Action] | None = None
    models: frozenset[str] | None = None
    grants: frozenset[Grant] = frozenset()
    networks: Spans = ()

    def fault(self, now: Instant, address: str | None) -> str:
        """Why it does not count now, from there: `revoked`, `expired` or `address`; empty where it does."""
        if self.revoked:
            return "revoked"
        if self.expires_at <= now:
            return "expired"
        return "address" if self.networks and not inside(address, self.networks) else ""

    def owner(self, now: Instant, *, signed: bool = False, certified: bool = False) -> Authenticated:
        """Who proved to hold it."""
        principal = Principal(
            self.kind, self.principal, self.tenant, self.roles, Strength.SIGNED, now, self.actions, self.models,
            self.grants, signed=signed, certified=certified,
        )  # fmt: skip
        return Authenticated(principal, self.id, self.limit, bool(self.networks))


class PossessionKeys(msgspec.Struct, frozen=True):
    """The snapshot.

    Attributes:
        certificates: by thumbprint.
        signing_keys: by `TENANT/ID`, what `keyid` of a signature must be.
    """

    certificates: dict[str, PossessionKey] = {}
    signing_keys: dict[str, PossessionKey] = {}


class PossessionProjection:
    """Loads `PossessionKeys` of every tenant. Rebuild it also when `keys` moves: then roles and standing change.

    Args:
        damaged: is told of each row that was refused because somebody else wrote it; it is then left out. Where rows were put
            back or removed, all of the tenant count as revoked.

    Attributes:
        doubted: the tenants of whom rows had been put back or removed at the last load.
    """

    topic: ClassVar[str] = TOPIC

    def __init__(self, damaged: Callable[[Corrupt], None] | None = None) -> None:
        self._damaged = damaged
        self.doubted: frozenset[str] = frozenset()

    def load(self, reading: Reading) -> PossessionKeys:
        """As they stand. Revoked and expired ones stay in it, so that the record can say so."""
        seen, others = Seen(), Seen()
        owners = members.all_principals(reading, others)  # rows of those that were refused are told with the API keys
        rows = records.find_all(reading, seen)
        doubted = self.doubted = seen.doubted(reading) | others.doubted(reading)
        found: dict[Kind, dict[str, PossessionKey]] = {kind: {} for kind in Kind}
        for row in rows:
            owner = owners.get((row.tenant, row.principal))
            if owner is None:
                continue
            signing = row.kind is Kind.SIGNING_KEY
            found[row.kind][f"{row.tenant}/{row.id}" if signing else row.id] = PossessionKey(
                row.id, owner.id, owner.kind, row.tenant, owner.roles, row.limit, row.expires_at,
                row.public if signing else b"", revoked=row.revoked or not owner.active or not doubted.isdisjoint((row.tenant, EVERYBODY)), actions=row.actions,
                models=row.models, grants=owner.grants, networks=spans(row.networks),
            )  # fmt: skip
        for _, error in seen.refused:
            if self._damaged is not None:
                self._damaged(error)
        return PossessionKeys(found[Kind.CERTIFICATE], found[Kind.SIGNING_KEY])
