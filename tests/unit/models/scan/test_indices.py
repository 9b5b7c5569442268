"""Indices that compiled code goes by: what honest libraries write of them passes, whoever pickles it."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import cloudpickle
import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn import cluster, ensemble, neighbors, svm
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer
from sklearn.semi_supervised import LabelPropagation
from sklearn.tree import DecisionTreeClassifier, ExtraTreeRegressor

from fastness.models.scan import Outcome
from fastness.models.scan.machine import catalogue
from fastness.models.scan.machine.followed import FOLLOWED
from tests.unit.models.scan.artifacts import report_of, rules_of

R = np.random.RandomState(0)
X, Y = R.rand(90, 5), np.arange(90) % 3
WIDE = sparse.random(90, 200, 0.05, "csr", random_state=0)
DOCS = [" ".join(R.choice([f"w{i}" for i in range(400)], 20)) for _ in range(60)]


def _fitted(kind: Callable[..., Any], data: Any, **settings: object) -> Any:
    return kind(**settings).fit(data, Y)


def _models() -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "tree", lambda: DecisionTreeClassifier().fit(X, Y)
    yield "pruned", lambda: DecisionTreeClassifier(ccp_alpha=0.02, max_leaf_nodes=9).fit(X, Y)
    yield "several outputs", lambda: ExtraTreeRegressor().fit(X, X[:, :2])
    yield "stump", lambda: DecisionTreeClassifier().fit(X, np.zeros(90))
    yield "forest", lambda: ensemble.RandomForestClassifier(5).fit(X, Y)
    yield "gradient boosting", lambda: ensemble.GradientBoostingClassifier(n_estimators=3).fit(X, Y)
    yield "many trees", lambda: ensemble.GradientBoostingRegressor(n_estimators=260, max_depth=1).fit(X, X[:, 0])
    yield (
        "boosting from an estimator",
        lambda: ensemble.GradientBoostingClassifier(n_estimators=2, init=LogisticRegression()).fit(X, Y),
    )
    yield "boosting from zero", lambda: ensemble.GradientBoostingClassifier(n_estimators=2, init="zero").fit(X, Y)
    yield "histogram", lambda: ensemble.HistGradientBoostingClassifier(max_iter=3).fit(X, Y)
    yield "isolation", lambda: ensemble.IsolationForest(n_estimators=5, max_features=0.5).fit(X)
    yield "embedding", lambda: ensemble.RandomTreesEmbedding(4).fit(X)
    yield "bagging", lambda: ensemble.BaggingClassifier(max_features=0.5, n_estimators=3).fit(X, Y)
    for algorithm in ("kd_tree", "ball_tree", "brute"):
        yield (
            f"neighbours {algorithm}",
            partial(_fitted, neighbors.KNeighborsClassifier, X, algorithm=algorithm, leaf_size=3),
        )
    for name, given in {
        "seuclidean": {"V": np.ones(5)},
        "mahalanobis": {"VI": np.eye(5)},
        "minkowski": {"w": np.ones(5)},
    }.items():
        yield (
            name,
            partial(_fitted, neighbors.KNeighborsRegressor, X, algorithm="ball_tree", metric=name, metric_params=given),
        )
    yield "named classes", lambda: neighbors.KNeighborsClassifier().fit(X, np.array(["a", "b", "c"])[Y])
    yield "single precision", lambda: neighbors.NearestNeighbors(algorithm="kd_tree").fit(X.astype("f"))
    yield "outliers", lambda: neighbors.LocalOutlierFactor(novelty=True).fit(X)
    yield "density", lambda: neighbors.KernelDensity().fit(X, sample_weight=np.ones(90))
    yield "haversine", lambda: neighbors.NearestNeighbors(algorithm="ball_tree", metric="haversine").fit(X[:, :2])
    for kind in (svm.SVC, svm.NuSVC, svm.SVR, svm.NuSVR, svm.OneClassSVM):
        yield f"{kind.__name__}", partial(_fitted, kind, X)
        yield f"{kind.__name__} of a sparse matrix", partial(_fitted, kind, WIDE)
    yield "two classes", lambda: svm.SVC().fit(X, Y > 0)
    yield "probabilities", lambda: svm.SVC(probability=True).fit(X, Y)
    yield "products", lambda: svm.SVC(kernel="precomputed").fit(X @ X.T, Y)
    yield (
        "words",
        lambda: make_pipeline(TfidfVectorizer(max_features=300), LogisticRegression()).fit(DOCS, np.arange(60) % 2),
    )
    yield "no words", CountVectorizer
    yield "given words", lambda: CountVectorizer(vocabulary={"a": 0, "b": 1})
    yield "keys", lambda: DictVectorizer().fit([{"a": 1, "b": "x"}, {"c": 2}])
    yield "sparse coefficients", lambda: SGDClassifier(penalty="l1").fit(X, Y).sparsify()
    yield "propagation", lambda: LabelPropagation(kernel="knn", n_neighbors=3).fit(X, Y)
    yield "birch", lambda: cluster.Birch().fit(X)
    yield "splines", lambda: SplineTransformer().fit(X)
    for bits in ("MT19937", "PCG64", "Philox", "SFC64"):
        yield bits, partial(np.random.Generator, getattr(np.random, bits)(0))
    yield "random state", lambda: np.random.RandomState(0)
    for form in ("csr", "csc", "bsr", "coo", "dia", "lil", "dok"):
        yield form, partial(getattr(sparse, f"{form}_array"), sparse.random(12, 20, 0.2, random_state=0))
        yield f"empty {form}", partial(getattr(sparse, f"{form}_matrix"), (5, 6))
    yield "one dimension", lambda: sparse.csr_array(np.array([1, 0, 2]))
    yield "three dimensions", lambda: sparse.coo_array(R.rand(2, 3, 4) > 0.5)
    yield "a slice", lambda: sparse.csr_matrix(sparse.random(30, 20, 0.2, random_state=0))[3:9, ::2]
    yield "large", lambda: sparse.random(2000, 3000, 0.01, "csr", random_state=0)


MODELS = dict(_models())


def _writings(value: object) -> Iterator[tuple[str, bytes]]:
    for protocol in range(6):
        yield f"pickle {protocol}", pickle.dumps(value, protocol)
    yield "cloudpickle", cloudpickle.dumps(value)
    for codec in (0, "zlib", "gzip", "bz2", "lzma", "xz", "lz4"):
        target = io.BytesIO()
        joblib.dump(value, target, compress=(codec, 1) if codec else 0)
        yield f"joblib {codec}", target.getvalue()


@pytest.mark.filterwarnings("ignore:The `probability` parameter")
@pytest.mark.parametrize("name", MODELS)
def test_honest_indices_pass(name: str) -> None:
    for writer, data in _writings(MODELS[name]()):
        report = report_of(data)
        assert report.outcome is Outcome.PASS, (writer, report.verdict)


def test_every_followed_class_is_reviewed_under_its_name() -> None:
    reviewed = {f"{module}.{name}" for module, name in catalogue().reviewed}
    assert set(FOLLOWED) - reviewed == set()


INDEXED = ("Tree", "TreePredictor", "KDTree", "BallTree", "csr_", "csc_", "bsr_", "coo_", "dia_", "lil_")


def test_every_reviewed_class_of_those_names_is_followed() -> None:
    """A list that learns another module of the same class must not lose sight of it."""
    for module, name in catalogue().reviewed:
        if (
            name in INDEXED
            or (name[:4] in INDEXED and name[4:] in {"matrix", "array"})
            or name.startswith(("KDTree", "BallTree"))
        ):
            assert f"{module}.{name}" in FOLLOWED, (module, name)


def test_numbers_that_stand_in_arrays_of_one_class_only_are_not_read() -> None:
    report = report_of(pickle.dumps([np.full(9, 1 << 40), {"indices": np.full(9, 1 << 40)}]))
    assert rules_of(report) == set()


@pytest.mark.parametrize("form", ["csr", "csc", "bsr", "coo", "dia"])
def test_honest_archives_of_matrices_pass(form: str) -> None:
    given = (
        sparse.random(12, 20, 0.2, random_state=0),
        sparse.random(0, 4),
        sparse.eye_array(70, 900, k=3) if form == "dia" else sparse.random(700, 900, 0.1, random_state=0),
    )
    for matrix in given:
        for kind in ("matrix", "array"):
            for compressed in (True, False):
                target = io.BytesIO()
                sparse.save_npz(target, getattr(sparse, f"{form}_{kind}")(matrix), compressed=compressed)
                report = report_of(target.getvalue(), "m.npz")
                assert report.outcome is Outcome.PASS, report.verdict
                assert set(report.formats) >= {"npz", "npy"}


def test_an_archive_with_a_format_of_its_own_passes() -> None:
    target = io.BytesIO()
    np.savez(target, format=np.array("ours"), shape=np.zeros(2), data=np.zeros(3))
    assert rules_of(report_of(target.getvalue(), "m.npz")) == set()


def test_three_dimensions_and_one_in_archives_pass() -> None:
    for matrix in (
        sparse.coo_array(R.rand(2, 3, 4) > 0.5),
        sparse.csr_array(np.array([1, 0, 2])),
        sparse.coo_array([0, 1]),
    ):
        target = io.BytesIO()
        sparse.save_npz(target, matrix)
        assert rules_of(report_of(target.getvalue(), "m.npz")) == set()


def test_a_stream_that_cannot_be_rewound_is_not_read_again_for_each_array() -> None:
    """xz goes on from nowhere but its beginning; what was read last is kept, so that looking back at an array is cheap."""
    matrices = [sparse.csr_matrix(sparse.eye_array(400_000 + i)) for i in range(6)]
    target = io.BytesIO()
    joblib.dump(matrices, target, compress=("xz", 1))
    size = sum(one.data.nbytes + one.indices.nbytes + one.indptr.nbytes for one in matrices)
    assert size > 24 << 20  # what is shorter is kept whole
    report = report_of(target.getvalue(), inflated_bytes=6 * size)
    assert report.outcome is Outcome.PASS, report.verdict
