"""Zip, tar and 7z: what their real writers write passes, byte by byte; what cannot be read is refused by name."""

import io
import struct
import tarfile
import zipfile

import pytest

from fastness.core.findings import Finding
from fastness.core.sources import BytesSource
from fastness.models.scan import Outcome, Report, ScanSettings
from fastness.models.scan.budget import Budget
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.facts import Fact, Facts
from fastness.models.scan.readers.zip import ZipReader
from tests.unit.models.scan.artifacts import EVIL, npy, report_of, rules_of
from tests.unit.models.scan.packing import PLAIN, Packed, tar_blocks, tar_header, tar_of, zip_of
from tests.unit.models.scan.written import fixture, fixtures

HONEST = [
    (name, path, data) for name, files in fixtures("archives") for path, data in files.items() if path != "SOURCES.md"
]
PACKED = [one for one in HONEST if one[0].startswith(("zip-", "tar-", "7z-"))]


@pytest.mark.parametrize(("name", "path", "data"), HONEST, ids=[one[0] for one in HONEST])
def test_what_real_programs_write_passes_byte_by_byte(name: str, path: str, data: bytes) -> None:
    report = report_of(data, path)
    assert report.outcome is Outcome.PASS, (name, report.verdict.findings)
    assert report.explained_bytes == report.size


@pytest.mark.parametrize(("name", "path", "data"), PACKED, ids=[one[0] for one in PACKED])
def test_every_member_of_a_real_archive_is_read(name: str, path: str, data: bytes) -> None:
    del name
    assert {"npy", "pickle", "json"} <= set(report_of(data, path).formats)


@pytest.mark.parametrize("where", ["zip-stored", "tar-gnu", "7z-copy"])
def test_every_cut_of_a_real_archive_gets_a_verdict_that_is_no_pass(where: str) -> None:
    (path, data) = next((path, data) for name, path, data in PACKED if name == where)
    shorter = range(0, len(data) - (10240 if where == "tar-gnu" else 0), 97)
    for length in shorter:
        report = report_of(data[:length], path)
        assert report.outcome is not Outcome.PASS, length


def damaged(data: bytes, at: int) -> Report:
    return report_of(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :], "model.bin")


@pytest.mark.parametrize("where", ["zip-deflated", "7z-lzma2", "tar-ustar"])
def test_a_changed_byte_never_breaks_the_scanner(where: str) -> None:
    (data,) = (data for name, _, data in PACKED if name == where)
    for at in range(0, len(data), 41):
        assert "reader-failed" not in rules_of(damaged(data, at)), at


