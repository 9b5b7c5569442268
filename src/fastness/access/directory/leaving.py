"""The end of membership, everywhere at once: sessions, tokens, API keys, certificates, signing keys, public keys, codes.

Deactivating alone makes all of them void, for each is judged by how its owner stands. They are ended besides, so that none
of them comes back to life should the principal be taken back.
"""

from __future__ import annotations

from fastness.access import members, oauth, records, standing
from fastness.access.login import sessions
from fastness.access.members import TOPIC
from fastness.access.possession import Kind, found_keys, revoke_possession
from fastness.core.errors import Conflict, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.identity import PrincipalId
from fastness.foundation.storage import Transaction


def leave(tx: Transaction, principal: PrincipalId, reason: str) -> None:
    """End a principal and all that was issued to it. It is kept, so that the record stays readable.

    Raises:
        NotFound: no such principal.
        Conflict: it is not active, or it is the last administrator.
    """
    standing.deactivate(tx, principal)
    end_credentials(tx, principal, reason)


def end_credentials(tx: Transaction, principal: PrincipalId, reason: str) -> None:
    """End the sessions, tokens, API keys, certificates, signing keys and public keys of a principal."""
    for key in records.find_keys(tx):
        if key.principal == principal and not key.revoked:
            members.revoke_key(tx, key.key_id)
    for kind in Kind:
        for held in found_keys(tx, kind):
            if held.principal == principal and not held.revoked:
                revoke_possession(tx, kind, held.id)
    for public in records.find_public_keys(tx):
        if public.principal == principal and not public.revoked:
            standing.revoke_public_key(tx, public.keyid)
    sessions.revoke_all(tx, principal, reason)
    oauth.revoke_all(tx, principal, reason)


def take_back(tx: Transaction, principal: PrincipalId, reason: str) -> None:
    """Let a principal that was ended belong again: with its roles and groups, and none of its old credentials.

    Raises:
        NotFound: no such principal.
        Conflict: it is active.
    """
    if principal not in records.find_principals(tx, principal):
        raise NotFound("principal-unknown", f"there is no principal {principal[:80]!r}")
    if records.mark_active(tx, principal, active=True) != 1:
        raise Conflict("principal-active", f"{principal} is active")
    details: dict[str, Detail] = {"change": "taken-back"}
    tx.emit(tx.events.make(EventKind.DIRECTORY_CHANGED, f"principal:{principal}", reason=reason, details=details))
    tx.touch(TOPIC)
