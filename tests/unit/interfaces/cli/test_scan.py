"""`fastness scan` as it is typed: what it prints, where, and how it ends."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from fastness.core.clock import system_entropy
from fastness.foundation.crypto import SoftwareSigner
from fastness.interfaces.cli import main
from tests.needs import ROOT
from tests.unit.models.scan.artifacts import EVIL, safetensors

SCHEMAS = ROOT / "tests" / "unit" / "models" / "scan"
REVIEW = b"\x80\x04\x8c\x03lib\x8c\x05Model\x93."
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Types a line in a folder with four files; status, output and errors."""
    files = {"bad.pkl": EVIL, "good.safetensors": safetensors({}), "maybe.pkl": REVIEW, "odd.bin": b"\xfe\xdc" * 40}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def typed(*line: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["scan", *line])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return typed


STATUSES = {
    "all pass": (["good.safetensors"], 0),
    "one blocked": (["bad.pkl", "good.safetensors"], 1),
    "one for review": (["maybe.pkl"], 1),
    "one for review, and only blocks count": (["maybe.pkl", "--fail-on", "block"], 0),
    "one undecided": (["odd.bin", "good.safetensors"], 3),
    "blocked wins over undecided": (["odd.bin", "bad.pkl"], 1),
    "review wins over undecided": (["odd.bin", "maybe.pkl"], 1),
    "undecided stays where only blocks count": (["odd.bin", "maybe.pkl", "--fail-on", "block"], 3),
    "no such file": (["nothing.pkl"], 66),
    "no file named": ([], 2),
    "another word for --fail-on": (["good.safetensors", "--fail-on", "all"], 2),
    "no such option": (["--all", "good.safetensors"], 2),
    "an address": (["https://example.org/model"], 2),
    "a hub": (["hf://org/model"], 2),
    "another engine": (["good.safetensors", "--engine", "abacus"], 2),
    "waivers without a key": (["maybe.pkl", "--waivers", "w.jsonl"], 2),
    "waivers that are not there": (["maybe.pkl", "--waivers", "w.jsonl", "--trust", "k.pem"], 2),
    "an output that cannot be written": (["good.safetensors", "--output", "no/such/folder"], 2),
}


@pytest.mark.parametrize(("line", "status"), STATUSES.values(), ids=STATUSES)
def test_how_it_ends(run: Run, line: list[str], status: int) -> None:
    found, out, err = run(*line)
    assert found == status, (out, err)
    assert "Traceback" not in out + err


def test_the_worst_comes_first_and_stands_again_at_the_end(run: Run) -> None:
    _, out, _ = run("good.safetensors", "maybe.pkl", "odd.bin", "bad.pkl")
    lines = out.splitlines()
    words = [line.split()[0] for line in lines if line and not line.startswith(" ")]
    assert words[:4] == ["block", "incomplete", "review", "pass"]
    assert "4 scanned: 1 blocked, 1 undecided, 1 for review, 1 pass" in out
    assert lines[-1] == "the worst: critical pickle-dangerous-call in bad.pkl"


