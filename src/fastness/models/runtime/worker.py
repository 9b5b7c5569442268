"""The guest that runs one model: it locks itself in first, and only then looks at the model's first byte.

onnxruntime is imported and made to run a model of our own, so that it has opened what it ever opens; then come landlock
and seccomp, and a self-test without which nothing is served. The untrusted model is parsed, optimised and run under all
locks: no external data, no operator library and no thread is possible any more.

It answers frames (see `frames.py`) on its channel and on the connections of an inherited listening socket, one request
after the other. A connection that breaks the frame is closed; the others do not notice.
"""

from __future__ import annotations

import json
import os
import select
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as native

from fastness.foundation.sandbox import HEAD_BYTES, ChannelError, Guest, LockError, read_head
from fastness.models.runtime.frames import (
    DTYPES,
    FrameError,
    Kind,
    Message,
    Problem,
    Tensors,
    datatype_of,
    decode,
    encode,
    encode_text,
)

_MOST_CONNECTIONS = 64
_PIECE = 1 << 16
_READ_AT_ONCE = 1 << 26
_TYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
# One node, Identity, of one float: an ONNX model of our own, small enough to be read here.
_OWN_MODEL = bytes.fromhex(
    "08083a370a100a017812017922084964656e746974791201675a0f0a0178120a0a08080112040a020801"
    "620f0a0179120a0a08080112040a02080142040a00100d"
)


# onnxruntime raises classes of its own without a common root. A FrameError is a ValueError.
_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    TypeError,
    ValueError,
    *(found for found in vars(native).values() if isinstance(found, type) and issubclass(found, Exception)),
)


class Unloadable(Exception):
    """The model cannot be run here; the text says why."""


@dataclass
class Spec:
    """An input or output: -1 in its shape is any length."""

    name: str
    datatype: str
    shape: list[int]


class OnnxModel:
    """A loaded model.

    Raises:
        Unloadable: the bytes are no model, or need what a worker does not offer.
    """

    def __init__(self, data: bytes) -> None:
        if b"_ORT_MEM_ADDR_" in data:  # would read this process's memory as weights
            raise Unloadable("it refers to memory by address")
        self._session = _session(data)
        self.inputs = [_describe(node) for node in self._session.get_inputs()]
        self.outputs = [_describe(node) for node in self._session.get_outputs()]
        self._names = [spec.name for spec in self.outputs]
        self._wanted = {spec.name: spec for spec in self.inputs}
        self._warm_up()

    def run(self, tensors: Tensors) -> Tensors:
        """The outputs for `tensors`.

        Raises:
            FrameError: they are not what the model takes.
        """
        if tensors.keys() != self._wanted.keys():
            raise FrameError(f"the inputs are {', '.join(sorted(self._wanted))}")
        feed = {}
        for name, array in tensors.items():
            spec = self._wanted[name]
            if datatype_of(array) != spec.datatype:
                raise FrameError(f"{name}: its type is {spec.datatype}")
            if not _fits(array.shape, spec.shape):
                raise FrameError(f"{name}: its shape is {spec.shape}")
            feed[name] = _ready(array)
        return dict(zip(self._names, self._session.run(self._names, feed), strict=True))

    def _warm_up(self) -> None:
        """Run once, and see the shapes that the graph leaves open; a model may refuse an invented input."""
        feed = {}
        for spec in self.inputs:
            shape = [1 if length < 0 else length for length in spec.shape]
            feed[spec.name] = np.full(shape, b"" if spec.datatype == "BYTES" else 0, DTYPES[spec.datatype])
        try:
            seen = self.run(feed)
        except _ERRORS:  # the declared shapes stand then
            return
        for spec in self.outputs:
            array = seen[spec.name]
            if array.ndim != len(spec.shape):  # an unknown rank is shown as none
                spec.shape = [-1, *array.shape[1:]] if array.ndim else []


