"""Names that templates may use, and the small evaluator that puts written-out names together as Jinja would."""

from __future__ import annotations

from collections.abc import Mapping

from jinja2 import nodes

Folded = str | int | tuple["Folded", ...]
"""What an expression of constants comes to."""

_LONGEST = 4096
_DEEPEST = 40


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTIONS = _words(
    "raise_exception strftime_now range namespace dict cycler joiner caller tojson fromjson now date_string super _ gettext"
    " ngettext"
)
"""What a template may call by a bare name, its own macros aside."""
METHODS = _words(
    "strip lstrip rstrip split rsplit splitlines partition rpartition replace startswith endswith lower upper title capitalize"
    " casefold swapcase join find rfind index rindex count format zfill ljust rjust center isdigit isalpha isalnum isspace"
    " isnumeric isupper islower isdecimal istitle isidentifier removeprefix removesuffix expandtabs encode decode items keys"
    " values get copy append extend insert pop remove reverse sort update setdefault clear next reset changed cycle strftime"
    " isoformat date time now tojson bit_length is_integer"
)
"""Methods of texts, numbers, lists, dicts and of the loop that have no effect beyond the values of the chat."""
ESCAPES = _words(
    "popen system eval exec execv execve spawn check_output check_call getoutput getstatusoutput load_module exec_module"
    " import_module import_string subclasses mro open read_text write_text write_bytes read_bytes urlopen connect Popen run"
    " call communicate unlink rmtree loads load get_data __call__"
)
"""Methods that no value of a chat has, and that act on the machine."""
HIDDEN = _words(
    "func_globals func_code func_closure f_globals f_locals f_builtins f_back f_code gi_frame gi_code cr_frame cr_code ag_frame"
    " tb_frame tb_next mro im_func im_self im_class co_code co_consts"
)
"""Attributes that lead from a value to Python itself, besides all that begin with two underscores."""
DUNDERS = _words(
    "__class__ __base__ __bases__ __mro__ __subclasses__ __globals__ __builtins__ __init__ __new__ __dict__ __import__ __call__"
    " __getattribute__ __getattr__ __getitem__ __code__ __closure__ __func__ __self__ __module__ __loader__ __spec__ __doc__"
    " __name__ __reduce__ __reduce_ex__ __init_subclass__ __wrapped__ __enter__ __exit__ __add__ __format__ __dir__ __del__"
    " __setattr__ __delattr__ __get__ __set__ __annotations__ __defaults__ __kwdefaults__ __qualname__ __file__ __path__ __main__"
)
"""Names of Python's own, which no field of a chat has."""
INNER_OBJECTS: Mapping[str, frozenset[str]] = {
    "cycler": frozenset(),
    "joiner": frozenset(),
    "lipsum": frozenset(),
    "range": frozenset(),
    "dict": frozenset(),
    "namespace": frozenset(),
    "self": frozenset(),
    "request": frozenset(),
    "url_for": frozenset(),
    "get_flashed_messages": frozenset(),
    "raise_exception": frozenset(),
    "strftime_now": frozenset(),
    "caller": frozenset(),
    "app": frozenset(),
    "current_app": frozenset(),
    "application": frozenset(),
    "session": frozenset(),
    "g": frozenset(),
    "handler": frozenset(),
    "settings": frozenset(),
    "config": frozenset(),
    "loop": _words("index index0 revindex revindex0 first last length previtem nextitem depth depth0 cycle changed"),
}
"""Objects that templates are given, with the attributes that honest ones use."""
ATTRIBUTE_FILTERS = _words("map selectattr rejectattr groupby sort unique sum min max join attr")


def fold(node: nodes.Node | None, names: Mapping[str, Folded], depth: int = 0) -> Folded | None:
    """What an expression of constants comes to; None for all others, and for what is long or deep."""
    if depth > _DEEPEST or node is None:
        return None
    value = _fold(node, names, depth + 1)
    return None if isinstance(value, str | tuple) and len(value) > _LONGEST else value


def _fold(node: nodes.Node, names: Mapping[str, Folded], depth: int) -> Folded | None:
    if isinstance(node, nodes.Const):
        return node.value if isinstance(node.value, str | int) else None
    if isinstance(node, nodes.TemplateData):
        return node.data
    if isinstance(node, nodes.Name):
        return names.get(node.name)
    if isinstance(node, nodes.List | nodes.Tuple):
        return _all(node.items, names, depth)
    if isinstance(node, nodes.Concat):
        parts = _all(node.nodes, names, depth)
        return None if parts is None else "".join(map(str, parts))
    return _operated(node, names, depth)