def test_a_bad_one_is_not_lost_among_many(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(60):
        (folder / f"{number:02}.pkl").write_bytes(pickle.dumps(number))
    (folder / "37.pkl").write_bytes(EVIL)
    status, out, _ = run("many")
    assert status == 1
    assert out.startswith("block      many/37.pkl")
    assert "more files without any finding" in out
    assert "1 blocked" in out


def test_findings_of_one_kind_are_counted_not_hidden(run: Run, tmp_path: Path) -> None:
    many = b"\x80\x04" + b"".join(b"c%c\nM\n0" % (97 + n) for n in range(20)) + b"N."
    (tmp_path / "many.pkl").write_bytes(many)
    _, out, _ = run("many.pkl")
    assert out.count("pickle-unknown-global: ") == 5
    assert "and 15 more medium findings of pickle-unknown-global" in out


def test_explain_says_why_and_what_to_do(run: Run) -> None:
    _, brief, _ = run("bad.pkl")
    _, out, _ = run("bad.pkl", "--explain")
    assert "why it matters" in out
    assert "why it matters" not in brief
    assert "os.system" in out
    assert "what to do" in out


FORMS: dict[str, tuple[str, str]] = {"sarif": ("sarif_schema.json", "version"), "cyclonedx": ("cyclonedx_schema.json", "bomFormat")}  # fmt: skip


@pytest.mark.parametrize(("form", "schema"), [(form, schema) for form, (schema, _) in FORMS.items()])
def test_the_forms_for_programs_keep_to_their_schemas(run: Run, tmp_path: Path, form: str, schema: str) -> None:
    status, out, _ = run("bad.pkl", "good.safetensors", "odd.bin", "--format", form)
    assert status == 1
    jsonschema.validate(json.loads(out), json.loads((SCHEMAS / schema).read_bytes()))
    status, out, _ = run("bad.pkl", "--format", form, "--output", "out.json")
    assert (status, out) == (1, "")
    jsonschema.validate(json.loads((tmp_path / "out.json").read_bytes()), json.loads((SCHEMAS / schema).read_bytes()))


def test_json_names_the_digest_and_the_isolation(run: Run) -> None:
    _, out, _ = run("bad.pkl", "--format", "json")
    (row,) = json.loads(out)["reports"]
    assert row["digest"].startswith("sha256:")
    assert row["isolation"] in {"sandbox", "limits"}


def test_the_table_can_go_to_a_file(run: Run, tmp_path: Path) -> None:
    status, out, _ = run("bad.pkl", "--output", "scan.txt")
    assert (status, out) == (1, "")
    assert (tmp_path / "scan.txt").read_text("utf-8").startswith("block")


def test_standard_input_is_scanned(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(EVIL)))
    status, out, _ = run("-", "good.safetensors")
    assert status == 1
    assert "block      stdin" in out


def test_results_are_kept(run: Run, tmp_path: Path) -> None:
    first = run("bad.pkl", "maybe.pkl", "--cache", "kept", "--format", "json")
    assert len(list((tmp_path / "kept").glob("??/*"))) == 2
    assert run("bad.pkl", "maybe.pkl", "--cache", "kept", "--format", "json") == first
    (tmp_path / "kept").chmod(0o777)
    status, _, err = run("bad.pkl", "--cache", "kept")
    assert (status, "others can write" in err) == (2, True)


