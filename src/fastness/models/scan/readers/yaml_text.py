"""YAML: settings of models, Hydra and NeMo configurations, MLmodel files, recipes. Read as events, never constructed.

Tells tags that make an unsafe loader build Python objects (`!!python/…`) or that HyperPyYAML runs (`!new:`, `!apply:`),
documents that explode when aliases are written out, and what keys mean to loaders (`configs`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import unquote

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.configs import tell_config
from fastness.models.scan.facts import Fact, FactKind, Look, Told, found, span
from fastness.models.scan.rules import MAPS, undecided
from fastness.models.scan.texts import NotText, tell_text, whole
from fastness.models.scan.yamls import HUGE, Documents, NotYaml, parse

MALFORMED = undecided(
    "yaml-malformed", "A YAML file that is not YAML",
    "What cannot be parsed cannot be vouched for.", "Correct the file, or write it again with the library that made it.",
)  # fmt: skip
BOMB = Rule(
    "yaml-bomb", "A small YAML file that becomes very large", Severity.MEDIUM,
    "Loading it writes out its aliases and fills the memory of the machine.",
    "Do not load it. Settings need no aliases of aliases.", {**MAPS, "cwe": "CWE-776", "atlas": "AML.T0029"},
)  # fmt: skip
TAG = Rule(
    "yaml-tag", "A tag that only some program knows", Severity.MEDIUM,
    "The program that knows it builds an object of its own there; which one is not known here.",
    "Find out which program the file is for, and what it does with the tag.", {**MAPS, "cwe": "CWE-502"},
)  # fmt: skip

LOCAL = Rule(
    "yaml-tag-local", "A tag of some program's own", Severity.LOW,
    "No loader of models knows it; templates of clouds and settings of tools are full of such tags.",
    "Nothing, if the file belongs to such a program.", MAPS,
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, BOMB, TAG, LOCAL)

SUFFIXES = (".yaml", ".yml")
_NAMES = frozenset({"MLmodel", "MLproject", ".condarc", "dvc.lock"})
_CORE = "tag:yaml.org,2002:"
_PLAIN = frozenset("null bool int float binary timestamp omap pairs set str seq map merge value yaml".split())  # noqa: SIM905
_DATA = frozenset("none bool str unicode bytes int long float complex list tuple dict".split())  # noqa: SIM905
_BUILDS = re.compile(r"python/(object/apply|object/new|object|name|module):(.*)", re.DOTALL)
_RUNS = re.compile(r"!(new|name|apply|module):(.*)", re.DOTALL)
_HARMLESS_LOCAL = frozenset({"!ref", "!copy", "!tuple", "!PLACEHOLDER"})
_LOCAL = re.compile(r"!([A-Za-z][A-Za-z0-9_-]{0,60})(?:::[A-Za-z0-9_]{1,60})?")
_ACTING = re.compile(
    r"py|eval|exec|call|import|includ|inherit|func|lambda|object|obj|class|module|env|cmd|command|shell|bash|sh|script|code|run|new|name|apply|partial|load|file|read"
    r"|path|url|http|fetch|download|pickle|ruby|php|perl|java|js|instance|factory|build|create|construct|make|get|type|init|secret|vault|format|template|jinja|system|open",
    re.IGNORECASE,
)
_CLOUD = frozenset("Ref Sub GetAtt GetAZs Join If FindInMap Base64 Cidr ImportValue Select Split Transform And Equals Not Or Condition Length ToJsonString".split())  # noqa: SIM905  # fmt: skip
"""Of CloudFormation."""


@dataclass(frozen=True)
class YamlReader:
    """Reads YAML files."""

    name: ClassVar[str] = "yaml"
    suffixes: ClassVar[tuple[str, ...]] = SUFFIXES

    def claims(self, look: Look) -> bool:
        """By the name."""
        return look.named(*SUFFIXES, ".dvc") or re.split(r"[/\\!]", look.name)[-1] in _NAMES

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """Tags, what keys hold that matters, and what any text may hold.

        Raises:
            TooLarge: it is longer than any configuration.
        """
        budget.require("header_bytes", source.size)
        try:
            yield from tell_text(source)
            documents = parse(whole(source).removeprefix("\ufeff"))
        except NotText:
            return
        except NotYaml as error:
            yield found(MALFORMED, source.name, 0, str(error))
            return
        yield from _tell(source.name, documents, budget)
        yield span(source.name, 0, source.size)


def _tell(name: str, documents: Documents, budget: Budget) -> Iterator[Told]:
    if documents.written_out > HUGE:
        yield found(BOMB, name, 0, f"more than {HUGE} nodes when its aliases are written out")
    for tag, value, line in documents.tags:
        budget.spend("facts")
        yield from _tag(name, tag, value, line)
    for tree in documents.trees:
        for item in tell_config(name, tree):
            budget.spend("facts")
            yield item


def _tag(name: str, tag: str, value: str, line: int) -> Iterator[Told]:
    tag = unquote(tag)
    kind = tag.removeprefix(_CORE)
    if tag.startswith(_CORE) and (
        kind in _PLAIN or (kind.startswith("python/") and kind.removeprefix("python/") in _DATA)
    ):
        return
    builds, runs = _BUILDS.match(kind), _RUNS.match(tag)
    if builds is not None:
        named = builds[2] or value
        yield Fact(FactKind.CLASS, name, 0, named if "." in named else f"builtins.{named}", {"vocabulary": "yaml"})
    elif runs is not None:
        yield Fact(FactKind.CLASS, name, 0, runs[2], {"vocabulary": "hydra"})
    elif tag.startswith("!include:"):
        yield Fact(FactKind.REFERENCE, name, 0, tag.removeprefix("!include:"))
    elif tag not in _HARMLESS_LOCAL:
        yield found(LOCAL if _is_plain(tag) else TAG, name, 0, f"the tag {tag[:80]!a} at line {line}")


def _is_plain(tag: str) -> bool:
    """Whether a tag is some program's own, and no word of it says that it acts."""
    local = _LOCAL.fullmatch(tag)
    return local is not None and (local[1] in _CLOUD or not _ACTING.search(local[1]))


READER = YamlReader
