"""Programs are recognised by headers whose fields agree, as files and within numbers; weights never look like one."""

import struct
from collections.abc import Callable

import numpy as np
import pytest

from fastness.core.sources import BytesSource
from fastness.models.scan import Outcome
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.facts import FactKind
from fastness.models.scan.payloads import search_payloads
from fastness.models.scan.programs import Sort, file_program, program_at, windows_program
from tests.unit.models.scan.artifacts import EVIL, call, global_, report_of, rules_of, stream, text
from tests.unit.models.scan.programs import CUDA, DEX, ELF, ELF32_BIG, FAT, JAVA, MACHO, PE, SCRIPTS, WASM

NATIVE = {"ELF": ELF, "ELF, 32 bit, high byte first": ELF32_BIG, "PE": PE, "Mach-O": MACHO, "fat Mach-O": FAT}
MANAGED = {"Java": JAVA, "Dalvik": DEX, "WebAssembly": WASM}
ALL = {**NATIVE, **MANAGED}


def found_in(data: bytes) -> list[tuple[FactKind, int, str]]:
    source = BytesSource("m", data)
    return [(f.kind, f.offset, f.name) for f in search_payloads(source, 0, len(data), Budget(ScanSettings()))]


@pytest.mark.parametrize("data", NATIVE.values(), ids=NATIVE)
def test_a_native_program_blocks_under_any_name(data: bytes) -> None:
    report = report_of(data + bytes(64), "pytorch_model.bin")
    assert report.outcome is Outcome.BLOCK
    assert "executable-native" in rules_of(report)


@pytest.mark.parametrize("data", [*MANAGED.values(), *SCRIPTS.values()], ids=[*MANAGED, *SCRIPTS])
def test_other_programs_are_for_review(data: bytes) -> None:
    assert report_of(data, "extra.bin").outcome is Outcome.REVIEW


@pytest.mark.parametrize(
    "name",
    ["install.sh", "run.BAT", "setup.ps1", "x.cmd", "x.vbs", "lib.jar", "a/__pycache__/m.pyc", "lib.so", "a.dll"],
)
def test_names_that_systems_start_are_for_review_whatever_they_hold(name: str) -> None:
    assert report_of(b"echo hello\n", name).outcome is Outcome.REVIEW


def test_a_portable_program_such_as_a_llamafile_is_for_review() -> None:
    assert report_of(b"MZqFpD='\n" + bytes(100), "model.llamafile").outcome is Outcome.REVIEW


def test_python_bytecode_is_known_by_its_version_and_its_first_object() -> None:
    header = struct.pack("<H", 3495) + b"\r\n" + bytes(12)
    known, other = file_program(header + b"\xe3"), file_program(header + b"\x00")
    assert known is not None
    assert known.kind == "Python bytecode"
    assert other is None


# What only begins like a program: the two and four bytes that scanners take for one.
NO_PROGRAMS = {
    "MZ alone": b"MZ" + bytes(200),
    "MZ that names a place without a signature": b"MZ" + bytes(58) + struct.pack("<I", 64) + bytes(200),
    "PE signature with an unknown processor": b"PE\0\0\x34\x12\x01\0" + bytes(200),
    "ELF magic with an unknown class": b"\x7fELF\x07\x01\x01" + bytes(60),
    "ELF magic in a text": b"\x7fELF is the magic of ELF files, as everybody knows who read about it",
    "Mach-O magic with an unknown processor": b"\xcf\xfa\xed\xfe" + bytes(40),
    "cafebabe with neither count nor version": b"\xca\xfe\xba\xbe\x00\x00\xff\xff" + bytes(40),
    "dex without a version": b"dex\nabcd" + bytes(40),
    "asm without a version": b"\0asm\2\0\0\0" + bytes(40),
    "a comment that is no shebang": b"#! this is a heading\n" * 4,
    "a shebang for no known interpreter": b"#!/usr/bin/frobnicate\n" * 4,
}


@pytest.mark.parametrize("data", NO_PROGRAMS.values(), ids=NO_PROGRAMS)
def test_what_only_begins_like_a_program_is_none(data: bytes) -> None:
    assert file_program(data) is None
    assert found_in(bytes(100) + data + bytes(100)) == []


