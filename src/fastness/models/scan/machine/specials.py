"""Callables whose standing depends on what they are given: makers of code and of functions, and ways to an attribute.

dill and cloudpickle write functions by value: a code object, and a function around it. Making them runs nothing, so they
are for review and no attack by themselves; what the code names says whether it reaches for the machine. Called with
anything that their libraries do not write, the same callables are as dangerous as they are listed.

Misses: names that the code computes. Those functions are for review still.

Source: dill 0.4, `dill/_dill.py`; cloudpickle 3.1, `cloudpickle/cloudpickle.py`; CPython 3.8 to 3.14, `Objects/codeobject.c`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastness.models.scan.machine.persistent import reaches_beyond
from fastness.models.scan.machine.values import Global, Items, Made, Standing, Text

_CLOUD = ("cloudpickle.cloudpickle", "cloudpickle.cloudpickle_fast", "joblib.externals.cloudpickle.cloudpickle",
          "ray.cloudpickle.cloudpickle", "pyspark.cloudpickle.cloudpickle")  # fmt: skip
_DILL = ("dill._dill", "dill.dill")


def _paths(modules: tuple[str, ...], *names: str) -> frozenset[str]:
    return frozenset(f"{module}.{name}" for module in modules for name in names)


CODE_MAKERS = _paths(("types",), "CodeType") | _paths(_DILL, "_create_code")
FUNCTION_MAKERS = (
    _paths(("types",), "FunctionType", "LambdaType")
    | _paths(_DILL, "_create_function")
    | _paths(_CLOUD, "_make_function", "_make_skel_func")
)
CLASS_MAKERS = _paths(_DILL, "_create_type") | _paths(_CLOUD, "_make_skeleton_class", "_make_skel_class")
_TYPE_FINDERS = _paths(_DILL, "_load_type") | _paths(_CLOUD, "_builtin_type")
_IMPORTERS = _paths(_DILL, "_import_module") | _paths(_CLOUD, "subimport")
_TYPE = frozenset({"builtins.type"})
_TENSORS = _paths(("torch._utils",), "_rebuild_tensor", "_rebuild_tensor_v2")
ENCODER = "_codecs.encode"
LOADERS = frozenset({"torch.storage._load_from_bytes"})
"""What they are given is a file of its own, in the format of torch before it used archives."""
PARTIAL = frozenset({"functools.partial", "_functools.partial"})
_ITEMS = frozenset({"operator.itemgetter", "_operator.itemgetter"})
FUNCTIONS_MADE = PARTIAL | _ITEMS
"""What they make is a function: calling it calls something that the stream does not name there."""
FINDERS = frozenset({"builtins.getattr", "dill._dill._get_attr"})
SETTER = "builtins.setattr"
_CELLS = _paths(_DILL, "_create_cell")
LATE = LOADERS | FUNCTIONS_MADE | FINDERS | _TYPE | {SETTER}
"""Told as imports only where something holds them, beside their calls, which are judged one by one."""
SOFT = CODE_MAKERS | FUNCTION_MAKERS | _TYPE_FINDERS | _TYPE
"""Held without being called, they are no more than unknown."""

_REACHING = frozenset({
    "system", "popen", "Popen", "exec", "__import__", "execv", "execve", "execvp", "execvpe", "execl", "execle", "execlp",
    "spawnl", "spawnle", "spawnlp", "spawnv", "spawnve", "spawnvp", "posix_spawn", "fork", "forkpty", "check_output",
    "check_call", "getoutput", "getstatusoutput", "startfile", "create_subprocess_exec", "create_subprocess_shell",
    "subprocess", "ctypes", "CDLL", "pty", "socket", "create_connection", "urlopen", "urlretrieve", "rmtree", "unlink",
    "run_path", "run_module", "runpy", "marshal", "winreg", "webbrowser", "__subclasses__", "__globals__", "__builtins__",
})  # fmt: skip
"""Names of code, variables or attributes, that honest functions of models do not use."""
_MACHINE_MODULES = frozenset({
    "subprocess", "ctypes", "_ctypes", "pty", "socket", "_socket", "runpy", "marshal", "webbrowser", "posix", "nt", "winreg",
    "_winapi", "_posixsubprocess", "multiprocessing", "asyncio", "telnetlib", "ftplib", "smtplib", "code", "codeop", "pdb",
})  # fmt: skip
_LOAD_GLOBAL = (116, 101, 91, 92, 93)
_LOAD_ATTRIBUTE = (106, 160, 82, 80)
_SHOWN = 8


def piece_of(args: object) -> Text | None:
    """The bytes that a function is given, where they stand in the file, or a text that is encoded to them."""
    parts = _parts(args)
    whole = parts[0] if len(parts) == 1 else None
    if isinstance(whole, Made) and whole.maker == ENCODER and whole.standing is Standing.REVIEWED:
        whole = _first(whole.args)
    return whole if isinstance(whole, Text) and whole.at >= 0 and not whole.form else None


def is_special(callee: Global) -> bool:
    """Whether the standing of its calls depends on more than its name."""
    return callee.path in _RULES


def judged(callee: Global, args: object) -> Standing | None:
    """The standing of a call that depends on its arguments; None where it does not."""
    rule = _RULES.get(callee.path)
    return None if rule is None else rule(args)


def resolved(callee: Global, args: object) -> Global | None:
    """The type that a finder of types gives by its name, which is then as if it were imported."""
    name = _first(args)
    if callee.path in _TYPE and len(_parts(args)) == 1:
        return Global("builtins", "NoneType", Standing.REVIEWED) if name is None else None
    if callee.path not in _TYPE_FINDERS:
        return None
    return Global("types", name, Standing.UNKNOWN) if isinstance(name, str) and name.isidentifier() else None


def attribute_of(callee: Global, args: object) -> tuple[str, str] | None:
    """Module and qualified name of what `getattr` finds in a class that is named, or in an object of one."""
    parts = _parts(args)
    if callee.path not in FINDERS or len(parts) != 2 or not isinstance(parts[1], str):
        return None
    owner = parts[0]
    if isinstance(owner, Made) and owner.standing is Standing.REVIEWED:
        module, _, name = owner.maker.rpartition(".")
    elif isinstance(owner, Global):
        module, name = owner.module, owner.name
    else:
        return None
    return module, f"{name}.{parts[1]}"


def setter_of(callee: Global, args: object) -> Global | None:
    """`setattr` itself, where dill asks for it by `getattr(dill._dill, "_setattr", setattr)`, to fill a cell of a function."""
    parts = _parts(args)
    if callee.path not in FINDERS or len(parts) != 3 or parts[1] != "_setattr":
        return None
    module, found = parts[0], parts[2]
    named = isinstance(module, Global) and module.path in _DILL
    return found if named and isinstance(found, Global) and found.path == SETTER else None


def code_standing(args: object) -> Standing:
    """How far the code that is made of `args` reaches."""
    names = _names(args)
    return Standing.UNKNOWN if names is not None and not reaching(args) else Standing.DANGEROUS


def reaching(args: object) -> list[str]:
    """Those of the code's names that reach for the machine."""
    names = _names(args) or []
    found = [name for name in names if name in _REACHING]
    return found + (["eval"] if "eval" in names and _is_loaded(names.index("eval"), args) else [])


