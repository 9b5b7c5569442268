"""Who calls over mutual TLS: principals by certificates that are bound to them, each by its SHA-256 thumbprint.

A certificate comes from the house's own authority, which names `spiffe://DOMAIN/TENANT/KIND/NAME` in it, or from another
authority that the settings trust. Either way the house has written down whose it is: what stands in a certificate
decides nothing. TLS has checked chain and possession of the key; standing, expiry, revocation and addresses are asked of
the snapshot with each request, also on connections that are open, and on resumed ones. Its thumbprint is what tokens are
bound to (RFC 8705). The private key is made by its owner and never comes here.

What it misses: revocation lists of other authorities are not read, so revoke here; TLS ends at this house, and no header
of a proxy stands for a certificate. Cost: a look-up a request.

Source: RFC 8705, section 3; SPIFFE ID and X.509-SVID standards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, NoReturn, Protocol

from fastness.access.credentials import Authenticated
from fastness.access.members import Bounds, KeyTerms, active_principal, settled
from fastness.access.possession.keys import Kind, PossessionRow, add_key
from fastness.access.possession.snapshot import PossessionKey, PossessionKeys
from fastness.core.clock import SECOND, Instant
from fastness.core.errors import Invalid, Unauthenticated
from fastness.core.identity import PrincipalId, TenantId
from fastness.foundation.crypto.certificates import public_of, read_certificate, read_request
from fastness.foundation.storage import Transaction

__all__ = ["Authority", "bind_certificate", "by_certificate", "certificate_of", "issue_certificate", "spiffe_id"]

LONGEST_DAYS: Final = 30
DAY_S: Final = 86_400


class Signs(Protocol):
    """Who signs certificates; `foundation.crypto.CertificateAuthority`."""

    def certify(self, uri: str, public_pem: bytes, days: int, now: Instant) -> bytes:
        """A certificate chain, PEM."""
        ...


@dataclass(frozen=True, slots=True)
class Authority:
    """The house's own authority.

    Attributes:
        domain: the SPIFFE trust domain of the house.
    """

    signs: Signs
    domain: str


def spiffe_id(domain: str, tenant: TenantId, principal: PrincipalId) -> str:
    """How a principal is named in certificates of the house."""
    kind, _, name = principal.partition(":")
    return f"spiffe://{domain}/{tenant}/{kind}/{name}"


def issue_certificate(
    tx: Transaction, authority: Authority, principal: PrincipalId, request_pem: bytes, terms: KeyTerms, maker: Bounds
) -> tuple[PossessionRow, bytes]:
    """A certificate for the key in a request, by which its holder calls as `principal`; what is kept, and the chain in PEM.

    It lives for whole days, as many as `terms` begin, and 30 at most.

    Raises:
        NotFound: no such principal in the tenant.
        Conflict: it is not active.
        Invalid: the request, its key, or a term.
        Forbidden: `key-wider`.
    """
    terms = settled(terms, maker, tx.now)
    days = -(-(terms.expires_at - tx.now) // (DAY_S * SECOND))
    if days > LONGEST_DAYS:
        raise Invalid("certificate-days", f"a certificate of the house lives for up to {LONGEST_DAYS} days")
    owner = active_principal(tx, principal)
    public = public_of(read_request(request_pem)[1])
    uri = spiffe_id(authority.domain, tx.scope.tenant, owner.id)
    chain = authority.signs.certify(uri, public, days, tx.now)
    made = read_certificate(chain)
    terms = replace(terms, expires_at=min(terms.expires_at, made.expires_at))
    return add_key(tx, Kind.CERTIFICATE, owner.id, (made.thumbprint, made.der), terms), chain


def bind_certificate(
    tx: Transaction, principal: PrincipalId, pems: tuple[bytes, bytes], terms: KeyTerms, maker: Bounds
) -> PossessionRow:
    """Have the holder of a certificate of another authority call as `principal`, until either ends.

    Args:
        pems: the certificate, and a certificate request signed by its key whose common name is `TENANT/KIND:NAME`: a
            certificate is no secret, and who binds somebody else's would be taken for its holder.

    Raises:
        NotFound: no such principal in the tenant.
        Conflict: it is not active, or the certificate is bound already.
        Invalid: the certificate, the request, or a term; `certificate-unproven`: they do not belong together.
        Forbidden: `key-wider`.
    """
    found, (name, public) = read_certificate(pems[0]), read_request(pems[1])
    wanted = f"{tx.scope.tenant}/{principal}"
    if public != found.public or name != wanted:
        hint = f"openssl req -new -key KEY.pem -subj '/CN={wanted.replace('/', chr(92) + '/')[:160]}'"
        raise Invalid("certificate-unproven", "the request is not by the certificate's key for this principal", hint)
    terms = settled(replace(terms, expires_at=min(terms.expires_at, found.expires_at)), maker, tx.now)
    return add_key(tx, Kind.CERTIFICATE, principal, (found.thumbprint, found.der), terms)


def certificate_of(thumbprint: str, keys: PossessionKeys, now: Instant, address: str | None) -> PossessionKey:
    """What is known of the certificate of a connection, if it counts.

    Raises:
        Unauthenticated: `certificate-refused`; `audit_code` says `certificate-unknown`, `certificate-revoked`,
            `certificate-expired` or `certificate-address`.
    """
    found = keys.certificates.get(thumbprint)
    if found is None:
        _refuse("certificate-unknown")
    if fault := found.fault(now, address):
        _refuse(f"certificate-{fault}")
    return found


def by_certificate(thumbprint: str, keys: PossessionKeys, now: Instant, address: str | None) -> Authenticated:
    """Who holds the connection whose client certificate has this thumbprint.

    Raises:
        Unauthenticated: as `certificate_of`.
    """
    return certificate_of(thumbprint, keys, now, address).owner(now, certified=True)


def _refuse(audit_code: str) -> NoReturn:
    raise Unauthenticated(
        "certificate-refused",
        "the client's certificate is not valid here",
        "Get a new one: certificates are bound to a principal, end, and are revoked.",
        audit_code,
    )
