"""Signed requests: HTTP Message Signatures (RFC 9421) by the keys that principals registered, each good once.

http-message-signatures reads the fields and builds what is signed. What must be signed, by whom, when and how often is
decided here:
- exactly one signature, tagged `fastness`, by a registered key whose kind alone says the algorithm;
- it covers method and target (`@target-uri`, or `@authority`, `@path` and `@query`), and of the fields that change what a
  request means those that are there; each as a whole, without parameters, and each present once;
- the authority is this server's, so that a request to another house is no request to this one;
- it was made within the last minutes, and its nonce was not seen before; the nonce is looked up last, so that only the
  owner of a key can fill the memory of nonces;
- a body matches the Content-Digest that was signed, checked as it streams in; without one there is no body.

Cost: one verification (Ed25519 or ECDSA P-256) and about 0.3 ms of parsing.

Source: RFC 9421, sections 2, 3.2 and 7; RFC 9530 (Content-Digest).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from http_message_signatures import (
    HTTPMessageSignaturesException,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    InvalidSignature,
    VerifyResult,
)
from http_message_signatures.algorithms import ECDSA_P256_SHA256, ED25519

from fastness.access.possession.nonces import Nonce
from fastness.access.possession.settings import SignatureSettings
from fastness.access.possession.snapshot import PossessionKey, PossessionKeys
from fastness.core.clock import SECOND, Instant
from fastness.core.errors import Unauthenticated
from fastness.core.sources import Buffer

__all__ = [
    "COVERED",
    "TAG",
    "BodyDigest",
    "Head",
    "Rule",
    "SignedRequest",
    "is_signed",
    "open_request",
    "refuse_replay",
]

TAG: Final = "fastness"
COVERED: Final = (
    "authorization", "content-type", "content-digest", "content-encoding", "idempotency-key", "if-match",
    "inference-header-content-length",
)  # fmt: skip
"""Fields that change what a request means: signed where they are there, and so are all that begin with `fastness-`."""

_TARGET = frozenset({'"@authority"', '"@path"', '"@query"'})
_OWN = "fastness-"
_LONGEST_FIELD = 4096
# What the library's parsers of structured fields raise on bytes from outside.
_READING = (HTTPMessageSignaturesException, ValueError, TypeError, KeyError, IndexError, RecursionError)
_NONCE = re.compile(r"[A-Za-z0-9_-]{16,64}", re.ASCII)
_DIGESTS = {"sha-256": (hashlib.sha256, 32), "sha-512": (hashlib.sha512, 64)}
_DIGEST = re.compile(r"(sha-256|sha-512)=:([A-Za-z0-9+/]{43}=|[A-Za-z0-9+/]{86}==):", re.ASCII)
_ED25519 = b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA"  # RFC 8410, section 4: how the PEM of each such key begins


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body, as it came in: nothing decoded, nothing normalised.

    Attributes:
        authority: the Host field, or `:authority`.
        query: without the question mark.
        fields: names and values in order, repeated ones too.
        scheme: as the connection is, whatever the request says.
    """

    method: str
    authority: str
    path: str
    query: str
    fields: tuple[tuple[str, str], ...]
    scheme: str = "https"

    def all(self, name: str) -> list[str]:
        """The values of the field, one for each line."""
        return [value for other, value in self.fields if other.lower() == name]


@dataclass(frozen=True, slots=True)
class Rule:
    """What a server asks of signed requests.

    Attributes:
        authorities: the names that it goes by, lower case, with the port where it is not that of the scheme.
    """

    settings: SignatureSettings
    authorities: frozenset[str]


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """Who signed a request. It counts once its nonce was found to be new.

    Attributes:
        body: takes the body as it streams in; nothing of it is to be believed before its `finish` returned.
    """

    key: PossessionKey
    keyid: str
    nonce: Nonce
    body: BodyDigest

    def check(self, body: bytes) -> None:
        """Return if the whole `body` is what was signed.

        Raises:
            Unauthenticated: `signature-refused`: it is not.
        """
        self.body.update(body)
        self.body.finish()


class BodyDigest:
    """Holds a body against the digests that were signed.

    Args:
        expected: name of the algorithm to digest; none at all means that there is no body.
    """

    def __init__(self, expected: dict[str, bytes]) -> None:
        self._expected = expected
        self._hashes = {name: _DIGESTS[name][0]() for name in expected}
        self._empty = True

    def update(self, chunk: Buffer) -> None:
        """Take the next part of the body.

        Raises:
            Unauthenticated: `signature-refused`: there should be none.
        """
        if len(chunk) and not self._expected:
            _refuse("signature-body")
        for hashed in self._hashes.values():
            hashed.update(chunk)

    def finish(self) -> None:
        """Return if the body was what was signed.

        Raises:
            Unauthenticated: `signature-refused`: it was not.
        """
        for name, hashed in self._hashes.items():
            if not hmac.compare_digest(hashed.digest(), self._expected[name]):
                _refuse("signature-body")


def is_signed(head: Head) -> bool:
    """Whether the request says that it is signed; then it is, or it is refused."""
    return bool(head.all("signature") or head.all("signature-input"))


