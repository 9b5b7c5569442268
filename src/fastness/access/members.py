"""Who belongs to the house: principals, their enrolment, and their API keys.

An administrator creates a principal and gets a one-time code to hand over. The person makes an Ed25519 key of their
own, in their own process, and redeems the code for it and an API key: nobody else ever holds either secret. Codes and
keys are stored as digests; each is shown once.

What it misses: who hands the code over could redeem it first. The person then finds it used, and the enrolment stands
in the record under the public key that was given.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass, field, replace
from typing import NoReturn, Protocol

from fastness.access import records
from fastness.access.addresses import parse_networks, within
from fastness.access.apikeys import ApiKey, mint, mint_code
from fastness.access.records import KeyRow, PrincipalRow
from fastness.access.restrictions import barred
from fastness.core.clock import SECOND, Instant, later
from fastness.core.digests import parse_name
from fastness.core.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from fastness.core.events import Detail, EventKind
from fastness.core.identity import (
    SYSTEM,
    SYSTEM_SCOPE,
    Action,
    Principal,
    PrincipalId,
    PrincipalKind,
    Role,
    Scope,
    Strength,
)
from fastness.core.limits import Limit
from fastness.core.secrets import SecretBytes
from fastness.foundation.storage import Reading, Transaction

__all__ = [
    "CODE_LIFE_S",
    "FIRST_KEY_LIMIT",
    "LONGEST_OVERLAP_S",
    "TOPIC",
    "UNBOUND",
    "Bounds",
    "Enrolment",
    "KeyTerms",
    "Pepper",
    "active_principal",
    "canonical_pem",
    "code_scope",
    "issue_key",
    "one_key",
    "rotate_key",
]

TOPIC = "keys"
CODE_LIFE_S = 7 * 86_400.0
FIRST_KEY_LIFE_S = 90 * 86_400.0
FIRST_KEY_LIMIT = Limit(per_s=100.0, burst=200.0)
LONGEST_OVERLAP_S = 7 * 86_400.0
_MOST_MODELS = 64

_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----\n([A-Za-z0-9+/]{59}=)\n-----END PUBLIC KEY-----", re.ASCII)
_SPKI = bytes.fromhex("302a300506032b6570032100")  # RFC 8410, section 4: Ed25519 and 32 bytes
# Points of small order, sign left out: under these "keys" signatures can be made by anybody.
# Source: Cremers, Jackson, "Prime, Order Please!", CSF 2019; the list is that of libsodium.
_SMALL_ORDER = frozenset(
    bytes.fromhex(text)
    for text in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)

# RFC 8032, section 7.1: everybody has the private halves of these.
_PUBLISHED = (
    "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
    "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
)


class Pepper(Protocol):
    """The keyed hash under which API keys are stored; a key ring's `mac(Purpose.KEY_PEPPER)`."""

    def digest(self, data: bytes) -> bytes:
        """HMAC-SHA-256 of `data`."""
        ...

    def export(self) -> SecretBytes:
        """The key of the hash, for the gateway."""
        ...


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A new principal's one-time code; printing it does not show the code.

    Attributes:
        code: `fse_…`, to be handed to the person; it is nowhere else.
    """

    principal: PrincipalId
    expires_at: Instant
    code: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What a new key may do, whence and how long.

    Attributes:
        actions, models: what it is narrowed to; None leaves all that its owner's roles permit.
        networks: CIDR; none leaves all addresses.
    """

    limit: Limit
    expires_at: Instant
    name: str = ""
    actions: frozenset[Action] | None = None
    models: frozenset[str] | None = None
    networks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the credential of who makes a key is narrowed to: the key is never wider."""

    actions: frozenset[Action] | None = None
    models: frozenset[str] | None = None
    networks: tuple[str, ...] = ()


UNBOUND = Bounds()


def create_principal(tx: Transaction, kind: PrincipalKind, name: str, roles: frozenset[Role]) -> Enrolment:
    """A new principal `kind:name` of the scope's tenant, and the code by which it enrols within a week.

    Raises:
        Invalid: the name is none, or the kind is the system's own.
        Conflict: there is one already.
    """
    if kind is PrincipalKind.SYSTEM:
        raise Invalid("principal-kind", "the system's own principals are not created", "Use user, service or agent.")
    principal = PrincipalId(f"{kind.value}:{parse_name(name)}")
    if records.find_principals(tx, principal):
        raise Conflict("principal-exists", f"{principal} exists already", "Choose another name.")
    records.add_principal(tx, principal, kind)
    records.put_roles(tx, principal, roles)
    details: dict[str, Detail] = {"roles": " ".join(sorted(roles))}
    tx.touch(TOPIC)  # who has no key yet may get a token
    tx.emit(tx.events.make(EventKind.PRINCIPAL_CREATED, f"principal:{principal}", details=details))
    return issue_code(tx, principal)


def issue_code(tx: Transaction, principal: PrincipalId) -> Enrolment:
    """A fresh code for `principal`; the caller has emitted why."""
    code, expires_at = mint_code(tx.events.entropy), later(tx.now, CODE_LIFE_S)
    records.add_enrolment(tx, _code_digest(code), principal, expires_at)
    return Enrolment(principal, expires_at, code)


def code_scope(reading: Reading, code: str) -> Scope:
    """In whose name a code is redeemed: the tenant's that it lets into, or for an unknown one the house's."""
    return Scope(records.tenant_of_code(reading, _code_digest(code)) or SYSTEM_SCOPE.tenant, SYSTEM)


def enrol(tx: Transaction, code: str, public_pem: bytes, pepper: Pepper) -> tuple[Principal, ApiKey]:
    """Redeem a one-time code for one's own public key; the principal, and its first API key.

    Args:
        public_pem: Ed25519 as SubjectPublicKeyInfo PEM; the private half stays with its owner.

    Raises:
        Unauthenticated: the code is not good; `audit_code` says why.
        Invalid: not such a key.
        Conflict: the public key is somebody's already.
    """
    pem = canonical_pem(public_pem)
    digest = _code_digest(code)
    if records.use_enrolment(tx, digest) != 1:
        _refuse_code(tx, digest)
    found = records.find_enrolment(tx, digest)
    owner = None if found is None else records.find_principals(tx, found.principal).get(found.principal)
    if owner is None or records.mark_enrolled(tx, owner.id) != 1:
        _refuse_code(tx, "")
    if barred(tx, owner.id, "", tx.now):
        _refuse_code(tx, digest, "principal-restricted")
    keyid = hashlib.sha256(pem).hexdigest()
    try:
        records.add_public_key(tx, keyid, owner.id, pem)
    except Conflict as error:
        raise Conflict("public-key-taken", "this public key is enrolled already", "Make a new key pair.") from error
    details: dict[str, Detail] = {"public_key": keyid}
    tx.emit(tx.events.make(EventKind.PRINCIPAL_ENROLLED, f"principal:{owner.id}", details=details))
    key = create_key(tx, owner.id, FIRST_KEY_LIMIT, later(tx.now, FIRST_KEY_LIFE_S), "first", pepper)
    return Principal(owner.kind, owner.id, tx.scope.tenant, owner.roles, Strength.KEY, tx.now), key


def create_key(  # the contract's five, and the pepper that makes a digest of the text
    tx: Transaction, principal: PrincipalId, limit: Limit, expires_at: Instant, name: str, pepper: Pepper
) -> ApiKey:
    """A new API key of an active principal, not narrowed to anything: for who is not narrowed either.

    Raises:
        NotFound: no such principal in the tenant.
        Conflict: it is not active.
        Invalid: it would have expired already, or its name is too long.
        Unavailable: the source of randomness is broken.
    """
    return issue_key(tx, principal, KeyTerms(limit, expires_at, name), UNBOUND, pepper)


def issue_key(tx: Transaction, principal: PrincipalId, terms: KeyTerms, maker: Bounds, pepper: Pepper) -> ApiKey:
    """A new API key of an active principal on these terms.

    Args:
        maker: what the credential is narrowed to with which the key is asked for.

    Raises:
        Forbidden: `key-wider`, it would be wider than that credential.
        NotFound: no such principal in the tenant.
        Conflict: it is not active.
        Invalid: it would have expired already, its name is too long, or a term is out of range.
        Unavailable: the source of randomness is broken.
    """
    owner, terms = active_principal(tx, principal), settled(terms, maker, tx.now)
    key_id, text = mint(tx.events.entropy)
    row = KeyRow(
        key_id, tx.scope.tenant, owner.id, terms.name, pepper.digest(text.encode("ascii")), terms.limit, terms.actions,
        tx.now, terms.expires_at, revoked=False, models=terms.models, networks=terms.networks,
    )  # fmt: skip
    records.add_key(tx, row)
    tx.emit(tx.events.make(EventKind.KEY_CREATED, f"key:{key_id}", details=_told(row)))
    tx.touch(TOPIC)
    return ApiKey(key_id, owner.id, terms.expires_at, text)


def settled(terms: KeyTerms, maker: Bounds, now: Instant) -> KeyTerms:
    """`terms` in their one way of being written, if a credential can be made on them.

    Args:
        maker: as in `issue_key`.

    Raises:
        Invalid: it would have expired already, its name is too long, or a term is out of range.
        Forbidden: `key-wider`.
    """
    if terms.expires_at <= now:
        raise Invalid("key-lifetime", "the key would have expired already", "Give a later time.")
    if len(terms.name) > 64 or not terms.name.isprintable():
        raise Invalid("key-name", "a key's name is up to 64 printable characters")
    if terms.actions is not None and not terms.actions:
        raise Invalid("key-actions", "a key without actions is good for nothing")
    if terms.models is not None and not 0 < len(terms.models) <= _MOST_MODELS:
        raise Invalid("key-models", f"a key is narrowed to 1 to {_MOST_MODELS} models")
    models = None if terms.models is None else frozenset(map(parse_name, terms.models))
    networks = parse_networks(terms.networks)
    _require_within(Bounds(terms.actions, models, networks), maker)
    return replace(terms, models=models, networks=networks)


def rotate_key(tx: Transaction, key_id: str, overlap_s: float, maker: Bounds, pepper: Pepper) -> ApiKey:
    """A successor with the same rights and as long a life; the old key is good for `overlap_s` more, then dead.

    Args:
        overlap_s: 0 to `LONGEST_OVERLAP_S`; it never outlives its own end.
        maker: as in `issue_key`.

    Raises:
        NotFound: no such key in the tenant.
        Conflict: it is revoked, expired or has a successor already, or its owner is not active.
        Invalid: `key-overlap`.
        Forbidden: `key-wider`, the key is wider than the credential that asks.
        Unavailable: the source of randomness is broken.
    """
    old = one_key(tx, key_id)
    if not 0 <= overlap_s <= LONGEST_OVERLAP_S:
        raise Invalid("key-overlap", f"two keys overlap for 0 to {LONGEST_OVERLAP_S:.0f} seconds")
    if old.revoked or old.successor or old.expires_at <= tx.now:
        raise Conflict("key-not-rotated", f"the key {old.key_id} has ended or has a successor", "Create a new key.")
    life_s = (old.expires_at - old.created_at) / SECOND
    terms = KeyTerms(old.limit, later(tx.now, life_s), old.name, old.actions, old.models, old.networks)
    made = issue_key(tx, old.principal, terms, maker, pepper)
    ends = min(later(tx.now, overlap_s), old.expires_at)
    if records.mark_key_rotated(tx, old.key_id, made.key_id, ends) != 1:
        raise Conflict("key-not-rotated", f"the key {old.key_id} has ended or has a successor", "Create a new key.")
    details: dict[str, Detail] = {"principal": old.principal, "successor": made.key_id, "ends": ends}
    tx.emit(tx.events.make(EventKind.KEY_ROTATED, f"key:{old.key_id}", details=details))
    return made


def _require_within(wanted: Bounds, maker: Bounds) -> None:
    wider = (
        (maker.actions is not None and (wanted.actions is None or not wanted.actions <= maker.actions))
        or (maker.models is not None and (wanted.models is None or not wanted.models <= maker.models))
        or not within(wanted.networks, maker.networks)
    )
    if wider:
        hint = "Ask for fewer actions, models or addresses, or use a credential that is not narrowed."
        raise Forbidden("key-wider", "the key would be wider than the credential that makes it", hint)


def _told(row: KeyRow) -> dict[str, Detail]:
    details: dict[str, Detail] = {
        "principal": row.principal,
        "name": row.name,
        "expires_at": row.expires_at,
        "per_s": row.limit.per_s,
        "burst": row.limit.burst,
    }
    if row.actions is not None:
        details["actions"] = " ".join(sorted(row.actions))
    if row.models is not None:
        details["models"] = " ".join(sorted(row.models))
    if row.networks:
        details["networks"] = " ".join(row.networks)
    return details


def revoke_key(tx: Transaction, key_id: str) -> None:
    """Make an API key void; the workers refuse it as soon as they have the next snapshot.

    Raises:
        NotFound: no such key in the tenant.
        Conflict: it is revoked already.
    """
    found = one_key(tx, key_id)
    if records.mark_key_revoked(tx, key_id) != 1:
        raise Conflict("key-revoked", f"the key {found.key_id} is revoked already")
    tx.emit(tx.events.make(EventKind.KEY_REVOKED, f"key:{found.key_id}", details={"principal": found.principal}))
    tx.touch(TOPIC)


def principals(reading: Reading) -> list[PrincipalRow]:
    """The principals of the tenant, by id."""
    return list(records.find_principals(reading).values())


def keys(reading: Reading) -> list[KeyRow]:
    """The API keys of the tenant, oldest first; their digests are no secrets without the pepper."""
    return records.find_keys(reading)


def active_principal(reading: Reading, principal: PrincipalId) -> PrincipalRow:
    """The principal as it stands. Raises NotFound, or Conflict where it is no longer active."""
    found = records.find_principals(reading, principal).get(principal)
    if found is None:
        raise NotFound(
            "principal-unknown", f"there is no principal {principal[:80]!r}", "See: fastness access user list."
        )
    if not found.active:
        raise Conflict("principal-inactive", f"{principal} is no longer active")
    return found


def one_key(reading: Reading, key_id: str) -> KeyRow:
    """The key as it stands. Raises NotFound."""
    found = records.find_keys(reading, key_id)
    if not found:
        raise NotFound("key-not-found", f"there is no key {key_id[:16]!r}", "See: fastness access key list.")
    return found[0]


def canonical_pem(public_pem: bytes) -> bytes:
    """The one way to write this Ed25519 public key, so that it cannot be enrolled twice in two dresses.

    Raises:
        Invalid: not an Ed25519 public key in PEM, or one under which anybody could sign.
    """
    match = _PEM.fullmatch(public_pem.strip().replace(b"\r\n", b"\n"))
    try:
        der = base64.b64decode(match[1], validate=True) if match else b""
    except binascii.Error:
        der = b""
    if not der.startswith(_SPKI) or len(der) != len(_SPKI) + 32:
        raise Invalid("public-key-malformed", "not an Ed25519 public key in PEM", "Send what `fastness` made for you.")
    raw = der[len(_SPKI) :]
    if raw[:31] + bytes([raw[31] & 0x7F]) in _SMALL_ORDER or raw.hex() in _PUBLISHED:
        raise Invalid("public-key-weak", "anybody could sign under this public key", "Make a new key pair.")
    return _spki_pem(raw)


def _spki_pem(raw: bytes) -> bytes:
    return b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(_SPKI + raw) + b"\n-----END PUBLIC KEY-----\n"


KNOWN_PUBLIC = frozenset(hashlib.sha256(_spki_pem(bytes.fromhex(raw))).hexdigest() for raw in _PUBLISHED)
"""Ids of public keys whose private halves are published."""


def _code_digest(code: str) -> str:
    # 256 random bits: a slow hash would add nothing.
    return hashlib.sha256(code.encode("utf-8", "surrogatepass")).hexdigest()


def _refuse_code(reading: Reading, code_digest: str, audit_code: str = "") -> NoReturn:
    found = records.find_enrolment(reading, code_digest)
    why = "unknown" if found is None else "used" if found.used else "expired"
    raise Unauthenticated(
        "code-refused",
        "the one-time code is not good",
        "Codes work once and for a week; ask an administrator for a new one.",
        audit_code or f"code-{why}",
    )
