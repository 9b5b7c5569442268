"""The gateway's side of a worker, against real workers: batches, errors, queues, reconnects; on asyncio and uvloop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvloop

from fastness.core.errors import FastnessError, Invalid, TooLarge, Unavailable
from fastness.models.runtime import RunningModel, RuntimeSettings, Tensors, WorkerPredictor
from tests.unit.models.runtime import onnx_models as models
from tests.unit.models.runtime.onnx_models import expected, rows, running

Served = tuple[RunningModel, Path]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = tmp_path_factory.mktemp("w") / "c.sock"
    with running(models.softmax(), path) as started:
        yield started, path


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = tmp_path_factory.mktemp("w") / "t.sock"
    with running(models.lookup(), path) as started:
        yield started, path


def predictor(worker: Served, settings: RuntimeSettings | None = None) -> WorkerPredictor:
    return WorkerPredictor(worker[1], worker[0].described, settings or RuntimeSettings())


async def outcome(asked: Awaitable[Tensors]) -> object:
    try:
        return await asked
    except FastnessError as error:
        return error.code


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_each_of_many_gets_its_own_rows(classifier: Served, run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    x = rows(500)

    async def main() -> None:
        asked = predictor(classifier)
        sizes = [1 + i % 5 for i in range(100)]
        starts = np.cumsum([0, *sizes])
        parts = [x[a:b] for a, b in pairwise(starts)]
        answers = await asyncio.gather(*(asked.predict({"x": part}, 10) for part in parts))
        for part, answer in zip(parts, answers, strict=True):
            np.testing.assert_allclose(answer["probabilities"], expected(part), atol=1e-6)
        asked.close()

    run(main())


def test_a_big_input_travels_in_pieces(classifier: Served) -> None:
    async def main() -> None:
        asked = predictor(classifier)
        x = rows(100_000)
        np.testing.assert_allclose((await asked.predict({"x": x}, 30))["probabilities"], expected(x), atol=1e-6)
        asked.close()

    asyncio.run(main())


def test_one_bad_request_fails_alone(table: Served) -> None:
    async def main() -> None:
        asked = predictor(table)
        indices = [np.array([i]) for i in (0, 1, 99, 2, 50, 3)]
        found = await asyncio.gather(*(outcome(asked.predict({"x": i}, 10)) for i in indices))
        assert [f if isinstance(f, str) else f["y"].tolist() for f in found] == [
            [0.0], [10.0], "model-failed", [20.0], "model-failed", [30.0],
        ]  # fmt: skip
        asked.close()

    asyncio.run(main())


def test_requests_of_other_shapes_or_types_are_not_mixed(table: Served) -> None:
    async def main() -> None:
        asked = predictor(table)
        tensors = [
            {"x": np.array([1])},
            {"x": np.array([1.0])},
            {"z": np.array([1])},
            {"x": np.array([[2]])},
            {"x": np.array([3, 4])},
        ]
        found = await asyncio.gather(*(outcome(asked.predict(t, 10)) for t in tensors))
        assert found[0]["y"].tolist() == [10.0]
        assert found[1:4] == ["input-unfit"] * 3
        assert found[4]["y"].tolist() == [30.0, 40.0]
        asked.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("tensors", "kind"),
    [({"x": np.zeros((1, 4), np.complex64)}, Invalid), ({}, Invalid), ({"x": rows(300_000)}, TooLarge)],
)
def test_what_cannot_be_sent_is_refused_before_it_is(
    classifier: Served, tensors: Tensors, kind: type[FastnessError]
) -> None:
    async def main() -> None:
        asked = predictor(classifier, RuntimeSettings(frame_bytes=1 << 20))
        with pytest.raises(kind):
            await asked.predict(tensors, 5)
        assert len((await asked.predict({"x": rows(1)}, 5))["label"]) == 1
        asked.close()

    asyncio.run(main())


def test_a_full_queue_refuses_at_once_and_the_others_are_answered(classifier: Served) -> None:
    async def main() -> None:
        asked = predictor(classifier, RuntimeSettings(max_queue=8, max_batch=2))
        found = await asyncio.gather(*(outcome(asked.predict({"x": rows(1)}, 10)) for _ in range(50)))
        refused = [f for f in found if f == "worker-overloaded"]
        assert len(refused) == 42
        assert sum(isinstance(f, dict) for f in found) == 8
        asked.close()

    asyncio.run(main())


def test_who_is_not_waited_for_any_more_is_not_run(classifier: Served) -> None:
    async def main() -> None:
        asked = predictor(classifier)
        waiting = [asyncio.create_task(asked.predict({"x": rows(1)}, 10)) for _ in range(10)]
        await asyncio.sleep(0)
        for task in waiting[::2]:
            task.cancel()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(f, asyncio.CancelledError) for f in found] == [True, False] * 5
        assert len((await asked.predict({"x": rows(2)}, 5))["label"]) == 2
        asked.close()

    asyncio.run(main())


def test_a_deadline_that_has_passed_is_refused(classifier: Served) -> None:
    async def main() -> None:
        asked = predictor(classifier)
        assert await outcome(asked.predict({"x": rows(1)}, 0)) == "worker-timeout"
        assert isinstance(await outcome(asked.predict({"x": rows(1)}, 5)), dict)
        asked.close()

    asyncio.run(main())


def test_no_worker_is_a_quick_refusal(tmp_path: Path, classifier: Served) -> None:
    async def main() -> None:
        asked = WorkerPredictor(tmp_path / "nobody.sock", classifier[0].described, RuntimeSettings())
        began = time.monotonic()
        assert {await outcome(asked.predict({"x": rows(1)}, 5)) for _ in range(20)} == {"worker-lost"}
        assert time.monotonic() - began < 2
        asked.close()

    asyncio.run(main())


def test_after_closing_nothing_is_answered(classifier: Served) -> None:
    async def main() -> None:
        asked = predictor(classifier)
        await asked.predict({"x": rows(1)}, 5)
        waiting = [asyncio.create_task(asked.predict({"x": rows(1)}, 5)) for _ in range(3)]
        await asyncio.sleep(0)
        asked.close()
        assert [await outcome(task) for task in waiting] == ["worker-lost"] * 3
        with pytest.raises(Unavailable, match="worker-lost"):
            await asked.predict({"x": rows(1)}, 5)

    asyncio.run(main())


def test_several_gateways_share_one_worker(classifier: Served) -> None:
    async def main() -> None:
        asked = [predictor(classifier) for _ in range(8)]
        x = rows(80)
        answers = await asyncio.gather(*(asked[i % 8].predict({"x": x[i : i + 1]}, 10) for i in range(80)))
        np.testing.assert_allclose(np.concatenate([a["probabilities"] for a in answers]), expected(x), atol=1e-6)
        for one in asked:
            one.close()

    asyncio.run(main())


def test_a_model_without_batches_gets_one_request_at_a_time(tmp_path: Path) -> None:
    with running(models.fixed(), tmp_path / "f.sock") as started:

        async def main() -> None:
            asked = predictor((started, tmp_path / "f.sock"))
            given = [np.full((2, 2), i, np.float32) for i in range(20)]
            answers = await asyncio.gather(*(asked.predict({"x": g}, 10) for g in given))
            assert [a["y"][0, 0] for a in answers] == [-i for i in range(20)]
            asked.close()

        asyncio.run(main())
