"""Attack: kill -9 at every step of a push, of the control process under a push, and of a gateway under requests.

Whatever was acknowledged is there afterwards, whole; nothing is there by half; the log continues the one of before.

Run as a program, this file starts processes that have everything imported already (`python test_crash.py`): a line
of JSON on standard input is the command line of a `fastness` that is forked off, and where it is to kill itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from pathlib import Path

import numpy as np
import pytest

from fastness.app import Home
from fastness.client import ControlClient, HttpTransport
from fastness.core.errors import Unavailable
from fastness.wire import oip
from fastness.wire.control import StepView
from tests.needs import ROOT
from tests.unit.app.test_supervisor import gone
from tests.unit.interfaces.api.town import DECLARED, founded
from tests.unit.models.release.world import digits_onnx

STEPS = ("intake", "scan", "dependencies", "assess", "commit", "attest", "register")
POINTS = [(step, state) for step in STEPS for state in ("begun", "done")]
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "HOME": "/nonexistent"}
FASTNESS = (sys.executable, "-m", "fastness")


# --- the processes that are killed ----------------------------------------------------------------------------------


def push_and_die(home: str, artifact: str, step: str, state: str) -> None:
    """`fastness push` of this process, without a running house, killed when it hears of `step` and `state`."""
    from fastness.interfaces.cli.context import Format, Options

    def progress(view: StepView) -> None:
        if (view.step, view.state) == (step, state):
            os.kill(os.getpid(), signal.SIGKILL)

    with Options.of(home, "publisher", "", Format.JSON, "").control() as control:
        reply = control.models.push("digits", "m.onnx", [Path(artifact).read_bytes()], DECLARED, progress)
        os.write(1, b'{"acknowledged": %d}' % reply.version)
        os.kill(os.getpid(), signal.SIGKILL)


def forked(request: dict[str, list[str]]) -> dict[str, object]:
    """Run one command in a process of its own; its exit status and what it said."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
                sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - the process ends with it
                if "kill" in request:
                    push_and_die(*request["kill"])
                elif "look" in request:
                    look(*request["look"])
                else:
                    run(request["line"])
                status = 0
            except SystemExit as error:
                status = error.code if isinstance(error.code, int) else 0
            except BaseException:
                os.write(2, traceback.format_exc().encode())
            finally:
                sys.stdout.flush()
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        said = [(file.seek(0), file.read().decode())[1] for file in (out, err)]
    return {"status": status, "out": said[0], "err": said[1]}


def look(home: str, since: str) -> None:
    """What `models list`, `show`, `verify` and `audit verify --since` say, in one process."""
    from fastness.foundation.ledger import verify_log
    from fastness.interfaces.cli.context import Format, Options

    options = Options.of(home, "viewer", "", Format.JSON, "")
    with options.control() as control:
        (model,) = control.models.list()
        views = [control.models.version("digits", n) for n in range(1, model.versions + 1)]
        control.models.verify("digits", 1, "development")
    ledger = options.house.ledger
    verify_log(ledger, (ledger / "vkey").read_text().strip(), Path(since).read_bytes())
    os.write(1, json.dumps([[view.state, len(view.attestations)] for view in views]).encode())


def run(line: list[str]) -> None:
    from fastness.interfaces.cli import main

    main(line)


def serve() -> None:
    """Import what commands need, then fork one off for each line."""
    import fastness.interfaces.api  # noqa: F401
    from fastness.app import examine  # noqa: F401

    for text in sys.stdin:
        print(json.dumps(forked(json.loads(text))), flush=True)


# --- the tests ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    status: int
    out: str
    err: str

    def json(self) -> object:
        assert self.status == 0, self
        return json.loads(self.out)


