"""What changes for those who belong: roles, narrower keys, lost codes, revoked public keys, and the end of membership.

All of it takes effect with the next snapshot. Approvals are judged by how their approvers stand at that moment, so
whoever loses the role, the public key or their place loses what they approved too.
"""

from __future__ import annotations

from collections.abc import Callable

from fastness.access import records
from fastness.access.members import TOPIC, Enrolment, active_principal, issue_code, one_key
from fastness.core.errors import Conflict, Invalid, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.identity import Action, PrincipalId, Role
from fastness.foundation.storage import Reading, Transaction

DIRECT = ""
"""The source of roles that are held by themselves; all others are groups."""


def require_administrator(reading: Reading, lost: Callable[[PrincipalId, str], bool]) -> None:
    """Return if the tenant keeps an active administrator when what `lost` names is taken.

    Args:
        lost: whether a principal will no longer be administrator through a source: `DIRECT`, or the id of a group.

    Raises:
        Conflict: `last-administrator`.
    """
    groups = {group.id for group in records.find_groups(reading) if Role.ADMINISTRATOR in group.roles}
    held = [
        (row.id, source)
        for row in records.find_principals(reading).values()
        if row.active
        for source in ([DIRECT] if Role.ADMINISTRATOR in row.direct else []) + sorted(row.groups & groups)
    ]
    if held and all(lost(who, source) for who, source in held):
        message = "this would leave the tenant without an administrator"
        raise Conflict("last-administrator", message, "Make another one first.")


def set_roles(tx: Transaction, principal: PrincipalId, roles: frozenset[Role]) -> None:
    """Give an active principal these roles and no others.

    Raises:
        NotFound: no such principal.
        Conflict: it is not active, or it is the last administrator.
    """
    before = active_principal(tx, principal).direct
    if Role.ADMINISTRATOR in before - roles:
        require_administrator(tx, lambda who, source: who == principal and source == DIRECT)
    records.put_roles(tx, principal, roles)
    details: dict[str, Detail] = {"before": " ".join(sorted(before)), "after": " ".join(sorted(roles))}
    tx.emit(tx.events.make(EventKind.ROLES_CHANGED, f"principal:{principal}", details=details))
    tx.touch(TOPIC)


def deactivate(tx: Transaction, principal: PrincipalId) -> None:
    """End a principal: its keys, codes and approvals count no more. It is kept, so that the record stays readable.

    Raises:
        NotFound: no such principal.
        Conflict: it is not active, or it is the last administrator.
    """
    if Role.ADMINISTRATOR in active_principal(tx, principal).roles:
        require_administrator(tx, lambda who, _: who == principal)
    records.mark_active(tx, principal, active=False)
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
