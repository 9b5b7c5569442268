"""JSON: configurations, tokenizers, indexes, notebooks. What its keys mean to a loader is told by `configs`.

Claimed by the name, or by what it begins with; a file that is not called JSON and is none is left to others. Misses: what
keys mean that no loader known here looks at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.configs import JUDGES, tell_config
from fastness.models.scan.configs import RULES as CONFIG_RULES
from fastness.models.scan.facts import Fact, FactKind, Look, Told, found, span
from fastness.models.scan.jsons import SMALL, Document, NotJson, parse, parse_lines, parse_relaxed, scan
from fastness.models.scan.rules import MAPS, undecided
from fastness.models.scan.texts import NotText, tell_text, whole

MALFORMED = undecided(
    "json-malformed", "A JSON file that is not JSON",
    "What cannot be parsed cannot be vouched for.", "Fetch the file again, or write it again with the library that made it.",
)  # fmt: skip
REPEATED = Rule(
    "json-repeated-key", "A key that stands twice in a JSON object", Severity.LOW,
    "Readers differ in which of the two they take. Both were looked at.", "Remove one of them.", {**MAPS, "cwe": "CWE-694"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, REPEATED, *CONFIG_RULES)

SUFFIXES = (".json", ".ipynb", ".jsonld", ".geojson", ".webmanifest")
_BEGINS = re.compile(rb'(?:\xef\xbb\xbf)?\s*(?:\{\s*(?:"|\})|\[\s*(?:[\[{"]|\]|-?[0-9]+\s*[,\]]))')
_OTHERS = (".txt", ".md", ".py", ".yaml", ".yml", ".jsonl", ".ndjson", ".jinja", ".jinja2", ".j2", ".toml", ".cfg", ".vocab",
           ".merges", ".csv", ".tsv", ".html", ".js", ".ts", ".sh", ".rst", ".log")  # fmt: skip

_RELAXED = re.compile(
    r"(?:^|[/\\!])(?:\.vscode[/\\][\w.-]+\.json|\.?devcontainer\.json|[tj]sconfig[\w.-]*\.json|\.\w+rc\.json|[\w.-]*settings\.json)\Z"
)
"""Files whose programs take comments."""


@dataclass(frozen=True)
class JsonReader:
    """Reads JSON documents of any size."""

    name: ClassVar[str] = "json"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def claims(self, look: Look) -> bool:
        """By the name, or by how objects and lists begin."""
        return look.named(*SUFFIXES) or (_BEGINS.match(look.head) is not None and not look.named(*_OTHERS))

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """What its keys hold that matters, and what any text may hold.

        Raises:
            TooLarge: what a key holds is longer than the budget allows.
        """
        named = source.name.lower().endswith(SUFFIXES)
        try:
            texts = tell_text(source)
            document = _document(source, budget)
        except NotText:
            return  # whoever knows what it is says so, and the name is compared
        except NotJson as error:
            if named:
                yield found(MALFORMED, source.name, 0, str(error))
            return
        yield from texts
        for key in list(dict.fromkeys(document.repeated))[:20]:
            yield found(REPEATED, source.name, 0, f"the key {key[:80]!a}")
        yield from bounded(tell_config(source.name, document.tree), budget)
        if source.name.lower().endswith(".ipynb"):
            yield Fact(FactKind.CODE, source.name, 0, "a notebook", {"language": "Jupyter", "runs": "never"})
        yield span(source.name, 0, source.size)


def bounded(items: Iterator[Fact | Finding], budget: Budget) -> Iterator[Fact | Finding]:
    """The items, each counted.

    Raises:
        TooLarge: there are more than the budget allows.
    """
    for item in items:
        budget.spend("facts")
        yield item


def _document(source: RandomAccess, budget: Budget) -> Document:
    marked = source.read_at(0, 2) in {b"\xff\xfe", b"\xfe\xff"}
    if source.size <= SMALL:
        text = whole(source).removeprefix("\ufeff")
        try:
            return parse(text)
        except NotJson:
            return parse_relaxed(text) if _RELAXED.search(source.name) else parse_lines(text)
    if source.name.lower().endswith(("modules.json", "model_index.json")):
        raise NotJson(f"{source.size} bytes, and such a file has a few hundred")
    if marked:
        raise NotJson("a large document in another encoding than UTF-8")
    return scan(source, JUDGES, budget, lines=True)


READER = JsonReader
