"""Real models in real workers: what loads is described and answers, what does not load says why."""

from __future__ import annotations

import stat
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fastness.core.errors import Invalid, Unavailable
from fastness.core.signature import Datatype, ModelSignature, TensorSpec
from fastness.models.runtime import RunningModel, RuntimeSettings, Tensors
from tests.unit.foundation.sandbox.grounds import gone, sealed
from tests.unit.models.runtime import onnx_models as models
from tests.unit.models.runtime.onnx_models import expected, host, rows, running


@pytest.fixture(scope="module")
def classifier() -> Iterator[RunningModel]:
    with running(models.softmax()) as started:
        yield started


def test_a_model_is_described_by_itself(classifier: RunningModel) -> None:
    assert classifier.described == ModelSignature(
        (TensorSpec("x", Datatype.FP32, (-1, 4)),),
        (TensorSpec("label", Datatype.INT64, (-1,)), TensorSpec("probabilities", Datatype.FP32, (-1, 3))),
    )


@pytest.mark.parametrize("count", [1, 2, 100, 20_000])
def test_it_answers_as_the_model_would(classifier: RunningModel, count: int) -> None:
    x = rows(count)
    answer = classifier.call({"x": x}, 10)
    np.testing.assert_allclose(answer["probabilities"], expected(x), atol=1e-6)
    assert (answer["label"] == expected(x).argmax(1)).all()


@pytest.mark.parametrize(
    "tensors",
    [
        {},
        {"y": rows(1)},
        {"x": rows(1), "y": rows(1)},
        {"x": rows(1).astype(np.float64)},
        {"x": rows(1)[0]},
        {"x": rows(1)[:, :3]},
        {"x": np.zeros((0, 4), np.float32)},
        {"x": np.array([["a"] * 4])},
        {"x": np.zeros((1, 4), np.complex64)},
    ],
    ids=["nothing", "name", "more", "type", "rank", "shape", "no rows", "texts", "complex"],
)
def test_an_input_that_does_not_fit_is_refused_and_harms_nobody(classifier: RunningModel, tensors: Tensors) -> None:
    with pytest.raises(Invalid) as caught:
        classifier.call(tensors, 10)
    assert caught.value.code == "input-unfit"
    assert len(classifier.call({"x": rows(3)}, 10)["label"]) == 3


def test_what_is_longer_than_a_frame_is_not_sent() -> None:
    small = RuntimeSettings(frame_bytes=8192)
    with running(models.softmax(), settings=small) as started, pytest.raises(Unavailable):
        started.call({"x": rows(1000)}, 5)


def test_an_answer_that_is_too_long_is_an_error() -> None:
    with running(models.ones(), settings=RuntimeSettings(frame_bytes=8192)) as started:
        with pytest.raises(Invalid, match="longer than a frame"):
            started.call({"x": np.array([5000])}, 5)
        assert started.call({"x": np.array([3])}, 5)["y"].tolist() == [1, 1, 1]


def test_texts_go_in_and_out() -> None:
    with running(models.texts()) as started:
        assert started.described.inputs[0].datatype == Datatype.BYTES
        given = np.array([b"", "grün".encode(), b"x" * 5000], object)
        assert started.call({"x": given}, 5)["y"].tolist() == given.tolist()
        with pytest.raises(Invalid, match="UTF-8"):
            started.call({"x": np.array([b"\xff"], object)}, 5)


def test_a_model_without_batches_answers_its_one_shape() -> None:
    with running(models.fixed()) as started:
        assert started.call({"x": np.ones((2, 2), np.float32)}, 5)["y"].tolist() == [[-1, -1], [-1, -1]]


def test_a_model_that_fails_on_an_input_says_so_and_lives_on() -> None:
    with running(models.lookup()) as started:
        with pytest.raises(Invalid) as caught:
            started.call({"x": np.array([3, 10])}, 5)
        assert caught.value.code == "model-failed"
        assert started.call({"x": np.array([3])}, 5)["y"].tolist() == [30.0]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\0", ""),
        (b"not a model at all" * 100, ""),
        (b"\x80\x04\x95cposix\nsystem\n", ""),
        (models.softmax()[:40], ""),
        (models.softmax()[:-1], ""),
        (models.foreign_operator(), "Exfiltrate"),
        (models.external("/usr/lib/os-release"), ""),
        (models.external("usr/lib/os-release"), ""),
        (models.external("../../etc/shadow"), ""),
        (models.external("*/_ORT_MEM_ADDR_/*"), "by address"),
        (b"\x08\x08" * 500_000, ""),
    ],
    ids=["nul", "prose", "pickle", "cut", "last byte", "operator", "absolute", "relative", "above", "memory", "fields"],
)
def test_what_is_no_model_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    began = time.monotonic()
    with pytest.raises(Invalid) as caught, running(data):
        pass
    assert caught.value.code == "model-not-loadable"
    assert reason in caught.value.message
    assert time.monotonic() - began < 30


def test_a_zipmap_is_refused_with_what_to_do() -> None:
    with pytest.raises(Invalid, match="zipmap=False") as caught, running(models.zipmap()):
        pass
    assert caught.value.code == "model-not-loadable"


def test_an_unknown_loader_is_named() -> None:
    with sealed(b"x") as file, pytest.raises(Invalid, match="loader-unknown"):
        host().start(file, "pickle", None)


def test_the_socket_is_for_its_owner_and_goes_with_the_worker(tmp_path: Path) -> None:
    for path in (tmp_path / "w.sock", tmp_path / ("long" * 30) / "w.sock"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("left behind")
        with running(models.softmax(), path) as started:
            mode = path.stat().st_mode
            assert stat.S_ISSOCK(mode)
            assert stat.S_IMODE(mode) == 0o600
            pid = started.pid
        assert not path.exists()
        assert gone(pid)


def test_a_refused_model_leaves_no_socket(tmp_path: Path) -> None:
    with pytest.raises(Invalid), running(b"\0", tmp_path / "w.sock"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="socket-unusable"), running(models.softmax(), tmp_path / "no" / "w.sock"):
        pass


def test_it_says_what_it_uses_and_how_it_ended() -> None:
    with running(models.softmax()) as started:
        assert 10 << 20 < started.memory_bytes() < 512 << 20
        assert started.alive()
        assert started.exit_reason() == ""
        assert started.started_ms > 0
    assert started.exit_reason() == "closed"
    with pytest.raises(Unavailable, match="worker-lost"):
        started.call({"x": rows(1)}, 1)
