"""Conversions in the real sandbox, through the function and through the command."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path

import joblib
import numpy as np
import pytest
from safetensors.numpy import load
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastness.core.errors import Invalid
from fastness.core.sources import BytesSource
from fastness.foundation.sandbox import Sandbox, SandboxSettings
from fastness.interfaces.cli import main
from fastness.models.convert import Converted, Target, convert
from fastness.models.scan import Outcome
from tests.needs import need_host
from tests.unit.foundation.sandbox.grounds import can_isolate
from tests.unit.models.scan.artifacts import EVIL, Reduces

X, Y = load_digits(return_X_y=True)


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    need_host("user namespaces and landlock", present=can_isolate())
    return Sandbox.detect(SandboxSettings())


def converted(sandbox: Sandbox, model: object, target: Target, rows: np.ndarray | None = None) -> Converted:
    data = model if isinstance(model, bytes) else pickle.dumps(model)
    return convert(BytesSource("model.pkl", data), target, sandbox, None if rows is None else rows.tolist())


def digits_pipeline() -> object:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=50)).fit(X[:200], Y[:200])


MODELS = {
    "pipeline to onnx": (digits_pipeline, Target.ONNX),
    "threads to onnx": (lambda: RandomForestClassifier(3, n_jobs=-1).fit(X[:200], Y[:200]), Target.ONNX),
    "pipeline to skops": (digits_pipeline, Target.SKOPS),
    "regression to onnx": (lambda: Ridge().fit(X[:200], Y[:200] * 0.5), Target.ONNX),
    "transformer to onnx": (lambda: StandardScaler().fit(X[:200]), Target.ONNX),
}


@pytest.mark.parametrize(("make", "target"), MODELS.values(), ids=MODELS)
def test_predictions_agree_after_a_conversion(sandbox: Sandbox, make: object, target: Target) -> None:
    made = converted(sandbox, make(), target, X[200:260])  # type: ignore[operator]
    assert made.agrees, made.compared
    assert (made.rows, made.generated) == (60, False)
    assert made.estimator.startswith("sklearn.")
    assert target is Target.SKOPS or made.report.outcome is Outcome.PASS


def test_rows_are_made_up_where_none_are_given(sandbox: Sandbox) -> None:
    made = converted(sandbox, Ridge().fit(X[:50], Y[:50]), Target.ONNX)
    assert (made.agrees, made.rows, made.generated) == (True, 256, True)


def test_weights_become_safetensors(sandbox: Sandbox) -> None:
    weights = {"layer": {"w": np.arange(6, dtype=np.float16).reshape(2, 3)}, "b": np.array([1, 2]), "epoch": 7}
    made = converted(sandbox, weights, Target.SAFETENSORS)
    assert made.agrees
    assert made.left_out == ("epoch (int)",)
    assert made.report.outcome is Outcome.PASS
    found = load(made.data)
    assert found.keys() == {"layer.w", "b"}
    assert (found["layer.w"] == weights["layer"]["w"]).all()  # type: ignore[index]


REFUSED = {
    "a payload": (EVIL, Target.ONNX, "convert-unsafe"),
    "a payload in a joblib file": (pickle.dumps({"w": Reduces(eval, "1")}), Target.SAFETENSORS, "convert-unsafe"),
    "no pickle": (b"text" * 20, Target.ONNX, "convert-unsafe"),
    "no estimator": (pickle.dumps({"a": 1}), Target.ONNX, "convert-unknown"),
    "no tensors": (pickle.dumps([1, 2]), Target.SAFETENSORS, "convert-unknown"),
    "an estimator that was never fitted": (pickle.dumps(Ridge()), Target.ONNX, "convert-unknown"),
}


@pytest.mark.parametrize(("data", "target", "code"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_or_must_not_be_converted_is_refused(
    sandbox: Sandbox, data: bytes, target: Target, code: str
) -> None:
    with pytest.raises(Invalid) as caught:
        converted(sandbox, data, target)
    assert caught.value.code == code
    assert caught.value.hint


def test_rows_that_do_not_fit_are_told(sandbox: Sandbox) -> None:
    with pytest.raises(Invalid) as caught:
        converted(sandbox, Ridge().fit(X[:50], Y[:50]), Target.ONNX, X[:5, :3])
    assert caught.value.code == "convert-failed"
    assert "features" in caught.value.message


@pytest.fixture
def model(tmp_path: Path) -> Path:
    file = io.BytesIO()
    joblib.dump(Ridge().fit(X[:50], Y[:50]), file, compress=3)
    (tmp_path / "model.joblib").write_bytes(file.getvalue())
    return tmp_path / "model.joblib"


def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, *line: str) -> tuple[int, dict[str, object]]:
    with pytest.raises(SystemExit) as ended:
        main(["--home", str(tmp_path / "none"), "--format", "json", "convert", *line])
    said = capsys.readouterr()
    found: dict[str, object] = json.loads(said.out or said.err.splitlines()[-1])
    return int(ended.value.code or 0), found


@pytest.mark.usefixtures("sandbox")
def test_the_command_writes_the_model_beside_the_pickle(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "rows.npy", X[50:60])
    status, said = run(capsys, tmp_path, str(model), "--rows", str(tmp_path / "rows.npy"))
    assert (status, said["agrees"], said["rows"], said["verdict"]) == (0, True, 10, "pass")
    assert said["file"] == str(model.with_suffix(".onnx"))
    assert model.with_suffix(".onnx").stat().st_size > 100
    assert run(capsys, tmp_path, str(model))[1]["code"] == "file-exists"


BAD_ROWS = {
    "objects": lambda path: np.save(path, np.array([[object()]]), allow_pickle=True),
    "one dimension": lambda path: np.save(path, np.zeros(3)),
    "no rows": lambda path: np.save(path, np.zeros((0, 3))),
    "no array": lambda path: path.write_bytes(b"nothing"),
}


@pytest.mark.parametrize("write", BAD_ROWS.values(), ids=BAD_ROWS)
def test_rows_that_are_no_rows_are_refused_before_anything_runs(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], write: object
) -> None:
    write(tmp_path / "rows.npy")  # type: ignore[operator]
    status, said = run(capsys, tmp_path, str(model), "--rows", str(tmp_path / "rows.npy"))
    assert (status, said["code"]) == (2, "rows-malformed")
    assert not model.with_suffix(".onnx").exists()
