"""`fastness login` and `logout` as typed, against a house that serves, and what is kept in between."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from fastness.client import HttpTransport
from fastness.client.oauth import TokenCalls, Tokens, Waiting
from fastness.core.clock import SystemClock, later
from fastness.core.errors import Invalid, Unauthenticated, Unavailable
from fastness.interfaces.cli import main
from fastness.interfaces.cli.logins import wait_for
from fastness.interfaces.cli.tokens import KeptLogin, Login
from tests.needs import ROOT
from tests.unit.interfaces.api.town import Town, founded
from tests.unit.interfaces.cli.serving import Run, serving, typed
from tests.unit.interfaces.console.consent import sign_tokens
from tests.unit.interfaces.console.visit import arrive


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with tempfile.TemporaryDirectory(prefix="fl-") as folder, founded(Path(folder) / "home") as made:
        sign_tokens(made)
        made.keep_credentials()
        yield made


@pytest.fixture(scope="module")
def address(town: Town) -> Iterator[str]:
    with serving(town) as made:
        yield made


@pytest.fixture
def run(town: Town, address: str, capsys: pytest.CaptureFixture[str]) -> Run:
    return typed(town, capsys, "laptop")


def tokens_of(town: Town, who: str, scope: str = "") -> Tokens:
    """What a person let a command line have, by a key and a second factor."""
    calls = TokenCalls(town.carrier)
    waiting = calls.begin(scope)
    town.client(who).clients.answer_device(waiting.user_code, granted=True)
    found = calls.poll(waiting)
    assert isinstance(found, Tokens)
    return found


def keep(
    town: Town, who: str, name: str, *, stale: bool = False, server: str = "", home: Path | None = None
) -> KeptLogin:
    """A login under `name`, as `fastness login` keeps it."""
    kept = KeptLogin((home or town.house.home.root) / "credentials" / f"{name}.login")
    kept.path.parent.mkdir(parents=True, exist_ok=True)
    made = Login(f"user:{who}", server, "", "", "", "", 0).renewed(tokens_of(town, who), SystemClock().now())
    kept.write(msgspec.structs.replace(made, refresh_at=0) if stale else made)
    return kept


def begun(town: Town, *line: str, home: Path | None = None) -> subprocess.Popen[str]:
    """`fastness login` in a process of its own."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "src"), "HOME": str(town.house.home.root)}
    command = [sys.executable, "-m", "fastness", "login", "--home", str(home or town.house.home.root), *line]
    return subprocess.Popen(
        [*command, "--format", "json"], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def test_a_person_logs_in_by_the_browser_and_out_again(town: Town, run: Run) -> None:
    alice = arrive(town, "alice", "viewer")
    with begun(town, "--as", "alice") as process:
        assert process.stdout is not None
        shown = json.loads(process.stdout.readline())
        assert shown["verification_uri"] == f"{town.house.desk.settings.origin}/oauth/device"
        assert shown["verification_uri_complete"].endswith(f"?user_code={shown['user_code']}")
        page = alice.browser.get(shown["verification_uri_complete"].removeprefix(town.house.desk.settings.origin))
        asked = alice.browser.fill(page, "/oauth/device")
        assert "everything that you may do here" in asked.text
        assert "Let in" in alice.browser.fill(asked, "/oauth/device", answer="yes").text
        out, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "")
    assert json.loads(out)["principal"] == "user:alice"
    kept = town.house.home.root / "credentials" / "alice.login"
    assert kept.stat().st_mode & 0o777 == 0o600
    login = KeptLogin(kept).read()
    assert login is not None
    for secret in (login.access_token, login.refresh_token):
        assert secret not in json.dumps(shown) + out + repr(login)

    status, said, _ = run("whoami", who="alice")
    me = json.loads(said)
    assert (status, me["principal"], me["strength"]) == (0, "user:alice", "password")
    assert me["credential"].startswith("token:")
    assert run("models", "list", who="alice")[0] == 0
    assert run("access", "user", "create", "x", "--role", "viewer", who="alice")[0] == 77

    status, said, _ = run("logout", who="alice", form="table")
    assert (status, "logged out" in said) == (0, True)
    assert not kept.exists()
    with pytest.raises(Unauthenticated):
        TokenCalls(town.carrier).refresh(login.refresh_token)
    status, _, error = run("logout", who="alice")
    assert (status, json.loads(error)["code"]) == (66, "login-missing")