def _operated(node: nodes.Node, names: Mapping[str, Folded], depth: int) -> Folded | None:
    if isinstance(node, nodes.BinExpr):
        return _arithmetic(node, fold(node.left, names, depth), fold(node.right, names, depth))
    if isinstance(node, nodes.Neg):
        inner = fold(node.node, names, depth)
        return -inner if isinstance(inner, int) else None
    if isinstance(node, nodes.Getitem):
        return _item(node, names, depth)
    if isinstance(node, nodes.Filter):
        return _applied(node.name, fold(node.node, names, depth), _all(node.args, names, depth))
    if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Getattr):
        return _applied(f".{node.node.attr}", fold(node.node.node, names, depth), _all(node.args, names, depth))
    return None


def _all(parts: list[nodes.Expr], names: Mapping[str, Folded], depth: int) -> tuple[Folded, ...] | None:
    values = [fold(part, names, depth) for part in parts[:_LONGEST]]
    kept = tuple(value for value in values if value is not None)
    return kept if len(kept) == len(parts) else None


def _arithmetic(node: nodes.BinExpr, left: Folded | None, right: Folded | None) -> Folded | None:
    if isinstance(left, str):
        return _of_text_and(node, left, right)
    if not isinstance(left, int) or not isinstance(right, int) or max(abs(left), abs(right)) >= 1 << 64:
        return None
    kinds = {nodes.Add: left + right, nodes.Sub: left - right, nodes.Mul: left * right}
    return kinds.get(type(node))


def _of_text_and(node: nodes.BinExpr, left: str, right: Folded | None) -> Folded | None:
    if isinstance(node, nodes.Mod) and right is not None:
        return _percent(left, right)
    if isinstance(node, nodes.Mul) and isinstance(right, int):
        return left * right if 0 <= right * len(left) <= _LONGEST else None
    return left + right if isinstance(node, nodes.Add) and isinstance(right, str) else None


def _percent(text: str, values: Folded) -> str | None:
    if any(character.isdigit() or character == "*" for character in text):
        return None  # widths are not followed
    try:
        return text % values
    except (TypeError, ValueError, OverflowError):
        return None


def _item(node: nodes.Getitem, names: Mapping[str, Folded], depth: int) -> Folded | None:
    value = fold(node.node, names, depth)
    if not isinstance(value, str | tuple):
        return None
    if isinstance(node.arg, nodes.Slice):
        start, stop, step = (fold(end, names, depth) for end in (node.arg.start, node.arg.stop, node.arg.step))
        if (
            isinstance(start, str | tuple)
            or isinstance(stop, str | tuple)
            or isinstance(step, str | tuple)
            or step == 0
        ):
            return None
        return value[start:stop:step]
    at = fold(node.arg, names, depth)
    return value[at] if isinstance(at, int) and -len(value) <= at < len(value) else None


def _applied(name: str, value: Folded | None, args: tuple[Folded, ...] | None) -> Folded | None:
    """A filter, or a method whose name begins with a dot, applied to constants."""
    if value is None or args is None:
        return None
    if isinstance(value, tuple):
        return _of_list(name, value, args)
    if isinstance(value, str):
        return _of_text(name.lstrip("."), value, args)
    return str(value) if name == "string" else None


def _of_list(name: str, value: tuple[Folded, ...], args: tuple[Folded, ...]) -> Folded | None:
    if name == "join":
        return (str(args[0]) if args else "").join(map(str, value))
    if name in {"first", "last"} and value:
        return value[0 if name == "first" else -1]
    if name == "reverse":
        return value[::-1]
    return value if name in {"list", "sort", "unique"} else None


_SAME = frozenset({"string", "safe", "e", "escape"})
_CASES = {"lower": str.lower, "upper": str.upper, "title": str.title, "capitalize": str.capitalize}


def _of_text(name: str, value: str, args: tuple[Folded, ...]) -> Folded | None:
    texts = [arg for arg in args if isinstance(arg, str)]
    if name in _SAME:
        return value
    if name in _CASES:
        return _CASES[name](value)
    if name in {"trim", "strip", "lstrip", "rstrip"}:
        return value.strip(*texts[:1])
    if name in {"reverse", "list"}:
        return value[::-1] if name == "reverse" else tuple(value)
    return _put_together(name, value, args, texts)


def _put_together(name: str, value: str, args: tuple[Folded, ...], texts: list[str]) -> Folded | None:
    if name == "replace" and len(texts) > 1 and len(value) * (len(texts[1]) + 1) <= _LONGEST:
        return value.replace(texts[0], texts[1])
    if name == "join" and args:
        return value.join(map(str, args[0])) if isinstance(args[0], tuple) else str(args[0]).join(value)
    if name == "format":
        return _percent(value, args) if "%" in value else _braces(value, args)
    return None


def _braces(text: str, args: tuple[Folded, ...]) -> str | None:
    """`str.format` for empty and numbered fields only: others reach into values, and are told for that."""
    made = text
    for number, arg in enumerate(args):
        made = made.replace(f"{{{number}}}", str(arg)[:_LONGEST])
        if "{}" in made:
            made = made.replace("{}", str(arg)[:_LONGEST], 1)
    return made if args and "{" not in made else None
