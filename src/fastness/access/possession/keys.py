"""Giving out, listing and taking back what principals prove themselves by."""

from __future__ import annotations

from fastness.access.members import Bounds, KeyTerms, active_principal, canonical_pem, settled
from fastness.access.possession import records
from fastness.access.possession.records import Kind, PossessionRow
from fastness.core.errors import Conflict, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.identity import PrincipalId
from fastness.foundation.crypto.certificates import signing_id
from fastness.foundation.storage import Reading, Transaction

__all__ = ["TOPIC", "Kind", "PossessionRow", "add_key", "add_signing_key", "found_keys", "revoke_possession"]

TOPIC = "possession"


def add_signing_key(
    tx: Transaction, principal: PrincipalId, public_pem: bytes, terms: KeyTerms, maker: Bounds
) -> PossessionRow:
    """Have a principal sign its requests with the private half of this key; its `keyid` is `TENANT/ID`.

    Args:
        public_pem: Ed25519 or ECDSA P-256, SubjectPublicKeyInfo.
        maker: what the credential is narrowed to by which it is asked for.

    Raises:
        Invalid: not such a key, or one under which anybody could sign; or a term is out of range.
        Forbidden: `key-wider`.
        NotFound: no such principal in the tenant.
        Conflict: the principal is not active, or the key was registered before.
    """
    identifier, algorithm, pem = signing_id(public_pem)
    if algorithm == "ed25519":
        canonical_pem(pem)  # refuses keys that are everybody's
    return add_key(tx, Kind.SIGNING_KEY, principal, (identifier, pem), settled(terms, maker, tx.now))


def add_key(
    tx: Transaction, kind: Kind, principal: PrincipalId, public: tuple[str, bytes], terms: KeyTerms
) -> PossessionRow:
    """Write one down.

    Args:
        public: its id, and what is kept of it.
        terms: settled.

    Raises:
        NotFound: no such principal in the tenant.
        Conflict: the principal is not active, or it was registered before.
    """
    owner = active_principal(tx, principal)
    row = PossessionRow(
        kind, public[0], tx.scope.tenant, owner.id, terms.name, public[1], terms.limit, tx.now, terms.expires_at,
        revoked=False, actions=terms.actions, models=terms.models, networks=terms.networks,
    )  # fmt: skip
    try:
        records.add(tx, row)
    except Conflict as error:
        raise Conflict(f"{kind}-taken", f"this {_NAMES[kind]} was registered before", "Make a new key pair.") from error
    tx.emit(tx.events.make(EventKind.KEY_CREATED, f"{kind}:{row.id}", details=_told(row)))
    tx.touch(TOPIC)
    return row


def found_keys(reading: Reading, kind: Kind) -> list[PossessionRow]:
    """The certificates or signing keys of the tenant, oldest first, revoked ones too."""
    return records.find(reading, kind)


def revoke_possession(tx: Transaction, kind: Kind, identifier: str) -> None:
    """Refuse it from now on; the workers do as soon as they have the next snapshot.

    Raises:
        NotFound: no such one in the tenant.
        Conflict: it is revoked already.
    """
    found = records.find(tx, kind, identifier)
    if not found:
        raise NotFound(
            f"{kind}-unknown", f"there is no {_NAMES[kind]} {identifier[:43]!r}", f"See: fastness access {kind} list."
        )
    if records.mark_revoked(tx, kind, identifier) != 1:
        raise Conflict(f"{kind}-revoked", f"the {_NAMES[kind]} {identifier[:43]} is revoked already")
    details: dict[str, Detail] = {"principal": found[0].principal}
    tx.emit(tx.events.make(EventKind.KEY_REVOKED, f"{kind}:{identifier}", details=details))
    tx.touch(TOPIC)


_NAMES = {Kind.CERTIFICATE: "certificate", Kind.SIGNING_KEY: "signing key"}


def _told(row: PossessionRow) -> dict[str, Detail]:
    details: dict[str, Detail] = {
        "principal": row.principal, "name": row.name, "expires_at": row.expires_at, "per_s": row.limit.per_s,
        "burst": row.limit.burst,
    }  # fmt: skip
    for name, words in (("actions", row.actions), ("models", row.models), ("networks", row.networks)):
        if words:
            details[name] = " ".join(sorted(words))
    return details