def main(guest: Guest) -> None:
    """Lock, load, describe, serve; returns when the parent closes its end."""
    control = socket.socket(fileno=guest.control)
    listener = socket.socket(fileno=guest.listener) if guest.listener >= 0 else None
    (model_file,) = guest.files.values()
    _session(_OWN_MODEL).run(None, {"x": np.zeros(1, np.float32)})
    server = Server(control, listener, guest)
    try:
        guest.lock_down()
        server.load = lambda: _load(server, model_file)
    except LockError as error:
        problem = str(error)
        server.load = lambda: _refusal(Problem.UNLOCKED, problem)
    server.run()


def _load(server: Server, file: int) -> bytes:
    """Load the model and say what it is, or why not."""
    began = time.monotonic()
    try:
        model = OnnxModel(_whole(file))
    except Unloadable as error:
        return _refusal(Problem.UNLOADABLE, str(error))
    except MemoryError:
        return _refusal(Problem.UNLOADABLE, "it needs more memory than a worker has")
    finally:
        os.close(file)
    server.model = model
    described = {
        "inputs": [asdict(spec) for spec in model.inputs],
        "outputs": [asdict(spec) for spec in model.outputs],
        "load_ms": (time.monotonic() - began) * 1000,
    }
    return encode_text(Kind.TEXT, 0, json.dumps(described).encode())


