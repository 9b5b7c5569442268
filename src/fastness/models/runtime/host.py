"""Starts a sandboxed worker for one model, and speaks with it over its own channel."""

from __future__ import annotations

import json
import socket
import time
from itertools import count
from pathlib import Path

from fastness.core.errors import Invalid, Unavailable
from fastness.core.signature import ModelSignature
from fastness.foundation.sandbox import HEAD_BYTES, EntryPoint, Limits, Sandbox, SealedFile, Worker
from fastness.models.runtime.answers import Untrue, check_outputs, plain, refusal, rows_of, signature_in, takes_batches
from fastness.models.runtime.frames import FrameError, Kind, Message, Tensors, decode, encode, encode_text
from fastness.models.runtime.settings import RuntimeSettings
from fastness.models.runtime.sockets import listen_at

_ENTRIES = {
    "onnx": EntryPoint(
        "fastness.models.runtime.worker",
        modules=("fastness.models.runtime.frames",),
        packages=("numpy", "onnxruntime"),
    )
}
_REFUSED = 1  # EPERM


class RunningModel:
    """A worker that has loaded its model. Its owner closes it.

    Attributes:
        described: what the loaded model itself says that it takes and gives.
        pid: of the worker.
        uid: the user that the kernel sees.
        started_ms: from spawn to having loaded the model.
    """

    def __init__(self, worker: Worker, described: ModelSignature, started_ms: float, listen: Path | None) -> None:
        self.described = described
        self.pid = worker.pid
        self.uid = worker.uid
        self.started_ms = started_ms
        self._worker = worker
        self._listen = listen
        self._ids = count(1)
        self._batches = takes_batches(described)

    def alive(self) -> bool:
        """Whether the worker has not ended."""
        return self._worker.alive()

    def call(self, tensors: Tensors, timeout_s: float) -> Tensors:
        """The outputs for `tensors`, over the worker's own channel.

        Raises:
            Invalid: the model does not take this input (`input-unfit`) or failed on it (`model-failed`).
            Unavailable: `worker-lost` or `worker-timeout`; the worker is gone for good then.
        """
        request = next(self._ids)
        try:
            frame = encode(Kind.RUN, request, 0, tensors)
        except FrameError as error:
            raise Invalid("input-unfit", str(error), "Compare it with the model's signature.") from error
        message = self._ask(frame, timeout_s)
        if message.id != request or message.kind not in {Kind.ANSWER, Kind.ERROR}:
            raise self._liar("it answered another question")
        if message.kind == Kind.ERROR:
            raise refusal(message.problem, message.text)
        try:
            check_outputs(message.tensors, self.described, rows_of(tensors) if self._batches else 0)
        except Untrue as error:
            raise self._liar(str(error)) from error
        return message.tensors

    def check(self, timeout_s: float) -> dict[str, int]:
        """Let the worker attempt the forbidden once more; act to errno. Also shows that it still answers.

        Raises:
            Unavailable: it does not answer, or something was possible (`sandbox-layer-missing`).
        """
        message = self._ask(encode_text(Kind.CHECK, 0, b""), timeout_s)
        try:
            seen = {str(act): int(number) for act, number in json.loads(message.text).items()}
        except (ValueError, TypeError, AttributeError) as error:
            raise self._liar("its self-test cannot be read") from error
        possible = [act for act, number in seen.items() if number != _REFUSED]
        if possible or not seen:
            self._worker.kill("self-test failed")
            raise Unavailable(
                "sandbox-layer-missing", f"possible inside the worker: {', '.join(possible) or 'unknown'}"
            )
        return seen

    def memory_bytes(self) -> int:
        """What the worker uses.

        Raises:
            Unavailable: it has ended.
        """
        return self._worker.memory_bytes()

    def exit_reason(self) -> str:
        """Why it ended: `out-of-memory`, `signal N`, `exit N`, `killed: …` or `closed`; empty while it lives."""
        return self._worker.exit_reason()

    def close(self) -> None:
        """End the worker and remove its socket."""
        self._worker.close()
        if self._listen is not None:
            self._listen.unlink(missing_ok=True)

    def _ask(self, frame: bytes, timeout_s: float) -> Message:
        return _ask(self._worker, frame, timeout_s)

    def _liar(self, how: str) -> Unavailable:
        self._worker.kill("untrue answer")
        return Unavailable("worker-lost", f"the worker was ended: {how}")


class ModelHost:
    """Starts models in a sandbox."""

    def __init__(self, sandbox: Sandbox, settings: RuntimeSettings) -> None:
        self._sandbox = sandbox
        self._settings = settings

    @property
    def settings(self) -> RuntimeSettings:
        """How its workers run."""
        return self._settings

    def start(self, model: SealedFile, loader: str, listen: Path | None = None) -> RunningModel:
        """Load `model` in a worker of its own; the file stays the caller's, who may close it afterwards.

        Args:
            loader: `onnx`.
            listen: where gateway processes find the worker; the folder must keep everyone else out.

        Raises:
            Invalid: `loader-unknown`, or `model-not-loadable` with the reason.
            Unavailable: the sandbox does not hold, or did not start.
        """
        entry = _ENTRIES.get(loader)
        if entry is None:
            raise Invalid("loader-unknown", f"nothing loads {loader[:40]!r}", f"Use one of: {', '.join(_ENTRIES)}.")
        limits = Limits(
            memory_bytes=self._settings.memory_bytes,
            pids=self._settings.pids,
            frame_bytes=self._settings.frame_bytes,
        )
        began = time.monotonic()
        listener = _listen(listen) if listen is not None else None
        try:
            worker = self._sandbox.start(entry, [model], limits, listener)
        except BaseException:
            if listen is not None:
                listen.unlink(missing_ok=True)
            raise
        finally:
            if listener is not None:
                listener.close()  # the worker has it; once it is gone, nobody can wait at a dead door
        try:
            described = self._described(worker)
        except BaseException:
            worker.close()
            if listen is not None:
                listen.unlink(missing_ok=True)
            raise
        return RunningModel(worker, described, (time.monotonic() - began) * 1000, listen)

    def _described(self, worker: Worker) -> ModelSignature:
        try:
            message = _ask(worker, encode_text(Kind.DESCRIBE, 0, b""), self._settings.load_timeout_s)
        except Unavailable as error:
            worker.kill("not loaded")
            why = "it took too long" if error.code == "worker-timeout" else worker.exit_reason() or error.message
            raise Invalid(
                "model-not-loadable",
                f"the worker ended while it loaded the model: {why}",
                "Check the file; `runtime.memory_bytes` and `runtime.load_timeout_s` bound what it may take.",
            ) from error
        if message.kind == Kind.ERROR:
            raise refusal(message.problem, message.text)
        try:
            return signature_in(message.text)
        except Untrue as error:
            raise Invalid("model-not-loadable", f"the model cannot be described: {error}") from error


def _listen(path: Path) -> socket.socket:
    try:
        return listen_at(path)
    except OSError as error:
        raise Unavailable("socket-unusable", f"no socket can be made at {path.name}: {error.strerror}") from error


def _ask(worker: Worker, frame: bytes, timeout_s: float) -> Message:
    try:
        return decode(memoryview(worker.call(memoryview(frame)[HEAD_BYTES:], timeout_s)))
    except FrameError as error:
        worker.kill("malformed frame")
        raise Unavailable("worker-lost", f"the worker was ended: its answer {plain(str(error).encode())}") from error
