"""Waivers: a person answers with a signature for one kind of finding, in one file, for a while.

A waiver is a signed statement about the digest of a file: which rule, why, by whom, until when. Only findings that ask for
a review can be waived; what blocks, and what could not be decided, never. A waiver that does not count is named with the
reason, so that nobody relies on it. The findings stay in the report, as waived.

What it misses: a key that its owner lost counts until whoever scans no longer trusts it; the time of the machine that
scans decides what has expired.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from fastness.core.clock import SECOND, Instant, later, rfc3339
from fastness.core.digests import Digest, parse_digest
from fastness.core.errors import Corrupt, FastnessError, Invalid
from fastness.core.findings import Finding, Severity, judge
from fastness.models.scan.catalogue import rule_of
from fastness.models.scan.report import Report, Waived

if TYPE_CHECKING:
    from fastness.foundation.crypto import Signer

WAIVER = "urn:fastness:predicate:scan-waiver:v1"
MOST_DAYS = 366
_DAY_S = 86_400
_MOST_BYTES = 16 << 20
_MOST_WAIVERS = 10_000


class WaiverRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is signed about a digest.

    Attributes:
        by: who waives, as they call themselves; the key says who they are.
        granted_at, expires_at: RFC 3339, UTC.
    """

    rule: str
    reason: str
    by: str
    granted_at: str
    expires_at: str


@dataclass(frozen=True, slots=True)
class Waiver:
    """A waiver that counts: signed by a trusted key, and not expired."""

    digest: Digest
    record: WaiverRecord
    keyid: str


@dataclass(frozen=True, slots=True)
class Waivers:
    """Those that count, by digest and rule, and why the others do not."""

    held: Mapping[tuple[str, str], Waiver] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


def sign_waiver(signer: Signer, digest: Digest, record: WaiverRecord) -> bytes:
    """One line of a file of waivers: the signed statement that `record` holds for the bytes of `digest`.

    Raises:
        Invalid: there is no such rule, it cannot be waived, or it says no reason.
    """
    from fastness.foundation.crypto import sign_statement  # scanning without waivers needs no signatures

    _require_waivable(record.rule)
    if not record.reason.strip() or not record.by.strip():
        raise Invalid("waiver-reason", "a waiver says who waives, and why", "Give --reason.")
    envelope = sign_statement(signer, {"scanned": digest}, WAIVER, msgspec.to_builtins(record))
    return envelope + b"\n"


def record_for(rule: str, reason: str, by: str, now: Instant, days: int) -> WaiverRecord:
    """What is to be signed.

    Raises:
        Invalid: `days` is not 1 to 366.
    """
    if not 1 <= days <= MOST_DAYS:
        raise Invalid("waiver-days", f"a waiver holds for 1 to {MOST_DAYS} days, not {days}")
    return WaiverRecord(rule, reason, by, rfc3339(now), rfc3339(later(now, days * _DAY_S)))


def key_id(public_pem: bytes) -> str:
    """The name of a public key, as it stands in signatures: SHA-256 of its PEM with one line end."""
    return hashlib.sha256(public_pem.replace(b"\r\n", b"\n").strip() + b"\n").hexdigest()


def read_waivers(data: bytes, trusted: Mapping[str, bytes], now: Instant) -> Waivers:
    """The waivers of a file, one a line, that count at `now`.

    Args:
        trusted: key id to public key, PEM.

    Raises:
        Invalid: the file is too large, or a trusted key is malformed.
    """
    lines = data.splitlines() if len(data) <= _MOST_BYTES else []
    if len(data) > _MOST_BYTES or len(lines) > _MOST_WAIVERS:
        raise Invalid(
            "waivers-large", f"more than {_MOST_WAIVERS} waivers, or more than {_MOST_BYTES >> 20} MiB of them"
        )
    held: dict[tuple[str, str], Waiver] = {}
    problems: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            waiver = _opened(line, trusted, now)
        except (Corrupt, _Refused) as error:
            problems.append(f"waiver {number} does not count: {error.message}")
            continue
        held[waiver.digest, waiver.record.rule] = waiver
    return Waivers(held, tuple(problems))


def honour(reports: Iterable[Report], waivers: Waivers) -> tuple[list[Report], list[str]]:
    """The reports with what is waived taken out of their verdicts, and what must be said about waivers."""
    used: set[tuple[str, str]] = set()
    notes = list(waivers.problems)
    judged = [_honoured(report, waivers, used, notes) for report in reports]
    for (digest, rule), waiver in waivers.held.items():
        if (digest, rule) not in used:
            notes.append(
                f"the waiver of {waiver.record.by!a} for {rule} has no finding: nothing of digest {digest} has one"
            )
    return judged, notes


class _Refused(FastnessError):
    """A waiver that is signed and does not count all the same."""


def _honoured(report: Report, waivers: Waivers, used: set[tuple[str, str]], notes: list[str]) -> Report:
    kept: list[Finding] = []
    waived: list[Waived] = []
    for finding in report.verdict.findings:
        key = (report.digest, finding.rule)
        waiver = waivers.held.get(key)
        if waiver is None:
            kept.append(finding)
            continue
        used.add(key)
        if finding.severity != Severity.MEDIUM or rule_of(finding.rule).incomplete:
            kept.append(finding)
            notes.append(f"{finding.rule} in {report.name}: only what asks for a review can be waived")
            continue
        record = waiver.record
        waived.append(Waived(finding, record.by, waiver.keyid, record.expires_at, record.reason))
    return replace(report, verdict=judge(kept), waived=tuple(waived)) if waived else report


def _opened(line: bytes, trusted: Mapping[str, bytes], now: Instant) -> Waiver:
    from fastness.foundation.crypto import verify_statement  # scanning without waivers needs no signatures

    statement = verify_statement(line, trusted)
    if statement.predicate_type != WAIVER or len(statement.subjects) != 1:
        raise _Refused("waiver-type", "it is no waiver of one file")
    try:
        record = msgspec.convert(dict(statement.predicate), WaiverRecord)
        granted, expires = _instant(record.granted_at), _instant(record.expires_at)
        digest = parse_digest(next(iter(statement.subjects.values())))
    except (msgspec.ValidationError, ValueError, Invalid) as error:
        raise _Refused("waiver-malformed", "it does not say what a waiver says") from error
    if expires <= now:
        raise _Refused("waiver-expired", f"it expired at {record.expires_at}")
    if expires - granted > MOST_DAYS * _DAY_S * SECOND or granted > now + _DAY_S * SECOND:
        raise _Refused("waiver-long", f"it holds for more than {MOST_DAYS} days, or from a day that is to come")
    return Waiver(digest, record, min(statement.keyids))


def _instant(text: str) -> Instant:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError("a time without a zone")
    return Instant(int(at.timestamp() * 1_000_000) * 1000)


def _require_waivable(name: str) -> None:
    try:
        rule = rule_of(name)
    except KeyError:
        raise Invalid("rule-unknown", f"there is no rule {name[:80]!r}", "See `fastness rules`.") from None
    if rule.incomplete:
        raise Invalid(
            "waiver-impossible", f"{name} says that a file could not be decided", "Only findings for review can be waived."
        )  # fmt: skip
