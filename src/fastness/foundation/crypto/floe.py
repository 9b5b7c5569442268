"""FLOE, the encrypted container: AES-256-GCM segments under keys that commit to header and associated data.

A container is a header of 74 bytes (parameters, random IV, header tag) and segments of one length: 4 bytes of marker,
12 of nonce, ciphertext, 16 of tag. The last segment carries its own length and is flagged in its associated data, so
truncation, appended bytes and reordering are refused. Random access costs one segment.

What it misses: whoever holds the key can write segments; provenance is a signed digest, elsewhere. A reader that does
not know how long the message is must be told which segment is the last. Cost: 32 bytes a segment; the speed of
AES-256-GCM. Only `encrypt_into` and `decrypt_into` touch the data, for they let other threads run.

Source: C2SP, "Fast Lightweight Online Encryption (FLOE)", c2sp.org/FLOE; IACR ePrint 2025/2275.
Deviation: a reader takes the segment length from a list of its own, as the header is the attacker's until its tag holds.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from fastness.core.clock import Entropy
from fastness.core.errors import Corrupt, Invalid
from fastness.core.secrets import SecretBytes
from fastness.core.sources import Buffer

_PARAMETERS, _IV, _TAG = 10, 32, 32
_HEADER = _PARAMETERS + _IV + _TAG
_MARKER, _NONCE, _GCM_TAG = 4, 12, 16
_OVERHEAD = _MARKER + _NONCE + _GCM_TAG
_NOT_LAST = b"\xff\xff\xff\xff"
_MAX_SEGMENTS = 1 << 40


@dataclass(frozen=True, slots=True)
class FloeLimits:
    """What a writer makes and a reader accepts.

    Attributes:
        segments: allowed lengths of a sealed segment in bytes.
        rotate_bits: 2 to this power segments share one AES key.
    """

    segments: frozenset[int] = frozenset({1 << 16, 1 << 18, 1 << 20})
    rotate_bits: int = 20


SHIPPED = FloeLimits()


class _Message:
    """Key schedule and segment ciphers of one message."""

    def __init__(self, key: SecretBytes, aad: bytes, prefix: bytes, rotate_bits: int) -> None:
        if len(key) != 32:
            raise Invalid("floe-key", "a FLOE key has 32 bytes")
        self._context = prefix
        self._aad = aad
        self._rotate_bits = rotate_bits
        self.tag = self._derive(key.reveal(), b"HEADER_TAG:", _TAG)
        self._key = self._derive(key.reveal(), b"MESSAGE_KEY:", 48)
        self._current = self._make(0)

    def cipher(self, position: int) -> AESGCM:
        first = position >> self._rotate_bits << self._rotate_bits
        current = self._current  # one reference, so that threads may share a reader
        if current[0] != first:
            current = self._current = self._make(first)
        return current[1]

    def _make(self, first: int) -> tuple[int, AESGCM]:
        return first, AESGCM(self._derive(self._key, b"DEK:" + first.to_bytes(8, "big"), 32))

    def _derive(self, key: Buffer, purpose: bytes, length: int) -> bytes:
        return HKDFExpand(hashes.SHA384(), length, self._context + purpose + self._aad).derive(key)


def _segment_aad(position: int, *, last: bool) -> bytes:
    return position.to_bytes(8, "big") + (b"\1" if last else b"\0")


def _parameters(segment: int) -> bytes:
    # AES-256-GCM, HKDF-Expand-SHA-384, segment length, IV length
    return b"\0\0" + segment.to_bytes(4, "big") + _IV.to_bytes(4, "big")


class FloeWriter:
    """Seals one message, segment after segment; it may not be used for a second one.

    Args:
        key: 32 bytes.
        aad: what the message is bound to; a reader needs the same.
        segment: length of a sealed segment in bytes.

    Raises:
        Invalid: the key or the segment length is not allowed.
    """

    def __init__(
        self, key: SecretBytes, aad: bytes, entropy: Entropy, segment: int = 1 << 18, limits: FloeLimits = SHIPPED
    ) -> None:
        if segment not in limits.segments or segment <= _OVERHEAD:
            raise Invalid("floe-segment-length", f"segments of {segment} bytes are not allowed")
        prefix = _parameters(segment) + entropy(_IV)
        self._message = _Message(key, aad, prefix, limits.rotate_bits)
        self._entropy = entropy
        self._position = 0
        self._finished = False
        self.header = prefix + self._message.tag
        self.segment = segment
        self.plain_len = segment - _OVERHEAD

    def seal_into(self, plain: Buffer, last: bool, out: memoryview) -> int:  # noqa: FBT001 - the contract's signature
        """Write the next segment to the front of `out` and return its length.

        Args:
            plain: `plain_len` bytes; the last segment may have fewer, down to none.
            out: room for `len(plain)` + 32 bytes; it may not overlap `plain`.

        Raises:
            Invalid: the message is finished, the length is wrong, or `out` is too short.
        """
        size = len(plain) + _OVERHEAD
        if self._finished or self._position >= _MAX_SEGMENTS:
            raise Invalid("floe-finished", "the message has its last segment; a writer seals one message")
        if size > self.segment or (not last and size != self.segment):
            raise Invalid(
                "floe-segment-length", f"a segment holds {self.plain_len} bytes, only the last may hold fewer"
            )
        if len(out) < size:
            raise Invalid("floe-buffer", f"the segment needs {size} bytes of room")
        nonce = self._entropy(_NONCE)
        position, self._position, self._finished = self._position, self._position + 1, last
        out[:_MARKER] = size.to_bytes(4, "big") if last else _NOT_LAST
        out[_MARKER : _MARKER + _NONCE] = nonce
        cipher = self._message.cipher(position)
        cipher.encrypt_into(nonce, plain, _segment_aad(position, last=last), out[_MARKER + _NONCE : size])
        return size


class FloeReader:
    """Opens segments of one message, in any order; threads may share it.

    Args:
        key: 32 bytes.
        aad: what the message was bound to.
        header: the first `HEADER` bytes of the container.

    Raises:
        Corrupt: not a header of an allowed kind, or made for another key or other associated data.
    """

    HEADER: ClassVar[int] = _HEADER
    OVERHEAD: ClassVar[int] = _OVERHEAD

    def __init__(self, key: SecretBytes, aad: bytes, header: bytes, limits: FloeLimits = SHIPPED) -> None:
        segment = int.from_bytes(header[2:6], "big")
        if len(header) != _HEADER or segment not in limits.segments or header[:_PARAMETERS] != _parameters(segment):
            raise Corrupt("floe-header", "not a container of a kind that is read here")
        self._message = _Message(key, aad, bytes(header[: _PARAMETERS + _IV]), limits.rotate_bits)
        if not hmac.compare_digest(self._message.tag, bytes(header[_PARAMETERS + _IV :])):
            raise Corrupt("floe-header", "the header was changed, or belongs to another key or place")
        self.segment = segment
        self.plain_len = segment - _OVERHEAD

    def sealed_size(self, plain_size: int) -> int:
        """Length of the container of `plain_size` bytes whose last segment is empty only where the message is."""
        return _HEADER + plain_size + _OVERHEAD * max(1, -(-plain_size // self.plain_len))

    def open_into(self, sealed: Buffer, position: int, last: bool, out: memoryview) -> int:  # noqa: FBT001 - contract
        """Decrypt one segment to the front of `out` and return the length of its plain text.

        Args:
            sealed: the whole segment.
            position: its place in the message, from 0.
            last: whether it is the last one.
            out: room for `len(sealed)` - 32 bytes; it may not overlap `sealed`.

        Raises:
            Corrupt: the segment was changed or stands in another place; what was written to `out` is wiped.
            Invalid: `out` is too short.
        """
        size = len(sealed) - _OVERHEAD
        marker = bytes(sealed[:_MARKER])
        if not 0 <= size <= self.plain_len or not 0 <= position < _MAX_SEGMENTS:
            raise Corrupt("floe-segment", f"segment {position} is of no possible length")
        if marker != (len(sealed).to_bytes(4, "big") if last else _NOT_LAST) or (not last and size != self.plain_len):
            raise Corrupt("floe-segment", f"segment {position} does not stand where it was sealed, or was cut")
        if len(out) < size:
            raise Invalid("floe-buffer", f"the segment needs {size} bytes of room")
        body = memoryview(sealed)[_MARKER + _NONCE :]
        nonce = bytes(sealed[_MARKER : _MARKER + _NONCE])
        target = out[:size]
        try:
            self._message.cipher(position).decrypt_into(nonce, body, _segment_aad(position, last=last), target)
        except InvalidTag as error:
            target[:] = bytes(size)
            raise Corrupt("floe-segment", f"segment {position} fails its authentication") from error
        return size
