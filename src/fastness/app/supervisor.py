"""`fastness up`: the process that holds the listening sockets and the child processes, and nothing else.

Children are started by exec. Each has a lifeline, a pipe on its standard input: when the supervisor ends, however it
ends, the pipe closes and the child stops by itself. A child that dies is started again, more slowly each time.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fastness.app.home import OPTIONS
from fastness.core.errors import Conflict, Unavailable
from fastness.core.settings import PREFIX

FD, WORKER = "{fd}", "{worker}"
_FIRST_DELAY_S = 0.2
_LONGEST_DELAY_S = 10.0
_STEADY_S = 30.0
_GRACE_S = 10.0


@dataclass
class _Child:
    name: str
    argv: Sequence[str]
    pass_fds: Sequence[int]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    delay_s: float = _FIRST_DELAY_S
    due: float = 0.0
    starts: int = field(default=0)

    def start(self, now: float) -> None:
        self.process = subprocess.Popen(
            list(self.argv),
            stdin=subprocess.PIPE,
            pass_fds=list(self.pass_fds),
            env=_environment(),
            start_new_session=True,
        )
        self.started, self.starts = now, self.starts + 1

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)


def _environment() -> dict[str, str]:
    """What children see of the environment: settings, and nothing else of it."""
    given = {name: value for name, value in os.environ.items() if name.startswith(PREFIX) and name not in OPTIONS}
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "ORT_DISABLE_TELEMETRY": "1", "PYTHONUNBUFFERED": "1", **given}


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, for a child to inherit.

    Raises:
        Conflict: the port is taken.
        Unavailable: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        if error.errno == 98:
            raise Conflict(
                "port-taken", f"port {port} of {host} is taken", "Choose another with --port or --admin-port."
            ) from error
        raise Unavailable("address-unusable", f"cannot listen on {host}:{port}: {error.strerror}") from error
    listener.listen(1024)
    listener.set_inheritable(True)
    return listener


def supervise(
    listener: socket.socket,
    control_argv: Sequence[str],
    gateway_argv: Sequence[str],
    gateways: int,
    log: Callable[[str], None],
    control_fds: Sequence[int] = (),
) -> int:
    """Run the processes of a house until SIGTERM or SIGINT.

    Args:
        control_argv: command of the control process.
        gateway_argv: command of a gateway worker; the arguments FD and WORKER are filled in.
        gateways: how many gateway workers.
        log: takes one line of news.
        control_fds: descriptors that the control process inherits.

    Returns:
        The exit status: 0 after a requested stop, 1 if the control process could never start.
    """
    descriptor = listener.fileno()
    children = [_Child("control", control_argv, control_fds)]
    for number in range(gateways):
        filled = {FD: str(descriptor), WORKER: str(number)}
        argv = [filled.get(argument, argument) for argument in gateway_argv]
        children.append(_Child(f"gateway-{number}", argv, (descriptor,)))
    stopping = _StopFlag()
    for child in children:
        child.start(time.monotonic())
    while not stopping.wait(0.1):
        if not _tend(children, log):
            _stop(children)
            return 1
    _stop(children)
    return 0


def _tend(children: Sequence[_Child], log: Callable[[str], None]) -> bool:
    now = time.monotonic()
    for child in children:
        if child.process is not None and child.process.poll() is not None:
            status = child.process.returncode
            if child.name == "control" and child.starts == 1 and status > 0:
                log(f"control could not start (exit status {status})")
                return False
            steady = now - child.started > _STEADY_S
            child.delay_s = _FIRST_DELAY_S if steady else min(child.delay_s * 2, _LONGEST_DELAY_S)
            child.due, child.process = now + child.delay_s, None
            log(f"{child.name} ended with status {status}; starting it again in {child.delay_s:.1f} s")
        if child.process is None and now >= child.due:
            child.start(now)
    return True


def _stop(children: Sequence[_Child]) -> None:
    # Gateways first, so that what they were answering is still answered; control last: it takes their journals.
    for group in (children[1:], children[:1]):
        for child in group:
            child.stop()
        deadline = time.monotonic() + _GRACE_S
        for child in group:
            if child.process is None:
                continue
            try:
                child.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()


class _StopFlag:
    """Turns SIGTERM and SIGINT into something to wait for."""

    def __init__(self) -> None:
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        self._selector = selectors.DefaultSelector()
        self._selector.register(read, selectors.EVENT_READ)
        self._read = read

    def wait(self, seconds: float) -> bool:
        if not self._selector.select(seconds):
            return False
        return any(n in (signal.SIGTERM, signal.SIGINT) for n in os.read(self._read, 64))


def python_argv(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this installation."""
    return [sys.executable, "-I", "-m", module, *arguments]
