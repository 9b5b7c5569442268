"""Waivers: signed, for one digest and rule, for a while, and only for what asks for a review."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from fastness.core.clock import SECOND, Instant, later, rfc3339
from fastness.core.digests import Digest
from fastness.core.errors import Invalid
from fastness.core.findings import Severity
from fastness.foundation.crypto import SoftwareSigner, sign_statement
from fastness.models.scan import Outcome, Report, to_cyclonedx, to_json, to_sarif, waivers
from fastness.models.scan.waivers import WAIVER, WaiverRecord, Waivers
from tests.unit.models.scan.artifacts import EVIL, report_of

NOW = Instant(1_790_000_000 * SECOND)
DAY_S = 86_400.0
UNKNOWN = b"\x80\x04\x8c\x03lib\x8c\x05Model\x93."
RULE = "pickle-unknown-global"
ERIN = SoftwareSigner.create(lambda count: b"e" * count)
MALLORY = SoftwareSigner.create(lambda count: b"m" * count)
TRUSTED = {ERIN.keyid: ERIN.public_pem}


def scanned(data: bytes = UNKNOWN) -> Report:
    return replace(report_of(data), digest=f"sha256:{hashlib.sha256(data).hexdigest()}")


def digest(data: bytes = UNKNOWN) -> Digest:
    return Digest(f"sha256:{hashlib.sha256(data).hexdigest()}")


def record(rule: str = RULE, days: int = 30, now: Instant = NOW) -> WaiverRecord:
    return waivers.record_for(rule, "we wrote this class", "erin", now, days)


def read(line: bytes, now: Instant = NOW, trusted: dict[str, bytes] | None = None) -> Waivers:
    return waivers.read_waivers(line, TRUSTED if trusted is None else trusted, now)


def plain(document: object) -> Any:
    return json.loads(json.dumps(document))


def test_what_is_for_review_passes_with_a_waiver_and_is_still_shown() -> None:
    line = waivers.sign_waiver(ERIN, digest(), record())
    ((report,), notes) = waivers.honour([scanned()], read(line))
    assert report.outcome is Outcome.PASS
    assert not notes
    (one,) = report.waived
    assert (one.finding.rule, one.by, one.keyid) == (RULE, "erin", ERIN.keyid)
    assert one.until == rfc3339(later(NOW, 30 * DAY_S))
    (row,) = plain(to_json([report]))["reports"]
    assert row["waived"][0]["waiver"]["by"] == "erin"
    (result,) = plain(to_sarif([report]))["runs"][0]["results"]
    assert result["suppressions"][0]["status"] == "accepted"
    (finding,) = plain(to_cyclonedx([report], NOW))["vulnerabilities"]
    assert "erin" in finding["analysis"]["detail"]


def test_without_a_waiver_nothing_changes() -> None:
    ((report,), notes) = waivers.honour([scanned()], Waivers())
    assert (report, notes) == (scanned(), [])


def tampered(line: bytes) -> bytes:
    envelope = msgspec.json.decode(line)
    payload = envelope["payload"]
    envelope["payload"] = payload[:40] + ("A" if payload[40] != "A" else "B") + payload[41:]
    return msgspec.json.encode(envelope)


def signed(predicate: dict[str, object], kind: str = WAIVER) -> bytes:
    return sign_statement(ERIN, {"scanned": digest()}, kind, predicate)


GOOD = msgspec.to_builtins(record())
NOT_HONOURED: dict[str, tuple[bytes, str]] = {
    "by nobody trusted": (waivers.sign_waiver(MALLORY, digest(), record()), "no trusted key"),
    "expired": (waivers.sign_waiver(ERIN, digest(), record(now=Instant(NOW - 31 * int(DAY_S) * SECOND))), "expired"),
    "tampered": (tampered(waivers.sign_waiver(ERIN, digest(), record())), "does not count"),
    "no envelope": (b"{}", "not a DSSE envelope"),
    "not JSON": (b"\xff\xfe", "not a DSSE envelope"),
    "another statement": (signed(GOOD, "urn:fastness:predicate:scan:v1"), "no waiver"),
    "without an end": (signed({k: v for k, v in GOOD.items() if k != "expires_at"}), "does not say"),
    "with more than a waiver says": (signed({**GOOD, "severity": "all"}), "does not say"),
    "for ever": (signed({**GOOD, "expires_at": "2999-01-01T00:00:00Z"}), "more than"),
    "from tomorrow": (signed({**GOOD, "granted_at": rfc3339(later(NOW, 3 * DAY_S))}), "to come"),
    "a time without a zone": (signed({**GOOD, "expires_at": "2999-01-01T00:00:00"}), "does not say"),
    "an empty time": (signed({**GOOD, "expires_at": ""}), "does not say"),
}


@pytest.mark.parametrize(("line", "why"), NOT_HONOURED.values(), ids=NOT_HONOURED)
def test_a_waiver_that_does_not_count_is_named(line: bytes, why: str) -> None:
    ((report,), notes) = waivers.honour([scanned()], read(line))
    assert report.outcome is Outcome.REVIEW
    assert not report.waived
    assert any(why in note for note in notes), notes


def test_it_holds_to_the_last_moment_and_no_longer() -> None:
    line = waivers.sign_waiver(ERIN, digest(), record(days=1))
    end = later(NOW, DAY_S)
    assert read(line, Instant(end - SECOND)).held
    assert not read(line, end).held


def test_it_is_bound_to_one_digest_and_one_rule() -> None:
    line = waivers.sign_waiver(ERIN, digest(), record())
    other = scanned(UNKNOWN + b"N.")
    ((report,), notes) = waivers.honour([other], read(line))
    assert report.outcome is not Outcome.PASS
    assert "has no finding" in notes[0]
    wrong_rule = waivers.sign_waiver(ERIN, digest(), record("pickle-unknown-call"))
    ((report,), _) = waivers.honour([scanned()], read(wrong_rule))
    assert report.outcome is Outcome.REVIEW


def test_what_blocks_is_not_waived() -> None:
    line = waivers.sign_waiver(ERIN, digest(EVIL), record("pickle-dangerous-call"))
    ((report,), notes) = waivers.honour([scanned(EVIL)], read(line))
    assert report.outcome is Outcome.BLOCK
    assert report.verdict.findings[0].severity is Severity.CRITICAL
    assert "only what asks for a review" in notes[0]


def test_an_unscanned_digest_matches_nothing() -> None:
    """A report without a digest, as of a file that could not be read, is no match for anything."""
    line = waivers.sign_waiver(ERIN, digest(), record())
    ((report,), _) = waivers.honour([replace(scanned(), digest="")], read(line))
    assert report.outcome is Outcome.REVIEW


REFUSED = {
    "no such rule": ("no-such-rule", "why", "erin", 30, "rule-unknown"),
    "undecided": ("format-unknown", "why", "erin", 30, "waiver-impossible"),
    "no reason": (RULE, " ", "erin", 30, "waiver-reason"),
    "nobody": (RULE, "why", "", 30, "waiver-reason"),
    "for ever": (RULE, "why", "erin", 367, "waiver-days"),
    "for no time": (RULE, "why", "erin", 0, "waiver-days"),
}


@pytest.mark.parametrize(("rule", "reason", "by", "days", "code"), REFUSED.values(), ids=REFUSED)
def test_what_no_waiver_may_say_is_not_signed(rule: str, reason: str, by: str, days: int, code: str) -> None:
    with pytest.raises(Invalid) as raised:
        waivers.sign_waiver(ERIN, digest(), waivers.record_for(rule, reason, by, NOW, days))
    assert raised.value.code == code


def test_many_waivers_stand_in_one_file() -> None:
    lines = waivers.sign_waiver(ERIN, digest(), record()) + b"\n" + waivers.sign_waiver(MALLORY, digest(), record())
    given = read(lines, trusted={**TRUSTED, MALLORY.keyid: MALLORY.public_pem})
    assert len(given.held) == 1
    assert not given.problems
    with pytest.raises(Invalid):
        read(b"{}\n" * 10_001)
    assert waivers.key_id(ERIN.public_pem.replace(b"\n", b"\r\n")) == ERIN.keyid
