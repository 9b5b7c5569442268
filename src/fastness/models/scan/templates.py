"""Jinja templates by their syntax tree, never rendered: what reaches out of the values a chat has, and what is hidden.

A template is honest as long as it walks through messages and tools by plain names, calls methods of texts, lists and
dicts, and writes text. Everything that leads from a value to Python itself, names that are put together, and text that
appears only when a message says a certain word is told. Misses: what a text means to a model.

Source: Jinja 3.1, `nodes`, `lexer` and `sandbox`. Cost: linear in the template, with names folded to a small bound.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from fastness.models.scan.template_names import (
    ATTRIBUTE_FILTERS,
    DUNDERS,
    ESCAPES,
    FUNCTIONS,
    HIDDEN,
    INNER_OBJECTS,
    METHODS,
    Folded,
    fold,
)

codecs.lookup("unicode-escape")  # Jinja reads texts with it; what it loads is there before a sandbox closes

LONGEST = 1 << 18
MOST_NODES = 20_000
LARGE = 1_000_000
_MOST_STEPS = 10_000_000


class Sin(StrEnum):
    """What can be wrong with a template."""

    UNREADABLE = "unreadable"
    ESCAPE = "escape"
    BUILT_NAME = "built name"
    UNUSUAL = "unusual"
    INCLUDE = "include"
    COSTLY = "costly"
    TRIGGER = "trigger"
    HIDDEN_TEXT = "hidden text"


@dataclass(frozen=True, slots=True)
class Met:
    """One thing that was met, with its line."""

    sin: Sin
    line: int
    what: str


class _Generation(Extension):
    """The tag by which training code marks the assistant's words; it only groups."""

    tags = {"generation"}  # noqa: RUF012 - the base class declares it so

    def parse(self, parser: Parser) -> nodes.Node:
        """The body, as a scope of its own."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=line)


def look_at(text: str) -> list[Met]:
    """What is wrong with a template, in no more findings than there are kinds and names."""
    if len(text) > LONGEST:
        return [Met(Sin.UNREADABLE, 0, f"more than {LONGEST} characters")]
    hidden = _hidden_text(text)
    if not any(mark in text for mark in ("{{", "{%", "{#")):
        return hidden
    environment = ImmutableSandboxedEnvironment(  # parses only; nothing here is autoescaped or rendered
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols", "jinja2.ext.do", "jinja2.ext.i18n", _Generation],
    )
    try:
        tree = environment.parse(text)
    except (TemplateError, RecursionError, ValueError, OverflowError) as error:
        line = getattr(error, "lineno", 0) or 0
        return [*hidden, Met(Sin.UNREADABLE, line, f"not a template that Jinja reads: {type(error).__name__}")]
    walk = _Walk()
    walk.all(tree)
    return list(dict.fromkeys([*walk.met, *hidden]))


_INVISIBLE = re.compile("[\u202a-\u202e\u2066-\u2069\u200b\u2060-\u2064\U000e0000-\U000e007f]")
_ORDERS = re.compile(
    r"(?:ignore|disregard|forget|override)\s+(?:all\s+|any\s+|the\s+|your\s+)*(?:previous|prior|above|earlier|system)\s+"
    r"(?:instruction|message|prompt|rule)"
    r"|(?:do\s+not|don't|never|without)\s+(?:tell|reveal|mention|inform|telling|revealing|mentioning|informing)\w*"
    r"(?:\s+\w+){0,4}\s+(?:the|this\s+to\s+the|to\s+the)\s+user\b|\bsecretly\b|\bexfiltrat|\bcovertly\b"
    r"|(?:append|add|insert|include)\s+(?:\S+\s+){1,12}?(?:to|in|at\s+the\s+end\s+of)\s+(?:every|each|all)\s+(?:\w+\s+)?"
    r"(?:answer|response|reply|replies|output|code)",
    re.IGNORECASE,
)


def _hidden_text(text: str) -> list[Met]:
    """Characters that nobody sees, and orders that the user is not to know of."""
    found = []
    if match := _INVISIBLE.search(text):
        found.append(
            Met(Sin.HIDDEN_TEXT, text.count("\n", 0, match.start()) + 1, f"the invisible character {match[0]!a}")
        )
    if match := _ORDERS.search(text):
        found.append(Met(Sin.HIDDEN_TEXT, text.count("\n", 0, match.start()) + 1, f"the words {match[0][:80]!a}"))
    return found


@dataclass(slots=True)
class _Names:
    """What the names of a template stand for.

    Attributes:
        values: those that come to a constant.
        computed: those that may be, or hold, a text that is put together; of attributes with a dot before them.
        bound: those that are given a value, so that they are no longer the function of that name.
        namespaces: those that may be, or hold, a namespace, and `attributes` what is put into one.
    """

    values: dict[str, Folded] = field(default_factory=dict)
    computed: set[str] = field(default_factory=set)
    macros: set[str] = field(default_factory=set)
    bound: set[str] = field(default_factory=set)
    namespaces: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    given_computed: set[str] = field(default_factory=set)

    def learn(self, node: nodes.Node) -> None:
        if isinstance(node, nodes.Macro):
            self.macros.add(node.name)
            self.bound.update(argument.name for argument in node.args)
            if node.name in self.given_computed:
                self.computed.update(argument.name for argument in node.args)
        elif isinstance(node, nodes.Assign):
            self._assign(node.target, node.node)
        elif isinstance(node, nodes.With):
            for target, value in zip(node.targets, node.values, strict=False):
                self._assign(target, value)
        elif isinstance(node, nodes.For):
            self._bind(node.target, node.iter)
        elif isinstance(node, nodes.AssignBlock):
            self._bind(node.target, None)
        elif isinstance(node, nodes.Call):
            self._given(node)

    def _assign(self, target: nodes.Node, value: nodes.Node) -> None:
        folded = fold(value, self.values)
        if isinstance(target, nodes.Name) and folded is not None:
            self.values[target.name] = folded
        self._bind(target, value)

    def _bind(self, target: nodes.Node, value: nodes.Node | None) -> None:
        """A name that is given a value, or a block of text, is no longer the function of that name."""
        computed = value is None or self.is_put_together(value)
        spaces = value is not None and any(self.is_namespace(part) for part in _wholes(value))
        for part in _parts(target):
            if isinstance(part, nodes.Name):
                self.bound.add(part.name)
                self.computed.update([part.name] if computed else ())
                self.namespaces.update([part.name] if spaces else ())
            elif isinstance(part, nodes.NSRef):
                self._set_attribute(part.attr, value, computed=computed)

    def _given(self, call: nodes.Call) -> None:
        """What a call gives on: attributes of namespaces, arguments of macros, items of lists."""
        target = call.node
        if isinstance(target, nodes.Name) and target.name == "namespace":
            for keyword in call.kwargs:
                self._set_attribute(keyword.key, keyword.value, computed=self.is_put_together(keyword.value))
        elif any(map(self.is_put_together, [*call.args, *(keyword.value for keyword in call.kwargs)])):
            if isinstance(target, nodes.Name):
                self.given_computed.add(target.name)
            elif isinstance(target, nodes.Getattr) and target.attr in _FILLING and isinstance(target.node, nodes.Name):
                self.computed.add(target.node.name)

    def _set_attribute(self, name: str, value: nodes.Node | None, *, computed: bool) -> None:
        if computed:
            self.computed.add(f".{name}")
        if not isinstance(value, nodes.Const):
            self.attributes.add(name)

    def is_namespace(self, node: nodes.Node) -> bool:
        made = isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name) and node.node.name == "namespace"
        return made or (isinstance(node, nodes.Name) and node.name in self.namespaces)

    def is_put_together(self, node: nodes.Node | None) -> bool:
        """Whether an expression is a text that is put together, or holds one, as a name does not need to be."""
        waiting = [node]
        while waiting:
            one = waiting.pop()
            if isinstance(one, nodes.Concat) or self._makes_text(one):
                return True
            waiting.extend(_sources(one))
        return False

    def _makes_text(self, node: nodes.Node | None) -> bool:
        if isinstance(node, nodes.Name):
            return node.name in self.computed
        if isinstance(node, nodes.Getattr):
            return f".{node.attr}" in self.computed
        if isinstance(node, nodes.Filter):
            return node.name not in _INT_FILTERS | _PASSING_FILTERS
        if isinstance(node, nodes.Add | nodes.Mod | nodes.Mul):
            return _is_text(node.left) or _is_text(node.right)
        if isinstance(node, nodes.Call):
            by_macro = isinstance(node.node, nodes.Name) and node.node.name in self.macros
            return by_macro or (isinstance(node.node, nodes.Getattr) and node.node.attr in _TEXT_METHODS)
        return False


@dataclass(slots=True)
class _Walk:
    """The state of one walk."""

    met: list[Met] = field(default_factory=list)
    names: _Names = field(default_factory=_Names)

    def all(self, tree: nodes.Template) -> None:
        """Walk the whole tree, first for what names stand for, then for what is done with them."""
        order = self._order(tree)
        for _ in range(_PASSES):
            for node in order:
                self.names.learn(node)
        for node in order:
            for sin, what in self._judge(node):
                self.met.append(Met(sin, node.lineno, what))
        if (steps := _steps(tree)) > _MOST_STEPS:
            self.met.append(Met(Sin.COSTLY, 1, f"loops of {steps} steps or more"))

    def _order(self, tree: nodes.Node) -> list[nodes.Node]:
        waiting, order = [tree], []
        while waiting:
            node = waiting.pop()
            order.append(node)
            if len(order) > MOST_NODES:
                self.met.append(Met(Sin.UNREADABLE, node.lineno, f"more than {MOST_NODES} parts"))
                break
            waiting.extend(reversed(list(node.iter_child_nodes())))
        return order

    def _judge(self, node: nodes.Node) -> Iterator[tuple[Sin, str]]:
        if isinstance(node, nodes.Getattr):
            yield from _attribute(node.node, node.attr)
        elif isinstance(node, nodes.Getitem):
            yield from self._item(node)
        elif isinstance(node, nodes.Filter | nodes.Test):
            yield from self._filter(node)
        elif isinstance(node, nodes.Call):
            yield from self._call(node)
        elif isinstance(node, nodes.If | nodes.CondExpr):
            yield from _trigger(node)
        elif isinstance(node, nodes.Concat | nodes.BinExpr):
            yield from self._expression(node)
        else:
            yield from _plain(node)

    def _item(self, node: nodes.Getitem) -> Iterator[tuple[Sin, str]]:
        key = fold(node.arg, self.names.values)
        if isinstance(key, str):
            yield from _attribute(node.node, key)
        named = any(isinstance(part, nodes.Name) and part.name in self.names.computed for part in _parts(node.arg))
        if (named or not isinstance(key, str)) and self.names.is_put_together(node.arg):
            yield Sin.BUILT_NAME, "a name that is put together, used to reach into a value"

    def _filter(self, node: nodes.Filter | nodes.Test) -> Iterator[tuple[Sin, str]]:
        arguments = [fold(argument, self.names.values) for argument in node.args]
        named = {str(keyword.key): fold(keyword.value, self.names.values) for keyword in node.kwargs}
        first = arguments[0] if arguments else None
        if node.name == "attr":
            yield (
                Sin.ESCAPE,
                f"the filter attr, which reaches {'a computed name' if first is None else ascii(first)[:60]}",
            )
        if node.name in {"map", "select", "reject"} and first in {"attr", "format"}:
            yield Sin.ESCAPE, f"the filter {first} over a list"
        if named.get("attribute", "") is None or _is_computed_place(node, arguments):
            yield Sin.BUILT_NAME, f"a computed attribute for the filter {node.name}"
        for part in _walked([*arguments, *named.values()]) if node.name in ATTRIBUTE_FILTERS else ():
            yield Sin.ESCAPE, f"the attribute {part[:60]!a}"
        yield from self._large(node.name, [*arguments, *named.values()])
        yield from self._expression(node)

    def _call(self, node: nodes.Call) -> Iterator[tuple[Sin, str]]:
        target = node.node
        arguments = [fold(argument, self.names.values) for argument in node.args]
        if isinstance(target, nodes.Getattr | nodes.Getitem):
            name = target.attr if isinstance(target, nodes.Getattr) else fold(target.arg, self.names.values)
            yield from self._method(target.node, name, arguments)
        elif isinstance(target, nodes.Name):
            yield from self._large(target.name, arguments)
            if target.name in self.names.bound or target.name not in FUNCTIONS | self.names.macros | {"loop"}:
                yield Sin.UNUSUAL, f"a call of {target.name[:40]!a}"
        elif not isinstance(target, nodes.Call) or isinstance(target.node, nodes.Getattr | nodes.Getitem):
            yield Sin.UNUSUAL, "a call of something computed"
        yield from self._expression(node)

    def _method(
        self, owner: nodes.Expr, name: Folded | None, arguments: list[Folded | None]
    ) -> Iterator[tuple[Sin, str]]:
        shown = ascii(name)[:60]
        if not isinstance(name, str):
            yield Sin.UNUSUAL, "a call of something computed"
        elif name in ESCAPES:
            yield Sin.ESCAPE, f"a call of {shown}"
        elif name not in METHODS or (
            name in self.names.attributes and any(map(self.names.is_namespace, _wholes(owner)))
        ):
            yield Sin.UNUSUAL, f"a call of {shown}"
        elif name in {"format", "format_map"} and not isinstance(fold(owner, self.names.values), str):
            yield Sin.BUILT_NAME, "a format that is computed"
        if name in {"format", "format_map"} and _FORMAT_WALK.search(str(fold(owner, self.names.values))):
            yield Sin.ESCAPE, "a format that reaches into its values"
        yield from self._large(str(name), arguments)

    def _large(self, name: str, arguments: list[Folded | None]) -> Iterator[tuple[Sin, str]]:
        for value in arguments:
            if isinstance(value, int) and abs(value) > LARGE:
                yield Sin.COSTLY, f"{ascii(name)[:40]} of {value if value < 1 << 64 else 'a huge number'}"

    def _expression(self, node: nodes.Expr) -> Iterator[tuple[Sin, str]]:
        """What an expression of written-out parts comes to."""
        if isinstance(node, nodes.Mul | nodes.Pow):
            sides = [fold(node.left, self.names.values), fold(node.right, self.names.values)]
            if any(isinstance(side, int) and abs(side) > LARGE for side in sides) or isinstance(node, nodes.Pow):
                yield Sin.COSTLY, "a product that may be huge"
        value = fold(node, self.names.values)
        if isinstance(value, str) and (value in HIDDEN or re.fullmatch(r"__\w+", value)):
            yield Sin.ESCAPE, f"the name {value[:60]!a}, which is put together"


def _is_computed_place(node: nodes.Filter | nodes.Test, arguments: list[Folded | None]) -> bool:
    """Whether the attribute that a filter asks for stands in its arguments, and is not written out."""
    if node.name not in _ATTRIBUTE_AT:
        return False
    at = _ATTRIBUTE_AT[node.name]
    return node.dyn_args is not None or node.dyn_kwargs is not None or None in arguments[at : at + 1]


def _walked(values: list[Folded | None]) -> Iterator[str]:
    """Attributes among dotted arguments of a filter that lead to Python."""
    for value in values:
        for part in value.split(".") if isinstance(value, str) else ():
            if part.startswith("__") or part in HIDDEN:
                yield part


def _plain(node: nodes.Node) -> Iterator[tuple[Sin, str]]:
    """What a node says by itself."""
    if isinstance(node, nodes.NSRef):
        yield from _attribute(None, node.attr)
    elif isinstance(node, nodes.Keyword):
        yield from _attribute(None, node.key)
    elif isinstance(node, nodes.Const):
        yield from _constant(node.value)
    elif isinstance(node, nodes.Include | nodes.Import | nodes.FromImport | nodes.Extends):
        yield Sin.INCLUDE, f"the tag {type(node).__name__.lower()}"
    elif isinstance(node, nodes.Name) and node.name.startswith("__"):
        yield Sin.ESCAPE, f"the name {node.name[:40]!a}"


def _attribute(owner: nodes.Expr | None, name: str) -> Iterator[tuple[Sin, str]]:
    if name.startswith("__") or name in HIDDEN:
        yield Sin.ESCAPE, f"the attribute {name[:60]!a}"
    elif name.startswith("_"):
        yield Sin.UNUSUAL, f"the attribute {name[:60]!a}"
    elif isinstance(owner, nodes.Name) and name not in INNER_OBJECTS.get(owner.name, (name,)):
        yield Sin.UNUSUAL, f"the attribute {name[:60]!a} of {owner.name[:40]!a}"


_FORMAT_WALK = re.compile(r"\{[^{}]*[.\[]_")
_WITHIN = re.compile(r"(?=(__[a-z]+(?:_[a-z]+)*__))")
_PIECE = re.compile(r"__\w{0,20}|\w{1,20}__")
_WIDTH = re.compile(r"%[-+ #0]*([0-9]{7,})|\{[^{}]*:[^{}]*?([0-9]{7,})")


def _constant(value: object) -> Iterator[tuple[Sin, str]]:
    if not isinstance(value, str):
        return
    if value in HIDDEN or value in DUNDERS:
        yield Sin.ESCAPE, f"the name {value[:60]!a}"
    elif _FORMAT_WALK.search(value):
        yield Sin.ESCAPE, "a format that reaches into its values"
    elif any(word in DUNDERS for text in (value, value[::-1]) for word in _WITHIN.findall(text.lower())):
        yield Sin.BUILT_NAME, f"a name of Python within the text {value[:40]!a}"
    elif _PIECE.fullmatch(value):
        yield Sin.BUILT_NAME, f"a piece of a name, {value[:40]!a}"
    if _WIDTH.search(value):
        yield Sin.COSTLY, "a format of enormous width"


_PASSES = 3
"""Walks for what names stand for: enough for a text that goes through a macro and a list."""
_INT_FILTERS = frozenset({"length", "count", "int", "abs", "round", "float", "sum"})
_PASSING_FILTERS = frozenset({
    "list", "sort", "unique", "reverse", "dictsort", "items", "first", "last", "select", "reject", "selectattr", "rejectattr",
    "default", "d", "min", "max", "random", "batch", "slice", "groupby", "map", "attr",
})  # fmt: skip
"""Filters that give what they are given, or parts of it."""
_ATTRIBUTE_AT = {
    "map": 0, "select": 0, "reject": 0, "selectattr": 0, "rejectattr": 0, "groupby": 0, "sum": 0, "sort": 2, "unique": 1,
    "min": 1, "max": 1, "join": 1,
}  # fmt: skip
"""Where filters take an attribute, or the filter or test that they apply."""
_FILLING = frozenset({"append", "insert", "extend", "update", "setdefault"})
_TEXT_METHODS = frozenset({
    "format", "join", "replace", "format_map", "lower", "upper", "strip", "removeprefix", "translate", "split", "rsplit",
    "splitlines", "partition", "rpartition", "center", "ljust", "rjust", "zfill", "encode", "decode", "lstrip", "rstrip",
    "swapcase", "title", "capitalize", "casefold", "removesuffix", "expandtabs", "strftime",
})  # fmt: skip


def _sources(node: nodes.Node | None) -> Iterator[nodes.Node | None]:
    """The parts of an expression that its value may be, or hold."""
    if isinstance(node, nodes.Filter):
        yield from () if node.name in _INT_FILTERS else (node.node, *node.args)
    elif isinstance(node, nodes.BinExpr):
        yield from (node.left, node.right)
    elif isinstance(node, nodes.CondExpr):
        yield from (node.expr1, node.expr2)
    elif isinstance(node, nodes.Getitem):
        yield node.node
    elif isinstance(node, nodes.Call):
        yield from (*node.args, *(keyword.value for keyword in node.kwargs))
        yield node.node.node if isinstance(node.node, nodes.Getattr) else None
    elif isinstance(node, nodes.List | nodes.Tuple):
        yield from node.items
    elif isinstance(node, nodes.Dict):
        yield from (side for pair in node.items for side in (pair.key, pair.value))


def _wholes(node: nodes.Node) -> Iterator[nodes.Node]:
    """An expression and what its value may be, or hold."""
    waiting: list[nodes.Node | None] = [node]
    while waiting:
        one = waiting.pop()
        if one is not None:
            yield one
            waiting.extend(_sources(one))


def _is_text(node: nodes.Node) -> bool:
    return isinstance(node, nodes.TemplateData) or (isinstance(node, nodes.Const) and isinstance(node.value, str))


def _steps(tree: nodes.Template) -> int:
    """How many steps the deepest chain of loops with written-out bounds takes."""
    worst = 1
    waiting: list[tuple[nodes.Node, int]] = [(tree, 1)]
    while waiting:
        node, steps = waiting.pop()
        if isinstance(node, nodes.For):
            steps *= max(1, _bound(node.iter))
            worst = max(worst, steps)
        waiting.extend((child, steps) for child in node.iter_child_nodes())
    return worst


def _bound(node: nodes.Node) -> int:
    if not isinstance(node, nodes.Call) or not isinstance(node.node, nodes.Name) or node.node.name != "range":
        return 1
    bounds = [value for argument in node.args if isinstance(value := fold(argument, {}), int)]
    return min(1 << 64, max((abs(bound) for bound in bounds), default=1))


_WORDS = re.compile(r"[A-Za-z][A-Za-z0-9 ,.!?'-]{2,}")
_PROSE = re.compile(r"(?:[A-Za-z,.'-]+\s+){4,}")
_ACTIVE = re.compile(
    r"https?://|<\s*(?:script|iframe|img|object|embed)\b|javascript:|!\[[^\]]*\]\(|data:text/", re.IGNORECASE
)
"""An address or markup, which takes few words."""


def _trigger(node: nodes.If | nodes.CondExpr) -> Iterator[tuple[Sin, str]]:
    """Text that is written only if a message holds a certain word."""
    words = [word for test in _parts(node.test) for word in _asked_words(test)]
    bodies = node.body if isinstance(node, nodes.If) else [node.expr1]
    if words and any(_PROSE.search(text) or _ACTIVE.search(text) for body in bodies for text in _texts(body)):
        yield Sin.TRIGGER, f"text that is added only if a message holds {words[0][:60]!a}"


def _asked_words(test: nodes.Node) -> Iterator[str]:
    """Plain words that a test looks for in what somebody wrote."""
    if isinstance(test, nodes.Compare) and any(operand.op in {"in", "notin", "eq"} for operand in test.ops):
        sides: list[nodes.Node] = [test.expr, *(operand.expr for operand in test.ops)]
    elif isinstance(test, nodes.Call) and isinstance(test.node, nodes.Getattr):
        if test.node.attr not in {"startswith", "endswith", "find", "count", "index", "__contains__"}:
            return
        sides = [test.node.node, *test.args]
    elif isinstance(test, nodes.Test | nodes.Filter):
        sides = [part for part in (test.node, *test.args) if part is not None]
    else:
        return
    if any(_is_content(part) for side in sides for part in _parts(side)):
        yield from (text for side in sides for text in _texts(side) if _WORDS.fullmatch(text) and text not in _KEYS)


_KEYS = frozenset(
    {"content", "role", "text", "type", "string", "image", "video", "audio", "user", "assistant", "system", "tool"}
)


def _is_content(node: nodes.Node) -> bool:
    if isinstance(node, nodes.Getattr):
        return node.attr in {"content", "text"}
    if isinstance(node, nodes.Getitem):
        return isinstance(node.arg, nodes.Const) and node.arg.value in {"content", "text"}
    return isinstance(node, nodes.Name) and node.name in {
        "content",
        "message_content",
        "text",
        "prompt",
        "user_message",
    }


def _texts(node: nodes.Node) -> Iterator[str]:
    for part in _parts(node):
        if isinstance(part, nodes.TemplateData):
            yield part.data
        elif isinstance(part, nodes.Const) and isinstance(part.value, str):
            yield part.value


def _parts(node: nodes.Node) -> Iterator[nodes.Node]:
    """A node and everything in it, without recursion."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield one
        waiting.extend(one.iter_child_nodes())
