"""What the doctor sees in a whole house, in a damaged one, and after a repair."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastness.app import Home, House, Settings, examine, open_house
from fastness.app.doctor import Check
from fastness.core.errors import Corrupt, FastnessError
from fastness.core.events import EventKind
from fastness.core.identity import SYSTEM_SCOPE
from fastness.core.sources import BytesSource
from fastness.foundation.sandbox import SandboxSettings
from tests.needs import need_host
from tests.unit.app.test_house import founded
from tests.unit.foundation.sandbox.grounds import can_isolate


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return founded(tmp_path_factory.mktemp("t") / "home").root


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Home:
    shutil.copytree(template, tmp_path / "home")
    return Home(tmp_path / "home")


@pytest.fixture
def house(home: Home) -> Iterator[House]:
    with home.locked(), open_house(home, Settings(), None) as made:
        yield made


NO_BUBBLEWRAP = SandboxSettings(backend="namespaces")


def look(house: House, *, repair: bool = False) -> dict[str, Check]:
    """What is said about records, blobs and log; the sandbox is not what is damaged here."""
    checks = examine(NO_BUBBLEWRAP, house, repair=repair)
    return {check.name: check for check in checks if not check.name.startswith("sandbox")}


def test_a_whole_house_is_well(house: House) -> None:
    assert {name: check.state for name, check in look(house).items()} == {
        "rows of access": "ok",
        "ledger": "ok",
        "blobs": "ok",
    }


def test_each_layer_of_the_sandbox_is_tried() -> None:
    need_host("user namespaces and landlock", present=can_isolate())
    checks = [check for check in examine(SandboxSettings(), None, repair=False) if check.name.startswith("sandbox: ")]
    assert {check.state for check in checks} <= {"ok", "weak"}
    assert sum(check.state == "ok" for check in checks) >= 3
    assert all(check.seen for check in checks)


def test_a_sandbox_that_is_asked_for_and_missing_is_a_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (sandbox,) = examine(SandboxSettings(backend="bubblewrap"), None, repair=False)
    assert (sandbox.name, sandbox.state) == ("sandbox", "failed")
    assert "bubblewrap" in sandbox.hint


def test_events_that_wait_for_the_log_are_taken_by_a_repair(house: House) -> None:
    for _ in range(3):
        house.record(SYSTEM_SCOPE, lambda events: events.make(EventKind.SERVER_STARTED, "system:house"))
    repaired = look(house, repair=True)["ledger"]
    assert repaired.state == "repaired"
    assert repaired.seen.startswith("3 recorded events")
    assert look(house)["ledger"].state == "ok"


def flip_a_byte_of_the_log(home: Home) -> None:
    entries = next(path for path in (home.ledger / "tile" / "entries").rglob("*") if path.is_file())
    data = bytearray(entries.read_bytes())
    data[len(data) // 2] ^= 1
    entries.chmod(0o600)
    entries.write_bytes(data)


def damage(house: House) -> list[str]:
    house.settle()
    return [entry.event.reason for entry in house.ledger.tail(-1, [EventKind.INTEGRITY_FAILED])]


def test_a_byte_flipped_in_the_log_is_a_failure_until_it_is_mended_and_both_are_recorded(house: House) -> None:
    flip_a_byte_of_the_log(house.home)
    found = look(house)["ledger"]
    assert found.state == "failed"
    assert found.hint
    mended = look(house, repair=True)["ledger"]
    assert (mended.state, "written anew" in mended.seen) == ("repaired", True)
    assert look(house)["ledger"].state == "ok"
    assert damage(house) == ["ledger-corrupt", "ledger-corrupt"]  # seen twice
    assert [e.event.reason for e in house.ledger.find(EventKind.LEDGER_REPAIRED)] == ["rebuilt"]


def test_a_house_whose_log_is_damaged_where_it_grows_opens_only_to_be_mended(home: Home) -> None:
    flip_a_byte_of_the_log(home)
    with home.locked(), pytest.raises(Corrupt), open_house(home, Settings(), None):
        pass
    with home.locked(), open_house(home, Settings(), None, mend=True) as house:
        assert look(house, repair=True)["ledger"].state == "repaired"
        assert damage(house) == ["ledger-corrupt", "ledger-corrupt"]  # recorded by both openings


def test_a_row_of_the_event_table_that_was_edited_is_a_failure_that_no_repair_hides(house: House) -> None:
    """The log's files are whole: what differs is the table that searches go through."""
    with contextlib.closing(sqlite3.connect(house.home.records)) as database, database:
        database.execute(
            "update events set data = cast(replace(data, 'home.created', 'job.failed') as blob) where idx = 0"
        )
    assert look(house)["ledger"].state == "failed"
    assert look(house, repair=True)["ledger"].state == "failed"


