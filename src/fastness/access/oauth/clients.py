"""OAuth2 clients: what they are, how they are made, and what an address to redirect to must look like.

There is no dynamic registration: an administrator makes clients. A public client (a command line, an app) has neither
secret nor key; a confidential one has a secret of 256 bits, of which a keyed digest is kept, or public keys of its own.

Addresses are compared letter by letter. The one exception is RFC 8252, section 7.3: a program on a person's own machine
listens on whatever port is free, so for `http://127.0.0.1` and `http://[::1]` the port does not count.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

import msgspec
from authlib.oauth2.rfc6749 import ClientMixin

from fastness.access import members, tokens
from fastness.access.apikeys import base62
from fastness.access.oauth import records
from fastness.access.oauth.parts import OAuth
from fastness.access.oauth.records import ClientRow
from fastness.access.tokens import Rights, parse_scope
from fastness.access.tokens.jose import OURS, VerifyingKey, import_public
from fastness.access.tokens.rights import EVERYTHING
from fastness.core.digests import parse_name
from fastness.core.errors import Conflict, Corrupt, Invalid, NotFound
from fastness.core.events import Detail, EventKind
from fastness.core.identity import PrincipalId, PrincipalKind, TenantId
from fastness.foundation.storage import Reading, Transaction

CLI = "fastness-cli"
"""The client that `fastness login` is: it is in every tenant and needs no row."""

_LOOPBACK = re.compile(r"http://(127\.0\.0\.1|\[::1\])(?::\d{1,5})?(/[A-Za-z0-9._~/-]*)?", re.ASCII)
_PRINTABLE = re.compile(r"[!-~]{1,512}", re.ASCII)
_NO_REDIRECT = ""
_KEY_NAME = re.compile(r"[!-~]{1,64}", re.ASCII)
_MEMBERS = frozenset({"kid", "alg", "kty", "crv", "x", "y", "n", "e"})
_MOST_KEYS = 8


class GrantType(StrEnum):
    """Ways to a token."""

    CODE = "authorization_code"
    REFRESH = "refresh_token"
    MACHINE = "client_credentials"
    DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
    EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


@dataclass(frozen=True, slots=True)
class Client(ClientMixin):
    """A client in good standing.

    Attributes:
        secret_digest: keyed digest of its secret; None where it has none.
        keys: its public keys by name, for `private_key_jwt`.
        redirects: addresses that it may ask to be redirected to.
        rights: what its tokens may hold at most.
        principal: as whom it acts in its own name; None where it only acts for people.
        introspects: whether it may look at tokens that are not its own.
    """

    client_id: str
    tenant: TenantId
    name: str
    secret_digest: bytes | None
    keys: Mapping[str, VerifyingKey]
    redirects: tuple[str, ...]
    grants: frozenset[GrantType]
    rights: Rights
    principal: PrincipalId | None = None
    introspects: bool = False

    @property
    def method(self) -> str:
        """How it authenticates, RFC 7591, section 2."""
        if self.keys:
            return "private_key_jwt"
        return "none" if self.secret_digest is None else "client_secret"

    def get_client_id(self) -> str:
        """Its id."""
        return self.client_id

    def get_default_redirect_uri(self) -> str:
        """None is assumed: a request names the address, so that there is one way to ask."""
        return _NO_REDIRECT

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        """Whether the address is one of the client's."""
        return redirect_matches(self.redirects, redirect_uri)

    def check_response_type(self, response_type: str) -> bool:
        """Only codes are handed out through a browser."""
        return response_type == "code" and GrantType.CODE in self.grants

    def check_grant_type(self, grant_type: str) -> bool:
        """Whether it was given this way to a token."""
        return grant_type in self.grants

    def get_allowed_scope(self, scope: str | None) -> str | None:
        """What of the scope it may have; None where it asks for more, for then it gets nothing."""
        asked = self.rights if not scope else parse_scope(scope)
        beyond = None not in {asked.models, self.rights.models} and not asked.within(self.rights)
        return None if beyond or not asked.actions <= self.rights.actions else asked.met(self.rights).scope()


