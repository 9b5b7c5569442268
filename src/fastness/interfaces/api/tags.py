"""Entity tags: what the caller has is not sent again, and what they do not know is not replaced.

A tag is a digest of the representation, so it changes exactly when what is shown changes.

Source: RFC 9110, sections 8.8.3 and 13.1.
"""

from __future__ import annotations

import hashlib

import msgspec

from fastness.core.errors import Stale
from fastness.interfaces.api.doors import Caller


def entity_tag(body: bytes) -> bytes:
    """The strong entity tag of a representation."""
    return b'"' + hashlib.blake2b(body, digest_size=16).hexdigest().encode() + b'"'


def require_current(caller: Caller, current: msgspec.Struct | None) -> None:
    """Return if the caller asked for no check, or knows what they replace; ask in the transaction that replaces it.

    Args:
        current: what a GET would answer now; None where there is nothing.

    Raises:
        Stale: they do not.
    """
    if not caller.if_match:
        return
    known = [one.strip() for one in caller.if_match.split(b",")]
    if current is None or (b"*" not in known and entity_tag(msgspec.json.encode(current)) not in known):
        raise Stale("precondition-failed", "this was changed since you looked at it", "Look again, then decide.")