def test_a_log_that_was_written_anew_with_another_key_is_a_failure(house: House, tmp_path: Path) -> None:
    """The key beside the log is exchanged with it, so that the files alone would verify."""
    other = founded(tmp_path / "other")
    shutil.rmtree(house.home.ledger)
    shutil.copytree(other.ledger, house.home.ledger)
    assert look(house)["ledger"].state == "failed"


def test_a_log_that_was_cut_back_is_a_failure(house: House) -> None:
    """Its last checkpoints are kept apart, so that a shorter log, whole in itself, is still seen to be shorter."""
    old = shutil.copytree(house.home.ledger, house.home.root / "old")
    for _ in range(3):
        house.record(SYSTEM_SCOPE, lambda events: events.make(EventKind.SERVER_STARTED, "system:house"))
        house.settle()
    shutil.rmtree(house.home.ledger)
    shutil.copytree(old, house.home.ledger)
    assert look(house)["ledger"].state == "failed"


def test_what_an_interrupted_push_left_is_swept_by_a_repair_and_recorded(house: House) -> None:
    house.blobs.put("0" * 64, [b"a model that nobody committed"])
    (house.home.blobs / "tmp" / "cut").write_bytes(b"half a model, from before the container was whole")
    assert look(house)["blobs"].state == "ok"  # it hurts nobody
    swept = look(house, repair=True)["blobs"]
    assert (swept.state, swept.seen) == ("repaired", "2 left by interrupted pushes removed")
    assert [path for path in house.home.blobs.rglob("*") if path.is_file()] == []
    assert [entry.event.details for entry in house.ledger.find(EventKind.BLOBS_SWEPT)] == [{"count": 2}]
    assert look(house, repair=True)["blobs"].state == "ok"


def test_a_blob_that_is_gone_is_a_failure_and_what_was_swept_meanwhile_is_recorded(house: House) -> None:
    candidate = house.vault.intake(BytesSource("m", b"model"), SYSTEM_SCOPE, house.clock.now(), None)
    with house.records.begin(SYSTEM_SCOPE, house.clock.now()) as tx:
        blob = house.vault.commit(tx, candidate)
    assert look(house)["blobs"].state == "ok"
    house.blobs.delete(blob)
    house.blobs.put("0" * 64, [b"half a model"])
    found = look(house, repair=True)["blobs"]
    assert (found.state, bool(found.hint)) == ("failed", True)
    assert len(house.ledger.find(EventKind.BLOBS_SWEPT)) == 1


def test_records_that_lost_their_events_are_not_called_whole(home: Home) -> None:
    with sqlite3.connect(home.records) as database:
        database.execute("delete from events")
    database.close()
    try:
        with home.locked(), open_house(home, Settings(), None) as house:
            seen = {check.state for check in look(house, repair=True).values()}
    except FastnessError as error:
        seen = {type(error).__name__}
    assert seen & {"failed", "Corrupt"}


def test_rows_that_somebody_else_removed_are_named_until_they_are_accepted(house: House, home: Home) -> None:
    with sqlite3.connect(home.records) as behind:
        assert behind.execute("DELETE FROM token_key WHERE state = 'next'").rowcount == 1
        assert behind.execute("UPDATE principal SET kind = 'service'").rowcount == 1
    checks = [check for check in examine(NO_BUBBLEWRAP, house, repair=False) if check.name == "rows of access"]
    assert {check.state for check in checks} == {"failed"}
    assert {check.seen for check in checks} == {
        "1 rows of principal were forged",
        "rows of principal were put back or removed in default",
        "rows of token_key were put back or removed in default",
    }
    assert all(check.hint for check in checks)
    accepted = [
        check
        for check in examine(NO_BUBBLEWRAP, house, repair=False, accept_rows=True)
        if check.name == "rows of access"
    ]
    assert [(check.state, check.seen.partition(":")[0]) for check in accepted] == [
        ("failed", "1 rows of principal were forged"),  # it stays refused
        ("repaired", "accepted as they stand"),
    ]
