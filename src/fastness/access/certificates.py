"""Who calls over mutual TLS: principals by the certificates that the house's own authority gave them.

A certificate names `spiffe://DOMAIN/TENANT/KIND/NAME` and nothing else. What it says is who; what they may do, and
whether they are still in good standing, is looked up in the snapshot each time. Its thumbprint is what tokens are bound
to (RFC 8705). The private key is made by its owner and never comes here.

What it misses: a certificate of another authority names nobody; SPIRE is not consulted. Cost: one P-256 verification and
parsing, once a connection.

Source: SPIFFE ID and X.509-SVID standards; RFC 8705, section 3.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NoReturn, Protocol

from fastness.access import tokens
from fastness.access.members import active_principal
from fastness.access.tokens import TokenKeys
from fastness.core.clock import Instant
from fastness.core.errors import Corrupt, Invalid, Unauthenticated
from fastness.core.events import Detail, EventKind
from fastness.core.identity import Principal, PrincipalId, PrincipalKind, Strength, TenantId
from fastness.foundation.crypto import CertificateAuthority
from fastness.foundation.storage import Transaction

__all__ = ["Peer", "Trust", "certify", "peer_of", "revoke", "spiffe_id"]

LONGEST_DAYS: Final = 30
_DOMAIN = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,250}[a-z0-9])?", re.ASCII)
_PATH = re.compile(r"/([a-z0-9._-]{1,64})/(user|service|agent)/([a-z0-9._-]{1,64})", re.ASCII)


class Authority(Protocol):
    """Who signs certificates; `foundation.crypto.CertificateAuthority`."""

    def certify(self, uri: str, public_pem: bytes, days: int, now: Instant) -> bytes:
        """A certificate chain, PEM."""
        ...


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection.

    Attributes:
        thumbprint: base64url SHA-256 of the certificate; what `Verifier.verify` asks for.
    """

    principal: Principal
    thumbprint: str
    expires_at: Instant


@dataclass(frozen=True, slots=True)
class Trust:
    """What certificates are held against.

    Attributes:
        domain: the trust domain of this house, such as `fastness.example`.
        ca_pem: the certificate of its authority.
    """

    domain: str
    ca_pem: bytes

    def __post_init__(self) -> None:
        if not _DOMAIN.fullmatch(self.domain):
            raise Invalid("trust-domain", f"{self.domain[:80]!r} is no trust domain", "Use a lower-case DNS name.")


def spiffe_id(domain: str, tenant: TenantId, principal: PrincipalId) -> str:
    """How a principal is named in certificates."""
    kind, _, name = principal.partition(":")
    return f"spiffe://{domain}/{tenant}/{kind}/{name}"


def certify(
    tx: Transaction, authority: Authority, trust: Trust, principal: PrincipalId, public_pem: bytes, days: int = 1
) -> bytes:
    """A certificate chain, PEM, by which the owner of a public key calls as `principal`.

    Whoever asks must have proved to be `principal`, or be allowed to make keys for it: that is decided before.

    Args:
        days: 1 to 30.

    Raises:
        NotFound: no such principal in the tenant.
        Conflict: it is not active.
        Invalid: the public key or the days.
    """
    if not 1 <= days <= LONGEST_DAYS:
        raise Invalid("certificate-request", f"a client's certificate lives 1 to {LONGEST_DAYS} days")
    owner = active_principal(tx, principal)
    uri = spiffe_id(trust.domain, tx.scope.tenant, owner.id)
    chain = authority.certify(uri, public_pem, days, tx.now)
    details: dict[str, Detail] = {"principal": owner.id, "uri": uri, "days": days}
    tx.emit(tx.events.make(EventKind.KEY_CREATED, f"certificate:{owner.id}", details=details))
    return chain


def revoke(tx: Transaction, thumbprint: str, principal: PrincipalId, reason: str) -> bool:
    """Refuse a certificate from now on; False if it was refused already. `tokens.revoke_all` refuses all of a principal's."""
    return tokens.revoke(tx, f"cert/{thumbprint}", principal, reason, LONGEST_DAYS * 86_400)


def peer_of(certificate: bytes, trust: Trust, keys: TokenKeys, now: Instant) -> Peer:
    """Who holds the connection that came with `certificate` (DER).

    Raises:
        Unauthenticated: `certificate-refused`; `audit_code` says `certificate-refused` (not one of ours, or out of its
            time), `certificate-domain`, `certificate-principal` or `certificate-revoked`.
    """
    try:
        identity = CertificateAuthority.identify(trust.ca_pem, certificate, now)
    except Corrupt:
        _refuse("certificate-refused")
    prefix = f"spiffe://{trust.domain}"
    path = _PATH.fullmatch(identity.uri.removeprefix(prefix)) if identity.uri.startswith(f"{prefix}/") else None
    if path is None:
        _refuse("certificate-domain")
    tenant, principal = TenantId(path[1]), PrincipalId(f"{path[2]}:{path[3]}")
    holder = keys.holders.get(f"{tenant}/{principal}")
    if holder is None or not holder.active or holder.kind is not PrincipalKind(path[2]):
        _refuse("certificate-principal")
    if identity.issued_at < holder.not_before or f"{tenant}/cert/{identity.thumbprint}" in keys.denied:
        _refuse("certificate-revoked")
    found = Principal(holder.kind, principal, tenant, holder.roles, Strength.SIGNED, now, grants=holder.grants)
    return Peer(found, identity.thumbprint, identity.expires_at)


def _refuse(audit_code: str) -> NoReturn:
    raise Unauthenticated(
        "certificate-refused",
        "the client's certificate is not valid",
        "Get a new one: certificates are short-lived.",
        audit_code,
    ) from None