class Server:
    """Answers frames of the parent and of everyone who connects.

    Attributes:
        load: called once, when the parent asks for the description.
    """

    def __init__(self, control: socket.socket, listener: socket.socket | None, guest: Guest) -> None:
        self.model: OnnxModel | None = None
        self.load: Callable[[], bytes] | None = None
        self._guest = guest
        self._listener = listener
        self._frame_bytes = guest.frame_bytes
        self._poll = select.epoll()
        self._connections = {control.fileno(): Connection(control, guest.frame_bytes)}
        self._control = control.fileno()
        self._poll.register(control, select.EPOLLIN)

    def run(self) -> None:
        """Until the parent closes its end."""
        while self._control in self._connections:
            for descriptor, events in self._poll.poll():
                connection = self._connections.get(descriptor)
                if connection is None:
                    self._accept()
                elif not self._attend(connection, events):
                    self._drop(descriptor)

    def _accept(self) -> None:
        if self._listener is None:
            return
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it went away again
            return
        if len(self._connections) > _MOST_CONNECTIONS:
            connection.close()
            return
        self._connections[connection.fileno()] = Connection(connection, self._frame_bytes)
        self._poll.register(connection, select.EPOLLIN)

    def _drop(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        self._connections.pop(descriptor).socket.close()

    def _attend(self, connection: Connection, events: int) -> bool:
        """Go on with one connection; False when it is to be closed."""
        descriptor = connection.socket.fileno()
        waited = bool(connection.unsent)
        try:
            if waited:
                connection.flush()
            elif not connection.receive():
                return False
            while not connection.unsent and (payload := connection.next_frame()) is not None:
                connection.send(self._answer(payload, from_parent=descriptor == self._control))
        except (OSError, ChannelError, FrameError):
            return False
        if waited or connection.unsent:
            # Whoever does not read its answers is not read from: it holds one answer, not the worker.
            self._poll.modify(descriptor, select.EPOLLOUT if connection.unsent else select.EPOLLIN)
        return not events & select.EPOLLERR

    def _answer(self, payload: memoryview, *, from_parent: bool) -> bytes:
        message = decode(payload)
        if message.kind == Kind.RUN and self.model is not None:
            return self._run(self.model, message)
        if message.kind == Kind.DESCRIBE and from_parent and self.load is not None:
            load, self.load = self.load, None
            described = load()
            if self.model is not None and self._listener is not None:
                self._poll.register(self._listener, select.EPOLLIN)
            return described
        if message.kind == Kind.CHECK:
            return encode_text(Kind.TEXT, message.id, json.dumps(self._guest.self_test()).encode())
        raise FrameError("not a request, or not one that can be answered now")

    def _run(self, model: OnnxModel, message: Message) -> bytes:
        if message.deadline_ns and time.monotonic_ns() > message.deadline_ns:
            return encode_text(Kind.ERROR, message.id, b"too late", Problem.LATE)
        try:
            answer = encode(Kind.ANSWER, message.id, 0, model.run(message.tensors))
        except FrameError as error:
            return encode_text(Kind.ERROR, message.id, str(error).encode(), Problem.UNFIT)
        except MemoryError:
            return encode_text(Kind.ERROR, message.id, b"out of memory", Problem.FAILED)
        except Exception as error:  # the boundary of the worker: the model failed, the worker did not
            return encode_text(Kind.ERROR, message.id, _plain(error), Problem.FAILED)
        if len(answer) - HEAD_BYTES > self._frame_bytes:
            return encode_text(Kind.ERROR, message.id, b"the answer is longer than a frame may be", Problem.FAILED)
        return answer


class Connection:
    """One stream of frames. It never blocks: what does not fit now waits in `unsent`."""

    def __init__(self, stream: socket.socket, frame_bytes: int) -> None:
        self.socket = stream
        self.unsent = memoryview(b"")
        self._frame_bytes = frame_bytes
        self._data = bytearray(_PIECE)
        self._start = self._end = 0

    def receive(self) -> bool:
        """Take what is there; False at the end of the stream."""
        if self._end == len(self._data):
            self._make_room()
        with memoryview(self._data) as view:
            try:
                count = self.socket.recv_into(view[self._end :], 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
        self._end += count
        return count > 0

    def next_frame(self) -> memoryview | None:
        """The next whole frame without its head; valid until the next `receive`.

        Raises:
            ChannelError: another version, or too long.
        """
        have = self._end - self._start
        if have < HEAD_BYTES:
            return None
        with memoryview(self._data) as view:
            length = read_head(view[self._start : self._start + HEAD_BYTES], self._frame_bytes)
            if have < HEAD_BYTES + length:
                return None
            first = self._start + HEAD_BYTES
            self._start = first + length
            if self._start == self._end:
                self._start = self._end = 0
            return view[first : first + length]

    def send(self, frame: bytes) -> None:
        """Send as much of `frame` as fits now."""
        self.unsent = memoryview(frame)
        self.flush()

    def flush(self) -> None:
        """Send more of what is left."""
        try:
            while self.unsent:
                self.unsent = self.unsent[self.socket.send(self.unsent, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            return

    def _make_room(self) -> None:
        """Move what is left to the front of a buffer twice its size: memory follows the bytes that came."""
        left = self._end - self._start
        grown = bytearray(max(_PIECE, 2 * left))
        grown[:left] = memoryview(self._data)[self._start : self._end]
        self._data, self._start, self._end = grown, 0, left


def _session(data: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except _ERRORS as error:
        raise Unloadable(_plain(error).decode()) from error


def _describe(node: ort.NodeArg) -> Spec:
    """Name, element type and shape of an input or output.

    Raises:
        Unloadable: it is no tensor, or of a type that no frame holds.
    """
    datatype = _TYPES.get(node.type)
    if datatype is None:
        hint = "; export it with zipmap=False" if node.type.startswith("seq(map") else ""
        raise Unloadable(f"{node.name} is a {node.type}, where a tensor of numbers or texts is needed{hint}")
    return Spec(
        node.name, datatype, [length if isinstance(length, int) and length > 0 else -1 for length in node.shape]
    )


def _fits(shape: tuple[int, ...], wanted: list[int]) -> bool:
    return len(shape) == len(wanted) and all(w in {-1, s} for s, w in zip(shape, wanted, strict=True))


def _ready(array: np.ndarray) -> np.ndarray:
    """As the runtime needs it: aligned, and texts as texts."""
    if array.dtype == object:
        try:
            texts = [item.decode() if isinstance(item, bytes) else item for item in array.ravel()]
        except UnicodeDecodeError as error:
            raise FrameError("a text is not UTF-8") from error
        ready = np.empty(len(texts), object)
        ready[:] = texts
        return ready.reshape(array.shape)
    return array if array.flags.aligned else array.copy()


def _whole(file: int) -> bytes:
    pieces = []
    at = 0
    while piece := os.pread(file, _READ_AT_ONCE, at):
        pieces.append(piece)
        at += len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _refusal(problem: Problem, text: str) -> bytes:
    return encode_text(Kind.ERROR, 0, text.encode(), problem)


def _plain(error: Exception) -> bytes:
    return " ".join(str(error).split()).encode("ascii", "replace")[:400]
