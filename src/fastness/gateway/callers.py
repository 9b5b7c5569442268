"""Step 2 of the request path: who asks, by an API key, an access token of this house, a signature of the request, or the certificate
of the connection. On snapshots; no SQL, no waiting.

Who was recognised by a key is remembered for a second, so that an expiry counts within a second, and only while the snapshot of the
keys stays the same object, so that a revocation counts at once. Tokens are remembered by their verifier, which looks at each
again with each new snapshot.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

import msgspec

from fastness.access import Authenticated, Credentials, authenticate
from fastness.access.possession import Kind, PossessionKey, Shown, proofs
from fastness.access.possession.certificates import by_certificate
from fastness.access.tokens import Bearer, TokenKeys, Verifier
from fastness.core.clock import SECOND, Instant
from fastness.core.events import Detail
from fastness.core.identity import Principal
from fastness.core.limits import Limit
from fastness.gateway.parts import GatewayParts
from fastness.gateway.record import Request

_TOKEN: Final = b"Bearer eyJ"
_SCHEME: Final = len(b"Bearer ")
_KEPT: Final = 4096
_KNOWN_NS: Final = SECOND


class Caller:
    """Who asks.

    Attributes:
        credential: id of the key, or `token:ID`, `signing-key:ID` or `certificate:ID`.
        key_id: empty for a token.
        limit: rate of the key; a token has none of its own.
        bound: good from some addresses only.
        details: what an event says of the credential.
    """

    __slots__ = ("bound", "credential", "details", "key_id", "limit", "principal")

    def __init__(self, principal: Principal, credential: str, key_id: str, limit: Limit | None) -> None:
        self.principal = principal
        self.credential = credential
        self.key_id = key_id
        self.limit = limit
        self.bound = False
        self.details: dict[str, Detail] = {}


class Callers:
    """Recognises them."""

    def __init__(self, parts: GatewayParts) -> None:
        self._parts = parts
        self._secret = parts.entropy(32)
        self._known: dict[bytes, tuple[Caller, Instant, str]] = {}
        self._known_by: Credentials | None = None
        self._bearers: dict[str, tuple[Bearer, Caller]] = {}
        self._verifier: Verifier | None = None
        self._verified_by: TokenKeys | None = None
        self._holders: dict[str, tuple[PossessionKey, Caller]] = {}
        self._proved: dict[tuple[str, bool, bool], tuple[Caller, Caller]] = {}
        self.demanding = parts.certified

    def prove(self, request: Request, authorization: bytes | None) -> Caller:
        """Who sent `request`, which shows a signature or a certificate, or has to.

        Raises:
            Unauthenticated: no valid credential, or those that it shows are not of one principal.
            Unavailable: a snapshot is stale.
        """
        live, signed = self._parts.possession, request.signed
        keys = live.current
        shown = Shown(request.peer, None if signed is None else signed.key, request.address)
        if authorization is not None:
            who = self.find(request, authorization)
        elif signed is not None:
            request.epoch = live.epoch
            who = self._holder(Kind.SIGNING_KEY, signed.key, signed.key.owner(request.now))
        elif request.peer:
            request.epoch = live.epoch
            found = by_certificate(request.peer, keys, request.now, request.address)
            who = self._holder(Kind.CERTIFICATE, keys.certificates[request.peer], found)
        else:
            who = self.find(request, None)
        is_signed, certified = proofs(who.principal, shown, keys, request.now, demanded=self.demanding)
        return self._with(who, signed=is_signed, certified=certified)

    def _holder(self, kind: Kind, key: PossessionKey, found: Authenticated) -> Caller:
        """The same object for as long as the key stays the same, as what was granted is remembered by it."""
        credential = f"{kind}:{key.id}"
        known = self._holders.get(credential)
        if known is not None and known[0] is key:
            return known[1]
        caller = Caller(found.principal, credential, key.id, key.limit)
        caller.details = {kind.value: key.id}
        if len(self._holders) >= _KEPT:
            self._holders.clear()
        self._holders[credential] = (key, caller)
        return caller

    def _with(self, who: Caller, *, signed: bool, certified: bool) -> Caller:
        """The caller, known to have signed the request, and to hold the certificate."""
        if (who.principal.signed, who.principal.certified) == (signed, certified):
            return who
        place = (who.credential, signed, certified)
        known = self._proved.get(place)
        if known is not None and known[0] is who:
            return known[1]
        principal = msgspec.structs.replace(who.principal, signed=signed, certified=certified)
        caller = Caller(principal, who.credential, who.key_id, who.limit)
        caller.details = {**who.details, "signed": signed, "certified": certified}
        if len(self._proved) >= _KEPT:
            self._proved.clear()
        self._proved[place] = (who, caller)
        return caller

    def find(self, request: Request, authorization: bytes | None) -> Caller:
        """Who sent `request`.

        Raises:
            Unauthenticated: no valid key and no valid token.
            Unavailable: a snapshot is stale.
        """
        if authorization is not None and authorization.startswith(_TOKEN):
            return self._by_token(request, authorization)
        live = self._parts.credentials
        credentials = live.current
        request.epoch = live.epoch
        if credentials is not self._known_by:
            self._known = {}
            self._known_by = credentials
        # Not the key but a digest of it is held, under a secret of this process.
        digest = blake2b(authorization or b"", digest_size=16, key=self._secret).digest()
        known = self._known.get(digest)
        if known is not None and known[1] <= request.now < known[1] + _KNOWN_NS:
            caller, _, address = known
            if not caller.bound or address == request.address:
                return caller
        found = authenticate(authorization, credentials, request.now, request.address)
        caller = Caller(found.principal, found.key_id, found.key_id, found.limit)
        caller.bound = found.bound
        caller.details = {"key": found.key_id}
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[digest] = (caller, request.now, request.address)
        return caller

    def _by_token(self, request: Request, authorization: bytes) -> Caller:
        live = self._parts.tokens
        keys = live.current
        request.epoch = live.epoch
        if keys is not self._verified_by:
            if self._verifier is None:
                self._verifier = Verifier(keys, self._parts.entropy(32))
            self._verifier.use(keys)
            self._verified_by = keys
        verifier = self._verifier
        assert verifier is not None
        bearer = verifier.verify(authorization[_SCHEME:], request.now, request.peer)
        known = self._bearers.get(bearer.token_id)
        if known is not None and known[0] is bearer:
            return known[1]
        caller = Caller(bearer.principal, f"token:{bearer.token_id}", "", None)
        caller.details = {"token": bearer.token_id, "client": bearer.client}
        if bearer.actors:
            caller.details["actors"] = " ".join(bearer.actors)
        if len(self._bearers) >= _KEPT:
            self._bearers.clear()
        self._bearers[bearer.token_id] = (bearer, caller)
        return caller
