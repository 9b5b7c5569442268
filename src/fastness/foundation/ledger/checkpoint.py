"""Checkpoints: size and root of the log, signed as a note that any C2SP tool can read.

Source: C2SP tlog-checkpoint and signed-note, Ed25519 (type 1). Other signatures on a note, such as those of witnesses,
are allowed and not looked at.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fastness.core.errors import Corrupt, Invalid
from fastness.foundation.ledger.merkle import HASH_BYTES

_ED25519: Final = b"\x01"
_NAME: Final = re.compile(r"[^\s+\x00-\x1f\x7f]{1,200}")
_BODY: Final = re.compile(r"(?P<origin>[^\n]+)\n(?P<size>0|[1-9][0-9]{0,18})\n(?P<root>[A-Za-z0-9+/=]{44})\n")
_SIGNATURE: Final = re.compile(r"\u2014 (?P<name>[^\s+]+) (?P<signature>[A-Za-z0-9+/=]+)")
_LARGEST_NOTE: Final = 1 << 16


class NoteSigner(Protocol):
    """What signs checkpoints: an Ed25519 key, wherever it lives."""

    @property
    def public_raw(self) -> bytes:
        """The 32 bytes of the public key."""
        ...

    def sign(self, data: bytes) -> bytes:
        """The signature of `data`, 64 bytes."""
        ...


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint whose signature was verified.

    Attributes:
        note: the signed text itself, to hand to others.
    """

    origin: str
    size: int
    root: bytes
    note: bytes


def origin_of(public_raw: bytes) -> str:
    """A name for the log of this key; no two logs share one."""
    return f"fastness.local/log/{sha256(public_raw).hexdigest()[:16]}"


def verifier_key(origin: str, public_raw: bytes) -> str:
    """The vkey text by which others verify the log's checkpoints.

    Raises:
        Invalid: the origin holds blanks or a plus sign.
    """
    if not _NAME.fullmatch(origin):
        raise Invalid("ledger-origin", "the name of a log has no blanks and no '+'")
    key = base64.b64encode(_ED25519 + public_raw).decode()
    return f"{origin}+{_key_id(origin, public_raw).hex()}+{key}"


def sign_checkpoint(signer: NoteSigner, origin: str, size: int, root: bytes) -> SignedCheckpoint:
    """The checkpoint of a tree, signed."""
    body = f"{origin}\n{size}\n{base64.b64encode(root).decode()}\n"
    signature = _key_id(origin, signer.public_raw) + signer.sign(body.encode())
    note = f"{body}\n\u2014 {origin} {base64.b64encode(signature).decode()}\n"
    return SignedCheckpoint(origin, size, root, note.encode())


def open_checkpoint(note: bytes, vkey: str) -> SignedCheckpoint:
    """The checkpoint in `note`, once the signature of the log itself holds.

    Raises:
        Corrupt: the note is malformed, of another log, or not signed by this key (`checkpoint-invalid`).
        Invalid: the vkey is none of Ed25519.
    """
    origin, key_id, public = _parse_vkey(vkey)
    try:
        text = note.decode("utf-8") if len(note) <= _LARGEST_NOTE else ""
    except UnicodeDecodeError as error:
        raise _invalid("it is not UTF-8") from error
    body, blank, signatures = text.partition("\n\n")
    body += "\n"
    match = _BODY.fullmatch(body)
    if match is None or not blank or not signatures.endswith("\n"):
        raise _invalid("it is not a note of origin, size, root and signatures")
    if match["origin"] != origin:
        raise _invalid("it is of another log")
    root = _decode(match["root"])
    if root is None or len(root) != HASH_BYTES:
        raise _invalid("its root is no hash")
    lines = signatures[:-1].split("\n")
    if True not in [_signed_by(line, origin, key_id, public, body.encode()) for line in lines]:  # all are looked at
        raise _invalid("it is not signed by the key of the log")
    return SignedCheckpoint(origin, int(match["size"]), root, note)


def _signed_by(line: str, origin: str, key_id: bytes, public: bytes, body: bytes) -> bool:
    match = _SIGNATURE.fullmatch(line)
    signature = _decode(match["signature"]) if match is not None else None
    if match is None or signature is None:
        raise _invalid("a line of its signatures is malformed")
    if match["name"] != origin or signature[:4] != key_id:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature[4:], body)
    except InvalidSignature as error:
        # A second signature by the same key is no way around a wrong first one.
        raise _invalid("its signature is wrong") from error
    return True


def _parse_vkey(vkey: str) -> tuple[str, bytes, bytes]:
    origin, _, rest = vkey.strip().partition("+")
    key_id, _, encoded = rest.partition("+")
    key = _decode(encoded)
    if key is None or len(key) != 1 + HASH_BYTES or key[:1] != _ED25519 or not _NAME.fullmatch(origin):
        raise Invalid("vkey-malformed", "not a verifier key of Ed25519", "Use the text of the file ledger/vkey.")
    if _key_id(origin, key[1:]).hex() != key_id:
        raise Invalid("vkey-malformed", "the verifier key does not fit its own id", "Copy the whole text again.")
    return origin, bytes.fromhex(key_id), key[1:]


def _key_id(origin: str, public_raw: bytes) -> bytes:
    return sha256(origin.encode() + b"\n" + _ED25519 + public_raw).digest()[:4]


def _decode(text: str) -> bytes | None:
    """The bytes of canonical base64, or None: a second spelling of the same bytes is not accepted."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None


def _invalid(what: str) -> Corrupt:
    return Corrupt("checkpoint-invalid", f"the checkpoint cannot be trusted: {what}", "Restore it from checkpoints/.")