@dataclass(frozen=True, slots=True)
class NewClient:
    """A client just made; printing it does not show its secret.

    Attributes:
        secret: shown once; empty where it has none.
    """

    client: Client
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an administrator asks for.

    Attributes:
        confidential: gets a secret, unless it has `jwks`.
        jwks: public keys as JWKs with `kid` and `alg`; makes it confidential without a secret.
    """

    name: str
    scope: str
    grants: frozenset[GrantType]
    redirects: tuple[str, ...] = ()
    confidential: bool = False
    jwks: tuple[Mapping[str, Any], ...] = ()
    principal: PrincipalId | None = None
    introspects: bool = False


def create_client(tx: Transaction, oauth: OAuth, wanted: Wanted) -> NewClient:
    """A new client of the scope's tenant.

    Raises:
        Invalid: something that it asks for is malformed, or does not go together.
        NotFound: its principal does not exist.
        Conflict: its principal is not active.
    """
    _check_wanted(tx, wanted)
    client_id = f"{parse_name(wanted.name)}-{tx.events.entropy(6).hex()}"
    if len(client_id) > 64:
        raise Invalid("client-name", "a client's name has at most 50 characters")
    secret = f"fsc_{base62(tx.events.entropy(32))}" if wanted.confidential and not wanted.jwks else ""
    row = ClientRow(
        client_id,
        tx.scope.tenant,
        wanted.name,
        oauth.digest("client-secret", secret) if secret else None,
        _stored(wanted.jwks),
        "\n".join(wanted.redirects),
        " ".join(sorted(wanted.grants)),
        parse_scope(wanted.scope).scope(),
        wanted.principal,
        introspects=wanted.introspects,
        disabled=False,
    )
    client = _client(row)
    records.add_client(tx, row)
    details: dict[str, Detail] = {"grants": row.grants, "scope": row.scope, "method": client.method}
    tx.emit(tx.events.make(EventKind.CLIENT_CHANGED, f"client:{client_id}", reason="created", details=details))
    return NewClient(client, secret)


def new_secret(tx: Transaction, oauth: OAuth, client_id: str) -> str:
    """Another secret for a client that has one; the old one is void at once.

    Raises:
        NotFound: no such client with a secret in the tenant.
    """
    secret = f"fsc_{base62(tx.events.entropy(32))}"
    if records.put_secret(tx, client_id, oauth.digest("client-secret", secret)) != 1:
        raise _unknown(client_id)
    tx.emit(tx.events.make(EventKind.CLIENT_CHANGED, f"client:{client_id}", reason="secret-renewed"))
    return secret


def put_keys(tx: Transaction, client_id: str, jwks: tuple[Mapping[str, object], ...]) -> None:
    """Give a client that proves itself by keys others; one that is left out counts no more, at once.

    Raises:
        Invalid: they are none that a client can have.
        NotFound: no such client with keys in the tenant.
    """
    if tenant_of(tx, client_id) != tx.scope.tenant:
        raise _unknown(client_id)
    if not jwks:
        raise Invalid("client-keys", "a client has at least one key", "Give a JWK set of public keys.")
    if records.put_jwks(tx, client_id, _stored(jwks)) != 1:
        raise _unknown(client_id)
    details: dict[str, Detail] = {"keys": " ".join(str(jwk["kid"]) for jwk in jwks)}
    tx.emit(tx.events.make(EventKind.CLIENT_CHANGED, f"client:{client_id}", reason="keys-changed", details=details))


def disable_client(tx: Transaction, client_id: str) -> None:
    """End a client: its secret, its codes and all tokens it was issued count no more.

    Raises:
        NotFound: no such client in the tenant.
        Conflict: it is disabled already.
    """
    if tenant_of(tx, client_id) != tx.scope.tenant:
        raise _unknown(client_id)
    if records.disable_client(tx, client_id) != 1:
        raise Conflict("client-disabled", f"the client {client_id} is disabled already")
    for family in records.families_of(tx, client_id=client_id):
        records.mark_family_revoked(tx, family.id)
    tokens.revoke(tx, f"client/{client_id}", PrincipalId(""), "client-disabled")
    tx.emit(tx.events.make(EventKind.CLIENT_CHANGED, f"client:{client_id}", reason="disabled"))


def find_clients(reading: Reading) -> list[ClientRow]:
    """The clients of the tenant, disabled ones too."""
    return records.find_clients(reading)


def client_of(reading: Reading, client_id: str) -> Client | None:
    """The client in good standing of the tenant that reads, or None."""
    if client_id == CLI:
        return _cli(reading.scope.tenant)
    row = records.find_client(reading, client_id)
    if row is None or row.disabled or row.tenant != reading.scope.tenant:
        return None
    return _client(row)


def tenant_of(reading: Reading, client_id: str) -> TenantId | None:
    """Whose client it is; None where there is none, or where it is in every tenant."""
    row = records.find_client(reading, client_id)
    return None if row is None else row.tenant


def secret_is_right(oauth: OAuth, client: Client | None, secret: str) -> bool:
    """Whether `secret` is the client's. Takes the same steps where there is no such client, or none with a secret."""
    given = oauth.digest("client-secret", secret)
    kept = client.secret_digest if client is not None and client.secret_digest is not None else bytes(32)
    return hmac.compare_digest(given, kept)


