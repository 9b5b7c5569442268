"""Review the classes that the scanner lets a pickle make: machine/callables.json against the libraries' own source.

    callables.py --site DIR review PACKAGE [--below MODULE:CLASS ...]   a verdict on each class of a library
    callables.py --site DIR groups PACKAGE [--below ...] [--source TEXT]   the same as groups for callables.json
    callables.py --site DIR check                      every listed class again, where its library is installed

Nothing is imported: classes are found in the syntax trees of the files below DIR (a site-packages folder). Of each class, whatever a pickle
can make Python run without calling the class is read: the hooks of making, filling, comparing, hashing, storing into and deleting an object,
in the class, its bases and its metaclass, and all that these call, as far as it is found. A class is

    state     all of it was read, and it only moves values about
    sink      something in it runs code, opens a file, talks, loads or looks names up
    doubt     something in it was not read, or calls what stands in a value
    compiled  there is no Python source of the class or of one of its bases

Only `state` may be listed without a person's reading. A group that a person has read says so under `read`; functions that a person has read, and
that are therefore not followed, stand under `read` at the top of callables.json.
What the review misses: code that runs when a module is imported, and what methods do when the model is used.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "src" / "fastness" / "models" / "scan" / "machine" / "callables.json"
VERDICTS = ("state", "doubt", "compiled", "sink")
DEEPEST = 8

HOOKS = (
    "__setstate__", "__setattr__", "__delattr__", "__getattr__", "__getattribute__", "__new__", "__del__", "__hash__", "__eq__", "__setitem__",
    "__iadd__", "append", "extend", "add", "__missing__", "__set__", "__get__",
)  # fmt: skip
METHODS_OF_BUILTINS = frozenset({
    "append", "extend", "add", "discard", "remove", "clear", "copy", "count", "endswith", "format", "get", "index", "insert", "items", "join", "keys",
    "lower", "lstrip", "pop", "popitem", "replace", "reverse", "rstrip", "setdefault", "sort", "split", "startswith", "strip", "union", "update", "upper",
    "values", "astype", "reshape", "tolist", "fill", "view", "intersection", "difference", "issubset", "__new__", "__init__", "__setattr__",
    "__getattribute__", "__delattr__", "__hash__", "__eq__", "__setitem__", "__getitem__", "__contains__", "__setstate__", "__getattr__", "__len__",
    "setflags", "ravel", "rsplit", "partition", "isidentifier", "numel", "size", "dim",
})  # fmt: skip
HARMLESS_BUILTINS = frozenset({
    "abs", "all", "any", "bool", "bytearray", "bytes", "callable", "dict", "enumerate", "float", "frozenset", "hasattr", "hash", "id", "int", "isinstance",
    "issubclass", "iter", "len", "list", "max", "min", "next", "object", "print", "property", "range", "repr", "reversed", "round", "set", "sorted",
    "str", "sum", "super", "tuple", "zip", "setattr", "delattr", "type", "vars", "slice", "complex", "divmod", "ord", "chr", "staticmethod", "NotImplemented",
})  # fmt: skip
SINKS = (
    "os", "posix", "subprocess", "socket", "ssl", "ctypes", "pickle", "_pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "importlib", "imp",
    "runpy", "shutil", "urllib", "urllib3", "requests", "httpx", "http", "tempfile", "pathlib.Path", "io.open", "codecs.open", "gzip", "bz2", "lzma", "zipfile",
    "tarfile", "multiprocessing", "threading.Thread", "code", "pdb", "operator.attrgetter", "operator.methodcaller", "functools.partial", "builtins.exec",
    "builtins.eval", "builtins.compile", "builtins.open", "builtins.__import__", "builtins.getattr", "builtins.globals", "builtins.input", "builtins.locals",
    "builtins.breakpoint", "builtins.memoryview", "builtins.map", "builtins.filter", "joblib.load", "joblib.dump", "joblib.Memory", "numpy.load", "numpy.save",
    "numpy.memmap", "numpy.fromfile", "numpy._core.multiarray.fromfile", "numpy._core.memmap", "numpy.core.multiarray.fromfile", "torch.load", "torch.save", "torch.hub", "torch.ops.load_library", "torch.jit.load", "pandas.eval",
    "pandas.read_pickle", "pandas.read_csv", "pkgutil", "inspect.getattr_static", "webbrowser", "sys.modules", "sys._getframe", "atexit", "signal",
    "platform.popen", "concurrent.futures", "asyncio", "yaml", "sqlite3", "mmap", "warnings.catch_warnings.__exit__",
)  # fmt: skip
HARMLESS = (
    "abc", "collections", "copy.copy", "enum", "itertools", "math", "numbers", "re", "time.time", "typing", "typing_extensions", "types.MappingProxyType",
    "warnings", "weakref", "threading.Lock", "threading.RLock", "functools.lru_cache", "functools.wraps", "functools.cache", "functools.cached_property",
    "functools.total_ordering", "string", "datetime", "decimal", "fractions", "uuid.UUID", "contextlib.suppress", "operator.itemgetter", "dataclasses",
    "packaging.version", "inspect.isclass", "inspect.isfunction", "numpy.array", "numpy.asarray", "numpy.zeros", "numpy.ones", "numpy.empty", "numpy.dtype",
    "numpy.arange", "numpy.concatenate", "numpy.ndarray", "numpy.isnan", "numpy.int64", "numpy.float64", "numpy.random.RandomState", "logging.getLogger",
    "inspect.isroutine", "textwrap.dedent", "copy.deepcopy", "numpy._core.multiarray", "numpy._core.umath", "numpy._core.numeric", "numpy._core.array",
    "numpy._core.asarray", "numpy._core.asanyarray", "numpy._core.dtype", "numpy._core.zeros", "numpy._core.ndarray", "torch.tensor", "torch.is_tensor",
    "torch.empty", "torch.get_default_dtype", "torch.is_grad_enabled",
)  # fmt: skip
BASES = frozenset({
    "abc.ABC", "collections.OrderedDict", "collections.UserDict", "collections.UserList", "collections.defaultdict", "collections.deque",
    "collections.namedtuple", "enum.Enum", "enum.Flag", "enum.IntEnum", "enum.IntFlag", "enum.StrEnum", "typing.Generic", "typing.NamedTuple",
    "typing.Protocol", "typing.TypedDict", "typing_extensions.Protocol", "typing_extensions.TypedDict", "numbers.Number",
})  # fmt: skip
METACLASSES = frozenset({"abc.ABCMeta", "enum.EnumMeta", "enum.EnumType"})
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Module:
    """One parsed file: what it defines, and what its names stand for."""

    name: str
    package: bool
    definitions: dict[str, Definition] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)
    stars: list[str] = field(default_factory=list)
    values: dict[str, ast.expr] = field(default_factory=dict)

    def absolute(self, node: ast.ImportFrom) -> str:
        """The module that a `from` names."""
        if not node.level:
            return node.module or ""
        parts = self.name.split(".")
        kept = parts[: len(parts) - node.level + self.package]
        return ".".join([*kept, *([node.module] if node.module else [])])

    def take(self, nodes: list[ast.stmt], *, otherwise: bool = False) -> None:
        """Note definitions and imports, also within `if` and `try`; what stands in for a missing library comes second."""
        for node in nodes:
            if isinstance(node, Definition):
                self._bind(self.definitions, {node.name: node}, otherwise=otherwise)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                self._bind(self.imports, imported(self, node), otherwise=otherwise)
                self.stars += (
                    [self.absolute(node)] if isinstance(node, ast.ImportFrom) and node.names[0].name == "*" else []
                )
            elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                self._bind(self.values, {node.targets[0].id: node.value}, otherwise=otherwise)
            elif isinstance(node, ast.If | ast.Try):
                self.take(node.body, otherwise=otherwise)
                for part in (node.orelse, *(handler.body for handler in getattr(node, "handlers", ()))):
                    self.take(part, otherwise=True)

    def _bind(self, kind: dict[str, Any], found: dict[str, Any], *, otherwise: bool) -> None:
        bound = {*self.definitions, *self.imports, *self.values} if otherwise else set()
        kind.update({name: value for name, value in found.items() if name not in bound})


def imported(module: Module, node: ast.Import | ast.ImportFrom) -> dict[str, str]:
    """Local names and what they stand for."""
    if isinstance(node, ast.Import):
        return {
            name.asname or name.name.partition(".")[0]: name.name if name.asname else name.name.partition(".")[0]
            for name in node.names
        }
    source = module.absolute(node)
    return {name.asname or name.name: f"{source}.{name.name}" for name in node.names if name.name != "*"}


@dataclass(frozen=True)
class Known:
    """A definition, and where it stands."""

    module: Module
    name: str
    node: Definition

    @property
    def path(self) -> str:
        """Module and name."""
        return f"{self.module.name}.{self.name}"


class Library:
    """The files below some folders, parsed when they are asked for."""

    def __init__(self, roots: list[Path]) -> None:
        self.roots = roots
        groups = json.loads(DATA.read_bytes()).get("read", ())
        self.read_by_hand = frozenset(name for group in groups for name in group["names"])
        self._modules: dict[str, Module | None] = {}

    def module(self, name: str) -> Module | None:
        """The module of that name, if it is Python source."""
        if name not in self._modules:
            self._modules[name] = self._parse(name)
        return self._modules[name]

    def installed(self, name: str) -> bool:
        """Whether there is such a top-level package, of whatever kind."""
        return any((root / name).exists() or (root / f"{name}.py").exists() for root in self.roots)

    def below(self, package: str) -> Iterator[Module]:
        """All modules of a package; tests and generated fronts are left out."""
        for root in self.roots:
            for file in sorted((root / package.replace(".", "/")).rglob("*.py")):
                parts = list(file.relative_to(root).with_suffix("").parts)
                if {"tests", "test", "testing", "_testing", "conftest", "setup"} & set(parts):
                    continue
                name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
                if found := self.module(name):
                    yield found

    def find(self, module: Module, dotted: str, depth: int = 12) -> Known | str:
        """What a name in a module stands for: its definition, or the dotted path at which the trail ends."""
        head, _, rest = dotted.partition(".")
        if head in module.definitions:
            return self._inner(module, module.definitions[head], head, rest)
        if head in module.imports and depth:
            return self.at(".".join(filter(None, (module.imports[head], rest))), depth - 1)
        alias = module.values.get(head)
        if (
            isinstance(alias, ast.Name | ast.Attribute)
            and depth
            and (text := dotted_of(alias))
            and text.partition(".")[0] != head
        ):
            return self.find(module, ".".join(filter(None, (text, rest))), depth - 1)
        for star in module.stars:
            inner = self.module(star)
            if (
                inner
                and inner is not module
                and depth
                and not isinstance(found := self.find(inner, dotted, depth - 1), str)
            ):
                return found
        return f"builtins.{dotted}" if hasattr(builtins, head) else f"{module.name}.{dotted}"

    def at(self, path: str, depth: int = 12) -> Known | str:
        """What stands at an absolute dotted path."""
        parts = path.split(".")
        for cut in range(len(parts), 0, -1):
            module = self.module(".".join(parts[:cut]))
            if module is not None:
                rest = ".".join(parts[cut:])
                return self.find(module, rest, depth) if rest and self._knows(module, parts[cut]) else path
        return path

    def _knows(self, module: Module, head: str) -> bool:
        return head in module.definitions or head in module.imports or head in module.values or bool(module.stars)

    def _inner(self, module: Module, node: Definition, name: str, rest: str) -> Known | str:
        for part in filter(None, rest.split(".")):
            inner = {one.name: one for one in node.body if isinstance(one, Definition)}.get(part)
            if inner is None:
                return f"{module.name}.{name}.{part}"
            node, name = inner, f"{name}.{part}"
        return Known(module, name, node)

    def _parse(self, name: str) -> Module | None:
        for root in self.roots:
            base = root / name.replace(".", "/")
            for file, package in ((base / "__init__.py", True), (base.with_name(base.name + ".py"), False)):
                if file.is_file():
                    module = Module(name, package)
                    module.take(ast.parse(file.read_bytes()).body)
                    return module
        return None


def dotted_of(node: ast.expr) -> str:
    """`a.b.c` as text; empty for anything else."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def stands_in(path: str, names: tuple[str, ...]) -> bool:
    """Whether a dotted path is one of `names` or below one."""
    return any(path == name or path.startswith(f"{name}.") for name in names)


