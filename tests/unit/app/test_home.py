"""The home folder and its lock."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fastness.app import Home, write_private
from fastness.core.errors import Conflict, Invalid, NotFound


def test_folders_are_the_owners_alone(tmp_path: Path) -> None:
    home = Home(tmp_path / "house")
    home.make_folders()
    for folder in (home.root, home.blobs, home.run, home.workers, home.credentials):
        assert folder.stat().st_mode & 0o077 == 0, folder


def test_a_second_house_is_not_made_over_the_first(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.settings.write_text("")
    with pytest.raises(Conflict) as caught:
        home.make_folders()
    assert caught.value.code == "home-exists"


def test_an_interrupted_init_can_be_repeated(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.make_folders()
    home.make_folders()
    with pytest.raises(NotFound):
        home.require()


def test_a_path_too_long_for_sockets_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        Home(tmp_path / ("x" * 100)).make_folders()
    assert caught.value.code == "home-path-long"


def test_two_processes_do_not_hold_one_house(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.make_folders()
    code = (
        "import sys; from pathlib import Path; from fastness.app import Home\n"
        "from fastness.core.errors import Conflict\n"
        "try:\n"
        "    with Home(Path(sys.argv[1])).locked(): print('held')\n"
        "except Conflict as error: print(error.code)\n"
    )
    line = [sys.executable, "-c", code, str(tmp_path)]
    with home.locked():
        assert subprocess.run(line, capture_output=True, text=True, check=True).stdout == "home-locked\n"
    assert subprocess.run(line, capture_output=True, text=True, check=True).stdout == "held\n"


def test_a_private_file_is_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_private(path, b"one")
    write_private(path, b"two")
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["key"]


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_bytes(b"precious")
    (tmp_path / "key").symlink_to(target)
    write_private(tmp_path / "key", b"secret")
    assert target.read_bytes() == b"precious"
    assert not (tmp_path / "key").is_symlink()
    assert (tmp_path / "key").read_bytes() == b"secret"
