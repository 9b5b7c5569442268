"""Repositories of Hugging Face and their kin: configurations, weights in several files and formats, code, and what git leaves.

The files are read by themselves. Here: shards that an index names and that are missing, weights that stand twice of which
one is a pickle, code that a configuration names although it lies among examples, names that fall together on other
systems, and the folders of git and of downloads, which no loader reads.

Decided: the objects of git and the notes of downloads are no part of the model, and are searched like numbers; git's own
settings and hooks, which run when somebody works in the folder, are looked at, the samples among them for review.
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
from fastness.models.scan.jsons import SMALL, NotJson, parse, scan
from fastness.models.scan.python_code import reach_of
from fastness.models.scan.rules import MAPS

MISSING = Rule(
    "repository-missing-part", "A part that an index names is missing", Severity.MEDIUM,
    "The model is incomplete, or its loader fetches the part from elsewhere, where it was not scanned.",
    "Fetch the missing file, and scan the folder again.", {**MAPS, "cwe": "CWE-829"},
)  # fmt: skip
TWICE = Rule(
    "repository-weights-twice", "Weights that stand twice, once as a pickle", Severity.LOW,
    "Loaders differ in which of the two they take, and they need not be equal; only one of them holds no code.",
    "Remove the pickle.", MAPS,
)  # fmt: skip
COLLIDES = Rule(
    "repository-names-collide", "Names that differ in capitals only", Severity.LOW,
    "On many systems one of the files takes the place of the other.", "Rename one of them.", {**MAPS, "cwe": "CWE-178"},
)  # fmt: skip
GIT = Rule(
    "repository-git", "The folder of git lies in the model", Severity.LOW,
    "It holds other versions of the files, which were not scanned; no loader reads it.",
    "Leave .git out of what is stored and deployed.", MAPS,
)  # fmt: skip
GIT_RUNS = Rule(
    "repository-git-runs", "Settings or hooks of git that run programs", Severity.MEDIUM,
    "Git runs them when somebody works in the folder, even if only the prompt of a shell asks for the state.",
    "Remove .git, or read its config and hooks before any git command runs there.", {**MAPS, "cwe": "CWE-829"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (MISSING, TWICE, COLLIDES, GIT, GIT_RUNS)

_SIGNS = frozenset(
    {"config.json", "tokenizer_config.json", "tokenizer.json", "model_index.json", "modules.json", "adapter_config.json",
     "generation_config.json", "preprocessor_config.json", "processor_config.json", "MLmodel", "README.md", "__init__.py"}
)  # fmt: skip
_GIT = re.compile(r"(?:^|/)\.git/")
_GIT_DATA = re.compile(
    r"(?:^|/)\.git/(?:objects|lfs|refs|logs|info|index|packed-refs|HEAD|FETCH_HEAD|ORIG_HEAD|MERGE_HEAD|shallow|description"
    r"|COMMIT_EDITMSG|branches)(?:/|$)"
)
_CACHE = re.compile(
    r"(?:^|/)\.cache/huggingface/.*(?:\.metadata|\.lock|\.gitignore|CACHEDIR\.TAG)$|(?:^|/)\.locks/.*\.lock$"
)
_GIT_SETTINGS = re.compile(
    rb"^\s*(?:fsmonitor|sshcommand|pager|editor|hookspath|askpass|gitproxy|clean|smudge|process|textconv|command|helper"
    rb"|external|uploadpack|receivepack|program|driver|path)\s*=\s*(?!true\b|false\b)(.+)$|^\s*\[\s*(?:include|includeif|alias)",
    re.IGNORECASE | re.MULTILINE,
)
_GIT_LFS = re.compile(rb"git-lfs (?:clean|smudge|filter-process)")
_EMPTY = (
    ".py",
    ".pyi",
    ".gitkeep",
    ".keep",
    ".nojekyll",
    ".typed",
    ".gitignore",
    ".gitattributes",
    ".lock",
    ".txt",
    ".md",
    ".log",
)
_PICKLES = re.compile(
    r"(?:pytorch_model|diffusion_pytorch_model|adapter_model|open_clip_pytorch_model|model)[\w.-]*\.(?:bin|pt|pth|ckpt)"
)
_SAFE = re.compile(r"(?:model|diffusion_pytorch_model|adapter_model|open_clip_model)[\w.-]*\.safetensors")
_ASIDE = re.compile(r"(?:^|/)(?:examples?|tests?|docs?|demos?|notebooks|benchmarks?|\.github)/", re.IGNORECASE)
_MOST = 100


@dataclass(frozen=True)
class RepositoryLayout:
    """Reads folders and archives of models as repositories."""

    name: ClassVar[str] = "repository"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, bundle: Bundle) -> bool:
        """By the names of configurations, or of git's folder."""
        return any(path.rpartition("/")[2] in _SIGNS or _GIT.search(path) for path in bundle)

    def reader(self, path: str, bundle: Bundle) -> str:
        """`raw` for git's data, notes of downloads, and files that are honestly empty."""
        if _GIT_DATA.search(path) or _CACHE.search(path):
            return "raw"
        if path.endswith(_EMPTY) and not bundle.source(path).size:
            return "raw"
        return "text" if path.endswith("/.git/config") or path == ".git/config" else ""

    def read(self, bundle: Bundle, budget: Budget) -> Iterator[Fact | Finding]:
        """What stands between the files.

        Raises:
            TooLarge: an index is longer than the budget allows.
        """
        yield from _git(bundle)
        yield from _collisions(bundle)
        yield from _doubles(bundle)
        for path in bundle:
            if path.endswith(".index.json"):
                yield from _shards(bundle, path, budget)
            elif path.endswith(".json") and bundle.source(path).size <= SMALL and not _GIT.search(path):
                yield from _named_code(bundle, path)


