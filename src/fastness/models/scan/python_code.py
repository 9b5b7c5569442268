"""What Python source reaches, read from its syntax tree and never run: dangerous functions, when, and which modules.

Names are followed through `import … as` and simple assignment. Misses: names computed from data; therefore code is never
vouched for, and this only tells bad code from unknown code. Cost: linear in the source.
"""

from __future__ import annotations

import ast
import json
import re
import unicodedata
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path

from fastness.models.scan.facts import Detail
from fastness.models.scan.machine import catalogue

UNICODE = unicodedata.unidata_version
"""Python's parser asks for the tables of names with letters of other scripts; they are there before a sandbox closes."""
LONGEST = 2 << 20
MOST_TOKENS = 100_000
"""A syntax tree takes up to a kilobyte a token; the largest modules of transformers have half as many."""
_TOKEN = re.compile(r"\w+|[^\w\s]")
IMPORT, CALL = "import", "call"


@dataclass(frozen=True, slots=True)
class Reach:
    """What source reaches, by dotted name, in the order in which it stands there.

    Attributes:
        at_import: dangerous functions that importing the module calls or hands on.
        in_calls: those within functions, methods and `if __name__ == "__main__"`.
        imports: modules it imports, relative ones with their dots.
        problem: why it could not be read; then the rest is empty.
    """

    at_import: tuple[str, ...] = ()
    in_calls: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    problem: str = ""

    def detail(self, runs: str) -> dict[str, Detail]:
        """What a CODE fact says of it. `runs`: when it does: on `load`, in `use`, or `never`."""
        when, names = ("import", self.at_import) if self.at_import else ("call", self.in_calls)
        return {"language": "Python", "runs": runs, "reaches": " ".join(names), "when": when}


DATA = Path(__file__).with_name("python_names.json")
_OS_NAMES = ("os", "posix", "nt")
_HARMLESS = re.compile(
    r"[A-Z0-9_]+|\w*(?:Error|Exception|Expired)|Completed\w+|dumps?|Pickler|c_\w+|sizeof|byref|addressof|Structure|Union"
    r"|gethostname|getfqdn|timeout|list2cmdline"
)
_LEFT_TO_LISTS = frozenset({"os", "builtins", "operator", "functools", "torch", "numpy", "sys", "joblib", "pandas"})
_PLAIN_BUILTINS = frozenset({"eval", "exec", "compile", "__import__", "breakpoint"})
_ANNOTATIONS = frozenset({"annotation", "returns"})


def reach_of(text: str) -> Reach:
    """What the source reaches. Source that Python cannot parse has a `problem`."""
    if len(text) > LONGEST:
        return Reach(problem=f"more than {LONGEST} characters")
    if len(text) > MOST_TOKENS and sum(1 for _ in islice(_TOKEN.finditer(text), MOST_TOKENS + 1)) > MOST_TOKENS:
        return Reach(problem=f"more than {MOST_TOKENS} words and marks")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Reach(problem=f"not Python: {type(error).__name__}")
    walk = _Walk()
    walk.block(tree)
    return Reach(tuple(walk.found[IMPORT]), tuple(walk.found[CALL]), tuple(walk.imports))


@cache
def _names(group: str) -> frozenset[str]:
    return frozenset(json.loads(DATA.read_bytes())[group])


def is_hard(path: str) -> bool:
    """Whether a dangerous function starts programs, runs text as code, connects or deletes: no model needs that."""
    module, _, name = path.rpartition(".")
    return (
        path in _names("hard")
        or path in _names("hidden")
        or module in _names("hard_modules")
        or (module in _OS_NAMES and name in _names("os_runs"))
    )


def is_dangerous(path: str) -> bool:
    """Whether source that reaches `path`, such as `os.system`, is dangerous."""
    module, _, name = path.rpartition(".")
    if path in _names("hard") or path in _names("soft"):
        return True
    if module in _OS_NAMES:
        return name in _names("os_runs") or name in _names("os_files")
    if module.partition(".")[0] in _names("modules"):
        return not _HARMLESS.fullmatch(name)
    return module not in _LEFT_TO_LISTS and (module, name) in catalogue().dangerous


