"""Torch's persistent ids: which forms are understood, and that nothing else is let through by them."""

import pytest

from fastness.core.sources import BytesSource
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.cursor import Cursor
from fastness.models.scan.facts import Fact, FactKind, Look
from fastness.models.scan.machine import Dialect, Sight, Standing, Storage, run
from fastness.models.scan.readers.torch_pickle import READER
from tests.unit.models.scan.artifacts import EVIL, SYSTEM, global_, report_of, rules_of, stream, text

FLOATS = global_("torch", "FloatStorage")


def number(value: int) -> bytes:
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def storage(
    *,
    kind: bytes = FLOATS,
    key: bytes = b"U\x010",
    place: bytes = text("cpu"),
    count: bytes = b"K\x0a",
    more: bytes = b"",
) -> bytes:
    return b"(" + text("storage") + kind + key + place + count + more + b"tQ"


def sights(body: bytes, dialect: Dialect = Dialect.TORCH) -> set[Sight]:
    return {e.sight for e in run(Cursor(BytesSource("", stream(body, 2))), Budget(ScanSettings()), dialect).events}


UNDERSTOOD = {
    "zip": storage(),
    "an element type": storage(kind=global_("torch", "float16")),
    "untyped": storage(kind=global_("torch.storage", "UntypedStorage")),
    "on another device": storage(place=text("cuda:0")),
    "torchscript's key": storage(key=text("94371231.storage")),
    "the older file, whole": storage(more=b"N"),
    "the older file, a view": storage(more=b"(" + text("123") + b"K\x00K\x0at"),
    "the source of a class": b"("
    + text("module")
    + global_("lib", "Net")
    + text("net.py")
    + text("class Net: ...")
    + b"tQ",
    "the tar archive's id": text("94371231") + b"Q",
}
NOT_UNDERSTOOD = {
    "no tuple": b"]Q",
    "another word": b"(" + text("stream") + FLOATS + b"tQ",
    "a class that is no storage": storage(kind=global_("os", "FloatStorage")),
    "a name that only looks like one": storage(kind=global_("torch", "EvilStorage")),
    "a storage that was made": storage(kind=FLOATS + b")R"),
    "a path for a key": storage(key=text("../../etc/passwd")),
    "a negative number for a key": storage(key=b"J\xff\xff\xff\xff"),
    "an address for a device": storage(place=text("http://example.test")),
    "a negative length": storage(count=number(-1)),
    "an impossible length": storage(count=number(1 << 63)),
    "a truth for a length": storage(count=b"\x88"),
    "a view of nothing": storage(more=b")"),
    "too much": storage(more=b"NN"),
    "too little": b"(" + text("storage") + FLOATS + b"tQ",
    "text lines": b"Pstorage\n",
    "a source that is made": b"(" + text("module") + global_("lib", "Net") + global_("lib", "f") + b")RNtQ",
}  # fmt: skip


@pytest.mark.parametrize("body", UNDERSTOOD.values(), ids=UNDERSTOOD)
def test_forms_that_torch_writes_are_understood_where_torch_reads(body: bytes) -> None:
    assert Sight.PERSISTENT not in sights(body)
    assert Sight.PERSISTENT in sights(body, Dialect.JOBLIB)


@pytest.mark.parametrize("body", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD)
def test_other_ids_are_for_review(body: bytes) -> None:
    assert Sight.PERSISTENT in sights(body)


def test_storages_are_told_with_their_lengths() -> None:
    trace = run(Cursor(BytesSource("", stream(storage() + storage(), 2))), Budget(ScanSettings()), Dialect.TORCH)
    assert trace.storages == {"0": Storage("0", "torch.FloatStorage", 4, 10, "cpu", 43)}
    assert not trace.conflicts


def findings_of(data: bytes) -> list[object]:
    return list(READER().read(BytesSource("m", data), Budget(ScanSettings())))


TENSORS = {
    # name: offset, size, stride, whether it fits ten elements
    "whole": (0, (2, 5), (5, 1), True),
    "a column": (4, (2,), (5,), True),
    "turned": (0, (5, 2), (1, 5), True),
    "spread": (0, (1000, 10), (0, 1), True),
    "empty": (99, (0, 5), (5, 1), True),
    "one number": (9, (), (), True),
    "one too many": (1, (2, 5), (5, 1), False),
    "as large as the machine": (0, (1 << 40,), (1,), False),
    "beyond by its stride": (0, (2,), (1 << 40,), False),
    "backwards": (0, (2,), (-1,), False),
    "strides are missing": (0, (2, 5), (5,), False),
}


@pytest.mark.parametrize(("offset", "size", "stride", "fits"), TENSORS.values(), ids=TENSORS)
def test_a_tensor_lies_within_its_storage(
    offset: int, size: tuple[int, ...], stride: tuple[int, ...], *, fits: bool
) -> None:
    shapes = b"".join(b"(" + b"".join(number(one) for one in shape) + b"t" for shape in (size, stride))
    body = (
        global_("torch._utils", "_rebuild_tensor_v2")
        + b"("
        + storage()
        + number(offset)
        + shapes
        + b"\x89"
        + global_("collections", "OrderedDict")
        + b")RtR"
    )
    call = [
        e
        for e in run(Cursor(BytesSource("", stream(body, 2))), Budget(ScanSettings()), Dialect.TORCH).events
        if e.sight is Sight.CALL
    ][-1]
    assert (call.standing is not Standing.MISUSED) is fits


def test_one_storage_under_two_descriptions_is_found() -> None:
    (finding,) = [f for f in findings_of(stream(storage() + storage(count=b"K\x0b"), 2)) if not isinstance(f, Fact)]
    assert "torch-storage-conflict" in str(finding)


def test_a_call_beside_storages_is_seen() -> None:
    facts = [f for f in findings_of(stream(storage() + SYSTEM, 4)) if isinstance(f, Fact)]
    assert [f.name for f in facts if f.kind is FactKind.CALL] == ["os.system"]


def test_the_source_of_a_class_is_code_that_never_runs_and_the_class_stays_itself() -> None:
    facts = [f for f in findings_of(stream(UNDERSTOOD["the source of a class"] + b")R", 2)) if isinstance(f, Fact)]
    (code,) = [f for f in facts if f.kind is FactKind.CODE]
    assert code.detail["runs"] == "never"
    assert [f.name for f in facts if f.kind is FactKind.CALL] == ["lib.Net"]


def test_it_never_claims_by_itself_and_stands_in_for_the_other_reader() -> None:
    assert not READER().claims(Look(BytesSource("data.pkl", EVIL)))
    assert "pickle-persistent-id" in rules_of(report_of(stream(storage(), 2)))
