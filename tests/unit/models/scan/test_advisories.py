"""Advisories are matched as the schema of OSV says, from every form of snapshot; an old snapshot is refused."""

import io
import json
import zipfile
from typing import Any

import pytest

from fastness.core.clock import SECOND, Instant
from fastness.core.errors import Corrupt
from fastness.models.scan import Outcome
from fastness.models.scan.advisories import Advisories, advise, base_score, pinned, shipped
from tests.unit.models.scan.artifacts import report_of, rules_of

DAY = 86_400 * SECOND
DATE = Instant(1_789_948_800 * SECOND)  # 2026-09-21


def record(
    name: str = "pkg",
    events: list[dict[str, str]] | None = None,
    kind: str = "ECOSYSTEM",
    ecosystem: str = "PyPI",
    **more: object,
) -> dict[str, object]:
    ranges = [{"type": kind, "events": events if events is not None else [{"introduced": "0"}, {"fixed": "2.0"}]}]
    affected = {"package": {"ecosystem": ecosystem, "name": name}, "ranges": ranges}
    return {"id": "X-1", "modified": "2026-09-20T00:00:00Z", "summary": "a fault", "affected": [affected], **more}


def snapshot(*records: dict[str, object], date: str = "2026-09-21") -> Advisories:
    return Advisories.read(json.dumps({"date": date, "records": list(records)}).encode())


def hits(one: Advisories, version: str, name: str = "pkg", ecosystem: str = "PyPI") -> list[str]:
    return [advisory.ids[0] for advisory in one.affecting(ecosystem, name, version)]


def events(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{kind: version} for kind, version in pairs]


RANGES = [
    # events, affected, not affected
    (events(("introduced", "0"), ("fixed", "2.0")), ["0.1", "1.9.9", "2.0rc1", "2.0.dev1"], ["2.0", "2.0.post1", "3"]),
    (events(("introduced", "1.0"), ("fixed", "1.5"), ("introduced", "2.0"), ("fixed", "2.1")), ["1.0", "1.4", "2.0.9"], ["0.9", "1.5", "1.9", "2.1"]),
    (events(("fixed", "2.1"), ("introduced", "2.0"), ("fixed", "1.5"), ("introduced", "1.0")), ["1.0", "2.0"], ["1.5", "2.1"]),
    (events(("introduced", "0"), ("last_affected", "1.4")), ["1.4", "1.0", "1.4.0"], ["1.4.1", "1.5", "1.4.post1"]),
    (events(("introduced", "0")), ["0.1", "99"], []),
    (events(("introduced", "1"), ("limit", "3")), ["1", "2.9"], ["0.9", "3", "4"]),
    (events(("introduced", "1!1.0"), ("fixed", "1!2.0")), ["1!1.5"], ["1.5", "2!0"]),
    (events(("introduced", "1.0.0"), ("fixed", "1.0.0.post2")), ["1.0", "1.0.0.post1"], ["1.0.post2"]),
]  # fmt: skip


@pytest.mark.parametrize(("ranges", "affected", "safe"), RANGES)
def test_ranges_of_python_versions(ranges: list[dict[str, str]], affected: list[str], safe: list[str]) -> None:
    one = snapshot(record(events=ranges))
    assert [version for version in (*affected, *safe) if hits(one, version)] == affected


SEMANTIC = [
    (events(("introduced", "1.0.0"), ("fixed", "1.2.0")), ["1.0.0", "1.1.9", "1.2.0-rc.1"], ["1.2.0", "1.0.0-alpha"]),
    (events(("introduced", "1.0.0-alpha.1"), ("fixed", "1.0.0-alpha.10")), ["1.0.0-alpha.2", "1.0.0-alpha.9"], ["1.0.0-alpha.10", "1.0.0-beta", "1.0.0"]),
]  # fmt: skip


@pytest.mark.parametrize(("ranges", "affected", "safe"), SEMANTIC)
def test_ranges_of_semantic_versions(ranges: list[dict[str, str]], affected: list[str], safe: list[str]) -> None:
    one = snapshot(record(events=ranges, kind="SEMVER", ecosystem="npm"))
    assert [version for version in (*affected, *safe) if hits(one, version, ecosystem="npm")] == affected


def test_listed_versions_count_as_they_are_and_as_they_read() -> None:
    entry = record(events=[])
    entry["affected"][0]["versions"] = ["1.0", "weird"]  # type: ignore[index]  # a record is JSON
    one = snapshot(entry)
    assert [version for version in ("1.0", "1.0.0", "weird", "1.1") if hits(one, version)] == ["1.0", "1.0.0", "weird"]


def test_withdrawn_records_and_ranges_of_commits_say_nothing() -> None:
    one = snapshot(record(withdrawn="2026-09-01T00:00:00Z"), record(kind="GIT"))
    assert hits(one, "1.0") == []


def test_names_are_compared_as_the_ecosystem_compares_them() -> None:
    one = snapshot(record("Some_Pkg"))
    assert hits(one, "1.0", "some-pkg") == ["X-1"]
    assert hits(snapshot(record("Some_Pkg", ecosystem="npm", kind="SEMVER")), "1.0.0", "some-pkg", "npm") == []


def test_records_that_name_each_other_are_told_once_the_worst_first() -> None:
    critical: dict[str, Any] = {
        "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]
    }
    one = snapshot(
        record(id="GHSA-1", aliases=["CVE-1"]),
        record(id="PYSEC-1", aliases=["CVE-1", "GHSA-1"]),
        record(id="X-2", **critical),
    )
    assert hits(one, "1.0") == ["X-2", "GHSA-1"]


