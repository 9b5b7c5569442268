"""XML as a stream of events in bounded memory; a document type declaration is refused before anything of it is used.

With it go all entities but the five of the language: none can be read from a file or an address, and none can grow.
Expat is the standard library's parser; the tree is never built. Cost: one event for each tag and piece of text.

Source: W3C, "Extensible Markup Language (XML) 1.0"; OWASP, "XML External Entity Prevention".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from xml.parsers import expat  # what makes it unsafe is refused below

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import HEAD
from fastness.models.scan.rules import MAPS, undecided

DOCTYPE = Rule(
    "xml-doctype", "A document type declaration", Severity.HIGH,
    "It can define entities that read files and addresses, or grow without end (XXE, billion laughs).",
    "No model needs one. Save the model again with its own library.", {**MAPS, "cwe": "CWE-611"},
)  # fmt: skip
INSTRUCTION = Rule(
    "xml-instruction", "A processing instruction or an inclusion", Severity.MEDIUM,
    "It tells other programs to fetch and apply something, such as a stylesheet, which may hold scripts.",
    "Remove it; no model needs one.", {**MAPS, "cwe": "CWE-829"},
)  # fmt: skip
MALFORMED = undecided(
    "xml-malformed", "XML that is not understood",
    "What cannot be parsed cannot be vouched for.", "Fetch the file again, or save the model again.",
)  # fmt: skip
RULES = (DOCTYPE, INSTRUCTION, MALFORMED)
"""Raised by all readers of XML; one of them carries these in its own."""

MAX_DEPTH = 200
_STEP = 1 << 16
_PENDING = 4 << 20
"""A tag may be this long: expat keeps it in memory until it ends."""
_INCLUDE = "http://www.w3.org/2001/XInclude"


class Kind(StrEnum):
    """What an event is."""

    START = "start"
    END = "end"
    TEXT = "text"
    COMMENT = "comment"


@dataclass(frozen=True, slots=True)
class Event:
    """One event.

    Attributes:
        name: of the element, without its namespace; empty for a text.
        depth: 0 for the root; of a text, that of its element.
        offset: in the source's bytes.
        text: of a text or comment, which may come in pieces.
    """

    kind: Kind
    name: str
    depth: int
    offset: int
    namespace: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    text: str = ""


class Refused(Exception):
    """The document is refused; what came before it stands."""

    def __init__(self, rule: Rule, at: int, problem: str) -> None:
        super().__init__(problem)
        self.rule, self.at = rule, at


_BEFORE = re.compile(
    rb"<!--.*?(?:-->|\Z)|<\?.*?(?:\?>|\Z)|<!DOCTYPE(?:[^>\[\"']|\"[^\"]*\"|'[^']*')*+>|<!DOCTYPE.*|<!-*\Z|<\Z",
    re.DOTALL,
)
"""A type that declares nothing of its own ends with its bracket, as that of every web page does."""


def may_begin(head: bytes) -> bool:
    """Whether `head` is full of what may stand before a root element, which is therefore not known yet."""
    plain = head.replace(b"\0", b"") if head[:2] in {b"\xff\xfe", b"\xfe\xff"} else head
    text = plain.removeprefix(b"\xef\xbb\xbf").removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff")
    return len(head) >= HEAD and text.lstrip()[:1] == b"<" and not _BEFORE.sub(b"", text).strip()


def begins_with(head: bytes, tag: str) -> bool:
    """Whether an element of that name stands in `head`, in any of the encodings that expat reads by itself."""
    plain = head.replace(b"\0", b"") if head[:2] in {b"\xff\xfe", b"\xfe\xff"} else head
    return re.search(rb"<(?:[\w.-]+:)?" + tag.encode() + rb"[\s/>]", plain) is not None


def events(source: RandomAccess, budget: Budget) -> Iterator[Event]:
    """The events of a document, in order.

    Raises:
        Refused: it is malformed, nested too deep, or holds what is refused.
        TooLarge: the budget is spent.
    """
    made = _Handlers()
    for at in range(0, source.size, _STEP):
        data = source.read_at(at, _STEP)
        made.feed(data, final=at + len(data) >= source.size)
        budget.spend("fields", len(made.events))
        yield from made.events
        made.events.clear()
        if made.refused is not None:
            raise made.refused
        if at + len(data) - made.reached > _PENDING:
            raise Refused(MALFORMED, made.reached, f"one tag has more than {_PENDING} bytes")
    if not made.rooted:
        raise Refused(MALFORMED, 0, "no element")


class _Handlers:
    """What expat calls."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.refused: Refused | None = None
        self.reached = 0
        self.rooted = False
        self._open: list[str] = []
        self._expat = parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.buffer_size = 1 << 16
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.CommentHandler = self._comment
        parser.ProcessingInstructionHandler = self._instruction
        parser.StartDoctypeDeclHandler = self._doctype

    def feed(self, data: bytes, *, final: bool) -> None:
        """Parse some more; the problem that ends it is kept."""
        try:
            self._expat.Parse(data, final)
        except Refused as refused:
            self.refused = refused
        except (expat.ExpatError, ValueError, LookupError) as error:
            self.refused = Refused(
                MALFORMED, max(0, self._expat.ErrorByteIndex), f"{type(error).__name__}: {error}"[:120]
            )

    def _add(self, kind: Kind, name: str = "", text: str = "", attributes: Mapping[str, str] | None = None) -> None:
        self.reached = max(self.reached, self._expat.CurrentByteIndex)
        namespace, _, local = name.rpartition(" ")
        depth = max(0, len(self._open) - 1)
        self.events.append(Event(kind, local, depth, self.reached, namespace, attributes or {}, text))

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.rooted = True
        self._open.append(name)
        if len(self._open) > MAX_DEPTH:
            raise Refused(MALFORMED, self._expat.CurrentByteIndex, f"elements nested deeper than {MAX_DEPTH}")
        if name.startswith(_INCLUDE + " "):
            raise Refused(INSTRUCTION, self._expat.CurrentByteIndex, "another document is included")
        self._add(Kind.START, name, attributes={key.rpartition(" ")[2]: value for key, value in attributes.items()})

    def _end(self, name: str) -> None:
        self._add(Kind.END, name)
        self._open.pop()

    def _text(self, text: str) -> None:
        self._add(Kind.TEXT, text=text)

    def _comment(self, text: str) -> None:
        self._add(Kind.COMMENT, text=text)

    def _instruction(self, target: str, data: str) -> None:
        shown = f"{target} {data}"[:80]
        raise Refused(INSTRUCTION, self._expat.CurrentByteIndex, f"a processing instruction, {shown!a}")

    def _doctype(self, name: str, system: str | None, public: str | None, internal: int) -> None:
        del public, internal
        where = f" at {system[:60]!a}" if system else ""
        raise Refused(DOCTYPE, self._expat.CurrentByteIndex, f"the document declares its type {name[:60]!a}{where}")
