"""What a provider publishes: its endpoints and its keys, fetched, held against what is settled with it, and remembered.

The document must name the issuer it was fetched for, letter by letter, and only hosts that are settled: so a document of
another provider, or one that sends codes and secrets elsewhere, is refused. Keys are taken one by one: each for one
algorithm that is settled, none private or symmetric, each name once. While a set is remembered, a name does not change
its key; a new set that says otherwise is refused as a whole, and the old one stays until it is too old.

Unknown key names fetch the set again at most once a minute: nobody can make this house hammer a provider.

Source: OpenID Connect Discovery 1.0, sections 3 and 4.3; RFC 7517; RFC 9700, section 4.4 (mix-up).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastness.access.federation.fetching import Fetcher, read_address
from fastness.access.federation.providers import Known, Provider
from fastness.access.tokens.jose import EXTERNAL, VerifyingKey, import_public, public_jwk, strict_object
from fastness.core.clock import SECOND, Instant
from fastness.core.errors import Corrupt, Invalid

KEPT_S: Final = 3600
AGAIN_S: Final = 60
_MOST_KEYS = 32
_DEFAULTS = {("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA", ("RSA", None): "RS256"}


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a provider is asked.

    Attributes:
        names_itself: whether it says who it is in its replies (RFC 9207); then it must.
        end_session: where a browser is sent to log out there as well; empty where the provider has no such place.
    """

    authorization: str
    token: str
    keys: str
    names_itself: bool
    end_session: str = ""


@dataclass(slots=True)
class _Remembered:
    endpoints: Endpoints
    fetched_at: Instant
    keys: dict[str, VerifyingKey]
    keys_at: Instant
    tried_at: Instant