def open_request(head: Head, keys: PossessionKeys, rule: Rule, now: Instant, address: str | None) -> SignedRequest:
    """Who signed the request; its nonce is still to be asked for.

    Args:
        address: of the peer.

    Raises:
        Unauthenticated: `signature-refused`; `audit_code` says `signature-missing`, `signature-malformed`,
            `signature-authority`, `signature-key-unknown`, `signature-key-revoked`, `signature-key-expired`,
            `signature-key-address`, `signature-stale`, `signature-uncovered` or `signature-forged`.
    """
    _check_fields(head)
    if head.authority.lower() not in rule.authorities:
        _refuse("signature-authority")
    verifier = _Verifier(keys, rule.settings, now, address)
    result = _verified(verifier, head)
    _check_coverage(head, result)
    keyid, nonce = str(result.parameters["keyid"]), result.nonce
    if nonce is None or not _NONCE.fullmatch(nonce) or verifier.found is None:
        _refuse("signature-malformed")
    remember_s = float(rule.settings.max_age_s + rule.settings.skew_s + 1)
    once = Nonce(f"{keyid}:{nonce}", int(result.parameters["created"]), remember_s)
    return SignedRequest(verifier.found, keyid, once, BodyDigest(_digests(head)))


def refuse_replay() -> NoReturn:
    """Refuse a request whose nonce came before.

    Raises:
        Unauthenticated: always; `audit_code` is `signature-replayed`.
    """
    _refuse("signature-replayed")


class _Fields(dict[str, str]):
    """Fields as the library wants them: it writes two of its own into them."""

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        super().__init__()
        for name, value in fields:
            self[name] = f"{self[name]}, {value}" if name in self else value


class _Message:
    """A request as the library wants it."""

    def __init__(self, head: Head) -> None:
        self.method = head.method
        self.url = f"{head.scheme}://{head.authority}{head.path}" + (f"?{head.query}" if head.query else "")
        self.headers = _Fields((name.lower(), value) for name, value in head.fields)


class _Resolver(HTTPSignatureKeyResolver):
    """Gives out the one key that was found."""

    pem = b""

    def resolve_public_key(self, key_id: str) -> bytes:
        del key_id
        return self.pem


class _Verifier(HTTPMessageVerifier):
    """The library's, by our clock and our keys. Which key it is, is looked up first: the key says the algorithm.

    Attributes:
        found: the key, once it was looked up.
    """

    def __init__(self, keys: PossessionKeys, settings: SignatureSettings, now: Instant, address: str | None) -> None:
        self._resolver = _Resolver()
        super().__init__(signature_algorithm=ED25519, key_resolver=self._resolver)
        self._keys = keys.signing_keys
        self._settings = settings
        self._now = now
        self._address = address
        self.found: PossessionKey | None = None

    def validate_created_and_expires(self, sig_input: Any, max_age: object = None) -> None:
        """Made lately, not expired by its own word, and by a key that counts."""
        del max_age
        now_s, settings = self._now // SECOND, self._settings
        created, expires = sig_input.params.get("created"), sig_input.params.get("expires")
        if type(created) is not int or (expires is not None and type(expires) is not int):
            _refuse("signature-malformed")
        if not now_s - settings.max_age_s < created <= now_s + settings.skew_s:
            _refuse("signature-stale")
        if expires is not None and expires <= now_s:
            _refuse("signature-stale")
        found = self._keys.get(str(sig_input.params.get("keyid")))
        if found is None:
            _refuse("signature-key-unknown")
        if fault := found.fault(self._now, self._address):
            _refuse(f"signature-key-{fault}")
        self.found = found
        self._resolver.pem = found.public
        self.signature_algorithm = ED25519 if found.public.startswith(_ED25519) else ECDSA_P256_SHA256


def _verified(verifier: _Verifier, head: Head) -> VerifyResult:
    try:
        results = verifier.verify(_Message(head), expect_tag=TAG, max_age=None)
    except InvalidSignature:
        _refuse("signature-forged")
    except _READING:
        _refuse("signature-malformed")
    if len(results) != 1:
        _refuse("signature-malformed")
    return results[0]


def _check_fields(head: Head) -> None:
    given, described = head.all("signature"), head.all("signature-input")
    if not given and not described:
        _refuse("signature-missing")
    if len(given) != 1 or len(described) != 1 or max(len(given[0]), len(described[0])) > _LONGEST_FIELD:
        _refuse("signature-malformed")
    if "=(" not in described[0] or described[0].count("=(") != 1:  # one label; a second one would be somebody's guess
        _refuse("signature-malformed")
    if any(len(head.all(name)) > 1 for name in (*_signable(head), "host")):
        _refuse("signature-malformed")


def _signable(head: Head) -> set[str]:
    names = {name.lower() for name, _ in head.fields}
    return {name for name in names if name in COVERED or name.startswith(_OWN)}


def _check_coverage(head: Head, result: VerifyResult) -> None:
    covered = result.covered_components.keys()
    needed = {'"@method"', *(f'"{name}"' for name in _signable(head))}
    if not needed <= covered or not ('"@target-uri"' in covered or covered >= _TARGET):
        _refuse("signature-uncovered")


def _digests(head: Head) -> dict[str, bytes]:
    """What Content-Digest says, in its one plain form; only algorithms that nobody can collide."""
    values = head.all("content-digest")
    if not values:
        return {}
    found: dict[str, bytes] = {}
    for part in values[0].split(","):
        match = _DIGEST.fullmatch(part.strip(" \t"))
        if match is None or match[1] in found:
            _refuse("signature-malformed")
        try:
            digest = base64.b64decode(match[2], validate=True)
        except binascii.Error:
            digest = b""
        if len(digest) != _DIGESTS[match[1]][1]:
            _refuse("signature-malformed")
        found[match[1]] = digest
    return found


def _refuse(audit_code: str) -> NoReturn:
    raise Unauthenticated(
        "signature-refused",
        "the signature of the request is not valid",
        "Sign each request anew, with the clock right: RFC 9421, tag fastness; see the documentation of access.",
        audit_code,
    ) from None
