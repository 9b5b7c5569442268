"""The demo's model: a classifier of handwritten digits, trained here on real scans.

Data: scikit-learn's copy of the UCI "Optical Recognition of Handwritten Digits" test set, 1,797 scans of 8 x 8 pixels
from 0 to 16.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import skl2onnx
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler

INPUT = "X"
PIXELS = 64
HIGHEST = 16


@dataclass(frozen=True, slots=True)
class Trained:
    """What training left behind.

    Attributes:
        onnx, second_onnx: two trainings of the same classifier, exported.
        pickle: the classifier as joblib writes it.
        payload: the same, with a call hidden in it that would create `marker`.
        held_out: pixels that training has not seen, (n, 64) float32.
        labels: what they show, (n,) int64.
        predicted: what the local model says, (n,) int64.
    """

    onnx: Path
    second_onnx: Path
    pickle: Path
    payload: Path
    marker: Path
    held_out: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of the held-out digits that the local model gets right."""
        return float((self.predicted == self.labels).mean())


class _Payload:
    """Pickles as a call that would create a file: what an attacker hides in a model, made harmless."""

    def __init__(self, marker: Path) -> None:
        self._command = f"touch {shlex.quote(str(marker))}"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, (self._command,)


def train(folder: Path) -> Trained:
    """Train on three quarters of the scans and write the four files into `folder`."""
    digits = load_digits()
    pixels, labels = digits.data.astype(np.float32), digits.target.astype(np.int64)
    seen, held_out, seen_labels, held_labels = train_test_split(pixels, labels, random_state=0, stratify=labels)
    classifier = _fit(seen, seen_labels, strength=1.0)
    onnx, second, plain, payload = (
        folder / name for name in ("digits.onnx", "digits-2.onnx", "digits.joblib", "digits-payload.joblib")
    )
    marker = folder / "the-payload-ran"
    onnx.write_bytes(_export(classifier))
    second.write_bytes(_export(_fit(seen, seen_labels, strength=0.5)))
    joblib.dump(classifier, plain)
    joblib.dump({"classifier": classifier, "metadata": {"trained_on": "digits", "cache": _Payload(marker)}}, payload)
    predicted = classifier.predict(held_out).astype(np.int64)
    return Trained(onnx, second, plain, payload, marker, held_out, held_labels, predicted)


def _fit(pixels: np.ndarray, labels: np.ndarray, strength: float) -> Pipeline:
    return make_pipeline(MinMaxScaler(), LogisticRegression(C=strength, max_iter=500)).fit(pixels, labels)


def _export(classifier: Pipeline) -> bytes:
    shape = skl2onnx.common.data_types.FloatTensorType([None, PIXELS])
    options = {id(classifier): {"zipmap": False}}
    model = skl2onnx.convert_sklearn(classifier, initial_types=[(INPUT, shape)], options=options, target_opset=17)
    return bytes(model.SerializeToString())
