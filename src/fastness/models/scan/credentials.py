"""Credentials that travel with a model: what the recognisers of `foundation.text` find, by kind and place.

In bytes that are mostly no text, such as a pickle or an array of texts, one pass looks for the letters that forms begin
with, as they are, in UTF-16 and in base64; what stands around them is looked at closely.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import islice

from fastness.core.sources import RandomAccess
from fastness.foundation.text import SHORTEST, Patterns, first_secret, secrets_in
from fastness.models.scan.facts import Fact, FactKind

__all__ = ["SHORTEST", "credential_in", "credentials_within", "search_credentials"]

_WINDOW, _OVERLAP = 1 << 20, 8192
_BEFORE, _BEHIND = 96, 4096
_MOST_PLACES = 1 << 10
_SLOW_BYTES = 16 << 20
"""How far is searched where Hyperscan is not installed."""
_PLAIN = (
    b"-----BEGIN", b"AKIA", b"ASIA", b"AIza", b"ghp_", b"gho_", b"ghs_", b"github_pat_", b"glpat-", b"sk-ant-", b"sk-proj-",
    b"xoxb-", b"xoxp-", b"sk_live_", b"npm_", b"pypi-AgE", b"dckr_pat_", b"hf_",
)  # fmt: skip
_IN_BASE64 = (
    b"LS0tLS1CRU", b"QUtJQ", b"QVNJQ", b"QUl6Y", b"Z2hwX", b"Z2hvX", b"Z2hzX", b"Z2l0aHViX3", b"Z2xwYXQt", b"aGZf", b"c2stYW50",
    b"c2stcHJva",
)  # fmt: skip
_WIDE = tuple(b"".join(bytes([c, 0]) for c in letters) for letters in _PLAIN)
_WIDER = tuple(b"".join(bytes([c, 0, 0, 0]) for c in letters) for letters in _PLAIN)  # numpy's texts
_LETTERS = (*_PLAIN, *_IN_BASE64, *_WIDE, *_WIDER)
_SLOWLY = re.compile(b"|".join(map(re.escape, _LETTERS)))
_SHORT_VALUES = (b"C", b"U", b"\x8c")
"""Instructions of pickles with a length of one byte, which may look like a letter."""


def credential_in(text: str) -> str:
    """The kind of the first credential in `text`, or an empty text."""
    return first_secret(text) if len(text) >= SHORTEST else ""


def credentials_within(text: str) -> list[tuple[str, int]]:
    """Kind and place of each credential; the place is an index of `text`. Overlapping ones are told once."""
    return [(secret.kind, secret.start) for secret in secrets_in(text)]


def search_credentials(source: RandomAccess, start: int, end: int) -> Iterator[Fact]:
    """One fact for each kind of credential that stands in the bytes from `start` to `end`."""
    kinds: set[str] = set()
    engine = _engine()
    for base in range(start, end if engine is not None else min(end, start + _SLOW_BYTES), _WINDOW):
        window = source.read_at(base, min(_WINDOW + _OVERLAP, end - base))
        for at in _places(window, engine):
            kind = credential_in(_around(window, at))
            if kind and kind not in kinds:
                kinds.add(kind)
                yield Fact(FactKind.CREDENTIAL, source.name, base + at, kind)


def _places(window: bytes, engine: Patterns | None) -> list[int]:
    """Where letters begin."""
    ends = engine.ends(window, _MOST_PLACES) if engine is not None else None
    if ends is not None:
        return [end - len(_LETTERS[number]) for end, number in ends]
    return [match.start() for match in islice(_SLOWLY.finditer(window), _MOST_PLACES)]


def _around(window: bytes, at: int) -> str:
    """The text around a place, or from it on where the length of a value stands before it; of UTF-16 every second byte."""
    begins = window[max(0, at - 2) : at][:1] in _SHORT_VALUES
    before, behind = window[at if begins else max(0, at - _BEFORE) : at], window[at : at + _BEHIND]
    if behind[1:2] == b"\0":
        before, behind = before.replace(b"\0", b""), behind.replace(b"\0", b"")
    return (before + behind).decode("latin-1")


@cache
def _engine() -> Patterns | None:
    return Patterns.compiled([b"".join(b"\\x%02x" % byte for byte in letters) for letters in _LETTERS])
