"""Graphs as torch.export writes them: JSON whose nodes name the operators that they call, and sizes that are expressions.

Torch hands the expressions to sympy, which runs them as Python, and writes a text that is an input into a guard that it runs.
Misses: what a reviewed operator does with its arguments. Cost: one pass over the text; nothing of it is kept but names.

Source: torch 2.13, `torch/_export/serde/schema.py`: `Node.target`, `SymExpr`; `serialize.py`: `_parse_sym_expr`;
`torch/export/_unlift.py`: `_get_input_guards_for_graph`; `torch/utils/_pytree.py`: `_defaultdict_deserialize`.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from fastness.core.findings import Rule, Severity
from fastness.core.sources import RandomAccess
from fastness.models.scan.budget import Budget
from fastness.models.scan.entries import shown
from fastness.models.scan.facts import Look, Told, found, span
from fastness.models.scan.readers.torchscript import rule_of_operator
from fastness.models.scan.rules import MAPS, undecided

MALFORMED = undecided(
    "torch-export-malformed", "An exported graph that is not understood",
    "What cannot be parsed cannot be vouched for.", "Export the model again with torch.export.save.",
)  # fmt: skip
FUNCTION = Rule(
    "torch-export-function", "An exported graph calls a function that is not reviewed", Severity.MEDIUM,
    "The loader looks the name up and puts what it finds into the graph.",
    "Find out what the function does, or export the model again.", {**MAPS, "cwe": "CWE-470"},
)  # fmt: skip
EXPRESSION = Rule(
    "torch-export-expression", "An exported graph with code where a size stands", Severity.HIGH,
    "The loader hands such a text to sympy, which runs it as Python, or writes it into a check that it runs.",
    "Do not load it. Export the model again with torch.export.save.",
    {**MAPS, "cwe": "CWE-95", "atlas": "AML.T0011.000"},
)  # fmt: skip

RULES: tuple[Rule, ...] = (MALFORMED, FUNCTION, EXPRESSION)

_LARGEST = 32 << 20
_OPERATOR = re.compile(
    r"torch\.ops\.([A-Za-z_]\w*)\.([A-Za-z_]\w*)(?:\.\w+)?|#?([A-Za-z_]\w*)::([A-Za-z_]\w*)(?:\.\w+)?"
)
_PLAIN = re.compile(
    r"_operator\.(?:add|sub|mul|truediv|floordiv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|xor|not_|getitem|lshift|rshift|index)"
    r"|math\.(?:ceil|floor|trunc|sqrt|log2?|exp)|torch\.sym_(?:not|max|min|float|int|ite|sqrt|sum|fresh_size)"
    r"|torch\._sym_\w+|torch\.utils\._sympy\.functions\.\w+"
)

_ARITHMETIC = frozenset(
    {"Symbol", "Integer", "Rational", "Float", "Add", "Mul", "Pow", "Mod", "Max", "Min", "Abs", "And", "Or", "Not", "Eq", "Ne", "Lt", "Le", "Gt", "Ge",
     "Equality", "Unequality", "StrictLessThan", "StrictGreaterThan", "LessThan", "GreaterThan", "floor", "ceiling", "sqrt", "exp", "log", "Piecewise",
     "ExprCondPair", "Tuple", "Identity", "FloorDiv", "ModularIndexing", "Where", "PythonMod", "CleanDiv", "CeilToInt", "FloorToInt", "CeilDiv", "LShift",
     "RShift", "PowByNatural", "FloatPow", "FloatTrueDiv", "IntTrueDiv", "IsNonOverlappingAndDenseIndicator", "TruncToFloat", "TruncToInt", "RoundToInt",
     "RoundDecimal", "ToFloat", "TypedExpr"}
)  # fmt: skip
"""What torch itself writes; a function of another name is for review."""
_ITS_OWN = re.compile(r"OpaqueUnaryFn_\w+|BitwiseFn_\w+")
_PARTS = (
    ast.Expression, ast.Call, ast.Name, ast.Constant, ast.keyword, ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.operator, ast.unaryop, ast.cmpop,
    ast.boolop, ast.Load, ast.Tuple,
)  # fmt: skip
_PLAIN_TEXT = re.compile(r"\w{0,80}|-?[0-9.]{1,80}(?:e[-+]?[0-9]{1,4})?")
_LONGEST_EXPRESSION = 1 << 14
_INJECTS = re.compile(r"['\"\\\n].*\(|\(.*['\"\\\n]", re.DOTALL)
_FACTORY = re.compile(
    r'"default_factory_module\\*":\s*\\*"([^"\\]*)\\*",\s*\\*"default_factory_name\\*":\s*\\*"([^"\\]*)'
)
_FACTORIES = frozenset(f"builtins.{name}" for name in ("list", "dict", "set", "int", "float", "str", "bool", "tuple"))


@dataclass(frozen=True)
class TorchExportReader:
    """Reads exported graphs."""

    name: ClassVar[str] = "torch-export"
    suffixes: ClassVar[tuple[str, ...]] = ()

    def claims(self, look: Look) -> bool:
        """Never by itself: only a layout says that a text is a graph."""
        del look
        return False

    def read(self, source: RandomAccess, budget: Budget) -> Iterator[Told]:
        """The functions that the nodes call, and expressions that are more than arithmetic.

        Raises:
            TooLarge: it calls too many different ones.
        """
        kept: dict[tuple[str, str], None] = {}

        def closed(items: list[tuple[str, object]]) -> None:
            kept.update({(key, value): None for key, value in items if key in _JUDGED and isinstance(value, str)})

        if source.size > _LARGEST:
            yield found(MALFORMED, source.name, 0, f"{source.size} bytes, and {_LARGEST} are read")
            return
        try:
            json.loads(source.read_at(0, source.size), object_pairs_hook=closed)
        except (ValueError, RecursionError) as error:
            yield found(MALFORMED, source.name, 0, f"it is no JSON: {type(error).__name__}")
            return
        yield span(source.name, 0, source.size)
        for key, text in kept:
            budget.spend("facts")
            rule = _JUDGED[key](text)
            if rule is not None:
                yield found(rule, source.name, 0, f"{'it calls' if key == 'target' else key + ' is'} {shown(text)}")


def _function(name: str) -> Rule | None:
    operator = _OPERATOR.fullmatch(name)
    if operator is not None:
        return rule_of_operator([part for part in operator.groups() if part])
    return None if _PLAIN.fullmatch(name) else FUNCTION


def _expression(text: str) -> Rule | None:
    """Sympy reads the text with `eval`, and the texts within it again."""
    try:
        tree = ast.parse(text.strip() if len(text) <= _LONGEST_EXPRESSION else ":", mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return EXPRESSION
    return _parts(list(ast.walk(tree)))


def _parts(nodes: list[ast.AST]) -> Rule | None:
    if not all(isinstance(node, _PARTS) for node in nodes):
        return EXPRESSION
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    names = [node.id for node in nodes if isinstance(node, ast.Name)]
    if not all(map(_PLAIN_TEXT.fullmatch, texts)) or any("__" in name for name in names):
        return EXPRESSION
    called = [node.func for node in nodes if isinstance(node, ast.Call)]
    known = (isinstance(one, ast.Name) and (one.id in _ARITHMETIC or _ITS_OWN.fullmatch(one.id)) for one in called)
    return None if all(known) else FUNCTION


def _input(text: str) -> Rule | None:
    """A text among the inputs stands between quotes in a guard that is run."""
    return EXPRESSION if _INJECTS.search(text) else None


def _structure(text: str) -> Rule | None:
    """A structure of inputs may hold a dict with a default, whose maker is imported by its name."""
    made = {f"{module}.{name}" for module, name in _FACTORY.findall(text)}
    return FUNCTION if made - _FACTORIES or text.count("default_factory_module") > len(_FACTORY.findall(text)) else None


_JUDGED: dict[str, Callable[[str], Rule | None]] = {
    "target": _function, "expr_str": _expression, "as_string": _input, "in_spec": _structure, "out_spec": _structure,
}  # fmt: skip

READER = TorchExportReader
