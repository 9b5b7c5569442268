"""Plain text that lies in model repositories: cards, licences, vocabularies, tables, settings, templates, web pages.

Claimed by name only, for any bytes may look like text. Nothing here runs by loading a model; what a text may hide in
itself is told, a template is judged as one, and so is a trigger that a model card hides from people.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import Fact, FactKind, Look, Told, found, span
from fastness.models.scan.rules import undecided
from fastness.models.scan.texts import INVISIBLE, NotText, tell_text, whole

NOT_TEXT = undecided(
    "text-not-text", "A text file that holds no text",
    "What cannot be read cannot be vouched for.", "Find out what the file is, and name it that.",
)  # fmt: skip

RULES: tuple[Rule, ...] = (INVISIBLE, NOT_TEXT)

TEMPLATES = (".jinja", ".jinja2", ".j2")
SUFFIXES = (
    ".txt", ".text", ".md", ".markdown", ".mdx", ".rst", ".log", ".cfg", ".ini", ".toml", ".conf", ".properties", ".env",
    ".csv", ".tsv", ".jsonl", ".ndjson", ".merges", ".vocab", ".bpe", ".codes", ".tiktoken", ".lst", ".labels", ".names", ".lex", ".dict",
    ".html", ".htm", ".css", ".js", ".mjs", ".ts", ".tex", ".bib", ".bibtex", ".cff", ".lock", ".proto", ".gitattributes",
    ".gitignore", ".gitmodules", ".gitkeep", ".dockerignore", ".editorconfig", ".in", ".template", ".prompt", ".srt", ".vtt",
    ".cpp", ".cc", ".c", ".h", ".hpp", ".cu", ".cuh", ".rs", ".go", ".java", ".swift", ".kt", ".cmake", ".mk", ".typed",
    *TEMPLATES,
)  # fmt: skip
_NAMES = re.compile(
    r"(?:[\w.+-]{1,80}[_.-]|[0-9]{1,3})?(?:readme|licen[cs]e|notice|copying|authors|contributors|contributing|changelog|changes|citation|security|version|vocab"
    r"|merges|codeowners|dockerfile|makefile|modelfile|procfile|manifest|usage_policy|use_policy|acknowledg\w*|third\w*"
    r"|record|metadata|wheel|top_level|entry_points|installer|requested)(?:[._-][\w.-]*)?",
    re.IGNORECASE,
)
_BINARY = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".onnx", ".h5", ".safetensors", ".gguf", ".ckpt", ".npy", ".npz", ".json",
           ".yaml", ".yml", ".py", ".zip", ".tar", ".gz", ".model", ".msgpack", ".joblib", ".xml", ".pb", ".sh", ".png", ".jpg",
           ".db", ".dat", ".data", ".whl", ".pdf", ".jsonl", ".keras", ".tflite", ".nemo", ".mar", ".parquet", ".ipynb")  # fmt: skip


@dataclass(frozen=True)
class PlainTextReader:
    """Reads files that are text by their names."""

    name: ClassVar[str] = "text"
    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".md", ".rst", *TEMPLATES)

    def claims(self, look: Look) -> bool:
        """By the name."""
        last = re.split(r"[/\\!]", look.name)[-1]
        return look.named(*SUFFIXES) or (_NAMES.fullmatch(last) is not None and not look.named(*_BINARY))

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """What the text holds that matters.

        Raises:
            TooLarge: a template is longer than the budget allows.
        """
        try:
            yield from tell_text(source)
        except NotText as problem:
            if source.name.lower().endswith(self.suffixes):
                yield found(NOT_TEXT, source.name, 0, str(problem))
            return
        if source.name.lower().endswith(TEMPLATES):
            budget.require("header_bytes", source.size)
            yield Fact(FactKind.TEMPLATE, source.name, 0, "the template", {"text": whole(source)})
        yield span(source.name, 0, source.size)


READER = PlainTextReader