@dataclass
class Review:
    """What was found of one class.

    Attributes:
        reasons: kind (sink, doubt or compiled) and words, in the order found.
    """

    library: Library
    subject: Known
    reasons: list[tuple[str, str]] = field(default_factory=list)
    _seen: set[tuple[str, str]] = field(default_factory=set)

    @property
    def verdict(self) -> str:
        """The worst of the reasons."""
        return max((kind for kind, _ in self.reasons), key=VERDICTS.index, default="state")

    def run(self) -> Review:
        """Read the class."""
        family = self.family(self.subject)
        unused = self._unused(family)
        for known in family:
            self._metaclass(known)
            for hook in (one for one in known.node.body if isinstance(one, ast.FunctionDef)):
                setter = _is_setter(hook) and "__setattr__" not in unused
                if setter or (hook.name in HOOKS and hook.name not in unused):
                    self.read(Known(known.module, f"{known.name}.{hook.name}", hook), family, 0)
        return self

    def _unused(self, family: list[Known]) -> set[str]:
        """Hooks that Python does not come to: a state goes by setattr only where the class takes none itself, and what
        is compared but has no hash is no key.
        """
        unused = {"__setattr__", "__delattr__"} if any(_member(one, "__setstate__") for one in family) else set()
        nearest = next((one for one in family if _member(one, "__eq__") or _member(one, "__hash__")), None)
        if nearest and not _member(nearest, "__hash__"):
            unused |= {"__eq__", "__hash__"}
        return unused

    def family(self, known: Known) -> list[Known]:
        """The class and its bases, nearest first."""
        found, waiting = [], [known]
        while waiting:
            one = waiting.pop(0)
            if one in found or not isinstance(one.node, ast.ClassDef):
                continue
            found.append(one)
            waiting = [*self._bases(one), *waiting]
        return found

    def _bases(self, known: Known) -> Iterator[Known]:
        for base in known.node.bases if isinstance(known.node, ast.ClassDef) else ():
            inner = base.value if isinstance(base, ast.Subscript) else base.func if isinstance(base, ast.Call) else base
            found = self.library.find(known.module, text) if (text := dotted_of(inner)) else "an expression"
            if isinstance(found, Known):
                yield found
            elif found not in BASES and not stands_in(found, ("typing", "collections.abc")) and not _plain_type(found):
                self.reasons.append(("compiled", f"{known.path} is based on {found}"))

    def _metaclass(self, known: Known) -> None:
        for keyword in known.node.keywords if isinstance(known.node, ast.ClassDef) else ():
            if keyword.arg != "metaclass":
                continue
            found = self.library.find(known.module, dotted_of(keyword.value) or "?")
            if isinstance(found, Known):
                for one in self.family(found):
                    for hook in (
                        h for h in one.node.body if isinstance(h, ast.FunctionDef) and h.name in {"__call__", *HOOKS}
                    ):
                        self.read(Known(one.module, f"{one.name}.{hook.name}", hook), [one], 0)
            elif found not in METACLASSES:
                self.reasons.append(("doubt", f"{known.path} has the metaclass {found}"))

    def read(self, known: Known, family: list[Known], depth: int) -> None:
        """Read one function and what it calls."""
        key = (known.path, family[0].path if family else "")
        if key in self._seen or known.path in self.library.read_by_hand:
            return
        self._seen.add(key)
        if depth > DEEPEST:
            self.reasons.append(("doubt", f"{known.path} lies deeper than is read"))
            return
        Reading(self, known, family, depth).visit(known.node)


