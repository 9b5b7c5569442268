"""Signed requests: HTTP Message Signatures (RFC 9421) by the Ed25519 keys that principals enrolled, each good once.

http-message-signatures reads the fields and builds what is signed. What must be signed, by whom, when and how often is
decided here:
- exactly one signature, tagged `fastness`, by an enrolled key whose algorithm is Ed25519 whatever the request says;
- it covers method, authority, path and query, and of the fields that are there: Authorization, Content-Type,
  Content-Digest and Fastness-Elevation; each as a whole, without parameters, and each present once;
- the authority is this server's, so that a request to another house is no request to this one;
- it was made less than a minute ago, and its nonce was not seen before; the nonce is looked up last, so that only the
  owner of a key can fill the memory of nonces;
- a body matches the Content-Digest that was signed, checked as it streams in; without one there is no body.

Cost: one Ed25519 verification and about 0.2 ms of parsing.

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
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, NoReturn, Protocol

import msgspec
from http_message_signatures import (
    HTTPMessageSignaturesException,
    HTTPMessageSigner,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    InvalidSignature,
    VerifyResult,
)
from http_message_signatures.algorithms import ED25519

from fastness.access import records
from fastness.access.members import TOPIC
from fastness.core.clock import SECOND, Entropy, Instant
from fastness.core.errors import Invalid, Unauthenticated
from fastness.core.identity import Grant, Principal, PrincipalId, PrincipalKind, Role, Strength, TenantId
from fastness.core.sources import Buffer
from fastness.foundation.crypto import Signer
from fastness.foundation.storage import Reading

__all__ = [
    "BodyDigest",
    "Head",
    "RequestKeys",
    "RequestKeysProjection",
    "Seen",
    "SignedRequest",
    "content_digest",
    "is_signed",
    "open_request",
    "sign_request",
]

TAG: Final = "fastness"
WINDOW_S: Final = 60
SKEW_S: Final = 5

_ALWAYS = ("@method", "@authority", "@path", "@query")
_IF_PRESENT = ("authorization", "content-type", "content-digest", "fastness-elevation")
_LONGEST_FIELD = 4096
# What the library's parsers of structured fields raise on bytes from outside.
_READING = (HTTPMessageSignaturesException, ValueError, TypeError, KeyError, IndexError, RecursionError)
_NONCE = re.compile(r"[A-Za-z0-9_-]{16,64}", re.ASCII)
_DIGESTS = {"sha-256": (hashlib.sha256, 32), "sha-512": (hashlib.sha512, 64)}
_DIGEST = re.compile(r"(sha-256|sha-512)=:([A-Za-z0-9+/]{43}=|[A-Za-z0-9+/]{86}==):", re.ASCII)


class RequestKey(msgspec.Struct, frozen=True):
    """An enrolled public key, and its owner as they stand.

    Attributes:
        revoked: also true where the owner is no longer active.
    """

    pem: bytes
    tenant: TenantId
    principal: PrincipalId
    kind: PrincipalKind
    roles: frozenset[Role]
    revoked: bool
    grants: frozenset[Grant] = frozenset()


class RequestKeys(msgspec.Struct, frozen=True):
    """The snapshot of all enrolled public keys, by `TENANT/KEYID`: what `keyid` of a signature must be."""

    keys: dict[str, RequestKey]


class RequestKeysProjection:
    """Loads `RequestKeys` of every tenant."""

    topic: ClassVar[str] = TOPIC

    def load(self, reading: Reading) -> RequestKeys:
        """The keys as they stand; those of owners who are no longer active count as revoked."""
        owners = records.all_principals(reading)
        found: dict[str, RequestKey] = {}
        for tenant, key in records.all_public_keys(reading):
            owner = owners.get((tenant, key.principal))
            if owner is not None:
                revoked = key.revoked or not owner.active
                found[f"{tenant}/{key.keyid}"] = RequestKey(
                    key.pem, tenant, owner.id, owner.kind, owner.roles, revoked, owner.grants
                )
        return RequestKeys(found)


class Seen(Protocol):
    """Who remembers nonces: `MemorySeen` or one that several workers share."""

    def once(self, key: str, ttl_s: float, now: Instant) -> bool:
        """Whether `key` comes for the first time. Raises Unavailable where that cannot be told."""
        ...


@dataclass(frozen=True, slots=True)
class Head:
    """A request without its body, as it came in: nothing decoded, nothing normalised.

    Attributes:
        authority: the Host field, or `:authority`.
        query: without the question mark.
        fields: names and values in order, repeated ones too.
    """

    method: str
    authority: str
    path: str
    query: str
    fields: tuple[tuple[str, str], ...]

    def all(self, name: str) -> list[str]:
        """The values of the field, one for each line."""
        return [value for other, value in self.fields if other.lower() == name]


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """Who signed a request.

    Attributes:
        body: takes the body as it streams in; nothing of it is to be believed before its `finish` returned.
    """

    principal: Principal
    keyid: str
    body: BodyDigest


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


def open_request(head: Head, keys: RequestKeys, seen: Seen, authorities: frozenset[str], now: Instant) -> SignedRequest:
    """Who signed the request.

    Args:
        authorities: the names that this server goes by, lower case, with the port where it is not that of https.

    Raises:
        Unauthenticated: `signature-refused`; `audit_code` says `signature-missing`, `signature-malformed`,
            `signature-authority`, `signature-key-unknown`, `signature-key-revoked`, `signature-stale`,
            `signature-uncovered`, `signature-forged` or `signature-replayed`.
        Unavailable: it cannot be told whether its nonce was used before.
    """
    _check_fields(head)
    if head.authority.lower() not in authorities:
        _refuse("signature-authority")
    result = _verified(head, keys, now)
    _check_coverage(head, result)
    keyid, nonce = str(result.parameters["keyid"]), result.nonce
    if nonce is None or not _NONCE.fullmatch(nonce):
        _refuse("signature-malformed")
    body = BodyDigest(_digests(head))
    if not seen.once(f"signature:{keyid}:{nonce}", WINDOW_S + 2 * SKEW_S, now):
        _refuse("signature-replayed")
    key = keys.keys[keyid]
    principal = Principal(key.kind, key.principal, key.tenant, key.roles, Strength.SIGNED, now, grants=key.grants)
    return SignedRequest(principal, keyid, body)


def sign_request(head: Head, signer: Signer, keyid: str, now: Instant, entropy: Entropy) -> list[tuple[str, str]]:
    """The fields to add to a request so that it is signed; a body needs its Content-Digest in `head` already.

    Args:
        keyid: `TENANT/KEYID` as enrolled.

    Raises:
        Invalid: the request cannot be signed as it is.
    """
    message = _Message(head)
    covered = [*_ALWAYS, *(name for name in _IF_PRESENT if head.all(name))]
    work = HTTPMessageSigner(signature_algorithm=ED25519)
    nonce = base64.urlsafe_b64encode(entropy(18)).decode("ascii")
    created = datetime.fromtimestamp(now // SECOND, UTC)
    try:
        prepared = work.prepare(
            message,
            key_id=keyid,
            created=created,
            nonce=nonce,
            tag=TAG,
            label="fastness",
            covered_component_ids=covered,
            use_existing_digest="content-digest" in covered,
        )
        work.apply(message, prepared, signer.sign(prepared.signature_base))
    except _READING as error:
        raise Invalid("request-unsignable", f"the request cannot be signed: {error}") from error
    return [(name, value) for name, value in message.headers.items() if name in {"Signature-Input", "Signature"}]


def content_digest(body: bytes) -> str:
    """The value of Content-Digest for `body`, RFC 9530."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode('ascii')}:"


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
        self.url = f"https://{head.authority}{head.path}" + (f"?{head.query}" if head.query else "")
        self.headers = _Fields((name.lower(), value) for name, value in head.fields)