UNREADABLE = {
    "a method that is not known": (zip_of(Packed("a.npy", PLAIN, 97)), "archive-method"),
    "deflate64": (zip_of(Packed("a.npy", PLAIN, 9)), "archive-method"),
    "encrypted": (zip_of(Packed("a.npy", PLAIN, flags=1, stream=b"x" * 12 + PLAIN, packed=len(PLAIN) + 12)), "archive-encrypted"),
    "a broken stream": (zip_of(Packed("a.npy", PLAIN, 8, stream=b"\xff" * 40)), "archive-broken-member"),
    "a stream that ends early": (zip_of(Packed("a.npy", b"x" * 900, 8, stream=b"\x4a\x4c")), "archive-broken-member"),
    "no directory": (zip_of(Packed("a.npy", PLAIN))[:-80], "zip-malformed"),
    "no local header": (zip_of(Packed("a.npy", PLAIN, offset=7)), "zip-malformed"),
    "longer than the file": (zip_of(Packed("a.npy", PLAIN, packed=1 << 31, size=1 << 31)), "zip-malformed"),
    "bytes behind": (zip_of(Packed("a.npy", PLAIN)) + b"more", "bytes-unexplained"),
    "bytes before": (zip_of(Packed("a.npy", PLAIN), before=b"junk" * 9), "bytes-unexplained"),
    "a comment that is no text": (zip_of(Packed("a.npy", PLAIN), comment=b"\x80\x04\x00"), "bytes-unexplained"),
    "nothing in it": (zip_of(), "archive-empty"),
    "tar: nothing in it": (tar_header("m/", 0, b"5") + bytes(1024), "archive-empty"),
    "tar: cut off": (tar_of(("a.npy", PLAIN))[:560], "tar-malformed"),
    "tar: a broken header": (tar_of(("a.npy", PLAIN))[:1024] + b"x" * 512, "tar-malformed"),
    "tar: a size that is none": (tar_header("a", 0, length=b"99999999999\0"), "tar-malformed"),
    "tar: a negative size": (tar_header("a", 0, length=b"\xff" * 12), "tar-malformed"),
    "tar: 2^63 bytes": (tar_header("a", 0, length=b"\x80\0\0\0\x7f" + b"\xff" * 7), "tar-malformed"),
    "tar: a broken record of pax": (tar_blocks(tar_header("p", 9, b"x"), b"99 path=a"), "tar-malformed"),
    "tar: another volume": (tar_blocks(tar_header("a.npy", len(PLAIN), b"M"), PLAIN), "archive-method"),
    "7z: the start is broken": (fixture("archives", "7z-copy", "model.7z")[:8] + b"\0" * 24, "7z-malformed"),
    "7z: cut off": (fixture("archives", "7z-copy", "model.7z")[:-9], "7z-malformed"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "rule"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_named(data: bytes, rule: str) -> None:
    report = report_of(data, "model.bin")
    assert rule in rules_of(report), report.verdict.findings
    assert report.outcome is not Outcome.PASS


def test_text_in_a_comment_is_explained() -> None:
    assert report_of(zip_of(Packed("a.npy", PLAIN), comment=b"by hand\nversion 2"), "m.zip").outcome is Outcome.PASS


def test_an_empty_member_beside_others_is_no_empty_model() -> None:
    data = zip_of(Packed("a.npy", PLAIN), Packed("__init__.py", b""))
    assert report_of(data, "m.zip").outcome is Outcome.PASS


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_payload_is_found_whatever_the_method(method: int) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("weights.bin", EVIL)
    assert report_of(out.getvalue(), "m.zip").outcome is Outcome.BLOCK


def test_a_checksum_that_is_wrong_is_for_review() -> None:
    report = report_of(zip_of(Packed("a.npy", PLAIN, crc=1)), "m.zip")
    assert rules_of(report) == {"zip-checksum"}
    assert report.outcome is Outcome.REVIEW


def test_a_real_sparse_file_of_gnu_tar_is_read_with_its_holes() -> None:
    body = npy("'<f8'", "(300,)", bytes(2400))
    head = bytearray(tar_header("a.npy", 512, b"S", magic=b"ustar  \0"))
    head[386:410], head[410:434] = b"%011o\0%011o\0" % (0, 512), b"%011o\0%011o\0" % (len(body), 0)
    head[483:495] = b"%011o\0" % len(body)
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    report = report_of(tar_blocks(bytes(head), body[:512]), "m.tar")
    assert report.outcome is Outcome.PASS, report.verdict.findings


def test_pax_names_and_sizes_are_taken() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("ü" * 90 + ".npy")
        info.size = len(PLAIN)
        archive.addfile(info, io.BytesIO(PLAIN))
    report = report_of(out.getvalue(), "m.tar")
    assert report.outcome is Outcome.PASS, report.verdict.findings
    assert "npy" in report.formats


def test_a_member_of_gigabytes_is_stepped_over() -> None:
    class Huge(BytesSource):
        """A stored member of 8 GiB, of which only the records are there."""

        length = 8 << 30

        def __init__(self) -> None:
            head = npy("'|u1'", f"({self.length - 80},)", b"")
            self.head = head[:8] + struct.pack("<H", len(head) - 10) + head[10:]
            self.body = self.length - 80 + len(self.head)
            extra = struct.pack("<HHQQ", 1, 16, self.body, self.body)
            local = struct.pack("<4s5H3I2H", b"PK\3\4", 45, 0, 0, 0, 33, 1, 0xFFFFFFFF, 0xFFFFFFFF, 5, len(extra))
            self.front = local + b"a.npy" + extra + self.head
            where = len(self.front) - len(self.head) + self.body
            sizes = (1, 0xFFFFFFFF, 0xFFFFFFFF, 5, len(extra), 0, 0, 0, 0, 0)
            central = struct.pack("<4s6H3I5H2I", b"PK\1\2", 788, 45, 0, 0, 0, 33, *sizes) + b"a.npy" + extra
            end = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(central), where)
            end += struct.pack("<4sIQI", b"PK\6\7", 0, where + len(central), 1)
            self.back = central + end + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, len(central), 0xFFFFFFFF, 0)
            self.where = where
            self.read = 0
            super().__init__("w.npz", b"")

        @property
        def size(self) -> int:
            return self.where + len(self.back)

        def read_at(self, offset: int, length: int) -> bytes:
            length = max(0, min(length, self.size - offset))
            self.read += length
            out = bytearray(length)
            for start, data in ((0, self.front), (self.where, self.back)):
                begin, end = max(start, offset), min(start + len(data), offset + length)
                if begin < end:
                    out[begin - offset : end - offset] = data[begin - start : end - start]
            return bytes(out)

    source = Huge()
    told = list(ZipReader().read(source, Budget(ScanSettings())))
    (bundle,) = (item for item in told if isinstance(item, Bundle))
    assert bundle.source("a.npy").size == source.body
    assert Facts(item for item in told if isinstance(item, Fact)).explained(source.size) == source.size
    assert not any(isinstance(item, Finding) for item in told)
    assert source.read < 4 << 20
