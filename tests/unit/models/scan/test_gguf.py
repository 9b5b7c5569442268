"""GGUF: every count, length, offset and alignment against the file; templates, credentials and names that stand twice."""

import struct
from collections.abc import Iterable

import pytest

from fastness.models.scan import Outcome
from fastness.models.scan.facts import FactKind
from fastness.models.scan.readers.gguf import BLOCKS
from tests.unit.models.scan.artifacts import report_of, rules_of
from tests.unit.models.scan.written import fixtures, read_facts


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def pair(key: str, value: str | bytes, kind: int = 8) -> bytes:
    return text(key) + struct.pack("<I", kind) + (text(value) if isinstance(value, str) else value)


def info(
    name: str = "w", dims: Iterable[int] = (8,), kind: int = 0, offset: int = 0, count: int | None = None
) -> bytes:
    dims = list(dims)
    head = text(name) + struct.pack("<I", len(dims) if count is None else count)
    return head + struct.pack(f"<{len(dims)}QIQ", *dims, kind, offset)


def gguf(
    pairs: Iterable[bytes] = (), infos: Iterable[bytes] = (), data: bytes = b"", counts: tuple[int, int] | None = None,
    version: int = 3, alignment: int = 32,
) -> bytes:  # fmt: skip
    pairs, infos = list(pairs), list(infos)
    out = (
        b"GGUF"
        + struct.pack("<IQQ", version, *(counts or (len(infos), len(pairs))))
        + b"".join(pairs)
        + b"".join(infos)
    )
    return out + bytes(-len(out) % alignment) + data


WEIGHT = bytes(32)
AWS = "AKIA" + "Q7ZT3MNPLK2WXY5R"
NESTED = struct.pack("<IQ", 9, 1) * 9 + struct.pack("<IQ", 4, 0)
CASES = {
    "empty": (gguf(), "pass", None),
    "one tensor": (gguf([pair("general.architecture", "llama")], [info()], WEIGHT), "pass", None),
    "two tensors": (gguf([], [info("a", (5,)), info("b", (3,), 24, 32)], bytes(35)), "pass", None),
    "two tensors, the other way round": (gguf([], [info("b", (3,), 24, 32), info("a", (5,))], bytes(64)), "pass", None),
    "zeros behind": (gguf([], [info()], WEIGHT + bytes(64)), "pass", None),
    "an honest template": (gguf([pair("tokenizer.chat_template", "{{ messages[0].content }}")]), "pass", None),
    "no version": (gguf(version=9), "incomplete", "gguf-type"),
    "many keys": (gguf(counts=(0, 1 << 62)), "block", "gguf-bounds"),
    "many tensors": (gguf(counts=(1 << 63, 0)), "block", "gguf-bounds"),
    "a long key": (gguf([struct.pack("<Q", 1 << 63)]), "block", "gguf-bounds"),
    "a long text": (gguf([text("k") + struct.pack("<IQ", 8, 1 << 40)]), "block", "gguf-bounds"),
    "a long list": (gguf([pair("k", struct.pack("<IQ", 4, 1 << 61), 9)]), "block", "gguf-bounds"),
    "a long list of texts": (gguf([pair("k", struct.pack("<IQ", 8, 1 << 61), 9)]), "block", "gguf-bounds"),
    "lists without end": (gguf([pair("k", NESTED, 9)]), "incomplete", "gguf-malformed"),
    "an unknown kind of value": (gguf([pair("k", b"", 77)]), "incomplete", "gguf-malformed"),
    "a key twice": (gguf([pair("tokenizer.chat_template", "a"), pair("tokenizer.chat_template", "b")]), "block", "gguf-duplicate"),
    "a tensor twice": (gguf([], [info(), info(offset=32)], bytes(64)), "block", "gguf-duplicate"),
    "outside": (gguf([], [info(offset=1 << 40)], WEIGHT), "block", "gguf-bounds"),
    "cut short": (gguf([], [info()], WEIGHT[:-1]), "block", "gguf-bounds"),
    "sizes that wrap": (gguf([], [info(dims=(1 << 32, 1 << 32))], WEIGHT), "block", "gguf-bounds"),
    "sizes that wrap to the right one": (gguf([], [info(dims=((1 << 63) + 4, 2))], WEIGHT), "block", "gguf-bounds"),
    "many dimensions": (gguf([], [info(dims=(1,) * 5)], bytes(4)), "block", "gguf-bounds"),
    "dimensions without end": (gguf([], [info(count=1 << 31)], WEIGHT), "block", "gguf-bounds"),
    "half a block": (gguf([], [info(dims=(31,), kind=2)], bytes(18)), "block", "gguf-offsets"),
    "an unknown type": (gguf([], [info(kind=99)], WEIGHT), "incomplete", "gguf-type"),
    "overlap": (gguf([], [info("a"), info("b")], WEIGHT), "block", "gguf-offsets"),
    "a hole": (gguf([], [info("a"), info("b", offset=128)], bytes(256)), "block", "gguf-offsets"),
    "misaligned": (gguf([], [info("a"), info("b", offset=33)], bytes(128)), "block", "gguf-offsets"),
    "an odd alignment": (gguf([pair("general.alignment", struct.pack("<I", 33), 4)]), "block", "gguf-offsets"),
    "no alignment": (gguf([pair("general.alignment", bytes(4), 4)]), "block", "gguf-offsets"),
    "an alignment that hides": (gguf([pair("general.alignment", struct.pack("<I", 1 << 30), 4)]), "block", "gguf-offsets"),
    "bytes behind": (gguf([], [info()], WEIGHT + b"\x7fELF" + bytes(60)), "block", "gguf-trailing-bytes"),
    "a credential": (gguf([pair("general.description", AWS)]), "review", "credential-in-model"),
    "a credential in a list": (gguf([pair("k", struct.pack("<IQ", 8, 1) + text(AWS), 9)]), "review", "credential-in-model"),
    "a part elsewhere": (gguf([pair("split.next", "../../etc/passwd")]), "block", "reference-escapes"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "outcome", "rule"), CASES.values(), ids=CASES)