class House:
    """A home on disk with people and their credentials; commands run in processes of their own."""

    def __init__(self, root: Path, forker: subprocess.Popen[str]) -> None:
        self.home = Home(root)
        self._forker = forker

    def fastness(self, who: str, *line: str) -> Said:
        return self._ask({"line": ["--home", str(self.home.root), "--as", who, "--format", "json", *line]})

    def push_and_die(self, artifact: Path, step: str, state: str) -> Said:
        return self._ask({"kill": [str(self.home.root), str(artifact), step, state]})

    def _ask(self, request: dict[str, list[str]]) -> Said:
        assert self._forker.stdin is not None
        assert self._forker.stdout is not None
        self._forker.stdin.write(json.dumps(request) + "\n")
        self._forker.stdin.flush()
        return Said(**json.loads(self._forker.stdout.readline()))

    @property
    def kept(self) -> Path:
        """A checkpoint of before, which its owner keeps elsewhere."""
        return self.home.root.parent / "kept-checkpoint"

    def versions(self) -> int:
        """How many there are: each whole, the first verified to its last byte, the log continuing that of before."""
        seen = self._ask({"look": [str(self.home.root), str(self.kept)]}).json()
        assert isinstance(seen, list)
        assert all(version == ["registered", 3] for version in seen), seen
        return len(seen)

    def doctor(self) -> dict[str, str]:
        """The states of what is stored, after `doctor --repair`."""
        checks = self.fastness("admin", "doctor", "--repair").json()
        assert isinstance(checks, list)
        return {check["name"]: check["state"] for check in checks if not check["name"].startswith("sandbox")}

    def blobs(self) -> int:
        return sum(path.is_file() for path in self.home.blobs.rglob("*"))


@pytest.fixture(scope="module")
def forker() -> Iterator[subprocess.Popen[str]]:
    line = [sys.executable, __file__]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as running:
        yield running
        assert running.stdin is not None
        running.stdin.close()
        running.wait(20)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("c")
    with founded(folder / "home") as town:
        town.released("digits")
        town.house.settle()
        town.keep_credentials()
        shutil.copy(town.house.home.ledger / "checkpoint", folder / "kept-checkpoint")
    (folder / "model.onnx").write_bytes(digits_onnx(10.0))
    return folder


@pytest.fixture
def house(template: Path, forker: subprocess.Popen[str]) -> Iterator[House]:
    with tempfile.TemporaryDirectory(prefix="fst-") as folder:  # short: there are sockets in it
        shutil.copytree(template, folder, dirs_exist_ok=True)
        yield House(Path(folder) / "home", forker)


@pytest.mark.parametrize(("step", "state"), POINTS, ids=[" ".join(point) for point in POINTS])
def test_a_push_killed_at_a_step(house: House, template: Path, step: str, state: str) -> None:
    died = house.push_and_die(template / "model.onnx", step, state)
    assert (died.status, died.out) == (-signal.SIGKILL, "")
    states = house.doctor()
    assert set(states.values()) <= {"ok", "repaired"}, states
    versions = house.versions()
    # It was not acknowledged: it may be there whole or not at all, but nowhere before its last step.
    assert versions in ({1} if STEPS.index(step) < STEPS.index("assess") else {1, 2})
    assert house.blobs() == versions
    if (step, state) in {("intake", "done"), ("register", "done")}:
        pushed = house.fastness("publisher", "push", str(template / "model.onnx"), "digits", "--range", "X=0:16")
        assert pushed.status == 0, pushed
        assert house.versions() == versions + 1


def test_an_acknowledged_push_survives_the_kill_that_follows(house: House, template: Path) -> None:
    died = house.push_and_die(template / "model.onnx", "never", "")
    assert (died.status, died.out) == (-signal.SIGKILL, '{"acknowledged": 2}')
    assert house.doctor()["blobs"] == "ok"
    assert house.versions() == 2


def test_a_crash_upon_a_crash_needs_no_repair_to_go_on(house: House, template: Path) -> None:
    for step in ("intake", "assess", "register"):
        assert house.push_and_die(template / "model.onnx", step, "begun").status == -signal.SIGKILL
    before = house.versions()
    pushed = house.fastness("publisher", "push", str(template / "model.onnx"), "digits", "--range", "X=0:16")
    assert pushed.status == 0, pushed
    assert house.versions() == before + 1
    assert house.doctor()["ledger"] in {"ok", "repaired"}
    assert house.blobs() == house.versions()


def test_the_command_a_person_would_run_repairs_in_a_process_of_its_own(house: House, template: Path) -> None:
    house.push_and_die(template / "model.onnx", "scan", "begun")
    assert house.blobs() == 2
    line = [*FASTNESS, "doctor", "--repair", "--format", "json", "--home", str(house.home.root)]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    seen = {check["name"]: check for check in json.loads(done.stdout)}
    assert seen["blobs"]["seen"] == "1 left by interrupted pushes removed"
    assert house.blobs() == 1
    assert house.fastness("viewer", "models", "verify", "digits", "1").status == 0
    assert house.fastness("auditor", "audit", "verify", "--since", str(house.kept)).status == 0


# --- under a running house ------------------------------------------------------------------------------------------


