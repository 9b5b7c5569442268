"""What changes for those who belong: roles, narrower keys, lost codes, revoked public keys, and the end of membership.

All of it takes effect with the next snapshot. Approvals are judged by how their approvers stand at that moment, so
whoever loses the role, the public key or their place loses what they approved too.
"""

from __future__ import annotations

from fastness.access import records
from fastness.access.members import TOPIC, Enrolment, active_principal, issue_code, one_key
from fastness.core.errors import Conflict, Invalid, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.identity import Action, PrincipalId, Role
from fastness.foundation.storage import Transaction


def set_roles(tx: Transaction, principal: PrincipalId, roles: frozenset[Role]) -> None:
    """Give an active principal these roles and no others.

    Raises:
        NotFound: no such principal.
        Conflict: it is not active.
    """
    before = active_principal(tx, principal).roles
    records.put_roles(tx, principal, roles)
    details: dict[str, Detail] = {"before": " ".join(sorted(before)), "after": " ".join(sorted(roles))}
    tx.emit(tx.events.make(EventKind.ROLES_CHANGED, f"principal:{principal}", details=details))
    tx.touch(TOPIC)


def deactivate(tx: Transaction, principal: PrincipalId) -> None:
    """End a principal: its keys, codes and approvals count no more. It is kept, so that the record stays readable.

    Raises:
        NotFound: no such principal.
        Conflict: it is not active.
    """
    active_principal(tx, principal)
    records.mark_inactive(tx, principal)
    records.void_enrolments(tx, principal)
    tx.emit(tx.events.make(EventKind.PRINCIPAL_DEACTIVATED, f"principal:{principal}"))
    tx.touch(TOPIC)


def reissue_code(tx: Transaction, principal: PrincipalId) -> Enrolment:
    """A new one-time code for a principal that has never enrolled; older ones are void.

    Raises:
        NotFound: no such principal.
        Conflict: it is not active, or has enrolled: a second code would let its holder take its place.
    """
    if active_principal(tx, principal).enrolled:
        raise Conflict("principal-enrolled", f"{principal} has enrolled already", "Create another principal.")
    records.void_enrolments(tx, principal)
    tx.emit(tx.events.make(EventKind.PRINCIPAL_CREATED, f"principal:{principal}", reason="code-reissued"))
    return issue_code(tx, principal)


def narrow_key(tx: Transaction, key_id: str, actions: frozenset[Action]) -> None:
    """Take from a key all actions but these. It never gets one back.

    Raises:
        NotFound: no such key.
        Invalid: an action that the key was not left, or none at all.
    """
    found = one_key(tx, key_id)
    if not actions:
        raise Invalid("key-actions", "a key without actions is good for nothing", "Revoke it instead.")
    if found.actions is not None and not actions <= found.actions:
        raise Invalid("key-actions", "a key is never widened", "Create a new key.")
    records.put_actions(tx, key_id, actions)
    details: dict[str, Detail] = {"principal": found.principal, "actions": " ".join(sorted(actions))}
    tx.emit(tx.events.make(EventKind.KEY_NARROWED, f"key:{key_id}", details=details))
    tx.touch(TOPIC)


def revoke_public_key(tx: Transaction, keyid: str) -> None:
    """Make a person's public key void; what it signed counts no more.

    Raises:
        NotFound: no such key in the tenant, or it is revoked already.
    """
    if records.mark_public_key_revoked(tx, keyid) != 1:
        raise NotFound("public-key-unknown", f"there is no valid public key {keyid[:16]!r}")
    tx.emit(tx.events.make(EventKind.KEY_REVOKED, f"public-key:{keyid}"))
    tx.touch(TOPIC)
