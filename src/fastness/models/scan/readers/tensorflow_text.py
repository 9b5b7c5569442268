"""TensorFlow's graphs in text: GraphDef, MetaGraphDef and SavedModel as .pbtxt, judged like the binary ones.

Misses: fields that the format does not know, which every loader refuses. Cost: one step a token.

Source: Protocol Buffers, "Text Format Language Specification".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.cursor import Cursor
from fastness.models.scan.facts import HEAD, Look, Told, found, span
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.protobuf import NotProtobuf
from fastness.models.scan.rules import undecided
from fastness.models.scan.tensorflow_walk import CONTENT, KEPT_TEXT, Kept, Walk, packed

MALFORMED = undecided(
    "tensorflow-text-malformed", "A TensorFlow graph in text that is not understood",
    "What cannot be parsed cannot be vouched for.", "Fetch the file again, or export the model again in binary.",
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED,)

MAX_NESTING = 100
_SUFFIX = ".pbtxt"
_STARTS = re.compile(
    rb"(?:\s|#[^\n]*\n)*(?:node|library|versions|graph_def|meta_graphs|meta_info_def|saved_model_schema_version)\s*[:{<]"
)
_TOKEN = re.compile(
    r"\s*+(?:#[^\n]*+(?:\n|\Z)\s*+)*+(?:(?P<text>\"(?:[^\"\\\n]|\\.)*+\"|'(?:[^'\\\n]|\\.)*+')|(?P<open>[{<])|(?P<close>[}>])"
    r"|(?P<mark>[:\[\],;])|(?P<word>[-+A-Za-z0-9_./]++))"
)
_REST = re.compile(r"(?:\s|#[^\n]*+(?:\n|\Z))*+\Z")
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|(.))", re.DOTALL)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_MESSAGES = {
    "node": "NodeDef", "node_def": "NodeDef", "attr": "NodeDef.AttrEntry", "value": "AttrValue", "tensor": "TensorProto",
    "signature": "OpDef", "function": "FunctionDef", "graph_def": "GraphDef", "asset_file_def": "AssetFileDef",
    "tensor_info": "TensorInfo", "user_object": "SavedUserObject", "registered_saver": "RegisteredSaver", "list": "AttrValue.ListValue",
}  # fmt: skip
_FIELDS = {
    "NodeDef": {"name": 1, "op": 2, "input": 3}, "NodeDef.AttrEntry": {"key": 1}, "AttrValue": {"s": 2},
    "TensorProto": {"string_val": 8, "tensor_content": 4}, "OpDef": {"name": 1}, "AssetFileDef": {"filename": 2}, "TensorInfo": {"name": 1},
    "SavedUserObject": {"identifier": 1, "metadata": 3}, "RegisteredSaver": {"name": 1},
}  # fmt: skip


@dataclass(frozen=True)
class TensorflowTextReader:
    """Reads .pbtxt files."""

    name: ClassVar[str] = "tensorflow-text"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, look: Look) -> bool:
        """By the name of a first field; under its own suffix the text of any message, such as labels."""
        return _STARTS.match(look.head) is not None or look.named(_SUFFIX)

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """Operators, references, classes, credentials and faults.

        Raises:
            TooLarge: the budget is spent.
        """
        budget.require("header_bytes", source.size)
        text = source.read_at(0, source.size).decode("latin-1")
        graph = _STARTS.match(source.read_at(0, HEAD)) is not None
        walk = Walk(source.name, Cursor(source), budget)
        try:
            _Parser(text, walk).message()
        except NotProtobuf as error:
            if not graph:
                return
            walk.finish()
            yield from walk.told
            yield found(MALFORMED, source.name, error.at, str(error))
            return
        walk.finish()
        yield from walk.told
        yield from search_payloads(source, 0, source.size, budget)
        if graph and not walk.operators:
            yield found(MALFORMED, source.name, 0, "a graph without an operator")
            return
        yield span(source.name, 0, source.size)


class _Parser:
    def __init__(self, text: str, walk: Walk) -> None:
        self._text = text
        self._walk = walk
        self._at = 0
        self._before = ""
        self._listing = False
        self._is_value = False

    def message(self) -> None:
        """All fields of the file.

        Raises:
            NotProtobuf: the text is no message.
            TooLarge: the budget is spent.
        """
        self._walk.enter("GraphDef")
        stack = [(Kept("GraphDef", 0), "")]
        field = ""
        while _REST.match(self._text, self._at) is None:
            kind, piece = self._next()
            if kind == "open":
                stack.append((self._opened(field), {"{": "}", "<": ">"}[piece]))
                if len(stack) > MAX_NESTING:
                    raise NotProtobuf(self._at, f"messages nested deeper than {MAX_NESTING}")
            elif kind == "close":
                self._closed(stack, piece)
            elif kind == "text":
                self._value(stack[-1][0], field, piece)
            elif kind == "word" and not self._is_value:
                field = piece
        if len(stack) > 1:
            raise NotProtobuf(self._at, "the text ends within a message")

    def _next(self) -> tuple[str, str]:
        """The kind of the next token, and what it says; texts that follow each other are one."""
        match = self._token()
        if match is None or match.lastgroup is None:
            raise NotProtobuf(self._at, "no field")
        piece = match[match.lastgroup]
        self._is_value = self._listing or self._before == ":"
        self._listing = piece == "[" or (self._listing and piece != "]")
        self._before = piece
        if match.lastgroup != "text":
            return match.lastgroup, piece
        pieces = [piece[1:-1]]
        while (more := _TOKEN.match(self._text, self._at)) is not None and more["text"] is not None:
            self._token()
            pieces.append(more["text"][1:-1])
        return "text", "".join(_ESCAPE.sub(_unescaped, one) for one in pieces)

    def _token(self) -> re.Match[str] | None:
        match = _TOKEN.match(self._text, self._at)
        self._walk.budget.spend("fields")
        self._at = match.end() if match is not None else self._at
        return match

    def _opened(self, field: str) -> Kept:
        kind = _MESSAGES.get(field, "")
        self._walk.enter(kind)
        return Kept(kind, self._at)

    def _closed(self, stack: list[tuple[Kept, str]], piece: str) -> None:
        if len(stack) < 2 or stack[-1][1] != piece:
            raise NotProtobuf(self._at, "a message that ends without beginning")
        kept, _ = stack.pop()
        if kept.kind:
            self._walk.close(kept)
        self._walk.leave(kept.kind)
        if kept.kind and stack[-1][0].kind not in {"", "GraphDef"}:
            stack[-1][0].inner.append(kept)

    def _value(self, kept: Kept, field: str, text: str) -> None:
        number = _FIELDS.get(kept.kind, {}).get(field)
        if kept.kind == "TensorProto" and number == CONTENT:
            kept.texts.setdefault(CONTENT, []).append(packed(text[:KEPT_TEXT].encode("latin-1", "replace")))
        elif number is not None:
            kept.texts.setdefault(number, []).append(text[:KEPT_TEXT])
        self._walk.text(text.encode("latin-1", "replace"), self._at, config=field == "metadata")


def _unescaped(match: re.Match[str]) -> str:
    octal, hexadecimal, letter = match.groups()
    if octal or hexadecimal:
        return chr((int(octal, 8) if octal else int(hexadecimal, 16)) & 0xFF)
    return _LETTERS.get(letter, letter)


READER = TensorflowTextReader
