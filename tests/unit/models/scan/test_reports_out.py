"""SARIF with hashes, places within and suppressions; CycloneDX by its schema; JSON that machines can rely on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fastness.core.clock import SECOND, Instant
from fastness.core.findings import Finding, Severity, judge
from fastness.models.scan import Report, scan_paths, to_cyclonedx, to_json, to_sarif
from fastness.models.scan.report import Waived
from tests.needs import ROOT
from tests.unit.models.scan.artifacts import EVIL, report_of

SARIF = json.loads(Path(__file__).with_name("sarif_schema.json").read_bytes())
CYCLONEDX = json.loads(Path(__file__).with_name("cyclonedx_schema.json").read_bytes())
NOW = Instant(1_790_000_000 * SECOND)
DIGEST = f"sha256:{'ab' * 32}"
INSIDE = Finding(
    "pickle-dangerous-call", Severity.CRITICAL, "m.zip/data.pkl@7", "would run posix.system", {"offset": 7}
)
REVIEW = Finding("pickle-unknown-global", Severity.MEDIUM, "m.zip/data.pkl@9", "imports lib.Model", {"offset": 9})


def report(**changes: Any) -> Report:
    made = Report("m.zip", 100, ("zip", "pickle"), judge([INSIDE]), 100, digest=DIGEST, isolation="sandbox")
    return replace(made, **changes)


def plain(document: object) -> Any:
    return json.loads(json.dumps(document))


MANY = {
    "one": [report()],
    "none": [],
    "a clean one": [report(verdict=judge([]))],
    "twice the same": [report(), report(name="other.zip")],
    "waived": [
        report(verdict=judge([]), waived=(Waived(REVIEW, "erin", "k" * 64, "2026-12-01T00:00:00.000000Z", "ours"),))
    ],
    "with contents": [
        report(contents=(("package", "torch", "pypi ==2.1"), ("package", "a b", "pypi >=1"), ("licence", "MIT", "")))
    ],
    "unreadable": [report(size=0, formats=(), digest="", explained_bytes=0)],
    "odd names": [report_of(EVIL, name) for name in ("a b/ü#?.pkl", "/abs/m.pkl", "-", "a\nb", "x" * 5000)],
    "a negative offset": [report(verdict=judge([replace(INSIDE, where="m.zip@-1", evidence={"offset": -1})]))],
}


@pytest.mark.parametrize("reports", MANY.values(), ids=MANY)
def test_all_forms_keep_to_their_schemas(reports: list[Report]) -> None:
    jsonschema.validate(plain(to_sarif(reports)), SARIF)
    jsonschema.validate(plain(to_cyclonedx(reports, NOW)), CYCLONEDX)
    assert len(plain(to_json(reports))["reports"]) == len(reports)


def test_what_real_scans_find_keeps_to_the_schemas() -> None:
    reports = list(scan_paths([ROOT / "tests" / "data" / "artifacts"]))
    assert len(reports) > 10
    jsonschema.validate(plain(to_sarif(reports)), SARIF)
    jsonschema.validate(plain(to_cyclonedx(reports, NOW)), CYCLONEDX)


@pytest.mark.parametrize(
    ("change", "schema"),
    [
        (lambda d: d["runs"][0]["artifacts"][0].update(hash="x"), SARIF),
        (lambda d: d["runs"][0]["results"][0].update(level="bad"), SARIF),
        (lambda d: d["components"][0].update(type="model"), CYCLONEDX),
        (lambda d: d["vulnerabilities"][0]["ratings"][0].update(severity="HIGH"), CYCLONEDX),
    ],
)  # fmt: skip
def test_the_schemas_refuse_what_is_wrong(change: Any, schema: Any) -> None:
    document = plain(to_sarif([report()]) if schema is SARIF else to_cyclonedx([report()], NOW))
    change(document)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)


def test_sarif_names_the_bytes_that_were_scanned_and_the_file_within() -> None:
    run = plain(to_sarif([report(name="first", verdict=judge([])), report()]))["runs"][0]
    assert [artifact["hashes"] for artifact in run["artifacts"]] == [{"sha-256": "ab" * 32}] * 2
    (result,) = run["results"]
    physical = result["locations"][0]["physicalLocation"]
    assert physical["artifactLocation"] == {"uri": "m.zip", "index": 1}
    assert physical["region"]["byteOffset"] == 0  # the offset is one of the member, not of the archive
    (within,) = result["relatedLocations"]
    assert within["logicalLocations"][0]["fullyQualifiedName"] == "m.zip/data.pkl"
    assert within["properties"]["offset"] == 7


def test_a_bill_of_materials_lists_packages_licences_and_findings() -> None:
    contents = (("package", "Torch_Vision", "pypi ==2.1"), ("package", "scipy", "pypi >=1"), ("licence", "MIT", ""))
    document = plain(to_cyclonedx([report(contents=contents)], NOW))
    model, pinned, loose = document["components"]
    assert (model["type"], model["licenses"][0]["license"]["name"]) == ("machine-learning-model", "MIT")
    assert model["hashes"] == [{"alg": "SHA-256", "content": "ab" * 32}]
    assert (pinned["version"], pinned["purl"]) == ("2.1", "pkg:pypi/torch-vision@2.1")
    assert "version" not in loose
    assert document["dependencies"][0]["dependsOn"] == [pinned["bom-ref"], loose["bom-ref"]]
    (finding,) = document["vulnerabilities"]
    assert (finding["id"], finding["cwes"]) == ("pickle-dangerous-call", [502])
    assert finding["affects"] == [{"ref": model["bom-ref"]}]


def test_the_same_scan_has_the_same_serial_number_and_another_another() -> None:
    serial = to_cyclonedx([report()], NOW)["serialNumber"]
    assert serial == to_cyclonedx([report()], Instant(0))["serialNumber"]
    assert serial != to_cyclonedx([report(digest="")], NOW)["serialNumber"]
    assert serial != to_cyclonedx([report(verdict=judge([]))], NOW)["serialNumber"]


def test_what_must_be_said_stands_in_the_json() -> None:
    assert plain(to_json([], ["waiver 1 does not count: it expired"]))["notes"] == [
        "waiver 1 does not count: it expired"
    ]
