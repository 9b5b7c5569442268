"""The supervisor, with real children."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastness.app import listen
from fastness.core.errors import Conflict, Unavailable

RUN = """
import sys
from fastness.app import listen, supervise
listener = listen("127.0.0.1", 0)
child = [sys.executable, "-c", sys.argv[1]]
sys.exit(supervise(listener, child, [*child, "{fd}", "{worker}"], 1, lambda line: print(line, flush=True)))
"""
# Writes a line for its start; ends when its lifeline does.
CHILD = "import os, sys; open(%r, 'a').write(f'{os.getpid()} {sys.argv[1:]}\\n'); os.read(0, 1)"


def wait_for_lines(file: Path, count: int) -> list[str]:
    for _ in range(500):
        lines = file.read_text().splitlines() if file.exists() else []
        if len(lines) >= count:
            return lines
        time.sleep(0.02)
    raise AssertionError(f"{file} never had {count} lines")


def gone(pid: int) -> bool:
    for _ in range(500):
        try:
            os.kill(pid, 0)
            stat = Path(f"/proc/{pid}/stat").read_text()
            if stat.rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


def start(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", RUN, code], stdout=subprocess.PIPE, text=True)


def test_a_child_that_dies_is_started_again_and_a_stop_stops_all(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    with start(CHILD % str(starts)) as running:
        first = wait_for_lines(starts, 2)
        gateway = next(line for line in first if "'0'" in line)
        os.kill(int(gateway.split()[0]), signal.SIGKILL)
        again = wait_for_lines(starts, 3)
        assert "'0'" in again[2]
        running.terminate()
        assert running.wait(20) == 0
        assert running.stdout is not None
        assert "gateway-0 ended" in running.stdout.read()
    assert all(gone(int(line.split()[0])) for line in again)


def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    with start(CHILD % str(starts)) as running:
        pids = [int(line.split()[0]) for line in wait_for_lines(starts, 2)]
        running.kill()
        running.wait()
    assert all(gone(pid) for pid in pids)


def test_a_control_process_that_cannot_start_ends_it_all(tmp_path: Path) -> None:
    with start("import sys; sys.exit(3)") as running:
        assert running.wait(20) == 1
        assert running.stdout is not None
        assert "control could not start (exit status 3)" in running.stdout.read()


def test_a_taken_port_is_a_conflict_that_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(Conflict) as caught:
        listen("127.0.0.1", taken.getsockname()[1])
    assert "--port" in caught.value.hint


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    with pytest.raises(Unavailable):
        listen("192.0.2.1", 0)
