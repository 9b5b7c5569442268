"""What readers hand to checks: facts about a file, members within it, and findings about its form."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Protocol

from fastness.core.findings import Finding, Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle

Detail = str | int
HEAD = 4096
TAIL = (1 << 16) + 22
"""How far from its end a zip archive may begin to tell what it holds."""


class FactKind(StrEnum):
    """The kinds of fact that checks can ask for."""

    SPAN = "span"
    """Bytes that a reader accounts for; `length` in the detail."""
    IMPORT = "import"
    """A global that loading resolves; `standing`, `opcode` in the detail."""
    CALL = "call"
    """A callable that loading calls; `standing`, `opcode`, `arguments` in the detail."""
    TAMPER = "tamper"
    """An imported object that loading changes; `opcode` in the detail."""
    OPERATOR = "operator"
    """An operator of a graph; `domain`, `local` (1 where the model defines it itself) in the detail."""
    REFERENCE = "reference"
    """Another file that loading reads; the name is its location."""
    CREDENTIAL = "credential"
    """A text that is a credential; the name is its kind. The text itself is never kept."""
    CLASS = "class"
    """A class, function or node kind that a configuration names and a loader looks up; `vocabulary` in the detail: whose
    names they are, such as keras, hydra, skops, yaml, transformers."""
    CODE = "code"
    """Code that stands in the model; the name says what it is. `language` in the detail, and `runs`: load, use or never."""
    EXECUTABLE = "executable"
    """A program for a machine or a shell; the name is its kind."""
    TEMPLATE = "template"
    """A Jinja template that using the model renders; `text` in the detail."""
    PACKAGE = "package"
    """A package that the model asks for; `ecosystem` and `specifier` in the detail."""
    LICENCE = "licence"
    """The name, or the text, of the licence that a model says it has."""
    WEIGHTS = "weights"
    """A tensor whose values are odd; `odd` in the detail: not-numbers, low-bits or wide, and `about`."""
    URL = "url"
    """An address that loading or using the model asks; `runs` in the detail: load, use or never."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that stands in the file, without judgement.

    Attributes:
        source: path of the file and of the member in it.
        offset: byte offset within that.
        name: what it is about.
    """

    kind: FactKind
    source: str
    offset: int
    name: str
    detail: Mapping[str, Detail] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Member:
    """A file within the file; of several that belong together a reader yields the `Bundle`.

    Attributes:
        source: its bytes; its name begins with the outer one.
        offset: where it stands in the outer file.
        reader: name of a reader that must read it, whatever it looks like; empty for none.
    """

    source: RandomAccess
    offset: int = 0
    reader: str = ""


class Look:
    """What a reader sees of a file before it claims it.

    Attributes:
        head: the first 4096 bytes.
        readers: those that must read it, as a layout says, whatever it looks like.
    """

    def __init__(self, source: RandomAccess, readers: AbstractSet[str] = frozenset()) -> None:
        self.readers = readers
        self.name = source.name
        self.size = source.size
        self.head = source.read_at(0, HEAD)
        self._source = source
        self._tail: bytes | None = None

    @property
    def tail(self) -> bytes:
        """The last 64 KiB and a little more."""
        if self._tail is None:
            start = max(0, self.size - TAIL)
            self._tail = self.head[start:] if self.size <= len(self.head) else self._source.read_at(start, TAIL)
        return self._tail

    def named(self, *suffixes: str) -> bool:
        """Whether the name ends in one of `suffixes`, which are lower case."""
        return self.name.lower().endswith(suffixes)


class Facts:
    """The facts of one file, by kind.

    Attributes:
        present: whether a location, as it stands in the file, is a file of the same bundle, which is scanned with it.
    """

    def __init__(self, facts: Iterable[Fact] = (), present: Callable[[str], bool] = lambda _: False) -> None:
        self.present = present
        self._by_kind: dict[FactKind, list[Fact]] = {}
        for fact in facts:
            self.add(fact)

    def add(self, fact: Fact) -> None:
        """Take in one more."""
        self._by_kind.setdefault(fact.kind, []).append(fact)

    def of(self, *kinds: FactKind) -> Iterator[Fact]:
        """The facts of these kinds, in the order in which they were read within a kind."""
        for kind in kinds:
            yield from self._by_kind.get(kind, ())

    def some(self, kinds: AbstractSet[FactKind]) -> bool:
        """Whether there is any fact of these kinds."""
        return not kinds.isdisjoint(self._by_kind)

    def explained(self, size: int) -> int:
        """How many of `size` bytes the spans cover."""
        return size - sum(stop - start for start, stop in self.gaps(size))

    def gaps(self, size: int) -> Iterator[tuple[int, int]]:
        """Where of `size` bytes none of the spans is, in order."""
        reached = 0
        for span in sorted(self._by_kind.get(FactKind.SPAN, ()), key=lambda f: f.offset):
            start, stop = min(span.offset, size), min(span.offset + int(span.detail["length"]), size)
            if start > reached:
                yield reached, start
            reached = max(reached, stop)
        if reached < size:
            yield reached, size


Told = Fact | Member | Bundle | Finding
"""What a reader may yield."""


class Reader(Protocol):
    """One format: bytes to facts. It never runs, imports or loads anything of them.

    Attributes:
        suffixes: file names that end so promise this format.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]

    def claims(self, look: Look) -> bool:
        """Whether the file may be of this format. All claimants run, and the worst wins."""
        ...

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """What stands in it. Spans must cover every byte that is accounted for; to yield nothing withdraws the claim.

        Raises:
            TooLarge: the budget is spent.
        """
        ...


class Layout(Protocol):
    """One format of several files, packed in an archive of any kind or laid out in a folder.

    Attributes:
        suffixes: names of archives that end so promise this layout.
    """

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]

    def claims(self, bundle: Bundle) -> bool:
        """Whether the bundle may be of this format. All claimants run, and the worst wins."""
        ...

    def reader(self, path: str, bundle: Bundle) -> str:
        """The reader that must read a file, whatever it looks like; `raw` excludes all others; empty for none."""
        ...

    def read(self, bundle: Bundle, budget: Budget) -> Iterator[Fact | Finding]:
        """What stands between the files. The files themselves are read by readers.

        Raises:
            TooLarge: the budget is spent.
        """
        ...


class Check(Protocol):
    """One judgement over facts, whatever format they came from."""

    name: ClassVar[str]
    wants: ClassVar[AbstractSet[FactKind]]

    def check(self, facts: Facts) -> Iterator[Finding]:
        """What is wrong with them."""
        ...


def span(source: str, offset: int, length: int) -> Fact:
    """The fact that these bytes are accounted for."""
    return Fact(FactKind.SPAN, source, offset, "", {"length": length})


def found(rule: Rule, source: str, offset: int, message: str, **evidence: str | int) -> Finding:
    """A finding of `rule` at a byte offset of a file or member."""
    return Finding(rule.id, rule.severity, f"{source}@{offset}", message, {"offset": offset, **evidence})


def found_as(severity: Severity, rule: Rule, fact: Fact, message: str, **evidence: str | int) -> Finding:
    """A finding of `rule` about `fact`, with a severity other than the rule's default."""
    kept = {"offset": fact.offset, **evidence}
    return Finding(rule.id, severity, f"{fact.source}@{fact.offset}", message, kept)
