"""Published ways past scanners of archives, each as the class it is. Nothing here is ever unpacked to disk, or run.

Success rate of the attacks: 0 of those below.
"""

import base64
import bz2
import gzip
import io
import lzma
import struct
import tarfile
import tracemalloc
import zipfile
import zlib

import pytest

from fastness.models.scan import Outcome
from tests.unit.models.scan.artifacts import EVIL, npy, report_of, rules_of
from tests.unit.models.scan.packing import (
    EVIL_MEMBER,
    PLAIN,
    Packed,
    end64_of,
    end_of,
    tar_blocks,
    tar_header,
    tar_of,
    torch_zip,
    zip_of,
)
from tests.unit.models.scan.written import fixture

HONEST = Packed("a.npy", PLAIN)
DEFLATED = Packed("m.pkl", EVIL, 8)


def two_ends() -> bytes:
    """An archive in the comment of another, whose directory lists the payload."""
    outer, inner = zip_of(HONEST), zip_of(EVIL_MEMBER)
    moved = inner[:-22] + end_of(1, len(inner) - 22 - inner.index(b"PK\1\2"), inner.index(b"PK\1\2"))
    return outer[:-2] + struct.pack("<H", len(moved)) + moved


def two_directories() -> bytes:
    """The 32-bit end leads to an honest directory, the 64-bit one to another."""
    body = zip_of(HONEST, EVIL_MEMBER)
    at = body.index(b"PK\1\2")
    first = zip_of(HONEST)
    shown = first[first.index(b"PK\1\2") : -22]
    real = body[at:-22]
    place = at + len(shown)
    end = end64_of(2, len(real), place, place + len(real))
    return body[:at] + shown + real + end + end_of(1, len(shown), at)


def unlisted() -> bytes:
    """The payload stands before the data of an honest member, and in no directory."""
    return zip_of(Packed("m.pkl", EVIL, listed=False), HONEST)


def quoted() -> bytes:
    """Members that share one kernel (Fifield 2019, the overlapping form without quoting)."""
    kernel = Packed("0", bytes(1 << 20), 8)
    return zip_of(kernel, *(Packed(f"{i}", bytes(1 << 20), 8, local_name="0", offset=0) for i in range(1, 200)))


def nested(levels: int) -> bytes:
    data = zip_of(DEFLATED)
    for _ in range(levels):
        data = zip_of(Packed("n.zip", data, 8))
    return data