def test_who_is_sent_away_is_not_logged_in(town: Town) -> None:
    with begun(town, "--as", "sent-away", "--scope", "model.read") as process:
        assert process.stdout is not None
        code = json.loads(process.stdout.readline())["user_code"]
        town.client("viewer").clients.answer_device(code, granted=False)
        _, error = process.communicate(timeout=60)
    assert (process.returncode, json.loads(error)["code"]) == (77, "login-access-denied")
    assert not (town.house.home.root / "credentials" / "sent-away.login").exists()


def test_another_machine_needs_no_home(town: Town, run: Run, address: str, tmp_path: Path) -> None:
    """The address is kept with the login, and every command goes there."""
    kept = keep(town, "viewer", "far", server=address, home=tmp_path)
    status, said, _ = run("whoami", who="far", home=tmp_path)
    assert (status, json.loads(said)["principal"]) == (0, "user:viewer")
    assert run("logout", who="far", home=tmp_path)[0] == 0
    assert not kept.path.exists()


def test_a_token_is_renewed_before_it_expires(town: Town, run: Run) -> None:
    kept = keep(town, "viewer", "stale", stale=True)
    before = kept.read()
    assert run("whoami", who="stale")[0] == 0
    after = kept.read()
    assert before is not None
    assert after is not None
    assert after.refresh_token != before.refresh_token
    assert after.refresh_at > SystemClock().now()
    assert kept.path.stat().st_mode & 0o777 == 0o600


def test_many_at_once_renew_it_once(town: Town, address: str) -> None:
    """A refresh token shown twice would end the whole login."""
    kept = keep(town, "developer", "busy", stale=True)
    found: list[str] = []
    start = threading.Barrier(8)

    def ask() -> None:
        with HttpTransport(address) as transport:
            start.wait()
            found.append(kept.token(transport, SystemClock()))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 8
    assert len(set(found)) == 1
    town.keys["busy"] = found[0]
    assert town.ask("busy", "GET", "/api/v1/me").status == 200


def test_a_login_that_was_ended_elsewhere_says_so(town: Town, run: Run) -> None:
    kept = keep(town, "viewer", "ended", stale=True)
    login = kept.read()
    assert login is not None
    TokenCalls(town.carrier).revoke(login.refresh_token)
    status, _, error = run("models", "list", who="ended")
    told = json.loads(error)
    assert (status, told["code"]) == (77, "login-ended")
    assert "fastness login" in told["hint"]


def test_a_second_factor_is_given_for_the_token_that_is_used(town: Town, run: Run) -> None:
    kept = keep(town, "admin", "boss")
    reset = ("access", "user", "reset", "user:third")
    status, _, error = run(*reset, who="boss")
    assert (status, json.loads(error)["code"]) == (77, "step-up-required")
    code = town.seconds["admin"].app.code(SystemClock().now())
    assert run(*reset, "--code", code, who="boss")[0] == 0
    assert run(*reset, who="boss")[0] == 0  # it counts for five minutes
    elevation = kept.path.with_suffix(".elevation").read_text("ascii")
    other = keep(town, "admin", "boss-too")
    other.path.with_suffix(".elevation").write_text(elevation, "ascii")
    other.path.with_suffix(".elevation").chmod(0o600)
    status, _, error = run(*reset, who="boss-too")
    assert (status, json.loads(error)["code"]) == (77, "step-up-required")