def described(args: object) -> str:
    """What the code is called and which names it uses, for people."""
    texts = [part for part in _parts(args) if isinstance(part, str)]
    names = _names(args)
    shown = "hidden" if names is None else ", ".join((reaching(args) or names)[:_SHOWN]) or "none"
    return f"{texts[1] if len(texts) > 1 else 'a function'}, with the names {shown}"


def _parts(args: object) -> Sequence[object]:
    return args.kept if isinstance(args, Items) and args.kind == "tuple" and args.count == len(args.kept) else ()


def _first(args: object) -> object:
    parts = _parts(args)
    return parts[0] if parts else None


def _names(args: object) -> list[str] | None:
    """The names that the code uses: the second tuple, behind its constants, in every version. None where hidden."""
    parts = _parts(args)
    code = next((at for at, part in enumerate(parts) if isinstance(part, Items)), len(parts))
    if len(parts) < code + 2:
        return None
    constants, names = parts[code], parts[code + 1]
    if not isinstance(constants, Items) or not isinstance(names, Items):
        return None
    if {constants.kind, names.kind} != {"tuple"} or names.count != len(names.kept):
        return None
    texts = [name for name in names.kept if isinstance(name, str)]
    return texts if len(texts) == names.count else None


def _is_loaded(index: int, args: object) -> bool:
    """Whether the code loads its name of that index as a variable; `model.eval()` is no call of eval."""
    programs = [part for part in _parts(args) if isinstance(part, bytes) and len(part) > 1]
    numbers = {index & 255, 2 * index & 255, (2 * index + 1) & 255}
    pairs = [(p[at], p[at + 1]) for p in programs for at in range(0, len(p) - 1, 2)]
    as_variable = any(code in _LOAD_GLOBAL and number in numbers for code, number in pairs)
    as_attribute = any(code in _LOAD_ATTRIBUTE and number in numbers for code, number in pairs)
    return bool(programs) and (as_variable or not as_attribute)


