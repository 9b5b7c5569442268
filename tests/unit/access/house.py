"""A house with real records in memory, for the tests of access."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fastness.access import Credentials, KeysProjection, approvals, create_principal, enrol
from fastness.access.apikeys import ApiKey
from fastness.core.clock import Instant, ManualClock
from fastness.core.digests import Digest
from fastness.core.events import Event, decode_event
from fastness.core.findings import Verdict
from fastness.core.identity import PrincipalId, PrincipalKind, Role, Scope, TenantId
from fastness.core.secrets import SecretBytes
from fastness.foundation.crypto import SoftwareSigner, sign_statement
from fastness.foundation.crypto.keys import HmacKey
from fastness.foundation.storage import SqliteRecords, Transaction
from fastness.foundation.storage.tables import EVENTS

START = Instant(1_700_000_000_000_000_000)
TENANT = TenantId("default")
ADMIN = Scope(TENANT, PrincipalId("user:root"))
SUBJECT = Digest("sha256:" + "ab" * 32)
PURPOSE = "deploy:production"


@dataclass
class Person:
    """Somebody enrolled: their own signer, and the key they were given."""

    id: PrincipalId
    signer: SoftwareSigner
    key: ApiKey


@dataclass
class House:
    """Records, clock and pepper."""

    records: SqliteRecords = field(default_factory=lambda: _records())  # noqa: PLW0108 - defined below
    clock: ManualClock = field(default_factory=lambda: ManualClock(START))
    pepper: HmacKey = field(default_factory=lambda: HmacKey(SecretBytes(os.urandom(32)), exportable=True))

    @contextmanager
    def begin(self, scope: Scope = ADMIN) -> Iterator[Transaction]:
        with self.records.begin(scope, self.clock.now()) as tx:
            yield tx

    def person(
        self,
        name: str,
        *roles: Role,
        kind: PrincipalKind = PrincipalKind.USER,
        signer: SoftwareSigner | None = None,
        scope: Scope = ADMIN,
    ) -> Person:
        signer = signer or SoftwareSigner.create(os.urandom)
        with self.begin(scope) as tx:
            enrolment = create_principal(tx, kind, name, frozenset(roles))
        with self.begin(scope) as tx:
            principal, key = enrol(tx, enrolment.code, signer.public_pem, self.pepper)
        return Person(principal.id, signer, key)

    def approve(self, person: Person, scope: Scope = ADMIN, **changes: object) -> None:
        with self.begin(scope) as tx:
            trusted = approvals.public_keys(tx)
            approvals.record_approval(tx, SUBJECT, PURPOSE, approval(person, **changes), trusted)

    def quorum(self, needed: int = 2, *excluded: Person, scope: Scope = ADMIN) -> Verdict:
        with self.records.read(scope) as reading:
            people = {person.id for person in excluded}
            return approvals.quorum(reading, SUBJECT, PURPOSE, needed, people, self.clock.now())

    def credentials(self) -> Credentials:
        with self.records.read(ADMIN) as reading:
            return KeysProjection(self.pepper).load(reading)

    def events(self) -> list[Event]:
        with self.records.read(ADMIN) as reading:
            return [decode_event(row.data) for row in reading.execute(EVENTS.select().order_by(EVENTS.c.seq))]


def approval(
    person: Person,
    decision: str = "approve",
    *,
    subject: Digest = SUBJECT,
    purpose: str = PURPOSE,
    tenant: TenantId = TENANT,
    kind: str = approvals.PREDICATE_TYPE,
    note: str = "",
) -> bytes:
    predicate = approvals.proposal(tenant, purpose, {"note": note}) | {"decision": decision}
    return sign_statement(person.signer, {"manifest": subject}, kind, predicate)


def _records() -> SqliteRecords:
    records = SqliteRecords(":memory:", os.urandom)
    records.create_all()
    return records