def redirect_matches(registered: tuple[str, ...], given: str) -> bool:
    """Whether `given` is one of the registered addresses, letter by letter but for the port of a loopback address."""
    if given in registered:
        return True
    asked = _LOOPBACK.fullmatch(given)
    if asked is None:
        return False
    known = (_LOOPBACK.fullmatch(address) for address in registered)
    return any(match is not None and match.groups() == asked.groups() for match in known)


def _check_wanted(tx: Transaction, wanted: Wanted) -> None:
    if parse_scope(wanted.scope).empty() or not wanted.grants:
        raise Invalid("client-rights", "a client needs a scope and a grant", "Name the actions that it is for.")
    for address in wanted.redirects:
        _check_redirect(address)
    if (GrantType.CODE in wanted.grants) != bool(wanted.redirects):
        raise Invalid("client-redirects", "a client has addresses to redirect to exactly if it uses codes")
    alone = {GrantType.MACHINE, GrantType.EXCHANGE} & wanted.grants
    secret = wanted.confidential or bool(wanted.jwks)
    if alone and not (secret and wanted.principal):
        raise Invalid("client-public", f"{min(alone)} is for confidential clients that have a principal")
    if wanted.introspects and not secret:
        raise Invalid("client-public", "only a confidential client looks at the tokens of others")
    if wanted.principal is not None:
        _check_principal(tx, wanted.principal)


def _check_principal(tx: Transaction, principal: PrincipalId) -> None:
    if members.active_principal(tx, principal).kind not in {PrincipalKind.SERVICE, PrincipalKind.AGENT}:
        raise Invalid("client-principal", "a client acts as a service or an agent, never as a person")


def _check_redirect(address: str) -> None:
    """https, or http on the loopback by number. RFC 9700, section 4.1; RFC 8252, section 7.3."""
    parts = urlsplit(address) if _PRINTABLE.fullmatch(address) else None
    plain = parts is not None and parts.scheme == "https" and parts.hostname and "@" not in parts.netloc
    if not (plain or _LOOPBACK.fullmatch(address)) or set('#\\*"') & set(address):
        raise Invalid(
            "redirect-address",
            f"{address[:80]!r} is no address to redirect to",
            "Give the whole https address, or http://127.0.0.1/… for a program on a person's own machine.",
        )


def _client(row: ClientRow) -> Client:
    try:
        grants = frozenset(GrantType(word) for word in row.grants.split())
        jwks = msgspec.json.decode(row.jwks, type=list[dict[str, Any]]) if row.jwks else []
        rights = parse_scope(row.scope)
    except (ValueError, msgspec.MsgspecError, Invalid) as error:
        raise Corrupt("access-changed", "the records of OAuth2 hold a client that is none") from error
    return Client(
        row.client_id,
        row.tenant,
        row.name,
        row.secret_digest,
        _keys(jwks),
        tuple(row.redirects.split("\n")) if row.redirects else (),
        grants,
        rights,
        row.principal,
        row.introspects,
    )


def key_names(row: ClientRow) -> tuple[str, ...]:
    """The names of a client's keys."""
    return tuple(_client(row).keys)


def _stored(jwks: tuple[Mapping[str, object], ...]) -> str:
    """The keys as they are kept; empty for none. Raises Invalid where they are none that a client can have."""
    if len(jwks) > _MOST_KEYS:
        raise Invalid("client-keys", f"a client has at most {_MOST_KEYS} keys")
    _keys([dict(jwk) for jwk in jwks])
    kept = [{name: value for name, value in jwk.items() if name in _MEMBERS} for jwk in jwks]
    return msgspec.json.encode(kept).decode() if kept else ""


def _keys(jwks: list[dict[str, Any]]) -> dict[str, VerifyingKey]:
    found: dict[str, VerifyingKey] = {}
    for jwk in jwks:
        kid, alg = jwk.get("kid"), jwk.get("alg")
        if not isinstance(kid, str) or not isinstance(alg, str) or not _KEY_NAME.fullmatch(kid) or kid in found:
            raise Invalid("client-keys", "each key of a client has a kid of its own, of up to 64 letters, and an alg")
        found[kid] = import_public(jwk, alg, OURS)
    return found


def _cli(tenant: TenantId) -> Client:
    grants = frozenset({GrantType.CODE, GrantType.DEVICE, GrantType.REFRESH})
    redirects = ("http://127.0.0.1/callback", "http://[::1]/callback")
    return Client(CLI, tenant, "Fastness command line", None, {}, redirects, grants, EVERYTHING)


def _unknown(client_id: str) -> NotFound:
    return NotFound("client-unknown", f"there is no such client {client_id[:64]!r}")