def test_the_settings_of_the_environment_count(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTNESS_SCANNING__ENGINE", "abacus")
    status, _, err = run("good.safetensors")
    assert (status, "scanning.engine" in err) == (2, True)
    assert run("good.safetensors", "--engine", "pool")[0] == 0


def test_a_path_called_store_is_not_taken_for_the_house(run: Run, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    status, _, err = run("store")
    assert (status, "./store" in err) == (2, True)
    (tmp_path / "store" / "a.pkl").write_bytes(EVIL)
    assert run("./store")[0] == 1


def test_without_a_house_there_is_no_store(run: Run, tmp_path: Path) -> None:
    status, _, err = run("store", "--home", str(tmp_path / "none"))
    assert status == 66, err
    assert "Traceback" not in err


# --- waivers ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def erin(tmp_path: Path) -> list[str]:
    """The options with which Erin acts."""
    signer = SoftwareSigner.create(system_entropy)
    folder = tmp_path / "keys"
    folder.mkdir()
    identity = {"principal": "user:erin", "api_key": "-", "private_pem": signer.private_pem().decode()}
    (folder / "erin.json").write_text(json.dumps(identity))
    (folder / "erin.json").chmod(0o600)
    return ["--as", "erin", "--credentials", str(folder)]


WAIVE = [
    "waive",
    "maybe.pkl",
    "--rule",
    "pickle-unknown-global",
    "--reason",
    "ours",
    "--days",
    "3",
    "--public-key",
    "erin.pem",
]


def test_a_waiver_is_written_and_honoured(run: Run, erin: list[str], tmp_path: Path) -> None:
    assert run(*WAIVE, *erin)[0] == 0
    status, out, _ = run("maybe.pkl", "--waivers", "waivers.jsonl", "--trust", "erin.pem")
    assert status == 0, out
    assert "waived by erin until" in out
    assert "1 findings waived" in out
    (tmp_path / "maybe.pkl").write_bytes(REVIEW + b"N.")
    status, out, _ = run("maybe.pkl", "--waivers", "waivers.jsonl", "--trust", "erin.pem")
    assert status == 1
    assert "has no finding" in out


def test_a_waiver_by_another_key_does_not_count(run: Run, erin: list[str], tmp_path: Path) -> None:
    run(*WAIVE, *erin)
    (tmp_path / "other.pem").write_bytes(SoftwareSigner.create(system_entropy).public_pem)
    status, out, _ = run("maybe.pkl", "--waivers", "waivers.jsonl", "--trust", "other.pem")
    assert status == 1
    assert "no trusted key has signed this" in out


def test_what_is_not_found_is_not_waived(run: Run, erin: list[str]) -> None:
    line = ["waive", "good.safetensors", "--rule", "pickle-unknown-global", "--reason", "ours", *erin]
    assert run(*line)[0] == 2
    assert run(*WAIVE[:3], "no-such-rule", *WAIVE[4:], *erin)[0] == 2


# --- as a process -----------------------------------------------------------------------------------------------------


def environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "HOME": os.environ["HOME"]}


def started(*line: str, **options: Any) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "fastness", "scan", *line]
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def test_an_interrupt_ends_it_at_once_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "slow.pkl").write_bytes(b"\x80\x04" + b"(cbuiltins\nlist\no0" * 3_000_000 + b"N.")
    # What a shell starts in the background ignores interrupts, and so would what this starts.
    running = started(str(tmp_path), start_new_session=True, preexec_fn=_interruptible)
    end = time.monotonic() + 30
    while len(scanning(tmp_path)) < 2 and time.monotonic() < end:  # the command, and the process that reads for it
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    out, err = running.communicate(timeout=20)
    assert running.returncode == 130, err.decode()
    assert b"Traceback" not in out + err
    end = time.monotonic() + 10
    while (left := scanning(tmp_path)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left


def _interruptible() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def scanning(folder: Path) -> list[int]:
    """Processes that hold a file in `folder` open."""
    found = []
    for path in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(path.readlink()).startswith(str(folder)):
                found.append(int(path.parts[2]))
        except OSError:
            continue
    return found


def test_a_name_that_is_no_utf8_is_no_traceback(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"a\xff.pkl")).write_bytes(EVIL)
    for form in ("table", "json", "sarif", "cyclonedx"):
        running = started(str(tmp_path), "--format", form)
        out, err = running.communicate(timeout=60)
        assert running.returncode == 1, err.decode()
        assert b"Traceback" not in err
        assert b"xff.pkl" in out or b"5Cxff.pkl" in out


SNAPSHOT = {
    "id": "OSV-1", "modified": "2026-01-01T00:00:00Z", "summary": "runs code",
    "affected": [{"package": {"ecosystem": "PyPI", "name": "scipy"}, "versions": ["1.0.0"]}],
    "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
}  # fmt: skip


def test_packages_are_held_against_a_snapshot_of_advisories(run: Run, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("scipy==1.0.0\n")
    (tmp_path / "known.jsonl").write_text(json.dumps(SNAPSHOT) + "\n")
    status, out, _ = run("requirements.txt", "--format", "json")
    said = json.loads(out)
    assert status == 0, out
    assert "--advisories takes a whole snapshot" in str(said["notes"])
    line = ("requirements.txt", "--format", "json", "--advisories", "known.jsonl")
    status, out, _ = run(*line, "--advisories-days", "100000")
    assert (status, "OSV-1" in out, json.loads(out)["notes"]) == (1, True, [])
    status, out, _ = run(*line, "--advisories-days", "1")
    assert (status, "advisories-stale" in out) == (3, True)
    (tmp_path / "known.jsonl").write_text("{}")
    assert run(*line)[0] == 65


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="host: it has no device that is always full")
def test_a_full_disk_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    with Path("/dev/full").open("wb") as full:
        command = [sys.executable, "-m", "fastness", "scan", str(tmp_path)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 74
    assert done.stderr.decode() == "refused: the output cannot be written: No space left on device\n"
