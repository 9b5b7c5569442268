"""The SQL of proofs of possession; the table stands with those of `access`, whose seals cover it."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Row, select

from fastness.access.records import bounds_row, bounds_values
from fastness.access.sealing.records import Seen, change, genuine, put
from fastness.access.tables import POSSESSION_KEY
from fastness.core.clock import Instant
from fastness.core.identity import Action, PrincipalId, TenantId
from fastness.core.limits import Limit
from fastness.foundation.storage import Reading, Transaction


class Kind(StrEnum):
    """How the possession is shown: by the TLS connection, or by a signature of each request."""

    CERTIFICATE = "certificate"
    SIGNING_KEY = "signing-key"


class PossessionRow(NamedTuple):
    """A client certificate or a signing key as it stands.

    Attributes:
        id: base64url SHA-256 of the certificate, or of the public key (DER).
        public: the certificate in DER, or the public key in PEM.
        actions, models, networks: as of an API key.
    """

    kind: Kind
    id: str
    tenant: TenantId
    principal: PrincipalId
    name: str
    public: bytes
    limit: Limit
    created_at: Instant
    expires_at: Instant
    revoked: bool
    actions: frozenset[Action] | None = None
    models: frozenset[str] | None = None
    networks: tuple[str, ...] = ()

    @property
    def handle(self) -> str:
        """Its name in the whole house: a certificate belongs to one principal of one tenant, for a connection names none."""
        return f"{self.kind}/{self.id}" if self.kind is Kind.CERTIFICATE else f"{self.kind}/{self.tenant}/{self.id}"


def add(tx: Transaction, row: PossessionRow) -> None:
    """Write a new one. Raises Conflict where its handle was given out before."""
    values = row._asdict()
    del values["revoked"], values["limit"]
    put(tx, POSSESSION_KEY, values | bounds_values(row) | {"handle": row.handle, "kind": row.kind.value})


def find(reading: Reading, kind: Kind, identifier: str | None = None) -> list[PossessionRow]:
    """Those of the tenant, or the one, oldest first. Raises Corrupt where one was forged."""
    c = POSSESSION_KEY.c
    query = select(POSSESSION_KEY).where(c.tenant == reading.scope.tenant, c.kind == kind.value)
    if identifier is not None:
        query = query.where(c.id == identifier)
    return [_row(row) for row in genuine(reading, POSSESSION_KEY, query.order_by(c.created_at, c.id))]


def find_all(reading: Reading, seen: Seen) -> list[PossessionRow]:
    """Those of every tenant; forged ones are told to `seen` and left out."""
    return [_row(row) for row in genuine(reading, POSSESSION_KEY, select(POSSESSION_KEY), seen)]


def mark_revoked(tx: Transaction, kind: Kind, identifier: str) -> int:
    """Revoke one that is not revoked yet; the number of rows changed."""
    c = POSSESSION_KEY.c
    here = (c.tenant == tx.scope.tenant, c.kind == kind.value, c.id == identifier, c.revoked_at.is_(None))
    return change(tx, POSSESSION_KEY, here, {"revoked_at": tx.now})


def _row(row: Row[Any]) -> PossessionRow:
    limit, actions, models, networks = bounds_row(row)
    return PossessionRow(
        Kind(row.kind),
        row.id,
        TenantId(row.tenant),
        PrincipalId(row.principal),
        row.name,
        bytes(row.public),
        limit,
        Instant(row.created_at),
        Instant(row.expires_at),
        revoked=row.revoked_at is not None,
        actions=actions,
        models=models,
        networks=networks,
    )
