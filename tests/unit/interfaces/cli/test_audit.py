"""`fastness audit verify` on the house's own log and on copies: what is found, and what is recorded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fastness.app import Home, House, Settings, create_home, open_house
from fastness.core.clock import system_entropy
from fastness.core.events import Event, EventKind
from fastness.foundation.crypto import SoftwareSigner
from fastness.interfaces.cli import main
from fastness.interfaces.cli.context import Format, Identity, Options

VERIFIED, DAMAGED = EventKind.LEDGER_VERIFIED, EventKind.INTEGRITY_FAILED


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A house with an administrator, who may not read the log, and an auditor."""
    root = tmp_path_factory.mktemp("t") / "home"
    signer = SoftwareSigner.create(system_entropy)
    created = create_home(Home(root), None, "admin", signer.public_pem)
    Options.of(str(root), "admin", "", Format.JSON, "").keep(
        Identity(created.principal, created.api_key, signer.private_pem().decode())
    )
    return root


@pytest.fixture
def home(template: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Home:
    shutil.copytree(template, tmp_path / "home")
    home = Home(tmp_path / "home")
    said = run(home, capsys, "access", "user", "create", "auditor", "--role", "auditor")
    run(home, capsys, "access", "enroll", str(said[1]["code"]), "--as", "auditor")
    return home


def run(home: Home, capsys: pytest.CaptureFixture[str], *line: str) -> tuple[int, dict[str, object]]:
    """Exit status, and the answer or the problem."""
    status = 0
    try:
        main(["--home", str(home.root), "--format", "json", *line])
    except SystemExit as ended:
        status = int(ended.code or 0)
    said = capsys.readouterr()
    found: dict[str, object] = json.loads(said.err.splitlines()[-1] if status else said.out)
    return status, found


def verify(home: Home, capsys: pytest.CaptureFixture[str], *line: str) -> tuple[int, str, str]:
    """Exit status, code and hint of the problem."""
    status, found = run(home, capsys, "audit", "verify", "--as", "auditor", *line)
    return status, str(found.get("code", "")), str(found.get("hint", ""))


def events(home: Home, *kinds: EventKind) -> list[Event]:
    def of(house: House) -> list[Event]:
        return [entry.event for entry in house.ledger.tail(-1, kinds)]

    with home.locked(), open_house(home, Settings(), None, mend=True) as house:
        house.settle()
        return of(house)


def flip(folder: Path) -> None:
    path = next(path for path in sorted((folder / "tile" / "entries").rglob("*")) if path.is_file())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)


def test_a_whole_log_verifies_and_the_outcome_is_recorded_on_request(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(home, capsys) == (0, "", "")
    assert events(home, VERIFIED) == []
    assert verify(home, capsys, "--record") == (0, "", "")
    (event,) = events(home, VERIFIED)
    assert (event.principal, event.resource) == ("user:auditor", "ledger:log")


def test_damage_of_the_houses_own_log_is_recorded(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    flip(home.ledger)
    status, code, hint = verify(home, capsys)
    assert (status, code) == (65, "ledger-corrupt")
    assert "recorded" in hint
    assert "Not recorded" not in hint
    assert {(e.reason, "tile/" in str(e.details["what"])) for e in events(home, DAMAGED)} == {("ledger-corrupt", True)}


def test_a_log_that_was_taken_away_is_recorded(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    (home.ledger / "checkpoint").unlink()
    status, code, hint = verify(home, capsys)
    assert (status, code) == (66, "checkpoint-missing")
    assert "recorded" in hint
    assert {e.reason for e in events(home, DAMAGED)} == {"ledger-missing"}


def test_damage_of_a_copy_is_nothing_to_record(home: Home, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shutil.copytree(home.ledger, tmp_path / "copy")
    assert verify(home, capsys, "--folder", str(tmp_path / "copy")) == (0, "", "")
    flip(tmp_path / "copy")
    status, code, hint = verify(home, capsys, "--folder", str(tmp_path / "copy"))
    assert (status, code, "ecorded" in hint) == (65, "ledger-corrupt", False)
    assert events(home, DAMAGED) == []
    assert verify(home, capsys, "--folder", str(tmp_path / "copy"), "--record")[:2] == (2, "record-copy")


def test_who_may_not_have_it_recorded_is_told_so_with_what_was_found(
    home: Home, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    since = tmp_path / "since"
    since.write_bytes((home.ledger / "checkpoint").read_bytes().replace(b"\n", b"\n\n", 1))
    line = ("audit", "verify", "--since", str(since), "--as", "admin")
    status, found = run(home, capsys, *line)
    assert status == 65
    assert "Not recorded: user:admin may not audit.read" in str(found["hint"])


def test_the_log_is_verified_against_a_kept_key(
    home: Home, capsys: pytest.CaptureFixture[str], template: Path, tmp_path: Path
) -> None:
    kept = Path(shutil.copy(home.ledger / "vkey", tmp_path / "kept"))
    assert verify(home, capsys, "--key", str(kept)) == (0, "", "")
    other = Home(tmp_path / "other")
    create_home(other, None, "admin", SoftwareSigner.create(system_entropy).public_pem)
    folder = str(other.ledger)
    assert verify(home, capsys, "--folder", folder)[0] == 0  # whole in itself
    assert verify(home, capsys, "--folder", folder, "--key", str(kept))[0] == 65
    assert verify(home, capsys, "--key", str(tmp_path / "none"))[:2] == (66, "file-unreadable")
