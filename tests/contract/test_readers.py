"""One suite over every reader and check that is discovered."""

import inspect

import pytest

from fastness.core.errors import TooLarge
from fastness.core.findings import Finding
from fastness.core.sources import BytesSource
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.catalogue import all_checks, all_readers, rule_of
from fastness.models.scan.facts import Check, Fact, FactKind, Facts, Look, Member, Reader, Told
from tests.unit.models.scan.artifacts import EVIL, npy, onnx_model, safetensors, tensor
from tests.unit.models.scan.keras_bytes import COMPUTES, attribute, flax_array, graph_def, hdf5, pack, saved_model
from tests.unit.models.scan.packing import Packed, tar_header, tar_of, zip_of

HOSTILE = {
    "empty": b"",
    "one byte": b"\x80",
    "zeros": bytes(1 << 16),
    "ones": b"\xff" * (1 << 16),
    "not UTF-8": b"\xff\xfe" + "é".encode("latin-1") * 100,
    "text": b"plain text\n" * 100,
    "magics": b"\x80\x04\x93NUMPY\x01\x00PK\x03\x04GGUF\x1f\x8b\x08",
    "pickle": EVIL,
    "npy": npy("'|O'", "(1,)", EVIL),
    "idx": b"\0\0\x08\x02\0\0\0\x02" + len(EVIL).to_bytes(4, "big") + EVIL * 2,
    "safetensors": safetensors({"w": tensor()}, bytes(16)),
    "onnx": onnx_model(),
    "many pickles": EVIL * 500,
    "zip": zip_of(Packed("a.pkl", EVIL, 8), Packed("../b", EVIL, flags=1, crc=7), comment=b"x"),
    "zip without an end": zip_of(Packed("a.pkl", EVIL, 8, descriptor=True))[:-40],
    "tar": tar_of(("a.pkl", EVIL), ("a.pkl", EVIL)),
    "tar of impossible sizes": tar_header("a", 0, length=b"\x80" + b"\xff" * 11) + tar_header("b", 1 << 30),
    "7z of impossible sizes": b"7z\xbc\xaf\x27\x1c\0\4" + b"\xff" * 24,
    "old torch": b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + EVIL * 4 + b"\xff" * 16,
    "JSON nested deep": b"[" * 5000,
    "YAML of aliases": b"a: &a [x, x]\nb: &b [*a, *a]\nc: !!python/object/apply:os.system [*b]\n",
    "a template": b'{"chat_template": "{{ x.__class__ }}", "auto_map": {"AutoModel": "a/b--c.D"}}',
    "half a picture": b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffIHDR",
    "GGUF": b"GGUF\3\0\0\0" + b"\xff" * 16 + bytes(64),
    "flatbuffer": b"\x1c\0\0\0TFL3" + b"\xff\xff\xff\x7f" * 20,
    "XML": b"<!DOCTYPE PMML [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><PMML>&x;</PMML>",
    "UBJSON": b"{L\0\0\0\0\0\0\0\7learner[$Z#L\x7f" + b"\xff" * 7,
    "R": b"X\n\0\0\0\2" + bytes(8) + b"\0\0\0\x13" * 400,
    "hdf5": hdf5(attribute("model_config", b'{"class_name": "Dense", "config": {}}'), behind=EVIL),
    "tensorflow": saved_model(graph_def(*COMPUTES)),
    "msgpack": pack({"params": {"w": flax_array(), "x": EVIL}}),
}
READERS = {reader.name: reader for reader in all_readers()}
CHECKS = {check.name: check for check in all_checks()}
KINDS = [kind for kind in FactKind if kind is not FactKind.SPAN]


@pytest.fixture(params=READERS.values(), ids=READERS)
def reader(request: pytest.FixtureRequest) -> Reader:
    return request.param


@pytest.fixture(params=CHECKS.values(), ids=CHECKS)
def check(request: pytest.FixtureRequest) -> Check:
    return request.param


class Watched(BytesSource):
    """Notices reads outside of the source."""

    def read_at(self, offset: int, length: int) -> bytes:
        assert 0 <= offset <= self.size
        assert length >= 0
        return super().read_at(offset, length)


def _shown(item: Told) -> str:
    if isinstance(item, Bundle):
        return f"{item.name}: {list(item)}"
    return item.source.name if isinstance(item, Member) else repr(item)


def read_all(reader: Reader, source: BytesSource, settings: ScanSettings) -> tuple[list[Told], str]:
    """What the reader yields, and the code of the error that ended it."""
    told: list[Told] = []
    try:
        told.extend(reader.read(source, Budget(settings)))  # extend keeps what came before an error
    except TooLarge as spent:
        return told, spent.code
    return told, ""


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_a_reader_yields_facts_members_and_findings_or_says_that_the_budget_is_spent(
    reader: Reader, data: bytes
) -> None:
    kept = bytes(data)
    assert isinstance(reader.claims(Look(BytesSource("model.bin", data))), bool)
    told, problem = read_all(reader, Watched("m", data), ScanSettings(opcodes=100_000, fields=100_000))
    assert problem in {"", "scan-budget"}
    assert data == kept
    for item in told:
        assert isinstance(item, Fact | Member | Bundle | Finding)
        if isinstance(item, Finding):
            assert rule_of(item.rule).incomplete or item.severity == rule_of(item.rule).severity
            assert item.where.startswith("m")
        if isinstance(item, Fact) and item.kind is FactKind.SPAN:
            assert item.offset >= 0
            assert item.offset + int(item.detail["length"]) <= len(data)


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_a_reader_gives_the_same_twice(reader: Reader, data: bytes) -> None:
    def told() -> list[str]:
        items, problem = read_all(reader, BytesSource("m", data), ScanSettings(opcodes=100_000))
        return [_shown(i) for i in items] + [problem]

    assert told() == told()


def test_a_reader_stops_at_the_smallest_budget(reader: Reader) -> None:
    smallest = ScanSettings(1, 1, 1, 1, 1, 1, 1, 1)
    for data in HOSTILE.values():
        assert read_all(reader, BytesSource("m", data), smallest)[1] in {"", "scan-budget"}


def test_a_check_wants_facts_and_is_silent_without(check: Check) -> None:
    assert check.wants <= set(KINDS)
    assert list(check.check(Facts())) == []


def test_plug_ins_are_frozen_and_carry_rules(reader: Reader, check: Check) -> None:
    for plugin in (reader, check):
        module = inspect.getmodule(type(plugin))
        assert module is not None
        assert module.RULES or plugin.name == "raw"
        assert type(plugin).__dataclass_params__.frozen  # type: ignore[attr-defined]  # what dataclass leaves on a class
