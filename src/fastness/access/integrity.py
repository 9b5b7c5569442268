"""Before a house opens its doors, and while it is open: its rows are its own, and no credential in them is known to the world.

The first time that a house is opened whose tables had no seals before, its rows are trusted as they stand and sealed. That is
the one moment in which somebody could have put a row there; the key ring keeps that it is over, so that who can write the
database cannot bring it back. The record says when it was and how many rows there were: compare them with the ledger.

`Watch` looks through all rows again and again. A tenant of whom rows were put back or removed is refused everything from then
on, until somebody who has the key ring has looked and says that the rows stand as they should (`settle`).

What it misses: until the next look, what was put back counts, unless it goes through a snapshot, which looks at once. Putting back
the whole database is told while the house runs, and by the ledger's checkpoints when it starts; taking database, ledger and
checkpoints back together to one older moment is not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from fastness.access import records
from fastness.access.apikeys import PUBLIC_KEYS
from fastness.access.approvals.tables import APPROVAL_REQUEST
from fastness.access.directory.tables import TENANT
from fastness.access.duties.tables import SESSION_ACT
from fastness.access.federation.tables import FEDERATION_PROVIDER
from fastness.access.login.tables import SESSION
from fastness.access.members import KNOWN_PUBLIC, Pepper
from fastness.access.oauth.tables import OAUTH_CLIENT
from fastness.access.quotas.tables import QUOTA
from fastness.access.restrictions.tables import RESTRICTION
from fastness.access.reviews.tables import REVIEW
from fastness.access.scim.tables import SCIM_USER
from fastness.access.sealing import records as rows_of
from fastness.access.sealing.records import EVERYBODY
from fastness.access.sealing.tables import LATEST
from fastness.access.tokens.tables import TOKEN_KEY
from fastness.core.clock import Instant
from fastness.core.errors import Conflict, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.findings import Decision, Finding, Rule, Severity
from fastness.core.identity import SYSTEM_SCOPE
from fastness.core.secrets import SecretBytes
from fastness.foundation.storage import Reading, Records

__all__ = ["DOUBTFUL", "FORGED", "Keeper", "Watch", "findings", "refuse_default_credentials", "seal_once", "settle"]

FORGED = Rule(
    "access-row-forged",
    "A row of the access tables was not written by this house",
    Severity.CRITICAL,
    "Somebody who can write the database tried to give rights, or damaged those that were given.",
    "Find out who can write the database; restore it from a backup that the ledger agrees with.",
    {"cwe": "CWE-345"},
)
DOUBTFUL = Rule(
    "access-rows-doubtful",
    "Rows of the access tables were put back or removed by somebody else",
    Severity.CRITICAL,
    "What was taken away could count again, and what refuses somebody could be gone. The tenant is refused everything.",
    "Compare the database with the ledger and restore a backup, or accept the rows: fastness doctor --accept-rows.",
    {"cwe": "CWE-354"},
)
PARTS = (
    APPROVAL_REQUEST, FEDERATION_PROVIDER, OAUTH_CLIENT, QUOTA, RESTRICTION, REVIEW, SCIM_USER, SESSION, SESSION_ACT, TENANT, TOKEN_KEY,
)  # fmt: skip
"""One table of each part of access: with them, all sealed tables are known to whoever looks through them."""
_ROUNDS = {1: "rows-sealed"} | {number: f"rows-sealed-{number}" for number in range(2, LATEST + 1)}


class Keeper(Protocol):
    """Who keeps, outside the records, that they are sealed: a key ring."""

    def seal(self, name: str, content: SecretBytes) -> None:
        """Keep a secret under `name`. Raises Conflict where there is one."""
        ...

    def unseal(self, name: str) -> SecretBytes:
        """The secret kept under `name`. Raises NotFound."""
        ...


class Watch:
    """Looks through the seals of one house, and remembers what it saw. For one thread at a time."""

    def __init__(self, rows: Records) -> None:
        self._rows = rows
        self._told: frozenset[tuple[str, str]] = frozenset()
        self._number = 0

    def look(self, now: Instant) -> frozenset[str]:
        """The tenants whose rows are in doubt now; what was not seen before is recorded."""
        with self._rows.read(SYSTEM_SCOPE) as reading:
            found, number = _findings(reading), rows_of.change_number(reading)
            if number < self._number:
                found.append((EVERYBODY, _doubtful(EVERYBODY, "seal_sum")))
        self._number = max(self._number, number)
        fresh = [one for _, one in found if (one.rule, one.where) not in self._told]
        self._told = frozenset((one.rule, one.where) for _, one in found)
        if fresh:
            _record(self._rows, fresh, now)
        return frozenset(tenant for tenant, one in found if one.rule == DOUBTFUL.id)


def seal_once(rows: Records, keeper: Keeper, now: Instant) -> int:
    """Seal what an older house wrote, each table once in its life; how many rows. Safe to be cut off at any point.

    Args:
        rows: opened with `seal`, the ring's `mac(Purpose.ROWS)`.

    Raises:
        Conflict: `records-unsealed`, they were opened without one.
    """
    left = {number: name for number, name in _ROUNDS.items() if not _done(keeper, name)}
    if not left:
        return 0
    with rows.begin(SYSTEM_SCOPE, now) as tx:
        if tx.seal is None:
            raise Conflict("records-unsealed", "the records were opened without a key ring")
        count = rows_of.seal_all(tx, set(left))
        rows_of.settle(tx)
        details: dict[str, Detail] = {"rows": count}
        tx.emit(tx.events.make(EventKind.DIRECTORY_CHANGED, "system:access", reason="rows-sealed", details=details))
    for name in left.values():
        keeper.seal(name, SecretBytes(str(now).encode()))
    return count


def settle(rows: Records, now: Instant) -> int:
    """Accept all genuine rows as they stand, after somebody has looked; how many sums were different. Forged rows stay refused."""
    with rows.begin(SYSTEM_SCOPE, now) as tx:
        count = rows_of.settle(tx)
        details: dict[str, Detail] = {"sums": count}
        tx.emit(tx.events.make(EventKind.DIRECTORY_CHANGED, "system:access", reason="rows-accepted", details=details))
        for topic in ("keys", "tokens", "restrictions", "quotas"):
            tx.touch(topic)
    return count


def findings(reading: Reading) -> tuple[Finding, ...]:
    """What the seals say about all rows of the house: forged rows by table, rows put back or removed by tenant and table."""
    return tuple(finding for _, finding in _findings(reading))


def _findings(reading: Reading) -> list[tuple[str, Finding]]:
    seen = rows_of.look_through(reading)
    forged: dict[str, int] = {}
    for table, _ in seen.refused:
        forged[table] = forged.get(table, 0) + 1
    found = [
        (
            "",
            Finding(
                FORGED.id, FORGED.severity, f"table:{name}", f"{count} rows of {name} were forged", {"rows": count}
            ),
        )
        for name, count in forged.items()
    ]
    return found + [(tenant, _doubtful(tenant, table)) for tenant, table in sorted(seen.doubtful(reading))]


def _doubtful(tenant: str, table: str) -> Finding:
    whose = "the house" if tenant == EVERYBODY else tenant
    message = f"rows of {table} were put back or removed in {whose}"
    return Finding(DOUBTFUL.id, DOUBTFUL.severity, f"table:{table}@{tenant}", message, {"table": table})


def _record(rows: Records, found: Iterable[Finding], now: Instant) -> None:
    with rows.begin(SYSTEM_SCOPE, now) as tx:
        for finding in found:
            event = tx.events.make(
                EventKind.INTEGRITY_FAILED,
                finding.where,
                decision=Decision.DENY,
                reason="access-forged" if finding.rule == FORGED.id else "rows-doubtful",
                findings=(finding,),
            )
            tx.emit(event)


def _done(keeper: Keeper, name: str) -> bool:
    try:
        keeper.unseal(name)
    except NotFound:
        return False
    return True


def refuse_default_credentials(reading: Reading, pepper: Pepper) -> None:
    """Return if no credential of any tenant is known to everybody: asked before the doors open.

    Raises:
        Conflict: `credentials-default`: a key of the documentation, or a public key whose private half is published.
    """
    keys = [key for key in sorted(PUBLIC_KEYS) if records.digest_known(reading, pepper.digest(key))]
    published = KNOWN_PUBLIC & records.known_public_keys(reading)
    if keys or published:
        named = ", ".join(
            [f"key:{key[4:12].decode()}" for key in keys] + [f"public-key:{one[:16]}" for one in sorted(published)]
        )
        raise Conflict(
            "credentials-default", f"everybody knows these credentials: {named}", "Revoke them, and look who used them."
        )
