"""References to secrets: parsed strictly, resolved at use, rotated without a restart, shown nowhere."""

from __future__ import annotations

import json
import logging
import os
import pprint
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import moto
import pytest

from fastness.core.clock import Instant, ManualClock
from fastness.core.errors import FastnessError, Forbidden, Invalid, NotFound, TooLarge, Unavailable
from fastness.core.secrets import SecretBytes, SecretRef
from fastness.core.settings import InvalidSetting, load
from fastness.foundation.crypto.references import LARGEST_SECRET, Secrets, SecretsSettings, open_secrets
from fastness.foundation.crypto.references_local import EnvironmentSecrets, FileSecrets
from fastness.foundation.crypto.references_remote import AwsSecrets, VaultSecrets
from tests.needs import need_host

VALUE = "correct horse battery staple"
NOW = Instant(1_700_000_000_000_000_000)
SECOND = 1_000_000_000


def later(seconds: float) -> Instant:
    return Instant(NOW + int(seconds * SECOND))


def text(secret: SecretBytes) -> str:
    return bytes(secret.reveal()).decode()


@dataclass(frozen=True)
class Part:
    password: SecretRef | None = None
    token: SecretRef | None = None


@dataclass(frozen=True)
class Root:
    part: Part = Part()


GOOD = {
    "secret://file/run/secrets/db": SecretRef("file", "run/secrets/db"),
    "secret://env/DB_PASSWORD": SecretRef("env", "DB_PASSWORD"),
    "secret://vault/kv/team/db#password": SecretRef("vault", "kv/team/db", "password"),
    "secret://aws/prod/db#password": SecretRef("aws", "prod/db", "password"),
    "secret://aws/prod/db": SecretRef("aws", "prod/db"),
}


@pytest.mark.parametrize(("written", "expected"), GOOD.items())
def test_a_reference_in_the_settings(written: str, expected: SecretRef) -> None:
    seen = load(Root, None, {"FASTNESS_PART__PASSWORD": written}, {})
    assert seen.part.password == expected
    assert str(expected) == written


BAD = [
    VALUE, "", "secret://", "secret://file/", "secret://file/a/../../etc/shadow", "secret://file/a\nb", "secret://file/a#b",
    "secret://env/A-B", "secret://env/A#b", "secret://vault/kv#x", "secret://vault/kv/a", "secret://vault/kv/../sys/x#y",
    "secret://vault/kv/a?version=1#x", "secret://vault/kv//a#x", "secret://vault/kv/%2e%2e/a#x", "secret://aws/a b",
    "secret://gcp/a", "SECRET://env/A", " secret://env/A", "secret://env/A\n", "secret://vault/kv/a#b#c", "secret://env/" + "A" * 200,
]  # fmt: skip


@pytest.mark.parametrize("written", BAD)
def test_what_is_no_reference_is_refused_and_not_shown(written: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        load(Root, None, {}, {"part.password": written})
    shown = "".join(traceback.format_exception(caught.value))
    assert "part.password" in caught.value.message
    assert len(written) < 20 or written not in shown


def test_a_number_for_a_reference_is_not_shown_either(tmp_path: Path) -> None:
    file = tmp_path / "fastness.toml"
    file.write_text("[part]\npassword = 123456789\n", "utf-8")
    with pytest.raises(InvalidSetting) as caught:
        load(Root, file, {}, {})
    assert "123456789" not in str(caught.value)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "password"
    file.write_text(f"{VALUE}\n", "utf-8")
    file.chmod(0o600)
    return file


def refer(file: Path) -> SecretRef:
    return SecretRef.parse(f"secret://file{file}")


def test_a_file_is_read_without_its_line_end(secret_file: Path) -> None:
    assert text(FileSecrets(100).read(refer(secret_file), NOW)) == VALUE
    secret_file.write_bytes(b"two\nlines\r\n")
    assert text(FileSecrets(100).read(refer(secret_file), NOW)) == "two\nlines"
    secret_file.write_bytes(b"\n\n")
    assert text(FileSecrets(100).read(refer(secret_file), NOW)) == "\n"


def test_a_link_is_followed_as_orchestrators_mount_it(secret_file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(secret_file)
    assert text(FileSecrets(100).read(refer(link), NOW)) == VALUE


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o620, 0o601, 0o666])
def test_a_file_that_others_can_reach_is_refused(secret_file: Path, mode: int) -> None:
    secret_file.chmod(mode)
    with pytest.raises(Forbidden) as caught:
        FileSecrets(100).read(refer(secret_file), NOW)
    assert caught.value.code == "secret-unsafe"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("pipe", "."):
        with pytest.raises((Forbidden, Invalid)):
            FileSecrets(100).read(SecretRef("file", f"{tmp_path}/{name}".lstrip("/")), NOW)
    with pytest.raises(NotFound):
        FileSecrets(100).read(refer(tmp_path / "none"), NOW)


