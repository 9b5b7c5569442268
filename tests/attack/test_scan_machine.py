"""Attacks on the model of the pickle machine: what an instruction does beyond what it is called. Nothing here may ever run.

Each class is a way by which one unpickler does more, or something else, than a scanner believes. Success rate: 0.
"""

import io
import pickle
from pathlib import Path

import pytest

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import (
    EVIL,
    SYSTEM,
    call,
    global_,
    report_of,
    rules_of,
    stack_global,
    stream,
    text,
)

ORDERED = stack_global("collections", "OrderedDict")
INSTANCE = stack_global("types", "SimpleNamespace") + b")\x81"
HELD = stack_global("numpy", "tanh")
ARG = b"(" + text("true") + b"t"


def code(
    names: bytes,
    program: bytes = b"\x97\x00",
    consts: bytes = b"N\x85",
    maker: bytes = stack_global("types", "CodeType"),
) -> bytes:
    """A code object of CPython 3.11, with these names."""
    head = maker + b"(" + b"K\x00" * 5 + b"K\x43" + b"C" + bytes([len(program)]) + program
    return head + consts + names + b")" + text("f.py") + text("f") + text("f") + b"K\x01" + b"C\x00C\x00))tR"


def names(*values: str) -> bytes:
    return b"(" + b"".join(text(value) for value in values) + b"t"


def diamond(depth: int) -> bytes:
    """Each level holds two lists, each of which holds the level before."""
    body = b"]\x94"
    for level in range(depth):
        body += b"](]h" + bytes([level]) + b"a]h" + bytes([level]) + b"ae\x94"
    return body


