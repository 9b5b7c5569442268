"""TorchServe's archives: a manifest that names a handler, a saved model and code, and workflows of several.

The handler is Python that the server imports when it loads the model, and so is the file of the model's class.

Source: TorchServe 0.12, `model-archiver/model_archiver/model_packaging_utils.py` and `ts/model_loader.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from fastness.core.errors import TooLarge
from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.configs import Pairs
from fastness.models.scan.entries import shown
from fastness.models.scan.facts import Fact, FactKind, found
from fastness.models.scan.jsons import NotJson, parse
from fastness.models.scan.rules import MAPS, undecided

MALFORMED = undecided(
    "torchserve-malformed", "A model archive whose manifest is not understood",
    "What the server would run cannot be told.", "Pack the model again with torch-model-archiver.",
)  # fmt: skip
HANDLER = Rule(
    "torchserve-handler", "A handler that is not in the archive", Severity.MEDIUM,
    "The server imports it from wherever it finds a module of that name.",
    "Pack the handler with the model, or use one of TorchServe's own.", {**MAPS, "cwe": "CWE-829"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, HANDLER)

_MANIFESTS = ("MAR-INF/MANIFEST.json", "WAR-INF/MANIFEST.json")
_OWN = frozenset({
    "image_classifier", "image_segmenter", "object_detector", "text_classifier", "text_handler", "vision_handler",
    "base_handler", "micro_batching", "request_envelope", "dali_image_classifier",
})  # fmt: skip
_CODE = ("handler", "modelFile")
_FILES = ("serializedFile", "requirementsFile", "configFile", "specFile")
_SOURCE = 1 << 20


@dataclass(frozen=True)
class TorchServeLayout:
    """Knows what a manifest names."""

    name: ClassVar[str] = "torchserve"
    suffixes: ClassVar[tuple[str, ...]] = (".mar", ".war")

    def claims(self, bundle: Bundle) -> bool:
        """By the manifest."""
        return any(path in bundle for path in _MANIFESTS)

    def reader(self, path: str, bundle: Bundle) -> str:
        """Python for what the server imports, requirements for what it installs."""
        named = _named(bundle)
        if path in {_file(named[key], bundle) for key in _CODE if key in named}:
            return "python"
        return "requirements" if path == named.get("requirementsFile") else ""

    def read(self, bundle: Bundle, budget: Budget) -> Iterator[Fact | Finding]:
        """The code that the server runs, and the files that it reads."""
        del budget
        named = _named(bundle)
        if not named:
            yield found(MALFORMED, bundle.name, 0, "the manifest names no model")
        for key in _CODE:
            if key in named:
                yield from _code(bundle, key, named[key])
        for key in _FILES:
            if key in named:
                yield Fact(FactKind.REFERENCE, bundle.name, 0, named[key])


def _code(bundle: Bundle, key: str, value: str) -> Iterator[Fact | Finding]:
    path = _file(value, bundle)
    if path:
        detail: dict[str, str | int] = {"language": "python", "runs": "load"}
        try:
            detail["text"] = bundle.text(path, _SOURCE).decode("utf-8", "replace")
        except TooLarge:
            detail["reaches"] = "unknown"
        yield Fact(FactKind.CODE, bundle.source(path).name, 0, f"the {key} {path}", detail)
    elif value not in _OWN:
        yield found(HANDLER, bundle.name, 0, f"the {key} is {shown(value)}")


def _file(value: str, bundle: Bundle) -> str:
    """The file that a handler names, which may be a module, or a function of one; empty for none."""
    name = value.partition(":")[0]
    candidates = (name, f"{name}.py", name.rpartition("/")[2], f"{name.replace('.', '/')}.py")
    return next((path for path in candidates if path in bundle), "")


@lru_cache(maxsize=2)
def _named(bundle: Bundle) -> dict[str, str]:
    """What the manifest says of the model, or the workflow."""
    named: dict[str, str] = {}
    for path in _MANIFESTS:
        if path not in bundle:
            continue
        try:
            tree = parse(bundle.text(path)).tree
        except (NotJson, TooLarge):
            continue
        if isinstance(tree, Pairs):
            inner = [value for key, value in tree.members if key in {"model", "workflow"} and isinstance(value, Pairs)]
            named |= {key: value for one in inner for key, value in one.members if isinstance(value, str)}
    return named


LAYOUT = TorchServeLayout
