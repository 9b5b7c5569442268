"""Published ways past scanners of pickles, arrays and graphs, each as the class it is. Nothing here may ever run.

Success rate of the attacks: 0 of those below. Payloads are inert: they would create a marker file.
"""

import base64
import bz2
import gzip
import io
import lzma
import os
import pickle
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import (
    EVIL,
    SYSTEM,
    Reduces,
    call,
    global_,
    npy,
    report_of,
    rules_of,
    safetensors,
    stack_global,
    stream,
    tensor,
    text,
)

PLAIN = pickle.dumps({"lr": 0.1, "w": [1.0, 2.0]}, 4)
ARG = b"(" + text("true") + b"t"


@pytest.fixture(autouse=True)
def nothing_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test may start a program, evaluate code or leave a file."""
    ran: list[str] = []
    for name in ("system", "popen"):
        monkeypatch.setattr(os, name, lambda *_: ran.append("os"))
    yield
    assert not ran
    assert not list(tmp_path.iterdir())


# Deny-list gaps: picklescan GHSA-g38g, -vvpj, -7wx9, #66, #74; CVE-2025-1716; fickling GHSA-wfq2, -q5qq, -p523; modelscan
# #311, #313, PR 346. The last ones stand on no list: what is unknown is for review at least, whatever it is called.
GADGETS = """pip:main pip._internal:main importlib:import_module marshal:loads runpy:run_path webbrowser:open pty:spawn
code:interact operator:attrgetter operator:methodcaller functools:partial timeit:timeit cProfile:run pdb:run ctypes:CDLL
types:FunctionType torch.hub:load numpy.testing._private.utils:runstring pkgutil:resolve_name urllib.request:urlopen
asyncio.unix_events:_UnixSubprocessTransport._start shutil:rmtree socket:create_connection idlelib.run:Executive.runcode
lib2to3.pgen2.grammar:Grammar.loads _osx_support:_read_output _aix_support:_read_cmd_output uuid:_get_command_stdout
imaplib:IMAP4_stream _pyrepl.pager:pipe_pager pandas:eval numpy:load joblib:load torch:load ensurepip:_run_pip mailcap:findmatch
_interpreters:exec bdb:Bdb.run ssl:get_server_certificate doctest:debug_script trace:Trace venv:create"""
UNLISTED = [
    "some.new.package:run",
    "wsgiref.handlers:read_environ",
    "tkinter:Tcl",
    "sklearn.datasets._base:_fetch_remote",
]


@pytest.mark.parametrize("gadget", GADGETS.split())
def test_dangerous_callables_block(gadget: str) -> None:
    module, name = gadget.split(":")
    report = report_of(stream(b"}(" + text("state") + call(module, name, text("true")) + b"u"))
    assert report.outcome is Outcome.BLOCK


@pytest.mark.parametrize("gadget", UNLISTED)
def test_callables_on_no_list_are_for_review_at_least(gadget: str) -> None:
    module, name = gadget.split(":")
    assert report_of(stream(call(module, name, text("true")))).outcome in {Outcome.REVIEW, Outcome.BLOCK}


MEMO = (
    text("os")
    + b"q\x00"
    + text("system")
    + b"q\x01"
    + text("torch._utils")
    + b"\x94"
    + text("_rebuild_tensor_v2")
    + b"\x94"
)
BUILD = b"N}(" + text("a") + text("os") + text("b") + text("system") + b"u\x86b0"
MODULES = stack_global("sys", "modules")
LONG = b"\x8d" + (2).to_bytes(8, "little") + b"os" + b"\x8d" + (6).to_bytes(8, "little") + b"system"
FRAME = b"\x95" + (4).to_bytes(8, "little")
BOMB = b"(" + text("lol") + b"\x94" + b"".join(b"0(" + (b"h" + bytes([i])) * 10 + b"l\x94" for i in range(12)) + b"l"

STREAMS = {
    # name: bytes, a rule that must be among the findings
    "protocol 0, GLOBAL": (b"cos\nsystem\n(S'true'\ntR.", "pickle-dangerous-call"),
    "INST": (b"(S'true'\nios\nsystem\n.", "pickle-dangerous-call"),
    "OBJ": (b"(cos\nsystem\nS'true'\no.", "pickle-dangerous-call"),
    "OBJ, result thrown away": (b"\x80\x04(" + stack_global("os", "system") + text("true") + b"o0N.", "pickle-dangerous-call"),
    "NEWOBJ": (stream(stack_global("subprocess", "Popen") + ARG + b"\x81"), "pickle-dangerous-call"),
    "NEWOBJ_EX": (stream(stack_global("subprocess", "Popen") + ARG + b"}\x92"), "pickle-dangerous-call"),
    "memo confusion of PUT and MEMOIZE (picklescan #14)": (stream(MEMO + b"0000h\x00h\x01\x93" + ARG + b"R"), "pickle-dangerous-call"),
    "names through the memo": (stream(text("system") + b"\x940" + text("os") + b"h\x00\x93" + ARG + b"R"), "pickle-dangerous-call"),
    "names through DUP": (stream(text("x") + text("x") + b"2" + b"0\x93" + b"0" + SYSTEM), "pickle-dangerous-call"),
    "names by STRING": (b"\x80\x04S'os'\nS'system'\n\x93" + ARG + b"R.", "pickle-dangerous-call"),
    "names by STRING with escapes": (b"\x80\x04S'\\x6fs'\nS'syst\\145m'\n\x93" + ARG + b"R.", "pickle-dangerous-call"),
    "names by UNICODE with escapes": (b"\x80\x04V\\u006fs\nVsystem\n\x93" + ARG + b"R.", "pickle-dangerous-call"),
    "names by BINUNICODE8": (b"\x80\x04" + LONG + b"\x93" + ARG + b"R.", "pickle-dangerous-call"),
    "names by BINSTRING": (b"\x80\x04U\x02osU\x06system\x93" + ARG + b"R.", "pickle-dangerous-call"),
    "names by a call": (stream(call("builtins", "str", text("os")) + text("system") + b"\x93" + ARG + b"R"), "pickle-unresolved-global"),
    "an old name": (b"\x80\x02c__builtin__\nexec\n(X\x04\x00\x00\x00passtR.", "pickle-dangerous-call"),
    "a dotted name through a harmless module": (stream(call("logging", "os.system", text("true"))), "pickle-dangerous-call"),
    "a dotted name through a reviewed class": (stream(call("collections", "OrderedDict.__init__.__globals__", text("x"))), "pickle-dotted-name"),
    "a dotted name that only walks": (stream(stack_global("sklearn.dummy", "DummyClassifier.fit")), "pickle-dotted-name"),
    "BUILD sets attributes of a function (modelscan #85)": (stream(stack_global("numpy", "prod") + BUILD + b"N"), "pickle-tampering"),
    "BUILD on a reviewed class": (stream(stack_global("collections", "OrderedDict") + b"}(" + text("update") + b"K\x01ub"), "pickle-tampering"),
    "sys.modules overwritten": (stream(MODULES + text("collections") + stack_global("lib", "x") + b"s"), "pickle-tampering"),
    "a registry code": (stream(b"\x82\x01" + ARG + b"R"), "pickle-extension"),
    "broken behind the payload (nullifAI)": (b"\x80\x04" + SYSTEM + b"0\xff\xfe\xfd garbage", "pickle-dangerous-call"),
    "no STOP behind the payload": (b"\x80\x04" + SYSTEM, "pickle-dangerous-call"),
    "an argument cut off behind the payload": (b"\x80\x04" + SYSTEM + b"X\xff\xff\xff\x7f", "pickle-dangerous-call"),
    "a second pickle": (PLAIN + EVIL, "pickle-dangerous-call"),
    "behind padding": (PLAIN + b"\0" * 4096 + EVIL, "pickle-dangerous-call"),
    "behind garbage": (PLAIN + b"\xff garbage " + b"cos\nsystem\n(S'true'\ntR.", "pickle-dangerous-call"),
    "a frame that is straddled": (b"\x80\x04" + FRAME + text("abcdef") + b"0N.", "pickle-frame-straddle"),
    "a frame in a frame": (b"\x80\x04" + b"\x95" + (30).to_bytes(8, "little") + FRAME + b"]0N." + bytes(40), "pickle-frame-straddle"),
    "pickle.loads of bytes": (stream(call("pickle", "loads", b"C" + bytes([len(EVIL)]) + EVIL)), "pickle-dangerous-call"),
    "_pickle.loads of base64": (stream(call("_pickle", "loads", call("base64", "b64decode", text(base64.b64encode(EVIL).decode())))), "pickle-dangerous-call"),
    "getattr of __import__": (stream(call("builtins", "getattr", call("builtins", "__import__", text("os")), text("system")) + ARG + b"R"), "pickle-dangerous-call"),
    "a factory that runs": (stream(call("collections", "defaultdict", stack_global("lib", "f"))), "pickle-unusual-call"),
    "a reviewed class with its constructor": (stream(call("sklearn.dummy", "DummyClassifier", text("x"))), "pickle-unusual-call"),
    "a reviewed function with other arguments": (stream(call("numpy._core.multiarray", "_reconstruct", stack_global("lib", "Evil"), b")", text("b"))), "pickle-unusual-call"),
    "containers that multiply": (stream(BOMB), "pickle-amplification"),
    "beside an estimator": (stream(b"}(" + text("clf") + stack_global("sklearn.linear_model._logistic", "LogisticRegression") + b")\x81" + text("x") + SYSTEM + b"u"), "pickle-dangerous-call"),
    "held and not called": (stream(stack_global("sklearn.preprocessing._function_transformer", "FunctionTransformer") + b")\x81}(" + text("func") + stack_global("os", "system") + b"ub"), "pickle-dangerous-global"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "rule"), STREAMS.values(), ids=STREAMS)
def test_streams(data: bytes, rule: str) -> None:
    report = report_of(data)
    assert rule in rules_of(report), report.verdict.findings
    assert report.outcome is (Outcome.REVIEW if rule == "pickle-unusual-call" else Outcome.BLOCK)


def test_an_array_made_as_a_memory_map_is_for_review() -> None:
    assert report_of(stream(stack_global("numpy", "memmap") + ARG + b"\x81")).outcome is Outcome.REVIEW


NAMES = ["pytorch_model.bin", "config.json", "weights", "model.safetensors", "model.onnx", "w.npy", "README.md"]


@pytest.mark.parametrize("name", NAMES)
def test_the_name_hides_nothing(name: str) -> None:
    """CVE-2025-1889, CVE-2025-10155: scanners that go by the suffix."""
    assert report_of(EVIL, name).outcome is Outcome.BLOCK


WRAPPED = {
    "gzip": gzip.compress(EVIL),
    "zlib": zlib.compress(EVIL),
    "bz2": bz2.compress(EVIL),
    "xz": lzma.compress(EVIL),
    "lzma": lzma.compress(EVIL, lzma.FORMAT_ALONE),
    "gzip in zlib": zlib.compress(gzip.compress(EVIL)),
    "objects of an array": npy("'|O'", "(1,)", EVIL),
    "objects of a field": npy("[('a', '<i4'), ('b', 'O')]", "(1,)", EVIL),
    "array in gzip": gzip.compress(npy("'|O'", "(1,)", EVIL)),
}


@pytest.mark.parametrize("data", WRAPPED.values(), ids=WRAPPED)
def test_wrapping_hides_nothing(data: bytes) -> None:
    report = report_of(data, "model.bin")
    assert "pickle-dangerous-call" in rules_of(report)


NEVER_VOUCHED = {
    "an archive": b"PK\x03\x04" + EVIL,
    "an image in front": b"GIF89a" + bytes(506) + EVIL,
    "behind safetensors": safetensors({"w": tensor()}, bytes(16) + EVIL),
    "behind an array": npy("'<f4'", "(4,)", bytes(16) + EVIL),
    "behind gzip": gzip.compress(PLAIN) + EVIL,
    "in a broken gzip": gzip.compress(EVIL)[:-4],
    "in an unknown codec": b"\x04\x22\x4d\x18" + EVIL,
    "more instructions than the bound": b"\x80\x04" + b"N0" * 20_000 + EVIL[2:],
}


@pytest.mark.parametrize("data", NEVER_VOUCHED.values(), ids=NEVER_VOUCHED)
def test_what_is_not_seen_is_not_vouched_for(data: bytes) -> None:
    assert report_of(data, "model.bin", opcodes=10_000).outcome in {Outcome.INCOMPLETE, Outcome.BLOCK}


def safetensors_and_pickle() -> bytes:
    """A file that is whole as safetensors, and as a pickle of protocol 0 whose instructions stand in the tensor.

    The length of the header is BINBYTES and its length as well; within the header, text instructions lead to the data.
    """
    tensor_bytes = b"cos\nsystem\n(S'true'\ntR."
    skipped, length = 0x1100, 0x110042
    tail = f'"}},"w":{{"dtype":"U8","shape":[{len(tensor_bytes)}],"data_offsets":[0,{len(tensor_bytes)}]}}}}'.encode()
    begin = b'{"__metadata__":{"a":"'.ljust(5 + skipped - 8, b"x")
    room = length - len(begin)
    first = room % 128 + 128
    links = [first // 2, first - first // 2, *[128] * (room // 128 - 1)]
    chain = b"".join(b"U" + bytes([link - 2]) + b"x" * (link - 2) for link in links)
    header = begin + chain[: -len(tail)] + tail
    assert len(header) == length
    return length.to_bytes(8, "little") + header + tensor_bytes


def test_a_file_of_two_formats_is_read_as_both() -> None:
    data = safetensors_and_pickle()
    report = report_of(data, "model.safetensors")
    assert set(report.formats) == {"pickle", "safetensors"}
    assert rules_of(report) == {"pickle-dangerous-call"}


def test_calls_with_reviewed_names_do_not_crowd_out_others() -> None:
    calls = b"".join(call("_codecs", "encode", text(f"a{i}"), text("latin1")) + b"0" for i in range(500))
    report = report_of(stream(calls + call("_codecs", "encode", text("x"), text("zlib_codec"))))
    assert rules_of(report) == {"pickle-unusual-call"}


def test_the_payload_of_a_real_pickler_is_found_at_its_instruction(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    for protocol in range(6):
        data = pickle.dumps({"w": [1, 2], "m": Reduces(os.mkdir, str(marker))}, protocol)
        report = report_of(data)
        (finding,) = report.verdict.findings
        offset = finding.evidence["offset"]
        assert isinstance(offset, int)
        assert data[offset : offset + 1] == b"R"
    assert not marker.exists()


def test_memory_stays_bounded_for_a_long_text_that_claims_gigabytes() -> None:
    data = b"\x80\x04\x8d" + (1 << 40).to_bytes(8, "little") + b"x"
    assert report_of(data).outcome is Outcome.INCOMPLETE


def test_stacked_loads_read_what_the_scanner_read() -> None:
    """The end of each stream is where Python's own unpickler stops."""
    data = PLAIN + pickle.dumps([1]) + pickle.dumps("x")
    file, ends = io.BytesIO(data), []
    while file.tell() < len(data):
        pickle.load(file)
        ends.append(file.tell())
    report = report_of(data)
    assert report.outcome is Outcome.PASS
    assert report.verdict.findings[0].evidence["offset"] == ends[0]


def test_global_by_text_lines_is_one_name_only() -> None:
    assert "pickle-dangerous-call" in rules_of(report_of(b"\x80\x02" + global_("os", "system") + b"U\x04true\x85R."))
