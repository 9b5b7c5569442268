"""Parquet, Arrow and Avro: honest files of their libraries, what hides in them, and files that are cut or changed."""

import base64
import struct

import pytest

from fastness.core.errors import TooLarge
from fastness.models.scan import Outcome
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.thrift import BINARY, DOUBLE, I32, LIST, MAP, STRUCT, Compact, NotThrift
from tests.unit.models.scan.artifacts import EVIL, report_of, rules_of
from tests.unit.models.scan.written import fixture, fixtures

HONEST = fixtures("data_tables")
PLAIN = fixture("data_tables", "parquet-plain", "a.parquet")
ARROW = fixture("data_tables", "arrow-file", "a.arrow")
STREAM = fixture("data_tables", "arrow-stream", "a.arrow")
AVRO = fixture("data_tables", "avro-null", "a.avro")
ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0\x3e\0\x01\0\0\0" + bytes(40)


@pytest.mark.parametrize(("name", "files"), HONEST, ids=[name for name, _ in HONEST])
def test_tables_that_libraries_wrote_pass(name: str, files: dict[str, bytes]) -> None:
    del name
    for path, data in files.items():
        report = report_of(data, path)
        assert report.outcome is Outcome.PASS, report.verdict.findings
        assert report.explained_bytes == len(data)


# ---------------------------------------------------------------- a Parquet file put together
def number(value: int) -> bytes:
    value = value << 1 ^ value >> 63
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def text(value: bytes) -> bytes:
    length = b""
    count = len(value)
    while count > 127:
        length += bytes([count & 127 | 128])
        count >>= 7
    return length + bytes([count]) + value


def chunk(start: int, length: int, file: bytes = b"") -> bytes:
    """A column of another file or of this one: file_path, meta_data."""
    column = b"\x76" + number(length) + b"\x26" + number(start) + b"\0"
    return (b"\x18" + text(file) + b"\x2c" if file else b"\x3c") + column + b"\0"


def parquet(
    *chunks: bytes, body: bytes = b"data", pairs: dict[bytes, bytes] | None = None, behind: bytes = b""
) -> bytes:
    groups = b"\x49\x1c" + b"\x19" + bytes([len(chunks) << 4 | 12]) + b"".join(chunks) + b"\0" if chunks else b""
    kept = b"".join(b"\x18" + text(key) + b"\x18" + text(value) + b"\0" for key, value in (pairs or {}).items())
    metadata = (
        groups
        + ((b"\x19" if chunks else b"\x59") + bytes([len(pairs or {}) << 4 | 12]) + kept if pairs else b"")
        + b"\0"
        + behind
    )
    return b"PAR1" + body + metadata + struct.pack("<I", len(metadata)) + b"PAR1"


WHOLE = chunk(4, 4)
FOUND: dict[str, tuple[bytes, str, Outcome]] = {
    "bytes between columns": (parquet(chunk(4, 2), body=b"data"), "bytes-unexplained", Outcome.INCOMPLETE),
    "a program between columns": (parquet(chunk(4, 4), body=b"data" + ELF), "executable-hidden", Outcome.BLOCK),
    "a pickle between columns": (parquet(chunk(4, 4), body=b"data" + EVIL), "pickle-dangerous-call", Outcome.BLOCK),
    "bytes behind the metadata": (parquet(WHOLE, behind=b"more"), "bytes-unexplained", Outcome.INCOMPLETE),
    "a column beyond the end": (parquet(chunk(4, 400)), "parquet-malformed", Outcome.INCOMPLETE),
    "a column before the start": (parquet(chunk(-8, 4)), "parquet-malformed", Outcome.INCOMPLETE),
    "a column of an immense length": (parquet(chunk(4, (1 << 62) - 1)), "parquet-malformed", Outcome.INCOMPLETE),
    "a column elsewhere": (parquet(chunk(4, 4, b"../../etc/passwd")), "reference-escapes", Outcome.BLOCK),
    "a column at an address": (parquet(chunk(4, 4, b"http://x.y/a.parquet")), "reference-escapes", Outcome.BLOCK),
    "a target in pandas' metadata": (parquet(WHOLE, pairs={b"pandas": b'{"a": {"_target_": "os.system"}}'}), "class-dangerous", Outcome.BLOCK),
    "a template in the metadata": (parquet(WHOLE, pairs={b"prompt": b"{{ x.__class__.__mro__ }}"}), "template-escapes", Outcome.BLOCK),
    "a program in the metadata": (parquet(WHOLE, pairs={b"a": base64.b64encode(ELF)}), "executable-native", Outcome.BLOCK),
    "a program as it is": (parquet(WHOLE, pairs={b"a": ELF}), "executable-hidden", Outcome.BLOCK),
    "a pickle in Arrow's schema": (parquet(WHOLE, pairs={b"ARROW:schema": base64.b64encode(bytes(8) + EVIL)}), "pickle-dangerous-call", Outcome.BLOCK),
    "a key in the metadata": (parquet(WHOLE, pairs={b"a": b"key = AKIA" + b"Q7ZT3MNPLK2WXY5R"}), "credential-in-model", Outcome.REVIEW),
    "a locked footer": (parquet(WHOLE)[:-4] + b"PARE", "parquet-encrypted", Outcome.INCOMPLETE),
}  # fmt: skip


