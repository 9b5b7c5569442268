"""Repositories of Hugging Face and their kin: configurations, weights in several files and formats, code, and what git leaves.

The files are read by themselves. Here: shards that an index names and that are missing, weights that stand twice of which
one is a pickle, code that a configuration names although it lies among examples, names that fall together on other
systems, and the folders of git and of downloads, which no loader reads.

Decided: the objects of git and the notes of downloads are no part of the model, and are searched like numbers; git's own
settings and hooks, which run when somebody works in the folder, are looked at; the samples among them, which git never runs, are code that lies aside.
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
from fastness.models.scan.licences import NAME, READ, of_card, of_head, of_text
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

GIT_UNASKED = Rule(
    "repository-git-unasked", "Settings or hooks of git that run a program of the folder", Severity.HIGH,
    "Git runs it when somebody works in the folder, even if only the prompt of a shell asks for the state.",
    "Remove .git before any git command runs there.", {**MAPS, "cwe": "CWE-829", "atlas": "AML.T0011.000"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (MISSING, TWICE, COLLIDES, GIT, GIT_RUNS, GIT_UNASKED)

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
        yield from _licences(bundle)
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
            yield from _git_hook(bundle, path)
        if path.endswith((".git/config", ".git/config.worktree")):
            yield from _git_settings(bundle.name, bundle.source(path).read_at(0, 1 << 20))


_LARGE_FILES = re.compile(
    rb"\s*(?:#.*|command -v git-lfs >/dev/null 2>&1 \|\| \{ (?:printf >&2 \"[^\"$`]*\"|echo >&2)(?: \"[^\"$`]*\")?; exit 2; \}"
    rb"|git lfs [a-z-]+ \"\$@\"|)\s*"
)
_HOOK_TOOLS = re.compile(
    rb"File generated by pre-commit: https://pre-commit\.com|\. \"\$\(dirname (?:-- )?\"\$0\"\)/_/husky\.sh\""
)
_PLAIN_PROGRAM = re.compile(
    rb"[\w.+-]+(?:\s+-[\w-]+)*|store|cache(?:\s.*)?|/usr/(?:local/)?(?:bin|share|lib\w*)/[\w./+-]+"
)


def _git_hook(bundle: Bundle, path: str) -> Iterator[Finding]:
    """A hook, unless it is the one that git-lfs sets up."""
    text = bundle.source(path).read_at(0, 1 << 20)
    if b"git lfs" not in text or not all(_LARGE_FILES.fullmatch(line) for line in text.splitlines()):
        rule = GIT_RUNS if _HOOK_TOOLS.search(text) else GIT_UNASKED
        yield found(rule, bundle.name, 0, f"the hook {path[-80:]!a}")


def _git_settings(name: str, text: bytes) -> Iterator[Finding]:
    for match in _GIT_SETTINGS.finditer(text):
        if _GIT_LFS.search(match[0]):
            continue
        value = (match[1] or b"").strip().strip(b'"')
        runs = value and not _PLAIN_PROGRAM.fullmatch(value)
        yield found(GIT_UNASKED if runs else GIT_RUNS, name, 0, f"the setting {match[0].strip()[:80]!a}")


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


_VENDORED = re.compile(
    r"(?:^|/)(?:third[_-]?party|vendor(?:ed)?|node_modules|external|deps|site-packages|tests?|\.git|licenses?)/",
    re.IGNORECASE,
)
_SOURCES = (".py", ".c", ".cc", ".cpp", ".cu", ".h", ".hpp", ".js", ".ts", ".sh", ".rs", ".go", ".java", ".cuh")
_MOST_HEADS, _HEAD = 300, 3000


def _licences(bundle: Bundle) -> Iterator[Fact]:
    """What the card, the licence and the heads of the code state, where there is more than one statement."""
    stated: dict[tuple[str, str], str] = {}
    for path in [path for path in bundle if not _VENDORED.search(path)][: 10 * _MOST_HEADS]:
        if len(stated) < _MOST_HEADS:
            for statement in _statements(bundle, path):
                stated.setdefault(statement, path)
    for (stands, one), path in stated.items() if len(stated) > 1 else ():
        yield Fact(FactKind.LICENCE, bundle.name, 0, one, {"stands": stands, "of": path})


def _statements(bundle: Bundle, path: str) -> list[tuple[str, str]]:
    """What one file states, each with where it stands: front, text or head."""
    if path.endswith(_SOURCES):
        head = of_head(bundle.source(path).read_at(0, _HEAD).decode("utf-8", "replace"))
        return [("head", head)] if head else []
    if "/" in path or not NAME.fullmatch(path):
        return []
    text = bundle.source(path).read_at(0, READ).decode("utf-8", "replace")
    if path.lower().startswith("readme"):
        return [("front", one) for one in of_card(text) or ()]
    return [("text", of_text(text))]


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
                detail = reach_of(code).detail("use")
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
