"""Who asks, by what a request of the control plane shows: a key, a token, a signature, a certificate."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from fastness.access import authenticate
from fastness.access.login import Client, sessions
from fastness.access.possession import Kind, Shown, proofs
from fastness.access.possession.certificates import by_certificate
from fastness.access.possession.signatures import Rule, SignedRequest, open_request, refuse_replay
from fastness.app import ClientCertificates, House
from fastness.core.clock import Instant
from fastness.core.identity import SYSTEM_SCOPE, Principal
from fastness.interfaces.api.cookies import SESSION, read_cookie
from fastness.interfaces.api.headers import header_of
from fastness.interfaces.api.peer import peer_of, signed_head

_TOKEN: Final = b"Bearer eyJ"
_SCHEME: Final = len(b"Bearer ")


def signed(house: House, scope: Any, now: Instant) -> SignedRequest | None:
    """The signature of the request, if it says that it has one; the gate holds the body against it.

    Raises:
        Unauthenticated: it does not count, or came before.
        Unavailable: it cannot be told whether it came before.
    """
    head = signed_head(scope)
    if head is None:
        return None
    server = house.settings.server
    rule = Rule(house.settings.signatures, server.authorities(server.admin_port))
    found = open_request(head, house.snapshots.possession.load(), rule, now, _address(scope))
    if not house.nonces.once(found.nonce, now):
        refuse_replay()
    return found


def by_header(
    house: House, scope: Any, authorization: bytes | None, signature: SignedRequest | None, now: Instant
) -> tuple[Principal, str]:
    """Who asks, and the name of the credential: the one in the header, else the signature, else the certificate.

    Raises:
        Unauthenticated: there is none, or it does not count.
    """
    peer, address = peer_of(scope), _address(scope)
    if authorization is not None and authorization.startswith(_TOKEN):
        bearer = house.snapshots.verifier().verify(authorization[_SCHEME:], now, peer)
        return bearer.principal, f"token:{bearer.token_id}"
    if authorization is None and signature is not None:
        return signature.key.owner(now).principal, f"{Kind.SIGNING_KEY}:{signature.key.id}"
    if authorization is None and peer:
        held = by_certificate(peer, house.snapshots.possession.load(), now, address)
        return held.principal, f"{Kind.CERTIFICATE}:{held.key_id}"
    found = authenticate(authorization, house.credentials(), now, address)
    return found.principal, f"key:{found.key_id}"


def again(house: House, scope: Any, client: Client, signature: SignedRequest | None) -> Principal:
    """Who asks, found out once more: of a request that takes long, whose credential may have ended meanwhile.

    Raises:
        Unauthenticated: it does not count any more.
    """
    now = house.clock.now()
    if cookie := read_cookie(scope, SESSION):
        with house.records.read(SYSTEM_SCOPE) as reading:
            who = sessions.validate(reading, house.desk, cookie, client, now).principal
    else:
        who, _ = by_header(house, scope, header_of(scope, b"authorization") or None, signature, now)
    return proved(house, who, scope, signature)


def proved(house: House, who: Principal, scope: Any, signature: SignedRequest | None) -> Principal:
    """`who`, known to have signed and to hold the certificate of the connection, where that is so.

    Raises:
        Unauthenticated: what the request shows is not of one principal, or a certificate is demanded.
    """
    peer = peer_of(scope)
    demanded = house.settings.server.client_certificates == ClientCertificates.REQUIRED and bool(scope["client"])
    if signature is None and not peer and not demanded:
        return who
    shown = Shown(peer, None if signature is None else signature.key, _address(scope))
    keys = house.snapshots.possession.load()
    is_signed, certified = proofs(who, shown, keys, house.clock.now(), demanded=demanded)
    return msgspec.structs.replace(who, signed=is_signed, certified=certified)


def _address(scope: Any) -> str:
    return scope["client"][0] if scope.get("client") else ""
