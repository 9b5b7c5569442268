"""Reports as data: what comes out of a process that has read hostile bytes, and what is kept in a cache.

Nothing in it is believed further than it must be: the verdict is judged anew from the findings, each finding must be of
a rule that exists and say no less than what it is, and everything has a bound. A process that was taken over can still
leave out what it found in the one file that it saw; of other files it knows nothing.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from fastness.core.errors import Corrupt
from fastness.core.findings import Finding, Severity, judge
from fastness.models.scan.catalogue import rule_of
from fastness.models.scan.report import Report

MOST_BYTES = 16 << 20
_MOST_FINDINGS = 20_000
_MOST_NAMES = 100_000
_LONGEST = 20_000

T = TypeVar("T")


class FindingRecord(msgspec.Struct, frozen=True, array_like=True):
    """A finding as data."""

    rule: str
    severity: int
    where: str
    message: str
    evidence: dict[str, str | int | float] = {}


class ReportRecord(msgspec.Struct, frozen=True, array_like=True):
    """A report as data; whose name and size it is, the reader of it knows."""

    formats: tuple[str, ...]
    explained_bytes: int
    dropped: int
    findings: tuple[FindingRecord, ...]
    contents: tuple[tuple[str, str, str], ...] = ()


def record_of(report: Report) -> ReportRecord:
    """`report` as data."""
    kept = tuple(map(finding_record, report.verdict.findings))
    return ReportRecord(report.formats, report.explained_bytes, report.dropped, kept, report.contents)


def finding_record(finding: Finding) -> FindingRecord:
    """`finding` as data."""
    evidence = {name: _cut(value) for name, value in finding.evidence.items()}
    return FindingRecord(finding.rule, int(finding.severity), _cut(finding.where), _cut(finding.message), evidence)


def report_of(record: ReportRecord, name: str, size: int) -> Report:
    """The report that a record tells of, judged anew.

    Raises:
        Corrupt: it holds what no scan says.
    """
    if not 0 <= record.explained_bytes <= size or record.dropped < 0:
        raise _untrue("bytes that are not there")
    if len(record.findings) > _MOST_FINDINGS or len(record.formats) + len(record.contents) > _MOST_NAMES:
        raise _untrue("more than a scan tells")
    findings = [finding_of(one) for one in record.findings]
    contents = tuple((_text(kind), _text(what), _text(about)) for kind, what, about in record.contents)
    formats = tuple(_text(form) for form in record.formats)
    return Report(name, size, formats, judge(findings), record.explained_bytes, record.dropped, contents=contents)


def encode(record: msgspec.Struct) -> bytes:
    """The record as bytes. Half a surrogate pair, as in names of files that are no UTF-8, is written out."""
    try:
        return msgspec.msgpack.encode(record)
    except UnicodeEncodeError:
        return msgspec.msgpack.encode(_plain(msgspec.to_builtins(record, str_keys=True)))


def unpacked(decoder: msgspec.msgpack.Decoder[T], data: bytes | bytearray | memoryview) -> T:
    """What stands in `data`.

    Raises:
        Corrupt: nothing that the decoder takes.
    """
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _untrue("no record") from error


def finding_of(record: FindingRecord) -> Finding:
    """The finding that a record tells of.

    Raises:
        Corrupt: no scan says that.
    """
    try:
        rule, severity = rule_of(record.rule), Severity(record.severity)
    except (KeyError, ValueError):
        raise _untrue("a rule that does not exist") from None
    if rule.incomplete and severity < rule.severity:
        raise _untrue("a refusal that refuses nothing")
    evidence = {_text(name): _text(v) if isinstance(v, str) else v for name, v in record.evidence.items()}
    return Finding(rule.id, severity, _text(record.where), _text(record.message), evidence)


def _cut(value: T) -> T:
    """A text, not longer than whoever reads it takes; anything else as it is."""
    return value[: _LONGEST - 1] + "…" if isinstance(value, str) and len(value) > _LONGEST else value  # type: ignore[return-value]  # a text for a text


def _text(text: str) -> str:
    if len(text) > _LONGEST:
        raise _untrue("a text without end")
    return text


def _plain(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, dict):
        return {_plain(key): _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


def _untrue(what: str) -> Corrupt:
    return Corrupt("scan-record", f"the record of a scan holds {what}")
