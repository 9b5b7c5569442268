"""The machine's tables against Python's own, and what it takes from the reviewed data."""

import io
import pickle
import pickletools

import pytest

from fastness.core.sources import BytesSource
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.cursor import Cursor
from fastness.models.scan.machine import Sight, Standing, catalogue, run
from fastness.models.scan.machine.effects import EFFECTS
from fastness.models.scan.machine.opcodes import OPCODES
from fastness.models.scan.machine.standing import Use


def test_every_instruction_of_python_is_known_under_its_name() -> None:
    assert {code: name for code, (name, _) in OPCODES.items()} == {ord(o.code): o.name for o in pickletools.opcodes}
    assert set(EFFECTS) == {o.name for o in pickletools.opcodes}


SAMPLES = [
    1,
    300,
    70000,
    -5,
    2**40,
    2**2100,
    1.5,
    True,
    None,
    "a",
    "é\n'",
    "x" * 300,
    b"b",
    b"y" * 70000,
    [1, (2,)],
    {"a": {1}},
]


@pytest.mark.parametrize("protocol", range(6))
def test_arguments_are_read_as_long_as_python_reads_them(protocol: int) -> None:
    data = pickle.dumps(SAMPLES, protocol)
    wanted = [(position, opcode.name) for opcode, _, position in pickletools.genops(io.BytesIO(data))]
    cursor, seen = Cursor(BytesSource("", data)), []
    while cursor.position < len(data):
        at = cursor.position
        name, read = OPCODES[cursor.byte()]
        if read is not None:
            read(cursor)
        seen.append((at, name))
    assert seen == wanted


def test_no_reviewed_global_is_also_dangerous_or_dotted() -> None:
    known = catalogue()
    assert not set(known.reviewed) & set(known.dangerous)
    assert not [key for key in known.reviewed if known.standing_of(*key) is not Standing.REVIEWED]
    dotted = [entry.use for key, entry in known.reviewed.items() if "." in key[1]]
    assert set(dotted) <= {
        Use.NAME,
        Use.CALL,
    }  # a method, by its whole name; called with what is listed and nothing else
    assert all(entry.arguments for entry in known.reviewed.values() if entry.use is Use.CALL)


REACHES = [
    "eval",
    "exec",
    "getattr",
    "setattr",
    "open",
    "compile",
    "__import__",
    "map",
    "filter",
    "type",
    "vars",
    "memoryview",
]


@pytest.mark.parametrize("name", REACHES)
def test_builtins_that_reach_further_are_not_reviewed(name: str) -> None:
    assert catalogue().standing_of("builtins", name) is Standing.DANGEROUS


def test_a_long_argument_is_stepped_over_and_not_kept() -> None:
    data = b"\x80\x04B" + (1 << 22).to_bytes(4, "little") + bytes(1 << 22) + b"."
    trace = run(Cursor(BytesSource("", data)), Budget(ScanSettings()))
    assert trace.stopped
    assert trace.end == len(data)


def test_a_line_may_be_long_but_not_without_end() -> None:
    line = pickle.dumps("x" * (3 << 20), 0)
    assert run(Cursor(BytesSource("", line)), Budget(ScanSettings())).stopped
    endless = run(Cursor(BytesSource("", b"I" + b"1" * (1 << 20))), Budget(ScanSettings()))
    assert [event.sight for event in endless.events] == [Sight.TRUNCATED]


class Plodding(BytesSource):
    """Notices how much is read."""

    taken = 0

    def read_at(self, offset: int, length: int) -> bytes:
        data = super().read_at(offset, length)
        self.taken += len(data)
        return data


def test_no_byte_is_read_many_times_over() -> None:
    body = b"".join(b"V" + b"x" * (i * 7919 % 300_000) + b"\n0" for i in range(60))
    source = Plodding("", b"\x80\x02" + body + b"N.")
    assert run(Cursor(source), Budget(ScanSettings())).stopped
    assert source.taken < 6 * source.size
