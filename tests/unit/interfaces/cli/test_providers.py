"""`fastness access provider …` and `identity …`, as typed."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastness.app import Home
from tests.attack.test_access_federation import Liar
from tests.unit.interfaces.cli.test_sessions import Terminal

SECRET = "a secret of 32 characters or more"


@pytest.fixture
def terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    made = Terminal(Home(tmp_path / "home"), capsys)
    settings = made.home.settings
    settings.write_text(settings.read_text() + "\n[federation]\nloopback = true\n")
    return made


@pytest.fixture
def liar() -> Iterator[Liar]:
    made = Liar()
    yield made
    made.close()


def added(terminal: Terminal, liar: Liar, tmp_path: Path, *more: str) -> tuple[int, str]:
    (tmp_path / "secret").write_text(SECRET + "\n")
    line = ("access", "provider", "add", "acme", "--issuer", liar.issuer, "--client-id", "fastness")
    return terminal.run(*line, "--secret-file", str(tmp_path / "secret"), "--code", terminal.code(), *more)


def test_a_provider_is_added_changed_and_ended(terminal: Terminal, liar: Liar, tmp_path: Path) -> None:
    status, said = added(
        terminal, liar, tmp_path, "--groups-claim", "groups", "--group", "ml=developer,viewer", "--person",
        "s-1=user:admin", "--require", "hd=example.org", "--scope", "profile",
    )  # fmt: skip
    assert status == 0, said
    view = json.loads(said)
    assert view["settings"]["groups"] == {"ml": ["developer", "viewer"]}
    assert view["settings"]["required"] == {"hd": "example.org"}
    assert SECRET not in said
    status, said = terminal.run("access", "provider", "add", "acme", "--scope", "email")
    assert (status, json.loads(said)["settings"]["scopes"]) == (0, ["email"])
    assert json.loads(said)["settings"]["authentication"] == "client_secret_basic"

    status, said = terminal.run("access", "provider", "show", "acme", form="table")
    assert "/console/login/oidc/acme/callback" in said.replace("\n", "").replace(" ", "")
    assert SECRET not in said
    status, said = terminal.run("access", "provider", "show", "acme")
    (tmp_path / "acme.json").write_text(said)
    assert terminal.run("access", "provider", "add", "acme", "--file", str(tmp_path / "acme.json"))[0] == 0

    assert terminal.run("access", "provider", "disable", "acme")[0] == 0
    assert "no" in terminal.run("access", "provider", "list", form="table")[1]
    assert terminal.run("access", "provider", "enable", "acme")[0] == 0
    assert json.loads(terminal.run("access", "provider", "people", "acme")[1]) == []
    assert json.loads(terminal.run("access", "identity", "list")[1]) == []
    assert "identity-unknown" in terminal.run("access", "identity", "unlink", "acme")[1]
    assert "identity-unknown" in terminal.run("access", "provider", "unlink", "acme", "user:admin")[1]
    assert terminal.run("access", "provider", "remove", "acme")[0] == 0
    assert json.loads(terminal.run("access", "provider", "list")[1]) == []


def test_without_a_second_factor_no_provider_is_added(terminal: Terminal) -> None:
    status, said = terminal.run(
        "access", "provider", "add", "acme", "--issuer", "https://x.example", "--client-id", "x"
    )
    assert (status, "step-up-required" in said) == (77, True)


def test_a_provider_is_tried(terminal: Terminal, liar: Liar, tmp_path: Path) -> None:
    assert added(terminal, liar, tmp_path)[0] == 0
    status, said = terminal.run("access", "provider", "test", "acme")
    assert (status, json.loads(said)["passed"]) == (0, True)
    assert {one["name"] for one in json.loads(said)["checks"]} == {
        "secret", "discovery", "pkce", "authentication", "issuer", "keys", "logout",
    }  # fmt: skip


def test_what_is_wrong_with_a_provider_is_told(terminal: Terminal, liar: Liar, tmp_path: Path) -> None:
    assert added(terminal, liar, tmp_path)[0] == 0
    for document, keys, told in FAULTS:
        liar.document, liar.keys = document, keys
        status, said = ran(terminal, "access", "provider", "test", "acme")
        assert status == 1
        (failed,) = [one for one in json.loads(said)["checks"] if not one["passed"]]
        assert told in failed["message"]
        assert failed["hint"]


FAULTS: list[tuple[dict[str, object], object, str]] = [
    ({"issuer": "https://other.example"}, None, "that of another issuer"),
    ({"token_endpoint": "https://other.example/t"}, None, "on a host that is not settled"),
    ({"token_endpoint_auth_methods_supported": ["private_key_jwt"]}, None, "does not take client_secret_basic"),
    ({"token_endpoint_auth_methods_supported": "x"}, None, "does not take client_secret_basic"),
    ({}, {"keys": []}, "none of its keys is for ES256"),
    ({}, {"keys": [{"kty": "oct", "k": "x", "kid": "x"}]}, "publishes a secret key"),
    ({"code_challenge_methods_supported": ["plain"]}, None, "no PKCE with S256"),
]


def ran(terminal: Terminal, *line: str) -> tuple[int, str]:
    """Exit status and standard output, whatever the status is."""
    from fastness.interfaces.cli import main

    with pytest.raises(SystemExit) as ended:
        main(["--home", str(terminal.home.root), "--format", "json", *line])
    return int(ended.value.code or 0), terminal.capsys.readouterr().out


WRONG: list[tuple[tuple[str, ...], str]] = [
    (("--issuer", "https://x.example"), "provider-incomplete"),
    (("--issuer", "http://x.example", "--client-id", "x"), "address-refused"),
    (("--issuer", "https://x.example", "--client-id", "x", "--group", "ml"), "option-malformed"),
    (("--issuer", "https://x.example", "--client-id", "x", "--secret-file", "/no/such/file"), "file-unreadable"),
    (
        ("--issuer", "https://x.example", "--client-id", "x", "--secret-ref", "secret://env/HOME"),
        "provider-secret-reference",
    ),
    (("--issuer", "https://x.example", "--client-id", "x", "--secret-ref", "hunter2"), "secret-reference"),
    (("--file", "-"), "provider-file"),
]


def test_what_cannot_be_settled_is_told(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal.run("access", "factor", "remove", "nothing", "--code", terminal.code())
    for line, code in WRONG:
        monkeypatch.setattr(sys, "stdin", io.StringIO('{"issuer": 1}'))
        status, said = terminal.run("access", "provider", "add", "acme", *line)
        assert status != 0
        assert json.loads(said)["code"] == code