LAMBDA = code(names("log1p"))
FUNCTION = stack_global("cloudpickle.cloudpickle", "_make_function")
CASES = {
    # name: bytes, outcome, a rule that must be among the findings
    # ---- attributes that a state puts before those of the class
    "a state that brings its own __setstate__": (INSTANCE + b"}" + text("__setstate__") + HELD + b"sb" + text("x") + b"b", "block", "pickle-computed-call"),
    "a state that brings its own append": (INSTANCE + b"}" + text("append") + HELD + b"sbK\x01a", "block", "pickle-computed-call"),
    "a state that brings its own extend": (INSTANCE + b"}" + text("extend") + HELD + b"sb(K\x01K\x02e", "block", "pickle-computed-call"),
    "a state that brings its own add": (INSTANCE + b"}" + text("add") + HELD + b"sb(K\x01\x90", "block", "pickle-computed-call"),
    "the same, in slots": (INSTANCE + b"N}" + text("append") + HELD + b"s\x86bK\x01a", "block", "pickle-computed-call"),
    "the same, through a dictionary of another kind": (INSTANCE + ORDERED + b")R" + text("append") + HELD + b"sbK\x01a", "block", "pickle-computed-call"),
    "the same, behind many other keys": (INSTANCE + b"}(" + b"".join(text(f"k{i}") + b"N" for i in range(400)) + text("append") + HELD + b"ubK\x01a", "block", "pickle-computed-call"),
    "slots that change the class": (INSTANCE + b"N}" + text("__class__") + HELD + b"s\x86b", "block", "pickle-tampering"),
    "slots that change a class's method": (ORDERED + b"N}" + text("update") + HELD + b"s\x86b", "block", "pickle-tampering"),
    "a module's contents": (stack_global("lib", "module") + b"}" + text("f") + HELD + b"sb", "block", "pickle-tampering"),
    # ---- what is called
    "the instance of a reviewed class": (INSTANCE + b")R", "review", "pickle-unusual-call"),
    "a method of a reviewed object, called": (call("builtins", "getattr", INSTANCE, text("run")) + b")R", "block", "pickle-computed-call"),
    "a method of a reviewed object, held": (call("builtins", "getattr", INSTANCE, text("run")), "review", "pickle-unusual-call"),
    "an attribute of a class with underscores": (call("builtins", "getattr", ORDERED, text("__init__")), "block", "pickle-dangerous-call"),
    "an attribute of a module": (call("builtins", "getattr", stack_global("lib", "os"), text("system")) + ARG + b"R", "block", "pickle-dangerous-call"),
    "a partial of a reviewed function, called": (call("functools", "partial", HELD) + b")R", "block", "pickle-computed-call"),
    "a partial of something dangerous": (call("functools", "partial", stack_global("os", "system")), "block", "pickle-dangerous-call"),
    "a partial that is given its function later": (call("functools", "partial", HELD) + b"(" + stack_global("os", "system") + b")}Ntb", "block", "pickle-dangerous-global"),
    "a named import": (call("importlib", "import_module", text("os")), "block", "pickle-dangerous-call"),
    "a name that is resolved": (call("pkgutil", "resolve_name", text("os:system")) + ARG + b"R", "block", "pickle-dangerous-call"),
    "an unlisted class, made by a reviewed function": (call("copyreg", "_reconstructor", stack_global("lib", "C"), stack_global("builtins", "object"), b"N"), "review", "pickle-unusual-call"),
    "an unlisted class by __newobj__": (call("copyreg", "__newobj__", stack_global("lib", "C")), "review", "pickle-unusual-call"),
    "arguments that are no tuple": (stack_global("os", "system") + b"]" + text("true") + b"aR", "block", "pickle-dangerous-call"),
    # ---- names
    "a name with a null byte": (stack_global("os\0", "system") + ARG + b"R", "review", "pickle-unknown-call"),
    "a name with a newline": (stack_global("os\nsystem\n", "x") + ARG + b"R", "review", "pickle-unknown-call"),
    "a name in other letters of the same shape": (stack_global("\uff4f\uff53", "system") + ARG + b"R", "review", "pickle-unknown-call"),
    "two splits of one path, of which one is reviewed": (stack_global("numpy", "_core.multiarray._reconstruct") + b"0" + stack_global("numpy._core.multiarray", "_reconstruct") + b"(" + stack_global("numpy", "ndarray") + b"K\x00\x85C\x01btR", "block", "pickle-dotted-name"),
    # ---- code by value
    "a function by value": (FUNCTION + b"(" + LAMBDA + b"}NNNtR", "review", "pickle-unknown-call"),
    "a function by value, called": (FUNCTION + b"(" + LAMBDA + b"}NNNtR)R", "block", "pickle-computed-call"),
    "a function that names os.system": (FUNCTION + b"(" + code(names("os", "system")) + b"}NNNtR", "block", "pickle-dangerous-code"),
    "a function that imports subprocess": (code(names("subprocess", "run")), "block", "pickle-dangerous-code"),
    "a function that evaluates": (code(names("eval"), b"\x97\x00\x74\x01"), "block", "pickle-dangerous-code"),
    "a function that sets a network to evaluation": (code(names("eval"), b"\x7c\x00\xa0\x00"), "review", "code-in-model"),
    "a function whose names are computed": (code(call("builtins", "tuple", names("os", "system"))), "block", "pickle-dangerous-code"),
    "a function whose names do not fit": (code(names(*(f"n{i}" for i in range(300)))), "block", "pickle-dangerous-code"),
    "code of dill": (code(names("system"), maker=stack_global("dill._dill", "_create_code")), "block", "pickle-dangerous-code"),
    "code by a type that is found by name": (code(names("popen"), maker=call("cloudpickle.cloudpickle", "_builtin_type", text("CodeType"))), "block", "pickle-dangerous-code"),
    "a function of something else than code": (FUNCTION + b"(" + text("x") + b"}tR", "block", "pickle-dangerous-call"),
    "a module that starts programs": (call("cloudpickle.cloudpickle", "subimport", text("subprocess")), "block", "pickle-dangerous-call"),
    "a module of numbers": (call("cloudpickle.cloudpickle", "subimport", text("numpy")), "review", "pickle-unknown-call"),
    # ---- bombs
    "a memo without end": (b"Nr\xff\xff\xff\xff", "block", "pickle-memo-gap"),
    "a memo without end, as text": (b"Np4000000000\n", "block", "pickle-memo-gap"),
    "lists that hold the ones before twice, each in a list of its own": (diamond(40), "block", "pickle-amplification"),
    "lists in lists without end": (b"]" * 20_000 + b"a" * 19_999, "block", "pickle-amplification"),
    "tuples in tuples without end": (b")" + b"\x85" * 20_000, "block", "pickle-amplification"),
    "dictionaries in dictionaries without end": (b"}N" * 20_000 + b"N" + b"s" * 20_000, "block", "pickle-amplification"),
    "an array that takes all memory": (stack_global("numpy._core.multiarray", "_reconstruct") + b"(" + stack_global("numpy", "ndarray") + b"\x8a\x06" + (1 << 44).to_bytes(6, "little") + b"\x85C\x01btR", "review", "pickle-unusual-call"),
    "a number of very many digits": (b"I" + b"9" * 5000 + b"\n", "incomplete", "pickle-malformed"),
    # ---- instructions
    "a call of what a broken instruction gave": (b"\x8c\x01\xff)R", "incomplete", "pickle-malformed"),
    "a broken number before a call": (b"Ix\n0" + SYSTEM, "block", "pickle-dangerous-call"),
    "a broken text below a callable": (stack_global("os", "system") + b"\x8c\x01\xff\x85R", "block", "pickle-dangerous-call"),
    "a protocol that changes on the way": (b"\x80\x02" + global_("__builtin__", "eval") + b"\x80\x04" + ARG + b"R", "block", "pickle-dangerous-call"),
    "a class of old style with nothing": (b"(ios\nsystem\n", "block", "pickle-dangerous-call"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "outcome", "rule"), CASES.values(), ids=CASES)
def test_case(body: bytes, outcome: str, rule: str) -> None:
    report = report_of(stream(body))
    assert (report.outcome.value, rule in rules_of(report)) == (outcome, True), report.verdict.findings