def test_a_table_put_together_passes() -> None:
    assert report_of(parquet(WHOLE, pairs={b"a": b"b"}), "a.parquet").outcome is Outcome.PASS


@pytest.mark.parametrize(("data", "rule", "outcome"), FOUND.values(), ids=FOUND)
def test_what_hides_in_a_parquet_file_is_found(data: bytes, rule: str, outcome: Outcome) -> None:
    report = report_of(data, "a.parquet")
    assert rule in rules_of(report), report.verdict.findings
    assert report.outcome is outcome


@pytest.mark.parametrize("data", [PLAIN, ARROW, STREAM, AVRO], ids=["Parquet", "Arrow", "stream", "Avro"])
def test_a_table_that_is_cut_is_no_pass(data: bytes) -> None:
    name = {b"PAR1": "a.parquet", b"Obj\1": "a.avro"}.get(data[:4], "a.arrow")
    for stop in range(9, len(data) - 1, max(1, len(data) // 60)):
        assert report_of(data[:stop], name).outcome is not Outcome.PASS, stop


@pytest.mark.parametrize("data", [PLAIN, ARROW, STREAM, AVRO], ids=["Parquet", "Arrow", "stream", "Avro"])
def test_bytes_behind_a_table_are_no_pass(data: bytes) -> None:
    name = {b"PAR1": "a.parquet", b"Obj\1": "a.avro"}.get(data[:4], "a.arrow")
    assert report_of(data + ELF, name).outcome is not Outcome.PASS


def test_an_avro_schema_that_names_a_class_of_java_is_for_review() -> None:
    schema = b'{"type": "string", "java-class": "java.net.URL"}'
    head = b"Obj\x01" + number(1) + number(11) + b"avro.schema" + number(len(schema)) + schema + b"\0" + bytes(16)
    assert "avro-java-class" in rules_of(report_of(head, "a.avro"))


@pytest.mark.parametrize(
    "data", [b"", b"\x15", b"\x1f\0", b"\x19\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", b"\x18\x7f", b"\x1c" * 100, b"\x05" + b"\xff" * 12],
)  # fmt: skip
def test_what_is_no_thrift_raises_its_own_error(data: bytes) -> None:
    compact = Compact(data, Budget(ScanSettings()))
    with pytest.raises(NotThrift):
        compact.skip(STRUCT)


def test_every_kind_of_value_is_stepped_over() -> None:
    fields = {
        I32: number(7), DOUBLE: bytes(8), BINARY: text(b"abc"), LIST: b"\x21\x01\x02", MAP: b"\x01\x58" + number(1) + text(b"x"), STRUCT: b"\x11\0",
    }  # fmt: skip
    data = b"".join(bytes([1 << 4 | kind]) + value for kind, value in fields.items()) + b"\x11\x12\0"
    compact = Compact(data, Budget(ScanSettings()))
    compact.skip(STRUCT)
    assert compact.at == len(data)


def test_a_footer_of_too_many_fields_spends_the_budget() -> None:
    with pytest.raises(TooLarge):
        Compact(b"\x11" * 1000 + b"\0", Budget(ScanSettings(fields=100))).skip(STRUCT)
