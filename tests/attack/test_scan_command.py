"""Attacks on `fastness scan` by the names, links and numbers of what it scans. Success rate: 0 of 10."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from fastness.core.findings import Finding, Severity, judge
from fastness.interfaces.cli.scanning.verdicts import print_reports
from fastness.models.scan import Outcome, Report, RunSettings, Scanner, pool, rules, scan_paths
from tests.needs import ROOT
from tests.unit.models.scan.artifacts import EVIL, rules_of

FORMS = ["table", "json", "sarif", "cyclonedx"]
ODD = "a\x1b[2J\x9b31m\u202egnp\x7f.pkl"


def scan(*line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fastness", *line], cwd=cwd, capture_output=True, text=True, check=False, timeout=100,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"},
    )  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_name_gives_no_orders_to_a_terminal(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / ODD).write_bytes(EVIL)
    (folder / os.fsdecode(b"b\xff.pkl")).symlink_to("a")
    os.mkfifo(folder / os.fsdecode(b"c\xfe.pkl"))
    ended = scan("--format", form, "scan", "m", cwd=tmp_path)
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    assert not {"\x1b", "\x9b", "\x7f", "\u202e"} & set(ended.stdout + ended.stderr)
    if form == "json":
        names = {report["name"] for report in json.loads(ended.stdout)["reports"]}
        assert {f"m/{ODD}", "m/b\\xff.pkl", "m/c\\xfe.pkl"} <= names


def test_a_link_laid_where_the_report_goes_is_not_followed(tmp_path: Path) -> None:
    """A checkout holds what its author likes, among it a link under the name that the report had while it was written."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(1))
    for name in ("r.json", f".r.json.{hashlib.sha256(b'r.json').hexdigest()[:8]}"):
        (tmp_path / name).symlink_to(victim)
    assert scan("--format", "json", "scan", "a.pkl", "--output", "r.json", cwd=tmp_path).returncode == 0
    assert victim.read_text() == "mine"
    assert json.loads((tmp_path / "r.json").read_text())["reports"]
    assert not (tmp_path / "r.json").is_symlink()


def test_two_folders_have_one_digest_only_where_they_hold_the_same(tmp_path: Path) -> None:
    """The digest of a folder is what a waiver names; a name with a line end in it must not stand for two files."""
    config = b'{"model_type": "bert", "auto_map": {"AutoModel": "m.M"}}'
    honest, forged = tmp_path / "honest", tmp_path / "forged"
    for folder in (honest, forged):
        folder.mkdir()
        (folder / "config.json").write_bytes(config)
    (honest / "m.py").write_bytes(b"x = 1\n")
    (honest / "n.txt").write_bytes(b"text\n")
    line = f"m.py\n{hashlib.sha256(b'text' + bytes([10])).hexdigest()}  n.txt"
    (forged / line).write_bytes(b"x = 1\n")
    with Scanner(RunSettings(jobs=1)) as scanner:
        found = {report.name: report.digest for report in pool.scan_folders([honest, forged], pool.Bench(scanner))}
    assert found[str(honest)] != found[str(forged)]


def test_a_folder_is_judged_though_one_of_its_files_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that nobody may read must not keep the scan from what stands between the others."""
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "bert", "auto_map": {"AutoModel": "m.M"}}')
    (folder / "m.py").write_text("import os\n")
    with Scanner(RunSettings(jobs=1)) as scanner:
        (whole,) = (r for r in pool.scan_folders([folder], pool.Bench(scanner)) if r.name == str(folder))
        (folder / "unreadable.bin").write_bytes(b"1")
        real = os.open

        def opened(path: object, *rest: int) -> int:
            if str(path).endswith("unreadable.bin"):
                raise PermissionError(13, "Permission denied")
            return real(path, *rest)  # type: ignore[arg-type]  # passed on as it comes

        monkeypatch.setattr(os, "open", opened)
        reports = {r.name: r for r in pool.scan_folders([folder], pool.Bench(scanner))}
    assert rules_of(reports[str(folder)]) == rules_of(whole)
    assert rules_of(reports[str(folder / "unreadable.bin")]) == {"path-unreadable"}
    assert reports[str(folder / "unreadable.bin")].outcome is Outcome.INCOMPLETE


def test_a_folder_that_becomes_a_link_while_it_is_walked_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "m"
    for one in (elsewhere, folder / "sub"):
        one.mkdir(parents=True)
    (elsewhere / "private.pkl").write_bytes(pickle.dumps(1))
    real = Path.lstat

    def exchanged(path: Path) -> os.stat_result:
        status = real(path)
        if path.name == "sub" and not os.path.islink(path):  # noqa: PTH114 - that of Path is the one patched
            path.rmdir()
            path.symlink_to(elsewhere)
        return status

    monkeypatch.setattr(Path, "lstat", exchanged)
    (report,) = scan_paths([folder])
    assert (report.outcome, rules_of(report)) == (Outcome.INCOMPLETE, {"path-unreadable"})


def many(count: int) -> list[Report]:
    unknown, blocked = (
        next(rule for rule in rules() if rule.id == name) for name in ("format-unknown", "pickle-dangerous-call")
    )
    reports = []
    for number in range(count):
        name = f"f/{number:06}"
        rule = None if number % 2 else blocked if number == count - 2 else unknown
        found = [Finding(rule.id, rule.severity, f"{name}@0", "said", {"offset": 0})] if rule else []
        reports.append(Report(name, 1, ("raw",), judge(found), 1))
    return reports


def test_many_files_make_a_table_that_can_be_read_and_hides_nothing_blocked() -> None:
    """100,000 files, half of them undecided and one blocked: a work that grows with the square would take an hour."""
    out = io.StringIO()
    print_reports(Console(file=out, width=200), many(100_000), [], explain=False)
    lines = out.getvalue().splitlines()
    assert len(lines) < 1000
    assert lines[0].startswith("block      f/099998")
    assert "and 49899 more files with format-unknown" in out.getvalue()
    assert "and 49970 more files without any finding" in out.getvalue()
    assert "1 blocked, 49999 undecided, 50000 pass" in out.getvalue()
    assert "the worst: critical pickle-dangerous-call in f/099998" in out.getvalue()


def test_what_only_a_few_have_is_listed_among_many_of_another_kind() -> None:
    reports = many(1000)
    rule = next(rule for rule in rules() if rule.id == "path-link")
    odd = Report("f/link", 0, (), judge([Finding(rule.id, Severity.HIGH, "f/link@0", "a link", {})]), 0)
    out = io.StringIO()
    print_reports(Console(file=out, width=200), [*reports, odd], [], explain=False)
    assert "f/link" in out.getvalue()
