"""What is accepted because honest models hold it, turned against the loader: chains through it to anything else do not pass.

Each of these callables is in pickles that real libraries write: time zones, functions with some of their arguments, item
getters, distributions of scipy, exceptions, tables over Arrow. Success rate: 0.
"""

import pytest

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import call, report_of, rules_of, stack_global, stream, text

ZONE = stack_global("zoneinfo", "ZoneInfo")
UNPICKLE = call("builtins", "getattr", ZONE, text("_unpickle"))
TANH = stack_global("numpy", "tanh")
SYSTEM = stack_global("os", "system")
BY_NAME = stack_global("numpy._core", "_ufunc_reconstruct")
PARTIAL = call("functools", "partial", TANH)
SETTER = call(
    "builtins", "getattr", stack_global("dill", "_dill"), text("_setattr"), stack_global("builtins", "setattr")
)
CONFIG = stack_global("transformers.models.bert.configuration_bert", "BertConfig") + b")\x81"
NORM = stack_global("scipy.stats._continuous_distns", "norm_gen") + b")\x81"
BINOM = stack_global("scipy.stats._discrete_distns", "binom_gen") + b")\x81"


def tuple_of(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def dict_of(**parts: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in parts.items()) + b"u"


def string(value: str) -> bytes:
    """A text of any length."""
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def template(shapes: str = "", given: str = "loc=0, scale=1", kept: str = "loc, scale") -> str:
    return (
        f"\ndef _parse_args(self, {shapes} {given}):\n    return ({shapes}), {kept}\n\n"
        f"def _parse_args_rvs(self, {shapes} {given}, size=None):\n"
        f"    return self._argcheck_rvs({shapes} {kept}, size=size)\n\n"
        f"def _parse_args_stats(self, {shapes} {given}, moments='mv'):\n    return ({shapes}), {kept}, moments\n"
    )


def state(source: str, **more: bytes) -> bytes:
    return dict_of(_parse_arg_template=string(source), numargs=b"K\x00", moment_type=b"K\x01", **more) + b"b"


HONEST = {
    "a zone": UNPICKLE + tuple_of(text("Europe/Berlin"), b"K\x01") + b"R",
    "a zone of three parts": UNPICKLE + tuple_of(text("America/Argentina/Buenos_Aires"), b"K\x00") + b"R",
    "a part of a function": PARTIAL + tuple_of(TANH, b")", b"}", b"N") + b"b",
    "a part of a function with its arguments": PARTIAL + tuple_of(stack_global("numpy", "clip"), b")", dict_of(a_min=b"K\x00"), b"N") + b"b",
    "a dictionary of dictionaries": call("collections", "defaultdict", call("functools", "partial", stack_global("collections", "defaultdict"))
        + tuple_of(stack_global("collections", "defaultdict"), tuple_of(stack_global("builtins", "int")), b"}", b"N") + b"b"),
    "items": call("operator", "itemgetter", b"K\x01", text("name")),
    "a distribution": NORM + state(template()),
    "a distribution with shapes": BINOM + state(template("n, p, ", "loc=0", "loc, 1")),
    "the type of None": call("builtins", "type", b"N"),
    "a method of texts": call("builtins", "getattr", stack_global("builtins", "str"), text("lower")),
    "a configuration": CONFIG + dict_of(hidden_size=b"K\x08") + b"b",
    "an exception": call("builtins", "FileNotFoundError", b"K\x02", text("no such file")),
    "a type of Arrow": call("pyarrow.lib", "timestamp", text("ns"), b"N"),
}  # fmt: skip


@pytest.mark.parametrize("body", HONEST.values(), ids=HONEST)
@pytest.mark.parametrize("protocol", [3, 4])
def test_what_libraries_write_passes(body: bytes, protocol: int) -> None:
    report = report_of(stream(body, protocol))
    assert report.outcome is Outcome.PASS, report.verdict.findings


BLOCKED = {
    # ---- getattr, of which exact pairs are known
    "getattr, held": stack_global("builtins", "getattr"),
    "getattr, called once and held": UNPICKLE + b"0" + stack_global("builtins", "getattr"),
    "getattr, from the memo": stack_global("builtins", "getattr") + b"q\x05" + ZONE + text("_unpickle") + b"\x86R0h\x05" + SYSTEM + text("__call__") + b"\x86R",
    "a dunder of a zone": call("builtins", "getattr", ZONE, text("__init__")),
    "a function of a zone, called": call("builtins", "getattr", ZONE, text("from_file")) + tuple_of(text("x")) + b"R",
    "what a zone gives, called": UNPICKLE + tuple_of(text("UTC"), b"K\x01") + b"R" + call("builtins", "getattr", b"N", text("x")) + b"\x85R",
    "a zone that is changed": UNPICKLE + tuple_of(text("UTC"), b"K\x01") + b"R" + dict_of(utcoffset=TANH) + b"b",
    "the finder of zones, changed": UNPICKLE + dict_of(x=b"N") + b"b",
    "a zone of pytz that is changed": call("pytz", "_p", text("UTC")) + dict_of(utcoffset=TANH) + b"b",
    "flags that are changed": call("re", "RegexFlag", b"K\x02") + dict_of(x=b"N") + b"b",
    # ---- functions that are made
    "items of anything, called": call("operator", "itemgetter", text("system")) + tuple_of(dict_of(system=b"N")) + b"R",
    "a part of a function, called": PARTIAL + tuple_of(b"K\x01") + b"R",
    "a part of a function, called without arguments": PARTIAL + b")R",
    "a part of a function that becomes another": PARTIAL + tuple_of(SYSTEM, tuple_of(text("true")), b"}", b"N") + b"b",
    "a part of nothing": PARTIAL + tuple_of(b"N", b")", b"}", b"N") + b"b",
    "a part with a state of another shape": PARTIAL + dict_of(func=SYSTEM) + b"b",
    "a part of getattr": call("functools", "partial", stack_global("builtins", "getattr"), ZONE),
    "a part of a part of something dangerous": call("functools", "partial", call("functools", "partial", SYSTEM)),
    "a factory that is a part of something dangerous": call("collections", "defaultdict", call("functools", "partial", SYSTEM, text("true"))),
    "the attributes of anything": call("operator", "attrgetter", text("f.__globals__")),
    "a method of anything": call("operator", "methodcaller", text("system"), text("true")),
    "every one of many": call("builtins", "map", call("operator", "itemgetter", b"K\x00"), b"]"),
    "what is left of many": call("functools", "reduce", PARTIAL, b"]"),
    "a function over arrays": stack_global("numpy", "vectorize") + b")\x81" + dict_of(pyfunc=SYSTEM) + b"b",
    # ---- distributions
    "a distribution that runs something else": NORM + state(template() + "import os\n"),
    "a distribution with code among its shapes": NORM + state(template("a=__import__('os').system('true'), ")),
    "a distribution with code in its default": NORM + state(template(given="loc=0, scale=print(1)")),
    "a distribution whose shapes differ": NORM + state(template("a, ").replace("return (a, ), loc", "return (b, ), loc")),
    "a distribution with another text as well": NORM + dict_of(_parse_arg_template=string(template())) + text("_parse_arg_template") + string("x" * 300) + b"sb",
    "a distribution that runs nothing known": NORM + state("import os\n"),
    "a distribution with a method of its own": NORM + state(template(), _attach_methods=TANH),
    "a distribution with a state before its state": NORM + state(template(), __setstate__=TANH),
    "a distribution that is given a second state": NORM + state(template()) + dict_of(_parse_arg_template=string("import os")) + b"b",
    "a distribution by another way": call("copyreg", "_reconstructor", stack_global("scipy.stats._continuous_distns", "norm_gen"), stack_global("builtins", "object"), b"N") + state("import os"),
    # ---- what dill does to fill the cells of functions
    "setattr, held": SETTER,
    "setattr of something else": SETTER + tuple_of(stack_global("lib", "x"), text("f"), TANH) + b"R",
    "setattr, from a module of another name": call("builtins", "getattr", stack_global("lib", "_dill"), text("_setattr"), stack_global("builtins", "setattr")),
    "another function of dill": call("builtins", "getattr", stack_global("dill", "_dill"), text("_import_module"), stack_global("builtins", "setattr")),
    "another function in the place of setattr": call("builtins", "getattr", stack_global("dill", "_dill"), text("_setattr"), SYSTEM),
    "another attribute of a cell": SETTER + tuple_of(call("dill._dill", "_create_cell", b"N"), text("__class__"), TANH) + b"R",
    "something dangerous in a cell": SETTER + tuple_of(call("dill._dill", "_create_cell", b"N"), text("cell_contents"), SYSTEM) + b"R",
    "setattr, kept after filling a cell": SETTER + b"q\x07" + tuple_of(call("dill._dill", "_create_cell", b"N"), text("cell_contents"), b"N") + b"R0h\x07" + tuple_of(ZONE, text("x"), TANH) + b"R",
    # ---- configurations of transformers
    "a configuration that looks its own methods up elsewhere": CONFIG + dict_of(attribute_map=dict_of(__setstate__=text("f")), f=TANH) + b"b" + text("x") + b"b",
    "a configuration whose hash is something else": stack_global("transformers.generation.configuration_utils", "GenerationConfig") + b")\x81" + dict_of(to_json_string=TANH) + b"b",
    # ---- values
    "an exception, with something dangerous": call("builtins", "ValueError", SYSTEM),
    "a buffer that is computed": call("pyarrow.lib", "py_buffer", call("builtins", "eval", text("1"))),
}  # fmt: skip


@pytest.mark.parametrize("body", BLOCKED.values(), ids=BLOCKED)
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_chain_to_something_else_blocks(body: bytes, protocol: int) -> None:
    report = report_of(stream(body, protocol))
    assert report.outcome is Outcome.BLOCK, report.verdict.findings


REVIEWED = {
    "a cell of a function": SETTER + tuple_of(call("dill._dill", "_create_cell", b"N"), text("cell_contents"), b"K\x03") + b"R",
    "a zone that leaves its folder": UNPICKLE + tuple_of(text("../../../etc/passwd"), b"K\x01") + b"R",
    "a zone with a root": UNPICKLE + tuple_of(text("/etc/passwd"), b"K\x01") + b"R",
    "a zone with dots": UNPICKLE + tuple_of(text("Europe/.."), b"K\x01") + b"R",
    "a zone of pytz that leaves its folder": call("pytz", "_p", text("../x")),
    "a zone that is no text": UNPICKLE + tuple_of(b"K\x01", b"K\x01") + b"R",
    "a zone, made by its own code": call("zoneinfo", "ZoneInfo", text("UTC")),
    "another method of a zone": call("builtins", "getattr", ZONE, text("from_file")),
    "a part of a function that takes names": call("functools", "partial", BY_NAME, text("os"), text("system")),
    "the same, in its state": PARTIAL + tuple_of(BY_NAME, tuple_of(text("os"), text("system")), b"}", b"N") + b"b",
    "a function that is given such a function": call("functools", "partial", stack_global("builtins", "sorted"), b"]", BY_NAME),
    "the same, by name": PARTIAL + tuple_of(stack_global("builtins", "sorted"), b")", dict_of(key=BY_NAME), b"N") + b"b",
    "a method of texts that walks on": call("builtins", "getattr", stack_global("builtins", "str"), text("format")),
    "partial, held": stack_global("functools", "partial"),
    "a function over arrays, called": stack_global("numpy", "vectorize") + b")\x81" + dict_of(pyfunc=TANH) + b"b" + b"K\x01\x85R",
    "a distribution of no text": NORM + dict_of(a=b"K\x00") + b"b",
    "a distribution with a state of pairs": NORM + b"](" + tuple_of(text("a"), b"N") + b"eb",
    "a distribution, made by its own code": call("scipy.stats._continuous_distns", "norm_gen", text("x")),
    "a configuration with slots": CONFIG + b"N" + dict_of(per_layer_config=b"N") + b"\x86b",
    "an exception, called": call("builtins", "ValueError") + b")R",
}  # fmt: skip


@pytest.mark.parametrize("body", REVIEWED.values(), ids=REVIEWED)
@pytest.mark.parametrize("protocol", [2, 4])
def test_what_no_library_writes_does_not_pass(body: bytes, protocol: int) -> None:
    report = report_of(stream(body, protocol))
    assert report.outcome in {Outcome.REVIEW, Outcome.BLOCK}, report.verdict.findings


def test_a_function_with_a_closure_is_for_review_and_not_blocked() -> None:
    body = SETTER + tuple_of(call("dill._dill", "_create_cell", b"N"), text("cell_contents"), b"K\x03") + b"R"
    assert report_of(stream(body)).outcome is Outcome.REVIEW


def test_the_finding_names_what_a_distribution_would_run() -> None:
    report = report_of(stream(NORM + state("import os\n")))
    assert "pickle-dangerous-call" in rules_of(report)
    assert any("norm_gen.__setstate__" in finding.message for finding in report.verdict.findings)