def test_a_file_of_somebody_else_is_refused(secret_file: Path) -> None:
    need_host("root", present=os.geteuid() == 0)
    os.chown(secret_file, 12345, 12345)
    with pytest.raises(Forbidden):
        FileSecrets(100).read(refer(secret_file), NOW)


def test_a_size_is_bounded_and_nothing_is_no_secret(secret_file: Path) -> None:
    secrets = open_secrets(SecretsSettings(), {"EMPTY": ""})
    secret_file.write_bytes(b"x" * LARGEST_SECRET)
    assert len(secrets.reveal(refer(secret_file), NOW)) == LARGEST_SECRET
    secret_file.write_bytes(b"x" * (LARGEST_SECRET + 1))
    with pytest.raises(TooLarge):
        secrets.reveal(refer(secret_file), later(400))
    with pytest.raises(TooLarge):
        FileSecrets(10).read(refer(secret_file), NOW)
    with pytest.raises(Invalid):
        secrets.reveal(SecretRef("env", "EMPTY"), NOW)


def test_an_environment_has_what_it_was_given() -> None:
    keeper = EnvironmentSecrets({"A": VALUE})
    assert text(keeper.read(SecretRef("env", "A"), NOW)) == VALUE
    with pytest.raises(NotFound):
        keeper.read(SecretRef("env", "B"), NOW)


class Vaultlike:
    """Answers as Vault's key-value engine does, by its documentation: contract, not the product."""

    def __init__(self) -> None:
        self.secrets: dict[str, object] = {"kv/data/team/db": {"password": VALUE}}
        self.token = "good"
        self.status = 0
        self.body: bytes | None = None
        self.asked = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                path = self.path.removeprefix("/v1/").partition("?")[0]
                found = outer.secrets.get(path)
                if outer.status:
                    self.answer(outer.status, {"errors": ["down"]})
                elif self.headers.get("X-Vault-Token") != outer.token:
                    self.answer(403, {"errors": ["permission denied"]})
                elif found is None:
                    self.answer(404, {"errors": []})
                else:
                    version = {"version": 1, "deletion_time": "", "destroyed": False}
                    data = {"data": found, "metadata": version} if "/data/" in path else found
                    self.answer(200, {"data": data})

            def answer(self, status: int, body: object) -> None:
                data = outer.body or json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                if status == 307:
                    self.send_header("Location", "http://127.0.0.1:9/v1/elsewhere")
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def vault() -> Iterator[Vaultlike]:
    made = Vaultlike()
    yield made
    made.close()


DB = SecretRef("vault", "kv/team/db", "password")


def asking(vault: Vaultlike, kv: int = 2) -> VaultSecrets:
    return VaultSecrets(vault.url, lambda _: SecretBytes(b"good"), timeout_s=5, kv=kv)


def test_vault_gives_a_field(vault: Vaultlike) -> None:
    assert text(asking(vault).read(DB, NOW)) == VALUE
    vault.secrets["kv/team/db"] = {"password": "one"}
    assert text(asking(vault, kv=1).read(DB, NOW)) == "one"


FAILURES: dict[str, tuple[Callable[[Vaultlike], None], type[FastnessError]]] = {
    "sealed": (lambda v: setattr(v, "status", 503), Unavailable),
    "too often": (lambda v: setattr(v, "status", 429), Unavailable),
    "broken": (lambda v: setattr(v, "status", 500), Unavailable),
    "elsewhere": (lambda v: setattr(v, "status", 307), Unavailable),
    "no JSON": (lambda v: setattr(v, "body", b"<html>" + VALUE.encode()), Unavailable),
    "another shape": (lambda v: setattr(v, "body", b'{"data": ["' + VALUE.encode() + b'"]}'), Unavailable),
    "denied": (lambda v: setattr(v, "token", "another"), Forbidden),
    "gone": (lambda v: v.secrets.clear(), NotFound),
    "no such field": (lambda v: v.secrets.update({"kv/data/team/db": {"other": VALUE}}), NotFound),
    "no text": (lambda v: v.secrets.update({"kv/data/team/db": {"password": [VALUE]}}), Invalid),
    "away": (lambda v: v.close(), Unavailable),
}