def _is_setter(node: ast.FunctionDef) -> bool:
    return any(isinstance(one, ast.Attribute) and one.attr in {"setter", "deleter"} for one in node.decorator_list)


def _plain_type(path: str) -> bool:
    head, _, name = path.partition(".")
    return head == "builtins" and isinstance(getattr(builtins, name, None), type)


class Reading(ast.NodeVisitor):
    """Reads one function for calls."""

    def __init__(self, review: Review, known: Known, family: list[Known], depth: int) -> None:
        self.review, self.known, self.family, self.depth = review, known, family, depth
        arguments = known.node.args if isinstance(known.node, ast.FunctionDef | ast.AsyncFunctionDef) else None
        names = [one.arg for one in (*arguments.posonlyargs, *arguments.args)] if arguments else []
        self.own = names[0] if names and family else ""
        self.local = {
            node.id for node in ast.walk(known.node) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        } | set(names)
        self.imports: dict[str, str] = {}
        for node in ast.walk(known.node):
            if isinstance(node, ast.Import | ast.ImportFrom):
                self.imports |= imported(known.module, node)

    def visit_Call(self, node: ast.Call) -> None:
        """Judge what is called."""
        self._called(node)
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """Follow properties of the object itself."""
        if isinstance(node.value, ast.Name) and node.value.id == self.own:
            if isinstance(node.ctx, ast.Load):
                found = self._method(node.attr)
                if found and any(dotted_of(d) in {"property", "cached_property"} for d in found.node.decorator_list):
                    self.review.read(found, self.family, self.depth + 1)
            else:
                self._set(node.attr)
        self.generic_visit(node)

    def _set(self, name: str) -> None:
        """Follow what setting an attribute of the object runs."""
        if found := self._method("__setattr__"):
            self.review.read(found, self.family, self.depth + 1)
        for one in self.family:
            for node in one.node.body:
                if isinstance(node, ast.FunctionDef) and node.name == name and _is_setter(node):
                    self.review.read(Known(one.module, f"{one.name}.{name}", node), self.family, self.depth + 1)

    def visit_Raise(self, node: ast.Raise) -> None:
        """What an error is made of ends the loading."""

    def _called(self, node: ast.Call) -> None:
        function = node.func
        if isinstance(function, ast.Attribute) and _is_super(function.value):
            self._super(function.attr)
        elif (
            isinstance(function, ast.Attribute)
            and isinstance(function.value, ast.Name)
            and function.value.id == self.own
        ):
            self._own(function.attr)
        elif text := dotted_of(function):
            self._named(text, node)
        elif isinstance(function, ast.Attribute):
            self._of_a_value(function.attr)
        else:
            self._say("doubt", "calls the result of an expression")

    def _super(self, name: str) -> None:
        at = (
            [one.path for one in self.family].index(path)
            if (path := self.known.path.rpartition(".")[0]) in [o.path for o in self.family]
            else 0
        )
        found = self._method(name, at + 1)
        if found:
            self.review.read(found, self.family, self.depth + 1)
        elif name not in METHODS_OF_BUILTINS:
            self._say("doubt", f"calls super().{name}")

    def _own(self, name: str) -> None:
        found = self._method(name)
        if found:
            self.review.read(found, self.family, self.depth + 1)
        elif name not in METHODS_OF_BUILTINS:
            self._say("doubt", f"calls what stands in its attribute {name}")

    def _named(self, text: str, node: ast.Call) -> None:
        head, _, rest = text.partition(".")
        if head in self.imports:
            self._judge(self.review.library.at(".".join(filter(None, (self.imports[head], rest)))), node)
        elif head in self.local:
            self._of_a_value(text.rpartition(".")[2]) if rest else self._say("doubt", f"calls the value {head}")
        else:
            self._judge(self.review.library.find(self.known.module, text), node)

    def _judge(self, found: Known | str, node: ast.Call) -> None:
        if isinstance(found, Known):
            self._follow(found)
            return
        name = found.removeprefix("builtins.")
        if name in {"getattr", "setattr", "hasattr", "delattr"} and found != name:
            constant = len(node.args) > 1 and isinstance(node.args[1], ast.Constant)
            if name == "getattr" and not constant:
                self._say("sink", "looks an attribute up by a computed name")
            return
        if found != name:
            harmless = (
                name in HARMLESS_BUILTINS
                or isinstance(getattr(builtins, name, None), type)
                or name.partition(".")[2] in METHODS_OF_BUILTINS
            )
            if name == "type" and len(node.args) != 1:
                harmless = False
            self._say("" if harmless else "sink", f"calls {name}")
        elif stands_in(found, SINKS):
            self._say("sink", f"calls {found}")
        elif not stands_in(found, HARMLESS):
            last = found.rpartition(".")[2]
            self._say(
                "" if last in METHODS_OF_BUILTINS and "." in found else "doubt", f"calls {found}, which is not read"
            )

    def _follow(self, found: Known) -> None:
        if not isinstance(found.node, ast.ClassDef):
            owner = found.name.rpartition(".")[0]
            kin = self.review.library.find(found.module, owner) if owner else ""
            self.review.read(found, self.review.family(kin) if isinstance(kin, Known) else [], self.depth + 1)
            return
        family = self.review.family(found)
        for name in ("__new__", "__init__", "__post_init__", "__setattr__"):
            method = next(
                (Known(one.module, f"{one.name}.{name}", m) for one in family if (m := _member(one, name))), None
            )
            if method:
                self.review.read(method, family, self.depth + 1)

    def _of_a_value(self, name: str) -> None:
        if name not in METHODS_OF_BUILTINS:
            self._say("doubt", f"calls .{name}() of a value")

    def _method(self, name: str, start: int = 0) -> Known | None:
        return next(
            (
                Known(one.module, f"{one.name}.{name}", found)
                for one in self.family[start:]
                if (found := _member(one, name))
            ),
            None,
        )

    def _say(self, kind: str, words: str) -> None:
        if kind:
            self.review.reasons.append((kind, f"{self.known.path} {words}"))


