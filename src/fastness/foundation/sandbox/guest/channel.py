"""Frames on a stream: u32 length, u32 version, then that many bytes. Both sides use this; neither trusts the other.

A stream that broke these rules once is out of step, so it is closed and never used again.
"""

from __future__ import annotations

import socket
import struct
import time

VERSION = 1
HEAD = struct.Struct("<II")  # eight bytes, so that what follows is aligned for 64-bit numbers
HEAD_BYTES = HEAD.size
_TIMEVAL = struct.Struct("@ll")
_PIECE = 1 << 16


class ChannelError(Exception):
    """The stream ended, was late, or did not keep to the frame."""


class ChannelLate(ChannelError):
    """The other side took longer than it may."""


def pack_head(length: int) -> bytes:
    """The head of a frame of `length` bytes."""
    return HEAD.pack(length, VERSION)


def read_head(head: bytes | bytearray | memoryview, most: int) -> int:
    """The length that a head announces.

    Raises:
        ChannelError: another version, or longer than `most`.
    """
    length, version = HEAD.unpack_from(head)
    if version != VERSION:
        raise ChannelError(f"frame of version {version}, not {VERSION}")
    if not 1 <= length <= most:
        raise ChannelError(f"frame of {length} bytes, at most {most}")
    return int(length)


class Channel:
    """Frames over a connected stream socket; one thread at a time."""

    def __init__(self, stream: socket.socket, most: int) -> None:
        self.stream = stream
        self._most = most
        self._armed_s = 0.0
        self._first = bytearray(_PIECE)

    def send(self, payload: bytes | bytearray | memoryview, deadline: float | None = None) -> None:
        """Send one frame, until `deadline` of `time.monotonic()`.

        Raises:
            ChannelError: the other side is gone, or (ChannelLate) does not read.
        """
        length = len(payload)
        if not 1 <= length <= self._most:
            raise ChannelError(f"frame of {length} bytes, at most {self._most}")
        try:
            if length <= _PIECE:
                self._arm(deadline)
                self.stream.sendall(b"".join((pack_head(length), payload)))
            else:
                self._send_long(payload, deadline)
        except (BlockingIOError, TimeoutError) as error:
            raise ChannelLate("the other side does not read") from error
        except OSError as error:
            raise ChannelError(f"cannot send: {error.strerror}") from error

    def receive(self, deadline: float | None = None) -> bytearray:
        """The next frame, until `deadline` of `time.monotonic()`; nothing may follow it before it was answered.

        Memory is taken as bytes arrive, not as they are announced.

        Raises:
            ChannelError: ended or malformed, or (ChannelLate) late.
        """
        with memoryview(self._first) as first:
            got = self._some(first, deadline)
            while got < HEAD_BYTES:
                got += self._some(first[got:], deadline)
            length = read_head(first, self._most)
            payload = bytearray(first[HEAD_BYTES:got])
        while len(payload) < length:
            with memoryview(self._first) as piece:
                payload += piece[: self._some(piece[: length - len(payload)], deadline)]
        if len(payload) > length:
            raise ChannelError("more than one frame at once")
        return payload

    def _send_long(self, payload: bytes | bytearray | memoryview, deadline: float | None) -> None:
        """Python's own timeout is for the whole, however slowly the other side reads; the kernel's is for each part."""
        if deadline is not None:
            self.stream.settimeout(max(1e-6, deadline - time.monotonic()))
        self.stream.sendall(pack_head(len(payload)))
        self.stream.sendall(payload)
        if deadline is not None:
            self.stream.settimeout(None)

    def _some(self, into: memoryview, deadline: float | None) -> int:
        self._arm(deadline)
        try:
            count = self.stream.recv_into(into)
        except BlockingIOError as error:
            raise ChannelLate("the other side does not answer") from error
        except OSError as error:
            raise ChannelError(f"cannot receive: {error.strerror}") from error
        if not count:
            raise ChannelError("the other side closed the channel")
        return count

    def _arm(self, deadline: float | None) -> None:
        """Let the next call end with the deadline; a timeout that is within 2 % of it stays, for setting one costs."""
        if deadline is None:
            return
        left = deadline - time.monotonic()
        if left <= 0:
            raise ChannelLate("too late")
        if not left <= self._armed_s <= left * 1.02:
            self._armed_s = left * 1.01
            # The kernel's own timeout: with Python's each call would be two.
            timeval = _TIMEVAL.pack(int(self._armed_s), max(1, int(self._armed_s % 1 * 1e6)))
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                self.stream.setsockopt(socket.SOL_SOCKET, option, timeval)
