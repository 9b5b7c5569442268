"""JSON Web Signatures, read strictly: one algorithm a key, one meaning a byte string.

joserfc verifies signatures. What it leaves to its caller is done here, before any key is used:
- a key has one algorithm, of a fixed short list; the header may repeat it and decides nothing, so neither `none` nor
  an HMAC under a public key comes near a verification;
- `kid` is looked up in a dictionary and nowhere else; no header member but `alg`, `kid` and `typ` is accepted, so no
  `jwk`, `jku`, `x5u`, `x5c`, `crit`, `b64`, `zip` or `cty`;
- base64url without padding and without spare bits, JSON without a member given twice, all of bounded size.

Cost: one signature verification (ES256 some 80 us) and about 15 us of reading.

Source: RFC 7515; RFC 8725 (best current practices), sections 3.1 to 3.11.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from fastness.core.errors import Corrupt, Invalid, Unauthenticated

Key = ECKey | OKPKey | RSAKey

LONGEST = 8192
"""Bytes of a token at most."""

OURS: Final = ("ES256", "EdDSA")
"""Algorithms of keys of the house and of its clients."""

EXTERNAL: Final = ("ES256", "EdDSA", "Ed25519", "RS256")
"""Algorithms of keys of external providers; `Ed25519` is what RFC 9864 calls `EdDSA` with such a key."""

_MODELS: Final = {alg: jws.JWSRegistry.algorithms[alg] for alg in EXTERNAL}

_KINDS: Final[dict[str, Callable[[dict[str, Any]], Key]]] = {
    "EC": ECKey.import_key,
    "OKP": OKPKey.import_key,
    "RSA": RSAKey.import_key,
}
_SHAPE = re.compile(rb"([A-Za-z0-9_-]{2,1024})\.([A-Za-z0-9_-]{2,6144})\.([A-Za-z0-9_-]{86,1366})", re.ASCII)
_HEADER_MEMBERS = frozenset({"alg", "kid", "typ"})
_LATEST = 1 << 40  # seconds; far above any date, far below what would overflow nanoseconds


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key and the one algorithm it verifies."""

    alg: str
    key: Key


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key, its name, and the one algorithm it signs with; not printed."""

    kid: str
    alg: str
    key: Key

    def __repr__(self) -> str:
        return f"SigningKey({self.kid}, {self.alg}, ***)"


@dataclass(frozen=True, slots=True)
class Unverified:
    """A token as it came in: nothing in it is to be believed."""

    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


def import_public(jwk: Mapping[str, Any], alg: str, allowed: tuple[str, ...] = OURS) -> VerifyingKey:
    """The public key in a JWK for `alg`.

    Raises:
        Invalid: `jwk-invalid`: a private or symmetric key, another curve, a weak or broken key, or an `alg`, `use` or
            `key_ops` that says it is for something else.
    """
    if alg not in allowed:
        raise Invalid("jwk-invalid", f"no key is used with {alg[:20]!r}; it must be one of {', '.join(allowed)}")
    ed25519 = ("OKP", "Ed25519")
    wanted = {"ES256": ("EC", "P-256"), "EdDSA": ed25519, "Ed25519": ed25519, "RS256": ("RSA", None)}[alg]
    said = (jwk.get("kty"), jwk.get("crv"))
    if said != wanted or {"d", "p", "q", "dp", "dq", "qi", "oth", "k"} & jwk.keys():
        raise Invalid("jwk-invalid", f"the key is no public key for {alg}")
    _check_use(jwk, alg)
    bare = {name: jwk[name] for name in ("kty", "crv", "x", "y", "n", "e") if name in jwk}
    if not all(isinstance(value, str) and len(value) <= 1400 for value in bare.values()):
        raise Invalid("jwk-invalid", "the members of the key are no short texts")
    try:
        bits = int.from_bytes(unbase64(bare["n"].encode("ascii"))).bit_length() if alg == "RS256" else 2048
        key = _KINDS[wanted[0]](bare) if 2048 <= bits <= 8192 else None
    except (JoseError, ValueError, TypeError, KeyError) as error:
        raise Invalid("jwk-invalid", "the key cannot be read") from error
    if key is None:
        raise Invalid("jwk-invalid", "an RSA key has 2048 to 8192 bits")
    return VerifyingKey(alg, key)


def _check_use(jwk: Mapping[str, Any], alg: str) -> None:
    uses = jwk.get("key_ops", ["verify"])
    if (
        jwk.get("alg", alg) != alg
        or jwk.get("use", "sig") != "sig"
        or not isinstance(uses, list)
        or "verify" not in uses
    ):
        raise Invalid("jwk-invalid", "the key says that it is for something else")


def make_key(alg: str) -> SigningKey:
    """A fresh key pair, from the randomness of the operating system; its name is its RFC 7638 thumbprint.

    Raises:
        Invalid: not an algorithm of this house.
    """
    if alg not in OURS:
        raise Invalid("algorithm-unknown", f"{alg[:20]!r} is not used here", f"Use one of {', '.join(OURS)}.")
    key: Key = ECKey.generate_key("P-256") if alg == "ES256" else OKPKey.generate_key("Ed25519")
    return SigningKey(key.thumbprint(), alg, key)


def private_bytes(key: SigningKey) -> bytes:
    """The private key as PKCS #8 DER, to be wrapped."""
    return key.key.as_bytes(encoding="DER", private=True)


