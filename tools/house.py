#!/usr/bin/env python3
"""Measure the shape of Python packages, or check one against the budget of the house style.

    house.py [NAME=SRC_DIR[:TEST_DIR] ...]       a Markdown table, one column per package
    house.py --json [NAME=SRC_DIR ...]           the same figures as JSON
    house.py --check [SRC_DIR [EXCEPTIONS]]      list what breaks BUDGET or RATES; exit status 1 if anything does
    house.py --edges [SRC_DIR]                   which first-level package imports which
    house.py --worst [SRC_DIR]                   longest functions, largest files, import cycles
    house.py --help                              this text

SRC_DIR is the directory of the import package itself (the one holding __init__.py); without it,
src/fastness of the current directory (and tests beside src, for the table) is taken.
EXCEPTIONS is a text file, one `dotted.name  reason` per line, `#` for comments; it covers every
breach of that name, and a line no breach needs is itself a complaint. Default: budget.txt, if present.
Exit status: 0 nothing to complain about, 1 complaints, 2 wrong usage or no such directory.
Standard library only; the files are parsed (as the running Python's syntax), never imported.

Definitions
    line            a physical line
    code line       a line that holds a token other than a comment, and no part of a docstring
    comment lines   a licence header at the top of a file is not counted
    function length code lines from `def` to its last line (decorators and docstring left out)
    complexity      1 + branches (if, for, while, except; `and`/`or`; comprehension
                    conditions; match cases); nested functions are counted on their own
    nesting         deepest chain of if/for/while/try/with/match inside one function
    public          no dotted part of the name starts with an underscore (dunders excepted)
    public name     top-level def/class/assignment of a public module, or its __all__ if it has one
    import cycle    strongly connected modules over imports done at import time
                    (imports under TYPE_CHECKING and inside functions left out);
                    the cycles that remain when the latter are put back are given as "lazy"
"""

from __future__ import annotations

import ast
import io
import json
import statistics
import sys
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp, ast.match_case)
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.TryStar, ast.With, ast.AsyncWith, ast.Match)
LAYOUT_TOKENS = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENCODING, tokenize.ENDMARKER,
}  # fmt: skip
VAGUE_WORDS = ("util", "helper", "manager", "misc", "common")
# most allowed; "bare": code lines of a public function without a docstring
BUDGET = {
    "lines": 600, "length": 50, "complexity": 12, "nesting": 3,
    "parameters": 6, "methods": 14, "bare": 10, "inheritance": 3,
}  # fmt: skip
RATES = {"Any": 5, "suppression": 5, "broad except": 1}  # most allowed per 1000 code lines
DEFAULT_SOURCE = Path("src/fastness")
DEFAULT_TESTS = Path("tests")
DEFAULT_EXCEPTIONS = Path("budget.txt")


@dataclass
class Function:
    where: str
    length: int
    complexity: int
    nesting: int
    parameters: int
    public: bool
    documented: bool
    slots: int  # places for an annotation: parameters (self, cls left out) and the result
    annotated: int


@dataclass
class Module:
    name: str
    path: Path
    lines: int
    code: int
    comments: int
    docstrings: int
    functions: list[Function]
    bases: dict[str, list[str]]
    methods: dict[str, int]
    public_names: list[str]
    imports: set[str]
    lazy_imports: set[str]
    counts: Counter[str] = field(default_factory=Counter)


def dotted_name(root: Path, path: Path) -> str:
    parts = [root.name, *path.relative_to(root).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_public(dotted: str) -> bool:
    return not any(p.startswith("_") and not p.endswith("__") for p in dotted.split("."))


def docstring_node(node: ast.AST) -> ast.Expr | None:
    match node:
        case ast.Module() | ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            match node.body:
                case [ast.Expr(value=ast.Constant(value=str())) as first, *_]:
                    return first
    return None


def docstring_lines(tree: ast.Module) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, *DEFINITIONS)) and (doc := docstring_node(node)):
            lines.update(range(doc.lineno, (doc.end_lineno or doc.lineno) + 1))
    return lines


