"""`fastness access whoami`, `password`, `session …`, `user invite` and `user reset`, as typed."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from fastness.app import Home, create_home
from fastness.core.clock import SystemClock, system_entropy
from fastness.foundation.crypto import SoftwareSigner
from fastness.interfaces.cli import main
from fastness.interfaces.cli.context import Format, Identity, Options
from fastness.interfaces.cli.demo.authenticator import Authenticator

PASSWORD = "mauve-kettle-93-orbit"


class Terminal:
    """One administrator at a terminal."""

    def __init__(self, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
        signer = SoftwareSigner.create(system_entropy)
        created = create_home(home, None, "admin", signer.public_pem)
        Options.of(str(home.root), "admin", "", Format.JSON, "").keep(
            Identity(created.principal, created.api_key, signer.private_pem().decode())
        )
        self.home, self.capsys = home, capsys
        self.app = Authenticator(created.app.uri)
        self.run("access", "factor", "confirm", created.app.factor, self.code())

    def code(self) -> str:
        return self.app.code(SystemClock().now())

    def run(self, *line: str, form: str = "json") -> tuple[int, str]:
        """Exit status, and what was said."""
        status = 0
        try:
            main(["--home", str(self.home.root), "--format", form, *line])
        except SystemExit as ended:
            status = int(ended.code or 0)
        said = self.capsys.readouterr()
        return status, said.err if status else said.out


@pytest.fixture
def terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(Home(tmp_path / "home"), capsys)


def test_who_one_is(terminal: Terminal) -> None:
    status, said = terminal.run("access", "whoami")
    me = json.loads(said)
    assert (status, me["principal"], me["roles"], me["strength"]) == (0, "user:admin", ["administrator"], "key")
    assert "user:admin of default: administrator" in terminal.run("access", "whoami", form="table")[1]


def test_people_are_invited_and_reset(terminal: Terminal) -> None:
    terminal.run("access", "user", "create", "alice", "--role", "viewer")
    status, said = terminal.run("access", "user", "invite", "user:alice", form="table")
    assert status == 0
    assert "/console/invitation" in said
    assert "fsi_" in said
    status, said = terminal.run("access", "user", "reset", "user:alice")
    assert (status, "step-up-required" in said) == (77, True)
    status, said = terminal.run("access", "user", "reset", "user:alice", "--code", terminal.code())
    assert status == 0, said
    assert json.loads(said)["code"].startswith("fsi_")
    assert terminal.run("access", "user", "invite", "user:nobody")[0] != 0


def test_a_first_password_is_set_by_a_second_factor(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{PASSWORD}\n"))
    status, said = terminal.run("access", "password", "--code", terminal.code())
    assert status == 0, said
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{PASSWORD}\n"))
    status, said = terminal.run("access", "password")
    assert (status != 0, "password-exists" in said) == (True, True)


def test_sessions_are_listed_and_ended(terminal: Terminal) -> None:
    assert json.loads(terminal.run("access", "session", "list")[1]) == []
    assert json.loads(terminal.run("access", "session", "list", "--everybody")[1]) == []
    status, said = terminal.run("access", "session", "revoke", "nothing")
    assert status != 0
    assert "session-unknown" in said