HONEST = {
    "a partial of a reviewed function, held": call("functools", "partial", HELD),
    "many parts that point back to their list": b"]\x94(" + b"e(".join(b"]h\x00a" * 1000 for _ in range(6)) + b"e",
    "many parts that point back to their dictionary": b"}\x94(" + b"u(".join(b"".join(b"M" + bytes([i & 255, i >> 8]) + b"]h\x00a" for i in range(1000)) for _ in range(6)) + b"u",
    "parts that point back, put in one by one": b"]\x94" + b"]h\x00aa" * 12_000,
    "entries that point back, put in one by one": b"}\x94" + b"N]h\x00as" * 12_000,
    "a list that holds itself": b"]\x94" + b"h\x00a" * 12_000,
    "a list that is shared widely": b"](]\x94" + b"h\x00" * 5000 + b"e",
    "an attribute called append": INSTANCE + b"}" + text("append") + b"\x88sb",
    "a number in hexadecimal": b"I0x10\n",
    "a dictionary with a key of a method": b"}" + text("__setstate__") + text("x") + b"s",
}  # fmt: skip


@pytest.mark.parametrize("body", HONEST.values(), ids=HONEST)
def test_what_only_looks_like_it_passes(body: bytes) -> None:
    report = report_of(stream(body))
    assert report.outcome is Outcome.PASS, report.verdict.findings


def test_names_of_an_earlier_stream_may_still_stand_in_the_memo() -> None:
    """One Unpickler that loads several streams keeps its memo: the second stream names what the first one wrote."""
    first = b"\x80\x04(" + text("os") + b"\x94" + text("system") + b"\x94t."
    second = b"\x80\x04h\x00h\x01\x93" + ARG + b"R."
    assert report_of(first + second).outcome is not Outcome.PASS
    both = b"\x80\x04" + text("collections") + b"\x94" + text("OrderedDict") + b"\x9400h\x00h\x01\x93)R."
    assert report_of(both).outcome is Outcome.PASS
    assert report_of(first + both).outcome is not Outcome.PASS


LOADER = stack_global("torch.storage", "_load_from_bytes")
PIECE = EVIL + stream(b"C\xc8" + bytes(200) + b"0N")


def blob(data: bytes) -> bytes:
    return b"B" + len(data).to_bytes(4, "little") + data


def as_text(data: bytes) -> bytes:
    """Bytes as protocol 2 writes them."""
    written = data.decode("latin-1").encode()
    return (
        global_("_codecs", "encode") + b"X" + len(written).to_bytes(4, "little") + written + text("latin1") + b"\x86R"
    )


LOADED = {
    "bytes that are a payload": (LOADER + blob(PIECE) + b"\x85R", "pickle-dangerous-call"),
    "a payload as text": (LOADER + as_text(PIECE) + b"\x85R", "pickle-dangerous-call"),
    "through the memo": (LOADER + b"q\x07" + blob(PIECE) + b"q\x0800h\x07h\x08\x85R", "pickle-dangerous-call"),
    "few bytes": (LOADER + b"C\x01x\x85R", "pickle-dangerous-call"),
    "computed bytes": (LOADER + call("base64", "b64decode", text("x")) + b"\x85R", "pickle-dangerous-call"),
    "held": (LOADER, "pickle-dangerous-global"),
    "called, and held as well": (LOADER + b"q\x07" + blob(bytes(300)) + b"\x85R0h\x07", "pickle-dangerous-global"),
    "called, and held by a copy": (LOADER + b"2" + blob(bytes(300)) + b"\x85R", "pickle-dangerous-global"),
    "with a part of its arguments": (call("functools", "partial", LOADER, blob(bytes(300))), "pickle-dangerous-call"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "rule"), LOADED.values(), ids=LOADED)
def test_models_within_bytes_hide_nothing(body: bytes, rule: str) -> None:
    report = report_of(stream(body))
    assert report.outcome is Outcome.BLOCK
    assert rule in rules_of(report)


def test_bytes_that_nobody_knows_are_not_vouched_for() -> None:
    assert report_of(stream(LOADER + blob(bytes(range(256))) + b"\x85R")).outcome is Outcome.INCOMPLETE


FUNCTIONS = Path(__file__).parents[1] / "data" / "artifacts" / "functions"


@pytest.mark.parametrize("library", ["dill", "cloudpickle"])
def test_functions_by_value_are_for_review_and_block_by_what_they_reach(library: str) -> None:
    clean = report_of((FUNCTIONS / f"{library}-clean.pkl").read_bytes())
    assert clean.outcome is Outcome.REVIEW, clean.verdict.findings
    wipe = report_of((FUNCTIONS / f"{library}-wipe.pkl").read_bytes())
    assert wipe.outcome is Outcome.BLOCK
    assert "pickle-dangerous-code" in rules_of(wipe)


def test_a_stream_within_the_texts_of_another_is_found_behind_a_break() -> None:
    report = report_of(pickle.dumps([1])[:-1] + b"\xff" + bytes(7) + EVIL)
    assert "pickle-dangerous-call" in rules_of(report)


def test_a_shared_unpickler_really_keeps_its_memo() -> None:
    file = io.BytesIO(b"\x80\x04" + text("a") + b"\x94.\x80\x04h\x00.")
    loader = pickle.Unpickler(file)
    assert [loader.load(), loader.load()] == ["a", "a"]