def token_lines(source: str) -> tuple[set[int], set[int], list[str]]:
    """Return (lines with code tokens, lines with a comment, the comments)."""
    code: set[int] = set()
    comment_lines: set[int] = set()
    comments: list[str] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            comment_lines.add(token.start[0])
            comments.append(token.string)
        elif token.type not in LAYOUT_TOKENS:
            if not code and any(w in c.lower() for c in comments for w in ("licen", "copyright")):
                comment_lines.clear()
            code.update(range(token.start[0], token.end[0] + 1))
    return code, comment_lines, comments


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """Walk a function without entering the functions and classes inside it."""
    pending = list(ast.iter_child_nodes(function))
    while pending:
        node = pending.pop()
        yield node
        if not isinstance(node, DEFINITIONS):
            pending.extend(ast.iter_child_nodes(node))


def complexity(function: FunctionNode) -> int:
    total = 1
    for node in own_nodes(function):
        if isinstance(node, BRANCHES):
            total += 1
        elif isinstance(node, ast.BoolOp):
            total += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            total += len(node.ifs)
    return total


def nesting(node: ast.AST) -> int:
    deepest = 0
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, DEFINITIONS):
                continue
            is_elif = isinstance(node, ast.If) and name == "orelse" and isinstance(child, ast.If) and len(value) == 1
            deepest = max(deepest, nesting(child) + (isinstance(child, BLOCKS) and not is_elif))
    return deepest


def measure_function(node: FunctionNode, where: str, *, public: bool, code: set[int]) -> Function:
    """Measure one function; `code` holds the code lines of its file."""
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    arguments += [a for a in (node.args.vararg, node.args.kwarg) if a]
    named = [a for a in arguments if a.arg not in ("self", "cls")]
    lines = range(node.lineno, (node.end_lineno or node.lineno) + 1)
    return Function(
        where=where,
        length=sum(line in code for line in lines),
        complexity=complexity(node),
        nesting=nesting(node),
        parameters=len(named),
        public=public,
        documented=docstring_node(node) is not None,
        slots=len(named) + 1,
        annotated=sum(a.annotation is not None for a in named) + (node.returns is not None),
    )


def functions_of(tree: ast.Module, module: str, code: set[int]) -> Iterator[Function]:
    """Measure every function; nested ones and dunder methods are never public."""

    def visit(node: ast.AST, prefix: str, *, local: bool) -> Iterator[Function]:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, DEFINITIONS):
                yield from visit(child, prefix, local=local)
                continue
            name = f"{prefix}.{child.name}"
            if isinstance(child, FUNCTIONS):
                public = is_public(name) and not local and child.name[:2] != "__"
                yield measure_function(child, name, public=public, code=code)
            yield from visit(child, name, local=local or isinstance(child, FUNCTIONS))

    yield from visit(tree, module, local=False)


def public_names(tree: ast.Module, module: str) -> list[str]:
    """Return `__all__`, or else the top-level names without an underscore; none for a private module."""
    if not is_public(module):
        return []
    found: list[str] = []
    for node in tree.body:
        if isinstance(node, DEFINITIONS):
            found.append(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [t.id for t in targets if isinstance(t, ast.Name)]
            if names == ["__all__"] and isinstance(node.value, (ast.List, ast.Tuple)):
                return [ast.unparse(e) for e in node.value.elts]
            found.extend(names)
    return [n for n in found if not n.startswith("_")]


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports_of(tree: ast.Module, module: str, *, is_package: bool, known: set[str]) -> tuple[set[str], set[str]]:
    """Return the modules of `known` imported at import time, and those imported later (in functions)."""
    eager: set[str] = set()
    lazy: set[str] = set()

    def resolve(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
            return
        base = node.module or ""
        if node.level:
            parts = module.split(".") if is_package else module.split(".")[:-1]
            parts = parts[: len(parts) - node.level + 1]
            base = ".".join([*parts, base] if base else parts)
        for alias in node.names:
            submodule = f"{base}.{alias.name}"
            yield submodule if submodule in known else base

    def visit(node: ast.AST, into: set[str]) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.Import, ast.ImportFrom)):
                into.update(name for name in resolve(child) if name in known and name != module)
            elif is_type_checking(child):
                continue
            else:
                visit(child, lazy if isinstance(child, FUNCTIONS) else into)

    visit(tree, eager)
    return eager, lazy - eager


