"""A stream in plain words: each call with its arguments and the origin of its callable, and nothing secret."""

import base64
import pickle

from fastness.core.sources import BytesSource
from fastness.models.scan.machine import Standing, explain
from fastness.models.scan.machine.explain import MOST_STEPS
from tests.unit.models.scan.artifacts import EVIL, call, global_, stack_global, stream, text

NESTED = stream(
    call("builtins", "getattr", call("builtins", "__import__", text("os")), text("system")) + b"\x94"
    b"0h\x00" + b"(" + text("curl https://bob:hunter2@example.test/x") + b"tR"
)  # fmt: skip


def lines_of(data: bytes, start: int = 0) -> list[str]:
    return list(explain(BytesSource("m", data), start).lines())


def test_a_nested_payload_is_told_call_by_call() -> None:
    told = explain(BytesSource("m", NESTED))
    calls = [step for step in told.steps if step.number]
    assert [step.what for step in calls] == [
        "builtins.__import__",
        "builtins.getattr",
        "the result of builtins.getattr",
    ]
    assert [step.arguments for step in calls[:2]] == ["'os'", "the result of call 1, 'system'"]
    assert calls[0].origin == f"imported at byte {NESTED.index(b'__import__') + len('__import__')}"
    assert calls[2].origin == "the result of call 2, taken from memo entry 0"
    assert calls[2].standing is Standing.DANGEROUS
    assert told.ending == f"It ends at byte {len(NESTED)}."


def test_the_instructions_around_a_call_are_shown() -> None:
    (step,) = [step for step in explain(BytesSource("m", EVIL)).steps if step.number]
    around = {one.offset: (one.name, one.argument) for one in step.around}
    assert around[step.offset] == ("REDUCE", "")
    assert ("SHORT_BINUNICODE", "'true'") in around.values()
    assert step.around[-1].name == "STOP"
    assert any(line.strip().startswith(f"> {step.offset:>8}  REDUCE") for line in lines_of(EVIL))


def test_no_secret_is_shown() -> None:
    token = "hf_" + "qRzXbVtYpLmNkJhGfDsAwErTyUiOpLkJhG"
    payload = NESTED + stream(
        call("os", "system", text(f"x {token}")) + global_("lib", "f") + b"(" + text("password=hunter2") + b"tR"
    )
    shown = "\n".join(lines_of(payload) + lines_of(payload, len(NESTED)))
    assert "hunter2" not in shown
    assert token[:12] not in shown
    assert "<Hugging Face token>" in shown


def test_the_same_bytes_give_the_same_words() -> None:
    assert lines_of(NESTED) == lines_of(NESTED)


def test_it_is_bounded_and_what_is_not_reviewed_comes_first() -> None:
    many = b"".join(call("_codecs", "encode", text(f"a{i}"), text("latin1")) + b"0" for i in range(500))
    told = explain(BytesSource("m", stream(many + call("os", "system", text("true")))))
    assert len(told.steps) == MOST_STEPS
    assert told.left_out == 402
    assert told.steps[-1].what == "os.system"
    endless = explain(BytesSource("m", b"\x80\x04" + b"N0" * 200_000 + b"N."))
    assert "not followed any further" in endless.ending


def test_a_break_and_a_change_are_told() -> None:
    broken = lines_of(b"\x80\x04" + stack_global("lib", "f") + b"}" + text("x") + b"K\x01sb\xff")
    assert any("BUILD: changes lib.f" in line for line in broken)
    assert broken[-1] == "  It breaks at byte 19."


def test_harmless_streams_do_nothing() -> None:
    told = explain(BytesSource("m", pickle.dumps({"a": [1, base64.b64encode(b"x" * 60)]})))
    assert told.steps == ()
