"""Signed statements: in-toto Statement v1 in a DSSE v1 envelope.

The payload is signed as the bytes that stand in the envelope and is parsed only after a trusted key has verified them.
The key id in an envelope only narrows the keys to try. What it misses: a threshold of several keys is the caller's to
judge, by `Statement.keyids`; time and revocation are the caller's too.

Source: secure-systems-lab/dsse, protocol.md v1.0.0; in-toto attestation framework, Statement v1.
Deviation: at most 64 signatures and 16 MiB; JSON with a name given twice is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import rfc8785

from fastness.core.digests import Digest, parse_digest
from fastness.core.errors import Corrupt, Invalid
from fastness.foundation.crypto.signing import Signer, load_public, verify_signature

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_MAX_BYTES = 16 << 20
_MAX_SIGNATURES = 64
_STANDARD_BASE64 = bytes.maketrans(b"-_", b"+/")


class Signature(msgspec.Struct, frozen=True):
    """One signature of an envelope; its key id is a hint from whoever wrote the envelope."""

    sig: str
    keyid: str = ""


class Envelope(msgspec.Struct, frozen=True, rename="camel"):
    """A DSSE envelope as received: nothing in it is verified."""

    payload: str
    payload_type: str
    signatures: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """A verified statement.

    Attributes:
        subjects: name to digest of what it is about; at least one.
        keyids: the trusted keys whose signatures hold; at least one.
    """

    predicate_type: str
    subjects: Mapping[str, Digest]
    predicate: Mapping[str, Any]
    keyids: frozenset[str]


def pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding of the type and the bytes."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign_statement(
    signer: Signer, subjects: Mapping[str, Digest], predicate_type: str, predicate: Mapping[str, Any]
) -> bytes:
    """A DSSE envelope, as JSON, around an in-toto statement about `subjects`.

    Raises:
        Invalid: no subjects, a malformed digest, or a predicate that JSON (RFC 8785) does not hold.
    """
    if not subjects or not predicate_type:
        raise Invalid("statement-empty", "a statement needs a subject and a predicate type")
    statement: dict[str, Any] = {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": name, "digest": {"sha256": parse_digest(digest).removeprefix("sha256:")}}
            for name, digest in subjects.items()
        ],
        "predicateType": predicate_type,
        "predicate": dict(predicate),
    }
    try:
        payload = rfc8785.dumps(statement)
    except rfc8785.CanonicalizationError as error:
        raise Invalid("statement-unwritable", "the predicate holds what JSON does not") from error
    signature = signer.sign(pae(PAYLOAD_TYPE, payload))
    envelope = Envelope(
        base64.b64encode(payload).decode(),
        PAYLOAD_TYPE,
        (Signature(base64.b64encode(signature).decode(), signer.keyid),),
    )
    return msgspec.json.encode(envelope)


def verify_statement(envelope: bytes, trusted: Mapping[str, bytes]) -> Statement:
    """The statement in `envelope`, signed by at least one of `trusted`.

    Args:
        envelope: DSSE envelope, JSON.
        trusted: key id to public key, PEM.

    Raises:
        Corrupt: malformed, of another payload type, or without a signature of a trusted key.
        Invalid: a trusted key is malformed.
    """
    payload_type, payload, keyids = verify_envelope(envelope, trusted)
    if payload_type != PAYLOAD_TYPE:
        raise Corrupt("statement-type", "the envelope holds something other than an in-toto statement")
    return _statement(payload, keyids)


def verify_envelope(envelope: bytes, trusted: Mapping[str, bytes]) -> tuple[str, bytes, frozenset[str]]:
    """Payload type, payload and the trusted keys that signed them; the payload is not parsed.

    Raises:
        Corrupt: malformed, or without a signature of a trusted key.
        Invalid: a trusted key is malformed.
    """
    if len(envelope) > _MAX_BYTES:
        raise Corrupt("envelope-malformed", "the envelope is too long")
    try:
        parsed = msgspec.json.decode(envelope, type=Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Corrupt("envelope-malformed", "not a DSSE envelope") from error
    if len(parsed.signatures) > _MAX_SIGNATURES:
        raise Corrupt("envelope-malformed", f"more than {_MAX_SIGNATURES} signatures")
    payload = _unbase64(parsed.payload)
    signed = pae(parsed.payload_type, payload)
    keyids = frozenset(keyid for s in parsed.signatures for keyid in _signed_by(s, signed, trusted))
    if not keyids:
        raise Corrupt("signature-untrusted", "no trusted key has signed this")
    return parsed.payload_type, payload, keyids


def _signed_by(signature: Signature, signed: bytes, trusted: Mapping[str, bytes]) -> list[str]:
    """The trusted keys that made `signature`: the one it names, or any where it names none."""
    raw = _unbase64(signature.sig)
    names = [signature.keyid] if signature.keyid else list(trusted)
    found = []
    for name in names:
        if name not in trusted:
            continue
        try:
            verify_signature(load_public(trusted[name]), signed, raw)
        except Corrupt:
            continue  # DSSE skips what does not verify; without any other signature the envelope is refused
        found.append(name)
    return found


def _unbase64(text: str) -> bytes:
    # DSSE: verifiers accept both alphabets.
    try:
        return base64.b64decode(text.encode("ascii").translate(_STANDARD_BASE64), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise Corrupt("envelope-malformed", "not base64") from error


def _statement(payload: bytes, keyids: frozenset[str]) -> Statement:
    try:
        value = json.loads(payload.decode(), object_pairs_hook=_once, parse_constant=_no_constant)
        # What cannot be written back, such as a number beyond floats or half a surrogate pair, is not strict.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise Corrupt("statement-malformed", "the statement is not strict JSON") from error
    if not isinstance(value, dict) or value.get("_type") != STATEMENT_TYPE:
        raise Corrupt("statement-malformed", "not an in-toto statement, version 1")
    kind, predicate = value.get("predicateType"), value.get("predicate", {})
    if not isinstance(kind, str) or not kind or not isinstance(predicate, dict):
        raise Corrupt("statement-malformed", "predicate type or predicate is missing")
    return Statement(kind, _subjects(value.get("subject")), predicate, keyids)


def _subjects(value: Any) -> dict[str, Digest]:
    if not isinstance(value, list) or not value:
        raise Corrupt("statement-malformed", "the statement has no subject")
    subjects: dict[str, Digest] = {}
    for item in value:
        try:
            name, digest = item["name"], parse_digest(f"sha256:{item['digest']['sha256']}")
        except (KeyError, TypeError, IndexError, Invalid) as error:
            raise Corrupt("statement-malformed", "a subject lacks its name or SHA-256 digest") from error
        if not isinstance(name, str) or name in subjects:
            raise Corrupt("statement-malformed", "a subject's name is no text, or stands twice")
        subjects[name] = digest
    return subjects


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")