READINGS = {
    "CVE-2025-1944: the names differ": (zip_of(Packed("a.npy", EVIL, local_name="m.pkl")), "zip-disagreement"),
    "CVE-2025-1945: marked as encrypted": (zip_of(Packed("m.pkl", EVIL, flags=1, local_flags=0)), "zip-false-marks"),
    "marked as encrypted twice": (zip_of(Packed("m.pkl", EVIL, flags=1)), "zip-false-marks"),
    "marked as strongly encrypted": (zip_of(Packed("m.pkl", EVIL, flags=0x40)), "zip-false-marks"),
    "marked as patched": (zip_of(Packed("m.pkl", EVIL, flags=0x20)), "zip-false-marks"),
    "marked as masked, and deflated": (zip_of(Packed("m.pkl", EVIL, 8, flags=0x2000)), "zip-false-marks"),
    "marked as too new": (zip_of(Packed("m.pkl", EVIL, version=99)), "zip-false-marks"),
    "CVE-2025-10156: a bad checksum": (zip_of(Packed("m.pkl", EVIL, crc=1)), "zip-checksum"),
    "a bad checksum, deflated": (zip_of(Packed("m.pkl", EVIL, 8, crc=1)), "zip-checksum"),
    "the sizes differ": (zip_of(Packed("m.pkl", EVIL, size=3)), "zip-disagreement"),
    "longer than its size, deflated": (zip_of(Packed("m.pkl", EVIL, 8, size=3)), "zip-disagreement"),
    "the local size is shorter": (zip_of(Packed("m.pkl", EVIL, local_packed=2)), "zip-disagreement"),
    "the local method differs": (zip_of(Packed("m.pkl", EVIL, local_method=8)), "zip-disagreement"),
    "two of one name, the last": (zip_of(HONEST, Packed("a.npy", EVIL)), "archive-duplicate"),
    "two of one name, the first": (zip_of(Packed("a.npy", EVIL), HONEST), "archive-duplicate"),
    "three of one name": (zip_of(HONEST, Packed("a.npy", EVIL), Packed("a.npy", PLAIN)), "archive-duplicate"),
    "in no directory": (unlisted(), "zip-hidden-member"),
    "in no directory, sizes behind": (zip_of(Packed("m.pkl", EVIL, 8, listed=False, descriptor=True), HONEST), "zip-hidden-member"),
    "a count that hides": (zip_of(HONEST, EVIL_MEMBER, count=1), "zip-disagreement"),
    "two ends": (two_ends(), "zip-disagreement"),
    "two directories": (two_directories(), "zip-disagreement"),
    "bytes before": (zip_of(EVIL_MEMBER, before=b"GIF89a" + bytes(90)), "bytes-unexplained"),
    "no directory at all": (zip_of(EVIL_MEMBER)[: -22 - 46 - 5], "zip-malformed"),
    "an end without a directory": (zip_of(EVIL_MEMBER)[:-22] + end_of(1, 50, 9), "zip-malformed"),
    "sizes behind": (zip_of(Packed("m.pkl", EVIL, 8, descriptor=True)), "pickle-dangerous-call"),
    "another name in an extra field": (
        zip_of(Packed("a.txt", EVIL, extra=struct.pack("<HHBI", 0x7075, 10, 1, 0) + b"m.pkl")), "archive-name",
    ),
    "no name": (zip_of(Packed("", EVIL)), "pickle-dangerous-call"),
    "a folder that has bytes": (zip_of(Packed("m/", EVIL)), "pickle-dangerous-call"),
    "tar: behind the end": (tar_of(("a.npy", PLAIN)) + tar_of(("m.pkl", EVIL)), "tar-hidden-member"),
    "tar: two of one name": (tar_of(("a.npy", EVIL), ("a.npy", PLAIN)), "archive-duplicate"),
    "tar: two of one name, differently": (tar_of(("./a.npy", EVIL), ("a.npy", PLAIN)), "archive-duplicate"),
    "CVE-2025-62518: the size stands twice": (
        tar_blocks(
            tar_header("p", 12, b"x"), b"12 size=512\n", tar_header("a.bin", 0),
            tar_header("m.pkl", len(EVIL)), tar_header("m.pkl", len(EVIL)), EVIL,
        ), "tar-disagreement",
    ),
    "tar: a link that has bytes": (tar_blocks(tar_header("l", 512, b"2", "a"), tar_header("m.pkl", len(EVIL)), EVIL), "tar-disagreement"),
    "tar: a kind that nobody knows": (tar_blocks(tar_header("m", len(EVIL), b"Z"), EVIL), "pickle-dangerous-call"),
    "tar: of the old form": (tar_blocks(tar_header("m", len(EVIL), magic=bytes(8)), EVIL), "pickle-dangerous-call"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "rule"), READINGS.values(), ids=READINGS)
def test_what_any_program_reads_is_scanned(data: bytes, rule: str) -> None:
    report = report_of(data, "model.bin")
    assert {rule, "pickle-dangerous-call"} <= rules_of(report), report.verdict.findings
    assert report.outcome is Outcome.BLOCK


PATHS = [
    "../x.npy",
    "a/../../x.npy",
    "/etc/x.npy",
    "C:\\x.npy",
    "..\\x.npy",
    "a\\..\\..\\x.npy",
    "~/x.npy",
    "\\\\host\\x.npy",
]


@pytest.mark.parametrize("path", PATHS)
def test_names_that_lead_out_are_blocked(path: str) -> None:
    for data in (zip_of(Packed(path, PLAIN)), tar_of((path, PLAIN))):
        report = report_of(data, "model.bin")
        assert "archive-path" in rules_of(report), report.verdict.findings
        assert report.outcome is Outcome.BLOCK


def test_names_with_a_zero_byte_are_read_as_both() -> None:
    report = report_of(zip_of(Packed("a.npy\0.txt", PLAIN)), "model.bin")
    assert "archive-name" in rules_of(report)


LINKS = {"/etc/passwd": "archive-link-outside", "../../x": "archive-link-outside", "weights.npy": "archive-link"}


