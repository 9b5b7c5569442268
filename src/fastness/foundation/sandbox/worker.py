"""The parent's hand on one guest: a channel, a life, an end. Nothing that comes from it is believed.

A guest that is late, or breaks the frame once, is killed and never used again: its stream is out of step.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fastness.core.errors import Unavailable
from fastness.core.sources import Buffer
from fastness.foundation.sandbox.cgroups import Group
from fastness.foundation.sandbox.guest.channel import Channel, ChannelError, ChannelLate

_UCRED = struct.Struct("iII")
_STDERR_MOST = 4096
_PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Spawned:
    """A guest that was just started.

    Attributes:
        process: the one that waits for the guest and ends as it does.
        control: our end of the channel, with SO_PASSCRED set.
        stderr: reading end of its pipe; not blocking.
    """

    process: subprocess.Popen[bytes]
    control: socket.socket
    stderr: int
    group: Group
    frame_bytes: int
    keep: object


class Worker:
    """A running guest. Use it from one thread at a time; `close` is its owner's duty.

    Attributes:
        pid: of the guest, as this process sees it.
        uid: of the guest, as the kernel sees it.
    """

    def __init__(self, spawned: Spawned, deadline: float) -> None:
        self._spawned = spawned
        self._channel = Channel(spawned.control, spawned.frame_bytes)
        self._lock = threading.Lock()
        self._reason = ""
        self._pidfd = -1
        self.pid, self.uid = 0, -1
        try:
            self.pid, self.uid = self._greeting(deadline)
            self._pidfd = os.pidfd_open(self.pid)
        except (OSError, ChannelError) as error:
            said = self._said(wait=not isinstance(error, TimeoutError))
            self.close()
            raise Unavailable(
                "sandbox-failed",
                f"the sandbox did not start: {said or str(error) or 'no word from it in time'}",
                "See which layers hold with `fastness doctor`.",
            ) from error

    def alive(self) -> bool:
        """Whether it has not ended."""
        return not self._reason and self._spawned.process.poll() is None

    def call(self, frame: Buffer, timeout_s: float) -> bytearray:
        """The guest's answer to `frame`.

        Raises:
            Unavailable: `worker-timeout` if it was late, `worker-lost` if it is gone or broke the frame; in both cases
                it is killed, and every later call is refused.
        """
        with self._lock:
            if self._reason:  # one that ended by itself shows on the channel
                raise Unavailable("worker-lost", f"the worker has ended: {self.exit_reason()}")
            deadline = time.monotonic() + timeout_s
            try:
                self._channel.send(frame, deadline)
                return self._channel.receive(deadline)
            except ChannelLate as error:
                self.kill("late")
                raise Unavailable("worker-timeout", f"the worker did not answer within {timeout_s:g} s") from error
            except ChannelError as error:
                ended = self._ended(0.2)
                if not ended:
                    self.kill("malformed frame")
                raise Unavailable("worker-lost", f"the worker was lost: {self.exit_reason() or error}") from error

    def exit_reason(self) -> str:
        """Why it ended: `out-of-memory`, `signal N`, `exit N`, `killed: …` or `closed`; empty while it lives."""
        if self._reason:
            return self._reason
        code = self._spawned.process.poll()
        if code is None:
            return ""
        if self._spawned.group.ran_out_of_memory():
            return "out-of-memory"
        number = -code if code < 0 else code - 128
        return f"signal {number}" if number > 0 else f"exit {code}"

    def memory_bytes(self) -> int:
        """What it uses: its proportional share, else what its cgroup counts, else its resident set.

        Raises:
            Unavailable: it has ended.
        """
        try:
            with Path(f"/proc/{self.pid}/smaps_rollup").open(encoding="ascii") as file:
                shares = [line.split() for line in file if line.startswith("Pss:")]
            if shares:
                return int(shares[0][1]) * 1024
        except OSError:  # not ours to look at: it has made itself undumpable
            pass
        counted = self._spawned.group.memory_bytes()
        if counted:
            return counted
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except OSError as error:
            raise Unavailable("worker-lost", "the worker has ended") from error

    def kill(self, why: str) -> None:
        """End it at once."""
        if not self._reason and self._spawned.process.poll() is None:
            self._reason = f"killed: {why}" if why != "closed" else why
        if self._pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        self._spawned.process.kill()  # what it holds dies with it; does nothing once it was waited for

    def close(self) -> None:
        """End it and give back everything that it held."""
        self.kill("closed")
        self._ended(_PATIENCE_S)
        self._spawned.control.close()
        self._spawned.group.remove()
        for descriptor in (self._spawned.stderr, self._pidfd):
            if descriptor >= 0:
                os.close(descriptor)
        self._spawned = Spawned(self._spawned.process, self._spawned.control, -1, self._spawned.group, 0, None)
        self._pidfd = -1

    def _greeting(self, deadline: float) -> tuple[int, int]:
        """The guest's first frame, with the credentials that the kernel attaches: they cannot be forged."""
        control = self._spawned.control
        control.settimeout(max(0.001, deadline - time.monotonic()))
        expected = 8 + len(b"hello")
        data, ancillary, _, _ = control.recvmsg(expected, socket.CMSG_SPACE(_UCRED.size))
        control.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 0)
        control.settimeout(None)  # the channel has its own
        for level, kind, value in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS and data.endswith(b"hello"):
                pid, uid, _ = _UCRED.unpack(value[: _UCRED.size])
                if pid:
                    return pid, uid
        raise ChannelError("it ended before it was ready" if not data else "its first word was not understood")

    def _ended(self, patience_s: float) -> bool:
        try:
            self._spawned.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _said(self, *, wait: bool) -> str:
        """The last of what it wrote to stderr, in plain characters: it may be hostile."""
        if wait:
            self._ended(1.0)
        try:
            text = os.read(self._spawned.stderr, 1 << 16)[-_STDERR_MOST:].decode("ascii", "replace")
        except OSError:
            return ""
        return "".join(c if c.isprintable() else " " for c in text).strip()[-400:]
