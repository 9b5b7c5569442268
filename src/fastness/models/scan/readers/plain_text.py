"""Plain text that lies in model repositories: cards, licences, vocabularies, tables, settings, templates, web pages.

Claimed by name only, for any bytes may look like text. Nothing here runs by loading a model; what a text may hide in
itself is told, a template is judged as one, and so is a trigger that a model card hides from people.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.errors import TooLarge
from fastness.core.findings import Finding, Rule
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.configs import tell_config, tell_value
from fastness.models.scan.facts import Fact, FactKind, Look, Told, found, span
from fastness.models.scan.readers.json_text import bounded
from fastness.models.scan.rules import undecided
from fastness.models.scan.settings_text import LONGEST, tree_of
from fastness.models.scan.settings_text import SUFFIXES as SETTINGS
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
    ".tmpl", ".tpl", ".mustache", ".hbs", ".jsonnet", ".libsonnet", ".jsonc", ".json5", ".hcl",
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
_DOCUMENTS = (".md", ".markdown", ".mdx", ".rst", ".html", ".htm", ".tex", ".bib")
_CODE = re.compile(
    r"^[ \t]*(`{3,}|~{3,}).*?(?:^[ \t]*\1|\Z)|`[^`\n]{1,300}`|^(?: {4,}|\t)[^\n]*$|\{%-?\s*raw.*?endraw\s*-?%\}",
    re.DOTALL | re.MULTILINE,
)
"""Examples of code within documents, which tell of templates and are none."""
_LONGEST_PROMPT = 1 << 18


@dataclass(frozen=True)
class PlainTextReader:
    """Reads files that are text by their names."""

    name: ClassVar[str] = "text"
    suffixes: ClassVar[tuple[str, ...]] = (".txt", ".md", ".rst", *TEMPLATES)

    def claims(self, look: Look) -> bool:
        """By the name."""
        last = re.split(r"[/\\!]", look.name)[-1]
        return look.named(*SUFFIXES, "config.pbtxt") or (
            _NAMES.fullmatch(last) is not None and not look.named(*_BINARY)
        )

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
        yield from bounded(_meaning(source, budget), budget)
        yield span(source.name, 0, source.size)


def _meaning(source: RandomAccess, budget: Budget) -> Iterator[Fact | Finding]:
    """What the text does in the hands of the program it is for: a template, settings, or a prompt that is a template."""
    name = source.name.lower()
    if name.endswith(TEMPLATES):
        budget.require("header_bytes", source.size)
        yield Fact(FactKind.TEMPLATE, source.name, 0, "the template", {"text": whole(source)})
    elif name.endswith(SETTINGS):
        if source.size > LONGEST:
            raise TooLarge("scan-budget", f"{source.size} bytes, and {LONGEST} are read of settings")
        yield from tell_config(source.name, tree_of(name, whole(source)))
    elif source.size <= _LONGEST_PROMPT:
        text = whole(source)
        yield from tell_value(source.name, _CODE.sub(" ", text) if name.endswith(_DOCUMENTS) else text)


READER = PlainTextReader