@pytest.mark.parametrize("data", ALL.values(), ids=ALL)
def test_headers_cut_anywhere_are_read_without_a_fault(data: bytes) -> None:
    for length in range(len(data)):
        program_at(data[:length])
        windows_program(data[:length])


@pytest.mark.parametrize("at", [0, 1, 2, 3, 4097, (1 << 20) - 3, (1 << 20) + 1, (2 << 20) - 20])
@pytest.mark.parametrize("data", ALL.values(), ids=ALL)
def test_a_program_is_found_anywhere_within_numbers(data: bytes, at: int) -> None:
    weights = np.random.default_rng(at).normal(0, 0.02, 600_000).astype("<f4").tobytes()
    whole = weights[:at] + data + weights[at:]
    begins = at + data.find(b"PE\0\0") if data is PE else at
    assert begins in [offset for kind, offset, _ in found_in(whole) if kind is FactKind.EXECUTABLE]


@pytest.mark.parametrize("at", [0, 7, (1 << 20) - 9])
@pytest.mark.parametrize("data", SCRIPTS.values(), ids=SCRIPTS)
def test_a_script_is_found_within_numbers(data: bytes, at: int) -> None:
    weights = np.random.default_rng(at).normal(0, 0.02, 600_000).astype("<f4").tobytes()
    kinds = [kind for kind, _, _ in found_in(weights[:at] + data + weights[at:])]
    assert FactKind.EXECUTABLE in kinds


ACTING = {
    "protocol 4": EVIL,
    "protocol 2": stream(global_("posix", "system") + b"(X\x04\x00\x00\x00truetR", 2),
    "protocol 0": b"cos\nsystem\n(S'true'\ntR.",
    "protocol 0, INST": b"(S'true'\nios\nsystem\n.",
    "an unknown callable": stream(call("some.package", "run", text("true"))),
    "behind thousands of instructions": stream(b"N0" * 5000 + call("os", "system", text("true"))),
    "without an end": EVIL[:-1],
}


@pytest.mark.parametrize("data", ACTING.values(), ids=ACTING)
def test_a_pickle_that_would_act_is_found_within_numbers(data: bytes) -> None:
    weights = np.random.default_rng(3).normal(0, 0.02, 300_000).astype("<f4").tobytes()
    for at in (0, 11, (1 << 20) - 5):
        found = found_in(weights[:at] + data + weights[at:])
        assert any(kind is FactKind.CALL for kind, _, _ in found), at


def test_a_pickle_that_does_nothing_is_no_finding() -> None:
    assert found_in(bytes(64) + stream(b"}(" + text("a") + b"K\x01u") + bytes(64)) == []


HONEST: dict[str, Callable[[np.random.Generator], bytes]] = {
    "random": lambda r: r.bytes(8 << 20),
    "normal float32": lambda r: r.normal(0, 0.02, 1 << 20).astype("<f4").tobytes(),
    "normal float16": lambda r: r.normal(0, 0.02, 1 << 21).astype("<f2").tobytes(),
    "small whole numbers": lambda r: r.integers(0, 127, 1 << 20).astype("u1").tobytes(),
    "letters": lambda r: r.integers(65, 122, 1 << 20).astype("u1").tobytes(),
    "token numbers": lambda r: r.integers(0, 50_000, 1 << 19).astype("<i8").tobytes(),
    "zeros": lambda _: bytes(4 << 20),
}


@pytest.mark.parametrize("make", HONEST.values(), ids=HONEST)
def test_honest_numbers_hold_neither_programs_nor_pickles(make: Callable[[np.random.Generator], bytes]) -> None:
    assert found_in(make(np.random.default_rng(7))) == []


def test_code_for_an_accelerator_is_noted_and_passes() -> None:
    program = program_at(CUDA)
    assert program is not None
    assert program.sort is Sort.DEVICE
    assert [name for _, _, name in found_in(bytes(64) + CUDA + bytes(64))] == [program.kind]


def test_many_programs_are_told_a_bounded_number_of_times() -> None:
    assert len(found_in(ELF * 10_000)) == 16