@dataclass(slots=True)
class _Walk:
    """The state of one reading: what names stand for, and what was met."""

    names: dict[str, str] = field(default_factory=dict)
    imports: dict[str, None] = field(default_factory=dict)
    found: dict[str, dict[str, None]] = field(default_factory=lambda: {IMPORT: {}, CALL: {}})

    def block(self, tree: ast.AST) -> None:
        """Walk without recursion: source may be nested as deep as Python's parser allows."""
        waiting: list[tuple[ast.AST, str]] = [(tree, IMPORT)]
        while waiting:
            node, when = waiting.pop()
            self._meet(node, when)
            waiting.extend(reversed(list(_children(node, when))))

    def _meet(self, node: ast.AST, when: str) -> None:
        if isinstance(node, ast.Import):
            self._import(node)
        elif isinstance(node, ast.ImportFrom):
            self._import_from(node, when)
        elif isinstance(node, ast.Assign):
            self._assign(node)
        elif isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            self._name(node, when)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in _names("hidden"):
            self.found[when][node.value] = None

    def _assign(self, node: ast.Assign) -> None:
        path = self._path(node.value)
        for target in node.targets if path else ():
            if isinstance(target, ast.Name):
                self.names[target.id] = path

    def _import(self, node: ast.Import) -> None:
        for alias in node.names:
            first = alias.name.partition(".")[0]
            self.imports[alias.name] = None
            self.names[alias.asname or first] = alias.name if alias.asname else first

    def _import_from(self, node: ast.ImportFrom, when: str) -> None:
        module = "." * node.level + (node.module or "")
        for alias in node.names:
            self.imports[module if node.module else module + alias.name] = None
            path = f"{node.module}.{alias.name}" if not node.level else ""
            if alias.name != "*":
                self.names[alias.asname or alias.name] = path
            elif node.module in _OS_NAMES or node.module in _names("modules"):
                self.found[when][path] = None

    def _name(self, node: ast.Attribute | ast.Name, when: str) -> None:
        if isinstance(node, ast.Attribute) and node.attr in _names("hidden"):
            self.found[when][node.attr] = None
        path = self._path(node)
        if path and is_dangerous(path):
            self.found[when][path] = None

    def _path(self, node: ast.AST) -> str:
        """The dotted name that an expression stands for, or an empty text."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            first = self.names.get(node.id, f"builtins.{node.id}" if node.id in _PLAIN_BUILTINS else "")
            return ".".join([first, *reversed(parts)]) if first else ""
        module = _imported(node)
        return ".".join([module, *reversed(parts)]) if module and parts else ""


def _imported(node: ast.AST) -> str:
    """The module that `__import__("…")` or `import_module("…")` gives."""
    if not isinstance(node, ast.Call) or len(node.args) < 1 or not isinstance(node.args[0], ast.Constant):
        return ""
    called = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
    return str(node.args[0].value) if called in {"__import__", "import_module"} else ""


def _children(node: ast.AST, when: str) -> Iterator[tuple[ast.AST, str]]:
    """The parts of a node that can run, each with when it runs."""
    later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or (
        isinstance(node, ast.If) and _asks_for_main(node.test)
    )
    for name, value in ast.iter_fields(node):
        if name in _ANNOTATIONS:
            continue
        within = CALL if later and name == "body" else when
        yield from (
            (part, within) for part in (value if isinstance(value, list) else [value]) if isinstance(part, ast.AST)
        )


def _asks_for_main(test: ast.expr) -> bool:
    return (
        isinstance(test, ast.Compare)
        and isinstance(test.left, ast.Name)
        and test.left.id == "__name__"
        and len(test.ops) == 1
        and isinstance(test.ops[0], ast.Eq)
    )
