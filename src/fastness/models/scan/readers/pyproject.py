"""TOML files that ask for packages: pyproject.toml, Pipfile, and the locks of uv, Poetry and pylock.toml.

Source: PyPA specifications, "pyproject.toml" and "pylock.toml"; PEP 735 (dependency groups); the documentation of uv and
Poetry for their tables. Cost: linear; at most 16 MiB.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import Fact, Look, Told, found, span
from fastness.models.scan.readers.requirements import decoded
from fastness.models.scan.requirements import demand, elsewhere, option, secrets
from fastness.models.scan.rules import MAPS, undecided

MALFORMED = undecided(
    "pyproject-malformed", "A project file that is not understood",
    "What an installer would make of it is not known.", "Correct the file.",
)  # fmt: skip
OWN_BACKEND = Rule(
    "pyproject-own-backend", "A project that builds itself", Severity.MEDIUM,
    "Installing it runs a build program that lies in the same folder.",
    "Read that program, or install only what is needed to load the model.", {**MAPS, "cwe": "CWE-829"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, OWN_BACKEND)

_NAMES = re.compile(r"pyproject\.toml|Pipfile|uv\.lock|poetry\.lock|pylock(?:\.[\w-]+)?\.toml")


@dataclass(frozen=True)
class PyprojectReader:
    """Reads project files and locks."""

    name: ClassVar[str] = "pyproject"
    suffixes: ClassVar[tuple[str, ...]] = ("pyproject.toml",)

    def claims(self, look: Look) -> bool:
        """By the name."""
        return _NAMES.fullmatch(re.split(r"[/!\\]", look.name)[-1]) is not None

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """A PACKAGE fact for each demand, source and locked package.

        Raises:
            TooLarge: the file is longer than the budget's bound of headers, or asks for too much.
        """
        budget.require("header_bytes", source.size)
        text = decoded(source.read_at(0, source.size))
        try:
            whole = tomllib.loads(text or "")
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            yield found(MALFORMED, source.name, 0, f"not TOML: {type(error).__name__}")
            return
        if text is None:
            yield found(MALFORMED, source.name, 0, "the file is no text")
            return
        yield span(source.name, 0, source.size)
        yield from secrets(source.name, 0, text)
        if _table(whole, "build-system").get("backend-path"):
            yield found(OWN_BACKEND, source.name, 0, "build-system.backend-path names a folder of its own")
        for fact in (*_standard(source.name, whole), *_tools(source.name, whole), *_locked(source.name, whole)):
            budget.spend("facts")
            yield fact


def _table(value: object, *keys: str) -> dict[str, object]:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _standard(name: str, whole: dict[str, object]) -> Iterator[Told]:
    """The demands that the specification knows."""
    project = _table(whole, "project")
    groups = (*_table(project, "optional-dependencies").values(), *_table(whole, "dependency-groups").values())
    lists = (project.get("dependencies"), _table(whole, "build-system").get("requires"), *groups)
    for text in (item for one in lists for item in _list(one) if isinstance(item, str)):
        fact = demand(name, 0, text)
        yield fact if fact is not None else found(MALFORMED, name, 0, "a demand that is not understood")


def _tools(name: str, whole: dict[str, object]) -> Iterator[Fact]:
    """What Poetry, uv and Pipenv add: demands as tables, and other indexes."""
    poetry = _table(whole, "tool", "poetry")
    tables = [
        _table(poetry, "dependencies"),
        _table(poetry, "dev-dependencies"),
        _table(whole, "packages"),
        _table(whole, "dev-packages"),
    ]
    tables += [_table(group, "dependencies") for group in _table(poetry, "group").values()]
    for table in (*tables, _table(whole, "tool", "uv", "sources")):
        for package, asked in table.items():
            if package != "python":
                yield _asked(name, package, asked)
    sources = (
        *_list(poetry.get("source")),
        *_list(_table(whole, "tool", "uv").get("index")),
        *_list(whole.get("source")),
    )
    for one in sources:
        address = one.get("url") if isinstance(one, dict) else None
        if isinstance(address, str):
            yield option(name, 0, "--index-url", address)
    for key in ("index-url", "extra-index-url", "find-links"):
        value = _table(whole, "tool", "uv").get(key)
        for address in [value] if isinstance(value, str) else _list(value):
            yield option(name, 0, f"--{key}", str(address))


def _asked(name: str, package: str, asked: object) -> Fact:
    table = _table(asked)
    for key, prefix in (("git", "git+"), ("url", ""), ("path", "./")):
        if isinstance(table.get(key), str):
            return elsewhere(name, 0, f"{prefix}{table[key]}", package)
    version = asked if isinstance(asked, str) else str(table.get("version", ""))
    pinned = version if (re.match(r"[=<>!~]", version) and not version.startswith("~")) or not version else ""
    return demand(name, 0, f"{package}{pinned}") or elsewhere(name, 0, "", package)


def _locked(name: str, whole: dict[str, object]) -> Iterator[Fact]:
    """The packages of a lock, each with its version."""
    for one in (*_list(whole.get("package")), *_list(whole.get("packages"))):
        table = _table(one)
        source = _table(table, "source")
        address = next((str(source[key]) for key in ("git", "url", "path") if isinstance(source.get(key), str)), "")
        package, version = str(table.get("name", "")), str(table.get("version", ""))
        if address and source.get("type") not in {"legacy", None}:
            yield elsewhere(
                name, 0, f"git+{address}" if source.get("type") == "git" or "git" in source else address, package
            )
        elif address and "git" in source:
            yield elsewhere(name, 0, f"git+{address}", package)
        elif package and version and (fact := demand(name, 0, f"{package}=={version}")) is not None:
            yield fact


READER = PyprojectReader