def test_logging_out_without_the_house_deletes_and_says_what_is_left(town: Town, run: Run, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = f"http://127.0.0.1:{listener.getsockname()[1]}"
    kept = keep(town, "viewer", "lonely", server=nobody, home=tmp_path)
    status, _, error = run("logout", who="lonely", home=tmp_path)
    told = json.loads(error)
    assert (status, told["code"]) == (69, "logout-unconfirmed")
    assert "did not take them back" in told["message"]
    assert not kept.path.exists()


def test_names_that_have_a_key_are_not_logged_in(run: Run, tmp_path: Path) -> None:
    status, _, error = run("login", who="viewer")
    assert json.loads(error)["code"] == "credentials-exist"
    assert json.loads(run("login", "--ca", "x.pem")[2])["code"] == "login-ca"
    assert json.loads(run("login", "--server", "http://far.example")[2])["code"] == "target-malformed"
    missing = run("login", "--server", "https://far.example", "--ca", str(tmp_path / "none.pem"))
    assert json.loads(missing[2])["code"] == "ca-unreadable"
    assert status != 0


def test_a_house_that_is_not_running_lets_nobody_in(
    town: Town, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from fastness.app import Home, create_home
    from fastness.core.clock import system_entropy
    from fastness.foundation.crypto import SoftwareSigner

    home = Home(tmp_path / "home")
    create_home(home, None, "admin", SoftwareSigner.create(system_entropy).public_pem)
    with pytest.raises(SystemExit):
        main(["login", "--home", str(home.root), "--as", "me", "--format", "json"])
    assert json.loads(capsys.readouterr().err)["code"] == "house-stopped"


LOGIN = Login("user:me", "", "", "", "token", "fsr_refresh", 0)


def test_a_login_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    kept = KeptLogin(tmp_path / "me.login")
    kept.write(LOGIN)
    assert kept.read() == LOGIN
    kept.path.chmod(0o644)
    with pytest.raises(Invalid) as caught:
        kept.read()
    assert caught.value.code == "credentials-exposed"
    kept.path.chmod(0o600)
    kept.path.rename(tmp_path / "elsewhere")
    kept.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Invalid):
        kept.read()


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"principal": 1}'])
def test_a_file_that_is_no_login_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "me.login"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(Invalid) as caught:
        KeptLogin(path).read()
    assert caught.value.code == "login-malformed"


class Answers:
    """What a house answers to those who wait, in order; the last one for ever."""

    def __init__(self, *answers: Tokens | float | Exception) -> None:
        self.answers = list(answers)

    def poll(self, _: Waiting) -> Tokens | float:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


WAITING = Waiting("fsd_x", "BCDF-GHJK", "https://house.example/oauth/device", 60.0, 5.0)
TOKENS = Tokens("eyJ", 600.0, "fsr_x")


def test_who_is_told_to_slow_down_waits_longer_each_time_from_then_on() -> None:
    slept: list[float] = []
    answers = Answers(0.0, 5.0, 0.0, Unavailable("unreachable", "x"), TOKENS)
    assert wait_for(answers, WAITING, slept.append) == TOKENS  # type: ignore[arg-type]
    assert slept == [5.0, 5.0, 10.0, 10.0, 15.0]


def test_waiting_ends_with_the_code() -> None:
    slept: list[float] = []
    with pytest.raises(Unauthenticated) as caught:
        wait_for(Answers(0.0), WAITING, slept.append)  # type: ignore[arg-type]
    assert caught.value.code == "login-expired-token"
    assert sum(slept) == 60.0
    with pytest.raises(Unauthenticated) as caught:
        wait_for(Answers(Unauthenticated("expired_token", "x")), WAITING, slept.append)  # type: ignore[arg-type]
    assert caught.value.message == "nobody let you in in time"


def test_a_renewed_login_keeps_what_the_house_does_not_replace() -> None:
    now = SystemClock().now()
    renewed = LOGIN.renewed(Tokens("next", 600.0), now)
    assert (renewed.access_token, renewed.refresh_token) == ("next", "fsr_refresh")
    assert renewed.refresh_at == later(now, 480.0)
    assert repr(renewed) == "Login('user:me', '')"
