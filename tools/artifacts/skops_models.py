"""Estimators and plain values by skops."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from tools.artifacts import Sample

LIBRARIES = ("skops", "sklearn", "numpy", "scipy")
FOLDER = "skops"


def models() -> Iterator[tuple[str, Any]]:
    """Fitted estimators, and the values that they are made of."""
    import numpy as np
    import scipy.sparse
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.cluster import KMeans
    from sklearn.compose import ColumnTransformer
    from sklearn.decomposition import PCA
    from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.linear_model import LogisticRegression, SGDClassifier
    from sklearn.model_selection import GridSearchCV
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
    from sklearn.svm import SVC

    chance = np.random.RandomState(0)
    x = chance.rand(40, 3)
    y = (x[:, 0] > 0.5).astype(int)
    scaled = make_pipeline(StandardScaler(), FunctionTransformer(np.exp), LogisticRegression())
    columns = ColumnTransformer([("a", OneHotEncoder(handle_unknown="ignore"), [0]), ("b", StandardScaler(), [1, 2])])
    fitted = {
        "logistic": LogisticRegression(), "sgd": SGDClassifier(), "svc": SVC(), "pipeline": scaled, "columns": columns,
        "forest": RandomForestClassifier(1, max_depth=1, random_state=0), "knn": KNeighborsClassifier(),
        "boosting": GradientBoostingClassifier(n_estimators=1, max_depth=1), "pca": PCA(2), "kmeans": KMeans(2, n_init=1),
        "histogram": HistGradientBoostingClassifier(max_iter=1), "gaussian-process": GaussianProcessRegressor(),
        "grid": GridSearchCV(LogisticRegression(), {"C": [1, 2]}, cv=2), "mlp": MLPClassifier((3,), max_iter=2),
        "calibrated": CalibratedClassifierCV(LogisticRegression(), cv=2),
    }  # fmt: skip
    for name, model in fitted.items():
        yield name, model.fit(x, y)
    yield "tfidf", TfidfVectorizer().fit(["a bee sees", "dee eats"])
    yield "values", {"a": scipy.sparse.csr_matrix(x[:4]), "b": b"bytes", "c": chance, "d": np.random.default_rng(0)}
    yield (
        "objects",
        {"o": np.array([1, "a", None], object), "s": {1, 2}, "t": (1, 2.5), "m": np.ma.masked_equal([1, 2], 2)},
    )


def samples() -> Iterator[Sample]:
    """All of them."""
    import skops.io

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, model in models():
            yield name, {"model.skops": skops.io.dumps(model)}
