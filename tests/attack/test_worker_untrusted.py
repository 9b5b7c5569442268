"""A worker that lies, stalls or floods: whoever asked is refused within the time, and never gets a wrong answer.

The liar is a server of our own at the worker's socket; the predictor is the real one.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import numpy as np
import pytest

from fastness.core.errors import Unavailable
from fastness.core.signature import Datatype, ModelSignature, TensorSpec
from fastness.foundation.sandbox import HEAD_BYTES, pack_head, read_head
from fastness.models.runtime import RuntimeSettings, Tensors, WorkerPredictor
from fastness.models.runtime.frames import Kind, Message, Problem, decode, encode, encode_text

SIGNATURE = ModelSignature(
    (TensorSpec("x", Datatype.FP32, (-1, 2)),),
    (TensorSpec("y", Datatype.FP32, (-1, 2)), TensorSpec("label", Datatype.INT64, (-1,))),
)
SETTINGS = RuntimeSettings(frame_bytes=1 << 16)
Reply = Callable[[Message], bytes]


def honest(message: Message) -> bytes:
    return encode(Kind.ANSWER, message.id, 0, outputs(message))


def outputs(message: Message, **changed: np.ndarray) -> Tensors:
    x = message.tensors["x"]
    return {"y": x * 2, "label": x[:, 0].astype(np.int64)} | changed


def lying(**changed: Callable[[Message], np.ndarray]) -> Reply:
    return lambda m: encode(Kind.ANSWER, m.id, 0, outputs(m, **{name: make(m) for name, make in changed.items()}))


def cut(frame: bytes, length: int) -> bytes:
    return pack_head(length - HEAD_BYTES) + frame[HEAD_BYTES:length]


def flipped(frame: bytes, at: int) -> bytes:
    changed = bytearray(frame)
    changed[at] ^= 0xFF
    return bytes(changed)


LIES: dict[str, Reply] = {
    "another id": lambda m: encode(Kind.ANSWER, m.id + 1, 0, outputs(m)),
    "id of no one": lambda m: encode(Kind.ANSWER, 1 << 63, 0, outputs(m)),
    "too many rows": lying(y=lambda m: np.zeros((len(m.tensors["x"]) + 1, 2), np.float32)),
    "too few rows": lying(y=lambda m: np.zeros((len(m.tensors["x"]) - 1, 2), np.float32)),
    "rows of one output": lying(label=lambda m: np.zeros(1 + len(m.tensors["x"]), np.int64)),
    "other columns": lying(y=lambda m: np.zeros((len(m.tensors["x"]), 3), np.float32)),
    "other axes": lying(y=lambda m: np.zeros(len(m.tensors["x"]), np.float32)),
    "other type": lying(y=lambda m: np.zeros((len(m.tensors["x"]), 2), np.float64)),
    "texts for numbers": lying(y=lambda m: np.full((len(m.tensors["x"]), 2), b"0", object)),
    "more outputs": lying(extra=lambda _: np.zeros(1)),
    "fewer outputs": lambda m: encode(Kind.ANSWER, m.id, 0, {"y": outputs(m)["y"]}),
    "other names": lambda m: encode(Kind.ANSWER, m.id, 0, {"y": outputs(m)["y"], "z": outputs(m)["label"]}),
    "longer than agreed": lambda _: pack_head((1 << 16) + 1) + bytes(100),
    "four gigabytes": lambda _: struct.pack("<II", 0xFFFFFFFF, 1),
    "nothing": lambda _: struct.pack("<II", 0, 1),
    "another version": lambda m: flipped(honest(m), 4),
    "a kind that is none": lambda m: flipped(honest(m), 8),
    "a question": lambda m: encode(Kind.RUN, m.id, 0, outputs(m)),
    "a description": lambda m: encode_text(Kind.TEXT, m.id, b"{}"),
    "an error that is none": lambda m: encode_text(Kind.ERROR, m.id, b"x", 99),
    "an error of loading": lambda m: encode_text(Kind.ERROR, m.id, b"x", Problem.UNLOADABLE),
    "cut short": lambda m: cut(honest(m), len(honest(m)) - 8),
    "an answer too many": lambda m: honest(m) + honest(m),
    "http": lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "the end": lambda _: b"",
    "half and the end": lambda m: honest(m)[:40],
}  # fmt: skip


class Liar:
    """Answers each frame with what `reply` makes of it; closes after an answer that is no frame."""

    def __init__(self, path: Path, reply: Reply, *, stays: bool = False) -> None:
        self.path = path
        self.reply = reply
        self.stays = stays
        self.asked = 0

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_unix_server(self.serve, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        await self.server.wait_closed()
        await asyncio.sleep(0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.read(HEAD_BYTES):
                message = decode(memoryview(await reader.readexactly(read_head(head, 1 << 20))))
                self.asked += 1
                said = self.reply(message)
                writer.write(said)
                if said != honest(message) and not self.stays:
                    break
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def outcome(predictor: WorkerPredictor, x: np.ndarray, timeout_s: float) -> Tensors | str:
    try:
        return await predictor.predict({"x": x}, timeout_s)
    except Unavailable as error:
        return error.code


def row(value: float, count: int = 1) -> np.ndarray:
    return np.full((count, 2), value, np.float32)


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_never_an_answer(lie: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with Liar(tmp_path / "w.sock", LIES[lie]) as liar:
            predictor = WorkerPredictor(liar.path, SIGNATURE, SETTINGS)
            began = time.monotonic()
            found = await outcome(predictor, row(3, 2), 2.0)
            if lie == "an answer too many":  # the first was the truth; what follows ends the connection
                assert isinstance(found, dict)
                assert found["y"].tolist() == [[6, 6], [6, 6]]
            else:
                assert found in {"worker-lost", "worker-timeout"}
            assert time.monotonic() - began < 10
            liar.reply = honest  # the worker was replaced
            await asyncio.sleep(0.05)
            again = await outcome(predictor, row(5), 2.0)
            if again == "worker-lost":  # the second lie was still on its way
                again = await outcome(predictor, row(5), 2.0)
            assert isinstance(again, dict)
            assert again["y"].tolist() == [[10, 10]]
            predictor.close()

    asyncio.run(main())


@pytest.mark.parametrize("lie", ["too many rows", "too few rows", "another id", "cut short"])
def test_in_a_batch_nobody_gets_the_rows_of_another(lie: str, tmp_path: Path) -> None:
    async def main() -> None:
        async with Liar(tmp_path / "w.sock", LIES[lie]) as liar:
            predictor = WorkerPredictor(liar.path, SIGNATURE, SETTINGS)
            found = await asyncio.gather(*(outcome(predictor, row(i), 1.0) for i in range(20)))
            for i, answer in enumerate(found):
                assert isinstance(answer, str) or answer["y"].tolist() == [[2 * i, 2 * i]]
            assert any(isinstance(answer, str) for answer in found)
            predictor.close()

    asyncio.run(main())


def test_answers_in_another_order_find_those_who_asked(tmp_path: Path) -> None:
    held: list[bytes] = []

    def reordered(message: Message) -> bytes:
        held.append(honest(message))
        return b"".join(reversed(held)) if len(held) == 2 else b""

    async def main() -> None:
        async with Liar(tmp_path / "w.sock", reordered, stays=True) as liar:
            predictor = WorkerPredictor(liar.path, SIGNATURE, RuntimeSettings(max_batch=1))
            one, two = await asyncio.gather(outcome(predictor, row(1), 2.0), outcome(predictor, row(2), 2.0))
            assert isinstance(one, dict)
            assert isinstance(two, dict)
            assert (one["y"].tolist(), two["y"].tolist()) == ([[2, 2]], [[4, 4]])
            predictor.close()

    asyncio.run(main())


@pytest.mark.parametrize("said", [b"", pack_head(64), pack_head(64) + bytes(10)], ids=["silence", "head", "half"])
def test_a_worker_that_stalls_is_given_up_in_time(said: bytes, tmp_path: Path) -> None:
    async def main() -> None:
        async with Liar(tmp_path / "w.sock", lambda _: said, stays=True) as liar:
            predictor = WorkerPredictor(liar.path, SIGNATURE, SETTINGS)
            began = time.monotonic()
            found = await asyncio.gather(*(outcome(predictor, row(i), 0.3) for i in range(10)))
            assert set(found) <= {"worker-timeout", "worker-lost"}
            assert "worker-timeout" in found
            assert time.monotonic() - began < 5
            predictor.close()

    asyncio.run(main())


def test_an_answer_that_comes_too_late_finds_nobody(tmp_path: Path) -> None:
    late: list[bytes] = []

    def hesitant(message: Message) -> bytes:
        late.append(honest(message))
        return late[-2] if len(late) > 1 else b""

    async def main() -> None:
        async with Liar(tmp_path / "w.sock", hesitant, stays=True) as liar:
            predictor = WorkerPredictor(liar.path, SIGNATURE, SETTINGS)
            assert await outcome(predictor, row(1), 0.1) == "worker-timeout"
            assert await outcome(predictor, row(2), 0.5) in {
                "worker-lost",
                "worker-timeout",
            }  # it gets the first answer
            predictor.close()

    asyncio.run(main())


def test_the_patience_of_one_does_not_harm_the_other(tmp_path: Path) -> None:
    """A request with a short time is refused alone; the batch that it travelled in is still answered."""

    async def main() -> None:
        async with Liar(tmp_path / "w.sock", honest) as liar:
            loop = asyncio.get_running_loop()
            held: asyncio.Future[None] = loop.create_future()
            serve = liar.serve

            async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                await held
                await serve(reader, writer)

            liar.server.close()
            liar.path.unlink(missing_ok=True)
            liar.server = await asyncio.start_unix_server(slow, liar.path)
            predictor = WorkerPredictor(liar.path, SIGNATURE, SETTINGS)
            hasty = asyncio.create_task(outcome(predictor, row(1), 0.05))
            patient = asyncio.create_task(outcome(predictor, row(2), 5.0))
            assert await hasty == "worker-timeout"
            held.set_result(None)
            answer = await patient
            assert isinstance(answer, dict)
            assert answer["y"].tolist() == [[4, 4]]
            predictor.close()

    asyncio.run(main())


def test_each_is_answered_exactly_once(tmp_path: Path) -> None:
    """Under lies, losses and reconnects, all of a thousand end, each with its own answer or a refusal."""
    count = 0

    def moody(message: Message) -> bytes:
        nonlocal count
        count += 1
        return LIES["too many rows"](message) if count % 7 == 0 else honest(message)

    async def main() -> None:
        async with Liar(tmp_path / "w.sock", moody) as liar:
            predictor = WorkerPredictor(liar.path, SIGNATURE, RuntimeSettings(max_batch=4, max_queue=2000))

            async def one(i: int) -> Tensors | str:
                await asyncio.sleep(i % 10 / 100)
                return await outcome(predictor, row(i), 20.0)

            found = await asyncio.wait_for(asyncio.gather(*(one(i) for i in range(1000))), 60)
            answered = [i for i, answer in enumerate(found) if isinstance(answer, dict)]
            assert all(found[i]["y"].tolist() == [[2 * i, 2 * i]] for i in answered)
            assert 300 < len(answered) < 1000
            predictor.close()

    asyncio.run(main())


def test_a_flood_is_cut_off(tmp_path: Path) -> None:
    async def main() -> None:
        async with Liar(tmp_path / "w.sock", lambda m: honest(m) + bytes(1 << 22), stays=True) as liar:
            predictor = WorkerPredictor(liar.path, SIGNATURE, SETTINGS)
            for i in range(5):
                found = await outcome(predictor, row(i), 2.0)
                assert isinstance(found, str) or found["y"].tolist() == [[2 * i, 2 * i]]
            predictor.close()

    asyncio.run(main())
