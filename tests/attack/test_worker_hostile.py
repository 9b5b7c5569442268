"""Hostile models and hostile neighbours, against the real worker in the real sandbox."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import pytest

from fastness.core.errors import FastnessError, Invalid, Unavailable
from fastness.foundation.sandbox import HEAD_BYTES, pack_head
from fastness.models.runtime import RunningModel, RuntimeSettings, WorkerPredictor
from fastness.models.runtime.frames import Kind, decode, encode, encode_text
from tests.unit.foundation.sandbox.grounds import gone
from tests.unit.models.runtime import onnx_models as models
from tests.unit.models.runtime.onnx_models import expected, rows, running

SMALL = RuntimeSettings(memory_bytes=256 << 20)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "w.sock"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningModel, Path]]:
    path = tmp_path_factory.mktemp("shared") / "w.sock"
    with running(models.softmax(), path) as started:
        yield started, path


async def code_of(predictor: WorkerPredictor, x: np.ndarray, timeout_s: float) -> str:
    try:
        await predictor.predict({"x": x}, timeout_s)
    except FastnessError as error:
        return error.code
    return "answered"


def connect(path: Path) -> socket.socket:
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(10)
    stream.connect(str(path))
    return stream


def ask(stream: socket.socket, frame: bytes) -> bytes:
    """The whole frame that comes back, or nothing where the worker closed."""
    data = b""
    try:
        stream.sendall(frame)
        while len(data) < HEAD_BYTES or len(data) < HEAD_BYTES + int.from_bytes(data[:4], "little"):
            more = stream.recv(1 << 16)
            if not more:
                return b""
            data += more
    except ConnectionError:
        return b""
    return data


def test_the_self_test_holds_in_a_serving_worker(shared: tuple[RunningModel, Path]) -> None:
    assert shared[0].check(5) == dict.fromkeys(("open", "socket", "fork", "exec", "unlisted"), 1)
    with connect(shared[1]) as stream:
        answer = decode(memoryview(ask(stream, encode_text(Kind.CHECK, 9, b"")))[HEAD_BYTES:])
        assert set(json.loads(answer.text).values()) == {1}


def test_the_kernel_sees_the_locks(shared: tuple[RunningModel, Path]) -> None:
    status = Path(f"/proc/{shared[0].pid}/status").read_text("ascii")
    found = dict(line.split(":", 1) for line in status.splitlines())
    assert found["Seccomp"].strip() == "2"
    assert found["NoNewPrivs"].strip() == "1"
    assert found["Threads"].strip() == "1"
    if os.geteuid() == 0:
        assert "0" not in found["Uid"].split()


@pytest.mark.parametrize(("length", "settings"), [(1 << 33, SMALL), (1 << 50, SMALL)])
def test_a_memory_bomb_ends_its_worker_at_most(length: int, settings: RuntimeSettings) -> None:
    with running(models.memory_bomb(), settings=settings) as started:
        with pytest.raises(FastnessError) as caught:
            started.call({"x": np.array([length])}, 30)
        if isinstance(caught.value, Invalid):  # refused before it was given
            assert started.alive()
        else:
            assert started.exit_reason() == "out-of-memory"
            assert gone(started.pid)


def test_a_memory_bomb_that_goes_off_at_load_is_a_refused_model() -> None:
    with pytest.raises(Invalid) as caught, running(models.load_bomb(), settings=SMALL):
        pass
    assert caught.value.code == "model-not-loadable"


def test_a_model_that_computes_for_ever_is_refused_in_time(path: Path) -> None:
    with running(models.endless(), path) as started:

        async def main() -> None:
            predictor = WorkerPredictor(path, started.described, RuntimeSettings())
            began = time.monotonic()
            assert await code_of(predictor, np.array([1 << 60]), 0.3) == "worker-timeout"
            assert time.monotonic() - began < 5
            predictor.close()

        asyncio.run(main())
        with pytest.raises(Unavailable, match="worker-timeout"):  # the keeper's question; it ends the worker
            started.check(0.3)
        assert not started.alive()
        assert gone(started.pid)


@pytest.mark.parametrize(("how", "reason"), [(signal.SIGSTOP, "killed: late"), (signal.SIGKILL, "signal 9")])
def test_a_hung_or_killed_worker_is_an_error_and_its_successor_answers(path: Path, how: int, reason: str) -> None:
    async def main() -> None:
        with running(models.softmax(), path) as first:
            predictor = WorkerPredictor(path, first.described, RuntimeSettings())
            assert await code_of(predictor, rows(1), 5) == "answered"
            os.kill(first.pid, how)
            began = time.monotonic()
            assert await code_of(predictor, rows(1), 0.5) in {"worker-timeout", "worker-lost"}
            assert time.monotonic() - began < 5
            with pytest.raises(Unavailable):
                first.check(0.5)
            assert first.exit_reason() == reason
            assert gone(first.pid)
        assert await code_of(predictor, rows(1), 1) == "worker-lost"
        with running(models.softmax(), path):
            for _ in range(40):  # it waits a little before it connects again
                if await code_of(predictor, rows(1), 5) == "answered":
                    break
                await asyncio.sleep(0.05)
            x = rows(10)
            answer = await predictor.predict({"x": x}, 5)
            np.testing.assert_allclose(answer["probabilities"], expected(x), atol=1e-6)
        predictor.close()

    asyncio.run(main())


GOOD = encode(Kind.RUN, 1, 0, {"x": rows(2)})
MALFORMED = {
    "http": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "zeros": bytes(64),
    "ones": b"\xff" * 64,
    "too long": struct.pack("<II", 0x7FFFFFFF, 1),
    "empty": struct.pack("<II", 0, 1),
    "version": struct.pack("<II", 24, 2) + bytes(24),
    "no head": pack_head(8) + bytes(8),
    "kind": pack_head(24) + b"\xee" + bytes(23),
    "answer": encode(Kind.ANSWER, 1, 0, {"x": rows(1)}),
    "load again": encode_text(Kind.DESCRIBE, 1, b""),
    "beyond": pack_head(len(GOOD) - 16) + GOOD[8:-8],
    "more tensors": GOOD[:10] + b"\x09" + GOOD[11:],
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_frame_closes_its_connection_and_no_other(name: str, shared: tuple[RunningModel, Path]) -> None:
    started, path = shared
    with connect(path) as neighbour, connect(path) as hostile:
        assert ask(neighbour, GOOD)
        assert ask(hostile, MALFORMED[name]) == b""
        assert ask(neighbour, GOOD)
    assert started.alive()


def test_a_frame_that_never_ends_holds_up_nobody(shared: tuple[RunningModel, Path]) -> None:
    with connect(shared[1]) as slow, connect(shared[1]) as neighbour:
        slow.sendall(pack_head(1 << 20) + bytes(5000))
        assert ask(neighbour, GOOD)


def test_who_does_not_read_holds_up_nobody(shared: tuple[RunningModel, Path]) -> None:
    big = encode(Kind.RUN, 1, 0, {"x": rows(50_000)})
    with connect(shared[1]) as greedy, connect(shared[1]) as neighbour:
        greedy.settimeout(1.0)
        with suppress(TimeoutError):
            for _ in range(20):
                greedy.sendall(big)
        for _ in range(20):
            assert ask(neighbour, GOOD)
    assert shared[0].memory_bytes() < 256 << 20


def test_connections_without_end_end(shared: tuple[RunningModel, Path]) -> None:
    with ExitStack() as stack:
        streams = [stack.enter_context(connect(shared[1])) for _ in range(100)]
        answered = sum(bool(ask(stream, GOOD)) for stream in streams)
        assert 10 < answered < 100
    end = time.monotonic() + 5
    while time.monotonic() < end:
        with connect(shared[1]) as stream:
            if ask(stream, GOOD):
                return
    pytest.fail("the worker does not take connections any more")


def test_a_request_whose_time_is_over_is_not_run(shared: tuple[RunningModel, Path]) -> None:
    with connect(shared[1]) as stream:
        late = encode(Kind.RUN, 5, time.monotonic_ns() - 1, {"x": rows(1)})
        assert decode(memoryview(ask(stream, late))[HEAD_BYTES:]).text.strip() == b"too late"


def test_nothing_of_the_runtimes_telemetry_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime writes a device id and a database to HOME, and runs a thread, unless it is told not to."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    with running(models.softmax(), tmp_path / "w.sock") as started:
        started.call({"x": rows(10)}, 5)
        assert list(home.iterdir()) == []
        process = Path(f"/proc/{started.pid}")
        assert len(list((process / "task").iterdir())) == 1
        # Its own network holds nothing: no connection, no listener, not even a route.
        for table in ("tcp", "tcp6", "udp", "udp6"):
            assert len((process / "net" / table).read_text("ascii").splitlines()) == 1
        assert len((process / "net" / "route").read_text("ascii").splitlines()) <= 1
        if os.geteuid() == 0:
            held = sorted(str(path.readlink()) for path in (process / "fd").iterdir())
            kinds = {name.split(":")[0] for name in held if not name.startswith("/dev/null")}
            assert kinds <= {"socket", "pipe", "anon_inode"}
