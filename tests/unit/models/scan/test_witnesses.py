"""Reports that other scanners wrote become findings of the catalogue; what has another form is refused, not read in part."""

import json
from pathlib import Path
from typing import Any

import pytest

from fastness.core.errors import Invalid
from fastness.core.findings import Severity
from fastness.models.scan.catalogue import rule_of
from fastness.models.scan.witnesses import import_report

REPORTS = Path(__file__).resolve().parents[3] / "data" / "artifacts" / "witnesses"
ALL = sorted(path.name for path in REPORTS.iterdir() if path.suffix in {".json", ".txt"})
TRIVY: dict[str, Any] = {
    "SchemaVersion": 2,
    "ArtifactName": ".",
    "Results": [
        {"Target": "requirements.txt", "Class": "lang-pkgs", "Vulnerabilities": [
            {"VulnerabilityID": "CVE-1", "PkgName": "torch", "InstalledVersion": "1.0", "FixedVersion": "2.0", "Severity": "CRITICAL", "Title": "t"},
            {"VulnerabilityID": "CVE-2", "PkgName": "x", "InstalledVersion": "1", "Severity": "LOW"}]},
        {"Target": "config.json", "Secrets": [{"RuleID": "aws", "Severity": "CRITICAL", "Title": "AWS key", "Match": "AKIA-the-secret"}]},
        {"Target": "Dockerfile", "Misconfigurations": [{"ID": "DS1", "Severity": "HIGH", "Title": "root"}],
         "Licenses": [{"Name": "GPL-3.0", "PkgName": "y", "Severity": "HIGH"}]},
    ],
}  # fmt: skip


def told(name: str) -> list[tuple[str, str, Severity]]:
    return [(path, finding.rule, finding.severity) for path, finding in import_report((REPORTS / name).read_bytes())]


@pytest.mark.parametrize("name", ALL)
def test_a_real_report_gives_findings_of_the_catalogue_that_name_the_witness(name: str) -> None:
    for _, finding in import_report((REPORTS / name).read_bytes()):
        assert rule_of(finding.rule).id == finding.rule
        assert str(finding.evidence["witness"]).partition(" ")[0] in {"modelscan", "picklescan", "fickling"}
        assert finding.message.isascii()


def test_modelscan() -> None:
    assert {(path, rule) for path, rule, _ in told("modelscan.json")} == {
        ("system.pt:archive/data.pkl", "pickle-dangerous-global"),
        ("getattr.pkl", "pickle-dangerous-global"),
    }
    assert told("modelscan-clean.json") == []


def test_picklescan() -> None:
    assert {(Path(path).name, rule, severity.name) for path, rule, severity in told("picklescan.txt")} == {
        ("unknown.pkl", "pickle-dangerous-global", "HIGH"),
        ("data.pkl", "pickle-dangerous-global", "HIGH"),
        ("getattr.pkl", "pickle-dangerous-global", "HIGH"),
    }
    assert told("picklescan-globals.txt") == []
    assert [(Path(path).name, rule) for path, rule, _ in told("picklescan-broken.txt")] == [
        ("broken.pkl", "witness-failed")
    ]
    promoted = [one for one in told("picklescan-strict.txt") if one[1] == "witness-unsafe"]
    assert len(promoted) == 9
    assert {severity for _, _, severity in promoted} == {Severity.MEDIUM}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("getattr", ("witness-unsafe", "MEDIUM")),
        ("arrays", ("witness-unsafe", "MEDIUM")),
        ("plain", ("witness-note", "LOW")),
        ("token", None),
    ],
)
def test_fickling(name: str, expected: tuple[str, str] | None) -> None:
    found = [(rule, severity.name) for _, rule, severity in told(f"fickling-{name}.json")]
    assert found == ([expected] if expected else [])


def test_trivy_by_its_schema() -> None:
    found = import_report(json.dumps(TRIVY).encode())
    assert [(path, finding.rule) for path, finding in found] == [
        ("requirements.txt", "package-vulnerable"),
        ("requirements.txt", "package-weakness"),
        ("config.json", "credential-in-model"),
        ("Dockerfile", "witness-note"),
        ("Dockerfile", "witness-note"),
    ]
    assert "the-secret" not in repr(found)


def refusal_of(data: bytes) -> str:
    try:
        import_report(data)
    except Invalid as refusal:
        return refusal.code
    return ""


FOREIGN = {
    "nothing": b"",
    "text": b"all is well",
    "another JSON": b'{"a": 1}',
    "a list": b"[]",
    "a number": b"7",
    "nested": b"[" * 100_000,
}


@pytest.mark.parametrize("data", FOREIGN.values(), ids=FOREIGN)
def test_reports_of_no_known_scanner_are_refused(data: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        import_report(data)
    assert caught.value.code == "witness-unknown"


def changed(name: str, **more: object) -> bytes:
    return json.dumps({**json.loads((REPORTS / name).read_text("utf-8")), **more}).encode()


BROKEN = {
    "not UTF-8": b"\xff\xfe{}",
    "an unknown level of ModelScan": changed("modelscan.json", issues=[{"source": "x", "scanner": "s", "severity": "ODD", "description": "d"}]),
    "issues that are no list": changed("modelscan.json", issues={"a": 1}),
    "an issue without a path": changed("modelscan.json", issues=[{"scanner": "s", "severity": "LOW", "description": "d"}]),
    "an unknown level of Fickling": changed("fickling-plain.json", severity="FINE"),
    "results of Fickling that are a list": changed("fickling-plain.json", detailed_results=[]),
    "a schema of Trivy that is not known": json.dumps({**TRIVY, "SchemaVersion": 3}).encode(),
    "a target of Trivy that is a number": json.dumps({**TRIVY, "Results": [{"Target": 7}]}).encode(),
    "a line picklescan does not write": b"hello\n" + (REPORTS / "picklescan.txt").read_bytes(),
    "picklescan's traceback": b"Unhandled exception\n" + (REPORTS / "picklescan.txt").read_bytes(),
    "lines of picklescan that are missing": b"\n".join((REPORTS / "picklescan.txt").read_bytes().splitlines()[1:]),
}  # fmt: skip


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_reports_without_the_form_of_their_scanner_are_refused(data: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        import_report(data)
    assert caught.value.code == "witness-malformed"


@pytest.mark.parametrize("name", ALL)
def test_reports_cut_anywhere_are_refused_or_read(name: str) -> None:
    data = (REPORTS / name).read_bytes()
    for length in range(0, len(data), 7):
        assert refusal_of(data[:length]) in {"", "witness-unknown", "witness-malformed"}


def test_what_a_report_says_is_shown_escaped_and_cut() -> None:
    issue = {"source": "a\x1b[2J", "scanner": "x", "severity": "LOW", "description": "\x1b[31m" + "x" * 10_000}
    ((_, finding),) = import_report(changed("modelscan.json", issues=[issue]))
    assert "\x1b" not in finding.message + finding.where
    assert len(finding.message) < 300
