"""What honest libraries write: it passes, or is for review for a class that is not listed; it never blocks."""

import io
import pickle
import warnings
from collections.abc import Callable

import joblib
import numpy as np
import pytest

from fastness.models.scan import Outcome, Report
from tests.unit.models.scan.artifacts import report_of

pytest.importorskip("sklearn")

from sklearn.cluster import DBSCAN, Birch, KMeans
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_digits
from sklearn.decomposition import NMF, PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import SelectKBest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier


class Own(LogisticRegression):
    """What every project has."""


MODELS: dict[str, Callable[[], object]] = {
    "logistic regression": LogisticRegression,
    "linear regression": LinearRegression,
    "ridge": Ridge,
    "stochastic gradient": SGDClassifier,
    "random forest": lambda: RandomForestClassifier(5, random_state=0),
    "extra trees": lambda: ExtraTreesClassifier(5),
    "gradient boosting": lambda: GradientBoostingClassifier(n_estimators=2),
    "histogram boosting": lambda: HistGradientBoostingClassifier(max_iter=2),
    "histogram boosting with categories": lambda: HistGradientBoostingClassifier(max_iter=2, categorical_features=[0]),
    "boosting": lambda: AdaBoostClassifier(n_estimators=2),
    "isolation forest": lambda: IsolationForest(n_estimators=3),
    "tree": DecisionTreeClassifier,
    "k-means": lambda: KMeans(3, n_init=1),
    "birch": lambda: Birch(n_clusters=3),
    "dbscan": DBSCAN,
    "components": lambda: PCA(3),
    "factors": lambda: NMF(3, max_iter=5),
    "neighbours by tree": lambda: KNeighborsClassifier(algorithm="kd_tree"),
    "neighbours by balls": lambda: KNeighborsClassifier(algorithm="ball_tree"),
    "support vectors": SVC,
    "linear support vectors": LinearSVC,
    "bayes": GaussianNB,
    "counts": MultinomialNB,
    "network": lambda: MLPClassifier((4,), max_iter=3),
    "gaussian process": lambda: GaussianProcessRegressor(RBF() + WhiteKernel()),
    "pipeline": lambda: Pipeline([("a", SimpleImputer()), ("b", StandardScaler()), ("c", LogisticRegression())]),
    "pipeline with a function": lambda: Pipeline([("a", FunctionTransformer(np.tanh)), ("b", LogisticRegression())]),
    "columns": lambda: ColumnTransformer(
        [("a", MinMaxScaler(), [0, 1]), ("b", OneHotEncoder(handle_unknown="ignore"), [2])]
    ),
    "selection": lambda: Pipeline([("a", SelectKBest(k=3)), ("b", LogisticRegression())]),
    "voting": lambda: VotingClassifier([("a", GaussianNB()), ("b", LogisticRegression())]),
    "stacking": lambda: StackingClassifier([("a", GaussianNB())], cv=2),
    "a class of one's own": Own,
    "search": lambda: GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=2),
}
# Classes and functions that the review does not cover yet: a false alarm each, for review and not for block.
FOR_REVIEW = {"a class of one's own"}


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    data = load_digits()
    return data.data[:120], data.target[:120]


@pytest.fixture(params=MODELS.items(), ids=MODELS.keys(), scope="module")
def model(request: pytest.FixtureRequest, digits: tuple[np.ndarray, np.ndarray]) -> tuple[str, object]:
    name, make = request.param
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # three iterations do not converge, and need not
        return name, make().fit(*digits)


def judge(name: str, report: Report) -> None:
    assert report.explained_bytes == report.size
    assert report.outcome is (Outcome.REVIEW if name in FOR_REVIEW else Outcome.PASS), report.verdict.findings


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickles_of_estimators(model: tuple[str, object], protocol: int) -> None:
    judge(model[0], report_of(pickle.dumps(model[1], protocol)))


@pytest.mark.parametrize("compress", [0, 3, ("xz", 1)], ids=str)
def test_joblib_dumps_of_estimators(model: tuple[str, object], compress: int | tuple[str, int]) -> None:
    out = io.BytesIO()
    joblib.dump(model[1], out, compress=compress)
    judge(model[0], report_of(out.getvalue(), "model.joblib"))


@pytest.mark.parametrize("protocol", range(6))
def test_numpy_values(protocol: int) -> None:
    values = {
        "floats": np.arange(10.0), "columns": np.asfortranarray(np.ones((2, 3))), "scalar": np.float64(1.5), "int": np.int64(3),
        "bool": np.True_, "dtype": np.dtype([("a", "i4"), ("b", "f8")]), "text": np.array(["a"]), "objects": np.array([1, "a"], dtype=object),
        "type": np.float32, "date": np.datetime64("2024-01-01"), "state": np.random.RandomState(0), "generator": np.random.default_rng(0),
        "masked": np.ma.array([1, 2], mask=[True, False]), "function": np.tanh,
    }  # fmt: skip
    for name, value in values.items():
        report = report_of(pickle.dumps(value, protocol))
        assert report.outcome is Outcome.PASS, (name, report.verdict.findings)


def test_safetensors_of_the_library() -> None:
    library = pytest.importorskip("safetensors.numpy")
    arrays = {"w": np.ones((3, 4), "f4"), "b": np.zeros(4, "f8"), "i": np.arange(5), "e": np.zeros((0, 2), "f4")}
    report = report_of(library.save(arrays, {"format": "np"}), "model.safetensors")
    assert (report.outcome, report.explained_bytes) == (Outcome.PASS, report.size)


ONNX = [
    "logistic regression",
    "random forest",
    "gradient boosting",
    "pipeline",
    "network",
    "support vectors",
    "k-means",
]


@pytest.mark.parametrize("name", ONNX)
def test_onnx_of_skl2onnx(name: str, digits: tuple[np.ndarray, np.ndarray]) -> None:
    skl2onnx = pytest.importorskip("skl2onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = MODELS[name]().fit(*digits)  # type: ignore[attr-defined]  # each is an estimator
        data = skl2onnx.to_onnx(fitted, digits[0][:1].astype(np.float32)).SerializeToString()
    report = report_of(data, "model.onnx")
    assert (report.outcome, report.explained_bytes) == (Outcome.PASS, report.size), report.verdict.findings
