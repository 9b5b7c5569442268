"""Frames of the private socket between the control process and its gateway workers.

A frame is a length (u32, big endian) and a msgpack map whose `type` names one of the structs below. The control process
pushes `Snapshot` when an epoch moved and `Confirm` in between; a worker says `WorkerHello` once and `Stats` now and then, and
asks by `Question` for units of limits, each of which gets its `Reply`.
The peers are processes of one house, yet a malformed frame still only raises `Corrupt`: nothing on a socket is trusted.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from fastness.core.errors import Corrupt, TooLarge

MAX_FRAME_BYTES = 64 << 20
_LENGTH_BYTES = 4


class Frame(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag=True):
    """What all frames share: the tag that names them."""


class Snapshot(Frame, frozen=True):
    """A projection as of `epoch`; `body` is the msgpack of the struct that belongs to `topic`."""

    topic: str
    epoch: int
    body: bytes


class Confirm(Frame, frozen=True):
    """Everything sent so far is still current."""


class WorkerHello(Frame, frozen=True):
    """A gateway worker has started and waits for its first snapshots."""

    worker: str
    pid: int


class Stats(Frame, frozen=True):
    """A worker's metrics, as Prometheus text."""

    worker: str
    metrics: bytes


class Question(Frame, frozen=True):
    """A worker asks; `body` is the msgpack of what it asks: units of limits, or whether a nonce is new."""

    number: int
    body: bytes
    about: str = "limits"


class Reply(Frame, frozen=True):
    """The answer to the question of that number: `body`, or the code of a problem."""

    number: int
    body: bytes
    problem: str = ""


AnyFrame = Snapshot | Confirm | WorkerHello | Stats | Question | Reply
_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[AnyFrame] = msgspec.msgpack.Decoder(AnyFrame)


def encode(frame: AnyFrame) -> bytes:
    """`frame` with its length before it.

    Raises:
        TooLarge: it is longer than a frame may be.
    """
    body = _ENCODER.encode(frame)
    if len(body) > MAX_FRAME_BYTES:
        raise TooLarge("frame-too-large", f"a frame of {len(body)} bytes; at most {MAX_FRAME_BYTES} are sent")
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class FrameReader:
    """Cuts a stream of bytes into frames; holds no more than one unfinished frame and the piece just fed."""

    def __init__(self, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._held = bytearray()
        self._max_bytes = max_bytes

    def feed(self, data: bytes | bytearray | memoryview) -> Iterator[AnyFrame]:
        """The frames that `data` completes, as they are asked for.

        Raises:
            Corrupt: a frame is too long or not understood; the stream cannot be read any further.
        """
        self._held += data
        while len(self._held) >= _LENGTH_BYTES:
            length = int.from_bytes(self._held[:_LENGTH_BYTES], "big")
            if length > self._max_bytes:
                raise Corrupt("frame-too-large", f"a frame of {length} bytes; at most {self._max_bytes} are read")
            if len(self._held) < _LENGTH_BYTES + length:
                return
            body = bytes(self._held[_LENGTH_BYTES : _LENGTH_BYTES + length])
            del self._held[: _LENGTH_BYTES + length]
            yield _decode(body)


def _decode(body: bytes) -> AnyFrame:
    try:
        return _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Corrupt("frame-malformed", "a frame on the private socket is not understood") from error
