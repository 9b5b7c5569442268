"""Before a house opens its doors: its rows are sealed, and no credential in them is known to the world.

The first time that a house older than seals is opened with a key ring, its rows are trusted as they stand and sealed. That
is the one moment in which somebody could have put a row there; the key ring keeps that it is over, so that who can write the
database cannot bring it back. The record says when it was and how many rows there were: compare them with the ledger.
"""

from __future__ import annotations

from typing import Protocol

from fastness.access import records
from fastness.access.apikeys import PUBLIC_KEYS
from fastness.access.members import KNOWN_PUBLIC, Pepper
from fastness.core.clock import Instant
from fastness.core.errors import Conflict, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.findings import Decision, Finding, Rule, Severity
from fastness.core.identity import SYSTEM_SCOPE
from fastness.core.secrets import SecretBytes
from fastness.foundation.storage import Reading, Records

__all__ = ["FORGED", "Keeper", "forged_rows", "refuse_default_credentials", "report_forged", "seal_once"]

FORGED = Rule(
    "access-row-forged",
    "A row of the access tables was not written by this house",
    Severity.CRITICAL,
    "Somebody who can write the database tried to give rights, or damaged those that were given.",
    "Find out who can write the database; restore it from a backup that the ledger agrees with.",
    {"cwe": "CWE-345"},
)
_DONE = "rows-sealed"


class Keeper(Protocol):
    """Who keeps, outside the records, that they are sealed: a key ring."""

    def seal(self, name: str, content: SecretBytes) -> None:
        """Keep a secret under `name`. Raises Conflict where there is one."""
        ...

    def unseal(self, name: str) -> SecretBytes:
        """The secret kept under `name`. Raises NotFound."""
        ...


def seal_once(rows: Records, keeper: Keeper, now: Instant) -> int:
    """Seal what an older house wrote, once in its life; how many rows. Safe to be cut off at any point.

    Args:
        rows: opened with `seal`, the ring's `mac(Purpose.ROWS)`.

    Raises:
        Conflict: `records-unsealed`, they were opened without one.
    """
    try:
        keeper.unseal(_DONE)
    except NotFound:
        pass
    else:
        return 0
    with rows.begin(SYSTEM_SCOPE, now) as tx:
        if tx.seal is None:
            raise Conflict("records-unsealed", "the records were opened without a key ring")
        count = records.seal_all(tx)
        details: dict[str, Detail] = {"rows": count}
        tx.emit(tx.events.make(EventKind.DIRECTORY_CHANGED, "system:access", reason="rows-sealed", details=details))
    keeper.seal(_DONE, SecretBytes(str(now).encode()))
    return count


def forged_rows(reading: Reading) -> tuple[Finding, ...]:
    """What the seals say about all rows of the house: a finding for each table with rows that were forged."""
    return tuple(
        Finding(FORGED.id, FORGED.severity, f"table:{table}", f"{count} rows of {table} were forged", {"rows": count})
        for table, count in records.check_seals(reading).items()
    )


def report_forged(rows: Records, now: Instant) -> tuple[Finding, ...]:
    """Look through all seals, and record what was found. A job calls this once an hour; so does the start."""
    with rows.read(SYSTEM_SCOPE) as reading:
        found = forged_rows(reading)
    if found:
        with rows.begin(SYSTEM_SCOPE, now) as tx:
            for finding in found:
                event = tx.events.make(
                    EventKind.INTEGRITY_FAILED,
                    finding.where,
                    decision=Decision.DENY,
                    reason="access-forged",
                    findings=(finding,),
                )
                tx.emit(event)
    return found


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
