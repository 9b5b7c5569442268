"""The options that stand anywhere, and whose name a command acts in."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from fastness.core.errors import Corrupt, Forbidden, Invalid, NotFound
from fastness.interfaces.cli import main
from fastness.interfaces.cli.context import Format, Identity, Options, hoist
from fastness.interfaces.cli.output import fail

LINES = {
    "after the command": (["models", "list", "--format", "json"], ["--format", "json", "models", "list"]),
    "with an equals sign": (["models", "list", "--as=me"], ["--as", "me", "models", "list"]),
    "already in front": (["--home", "x", "up"], ["--home", "x", "up"]),
    "behind two dashes": (["scan", "--", "--format", "json"], ["scan", "--", "--format", "json"]),
    "value missing": (["up", "--home"], ["--home", "up"]),
    "a value that looks like an option": (["--as", "--home"], ["--as", "--home"]),
    "others are left alone": (["push", "f", "m", "--range", "X=0:1"], ["push", "f", "m", "--range", "X=0:1"]),
}


@pytest.mark.parametrize(("line", "expected"), LINES.values(), ids=LINES)
def test_options_that_stand_anywhere_are_moved_to_the_front(line: list[str], expected: list[str]) -> None:
    assert hoist(line) == expected


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options.of(str(tmp_path), "me", "", Format.TABLE, "")


IDENTITY = Identity("user:me", "fst_key", "-----BEGIN PRIVATE KEY-----")


def test_credentials_are_kept_private_and_found_again(options: Options) -> None:
    path = options.keep(IDENTITY)
    assert path.stat().st_mode & 0o777 == 0o600
    assert options.identity() == IDENTITY
    with pytest.raises(Invalid) as caught:
        options.keep(IDENTITY)
    assert caught.value.code == "credentials-exist"


def test_missing_credentials_say_how_to_get_some(options: Options) -> None:
    with pytest.raises(NotFound) as caught:
        options.identity()
    assert "fastness access enroll CODE --as me" in caught.value.hint


def test_credentials_that_others_can_read_are_not_used(options: Options) -> None:
    options.keep(IDENTITY).chmod(0o640)
    with pytest.raises(Invalid) as caught:
        options.identity()
    assert caught.value.code == "credentials-exposed"


def test_credentials_behind_a_link_are_not_used(options: Options, tmp_path: Path) -> None:
    path = options.keep(IDENTITY)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Invalid) as caught:
        options.identity()
    assert caught.value.code == "credentials-exposed"


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"principal": 1}'])
def test_a_file_that_is_no_credentials_is_refused(options: Options, content: bytes) -> None:
    path = options.keep(IDENTITY)
    path.write_bytes(content)
    with pytest.raises(Invalid) as caught:
        options.identity()
    assert caught.value.code == "credentials-malformed"


@pytest.mark.parametrize("name", ["../admin", "", "a/b", "A" * 70])
def test_a_name_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(Invalid):
        Options.of(str(tmp_path), name, "", Format.TABLE, "").identity()


def test_a_folder_that_is_no_home_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["models", "list", "--home", str(tmp_path), "--format", "json"])
    assert caught.value.code == NotFound.exit
    assert msgspec.json.decode(capsys.readouterr().err)["code"] == "home-missing"


def test_errors_for_people_show_what_to_do_and_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    status = fail(Forbidden("not-yours", "may not [bold]touch[/bold] this", "Ask somebody."), as_json=False)
    shown = " ".join(capsys.readouterr().err.split())
    assert status == Forbidden.exit
    assert "[bold]touch[/bold]" in shown
    assert "Ask somebody." in shown


def test_an_error_that_quotes_others_sets_no_colours_and_no_titles(capsys: pytest.CaptureFixture[str]) -> None:
    fail(Forbidden("not-yours", "the file \x1b]0;mine\x07\x1b[2J\u202e\r", "First\nthen \x9b31m."), as_json=False)
    shown = capsys.readouterr().err
    assert not {"\x1b", "\x07", "\r", "\x9b", "\u202e"} & set(shown)
    assert "\\x1b]0;mine" in shown
    assert "First\nthen" in shown


def test_errors_for_programs_are_one_json_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert fail(Corrupt("bad", "it is bad"), as_json=True) == Corrupt.exit
    out, err = capsys.readouterr()
    assert out == ""
    assert msgspec.json.decode(err) == {"code": "bad", "message": "it is bad", "hint": ""}


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("fastness 0.")


def test_credentials_can_lie_elsewhere(tmp_path: Path) -> None:
    options = Options.of(str(tmp_path / "home"), "me", str(tmp_path / "mine"), Format.JSON, "")
    assert options.keep(IDENTITY) == tmp_path / "mine" / "me.json"
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_a_passphrase_file_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["init", "--passphrase", "--home", str(tmp_path / "h"), "--passphrase-file", str(tmp_path / "none")]
    with pytest.raises(SystemExit) as caught:
        main([*line, "--format", "json"])
    assert caught.value.code == Invalid.exit
    assert msgspec.json.decode(capsys.readouterr().err)["code"] == "passphrase-file"
    assert not (tmp_path / "h").exists()