def children(pid: int, module: str) -> list[int]:
    """Processes below `pid` that run `module`."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and module in (folder / "cmdline").read_text().split("\0"):
                found.append(int(folder.name))
    return found


def until(what: Callable[[], object]) -> None:
    for _ in range(1200):
        if what():
            return
        time.sleep(0.05)
    raise AssertionError("it never came to pass")


def answers(house: House, who: str = "publisher") -> bool:
    try:
        with control(house, who) as client:
            return client.models.list() is not None
    except Unavailable:
        return False


@contextlib.contextmanager
def control(house: House, who: str) -> Iterator[ControlClient]:
    key = json.loads((house.home.credentials / f"{who}.json").read_text())["api_key"]
    with HttpTransport(house.home.control_socket, timeout_s=60) as transport:
        yield ControlClient(transport, key)


@contextlib.contextmanager
def up(house: House, port: int) -> Iterator[subprocess.Popen[bytes]]:
    line = [*FASTNESS, "up", "--home", str(house.home.root), "--port", str(port)]
    log = (house.home.root.parent / "up.log").open("wb")
    with log, subprocess.Popen(line, env=ENVIRONMENT, stdout=log, stderr=log) as running:
        try:
            until(lambda: answers(house))
            yield running
        finally:
            running.terminate()
            running.wait(60)


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_control_process_killed_in_the_middle_of_a_push(house: House, template: Path) -> None:
    artifact = (template / "model.onnx").read_bytes()
    with up(house, free_port()) as running:

        def kill() -> None:
            (pid,) = children(running.pid, "fastness.interfaces.api.process")
            os.kill(pid, signal.SIGKILL)
            assert gone(pid)

        def half_a_body() -> Iterator[bytes]:
            yield artifact[:1000]
            kill()
            yield artifact[1000:]

        def at_assess(view: StepView) -> None:
            if (view.step, view.state) == ("assess", "begun"):
                kill()

        pushes: Sequence[tuple[Iterator[bytes], Callable[[StepView], None]]] = (
            (half_a_body(), lambda _: None),
            (iter([artifact]), at_assess),
        )
        for body, progress in pushes:
            with control(house, "publisher") as client, pytest.raises(Unavailable):
                client.models.push("digits", "m.onnx", body, DECLARED, progress)
            until(lambda: answers(house))  # the supervisor has started it again
        with control(house, "viewer") as client:
            (digits,) = client.models.list()
            assert digits.versions == 1
        with control(house, "publisher") as client:
            assert client.models.push("digits", "m.onnx", [artifact], DECLARED, lambda _: None).version == 2
    assert set(house.doctor().values()) <= {"ok", "repaired"}
    assert house.versions() == 2
    assert house.blobs() == 2


def test_every_request_that_was_answered_is_in_the_log_when_the_gateway_was_killed(house: House) -> None:
    port = free_port()
    body, headers = oip.encode_request({"X": np.zeros((1, 64), np.float32)})
    key = json.loads((house.home.credentials / "developer.json").read_text())["api_key"]
    answered: set[str] = set()
    stop = threading.Event()

    def ask() -> None:
        context = ssl.create_default_context(cafile=str(house.home.ca))
        while not stop.is_set():
            connection = HTTPSConnection("127.0.0.1", port, timeout=20, context=context)
            with contextlib.suppress(OSError, HTTPException), contextlib.closing(connection):
                while not stop.is_set():
                    given = {**headers, "authorization": f"Bearer {key}"}
                    connection.request("POST", "/v2/models/digits/infer", body, given)
                    reply = connection.getresponse()
                    reply.read()
                    if reply.status == 200:
                        answered.add(reply.headers["x-request-id"])
            time.sleep(0.02)

    with up(house, port) as running:
        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for kills in range(2):
                more(answered)
                (pid,) = children(running.pid, "fastness.app.gateway")
                os.kill(pid, signal.SIGKILL)
                assert gone(pid), kills
            more(answered)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert set(house.doctor().values()) <= {"ok", "repaired"}
    tail = house.fastness("auditor", "audit", "tail", "--after", "-100000").out
    recorded = {json.loads(line)["event"].get("request") for line in tail.splitlines()}
    assert len(answered) > 30
    assert answered <= recorded
    assert house.versions() == 1


def more(answered: set[str]) -> None:
    seen = len(answered)
    until(lambda: len(answered) > seen + 10)


if __name__ == "__main__":
    serve()
