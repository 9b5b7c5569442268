"""What a request shows besides the credential in its header: it has to be of one principal, all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from fastness.access.possession.certificates import certificate_of
from fastness.access.possession.snapshot import PossessionKey, PossessionKeys
from fastness.core.clock import Instant
from fastness.core.errors import Unauthenticated
from fastness.core.identity import Principal

__all__ = ["Shown", "proofs"]


@dataclass(frozen=True, slots=True)
class Shown:
    """What it shows.

    Attributes:
        peer: thumbprint of the certificate of its connection; empty without one.
        signed: the key of its signature, where it has one that counts.
        address: of the peer.
    """

    peer: str
    signed: PossessionKey | None
    address: str | None


def proofs(who: Principal, shown: Shown, keys: PossessionKeys, now: Instant, *, demanded: bool) -> tuple[bool, bool]:
    """Whether `who` has signed the request, and whether they hold the certificate of its connection.

    A certificate that is bound to nobody says nothing, unless one is demanded; one that was revoked or has ended refuses
    the request whatever else it shows, for somebody else may hold its key.

    Args:
        demanded: every connection has to hold a certificate of who asks.

    Raises:
        Unauthenticated: `certificate-refused`, or `credentials-mixed`: the proofs are of several principals.
    """
    if shown.signed is not None and not _is(shown.signed, who):
        _mixed()
    if not demanded and shown.peer not in keys.certificates:
        return shown.signed is not None, False
    if not _is(certificate_of(shown.peer, keys, now, shown.address), who):
        _mixed()
    return shown.signed is not None, True


def _is(key: PossessionKey, who: Principal) -> bool:
    return key.principal == who.id and key.tenant == who.tenant


def _mixed() -> NoReturn:
    raise Unauthenticated(
        "credentials-mixed",
        "the proofs that this request shows are not of one principal",
        "Send the credentials of one principal alone.",
    )
