"""What must be refused: requests that are wrong, and disks that were tampered with while the house is running."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import sqlite3
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from fastness.core.errors import Corrupt
from fastness.interfaces.cli.demo.people import Person
from fastness.interfaces.cli.demo.story import Differs, Story, expect
from fastness.wire import oip

PATIENCE_S = 15.0
_ATTEMPTS, _BREATHER_S = 25, 0.2


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; status 0 is a connection closed without one."""

    status: int
    code: str
    detail: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Target:
    """A running house, as its attackers see it.

    Attributes:
        people: by name.
        key: a valid API key; `slow_key` one that allows two requests at once and one a second.
        digit: pixels of one scan, (1, 64) float32.
        blobs: blob file of each version of the model, by number.
    """

    home: Path
    host: str
    port: int
    ca: Path
    people: Mapping[str, Person]
    key: str
    slow_key: str
    revoked_key: str
    foreign_key: str
    digit: np.ndarray
    blobs: Mapping[int, Path]

    def connect(self) -> ssl.SSLSocket:
        """A fresh TLS 1.3 connection."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context.wrap_socket(socket.create_connection((self.host, self.port), 10), server_hostname=self.host)

    def ask(self, body: bytes, key: str | None = None, path: str = "/v2/models/digits/infer", **headers: str) -> Answer:
        """One request on a fresh connection."""
        context = ssl.create_default_context(cafile=str(self.ca))
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=20, context=context)
        given = {"content-type": "application/json", **{n.replace("_", "-"): v for n, v in headers.items()}}
        if key is not None:
            given["authorization"] = f"Bearer {key}"
        for left in range(_ATTEMPTS, -1, -1):
            with contextlib.closing(connection):
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.request("POST", path, body, given)
                reply = connection.getresponse()
                answer = _answer(reply.status, reply.read(), reply.headers.get("x-request-id", ""))
            if answer.code != "snapshot-stale" or not left:
                return answer
            time.sleep(_BREATHER_S)  # a machine so busy that the gateway refuses: the answer comes later
        raise Differs("no answer")

    def infer(
        self, array: np.ndarray | None = None, path: str = "/v2/models/digits/infer", key: str | None = None
    ) -> Answer:
        """A well-formed request, in binary."""
        body, headers = oip.encode_request({"X": self.digit if array is None else array})
        return self.ask(body, key or self.key, path, **headers)


def _answer(status: int, body: bytes, request_id: str) -> Answer:
    try:
        problem = msgspec.json.decode(body, type=dict[str, object])
    except msgspec.MsgspecError:
        problem = {}
    code = str(problem.get("type", "")).rpartition(":")[2]
    return Answer(status, code, f"{problem.get('detail', '')} {problem.get('hint', '')}".strip(), request_id)


def attack(story: Story, target: Target) -> None:
    """Try everything; each attack is refused, leaves its event, and the house still serves afterwards."""
    story.chapter("Attack it: requests")
    for name, status, code, act in _requests(target):
        story.step(name, f"{status} {code}", lambda s=status, c=code, a=act: _refused(target, a(), s, c))  # type: ignore[misc]
    story.step("slow header", "connection closed, recorded", lambda: _slow_header(target))
    story.step("still serving", "200", lambda: _serves(target))
    story.chapter("Attack it: the disk")
    story.step("one byte of the stored model flipped", "503 blob-corrupt", lambda: _flipped(target))
    story.step("another model's blob put in its place", "503 blob-corrupt", lambda: _swapped(target))
    story.step("the alias rolled back in the database", "503 alias-rolled-back", lambda: _rolled_back(target))
    story.step("one byte of the ledger flipped", f"{Corrupt.exit} ledger-corrupt", lambda: _ledger(target))
    story.step("still serving, nothing lost", "200, ledger verified", lambda: _whole(target))


def _requests(target: Target) -> Iterator[tuple[str, int, str, Callable[[], Answer]]]:
    good = oip.encode_request({"X": target.digit}, binary=False)[0]
    wrong_key = target.key[:-8] + ("00000000" if not target.key.endswith("00000000") else "11111111")
    not_a_number = target.digit.copy()
    not_a_number[0, 7] = np.nan
    too_bright = target.digit.copy()
    too_bright[0, 3] = 17.0
    yield "no key", 401, "key-missing", lambda: target.ask(good)
    yield "a changed key", 401, "key-malformed", lambda: target.ask(good, wrong_key)
    yield "a key of another house", 401, "key-unknown", lambda: target.ask(good, target.foreign_key)
    yield "revoked key", 401, "key-unknown", lambda: target.ask(good, target.revoked_key)
    yield "too many requests", 429, "rate-limited", lambda: _burst(target, good)
    yield "wrong shape", 400, "tensor-shape", lambda: target.infer(target.digit[:, :63])
    yield "wrong data type", 400, "tensor-datatype", lambda: target.infer(target.digit.astype(np.int64))
    yield "not a number", 400, "tensor-not-finite", lambda: target.infer(not_a_number)
    yield "pixel out of range", 400, "tensor-range", lambda: target.infer(too_bright)
    yield "oversize body", 413, "body-too-large", lambda: target.ask(b"x" * (64 << 20), target.key)
    yield "truncated JSON", 400, "json-malformed", lambda: target.ask(good[: len(good) // 2], target.key)
    yield "unknown model", 404, "model-unknown", lambda: target.infer(path="/v2/models/letters/infer")
    yield (
        "version that lacks an approval",
        409,
        "approvals-missing",
        lambda: target.infer(path="/v2/models/digits/versions/2/infer"),
    )


def _burst(target: Target, body: bytes) -> Answer:
    answers = [target.ask(body, target.slow_key) for _ in range(4)]
    return next((a for a in answers if a.status == 429), answers[-1])


def _refused(target: Target, answer: Answer, status: int, code: str) -> str:
    expect((answer.status, answer.code), (status, code), "answer")
    if not answer.detail:
        raise Differs("the answer does not say what to change")
    _recorded(target, answer.request_id)
    return f"{answer.status} {answer.code}: {answer.detail}"


def _recorded(target: Target, request_id: str) -> None:
    _eventually(
        lambda: any(e.get("request") == request_id for e in _events(target)), f"no event of request {request_id}"
    )


def _events(target: Target) -> list[dict[str, object]]:
    said = target.people["auditor"].run("audit", "tail", "--after", "-60")
    return [msgspec.json.decode(line, type=dict[str, dict[str, object]])["event"] for line in _entry_lines(said.out)]


def _entry_lines(out: bytes) -> list[bytes]:
    return [b'{"event":' + line.split(b'"event":', 1)[1] for line in out.splitlines() if b'"event":' in line]


def _eventually(check: Callable[[], bool], complaint: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not check():
        if time.monotonic() > end:
            raise Differs(complaint)
        time.sleep(0.1)


def _slow_header(target: Target) -> str:
    before = _count(target, "header-too-slow")
    started = time.monotonic()
    with target.connect() as connection:
        connection.sendall(b"POST /v2/models/digits/infer HTTP/1.1\r\nhost: x\r\n")
        connection.settimeout(PATIENCE_S)
        with contextlib.suppress(ConnectionResetError, ssl.SSLError):
            connection.recv(4096)
    _eventually(lambda: _count(target, "header-too-slow") > before, "no event of the slow header")
    return f"closed after {time.monotonic() - started:.1f} s, recorded"


def _count(target: Target, reason: str) -> int:
    return sum(event.get("reason") == reason for event in _events(target))


def _serves(target: Target) -> str:
    answer = target.infer()
    expect(answer.status, 200, "status")
    return "200"


def _flipped(target: Target) -> str:
    path = target.blobs[1]
    original = path.read_bytes()
    changed = bytearray(original)
    changed[len(changed) // 2] ^= 1
    with _replaced(path, bytes(changed), original):
        return _not_served(target, "blob-corrupt", restart=True)


def _swapped(target: Target) -> str:
    path = target.blobs[1]
    with _replaced(path, target.blobs[2].read_bytes(), path.read_bytes()):
        return _not_served(target, "blob-corrupt", restart=True)


@contextlib.contextmanager
def _replaced(path: Path, content: bytes, original: bytes) -> Iterator[None]:
    path.chmod(0o600)
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(original)


def _not_served(target: Target, code: str, *, restart: bool) -> str:
    """The model is refused with `code`, and says so in the ledger."""
    if restart:
        _end_worker(target)
    seen = Answer(0, "", "", "")

    def refused() -> bool:
        nonlocal seen
        seen = target.infer()
        return seen.status == 503 and seen.code == code

    end = time.monotonic() + PATIENCE_S
    while not refused():
        if time.monotonic() > end:
            raise Differs(f"{seen.status} {seen.code}: {seen.detail}")
        time.sleep(0.05)
    _eventually(
        lambda: any(e.get("reason") == code and e.get("kind") != "request.refused" for e in _events(target)), "no event"
    )
    return f"{seen.status} {seen.code}: {seen.detail}"


def _end_worker(target: Target) -> None:
    """Kill the model's worker, so that its replacement has to load the bytes again."""
    models = target.people["admin"].must("status")["models"]
    for model in msgspec.convert(models, list[dict[str, object]]):
        if int(str(model["version"])) == 1 and int(str(model["pid"])):
            os.kill(int(str(model["pid"])), signal.SIGKILL)


