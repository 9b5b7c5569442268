"""Which identities at external providers belong to which principals: linked by the person, or at the first login.

A person is known by issuer and subject alone: names and addresses change hands, subjects do not. Each principal has one
identity at an issuer, each identity one principal; nobody takes over what is linked to somebody else.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastness.access import records as members
from fastness.access.federation import logouts, records
from fastness.access.federation.parts import Proven, refuse, refuse_identity
from fastness.access.federation.providers import Provider, all_providers
from fastness.access.login import sessions
from fastness.core.clock import Instant
from fastness.core.errors import Conflict, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.identity import PrincipalId, PrincipalKind
from fastness.foundation.storage import Reading, Transaction


@dataclass(frozen=True, slots=True)
class Identity:
    """An external identity that is linked to a principal.

    Attributes:
        provider: by which people with it come in; empty where no provider of that issuer is left.
    """

    provider: str
    issuer: str
    subject: str
    principal: PrincipalId
    linked_at: Instant


def identities(reading: Reading, principal: PrincipalId | None = None, issuer: str | None = None) -> list[Identity]:
    """The identities of a principal or at an issuer, or of the whole tenant. Raises Corrupt."""
    names: dict[str, str] = {}
    for standing in all_providers(reading):
        names.setdefault(standing.provider.issuer, standing.provider.name)
    return [Identity(names.get(row.issuer, ""), *row) for row in records.find_identities(reading, issuer, principal)]


def link(tx: Transaction, proven: Proven) -> PrincipalId:
    """Link the identity to the person who asked for it in a session that is open still; who that is.

    Raises:
        Unauthenticated: `federation-refused`: that session is over (`session-over`).
        Conflict: `identity-taken`: it belongs to somebody, or the person has another one of this issuer.
    """
    asker = proven.asker
    if asker.session not in {row.id for row in sessions.sessions(tx, asker.principal, tx.now)}:
        refuse("session-over")
    owner = members.find_principals(tx, asker.principal).get(asker.principal)
    if owner is None or not owner.active or owner.kind is not PrincipalKind.USER:
        refuse("principal-inactive")
    _write(tx, proven, asker.principal)
    return asker.principal


def link_first(tx: Transaction, proven: Proven, principal: PrincipalId) -> None:
    """Link the identity to whom the provider's settings take it for, at its first login.

    Raises:
        Unauthenticated: `identity-refused`: the principal is somebody else's.
    """
    try:
        _write(tx, proven, principal)
    except Conflict:
        refuse_identity("identity-taken")


def unlink(tx: Transaction, provider: Provider, principal: PrincipalId) -> None:
    """Forget which identity of the provider a principal is, and end the sessions that began by it.

    Who is named in the provider's `people` is linked again at the next login.

    Raises:
        NotFound: it is linked to none.
    """
    linked = records.find_identities(tx, provider.issuer, principal)
    if not linked or records.remove_identity(tx, provider.issuer, principal) != 1:
        raise NotFound("identity-unknown", f"{principal[:80]} is not linked to {provider.name}")
    _note(tx, principal, provider, "identity-unlinked")
    logouts.end(tx, "identity-unlinked", issuer=provider.issuer, subject=linked[0].subject)


def _write(tx: Transaction, proven: Proven, principal: PrincipalId) -> None:
    provider = proven.known.provider
    if records.find_identity(tx, provider.issuer, proven.subject) is not None:
        raise _taken()
    if records.find_identities(tx, provider.issuer, principal):
        raise _taken()
    records.add_identity(tx, provider.issuer, proven.subject, principal)
    _note(tx, principal, provider, "identity-linked")


def _taken() -> Conflict:
    hint = "Unlink the one that you have first, or ask an administrator."
    return Conflict("identity-taken", "this identity, or yourself, is linked already", hint)


def _note(tx: Transaction, principal: PrincipalId, provider: Provider, reason: str) -> None:
    details: dict[str, Detail] = {"provider": provider.name}
    event = tx.events.make(EventKind.DIRECTORY_CHANGED, f"principal:{principal}", reason=reason, details=details)
    tx.emit(event)