class Discovery:
    """Knows the endpoints and keys of providers. Share one; it is safe between threads."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._kept: dict[tuple[str, str, str], _Remembered] = {}
        self._locks: dict[tuple[str, str, str], threading.Lock] = {}

    def endpoints(self, known: Known, now: Instant) -> Endpoints:
        """Where the provider is asked.

        Raises:
            Invalid: `address-refused`.
            Unavailable: it does not answer.
            Corrupt: `provider-document`: it publishes what does not belong to it, or cannot be read.
        """
        with self._lock(known):
            return self._found(known, now).endpoints

    def keys(self, known: Known, kid: object, now: Instant) -> Mapping[str, VerifyingKey]:
        """The provider's keys; fetched again where `kid` is not among them, but not all the time.

        Raises:
            Invalid, Unavailable: as `endpoints`.
            Corrupt: `provider-keys`.
        """
        with self._lock(known):
            found = self._found(known, now)
            missing = not (isinstance(kid, str) and kid in found.keys) and now - found.tried_at >= AGAIN_S * SECOND
            if missing or now - found.keys_at >= KEPT_S * SECOND:
                found.tried_at = now
                fresh = read_keys(known.provider, self._fetcher.get(found.endpoints.keys))
                young = now - found.keys_at < KEPT_S * SECOND
                if young and any(_changed(found.keys[name], fresh[name]) for name in found.keys.keys() & fresh.keys()):
                    raise Corrupt("provider-keys", "a key of the provider changed and kept its name")
                found.keys, found.keys_at = fresh, now
            return found.keys

    def _lock(self, known: Known) -> threading.Lock:
        """One for each provider: that one is slow keeps nobody else waiting."""
        return self._locks.setdefault((known.tenant, known.provider.name, known.digest), threading.Lock())

    def _found(self, known: Known, now: Instant) -> _Remembered:
        at = (known.tenant, known.provider.name, known.digest)
        found = self._kept.get(at)
        if found is None or now - found.fetched_at >= KEPT_S * SECOND:
            address = f"{known.provider.issuer.rstrip('/')}/.well-known/openid-configuration"
            endpoints = read_document(known.provider, self._fetcher.get(address), loopback=self._fetcher.loopback)
            if found is None:
                never = Instant(now - (KEPT_S + 1) * SECOND)
                found = _Remembered(endpoints, now, {}, never, never)
                self._kept = {k: kept for k, kept in self._kept.items() if k[:2] != at[:2]} | {at: found}
            found.endpoints, found.fetched_at = endpoints, now
        return found


def read_document(provider: Provider, data: bytes, *, loopback: bool) -> Endpoints:
    """The endpoints in a discovery document.

    Raises:
        Corrupt: `provider-document`.
    """
    try:
        document = strict_object(data)
    except ValueError as error:
        raise Corrupt("provider-document", "the provider's document cannot be read") from error
    if document.get("issuer") != provider.issuer:
        raise Corrupt("provider-document", "the provider's document is that of another issuer")
    found = {
        name: _endpoint(provider, document, f"{name}_endpoint", loopback=loopback)
        for name in ("authorization", "token")
    }
    keys = _endpoint(provider, document, "jwks_uri", loopback=loopback)
    if "code" not in listed(document, "response_types_supported", "code"):
        raise Corrupt("provider-document", "the provider gives no codes")
    if "S256" not in listed(document, "code_challenge_methods_supported", "S256"):
        raise Corrupt("provider-document", "the provider knows no PKCE with S256")
    names_itself = document.get("authorization_response_iss_parameter_supported") is True
    ending = "end_session_endpoint" in document
    end_session = _endpoint(provider, document, "end_session_endpoint", loopback=loopback) if ending else ""
    return Endpoints(found["authorization"], found["token"], keys, names_itself, end_session)


def listed(document: Mapping[str, object], name: str, default: str) -> list[object]:
    """What a document lists under a name; the default where it does not say, nothing where that is no list."""
    found = document.get(name, [default])
    return found if isinstance(found, list) else []


def read_keys(provider: Provider, data: bytes) -> dict[str, VerifyingKey]:
    """The keys in a JWK set that are for signatures with a settled algorithm.

    Raises:
        Corrupt: `provider-keys`: one is private or symmetric, or broken, or two have one name, or there are too many.
    """
    try:
        listed = strict_object(data).get("keys")
    except ValueError as error:
        raise Corrupt("provider-keys", "the provider's keys cannot be read") from error
    if not isinstance(listed, list) or len(listed) > _MOST_KEYS or not all(isinstance(jwk, dict) for jwk in listed):
        raise Corrupt("provider-keys", "the provider's keys are no list, or too many")
    found: dict[str, VerifyingKey] = {}
    names: set[str] = set()
    for jwk in listed:
        kid = jwk.get("kid")
        if jwk.get("kty") == "oct" or {"d", "k"} & jwk.keys():
            raise Corrupt("provider-keys", "the provider publishes a secret key")
        if not isinstance(kid, str) or not 0 < len(kid) <= 256 or kid in names:
            raise Corrupt("provider-keys", "a key of the provider has no name of its own")
        names.add(kid)
        key = _imported(provider, jwk)
        if key is not None:
            found[kid] = key
    return found


def _imported(provider: Provider, jwk: dict[str, Any]) -> VerifyingKey | None:
    """The key, or None where it is for something that is not settled, such as encryption."""
    alg = jwk.get("alg", _DEFAULTS.get((str(jwk.get("kty")), str(jwk["crv"]) if "crv" in jwk else None)))
    if alg not in EXTERNAL or alg not in provider.algorithms or jwk.get("use", "sig") != "sig":
        return None
    try:
        return import_public(jwk, alg, EXTERNAL)
    except Invalid as error:
        raise Corrupt("provider-keys", f"a key of the provider is broken: {error.message}") from error


def _endpoint(provider: Provider, document: Mapping[str, Any], name: str, *, loopback: bool) -> str:
    value = document.get(name)
    try:
        place = read_address(value if isinstance(value, str) else "", loopback=loopback)
    except Invalid as error:
        raise Corrupt("provider-document", f"the provider's {name} is not an https address") from error
    own = read_address(provider.issuer, loopback=True)
    if place.host not in provider.hosts and (place.host, place.port, place.secure) != (own.host, own.port, own.secure):
        raise Corrupt("provider-document", f"the provider's {name} is on a host that is not settled with it")
    return str(value)


def _changed(old: VerifyingKey, new: VerifyingKey) -> bool:
    return old.alg != new.alg or public_members(old) != public_members(new)


def public_members(key: VerifyingKey) -> dict[str, Any]:
    """All that makes up the public key."""
    return {**public_jwk(key.key), "thumbprint": key.key.thumbprint()}
