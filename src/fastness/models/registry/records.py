"""The registry's SQL: every statement on its tables, and nothing that decides anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import func, insert, select, update

from fastness.core.digests import Digest
from fastness.core.identity import TenantId
from fastness.foundation.storage import METADATA, Reading, Transaction
from fastness.models.registry.tables import ALIAS, ALIAS_HISTORY, ATTESTATION, MODEL, REVISION, VERSION


class VersionRow(NamedTuple):
    """A version as it is stored: nothing in it is trusted yet."""

    tenant: TenantId
    model: str
    number: int
    digest: Digest
    manifest: bytes
    state: str
    reason: str
    created_at: int


def next_number(reading: Reading, model: str) -> int:
    """The number that the next version of `model` gets."""
    c = VERSION.c
    query = select(func.max(c.number)).where(c.tenant == reading.scope.tenant, c.model == model)
    return int(reading.execute(query)[0][0] or 0) + 1


def add_version(tx: Transaction, row: VersionRow) -> None:
    """Write a new version, and its model if it is the first."""
    c = MODEL.c
    known = tx.execute(select(c.name).where(c.tenant == row.tenant, c.name == row.model))
    if not len(known):
        tx.execute(insert(MODEL).values(tenant=row.tenant, name=row.model, created_at=tx.now))
    tx.execute(insert(VERSION).values(row._asdict()))


def find_version(reading: Reading, model: str, number: int) -> VersionRow | None:
    """One version of the tenant."""
    c = VERSION.c
    here = (c.tenant == reading.scope.tenant, c.model == model, c.number == number)
    row = reading.execute(select(*(c[name] for name in VersionRow._fields)).where(*here)).first()
    return None if row is None else VersionRow(*row)


def version_numbers(reading: Reading) -> list[tuple[str, int]]:
    """Model and number of every version of the tenant, in order."""
    c = VERSION.c
    query = select(c.model, c.number).where(c.tenant == reading.scope.tenant).order_by(c.model, c.number)
    return [(str(model), int(number)) for model, number in reading.execute(query)]


def change_state(tx: Transaction, row: VersionRow, state: str, reason: str) -> int:
    """Change the state of a version that still has the state of `row`; the number of rows changed."""
    c = VERSION.c
    here = (c.tenant == row.tenant, c.model == row.model, c.number == row.number, c.state == row.state)
    return tx.execute(update(VERSION).where(*here).values(state=state, reason=reason)).count


def add_envelopes(tx: Transaction, model: str, number: int, envelopes: Sequence[bytes]) -> None:
    """Append signed statements to a version."""
    c = ATTESTATION.c
    tenant = tx.scope.tenant
    query = select(func.count()).where(c.tenant == tenant, c.model == model, c.number == number)
    first = int(tx.execute(query)[0][0])
    for position, envelope in enumerate(envelopes, first):
        values = {"tenant": tenant, "model": model, "number": number, "position": position}
        tx.execute(insert(ATTESTATION).values(**values, envelope=envelope, created_at=tx.now))


def envelopes(reading: Reading, model: str, number: int) -> list[tuple[bytes, int]]:
    """The signed statements of a version with the time each was stored, oldest first."""
    c = ATTESTATION.c
    here = (c.tenant == reading.scope.tenant, c.model == model, c.number == number)
    rows = reading.execute(select(c.envelope, c.created_at).where(*here).order_by(c.position))
    return [(bytes(envelope), at) for envelope, at in rows]


def add_revision(tx: Transaction, identifier: str, model: str, number: int, document: bytes) -> None:
    """Write a revision."""
    values = {"tenant": tx.scope.tenant, "id": identifier, "model": model, "number": number}
    tx.execute(insert(REVISION).values(**values, document=document, created_at=tx.now))


def revision_document(reading: Reading, identifier: str) -> bytes | None:
    """The stored document of a revision."""
    c = REVISION.c
    rows = reading.execute(select(c.document).where(c.tenant == reading.scope.tenant, c.id == identifier))
    return bytes(rows[0][0]) if len(rows) else None


def alias_row(reading: Reading, model: str, name: str) -> tuple[int, bytes] | None:
    """Sequence number and envelope of an alias."""
    c = ALIAS.c
    here = (c.tenant == reading.scope.tenant, c.model == model, c.name == name)
    rows = reading.execute(select(c.sequence, c.envelope).where(*here))
    return (int(rows[0][0]), bytes(rows[0][1])) if len(rows) else None


def put_alias(tx: Transaction, model: str, name: str, sequence: int, envelope: bytes) -> None:
    """Point an alias elsewhere and keep the move in its history."""
    c = ALIAS.c
    key = {"tenant": tx.scope.tenant, "model": model, "name": name}
    here = (c.tenant == tx.scope.tenant, c.model == model, c.name == name)
    tx.execute(insert(ALIAS_HISTORY).values(**key, sequence=sequence, envelope=envelope))
    if not tx.execute(update(ALIAS).where(*here).values(sequence=sequence, envelope=envelope)).count:
        tx.execute(insert(ALIAS).values(**key, sequence=sequence, envelope=envelope))


def alias_moves(reading: Reading, model: str, name: str) -> list[tuple[int, bytes]]:
    """Sequence number and envelope of every move of an alias, oldest first."""
    c = ALIAS_HISTORY.c
    here = (c.tenant == reading.scope.tenant, c.model == model, c.name == name)
    rows = reading.execute(select(c.sequence, c.envelope).where(*here).order_by(c.sequence))
    return [(int(sequence), bytes(envelope)) for sequence, envelope in rows]


def events_about(reading: Reading, kind: str, resource: str) -> list[bytes]:
    """The JSON of the events of this kind about `resource`, of all tenants, oldest first.

    The column of the tenant stands in no index and is not held against the log: who writes the table could hide a row by
    it. The event itself says whose it is.
    """
    c = METADATA.tables["events"].c
    query = select(c.data).where(c.kind == kind, c.resource == resource)
    # Two queries, so that each finds its partial index.
    numbered = reading.execute(query.where(c.idx.is_not(None)).order_by(c.idx))
    waiting = reading.execute(query.where(c.idx.is_(None)).order_by(c.seq))
    return [bytes(row[0]) for rows in (numbered, waiting) for row in rows]