def _function(args: object) -> Standing:
    code = _first(args)
    if isinstance(code, Made) and code.maker in CODE_MAKERS | FUNCTION_MAKERS:
        return code.standing
    return Standing.DANGEROUS


def _import(args: object) -> Standing:
    name = _first(args)
    if not isinstance(name, str):
        return Standing.DANGEROUS
    parts = name.split(".")
    reaches = parts[0] in _MACHINE_MODULES or not _REACHING.isdisjoint(parts)
    return Standing.DANGEROUS if reaches else Standing.UNKNOWN


def _plain_name(value: object) -> bool:
    """Whether it may be the name of an attribute of a model: none that leads to code, modules or the machine."""
    return isinstance(value, str) and value.isidentifier() and not value.startswith("__") and value not in _REACHING


def _get_attribute(args: object) -> Standing:
    """A method of a reviewed object, which is how pickle writes bound methods; not called yet."""
    parts = _parts(args)
    if len(parts) != 2 or not _plain_name(parts[1]):
        return Standing.DANGEROUS
    owner = parts[0]
    if isinstance(owner, str):
        return Standing.MISUSED
    if isinstance(owner, Global | Made) and owner.standing <= Standing.UNKNOWN:
        return max(Standing.MISUSED, owner.standing)
    return Standing.DANGEROUS


def _partial(args: object) -> Standing | None:
    """A function with some of its arguments; not called yet. None where the reviewed data says more of it."""
    function = _first(args)
    if isinstance(function, Global) and function.standing is Standing.REVIEWED:
        return None
    if isinstance(function, Global | Made) and function.standing <= Standing.UNKNOWN:
        return max(Standing.MISUSED, function.standing)
    return Standing.DANGEROUS


def _item_getter(args: object) -> Standing:
    """Which items it takes; not called yet."""
    parts = _parts(args)
    return Standing.REVIEWED if parts and all(_is_plain(part) for part in parts) else Standing.DANGEROUS


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int) or (isinstance(value, Made) and value.maker == "builtins.slice")


def _set_attribute(args: object) -> Standing:
    owner, name = (*_parts(args), None, None)[:2]
    by_value = isinstance(owner, Made) and owner.maker in CLASS_MAKERS | FUNCTION_MAKERS
    in_cell = isinstance(owner, Made) and owner.maker in _CELLS and name == "cell_contents"
    return Standing.UNKNOWN if by_value or in_cell else Standing.DANGEROUS


def _new_array(args: object) -> Standing | None:
    """Numpy makes room for the whole shape at once; its own pickles name an empty one, and fill it by a state."""
    shape = (*_parts(args), None, None)[1]
    small = isinstance(shape, Items) and shape.count == len(shape.kept) and all(n == 0 for n in shape.kept)
    return None if small else Standing.MISUSED


def _tensor(args: object) -> Standing | None:
    return Standing.MISUSED if reaches_beyond(args) else None


def _tensor_of_type(args: object) -> Standing | None:
    """The same, of a subclass: the function that rebuilds it, its class, and the arguments."""
    function, inner = (*_parts(args), None, None, None)[:3:2]
    return _tensor(inner) if isinstance(function, Global) and function.path in _TENSORS else None


def _type_of(args: object) -> Standing:
    if len(_parts(args)) == 1 and _first(args) is None:
        return Standing.REVIEWED
    return Standing.UNKNOWN if len(_parts(args)) == 1 else Standing.DANGEROUS


def _find_type(args: object) -> Standing:
    return Standing.UNKNOWN if isinstance(_first(args), str) else Standing.DANGEROUS


_RULES: dict[str, Callable[[object], Standing | None]] = {
    **dict.fromkeys(CODE_MAKERS, code_standing),
    **dict.fromkeys(FUNCTION_MAKERS, _function),
    **dict.fromkeys(_TYPE_FINDERS, _find_type),
    **dict.fromkeys(_IMPORTERS, _import),
    **dict.fromkeys(_TYPE, _type_of),
    **dict.fromkeys(PARTIAL, _partial),
    **dict.fromkeys(_ITEMS, _item_getter),
    **dict.fromkeys(FINDERS, _get_attribute),
    SETTER: _set_attribute,
    **dict.fromkeys(_TENSORS, _tensor),
    "torch._tensor._rebuild_from_type_v2": _tensor_of_type,
    **dict.fromkeys(_paths(("numpy.core.multiarray", "numpy._core.multiarray"), "_reconstruct"), _new_array),
}