def _member(known: Known, name: str) -> ast.FunctionDef | None:
    return next((one for one in known.node.body if isinstance(one, ast.FunctionDef) and one.name == name), None)


def _is_super(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"


def review(library: Library, module: str, name: str) -> Review | None:
    """The review of one class; None where it has no source."""
    parsed = library.module(module)
    found = library.find(parsed, name) if parsed else library.at(f"{module}.{name}")
    return Review(library, found).run() if isinstance(found, Known) and isinstance(found.node, ast.ClassDef) else None


def reviews(library: Library, package: str, below: list[str]) -> Iterator[Review]:
    """The reviews of all classes of a package that descend from one of `below`, or of all where it is empty."""
    wanted = {path.replace(":", ".") for path in below}
    for module in library.below(package):
        for name, node in sorted(module.definitions.items()):
            if isinstance(node, ast.ClassDef):
                known = Known(module, name, node)
                if not wanted or wanted & {one.path for one in Review(library, known).family(known)}:
                    yield Review(library, known).run()


def groups(library: Library, package: str, below: list[str], why: str, source: str) -> Iterator[dict[str, object]]:
    """Groups for callables.json, a module each, of the classes whose verdict is `state`."""
    modules: dict[str, list[str]] = {}
    for one in reviews(library, package, below):
        if one.verdict == "state":
            modules.setdefault(one.subject.module.name, []).append(one.subject.name)
    for module, names in modules.items():
        yield {"use": "state", "modules": [module], "names": names, "why": why, "source": source}


def check(library: Library) -> Iterator[str]:
    """What is wrong with the listed classes: those that no longer only take a state, and no person has read."""
    for group in json.loads(DATA.read_bytes())["reviewed"]:
        if group["use"] not in {"state", "make"} or "read" in group:
            continue
        for module in group["modules"]:
            if library.module(module.partition(".")[0]) is None:
                continue
            for name in group["names"]:
                found = review(library, module, name)
                verdict = found.verdict if found else "compiled"
                if found is None and "version" in group:
                    continue  # a class of another version than the one installed
                if verdict != "state":
                    reasons = (
                        "; ".join(f"{kind}: {words}" for kind, words in found.reasons[:3]) if found else "no source"
                    )
                    yield f"{module}.{name}: {verdict}: {reasons}"


def main() -> int:
    """Exit status 1 where a check finds something."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site", type=Path, action="append", required=True, help="site-packages folders")
    parser.add_argument("what", choices=["review", "groups", "check"])
    parser.add_argument("package", nargs="?", default="")
    parser.add_argument("--below", action="append", default=[])
    parser.add_argument("--why", default="Made without code of its own, and given its attributes.")
    parser.add_argument("--source", default="")
    given = parser.parse_args()
    library = Library(given.site)
    if given.what == "check":
        problems = list(check(library))
        print(*problems, sep="\n")
        return bool(problems)
    if given.what == "groups":
        made = groups(library, given.package, given.below, given.why, given.source)
        print(*(json.dumps(one) for one in made), sep=",\n")
        return 0
    for one in reviews(library, given.package, given.below):
        print(
            f"{one.verdict:9}{one.subject.path}"
            + "".join(f"\n         {kind}: {words}" for kind, words in dict.fromkeys(one.reasons))
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