# Scores that FIRST's examples and the specification give for these vectors.
VECTORS = {
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H": 9.8,
    "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H": 10.0,
    "CVSS:3.0/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N": 6.1,
    "CVSS:3.1/AV:L/AC:L/PR:L/UI:N/S:U/C:H/I:H/A:H": 7.8,
    "CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:U/C:L/I:N/A:N": 3.1,
    "CVSS:3.1/AV:P/AC:H/PR:H/UI:R/S:U/C:N/I:N/A:N": 0.0,
    "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N": None,
    "CVSS:3.1/AV:Q/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H": None,
    "": None,
}


@pytest.mark.parametrize(("vector", "score"), VECTORS.items())
def test_base_scores(vector: str, score: float | None) -> None:
    assert base_score(vector) == score


@pytest.mark.parametrize(
    ("specifier", "version"),
    [
        ("==1.0", "1.0"),
        ("===1.0", "1.0"),
        ("==1.0,>0.5", "1.0"),
        ("==1.*", ""),
        (">=1", ""),
        ("", ""),
        ("~=1.0", ""),
        ("%%", ""),
    ],
)
def test_only_one_version_is_pinned(specifier: str, version: str) -> None:
    assert pinned(specifier) == version


def zipped(**members: object) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, value in members.items():
            archive.writestr(f"{name}.json", json.dumps(value))
    return buffer.getvalue()


FORMS = {
    "an object with a date": json.dumps({"date": "2026-09-21", "records": [record()]}).encode(),
    "a list": json.dumps([record(modified="2026-09-21T00:00:00Z")]).encode(),
    "lines": b"\n".join(json.dumps(record(id=f"X-{n}", modified=f"2026-09-2{n}T00:00:00Z", aliases=["X-1"])).encode() for n in (0, 1)),
    "a zip": zipped(a=record(), b=record("other", modified="2026-09-21T00:00:00Z")),
}  # fmt: skip


@pytest.mark.parametrize("data", FORMS.values(), ids=FORMS)
def test_every_form_of_snapshot_is_read_with_its_date(data: bytes) -> None:
    one = Advisories.read(data)
    assert one.at == DATE
    assert len(hits(one, "1.0")) == 1


BROKEN = {
    "nothing": b"",
    "no JSON": b"hello",
    "no records": b'{"date": "2026-09-21", "records": 7}',
    "records without an id": b'[{"modified": "2026-09-21"}]',
    "no date": b'[{"id": "X"}]',
    "a broken zip": b"PK\x03\x04" + bytes(50),
    "a zip with other JSON": zipped(a=[1]),
    "nested deep": b"[" * 100_000,
    "not UTF-8": b"\xff\xfe\xff",
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_is_no_snapshot_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt) as caught:
        Advisories.read(data)
    assert caught.value.code == "advisories-malformed"


def test_a_report_is_held_against_a_snapshot() -> None:
    report = report_of(b"pkg==1.5\nother==1.0\n", "requirements.txt")
    assert report.outcome is Outcome.PASS
    high: dict[str, Any] = {"database_specific": {"severity": "HIGH"}}
    advised = advise(report, snapshot(record(**high)), Instant(DATE + 3 * DAY))
    assert advised.outcome is Outcome.REVIEW
    assert "package-vulnerable" in rules_of(advised)
    assert advise(report, snapshot(record("another", **high)), DATE) == report
    assert advise(advised, snapshot(record(**high)), DATE) == advised


def test_the_level_decides() -> None:
    report = report_of(b"pkg==1.5\n", "requirements.txt")
    for level, outcome in {"CRITICAL": "review", "HIGH": "review", "MODERATE": "pass", "LOW": "pass"}.items():
        one = snapshot(record(database_specific={"severity": level}))
        assert advise(report, one, DATE).outcome.value == outcome
    assert advise(report, snapshot(record(id="MAL-2026-1")), DATE).outcome is Outcome.BLOCK


@pytest.mark.parametrize(
    ("days", "outcome"), [(30, Outcome.PASS), (31, Outcome.INCOMPLETE), (4000, Outcome.INCOMPLETE)]
)
def test_a_stale_snapshot_is_refused(days: int, outcome: Outcome) -> None:
    report = report_of(b"pkg==5\n", "requirements.txt")
    advised = advise(report, snapshot(record()), Instant(DATE + days * DAY), 30)
    assert advised.outcome is outcome
    assert ("advisories-stale" in rules_of(advised)) == (outcome is Outcome.INCOMPLETE)


def test_a_report_without_packages_asks_for_no_snapshot() -> None:
    report = report_of(b"\x80\x04N.", "model.pkl")
    assert advise(report, snapshot(record()), Instant(DATE + 4000 * DAY)) == report


def test_the_shipped_advisories_are_well_formed() -> None:
    one = shipped()
    assert len(one.by_package) > 15
    for (ecosystem, name), known in one.by_package.items():
        assert ecosystem == "PyPI"
        assert name == name.lower()
        assert all(advisory.summary and advisory.score >= 4 for advisory in known)
    assert {a.ids[0] for a in one.affecting("PyPI", "torch", "1.13.0")} == {"CVE-2022-45907", "CVE-2025-32434"}
    assert one.affecting("PyPI", "torch", "2.6.0") == []
    assert one.affecting("PyPI", "keras", "3.11.3") == []