def _rolled_back(target: Target) -> str:
    """An attacker with the database moves the alias back to an older revision, valid signature and all."""
    with contextlib.closing(sqlite3.connect(target.home / "records.db", timeout=10)) as database:
        older = _alias_row(database)
        for who in ("reviewer-one", "reviewer-two"):
            target.people[who].must("models", "approve", "digits", "2")
        target.people["operator"].must("models", "deploy", "digits", "2")
        _eventually(
            lambda: target.infer(path="/v2/models/digits/versions/2/infer").status == 200, "version 2 is not served"
        )
        newer = _alias_row(database)
        _put_alias(database, older)
        try:
            return _not_served(target, "alias-rolled-back", restart=False)
        finally:
            _put_alias(database, newer)


_Row = tuple[int, bytes]


def _alias_row(database: sqlite3.Connection) -> _Row:
    found = database.execute(
        "select sequence, envelope from model_alias where model = 'digits' and name = 'development'"
    )
    sequence, envelope = found.fetchone()
    return int(sequence), bytes(envelope)


def _put_alias(database: sqlite3.Connection, row: _Row) -> None:
    with database:
        database.execute(
            "update model_alias set sequence = ?, envelope = ? where model = 'digits' and name = 'development'", row
        )
        database.execute("update epochs set epoch = epoch + 1 where topic = 'routes'")


def _ledger(target: Target) -> str:
    path = target.home / "ledger" / "tile" / "entries" / "000"  # a full bundle: the log grows on beside it
    _eventually(path.exists, "the log has no full bundle")
    original = path.read_bytes()
    changed = bytearray(original)
    changed[len(changed) // 2] ^= 1
    with _replaced(path, bytes(changed), original):
        said = target.people["auditor"].run("audit", "verify")
        code = said.problem.get("code", "")
        expect((said.status, code), (Corrupt.exit, "ledger-corrupt"), "exit status and code")
        _eventually(
            lambda: any((e.get("kind"), e.get("reason")) == ("integrity.failed", code) for e in _events(target)),
            "no event of the changed ledger",
        )
    return f"{said.status} {code}: {said.problem['message']} {said.problem['hint']}"


def _whole(target: Target) -> str:
    _eventually(lambda: target.infer().status == 200, "the model is not served again")
    report = target.people["auditor"].must("audit", "verify")
    return f"200, ledger of {report['size']} entries verified"
