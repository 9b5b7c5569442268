"""API keys: how they look, how they are made, what is kept of them.

A key reads `fst_<id>_<secret>_<check>`: 8 characters of Crockford base 32 that name it in lists and logs, 43 of base 62
that hold 256 random bits, and 8 hex digits of CRC-32 over all before them. The fixed prefix and the check let a secret
scanner find a leaked key without false alarms (`KEY_PATTERN`), and let a mistyped one be refused without a look-up.

Only HMAC-SHA-256 of the whole text under the pepper is kept. A slow password hash would add nothing: 256 random bits
cannot be guessed; the pepper makes a stolen table useless even to check a guess. The text is shown once.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field

from fastness.core.clock import Entropy, Instant
from fastness.core.errors import Unavailable
from fastness.core.identity import PrincipalId

_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_BYTES = 32
_SECRET_LENGTH = 43  # 62**43 > 2**256

KEY_PATTERN = r"fst_[0-9a-hjkmnp-tv-z]{8}_[0-9A-Za-z]{43}_[0-9a-f]{8}"
"""What a secret scanner looks for; `well_formed` also checks the CRC."""

KEY_LENGTH = 65
KEY_ID = slice(4, 12)
"""Where its id stands in a key."""

_KEY = re.compile(KEY_PATTERN.encode(), re.ASCII)


def format_key(key_id: str, secret: bytes) -> str:
    """The text of the key with this id and 32 secret bytes."""
    head = f"fst_{key_id}_{base62(secret)}"
    return f"{head}_{zlib.crc32(head.encode()):08x}"


def base62(secret: bytes) -> str:
    """32 bytes as 43 letters and digits."""
    number = int.from_bytes(secret)
    digits = []
    for _ in range(_SECRET_LENGTH):
        number, digit = divmod(number, 62)
        digits.append(_BASE62[digit])
    return "".join(reversed(digits))


def well_formed(text: bytes) -> bool:
    """Whether `text` has the form and the check of a key; says nothing about whether it is one."""
    return _KEY.fullmatch(text) is not None and b"%08x" % zlib.crc32(text[:-9]) == text[-8:]


PUBLIC_KEYS = frozenset({format_key("0" * 8, bytes(_SECRET_BYTES)).encode()})
"""Keys that stand in the documentation and so are known to everybody: never accepted, whatever the records say."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A new key; printing it does not show its text.

    Attributes:
        key_id: names it from now on, in lists and logs.
        text: `fst_…`, for its owner only; it is nowhere else and cannot be had again.
    """

    key_id: str
    principal: PrincipalId
    expires_at: Instant
    text: str = field(repr=False)


def mint(entropy: Entropy) -> tuple[str, str]:
    """A fresh key: its id and its text.

    Raises:
        Unavailable: the source of randomness is broken.
    """
    number = int.from_bytes(entropy(5))
    key_id = "".join(_BASE32[number >> shift & 31] for shift in range(35, -5, -5))
    text = format_key(key_id, _secret(entropy))
    return key_id, text


def mint_code(entropy: Entropy) -> str:
    """A fresh one-time code for an enrolment, `fse_` and 256 random bits.

    Raises:
        Unavailable: the source of randomness is broken.
    """
    return f"fse_{base62(_secret(entropy))}"


def _secret(entropy: Entropy) -> bytes:
    secret = entropy(_SECRET_BYTES)
    if len(secret) != _SECRET_BYTES or not any(secret):  # zeros would give the key of the documentation
        raise Unavailable("entropy-broken", "the source of randomness is broken", "Check the operating system's.")
    return secret
