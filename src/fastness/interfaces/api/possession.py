"""Routes for what principals prove themselves by without sending a secret: client certificates and signing keys."""

from __future__ import annotations

from litestar import Controller, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from fastness.access.members import KeyTerms
from fastness.access.possession import (
    Kind,
    PossessionProjection,
    PossessionRow,
    add_signing_key,
    found_keys,
    revoke_possession,
)
from fastness.access.possession.certificates import Authority, bind_certificate, issue_certificate
from fastness.app import House
from fastness.core.clock import later, rfc3339
from fastness.core.identity import Action, PrincipalId, Resource
from fastness.foundation.crypto import CertificateAuthority
from fastness.foundation.storage import Transaction
from fastness.interfaces.api.access import DAY_S, bounds_of, key_limit, parse_action
from fastness.interfaces.api.doors import Caller, Doors
from fastness.interfaces.api.paging import Page
from fastness.interfaces.api.routes import WRITE, guarded
from fastness.wire import possession as wire


class CertificateRoutes(Controller):
    """Client certificates, for mutual TLS."""

    path = "/certificates"
    tags = ("access",)

    @post("/", sync_to_thread=True, opt=guarded(Action.KEY_CREATE, WRITE))
    def create_certificate(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        data: JSONBody[wire.CertificateRequest],
    ) -> wire.CertificateReply:
        """Issue a certificate to a principal, or bind one of another authority to it."""
        owner = _may_give(doors, caller, data.principal)
        request, chain = data.request.encode(), b""
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            terms, maker = _terms(house, tx, caller, data), bounds_of(tx, caller)
            if data.certificate:
                row = bind_certificate(tx, owner, (data.certificate.encode(), request), terms, maker)
            else:
                signs = CertificateAuthority.open(house.keyring)
                authority = Authority(signs, house.settings.server.trust_domain)
                row, chain = issue_certificate(tx, authority, owner, request, terms, maker)
        house.published(PossessionProjection.topic)
        return wire.CertificateReply(row.id, rfc3339(row.expires_at), chain.decode())

    @get("/", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def certificates(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        page: NamedDependency[Page],
    ) -> Response[list[wire.PossessionView]]:
        """All client certificates of the tenant."""
        return _listed(house, doors, caller, page, Kind.CERTIFICATE)

    @delete("/{certificate_id:str}", sync_to_thread=True, opt=guarded(Action.KEY_REVOKE, WRITE))
    def revoke_certificate(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        certificate_id: FromPath[str],
    ) -> None:
        """Revoke a client certificate, also for connections that are open."""
        _revoke(house, doors, caller, Kind.CERTIFICATE, certificate_id)


class SigningKeyRoutes(Controller):
    """Public keys by which requests are signed."""

    path = "/signing-keys"
    tags = ("access",)

    @post("/", sync_to_thread=True, opt=guarded(Action.KEY_CREATE, WRITE))
    def add_signing_key(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        data: JSONBody[wire.SigningKeyRequest],
    ) -> wire.SigningKeyReply:
        """Register a public key by which a principal signs its requests."""
        owner = _may_give(doors, caller, data.principal)
        with house.records.begin(caller.scope, house.clock.now()) as tx:
            terms = _terms(house, tx, caller, data)
            row = add_signing_key(tx, owner, data.public_pem.encode(), terms, bounds_of(tx, caller))
        house.published(PossessionProjection.topic)
        return wire.SigningKeyReply(row.id, f"{row.tenant}/{row.id}", rfc3339(row.expires_at))

    @get("/", sync_to_thread=True, opt=guarded(Action.ACCESS_READ))
    def signing_keys(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        page: NamedDependency[Page],
    ) -> Response[list[wire.PossessionView]]:
        """All signing keys of the tenant."""
        return _listed(house, doors, caller, page, Kind.SIGNING_KEY)

    @delete("/{signing_key_id:str}", sync_to_thread=True, opt=guarded(Action.KEY_REVOKE, WRITE))
    def revoke_signing_key(
        self,
        house: NamedDependency[House],
        doors: NamedDependency[Doors],
        caller: NamedDependency[Caller],
        signing_key_id: FromPath[str],
    ) -> None:
        """Revoke a signing key."""
        _revoke(house, doors, caller, Kind.SIGNING_KEY, signing_key_id)


def _may_give(doors: Doors, caller: Caller, principal: str) -> PrincipalId:
    owner = PrincipalId(principal)
    kind = owner.partition(":")[0]
    doors.allow(caller, Action.KEY_CREATE, Resource("principal", owner), owner=owner, owner_kind=kind)
    return owner


def _terms(
    house: House, tx: Transaction, caller: Caller, data: wire.CertificateRequest | wire.SigningKeyRequest
) -> KeyTerms:
    """What is asked for; what is left open is as narrow as the credential that asks."""
    maker = bounds_of(tx, caller)
    return KeyTerms(
        key_limit(house, data.per_s, data.burst, data.days),
        later(tx.now, data.days * DAY_S),
        data.name,
        frozenset(map(parse_action, data.actions)) or maker.actions,
        frozenset(data.models) or maker.models,
        data.networks or maker.networks,
    )


def _listed(house: House, doors: Doors, caller: Caller, page: Page, kind: Kind) -> Response[list[wire.PossessionView]]:
    doors.allow(caller, Action.ACCESS_READ, Resource("access", f"{kind}s"))
    with house.records.read(caller.scope) as reading:
        found = found_keys(reading, kind)
    return page.of(map(_view, found), lambda view: f"{view.created_at}.{view.id}")


def _revoke(house: House, doors: Doors, caller: Caller, kind: Kind, identifier: str) -> None:
    with house.records.read(caller.scope) as reading:
        owner = next((row.principal for row in found_keys(reading, kind) if row.id == identifier), "")
    doors.allow(caller, Action.KEY_REVOKE, Resource(kind.value, identifier), owner=owner)
    with house.records.begin(caller.scope, house.clock.now()) as tx:
        revoke_possession(tx, kind, identifier)
    house.published(PossessionProjection.topic)


def _view(row: PossessionRow) -> wire.PossessionView:
    return wire.PossessionView(
        row.id,
        f"{row.tenant}/{row.id}" if row.kind is Kind.SIGNING_KEY else "",
        row.name,
        row.principal,
        rfc3339(row.created_at),
        rfc3339(row.expires_at),
        row.revoked,
        row.limit.per_s,
        row.limit.burst,
        tuple(sorted(row.actions or ())),
        tuple(sorted(row.models or ())),
        row.networks,
    )
