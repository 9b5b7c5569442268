"""Unix sockets at paths of any length: the kernel takes 108 bytes, so long ones go by their folder's descriptor."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MOST = 100
_BACKLOG = 128


def listen_at(path: Path) -> socket.socket:
    """A socket that listens at `path`, for its owner alone; what was there is replaced.

    Raises:
        OSError: the folder is not there or not ours.
    """
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address(path) as address:
            listener.bind(address)
        path.chmod(0o600)  # before anyone can be answered: it does not listen yet
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def connect_to(path: Path) -> socket.socket:
    """A connected socket that does not block.

    Raises:
        OSError: nobody listens there, or too many wait.
    """
    stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with _address(path) as address:
            stream.connect(address)  # at once, or not at all: there is no network between
    except OSError:
        stream.close()
        raise
    return stream


@contextmanager
def _address(path: Path) -> Iterator[str]:
    if len(os.fsencode(path)) < _MOST:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
