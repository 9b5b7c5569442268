"""Archives of any shape, and any bytes where archives should be: a verdict, and never a pass for a payload."""

from hypothesis import given
from hypothesis import strategies as st

from fastness.core.sources import BytesSource
from fastness.models.scan import Outcome
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.inflate import CODECS, Inflated
from tests.unit.models.scan.artifacts import EVIL, report_of, rules_of
from tests.unit.models.scan.packing import PLAIN, Packed, tar_blocks, tar_header, zip_of
from tests.unit.models.scan.written import fixtures

SMALL = {"opcodes": 50_000, "stack": 10_000, "inflated_bytes": 1 << 22, "header_bytes": 1 << 16, "members": 100}
REAL = [data for family in ("archives", "torch", "skops") for _, files in fixtures(family) for data in files.values()]

numbers = st.none() | st.integers(0, 200) | st.sampled_from([0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF])
names = st.sampled_from(["a.npy", "m.pkl", "a/data.pkl", "a/version", "x/../y", "", "A/DATA.PKL"])
members = st.builds(
    Packed,
    name=names,
    data=st.sampled_from([EVIL, PLAIN]),
    method=st.sampled_from([0, 8]),
    local_name=st.none() | names,
    flags=st.sampled_from([0, 1, 8, 0x20, 0x40, 0x800, 0x2000]),
    local_flags=st.none() | st.sampled_from([0, 1, 8]),
    crc=numbers,
    size=numbers,
    packed=numbers,
    local_packed=numbers,
    local_method=st.none() | st.sampled_from([0, 8, 12, 14, 93, 99]),
    mode=st.sampled_from([0, 0o100644, 0o120777, 0o020000, 0o040755]),
    extra=st.binary(max_size=12),
    version=st.sampled_from([20, 45, 63, 90]),
    listed=st.booleans(),
    descriptor=st.booleans(),
)


@given(
    st.lists(members, min_size=1, max_size=4),
    st.binary(max_size=9),
    st.binary(max_size=9),
    st.none() | st.integers(0, 9),
)
def test_a_zip_that_holds_a_payload_never_passes(
    parts: list[Packed], before: bytes, comment: bytes, count: int | None
) -> None:
    report = report_of(zip_of(*parts, before=before, comment=comment, count=count), "model.zip", **SMALL)
    assert "reader-failed" not in rules_of(report), report.verdict.findings
    if any(part.data == EVIL for part in parts):
        assert report.outcome is not Outcome.PASS


headers = st.builds(
    tar_header,
    name=names,
    size=st.sampled_from([0, len(EVIL), 512, 513]),
    kind=st.sampled_from([bytes([i]) for i in b"0123456789xgLKSVMNDZ\0"]),
    link=names,
    magic=st.sampled_from([b"ustar\x0000", b"ustar  \0", bytes(8)]),
)


@given(st.lists(headers | st.sampled_from([EVIL, b"12 path=abc\n", bytes(512)]), min_size=1, max_size=8))
def test_a_tar_of_any_headers_gets_a_verdict(parts: list[bytes]) -> None:
    assert "reader-failed" not in rules_of(report_of(tar_blocks(*parts), "model.tar", **SMALL))


@given(
    st.sampled_from(REAL),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), max_size=4),
    st.floats(0, 1),
)
def test_damaged_real_archives_get_a_verdict(data: bytes, changes: list[tuple[float, bytes]], cut: float) -> None:
    damaged = bytearray(data)
    for place, piece in changes:
        at = int(place * len(data))
        damaged[at : at + len(piece)] = piece
    report = report_of(bytes(damaged[: max(1, int(len(damaged) * (1 - cut * cut * cut)))]), "model.bin", **SMALL)
    assert "reader-failed" not in rules_of(report), report.verdict.findings


@given(st.sampled_from(sorted(CODECS)), st.binary(max_size=300))
def test_any_bytes_as_compressed_data_end(codec: str, data: bytes) -> None:
    inner = Inflated(BytesSource("m", data), "m!x", codec, Budget(ScanSettings(inflated_bytes=1 << 24)))
    assert inner.consumed <= len(data)
    assert len(inner.read_at(0, inner.size)) == inner.size