@pytest.mark.parametrize(("target", "rule"), LINKS.items())
def test_links_are_never_passed(target: str, rule: str) -> None:
    assert rule in rules_of(report_of(zip_of(HONEST, Packed("l", target.encode(), mode=0o120777)), "m.zip"))
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):

        def change(info: tarfile.TarInfo, kind: bytes = kind) -> None:
            if info.name == "l":
                info.type, info.linkname, info.size = kind, target, 0

        report = report_of(tar_of(("a.npy", PLAIN), ("l", b""), change=change), "m.tar")
        assert rule in rules_of(report), report.verdict.findings
        assert report.outcome is not Outcome.PASS


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_special_files_are_blocked(kind: bytes) -> None:
    data = tar_blocks(tar_header("a.npy", len(PLAIN)), PLAIN, tar_header("d", 0, kind))
    assert "archive-device" in rules_of(report_of(data, "m.tar"))
    assert "archive-device" in rules_of(report_of(zip_of(HONEST, Packed("d", b"", mode=0o020666)), "m.zip"))


def bombs() -> dict[str, bytes]:
    zeros = npy("'|u1'", "(134217728,)", bytes(1 << 27))
    stored = io.BytesIO()
    with tarfile.open(fileobj=stored, mode="w:gz") as archive:
        info = tarfile.TarInfo("w.npy")
        info.size = len(zeros)
        archive.addfile(info, io.BytesIO(zeros))
    return {
        "zip": zip_of(Packed("w.npy", zeros, 8)),
        "gzip": gzip.compress(zeros, 9),
        "bz2": bz2.compress(zeros),
        "xz": lzma.compress(zeros, preset=0),
        "gzip in zip": zip_of(Packed("w.npy.gz", gzip.compress(zeros, 9))),
        "tar.gz": stored.getvalue(),
        "many members": zip_of(*(Packed(f"{i}.npy", zeros[: 1 << 21], 8) for i in range(60))),
    }


BOMBS = bombs()


@pytest.mark.parametrize("data", BOMBS.values(), ids=BOMBS)
def test_a_bomb_is_told_and_costs_little_memory(data: bytes) -> None:
    tracemalloc.start()
    try:
        report = report_of(data, "model.bin")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rules_of(report) & {"archive-bomb", "compressed-bomb"}, report.verdict.findings
    assert report.outcome is not Outcome.PASS
    assert peak < 70 << 20


def test_members_that_share_their_bytes_are_blocked_before_they_are_inflated() -> None:
    report = report_of(quoted(), "model.bin", inflated_bytes=64 << 20)
    assert "zip-overlap" in rules_of(report)
    assert report.outcome is Outcome.BLOCK


def test_nesting_is_followed_to_its_bound_and_refused_behind_it() -> None:
    assert report_of(nested(5), "m.zip").outcome is Outcome.BLOCK
    report = report_of(nested(40), "m.zip")
    assert report.outcome is Outcome.INCOMPLETE
    assert "budget-spent" in rules_of(report)


def test_more_members_than_the_bound_are_refused() -> None:
    data = zip_of(*(Packed(f"{i}.npy", PLAIN) for i in range(300)))
    assert "budget-spent" in rules_of(report_of(data, "m.zip", members=200))


def test_members_that_cost_more_than_the_bound_to_read_again_are_undecided_and_the_payload_is_found() -> None:
    """What is inflated twice is paid for twice; where that is too much, the scan ends with a verdict."""
    filler = [Packed(f"{i}.bin", b"\xfe" + bytes(2 << 20), 8) for i in range(40)]
    report = report_of(zip_of(EVIL_MEMBER, *filler), "m.zip", inflated_bytes=100 << 20)
    assert {"budget-spent", "pickle-dangerous-call"} <= rules_of(report), report.verdict.findings
    assert report.outcome is Outcome.BLOCK
    assert report_of(zip_of(*filler), "m.zip", inflated_bytes=100 << 20).outcome is Outcome.BLOCK


QUINE = base64.b64decode(
    "UEsDBBQAAAAIAAAAIQAAAAAAAAAAAAAAAAABAAAAeAMAUEsBAhQAFAAAAAgAAAAhAAAAAAAAAAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAAAHhQSwUGAAAAAAEAAQAvAAAA"
    "IQAAAAAA"
)


def test_an_archive_of_nothing_but_itself_ends() -> None:
    assert report_of(QUINE, "m.zip").outcome in set(Outcome)


