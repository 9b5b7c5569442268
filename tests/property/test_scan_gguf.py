"""GGUF: whatever is written by the format's rules passes, and whatever is damaged gets a verdict."""

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from fastness.models.scan import Outcome
from fastness.models.scan.readers.gguf import BLOCKS
from tests.unit.models.scan.artifacts import report_of, rules_of
from tests.unit.models.scan.test_gguf import gguf, info, pair

SMALL = {"fields": 20_000, "header_bytes": 1 << 16}
SHAPES = st.lists(st.tuples(st.sampled_from(sorted(BLOCKS)), st.integers(1, 3), st.integers(1, 4)), max_size=5)
SEED = gguf(
    [pair("general.architecture", "llama"), pair("k", struct.pack("<IQ", 5, 2) + bytes(8), 9)],
    [info("a"), info("b", (4,), 0, 32)],
    bytes(64),
)


@given(SHAPES, st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=4), st.sampled_from([8, 32, 64, 4096]))
def test_what_the_rules_allow_passes(shapes: list[tuple[int, int, int]], keys: list[str], alignment: int) -> None:
    pairs = [pair("general.alignment", struct.pack("<I", alignment), 4)] + [pair(f"x.{key}", "v") for key in keys]
    infos, data = [], b""
    for number, (kind, blocks, rows) in enumerate(shapes):
        block, width = BLOCKS[kind]
        data += bytes(-len(data) % alignment)
        infos.append(info(f"t{number}", (block * blocks, rows), kind, len(data)))
        data += bytes(width * blocks * rows)
    report = report_of(gguf(pairs, infos, data, alignment=alignment), "m.gguf")
    assert report.outcome is Outcome.PASS, report.verdict.findings


@given(st.data())
@settings(max_examples=3 * settings().max_examples)
def test_damaged_files_get_a_verdict(data: st.DataObject) -> None:
    damaged = bytearray(SEED)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(4, len(damaged)))
        damaged[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    report = report_of(bytes(damaged), "m.gguf", **SMALL)
    assert "reader-failed" not in rules_of(report), report.verdict.findings
    assert report == report_of(bytes(damaged), "m.gguf", **SMALL)


@given(st.binary(max_size=200))
def test_any_bytes_behind_the_magic_get_a_verdict(data: bytes) -> None:
    assert "reader-failed" not in rules_of(report_of(b"GGUF" + data, "m.gguf", **SMALL))
