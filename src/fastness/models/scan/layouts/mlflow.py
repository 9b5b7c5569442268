"""MLflow models: what the MLmodel file names, which loading imports, unpickles or reads.

The loader module and everything in the code paths can be imported by loading the model, unasked. Pickles, environments and
data are read by their own readers. Source: MLflow 3.17, `mlflow/models/model.py`, `mlflow/pyfunc/__init__.py`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Finding, Rule, Severity
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.configs import Pairs, Tree, inner
from fastness.models.scan.facts import Fact, FactKind, found
from fastness.models.scan.python_code import LONGEST, reach_of
from fastness.models.scan.rules import MAPS
from fastness.models.scan.yamls import NotYaml, parse

MISSING = Rule(
    "mlflow-missing-part", "A file that the MLmodel file names is missing", Severity.MEDIUM,
    "The model is incomplete; what takes the file's place was not scanned.",
    "Fetch the missing file, and scan the folder again.", {**MAPS, "cwe": "CWE-829"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (MISSING,)

_FILES = frozenset({"python_model", "model_path", "pickled_model", "model_data", "data", "code", "model_code_path", "path", "conda",
                    "virtualenv", "config", "artifact", "tokenizer", "components"})  # fmt: skip
_NEEDED = frozenset({"python_model", "pickled_model", "model_code_path"})
_CODE_PATHS = frozenset({"code", "model_code_path"})
_PLAIN = re.compile(r"[\w.-]+(?:/[\w.-]+)*")
_ESCAPES = re.compile(r"[/\\~]|[A-Za-z]:[/\\]|(?:.*[/\\])?\.\.(?:[/\\]|$)")


@dataclass(frozen=True)
class MlflowLayout:
    """Reads folders and archives of MLflow models."""

    name: ClassVar[str] = "mlflow"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, bundle: Bundle) -> bool:
        """By an MLmodel file, wherever it stands."""
        return bool(bundle.named("MLmodel"))

    def reader(self, path: str, bundle: Bundle) -> str:
        """MLmodel is YAML."""
        del bundle
        return "yaml" if path.rpartition("/")[2] == "MLmodel" else ""

    def read(self, bundle: Bundle, budget: Budget) -> Iterator[Fact | Finding]:
        """Code that loading imports, and files that lie elsewhere or are missing.

        Raises:
            TooLarge: an MLmodel file is longer than such files are.
        """
        del budget
        for path in bundle.named("MLmodel"):
            try:
                documents = parse(bundle.text(path).decode("utf-8", "replace"))
            except NotYaml:
                continue  # the reader of the file says so
            for tree in documents.trees:
                yield from _model(bundle, path, tree)


def _model(bundle: Bundle, path: str, tree: Tree) -> Iterator[Fact | Finding]:
    root = posixpath.dirname(path)
    texts = [(key, value) for key, value in _members(tree) if isinstance(value, str)]
    for key, value in texts:
        if key in _FILES and _ESCAPES.match(value):
            yield Fact(FactKind.REFERENCE, bundle.source(path).name, 0, value)
        elif key in _NEEDED and _PLAIN.fullmatch(value) and not _holds(bundle, posixpath.join(root, value)):
            yield found(MISSING, bundle.name, 0, f"{key} is {value[:80]!a}")
    yield from _code_files(bundle, root, texts)


def _code_files(bundle: Bundle, root: str, texts: list[tuple[str, str]]) -> Iterator[Fact]:
    """The loader module, and all of the code paths, which are importable while the model is loaded."""
    folders = [posixpath.normpath(posixpath.join(root, value)) for key, value in texts if key in _CODE_PATHS]
    modules = [value.replace(".", "/") for key, value in texts if key == "loader_module"]
    own = {posixpath.join(folder, module) for folder in (root, *folders) for module in modules}
    for file in bundle:
        is_loader = file.removesuffix(".py").removesuffix("/__init__") in own
        if file.endswith(".py") and (is_loader or any(_within(file, folder) for folder in folders)):
            yield _code(bundle, file)


def _members(tree: Tree) -> Iterator[tuple[str, Tree]]:
    waiting, seen = [tree], set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, Pairs | list) and id(node) not in seen:
            seen.add(id(node))
            if isinstance(node, Pairs):
                yield from node.members
            waiting.extend(inner(node))


def _holds(bundle: Bundle, path: str) -> bool:
    return any(_within(file, posixpath.normpath(path)) for file in bundle)


def _within(file: str, folder: str) -> bool:
    return folder in {file, "."} or file.startswith(f"{folder}/")


def _code(bundle: Bundle, path: str) -> Fact:
    source = bundle.source(path)
    reach = reach_of(source.read_at(0, min(source.size, LONGEST)).decode("utf-8", "replace"))
    return Fact(FactKind.CODE, source.name, 0, "code that loading the model imports", reach.detail("load"))


LAYOUT = MlflowLayout
