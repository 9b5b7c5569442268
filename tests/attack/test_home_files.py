"""Attack on a home's files: loose modes, planted files, a log that was taken away."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from fastness.app import Home, Settings, create_home, open_house, write_private
from fastness.core.clock import system_entropy
from fastness.core.errors import Corrupt
from fastness.foundation.crypto import SoftwareSigner


@pytest.fixture
def loose() -> object:
    before = os.umask(0)
    yield None
    os.umask(before)


def made(root: Path) -> Home:
    home = Home(root)
    create_home(home, None, "admin", SoftwareSigner.create(system_entropy).public_pem)
    return home


@pytest.mark.usefixtures("loose")
def test_a_home_in_a_folder_that_was_there_is_nobody_elses(tmp_path: Path) -> None:
    """The folder existed with mode 0755, and the umask is 0."""
    root = tmp_path / "home"
    root.mkdir(mode=0o755)
    home = made(root)
    exposed = [p for p in root.rglob("*") if p.is_file() and p.lstat().st_mode & 0o077]
    assert exposed == [] or root.stat().st_mode & 0o077 == 0, exposed
    assert home.exists()


def test_a_planted_temporary_file_does_not_catch_a_secret(tmp_path: Path) -> None:
    """Where others may write the folder, they make `.admin.json.tmp` first and keep it open."""
    planted = tmp_path / ".admin.json.tmp"
    planted.touch(mode=0o666)
    planted.chmod(0o666)
    with planted.open("rb") as held:
        write_private(tmp_path / "admin.json", b"secret")
        assert held.read() != b"secret"
    assert (tmp_path / "admin.json").stat().st_mode & 0o077 == 0


def test_a_house_whose_log_was_taken_away_does_not_begin_another(tmp_path: Path) -> None:
    """Else what the event table holds now would be signed as if it had always been so."""
    home = made(tmp_path / "home")
    for folder in (home.ledger, home.checkpoints):
        shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
    with pytest.raises(Corrupt), open_house(home, Settings(), None):
        pass