def smells(tree: ast.Module, module: str, comments: Iterable[str]) -> Counter[str]:
    """Count the habits worth watching; none of them is wrong in itself."""
    counts: Counter[str] = Counter()
    names = [module.rsplit(".", 1)[-1]]
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type else "BaseException"
            counts["broad except"] += caught in ("Exception", "BaseException")
        elif isinstance(node, (ast.Try, ast.TryStar)):
            counts["try"] += 1
        elif isinstance(node, ast.Global):
            counts["global"] += 1
        elif isinstance(node, ast.Assert):
            counts["assert"] += 1
        elif isinstance(node, ast.Name) and node.id == "Any":
            counts["Any"] += 1
        elif isinstance(node, ast.ClassDef):
            counts["class"] += 1
            names.append(node.name)
    counts["vague name"] = sum(any(w in n.lower() for w in VAGUE_WORDS) for n in names)
    for comment in comments:
        counts["suppression"] += any(s in comment for s in ("noqa", "type: ignore", "nosec", "pragma: no"))
        counts["todo"] += any(s in comment for s in ("TODO", "FIXME", "XXX", "HACK"))
    return counts


def read_module(root: Path, path: Path, known: set[str]) -> Module:
    """Parse one file; imports are kept only when they lead to a module in `known`."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    name = dotted_name(root, path)
    documented = docstring_lines(tree)
    tokens, comment_lines, comments = token_lines(source)
    code = tokens - documented
    eager, lazy = imports_of(tree, name, is_package=path.name == "__init__.py", known=known)
    classes = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    return Module(
        name=name,
        path=path,
        lines=source.count("\n") + (not source.endswith("\n") and bool(source)),
        code=len(code),
        comments=len(comment_lines),
        docstrings=len(documented),
        functions=list(functions_of(tree, name, code)),
        bases={c.name: [ast.unparse(b).split("[")[0].split(".")[-1] for b in c.bases] for c in classes},
        methods={f"{name}.{c.name}": sum(isinstance(n, FUNCTIONS) for n in c.body) for c in classes},
        public_names=public_names(tree, name),
        imports=eager,
        lazy_imports=lazy,
        counts=smells(tree, name, comments),
    )


def read_package(root: Path) -> list[Module]:
    root = root.resolve()
    paths = sorted(p for p in root.rglob("*.py") if "_vendor" not in p.parts and "node_modules" not in p.parts)
    known = {dotted_name(root, p) for p in paths}
    return [read_module(root, p, known) for p in paths]


def cycles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of two modules or more (Tarjan 1972), largest first."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for target in graph[node]:
            if target not in order:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], order[target])
        if low[node] == order[node]:
            cut = stack.index(node)
            found.append(sorted(stack[cut:]))
            del stack[cut:]

    for node in graph:
        if node not in order:
            visit(node)
    return sorted((c for c in found if len(c) > 1), key=len, reverse=True)


def inheritance_depth(modules: list[Module]) -> int:
    """Longest chain of classes of this package (names are taken as unique)."""
    bases = {name: parents for m in modules for name, parents in m.bases.items()}

    def depth(name: str, seen: frozenset[str]) -> int:
        if name not in bases or name in seen:
            return 0
        return 1 + max((depth(b, seen | {name}) for b in bases[name]), default=0)

    return max((depth(name, frozenset()) for name in bases), default=0)


def quantile(values: list[int], share: float) -> int:
    ordered = sorted(values) or [0]
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def import_graph(modules: list[Module], *, lazy: bool = False) -> dict[str, set[str]]:
    return {m.name: m.imports | (m.lazy_imports if lazy else set()) for m in modules}


def describe_cycles(found: list[list[str]]) -> str:
    return f"{len(found)} (largest {len(found[0])})" if found else "0"


def ratio(count: int, whole: int) -> str:
    return f"{100 * count / (whole or 1):.0f} %"


def spread(values: list[int], *shares: float) -> str:
    """Median, then the given quantiles; a share of 1 is the maximum."""
    return " / ".join(f"{v:g}" for v in (statistics.median(values or [0]), *(quantile(values, s) for s in shares)))


def mean_and(values: list[int], *shares: float) -> str:
    return " / ".join([f"{statistics.mean(values or [0]):.1f}", *(f"{quantile(values, s)}" for s in shares)])


def layout_figures(modules: list[Module], root: Path) -> dict[str, str]:
    """Rows on files, folders and names."""
    filled = [m for m in modules if m.code]
    folders = Counter(m.path.parent for m in modules)
    packages = sum(m.path.name == "__init__.py" and is_public(m.name) for m in modules)
    names = sum(len(m.public_names) for m in modules)
    return {
        "files / folders": f"{len(modules)} / {len(folders)}",
        "code lines": f"{sum(m.code for m in modules)}",
        "folder depth, max": f"{max(len(m.path.relative_to(root).parts) for m in modules)}",
        "files per folder, median / max": spread(list(folders.values()), 1),
        "lines per file, median / p90 / max": spread([m.lines for m in filled], 0.9, 1),
        "functions per file, median / max": spread([len(m.functions) for m in filled], 1),
        "public names; per public package": f"{names}; {names / (packages or 1):.0f}",
        "private modules": ratio(sum(not is_public(m.name) for m in modules), len(modules)),
    }


def function_figures(modules: list[Module]) -> dict[str, str]:
    """Rows on functions and classes."""
    functions = [f for m in modules for f in m.functions]
    lengths = [f.length for f in functions]
    methods = [n for m in modules for n in m.methods.values()]
    return {
        "function length, mean / p90 / max": mean_and(lengths, 0.9, 1),
        "functions over 50 code lines": ratio(sum(n > 50 for n in lengths), len(lengths)),
        "complexity, mean / p95 / max": mean_and([f.complexity for f in functions], 0.95, 1),
        "nesting, p95 / max": " / ".join(f"{quantile([f.nesting for f in functions], s)}" for s in (0.95, 1)),
        "parameters, p95 / max": " / ".join(f"{quantile([f.parameters for f in functions], s)}" for s in (0.95, 1)),
        "classes; methods per class p90 / max": f"{len(methods)}; {quantile(methods, 0.9)} / {quantile(methods, 1)}",
        "inheritance depth, max": f"{inheritance_depth(modules)}",
    }


def text_figures(modules: list[Module]) -> dict[str, str]:
    """Rows on comments, docstrings and annotations."""
    code = sum(m.code for m in modules)
    functions = [f for m in modules for f in m.functions]
    public = [f for f in functions if f.public]
    return {
        "comment lines per code line": ratio(sum(m.comments for m in modules), code),
        "docstring lines per code line": ratio(sum(m.docstrings for m in modules), code),
        "public functions documented": ratio(sum(f.documented for f in public), len(public)),
        "annotated parameters and results": ratio(sum(f.annotated for f in functions), sum(f.slots for f in functions)),
    }


def habit_figures(modules: list[Module]) -> dict[str, str]:
    """Rows on imports and on what `smells` counts."""
    counts = sum((m.counts for m in modules), Counter())
    thousands = (sum(m.code for m in modules) or 1) / 1000
    per_thousand = {
        "`Any` per 1000": "Any",
        "try per 1000": "try",
        "broad except per 1000": "broad except",
        "suppressions per 1000": "suppression",
        "TODO, FIXME per 1000": "todo",
    }
    return {
        "import cycles": describe_cycles(cycles(import_graph(modules))),
        "import cycles, lazy imports counted": describe_cycles(cycles(import_graph(modules, lazy=True))),
        "modules with lazy imports": ratio(sum(bool(m.lazy_imports) for m in modules), len(modules)),
        **{row: f"{counts[key] / thousands:.1f}" for row, key in per_thousand.items()},
        "`global` statements": f"{counts['global']}",
        "vague names (util, helper, manager…)": f"{counts['vague name']}",
    }


def figures(root: Path, tests: Path | None) -> dict[str, str]:
    """Return the column of one package: row name to text."""
    modules = read_package(root)
    code = sum(m.code for m in modules) or 1
    test_code = sum(m.code for m in read_package(tests)) if tests else None
    return {
        **layout_figures(modules, root.resolve()),
        **function_figures(modules),
        **text_figures(modules),
        **habit_figures(modules),
        "test code lines per code line": "—" if test_code is None else f"{test_code / code:.2f}",
    }


def over_budget(root: Path) -> list[tuple[str, str]]:
    """Return (what, how) for each thing that breaks BUDGET or RATES."""
    modules = read_package(root)
    functions = [f for m in modules for f in m.functions]
    counts = sum((m.counts for m in modules), Counter())
    thousands = max(1, sum(m.code for m in modules) / 1000)
    depth = inheritance_depth(modules)
    broken = [(m.name, f"{m.lines} lines") for m in modules if m.lines > BUDGET["lines"]]
    broken += [(m.name, "vague name") for m in modules if m.counts["vague name"]]
    broken += [(name, f"{n} methods") for m in modules for name, n in m.methods.items() if n > BUDGET["methods"]]
    for quantity in ("length", "complexity", "nesting", "parameters"):
        measured = [(f.where, getattr(f, quantity)) for f in functions]
        broken += [(where, f"{quantity} {value}") for where, value in measured if value > BUDGET[quantity]]
    bare = [f for f in functions if f.public and not f.documented and f.length > BUDGET["bare"]]
    broken += [(f.where, "no docstring") for f in bare]
    broken += [(c[0], f"import cycle with {', '.join(c[1:])}") for c in cycles(import_graph(modules, lazy=True))]
    broken += [(root.name, f"inheritance {depth} deep")] * (depth > BUDGET["inheritance"])
    over = [(key, counts[key] / thousands) for key, limit in RATES.items() if counts[key] / thousands > limit]
    return broken + [(root.name, f"{key}: {rate:.1f} per 1000 lines") for key, rate in over]


def check(root: Path, exceptions: Path | None) -> list[str]:
    """Return the complaints to print: breaches without an exception, exceptions without a breach.

    A line of `exceptions` reads `dotted.name  reason`; it covers every breach of that name.
    """
    lines = exceptions.read_text(encoding="utf-8").splitlines() if exceptions else []
    excused = {line.split()[0] for line in lines if len(line.split()) > 1 and not line.startswith("#")}
    broken = over_budget(root)
    stale = excused - {what for what, _ in broken}
    complaints = [f"{what}: {how}" for what, how in broken if what not in excused]
    return complaints + [f"{what}: exception no longer needed" for what in sorted(stale)]


def print_table(columns: dict[str, dict[str, str]]) -> None:
    names = list(columns)
    print("| figure | " + " | ".join(names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for row in next(iter(columns.values())):
        print(f"| {row} | " + " | ".join(columns[n][row] for n in names) + " |")


def print_edges(root: Path) -> None:
    """Print, per first-level package or module, what it imports at import time (count of imports)."""
    edges: dict[str, Counter[str]] = defaultdict(Counter)
    for module in read_package(root):
        area = ".".join(module.name.split(".")[1:2]) or "(root)"
        for target in module.imports:
            edges[area][".".join(target.split(".")[1:2]) or "(root)"] += 1
    for area in sorted(edges):
        targets = ", ".join(f"{t} {n}" for t, n in edges[area].most_common() if t != area)
        print(f"{area:>20} -> {targets or '-'}")


def print_worst(root: Path) -> None:
    """Print where a reviewer should look first."""
    modules = read_package(root)
    functions = sorted((f for m in modules for f in m.functions), key=lambda f: f.length, reverse=True)
    print("longest functions (code lines, complexity, nesting)")
    for f in functions[:10]:
        print(f"  {f.length:5} {f.complexity:4} {f.nesting:3}  {f.where}")
    print("largest files (lines)")
    for m in sorted(modules, key=lambda m: m.lines, reverse=True)[:10]:
        print(f"  {m.lines:5}  {m.path.relative_to(root.resolve())}")
    print("import cycles")
    for component in cycles(import_graph(modules)):
        print("  " + ", ".join(component[:12]) + (" …" if len(component) > 12 else ""))


def column(operand: str) -> tuple[str, dict[str, str]]:
    """Parse NAME=SRC_DIR[:TEST_DIR] and measure it."""
    name, found, places = operand.partition("=")
    if not found:
        refuse(f"{operand}: expected NAME=SRC_DIR[:TEST_DIR]")
    source, _, tests = places.partition(":")
    return name, figures(directory(source), directory(tests) if tests else None)


def refuse(complaint: str) -> NoReturn:
    """Stop with the status for wrong usage; a check of nothing must not pass."""
    print(f"house.py: {complaint} (see --help)", file=sys.stderr)
    sys.exit(2)


def directory(place: str | Path) -> Path:
    """Return `place` if it holds Python files."""
    path = Path(place)
    if not any(path.rglob("*.py")):
        refuse(f"{path}: no Python files there")
    return path


def run_check(operands: list[str]) -> None:
    """Check SRC_DIR against the budget and stop with status 1 if anything breaks it."""
    source = directory(operands[0] if operands else DEFAULT_SOURCE)
    exceptions = Path(operands[1]) if len(operands) > 1 else DEFAULT_EXCEPTIONS
    if operands[1:] and not exceptions.is_file():
        refuse(f"{exceptions}: no such file")
    if complaints := check(source, exceptions if exceptions.is_file() else None):
        sys.exit("\n".join(complaints))
    print(f"{source}: within budget")


def run_table(operands: list[str], *, as_json: bool) -> None:
    """Print one column per operand; without operands, the column of the default package."""
    tests = f":{DEFAULT_TESTS}" if DEFAULT_TESTS.is_dir() else ""
    columns = dict(column(o) for o in operands or [f"{DEFAULT_SOURCE.name}={DEFAULT_SOURCE}{tests}"])
    if as_json:
        print(json.dumps(columns, indent=1, ensure_ascii=False))
    else:
        print_table(columns)


def main(arguments: list[str]) -> None:
    """Run the command line given in the module's docstring."""
    options = {a for a in arguments if a.startswith("-")}
    operands = [a for a in arguments if not a.startswith("-")]
    match sorted(options):
        case ["--help"] | ["-h"]:
            print(__doc__)
        case ["--check"]:
            run_check(operands)
        case ["--edges" | "--worst" as option]:
            show = print_edges if option == "--edges" else print_worst
            show(directory(operands[0] if operands else DEFAULT_SOURCE))
        case [] | ["--json"]:
            run_table(operands, as_json=bool(options))
        case _:
            refuse(f"unknown or conflicting options: {' '.join(sorted(options))}")


if __name__ == "__main__":
    main(sys.argv[1:])