class _Keys(HTTPSignatureKeyResolver):
    """Looks `keyid` up in the snapshot and nowhere else."""

    def __init__(self, keys: RequestKeys) -> None:
        self._keys = keys

    def resolve_public_key(self, key_id: str) -> bytes:
        found = self._keys.keys.get(key_id)
        if found is None:
            _refuse("signature-key-unknown")
        if found.revoked:
            _refuse("signature-key-revoked")
        return found.pem


class _Verifier(HTTPMessageVerifier):
    """The library's, with the instant of the request in place of the machine's clock."""

    def __init__(self, keys: RequestKeys, now: Instant) -> None:
        super().__init__(signature_algorithm=ED25519, key_resolver=_Keys(keys))
        self._now_s = now // SECOND

    def validate_created_and_expires(self, sig_input: Any, max_age: object = None) -> None:
        """Made within the last minute, and not expired by its own word."""
        del max_age
        created, expires = sig_input.params.get("created"), sig_input.params.get("expires")
        if type(created) is not int or (expires is not None and type(expires) is not int):
            _refuse("signature-malformed")
        if not self._now_s - WINDOW_S - SKEW_S < created <= self._now_s + SKEW_S:
            _refuse("signature-stale")
        if expires is not None and expires <= self._now_s:
            _refuse("signature-stale")


def _verified(head: Head, keys: RequestKeys, now: Instant) -> VerifyResult:
    try:
        results = _Verifier(keys, now).verify(_Message(head), expect_tag=TAG, max_age=None)
    except InvalidSignature as error:
        if isinstance(error.__cause__, Unauthenticated):
            _refuse(error.__cause__.audit_code)
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
    if any(len(head.all(name)) > 1 for name in (*_IF_PRESENT, "host")):
        _refuse("signature-malformed")


def _check_coverage(head: Head, result: VerifyResult) -> None:
    needed = {f'"{name}"' for name in (*_ALWAYS, *(name for name in _IF_PRESENT if head.all(name)))}
    if not needed <= result.covered_components.keys():
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
        "Sign each request anew, with the clock right: RFC 9421, Ed25519, tag fastness; see the documentation.",
        audit_code,
    ) from None
