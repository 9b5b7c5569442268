"""The pickle reader and the judgement of what it sees, case by case. Payloads are inert, and none is ever loaded."""

import os
import pickle
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import PurePosixPath

import pytest

from fastness.core.findings import Severity
from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import Reduces, global_, report_of, rules_of

HARMLESS = {
    "numbers": [0, 1, -1, 255, 65536, 2**31, -(2**63), 2**70, 1.5, float("inf"), True, False, None],
    "texts": ["", "a", "é" * 300, "line\nbreak", b"", b"\x00" * 300, bytearray(b"abc")],
    "containers": [(), (1,), (1, 2), (1, 2, 3, 4), [], {}, {"a": [1]}, {1, 2}, frozenset({3})],
    "collections": [OrderedDict(a=1), Counter("abc"), deque([1, 2]), defaultdict(list, a=[1])],
    "values": [
        Decimal("1.5"),
        datetime(2024, 1, 2, tzinfo=UTC),
        complex(1, 2),
        range(3),
        slice(1, 2),
        PurePosixPath("a/b"),
    ],
    "shared": [[1, 2]] * 3,
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("value", HARMLESS.values(), ids=HARMLESS)
def test_harmless_values_pass_with_every_byte_explained(value: object, protocol: int) -> None:
    data = pickle.dumps(value, protocol)
    report = report_of(data)
    assert report.outcome is Outcome.PASS, report.verdict.findings
    assert report.explained_bytes == report.size == len(data)
    assert report.formats == ("pickle",)


CASES = {
    # name: (bytes, outcome, a rule that must be among the findings)
    "call of a dangerous function": (pickle.dumps(Reduces(os.system, "true")), "block", "pickle-dangerous-call"),
    "a dangerous function that is held": (pickle.dumps({"f": os.system}), "block", "pickle-dangerous-global"),
    "eval": (pickle.dumps(Reduces(eval, "1+1")), "block", "pickle-dangerous-call"),
    "an unknown class": (b"\x80\x04\x8c\x03lib\x8c\x05Model\x93)\x81.", "review", "pickle-unknown-call"),
    "an unknown class that is held": (b"\x80\x04\x8c\x03lib\x8c\x05Model\x93.", "review", "pickle-unknown-global"),
    "a reviewed class, called": (global_("sklearn.dummy", "DummyClassifier") + b")R.", "review", "pickle-unusual-call"),
    "a codec that decodes": (global_("_codecs", "encode") + b"(X\x01\x00\x00\x00aX\x03\x00\x00\x00hextR.", "review", "pickle-unusual-call"),
    "a call of a result": (b"\x80\x04\x8c\x03lib\x8c\x01f\x93)R)R.", "block", "pickle-computed-call"),
    "a function given a state": (global_("lib", "f") + b"}b.", "block", "pickle-tampering"),
    "an item set in a module": (global_("lib", "table") + b"I1\nI2\ns.", "block", "pickle-tampering"),
    "a dotted name": (b"\x80\x04\x8c\x03lib\x8c\x03a.b\x93.", "block", "pickle-dotted-name"),
    "a dotted name that ends in danger": (b"\x80\x04\x8c\x07logging\x8c\x09os.system\x93\x8c\x04true\x85R.", "block", "pickle-dangerous-call"),
    "a name from a call": (b"\x80\x04\x8c\x03lib\x8c\x01f\x93)R\x8c\x06system\x93.", "block", "pickle-unresolved-global"),
    "an extension code": (b"\x80\x04\x82\x01.", "block", "pickle-extension"),
    "a persistent id": (b"\x80\x02X\x01\x00\x00\x00aQ.", "review", "pickle-persistent-id"),
    "a persistent id, as text": (b"Pabc\n.", "review", "pickle-persistent-id"),
    "a buffer from outside": (b"\x80\x05\x97.", "review", "pickle-outside-buffer"),
    "no end": (b"\x80\x04]", "incomplete", "pickle-truncated"),
    "an unknown instruction": (b"\x80\x04]\xff.", "incomplete", "pickle-malformed"),
    "an argument beyond the end": (b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fab.", "incomplete", "pickle-truncated"),
    "an empty stack": (b"\x80\x04.", "incomplete", "pickle-malformed"),
    "a missing memo entry": (b"\x80\x04h\x05.", "incomplete", "pickle-malformed"),
    "a protocol to come": (b"\x80\x06N.", "incomplete", "pickle-malformed"),
    "a frame beyond the file": (b"\x80\x04\x95\xff\x00\x00\x00\x00\x00\x00\x00N.", "incomplete", "pickle-truncated"),
    "zeros behind the end": (pickle.dumps([1]) + b"\0" * 64, "incomplete", "pickle-trailing-bytes"),
    "two pickles": (pickle.dumps([1]) + pickle.dumps([2]), "pass", "pickle-stacked"),
    "a second pickle that acts": (pickle.dumps([1]) + pickle.dumps(Reduces(os.system, "true")), "block", "pickle-dangerous-call"),
    "a pickle behind padding": (pickle.dumps([1]) + b"\0" * 99 + pickle.dumps(Reduces(os.system, "true")), "block", "pickle-dangerous-call"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "outcome", "rule"), CASES.values(), ids=CASES)
def test_case(data: bytes, outcome: str, rule: str) -> None:
    report = report_of(data)
    assert (report.outcome.value, rule in rules_of(report)) == (outcome, True), report.verdict.findings


def test_a_dangerous_call_names_offset_callee_arguments_and_what_to_do() -> None:
    report = report_of(b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.")
    (finding,) = report.verdict.findings
    assert finding.severity is Severity.CRITICAL
    assert finding.where == "model.pkl@22"
    assert finding.message == "REDUCE at byte 22 would run os.system('true')"
    assert {**finding.evidence, "chain": ""} == {"offset": 22, "opcode": "REDUCE", "callee": "os.system", "chain": ""}
    assert "1. byte 22, REDUCE: calls os.system('true'), imported at byte 14; dangerous" in str(
        finding.evidence["chain"]
    )
    assert "safetensors" in report.table()[0].fix


SECRETS = {
    "login": ("curl https://bob:hunter2@example.test/x", "hunter2"),
    "named": ("tool --password=hunter2", "hunter2"),
    "bearer": ("Authorization: Bearer abc.def.ghi", "abc.def.ghi"),
    "token": ("x hf_" + "qRzXbVtYpLmNkJhGfDsAwErTyUiOpLkJhG", "qRzXbVtYpLmNkJhG"),
}


@pytest.mark.parametrize(("command", "secret"), SECRETS.values(), ids=SECRETS)
def test_arguments_are_shown_without_secrets(command: str, secret: str) -> None:
    report = report_of(pickle.dumps(Reduces(os.system, command)))
    told = " ".join(f.message + str(f.evidence) for f in report.verdict.findings)
    assert "posix.system(" in told
    assert secret not in told


def test_old_names_are_read_as_the_names_that_are_imported() -> None:
    report = report_of(b"\x80\x02" + global_("__builtin__", "eval") + b"X\x01\x00\x00\x001\x85R.")
    assert "builtins.eval" in report.verdict.findings[0].message


BOUNDS = {
    "opcodes": (pickle.dumps(list(range(5000))), {"opcodes": 1024}),
    "stack": (b"\x80\x04(" + b"K\x01" * 5000 + b"t.", {"stack": 1000}),
    "facts": (
        b"".join(b"\x8c\x01m\x8c\x04f%03d\x930" % i for i in range(100)).join((b"\x80\x04", b"N.")),
        {"facts": 50},
    ),
}


@pytest.mark.parametrize(("data", "settings"), BOUNDS.values(), ids=BOUNDS)
def test_a_bound_that_is_met_refuses(data: bytes, settings: dict[str, int]) -> None:
    report = report_of(data, **settings)
    assert "budget-spent" in rules_of(report)
    assert report.outcome is Outcome.INCOMPLETE


KNOWN_MISSES = {
    # What the values mean is the model's business: weights that misbehave are for the assessment to find.
    "a decision table that always says yes": pickle.dumps({"default": True, "rules": []}),
}


@pytest.mark.parametrize("data", KNOWN_MISSES.values(), ids=KNOWN_MISSES)
def test_known_misses(data: bytes) -> None:
    assert report_of(data).outcome is Outcome.PASS


HARM = "__import__('os').system('id')"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "tree",
    [{"yaml": {"backbone": [[-1, 1, HARM, [64]]]}}, {"activation": HARM}, {"a": HARM, "default_act": "nn.SiLU()"}],
)
def test_layers_that_are_worked_out_and_act_are_for_review(tree: object, protocol: int) -> None:
    report = report_of(pickle.dumps(tree, protocol), "best.pkl")
    assert "config-runs-text" in rules_of(report)
    assert report.outcome is Outcome.REVIEW


def test_layers_that_are_layers_pass() -> None:
    tree = {
        "backbone": [[-1, 1, "Conv", [64, 3, 2]]],
        "head": [[-1, 1, "nn.Upsample", [None, 2, "nearest"]]],
        "activation": "nn.SiLU()",
    }
    assert report_of(pickle.dumps(tree), "best.pkl").outcome is Outcome.PASS