def test_case(data: bytes, outcome: str, rule: str | None) -> None:
    report = report_of(data, "model.gguf")
    assert rule is None or rule in rules_of(report)
    assert report.outcome.value == outcome, report.verdict.findings
    assert outcome != "pass" or report.explained_bytes == report.size


def test_every_template_is_told_with_its_text() -> None:
    keys = [
        "tokenizer.chat_template",
        "tokenizer.chat_template.tool_use",
        "Tokenizer.Chat_Template.x",
        "my.prompt_template",
    ]
    facts = read_facts("gguf", gguf([pair(key, f"{{{{ {n} }}}}") for n, key in enumerate(keys)]))
    told = [(fact.name, fact.detail["text"]) for fact in facts if fact.kind is FactKind.TEMPLATE]
    assert told == [(key, f"{{{{ {n} }}}}") for n, key in enumerate(keys)]


@pytest.mark.parametrize("version", [1, 2])
def test_older_versions(version: int) -> None:
    form = "<I" if version == 1 else "<Q"

    def word(value: str) -> bytes:
        return struct.pack(form, len(value)) + value.encode()

    counts = struct.pack(form, 1) * 2
    body = word("k") + struct.pack("<I", 8) + word("v") + word("w") + struct.pack("<I", 1) + struct.pack(form, 8)
    data = b"GGUF" + struct.pack("<I", version) + counts + body + struct.pack("<IQ", 0, 0)
    assert report_of(data + bytes(-len(data) % 32) + WEIGHT, "m.gguf").outcome is Outcome.PASS
    assert report_of(data + bytes(-len(data) % 32), "m.gguf").outcome is Outcome.BLOCK


@pytest.mark.parametrize(("name", "files"), fixtures("gguf_files"))
def test_honest_files_pass(name: str, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        report = report_of(data, path)
        assert (report.outcome, report.formats) == (Outcome.PASS, ("gguf",)), report.verdict.findings


# Elements and bytes of a block of each type, as gguf 0.19.0 (GGML_QUANT_SIZES) has them.
SIZES = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40), 10: (256, 84), 11: (256, 110),
    12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50),
    20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8),
    29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18),
}  # fmt: skip


def test_the_block_sizes_are_those_of_the_library() -> None:
    assert SIZES.items() <= BLOCKS.items()


def test_a_cut_anywhere_is_never_a_pass() -> None:
    for _, files in fixtures("gguf_files"):
        for data in files.values():
            end = len(data.rstrip(b"\0"))
            assert all(report_of(data[:at], "m.gguf").outcome is not Outcome.PASS for at in range(0, end - 64, 7))