def _git(bundle: Bundle) -> Iterator[Finding]:
    paths = [path for path in bundle if _GIT.search(path)]
    if paths:
        yield found(GIT, bundle.name, 0, f"{len(paths)} files of git")
    for path in paths:
        if "/hooks/" in path and not path.endswith(".sample"):
            yield found(GIT_RUNS, bundle.name, 0, f"the hook {path[-80:]!a}")
        if path.endswith(".git/config"):
            text = bundle.source(path).read_at(0, 1 << 20)
            match = next((one for one in _GIT_SETTINGS.finditer(text) if not _GIT_LFS.search(one[0])), None)
            if match:
                yield found(GIT_RUNS, bundle.name, 0, f"the setting {match[0].strip()[:80]!a}")


def _collisions(bundle: Bundle) -> Iterator[Finding]:
    folded: dict[str, str] = {}
    for path in bundle:
        other = folded.setdefault(path.casefold(), path)
        if other != path:
            yield found(COLLIDES, bundle.name, 0, f"{path[-80:]!a} and {other[-80:]!a}")


def _doubles(bundle: Bundle) -> Iterator[Finding]:
    safe = {posixpath.dirname(path) for path in bundle if _SAFE.fullmatch(posixpath.basename(path))}
    for path in bundle:
        if posixpath.dirname(path) in safe and _PICKLES.fullmatch(posixpath.basename(path)):
            yield found(TWICE, bundle.name, 0, f"{path[-80:]!a} stands beside safetensors")


def _tree(bundle: Bundle, path: str) -> Tree:
    try:
        return parse(bundle.source(path).read_at(0, bundle.source(path).size)).tree
    except NotJson:
        return None  # the reader of the file says so


def _shards(bundle: Bundle, path: str, budget: Budget) -> Iterator[Finding]:
    try:
        tree = scan(bundle.source(path), {"weight_map"}, budget).tree
    except NotJson:
        return  # the reader of the file says so
    maps = [value for key, value in tree.members if key == "weight_map"] if isinstance(tree, Pairs) else []
    names = {text for one in maps if isinstance(one, Pairs) for text in inner(one) if isinstance(text, str)}
    missing = sorted(name for name in names if not bundle.resolve(path, name))
    for name in missing[:_MOST]:
        yield found(MISSING, bundle.name, 0, f"{path[-80:]!a} names {name[:80]!a}")


_MODULE = re.compile(r"(?:[^\s]+--)?([\w/.-]+?)\.[A-Za-z_]\w*")


def _named_code(bundle: Bundle, path: str) -> Iterator[Fact]:
    """Code that a configuration names and that lies where examples lie: it is used, whatever the folder is called."""
    tree = _tree(bundle, path)
    for key, value in tree.members if isinstance(tree, Pairs) else ():
        if key not in {"auto_map", "custom_pipelines"}:
            continue
        for text in _texts(value):
            match = _MODULE.fullmatch(text)
            file = bundle.resolve(path, f"{match[1]}.py") if match else ""
            if file and _ASIDE.search(file):
                source = bundle.source(file)
                code = source.read_at(0, min(source.size, SMALL)).decode("utf-8", "replace")
                reach = reach_of(code)
                names = " ".join(reach.at_import or reach.in_calls)
                detail = {
                    "language": "Python",
                    "runs": "use",
                    "reaches": names,
                    "when": "import" if reach.at_import else "call",
                }
                yield Fact(FactKind.CODE, source.name, 0, f"the module that {key} names", detail)


def _texts(value: Tree) -> Iterator[str]:
    waiting = [value]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            yield node
        elif isinstance(node, Pairs | list):
            waiting.extend(inner(node))


LAYOUT = RepositoryLayout
