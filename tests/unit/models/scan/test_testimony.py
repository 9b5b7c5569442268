"""What other scanners said goes to the file that it speaks of; what speaks of none is not lost."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import pytest

from fastness.core.errors import Invalid
from fastness.core.findings import Severity
from fastness.models.scan import Outcome, Report, add_witness, to_json
from tests.unit.models.scan.artifacts import EVIL, report_of, rules_of


def trivy(*targets: str) -> bytes:
    """A report by Trivy's published schema, with a vulnerability in each target."""
    flaw = {"VulnerabilityID": "CVE-2024-1", "PkgName": "pkg", "InstalledVersion": "1", "Severity": "HIGH"}
    rows = [{"Target": target, "Class": "lang-pkgs", "Type": "pip", "Vulnerabilities": [flaw]} for target in targets]
    return json.dumps({"SchemaVersion": 2, "ArtifactName": ".", "ArtifactType": "filesystem", "Results": rows}).encode()


def reports(*names: str) -> list[Report]:
    return [report_of(b"\x80\x04N.", name) for name in names]


MEANT = {
    "the same": ("weights/a.pkl", ["weights/a.pkl", "b.pkl"], 0),
    "a member": ("b.zip:data.pkl", ["a.pkl", "b.zip"], 1),
    "the end of a name": ("a.pkl", ["models/a.pkl", "models/b.pkl"], 0),
    "with more in front": ("home/models/b.pkl", ["models/a.pkl", "models/b.pkl"], 1),
    "a member, with more in front": ("home/b.zip:data.pkl", ["a.pkl", "b.zip"], 1),
    "the end of two names": ("a.pkl", ["x/a.pkl", "y/a.pkl"], None),
    "none": ("c.pkl", ["a.pkl"], None),
    "the end of a word": ("ba.pkl", ["a.pkl"], None),
}


@pytest.mark.parametrize(("path", "names", "at"), MEANT.values(), ids=MEANT)
def test_a_finding_goes_to_the_file_that_is_meant(path: str, names: list[str], at: int | None) -> None:
    joined = add_witness(reports(*names), trivy(path), "trivy.json")
    if at is None:
        assert [report.name for report in joined] == [*names, path]
        assert joined[:-1] == reports(*names)
    else:
        assert [report.name for report in joined] == names
    told = joined[-1 if at is None else at]
    assert told.verdict.findings
    assert any(finding.evidence.get("witness") for finding in told.verdict.findings)
    assert told.outcome is not Outcome.PASS


def test_a_witness_only_adds() -> None:
    bad = report_of(EVIL, "a.pkl")
    (joined,) = add_witness([bad], trivy("a.pkl"), "trivy.json")
    assert rules_of(joined) > rules_of(bad)
    assert joined.verdict.findings[0].severity is Severity.CRITICAL
    assert add_witness([bad], trivy(), "trivy.json") == [bad]


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"[1]", b"model is clean\n"])
def test_what_is_no_report_is_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        add_witness(reports("a.pkl"), data, "said.txt")


def test_many_findings_of_many_files_are_no_work_that_grows_with_the_square() -> None:
    names = [f"m/{number:05}.pkl" for number in range(20_000)]
    (plain,) = reports("x")
    many = [replace(plain, name=name) for name in names]
    joined = add_witness(many, trivy(*(f"home/{name}!data.pkl" for name in names)), "trivy.json")
    assert len(joined) == len(names)
    assert all(report.verdict.findings for report in joined)


def test_names_that_no_program_can_write_are_written_out() -> None:
    joined = add_witness(reports("a.pkl"), trivy("b\ud800.pkl"), "trivy.json")
    assert [report.name for report in joined] == ["a.pkl", "b\\ud800.pkl"]
    assert msgspec.json.encode(to_json(joined))
