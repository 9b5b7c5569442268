"""Conversions in the real sandbox, through the function and through the command."""

from __future__ import annotations

import gzip
import io
import json
import pickle
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import joblib
import numpy as np
import pytest
from safetensors.numpy import load
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from fastness.core.errors import Invalid
from fastness.core.sources import BytesSource
from fastness.foundation.sandbox import Sandbox, SandboxSettings
from fastness.interfaces.cli import main
from fastness.models.convert import Converted, Target, convert, guest
from fastness.models.convert.restore import Unrestorable
from fastness.models.scan import Outcome, reviewed_globals
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


@pytest.mark.parametrize(
    ("make", "target", "outputs"),
    [
        (lambda: KMeans(3, n_init=1, random_state=0).fit(X[:200]), Target.ONNX, ["predict"]),
        (lambda: KMeans(3, n_init=1, random_state=0).fit(X[:200]), Target.SKOPS, ["predict", "transform"]),
        (lambda: SVC().fit(X[:200], Y[:200]), Target.SKOPS, ["predict", "decision_function"]),
        (lambda: SVC().fit(X[:200], Y[:200] > 4), Target.ONNX, ["predict"]),
    ],
    ids=["clusters to onnx", "clusters to skops", "vectors to skops", "vectors to onnx"],
)
def test_outputs_are_compared_by_what_they_mean(
    sandbox: Sandbox, make: Callable[[], object], target: Target, outputs: list[str]
) -> None:
    made = converted(sandbox, make(), target, X[200:260])
    assert made.agrees, made.compared
    assert [one.output for one in made.compared][: len(outputs)] == outputs
    told = len(made.compared) + len(made.left_out)
    assert target is Target.SKOPS or told == 2, made


PROBABILITIES, LABELS = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 1])
AFTER = {
    "the same, in another order": ({"probabilities": PROBABILITIES, "label": LABELS}, True),
    "columns in another order": ({"label": LABELS, "probabilities": PROBABILITIES[:, ::-1]}, False),
    "other labels": ({"label": 1 - LABELS, "probabilities": PROBABILITIES}, False),
    "one column for two, which would stretch": ({"label": LABELS, "probabilities": PROBABILITIES[:, :1]}, False),
    "fewer rows": ({"label": LABELS[:1], "probabilities": PROBABILITIES}, False),
    "no numbers": ({"label": LABELS, "probabilities": PROBABILITIES * np.nan}, False),
    "texts for numbers": ({"label": np.array(["0", "x"]), "probabilities": PROBABILITIES}, False),
    "no probabilities": ({"label": LABELS}, None),
    "an output of no known name": ({"label": LABELS, "a": PROBABILITIES}, None),
    "nothing": ({}, None),
}


@pytest.mark.parametrize(("after", "agrees"), AFTER.values(), ids=AFTER)
def test_nothing_agrees_but_the_same_outputs(after: dict[str, np.ndarray], agrees: bool | None) -> None:
    before = {"predict": LABELS, "predict_proba": PROBABILITIES}
    if agrees is None:
        with pytest.raises(Unrestorable):
            guest._matched(before, after)
        return
    compared, beside = guest._matched(before, after)
    assert (all(one["equal"] == one["count"] for one in compared), len(compared), beside) == (agrees, 2, [])


def test_no_rows_and_nothing_alike_are_no_agreement() -> None:
    assert guest._compared("a", np.zeros((0, 2)), np.zeros((0, 2)))["equal"] == 0
    same = np.array([np.nan, np.inf, 1.0])
    assert guest._compared("a", same, same)["equal"] == 3


REFUSED = {
    "two tensors of one name": (pickle.dumps({"a.b": X, "a": {"b": X + 1}}), Target.SAFETENSORS, "convert-unknown"),
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
    assert run(capsys, tmp_path, str(model), "--out", str(model), "--force")[1]["code"] == "file-itself"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.joblib", "model.onnx", "rows.npy"]


@pytest.mark.usefixtures("sandbox")
def test_a_link_laid_where_the_model_goes_is_not_followed(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".model.onnx.part").symlink_to(tmp_path / "victim")
    assert run(capsys, tmp_path, str(model))[0] == 0
    (tmp_path / "dangling.onnx").symlink_to(tmp_path / "nothing")
    assert run(capsys, tmp_path, str(model), "--out", str(tmp_path / "dangling.onnx"))[1]["code"] == "file-exists"
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (tmp_path / "nothing").exists()


BAD_ROWS = {
    "objects": lambda path: np.save(path, np.array([[object()]]), allow_pickle=True),
    "one dimension": lambda path: np.save(path, np.zeros(3)),
    "no rows": lambda path: np.save(path, np.zeros((0, 3))),
    "no array": lambda path: path.write_bytes(b"nothing"),
    "no rows in JSON": lambda path: path.with_suffix(".json").write_text("[]"),
    "rows without numbers in JSON": lambda path: path.with_suffix(".json").write_text("[[], []]"),
    "rows of unlike lengths in JSON": lambda path: path.with_suffix(".json").write_text("[[1], [1, 2]]"),
}


@pytest.mark.parametrize("write", BAD_ROWS.values(), ids=BAD_ROWS)
def test_rows_that_are_no_rows_are_refused_before_anything_runs(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], write: object
) -> None:
    write(tmp_path / "rows.npy")  # type: ignore[operator]
    (rows,) = tmp_path.glob("rows.*")
    status, said = run(capsys, tmp_path, str(model), "--rows", str(rows))
    assert (status, said["code"]) == (2, "rows-malformed")
    assert not model.with_suffix(".onnx").exists()


def test_only_the_names_that_a_pickle_holds_are_imported() -> None:
    module = import_module("fastness.models.convert.convert")
    model = pickle.dumps(LogisticRegression().fit([[0.0], [1.0]], [0, 1]))
    named = module._named(model)
    assert ("sklearn.linear_model._logistic", "LogisticRegression") in named
    assert {name for name, _ in named} <= {name for name, _ in reviewed_globals()}
    assert len(named) < 60
    assert module._named(gzip.compress(model)) == reviewed_globals()
