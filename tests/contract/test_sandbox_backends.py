"""One suite over every way to isolate: bubblewrap and our own namespaces, started by root and by a nobody."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from fastness.core.errors import Unavailable
from fastness.foundation.sandbox import Limits, pack_head
from tests.needs import ROOT, need_host
from tests.unit.foundation.sandbox.grounds import BACKENDS, GUEST, ask, gone, guest, sandbox, sealed

pytestmark = pytest.mark.parametrize("backend", BACKENDS)
REFUSED = {f"errno {number}" for number in (errno.EPERM, errno.EACCES, errno.EFBIG)}


def test_every_layer_holds(backend: str) -> None:
    broken = [proof for proof in sandbox(backend).layers() if not proof.holds]
    assert broken == []


def test_layers_are_attempted_once(backend: str) -> None:
    assert sandbox(backend).layers() is sandbox(backend).layers()


def test_a_guest_answers(backend: str) -> None:
    with guest(backend) as worker:
        assert [ask(worker, "echo", text) for text in ("a", "b" * 300_000, "")] == ["a", "b" * 300_000, ""]


def test_the_kernel_sees_an_unprivileged_user_with_nothing_left(backend: str) -> None:
    with guest(backend) as worker:
        rows = dict(line.split(":", 1) for line in Path(f"/proc/{worker.pid}/status").read_text("ascii").splitlines())
        if os.geteuid() == 0:
            assert 0 not in {int(uid) for uid in (rows["Uid"] + rows["Gid"]).split()}
            assert rows["Groups"].split() == []
        assert worker.uid == int(rows["Uid"].split()[0])
        assert {int(rows[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}
        assert rows["NoNewPrivs"].strip() == "1"


def test_each_guest_is_a_user_of_its_own(backend: str) -> None:
    need_host("root", present=os.geteuid() == 0)
    with guest(backend) as one, guest(backend) as other:
        assert one.uid != other.uid
        assert ask(one, "kill", str(other.pid)) == f"errno {errno.ESRCH}"


def test_it_sees_neither_files_nor_environment_of_the_parent(backend: str) -> None:
    with guest(backend) as worker:
        for path in (
            "/etc/passwd",
            "/etc/shadow",
            str(Path.home()),
            str(ROOT),
            str(Path(__file__)),
            "/sys",
            "/run",
            "/bin/sh",
        ):
            assert ask(worker, "read", path) == f"errno {errno.ENOENT}", path
        assert set(ask(worker, "environment")) <= {
            "HOME", "LANG", "LC_CTYPE", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ORT_DISABLE_TELEMETRY", "PWD",
            "PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED",
        }  # fmt: skip
        assert ask(worker, "environment")["ORT_DISABLE_TELEMETRY"] == "1"


def test_it_holds_only_what_it_was_given(backend: str) -> None:
    with sealed(b"model") as file, guest(backend, file) as worker:
        given = ask(worker, "descriptors")
        assert given[:3] == [0, 1, 2]
        assert len(given) <= 6  # these, the channel, the file, and the folder that is listed


def test_sealed_files_are_read_and_not_written(backend: str) -> None:
    with sealed(b"model", "m.onnx") as file, guest(backend, file) as worker:
        assert ask(worker, "files") == {"m.onnx": b"model".hex()}
        assert set(ask(worker, "write-file")) <= REFUSED


def test_the_network_is_out_of_reach(backend: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, guest(backend) as worker:
        told = ask(worker, "connect", f"127.0.0.1 {server.getsockname()[1]}")
        assert told in {f"errno {errno.ECONNREFUSED}", f"errno {errno.ENETUNREACH}"}
        assert ask(worker, "connect", "192.0.2.1 80") == f"errno {errno.ENETUNREACH}"


def test_the_second_lock_refuses_everything(backend: str) -> None:
    with guest(backend) as worker:
        assert ask(worker, "lock") == dict.fromkeys(("open", "socket", "fork", "exec", "unlisted"), errno.EPERM)
        assert ask(worker, "read", "/usr/lib/os-release") == f"errno {errno.EPERM}"
        assert ask(worker, "echo", "still here") == "still here"


@pytest.mark.parametrize(
    ("act", "value", "code", "reason"),
    [
        ("hang", "", "worker-timeout", "killed: late"),
        ("trickle", "", "worker-timeout", "killed: late"),
        ("exit", "3", "worker-lost", "exit 3"),
        ("crash", "", "worker-lost", "signal"),
        ("raw", b"HTTP/1.1 200 OK\r\n\r\n".hex(), "worker-lost", "killed: malformed frame"),
        ("raw", "0000000001000000", "worker-lost", "killed: malformed frame"),
        ("announce", str((64 << 20) + 1), "worker-lost", "killed: malformed frame"),
        ("announce", str((1 << 32) - 1), "worker-lost", "killed: malformed frame"),
        ("announce", "1000", "worker-timeout", "killed: late"),
        ("raw", (pack_head(1) + b"a" + pack_head(1) + b"b").hex(), "worker-lost", "killed: malformed frame"),
    ],
)
def test_who_does_not_keep_to_the_frame_is_ended_for_good(
    backend: str, act: str, value: str, code: str, reason: str
) -> None:
    with guest(backend) as worker:
        began = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            ask(worker, act, value, timeout_s=0.7)
        assert time.monotonic() - began < 10
        assert caught.value.code == code
        assert not worker.alive()
        assert worker.exit_reason().startswith(reason)
        assert gone(worker.pid)
        with pytest.raises(Unavailable, match="worker-lost"):
            ask(worker, "echo")


def test_a_frame_longer_than_agreed_is_refused_on_the_way_in(backend: str) -> None:
    with guest(backend, limits=Limits(frame_bytes=1000)) as worker:
        assert ask(worker, "echo", "x") == "x"
        with pytest.raises(Unavailable):
            ask(worker, "echo", "x" * 1000)


def test_a_guest_that_writes_without_end_loses_what_it_writes(backend: str) -> None:
    with guest(backend) as worker:
        assert worker.call(json.dumps({"do": "chatter"}).encode(), 10) == b"still here"


def test_closing_ends_it_and_leaves_nothing(backend: str) -> None:
    before = {path.name for path in Path("/proc/self/fd").iterdir()}
    with guest(backend) as worker:
        pid = worker.pid
        assert worker.alive()
        assert worker.memory_bytes() > 1 << 20
    assert gone(pid)
    assert (worker.alive(), worker.exit_reason()) == (False, "closed")
    worker.close()
    assert {path.name for path in Path("/proc/self/fd").iterdir()} == before


def test_it_outlives_the_thread_that_asked_for_it(backend: str) -> None:
    started = []
    thread = threading.Thread(target=lambda: started.append(sandbox(backend).start(GUEST, (), Limits())))
    sandbox(backend).layers()
    thread.start()
    thread.join()
    time.sleep(0.2)
    try:
        assert ask(started[0], "echo", "here") == "here"
    finally:
        started[0].close()


PARENT = """
import sys, time
from tests.unit.foundation.sandbox.grounds import GUEST, Limits, SandboxSettings, Sandbox
worker = Sandbox.detect(SandboxSettings(backend=sys.argv[1], required=()))._start(GUEST, (), Limits())
print(worker.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_dies_with_its_parent(backend: str, how: int) -> None:
    sandbox(backend)
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    with subprocess.Popen([sys.executable, "-c", PARENT, backend], stdout=subprocess.PIPE, env=environment) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not gone(pid, 0.1)
        parent.send_signal(how)
        parent.wait()
    assert gone(pid)


UNPRIVILEGED = """
import json, os, sys
from fastness.foundation.sandbox import Sandbox, SandboxSettings
proofs = Sandbox.detect(SandboxSettings(backend=sys.argv[1])).layers()
print(json.dumps([os.getuid(), {proof.layer: [proof.holds, proof.how] for proof in proofs}]))
"""


def test_a_nobody_can_isolate_as_well(backend: str) -> None:
    """Without root there is no second user to become, but every layer holds; run by the system's Python."""
    need_host("root", present=os.geteuid() == 0)
    sandbox(backend)
    python = "/usr/bin/python3"
    need_host("a system Python of 3.11 or newer", present=_version(python) >= (3, 11))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        _copy_sources(Path(folder) / "fastness")
        done = subprocess.run(
            [python, "-c", UNPRIVILEGED, backend],
            env={"PYTHONPATH": folder, "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
            user=54321, group=54321, extra_groups=[], cwd="/", capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    uid, layers = json.loads(done.stdout)
    assert uid == 54321
    assert {layer: how for layer, (holds, how) in layers.items() if not holds} == {}


def _copy_sources(to: Path) -> None:
    """What the sandbox needs of the package: it may lie where nobody else can go."""
    for folder in ("core", "foundation/sandbox", "foundation/sandbox/guest"):
        (to / folder).mkdir(parents=True, exist_ok=True)
        for source in (ROOT / "src/fastness" / folder).glob("*.py"):
            (to / folder / source.name).write_bytes(source.read_bytes())
    for package in (to, to / "foundation"):
        (package / "__init__.py").touch()


def _version(python: str) -> tuple[int, ...]:
    if not Path(python).exists():
        return ()
    shown = subprocess.run([python, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, check=True)
    return tuple(int(part) for part in shown.stdout.split())