def load_private(data: bytes, alg: str, kid: str) -> SigningKey:
    """The key behind `private_bytes`.

    Raises:
        Corrupt: it is not that key.
    """
    try:
        key: Key = (ECKey if alg == "ES256" else OKPKey).import_key(data)
        if key.is_private and key.thumbprint() == kid:
            return SigningKey(kid, alg, key)
    except (JoseError, ValueError, TypeError) as error:
        raise Corrupt("token-key-corrupt", "a signing key of tokens cannot be read") from error
    raise Corrupt("token-key-corrupt", "a signing key of tokens is not the one that its row names")


def public_jwk(key: Key) -> dict[str, str]:
    """The public half as the members of a JWK that make it up."""
    return {name: str(value) for name, value in key.as_dict(private=False).items() if name in {"kty", "crv", "x", "y"}}


def sign(key: SigningKey, typ: str, claims: Mapping[str, Any]) -> str:
    """A compact JWS over `claims`, RFC 7515."""
    header = {"alg": key.alg, "kid": key.kid, "typ": typ}
    data = b".".join(base64url(_json(part)) for part in (header, claims))
    return (data + b"." + base64url(_MODELS[key.alg].sign(data, key.key))).decode("ascii")


def read_header(token: bytes) -> dict[str, Any]:
    """The header of a token that nobody has verified yet; for picking the key set that may verify it.

    Raises:
        Unauthenticated: `token-refused`, `audit_code` `token-malformed`.
    """
    return _read(token).header


def open_jws(token: bytes, typs: tuple[str | None, ...], keys: Mapping[str, VerifyingKey]) -> dict[str, Any]:
    """The claims of a token that one of `keys` signed.

    Args:
        typs: the values of `typ` that are accepted; None stands for its absence.
        keys: `kid` to key.

    Raises:
        Unauthenticated: `token-refused`; `audit_code` says `token-malformed`, `token-type`, `token-key-unknown`,
            `token-algorithm` or `token-forged`.
    """
    return verify(read(token, typs), keys)


def read(token: bytes, typs: tuple[str | None, ...]) -> Unverified:
    """A token of one of the types, read and not verified.

    Raises:
        Unauthenticated: `token-refused`; `audit_code` says `token-malformed`, `token-header` or `token-type`.
    """
    found = _read(token)
    if found.header.get("typ") not in typs:
        refuse("token-type")
    return found


def verify(token: Unverified, keys: Mapping[str, VerifyingKey]) -> dict[str, Any]:
    """The claims of `token`, which one of `keys` signed.

    Raises:
        Unauthenticated: as `open_jws`.
    """
    kid = token.header.get("kid")
    key = keys.get(kid) if isinstance(kid, str) else None
    if key is None:
        refuse("token-key-unknown")
    if token.header.get("alg") != key.alg:
        refuse("token-algorithm")
    try:
        good = _MODELS[key.alg].verify(token.signed, token.signature, key.key)
    except (JoseError, ValueError, TypeError):
        good = False
    if not good:
        refuse("token-forged")
    return token.claims


def refuse(audit_code: str) -> NoReturn:
    """Say no, and why only to the record."""
    raise Unauthenticated(
        "token-refused", "the token is not valid", "Get a new one: tokens are short-lived.", audit_code
    ) from None


def seconds(claims: Mapping[str, Any], name: str) -> int:
    """A time in seconds since 1970, a whole number.

    Raises:
        Unauthenticated: it is missing or none; `audit_code` `token-claims`.
    """
    value = claims.get(name)
    if type(value) is not int or not 0 <= value < _LATEST:
        refuse("token-claims")
    return value


def text(claims: Mapping[str, Any], name: str, longest: int = 256) -> str:
    """A text that is not empty and can be printed.

    Raises:
        Unauthenticated: it is missing or none; `audit_code` `token-claims`.
    """
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
        refuse("token-claims")
    return value


def strict_object(data: bytes) -> dict[str, Any]:
    """The JSON object in `data`: UTF-8, no member twice, no number that is none.

    Raises:
        ValueError: it is something else.
    """
    try:
        found = json.loads(
            data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant, parse_int=_short_int
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if type(found) is not dict:
        raise ValueError("not an object")
    return found


def _read(token: bytes) -> Unverified:
    match = _SHAPE.fullmatch(token) if len(token) <= LONGEST else None
    if match is None:
        refuse("token-malformed")
    try:
        header, claims, signature = (
            strict_object(unbase64(match[1])),
            strict_object(unbase64(match[2])),
            unbase64(match[3]),
        )
    except ValueError:
        refuse("token-malformed")
    if not header.keys() <= _HEADER_MEMBERS:
        refuse("token-header")
    return Unverified(header, claims, token[: match.end(2)], signature)


def unbase64(data: bytes) -> bytes:
    """base64url without padding, in its one canonical spelling (RFC 4648, section 3.5).

    Raises:
        ValueError: another spelling, or no base64url.
    """
    try:
        found = base64.urlsafe_b64decode(data + b"=" * (-len(data) % 4))
    except binascii.Error as error:
        raise ValueError("not base64url") from error
    if base64url(found) != data:
        raise ValueError("not the canonical base64url")
    return found


def base64url(data: bytes) -> bytes:
    """`data` in base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False).encode("ascii")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member is given twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _short_int(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError("a number is too long")
    return int(digits)
