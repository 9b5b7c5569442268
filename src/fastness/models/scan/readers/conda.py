"""The environments that MLflow and others save beside a model: conda.yaml, environment.yaml and python_env.yaml.

Only the structure of YAML is taken: no tag makes anything, and an alias is never unfolded. Source: conda documentation,
"Creating an environment file"; MLflow documentation, "python_env.yaml". Cost: linear; at most 1 MiB.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import yaml

from fastness.core.findings import Rule
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.facts import Look, Told, found, span
from fastness.models.scan.readers.requirements import decoded
from fastness.models.scan.requirements import conda_demand, demand, included, option, secrets
from fastness.models.scan.rules import undecided

MALFORMED = undecided(
    "environment-malformed", "An environment file that is not understood",
    "What an installer would make of it is not known.", "Save the environment again with the tool that made it.",
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED,)

_NAME = re.compile(r"(?:conda|environment|python_env|conda_env|conda-env|env)(?:[_.-][\w.-]+)?\.ya?ml", re.IGNORECASE)
_LONGEST = 1 << 20


@dataclass(frozen=True)
class CondaReader:
    """Reads environment files."""

    name: ClassVar[str] = "conda"
    suffixes: ClassVar[tuple[str, ...]] = ("conda.yaml", "python_env.yaml")

    def claims(self, look: Look) -> bool:
        """By the name."""
        return _NAME.fullmatch(re.split(r"[/!\\]", look.name)[-1]) is not None

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """A PACKAGE fact for each demand and channel; nothing for a file that has neither.

        Raises:
            TooLarge: the file asks for too much.
        """
        text = decoded(source.read_at(0, source.size)) if source.size <= _LONGEST else None
        try:
            value = yaml.load(text, Loader=yaml.BaseLoader) if text is not None else None  # noqa: S506 - makes texts, lists and dicts only
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            yield found(MALFORMED, source.name, 0, f"not YAML: {type(error).__name__}")
            return
        if text is None or not isinstance(value, dict):
            yield found(MALFORMED, source.name, 0, "the file is longer than 1 MiB, no text, or no mapping")
            return
        yield span(source.name, 0, source.size)
        yield from secrets(source.name, 0, text)
        for channel in _texts(value.get("channels")):
            yield option(source.name, 0, "channel", channel)
        for asked in (*_texts(value.get("build_dependencies")), *_texts(value.get("dependencies"))):
            budget.spend("facts")
            yield from _demand(source.name, asked, value)
        for entry in value["dependencies"] if isinstance(value.get("dependencies"), list) else ():
            for asked in _texts(entry.get("pip")) if isinstance(entry, dict) else ():
                budget.spend("facts")
                yield from _pip(source.name, asked)


def _texts(value: object) -> list[str]:
    """The texts of a list, which may be what an alias stands for but is never walked deeper."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _demand(name: str, text: str, whole: dict[str, object]) -> Iterator[Told]:
    """Files of MLflow's virtualenv have pip's demands, those of conda conda's."""
    if "build_dependencies" in whole or "python" in whole:
        yield from _pip(name, text)
    else:
        yield conda_demand(name, 0, text)


def _pip(name: str, text: str) -> Iterator[Told]:
    flag, _, value = text.strip().partition(" ")
    if flag in {"-r", "--requirement", "-c", "--constraint"}:
        yield included(name, 0, value.strip())
    elif flag.startswith("-"):
        yield option(name, 0, flag.partition("=")[0], value.strip() or flag.partition("=")[2])
    elif (fact := demand(name, 0, text)) is not None:
        yield fact
    else:
        yield found(MALFORMED, name, 0, "a demand that is not understood")


READER = CondaReader
