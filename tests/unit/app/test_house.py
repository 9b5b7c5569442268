"""A house is made once, opened by one process at a time, and opened only whole."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from fastness.access import revoke_key
from fastness.app import Home, House, Settings, create_home, load_settings, open_house
from fastness.core.clock import system_entropy
from fastness.core.errors import Conflict, FastnessError, Unauthenticated
from fastness.core.events import EventKind
from fastness.core.identity import SYSTEM_SCOPE
from fastness.core.settings import InvalidSetting
from fastness.foundation.crypto import SoftwareSigner


def founded(root: Path, passphrase: str | None = None) -> Home:
    home = Home(root)
    create_home(home, passphrase, "admin", SoftwareSigner.create(system_entropy).public_pem)
    return home


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return founded(tmp_path_factory.mktemp("t") / "home").root


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Home:
    shutil.copytree(template, tmp_path / "home")
    return Home(tmp_path / "home")


def opened(home: Home, passphrase: str | None = None) -> FastnessError | None:
    """What opening it raised, if anything."""
    try:
        with home.locked(), open_house(home, load_settings(home, {}), passphrase):
            return None
    except FastnessError as error:
        return error


def test_a_new_house_is_whole_private_and_recorded(home: Home) -> None:
    assert home.unlock.stat().st_mode & 0o777 == 0o600
    with home.locked(), open_house(home, Settings(), None) as house:
        kinds = [entry.event.kind for entry in house.ledger.tail(-1)]
        assert kinds == [
            EventKind.HOME_CREATED, EventKind.PRINCIPAL_CREATED, EventKind.PRINCIPAL_ENROLLED, EventKind.KEY_CREATED,
            EventKind.FACTOR_ENROLLED, EventKind.DIRECTORY_CHANGED, EventKind.KEY_ROTATED,
        ]  # fmt: skip
        assert house.ledger.checkpoint().size == len(kinds)
        assert house.system_view("0").url == ""


def test_a_house_is_not_made_twice(home: Home) -> None:
    before = {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()}
    with pytest.raises(Conflict) as caught:
        create_home(home, None, "mallory", SoftwareSigner.create(system_entropy).public_pem)
    assert caught.value.code == "home-exists"
    assert {path: path.read_bytes() for path in home.root.rglob("*") if path.is_file()} == before


def test_one_process_opens_a_house_again_and_again(home: Home) -> None:
    """It could not: the writer's lock of the log stayed with a house that had been closed."""
    assert [opened(home), opened(home)] == [None, None]


def test_a_house_is_held_by_one_at_a_time(home: Home) -> None:
    with home.locked(), open_house(home, Settings(), None):
        error = opened(home)
    assert isinstance(error, Conflict)
    assert error.code == "home-locked"
    assert opened(home) is None


def test_a_house_without_its_lock_still_has_one_writer_of_the_log(home: Home) -> None:
    with open_house(home, Settings(), None), pytest.raises(Conflict) as caught, open_house(home, Settings(), None):
        pass
    assert caught.value.code == "ledger-locked"


def test_a_passphrase_opens_and_a_wrong_one_does_not(tmp_path: Path) -> None:
    home = founded(tmp_path / "home", "open sesame")
    assert not home.unlock.exists()
    wrong = opened(home, "open barley")
    assert isinstance(wrong, Unauthenticated)
    assert "barley" not in str(wrong)
    assert opened(home, "open sesame") is None


def test_a_house_that_cannot_be_opened_lets_everything_go(home: Home) -> None:
    checkpoint = home.ledger / "checkpoint"
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:-10])
    for copy in home.checkpoints.iterdir():
        copy.unlink()
    assert opened(home) is not None
    checkpoint.write_bytes(whole)
    assert opened(home) is None


def test_a_missing_key_file_is_told(home: Home) -> None:
    home.unlock.unlink()
    error = opened(home)
    assert error is not None
    assert (error.code, bool(error.hint)) == ("key-file-missing", True)


SETTINGS = {
    "an unknown key": ("[server]\nhots = 'x'\n", "server.hots"),
    "an unknown table": ("[severs]\nport = 1\n", "severs"),
    "a wrong type": ("[server]\nport = 'many'\n", "server.port"),
    "out of range": ("[server]\nport = 70000\n", "server.port"),
    "too many": ("[server]\ngateways = 65\n", "server.gateways"),
    "none": ("[server]\ngateways = 0\n", "server.gateways"),
    "deep inside": ("[release.production]\napprovals = 0\n", "approvals"),
    "no environment": ("[release]\nserving = 'nowhere'\n", "serving"),
    "not TOML": ("[server\n", "fastness.toml"),
}


@pytest.mark.parametrize(("text", "key"), SETTINGS.values(), ids=SETTINGS)
def test_a_setting_that_is_not_understood_stops_the_start_and_is_named(home: Home, text: str, key: str) -> None:
    home.settings.write_text(text, "utf-8")
    error = opened(home)
    assert isinstance(error, InvalidSetting)
    assert key in error.message


def test_the_environment_and_flags_go_before_the_file(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTNESS_SERVER__PORT", "9001")
    monkeypatch.setenv("FASTNESS_AS", "somebody")  # an option of the command line, not a setting
    assert load_settings(home, {}).server.port == 9001
    assert load_settings(home, {"server.port": "9002"}).server.port == 9002
    monkeypatch.setenv("FASTNESS_SERVER__HOTS", "x")
    with pytest.raises(InvalidSetting, match=r"server\.hots"):
        load_settings(home, {})


def test_a_revoked_key_is_refused_by_the_next_question(home: Home) -> None:
    with home.locked(), open_house(home, Settings(), None) as house:
        before = house.credentials()
        assert house.credentials() is before  # nothing moved, nothing is read
        (key,) = before.keys.values()
        _revoke(house, key.key_id)
        assert next(iter(house.credentials().keys.values())).revoked


def _revoke(house: House, key_id: str) -> None:
    with house.records.begin(SYSTEM_SCOPE, house.clock.now()) as tx:
        revoke_key(tx, key_id)


def test_records_changed_behind_the_log_are_seen(home: Home) -> None:
    with sqlite3.connect(home.records) as database:
        database.execute("delete from events where idx = 1")
    database.close()
    error = opened(home)
    if error is None:  # then the first question to the log says so
        with home.locked(), open_house(home, Settings(), None) as house, pytest.raises(FastnessError) as caught:
            list(house.ledger.tail(-1))
        error = caught.value
    assert error.code == "ledger-rows-missing"