def test_an_executable_that_unpacks_itself_is_named_and_its_members_scanned() -> None:
    for program in (b"MZ" + bytes(200), b"\x7fELF\2\1\1" + bytes(200), b"#!/bin/sh\nexit 0\n"):
        report = report_of(zip_of(EVIL_MEMBER, before=program), "model.bin")
        assert "pickle-dangerous-call" in rules_of(report)
        honest = report_of(zip_of(HONEST, before=program), "model.bin")
        assert honest.outcome is not Outcome.PASS
        seven = report_of(program + fixture("archives", "7z-copy", "model.7z"), "model.bin")
        assert "7z" in seven.formats
        assert seven.outcome is not Outcome.PASS


def test_bytes_before_an_archive_are_not_explained_by_looking_like_another_format() -> None:
    for before in (b"\x80\x02\xff" + bytes(20), b"x" * 257 + b"ustar" + bytes(250), b"7z\xbc\xaf\x27\x1c" + bytes(40)):
        assert report_of(zip_of(HONEST, before=before), "model.bin").outcome is not Outcome.PASS


POLYGLOTS = {
    "pickle, then zip": EVIL + zip_of(HONEST),
    "zip behind a tar": tar_of(("a.npy", PLAIN)) + zip_of(EVIL_MEMBER),
    "zip at the end of an honest pickle": b"\x80\x04N." + zip_of(EVIL_MEMBER),
    "zip behind an array": PLAIN + zip_of(EVIL_MEMBER),
    "zip behind gzip": gzip.compress(PLAIN) + zip_of(EVIL_MEMBER),
    "torch archive behind a text": b'{"a": 1}\n' + torch_zip(EVIL),
}


@pytest.mark.parametrize("data", POLYGLOTS.values(), ids=POLYGLOTS)
def test_a_file_of_two_formats_is_read_as_both(data: bytes) -> None:
    report = report_of(data, "model.bin")
    assert "pickle-dangerous-call" in rules_of(report), report.verdict.findings


def test_an_honest_archive_within_another_format_is_no_news() -> None:
    """A zip as the last member of a tar, or of another zip, ends like an archive of its own."""
    inner = zip_of(HONEST)
    for data in (tar_of(("a.zip", inner)), tar_of(("a.zip", inner), ("b.zip", inner)), zip_of(Packed("a.zip", inner))):
        assert report_of(data, "m.bin").outcome is Outcome.PASS


def codecs() -> dict[str, bytes]:
    lz4 = pytest.importorskip("lz4.frame")
    zstandard = pytest.importorskip("zstandard")
    whole = {
        "gzip": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zlib": zlib.compress,
        "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE), "lz4": lz4.compress,
        "zstandard": zstandard.ZstdCompressor().compress,
    }  # fmt: skip
    once = {name: compress(EVIL) for name, compress in whole.items()}
    padded = b"N0" * 200
    half = b"\x80\x04" + padded + EVIL[2:]
    split = {
        f"{name}, in two streams": whole[name](half[:300]) + whole[name](half[300:])
        for name in ("gzip", "bz2", "xz", "lz4", "zstandard")
    }
    skipped = {
        f"{name}, behind a frame to skip": b"\x50\x2a\x4d\x18\x04\0\0\0skip" + once[name]
        for name in ("lz4", "zstandard")
    }
    old = b"ZF" + hex(len(EVIL)).encode().ljust(19)
    skipped |= {
        "joblib before 0.10": old + zlib.compress(EVIL),
        "the same with a space": old + b" " + zlib.compress(EVIL),
    }
    return once | split | skipped | {"gzip with zeros behind": once["gzip"] + bytes(512)}


def test_every_codec_is_opened_and_streams_behind_each_other_are_one() -> None:
    for name, data in codecs().items():
        report = report_of(data, "model.bin")
        assert "pickle-dangerous-call" in rules_of(report), (name, report.verdict.findings)


def test_a_real_zip_of_each_form_hides_nothing() -> None:
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        data = tar_of(("m" * 60 + "/" + "x" * 60, EVIL), form=form)
        assert report_of(data, "m.tar").outcome is Outcome.BLOCK
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, archive.open("m.pkl", "w", force_zip64=True) as member:
        member.write(EVIL)
    assert report_of(out.getvalue(), "m.zip").outcome is Outcome.BLOCK