@pytest.mark.parametrize(("break_it", "expected"), FAILURES.values(), ids=FAILURES)
def test_vault_fails_in_words_without_values(
    break_it: Callable[[Vaultlike], None], expected: type[FastnessError], caplog: pytest.LogCaptureFixture
) -> None:
    vault = Vaultlike()
    try:
        caplog.set_level(logging.DEBUG)
        break_it(vault)
        with pytest.raises(expected) as caught:
            asking(vault).read(DB, NOW)
        assert_hidden(caught.value, caplog.text)
    finally:
        vault.close() if vault.thread.is_alive() else None


def assert_hidden(error: BaseException, *shown: str) -> None:
    formatted = traceback.TracebackException.from_exception(error, capture_locals=True)
    whole = "".join([*formatted.format(), repr(error), str(error), pprint.pformat(vars(error)), *shown])
    assert error.__context__ is None
    assert "staple" not in whole


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with moto.mock_aws():
        yield boto3.client("secretsmanager", region_name="eu-central-1")


def test_aws_gives_a_secret_or_a_field(aws: object, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    aws.create_secret(Name="prod/plain", SecretString=VALUE)  # type: ignore[attr-defined]
    aws.create_secret(Name="prod/db", SecretString=json.dumps({"password": VALUE, "port": 5}))  # type: ignore[attr-defined]
    aws.create_secret(Name="prod/raw", SecretBinary=b"\x00\xff")  # type: ignore[attr-defined]
    caplog.clear()
    keeper = AwsSecrets("eu-central-1", "", 5)
    assert text(keeper.read(SecretRef("aws", "prod/plain"), NOW)) == VALUE
    assert text(keeper.read(SecretRef("aws", "prod/db", "password"), NOW)) == VALUE
    assert bytes(keeper.read(SecretRef("aws", "prod/raw"), NOW).reveal()) == b"\x00\xff"
    cases = [
        ("prod/db", "port", Invalid), ("prod/db", "user", NotFound), ("prod/plain", "password", Invalid),
        ("prod/raw", "password", Invalid), ("prod/none", "", NotFound),
    ]  # fmt: skip
    for path, name, expected in cases:
        with pytest.raises(expected) as caught:
            keeper.read(SecretRef("aws", path, name), NOW)
        assert_hidden(caught.value)
    assert "staple" not in caplog.text
    aws.delete_secret(SecretId="prod/plain")  # type: ignore[attr-defined]
    with pytest.raises(NotFound):
        keeper.read(SecretRef("aws", "prod/plain"), NOW)


def test_aws_away_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with pytest.raises(Unavailable):
        AwsSecrets("eu-central-1", "http://127.0.0.1:9", 1).read(SecretRef("aws", "x"), NOW)


class Keeper:
    def __init__(self) -> None:
        self.value: bytes | FastnessError = VALUE.encode()
        self.asked = 0

    def read(self, reference: SecretRef, now: Instant) -> SecretBytes:
        self.asked += 1
        if isinstance(self.value, FastnessError):
            raise self.value
        return SecretBytes(self.value)


REF = SecretRef("env", "X")
AWAY = Unavailable("secret-unreachable", "away")


@pytest.fixture
def keeper() -> Keeper:
    return Keeper()


@pytest.fixture
def secrets(keeper: Keeper) -> Secrets:
    return Secrets(SecretsSettings(ttl_s=10, stale_s=60, retry_s=5), {"env": keeper})


def test_a_change_is_seen_after_its_time_to_live_and_not_asked_for_before(keeper: Keeper, secrets: Secrets) -> None:
    assert [text(secrets.reveal(REF, later(s))) for s in (0, 5, 9.9)] == [VALUE] * 3
    keeper.value = b"new"
    assert (text(secrets.reveal(REF, later(9.9))), keeper.asked) == (VALUE, 1)
    assert (text(secrets.reveal(REF, later(10))), keeper.asked) == ("new", 2)


def test_a_change_is_seen_at_once_after_a_refresh(keeper: Keeper, secrets: Secrets) -> None:
    secrets.reveal(REF, NOW)
    keeper.value = b"new"
    secrets.refresh(NOW)
    assert text(secrets.reveal(REF, NOW)) == "new"


def test_the_last_good_value_serves_while_its_keeper_is_away_but_not_for_ever(keeper: Keeper, secrets: Secrets) -> None:
    secrets.reveal(REF, NOW)
    keeper.value = AWAY
    assert [text(secrets.reveal(REF, later(s))) for s in (11, 12, 13, 59)] == [VALUE] * 4
    assert keeper.asked == 3  # not again within `retry_s`
    with pytest.raises(Unavailable):
        secrets.reveal(REF, later(60))
    keeper.value = b"back"
    assert text(secrets.reveal(REF, later(66))) == "back"


def test_a_refresh_while_the_keeper_is_away_loses_nothing(keeper: Keeper, secrets: Secrets) -> None:
    secrets.reveal(REF, NOW)
    keeper.value = AWAY
    secrets.refresh(later(1))
    assert text(secrets.reveal(REF, later(1))) == VALUE


@pytest.mark.parametrize(
    "error", [NotFound("secret-missing", "gone"), Forbidden("secret-refused", "no")], ids=["gone", "denied"]
)
def test_what_was_deleted_or_denied_serves_no_more(keeper: Keeper, secrets: Secrets, error: FastnessError) -> None:
    secrets.reveal(REF, NOW)
    keeper.value = error
    for seconds in (10, 11):
        with pytest.raises(type(error)):
            secrets.reveal(REF, later(seconds))


def test_a_clock_that_goes_back_asks_again(keeper: Keeper, secrets: Secrets) -> None:
    secrets.reveal(REF, NOW)
    keeper.value = b"new"
    assert text(secrets.reveal(REF, later(-1000))) == "new"


def test_a_caller_wipes_its_own_copy(secrets: Secrets) -> None:
    secrets.reveal(REF, NOW).wipe()
    assert text(secrets.reveal(REF, NOW)) == VALUE


def test_one_who_logs_in_often_gets_what_is_good_then(keeper: Keeper, secrets: Secrets) -> None:
    clock = ManualClock(NOW)
    password = secrets.bound(REF, clock)
    assert text(password()) == VALUE
    keeper.value = b"new"
    clock.advance(11)
    assert text(password()) == "new"


def test_the_token_of_vault_is_rotated_in_its_file(vault: Vaultlike, secret_file: Path) -> None:
    secret_file.write_text("good", "utf-8")
    settings = SecretsSettings(ttl_s=10, stale_s=60, vault_url=vault.url, vault_token=refer(secret_file))
    secrets = open_secrets(settings, {})
    assert text(secrets.reveal(DB, NOW)) == VALUE
    secret_file.write_text("better", "utf-8")
    vault.token = "better"
    assert text(secrets.reveal(DB, later(11))) == VALUE


@pytest.mark.parametrize("show", [repr, str, pprint.pformat, lambda s: json.dumps(s, default=repr)])
def test_nothing_shows_a_value(show: Callable[[object], str], secret_file: Path) -> None:
    secrets = open_secrets(SecretsSettings(vault_url="https://vault.test"), {"X": VALUE})
    found = secrets.reveal(REF, NOW)
    shown = [secrets, found, EnvironmentSecrets({"X": VALUE}), AwsSecrets("", "", 1), asdict(Root()), Root()]
    assert not any("staple" in show(each) for each in shown)


def test_without_a_keeper_nothing_is_resolved() -> None:
    with pytest.raises(Invalid):
        Secrets(SecretsSettings(), {}).reveal(REF, NOW)
    with pytest.raises(Invalid):
        open_secrets(SecretsSettings(), {}).reveal(DB, NOW)


@pytest.mark.parametrize(
    "bad",
    [
        {"ttl_s": 0.0}, {"ttl_s": 10.0, "stale_s": 5.0}, {"retry_s": 0.0}, {"timeout_s": 61.0}, {"vault_kv": 3},
        {"vault_url": "http://vault.test"}, {"vault_url": "https://user:pw@vault.test"}, {"aws_endpoint": "http://aws.test"},
        {"vault_token": SecretRef("vault", "a/b", "c")},
    ],
)  # fmt: skip
def test_settings_have_ranges(bad: dict[str, object]) -> None:
    with pytest.raises(InvalidSetting):
        SecretsSettings(**bad)  # type: ignore[arg-type]


def test_a_real_vault(monkeypatch: pytest.MonkeyPatch) -> None:
    """With VAULT_TEST_URL and VAULT_TEST_TOKEN of a Vault whose `secret/` is a key-value engine, version 2."""
    url, token = os.environ.get("VAULT_TEST_URL", ""), os.environ.get("VAULT_TEST_TOKEN", "")
    need_host("a Vault at VAULT_TEST_URL", present=bool(url))
    keeper = VaultSecrets(url, lambda _: SecretBytes(token.encode()), timeout_s=5)
    client = keeper._connected()
    client.token = token
    client.secrets.kv.v2.create_or_update_secret("fastness-test", {"password": VALUE}, mount_point="secret")
    assert text(keeper.read(SecretRef("vault", "secret/fastness-test", "password"), NOW)) == VALUE
