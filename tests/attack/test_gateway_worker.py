"""The gateway before a real model in a real sandboxed worker: the same answers as the model's own, and never a wrong one."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fastness.foundation.sandbox import Sandbox, SandboxSettings, SealedFile
from fastness.models.release import Route, Routes
from fastness.models.runtime import ModelHost, RunningModel, RuntimeSettings, WorkerPredictor
from fastness.wire import oip
from tests.unit.gateway.house import House, OnnxPredictor, Served, json_body, model_bytes, serving


def start(socket: Path) -> RunningModel:
    data = model_bytes()

    def fill(view: memoryview) -> None:
        view[:] = data

    sealed = SealedFile.filled("model", len(data), fill)
    try:
        return ModelHost(Sandbox.detect(SandboxSettings()), RuntimeSettings()).start(sealed, "onnx", socket)
    finally:
        sealed.close()


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    folder.chmod(0o700)
    return folder / "worker.sock"


@pytest.fixture(scope="module")
def worker(socket: Path) -> Iterator[RunningModel]:
    running = start(socket)
    yield running
    running.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, socket: Path, worker: RunningModel) -> Iterator[Served]:
    house = House(tmp_path_factory.mktemp("house"), signature=worker.described)
    predictor = WorkerPredictor(socket, worker.described, RuntimeSettings())
    house.predictor = predictor  # type: ignore[assignment]  # the real one
    house.routes.publish(Routes({"digits": Route("default", "digits", 1, "r", worker.described, str(socket))}), 2)
    house.routes.confirm(house.now_ns)
    with serving(house) as served:
        yield served


def digits(count: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 17, (count, 64)).astype(np.float32)


def told(served: Served, rows: np.ndarray, *, binary: bool) -> oip.InferResponse:
    body, headers = oip.encode_request({"X": rows}, binary=binary)
    reply = served.infer(body, **{name.replace("-", "_"): value for name, value in headers.items()})
    assert reply.status == 200, reply.body
    assert served.house.event(reply.request_id).details["rows"] == len(rows)
    return oip.decode_response(reply.body, reply.headers.get("inference-header-content-length"))


@pytest.mark.parametrize("binary", [True, False])
def test_predictions_are_those_of_the_model(served: Served, binary: bool) -> None:
    rows = digits(40)
    local = asyncio.run(OnnxPredictor().predict({"X": rows}, 1))
    answer = told(served, rows, binary=binary)
    assert np.array_equal(answer.outputs["label"], local["label"])
    np.testing.assert_allclose(answer.outputs["p"], local["p"], rtol=1e-6)


def test_callers_who_ask_at_once_get_their_own_rows_back(served: Served) -> None:
    rows = digits(64)
    local = asyncio.run(OnnxPredictor().predict({"X": rows}, 1))["p"]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda i: told(served, rows[i : i + 1], binary=i % 2 == 0), range(64)))
    for place, answer in enumerate(answers):
        np.testing.assert_allclose(answer.outputs["p"][0], local[place], rtol=1e-5)


def test_a_killed_worker_gives_503_until_it_is_replaced(served: Served, worker: RunningModel, socket: Path) -> None:
    os.kill(worker.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while worker.alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    reply = served.infer(json_body())
    assert (reply.status, reply.code) == (503, "worker-lost")
    assert "retry-after" in reply.headers
    assert served.house.event(reply.request_id).kind == "request.failed"
    assert served.house.event(reply.request_id).reason == "worker-lost"
    replaced = start(socket)
    try:
        while (reply := served.infer(json_body())).status == 503 and time.monotonic() < deadline + 20:
            time.sleep(0.05)
        assert reply.status == 200
        served.serves()
    finally:
        replaced.close()
