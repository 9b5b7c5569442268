"""Ways out of a sandbox that were found elsewhere, tried here: none leads out.

Source: bubblewrap issue 142 (typing into the parent's terminal), CVE-2019-5736 (overwriting the runtime through /proc),
and `notes` of the measured: bubblewrap's --uid renames the user inside only, so that root's files stayed readable.
"""

from __future__ import annotations

import errno
import os
import socket
import tempfile
import time
from pathlib import Path

import pytest

from fastness.core.errors import Unavailable
from fastness.foundation.sandbox import EntryPoint, Limits
from tests.needs import need_host
from tests.unit.foundation.sandbox.grounds import BACKENDS, GUEST, ask, guest, sandbox

PROBE = EntryPoint("fastness.foundation.sandbox.guest.probe")
pytestmark = pytest.mark.parametrize("backend", BACKENDS)


def test_a_file_of_roots_is_unreadable_even_when_it_is_in_view(backend: str) -> None:
    need_host("root", present=os.geteuid() == 0)
    with tempfile.NamedTemporaryFile() as private, tempfile.NamedTemporaryFile() as public:
        private.write(b"secret")
        private.flush()
        public.write(b"public")
        public.flush()
        Path(public.name).chmod(0o644)
        extra = ((private.name, "/app/private"), (public.name, "/app/public"))
        worker = sandbox(backend)._start(GUEST, (), Limits(), None, extra)
        try:
            assert ask(worker, "read", "/app/public") == b"public".hex()
            assert ask(worker, "read", "/app/private") == f"errno {errno.EACCES}"
        finally:
            worker.close()


def test_root_of_proc_leads_nowhere_else(backend: str) -> None:
    with guest(backend) as worker:
        for pid in ("1", "self"):
            seen = ask(worker, "list", f"/proc/{pid}/root")
            assert seen == f"errno {errno.EACCES}" or "etc" not in seen
        assert ask(worker, "read", f"/proc/{os.getpid()}/environ") == f"errno {errno.ENOENT}"
        assert ask(worker, "read", "/proc/1/mem") in {f"errno {e}" for e in (errno.EACCES, errno.EPERM, errno.EIO)}


def test_the_parents_processes_are_neither_seen_nor_reached(backend: str) -> None:
    with guest(backend) as worker:
        pids = [name for name in ask(worker, "list", "/proc") if name.isdigit()]
        assert len(pids) <= 2
        assert ask(worker, "kill", str(os.getpid())) == f"errno {errno.ESRCH}"


def test_abstract_sockets_of_the_host_are_out_of_reach(backend: str) -> None:
    held = {proof.layer: proof for proof in sandbox(backend).layers()}["network"]
    assert held.holds
    assert "reached: nothing" in held.how


def test_there_is_no_terminal_to_type_into(backend: str) -> None:
    with guest(backend) as worker:
        rows = ask(worker, "status")
        assert rows["NoNewPrivs"] == "1"
        assert ask(worker, "read", "/dev/tty") == f"errno {errno.ENOENT}"


def test_memory_without_end_is_ended(backend: str) -> None:
    worker = sandbox(backend).start(PROBE, (), Limits(memory_bytes=64 << 20))
    try:
        with pytest.raises(Unavailable, match="worker-lost"):
            worker.call(b'{"act": "memory", "bytes": "4294967296"}', 30)
        assert worker.exit_reason() == "out-of-memory"
    finally:
        worker.close()


def test_forks_without_end_are_ended(backend: str) -> None:
    worker = sandbox(backend).start(PROBE, (), Limits(pids=8))
    try:
        answer = worker.call(b'{"act": "pids", "count": "1000"}', 30)
        assert b'"errno": %d' % errno.EAGAIN in answer
    finally:
        worker.close()


def test_processor_time_without_end_is_ended(backend: str) -> None:
    with guest(backend, limits=Limits(cpu_s=1)) as worker:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="worker-lost"):
            ask(worker, "spin", timeout_s=30)
        assert time.monotonic() - began < 25
        assert worker.exit_reason() == "signal 9"


def test_nothing_listens_for_a_guest_outside(backend: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        with guest(backend) as worker:
            ask(worker, "connect", f"127.0.0.1 {server.getsockname()[1]}")
            with pytest.raises(TimeoutError):
                server.accept()
