"""SentencePiece models (`tokenizer.model`, `spiece.model`, `.spm`): a list of pieces with scores, and how to normalise.

Holds no code. A `tokenizer.model` of tiktoken is lines of text, and is told as such. Source: `sentencepiece_model.proto` of
sentencepiece 0.2. Cost: one step a piece.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.credentials import credential_in
from fastness.models.scan.cursor import Cursor
from fastness.models.scan.facts import Fact, FactKind, Look, Told, found, span
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.protobuf import LENGTH, Field, NotProtobuf, fields
from fastness.models.scan.rules import MAPS, undecided
from fastness.models.scan.texts import NotText, tell_text

MALFORMED = undecided(
    "sentencepiece-malformed", "A SentencePiece model that is not understood",
    "What cannot be parsed cannot be vouched for.", "Fetch the file again, or train the tokenizer again.",
)  # fmt: skip
UNKNOWN_FIELD = Rule(
    "sentencepiece-unknown-field", "A field that SentencePiece does not know", Severity.MEDIUM,
    "Bytes that no reader looks at can carry anything.", "Write the model again with its own library.", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, UNKNOWN_FIELD)

_PIECE, _LAST = 1, 5
_EXTENSIONS = 200
_SPECIFICATIONS = (2, 3, 5)
_RANKS = re.compile(rb"(?:[A-Za-z0-9+/]+={0,2} [0-9]+\r?\n)+")
_HEAD = re.compile(rb"\n[\x02-\x7f]\n[\x00-\x7f]", re.DOTALL)


@dataclass(frozen=True)
class SentencePieceReader:
    """Reads tokenizer models."""

    name: ClassVar[str] = "sentencepiece"
    suffixes: ClassVar[tuple[str, ...]] = (".spm", ".tiktoken")

    def claims(self, look: Look) -> bool:
        """By the name and how a first piece, or a line of ranks, begins."""
        named = look.named(".spm", ".tiktoken", ".model", ".vocab.spm")
        return named and (_HEAD.match(look.head) is not None or _RANKS.match(look.head) is not None)

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The specifications' texts, and the spans.

        Raises:
            TooLarge: the budget is spent.
        """
        if _RANKS.match(source.read_at(0, 4096)):
            yield from _ranks(source)
        else:
            yield from _model(source, budget)


def _ranks(source: RandomAccess) -> Iterator[Told]:
    try:
        yield from tell_text(source)
    except NotText:
        return
    yield span(source.name, 0, source.size)


def _model(source: RandomAccess, budget: Budget) -> Iterator[Told]:
    cursor, pieces = Cursor(source), 0
    try:
        for one in fields(cursor, source.size, budget):
            pieces += one.number == _PIECE
            yield from _field(source, one)
    except NotProtobuf as error:
        if pieces:
            yield found(MALFORMED, source.name, error.at, str(error))
        return
    if pieces:
        yield from search_payloads(source, 0, source.size, budget)
        yield span(source.name, 0, source.size)


def _field(source: RandomAccess, one: Field) -> Iterator[Told]:
    if one.wire != LENGTH or _LAST < one.number < _EXTENSIONS:
        yield found(UNKNOWN_FIELD, source.name, one.offset, f"field {one.number} of wire type {one.wire}")
    elif one.number in _SPECIFICATIONS:
        text = source.read_at(one.start, min(one.end - one.start, 1 << 20)).decode("latin-1")
        if kind := credential_in(text):
            yield Fact(FactKind.CREDENTIAL, source.name, one.start, kind)


READER = SentencePieceReader
