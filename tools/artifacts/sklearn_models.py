"""scikit-learn: every estimator that fits on little data, compositions of them, and each way to save them.

The ways of saving take turns over the estimators, so that each way meets many classes and each class stands once;
compositions are saved in several ways, for there the way changes the structure.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from tools.artifacts import Sample, stream_of

FOLDER = "sklearn"
LIBRARIES = ("sklearn", "numpy", "scipy", "joblib", "cloudpickle", "pandas", "skops", "imblearn", "lz4")
Save = tuple[str, str, Callable[[Any], bytes]]


def _pickled(protocol: int) -> Save:
    return f"pickle{protocol}", "model.pkl", lambda model: pickle.dumps(model, protocol)


def _joblib(codec: str, compress: object, suffix: str = "") -> Save:
    import joblib

    return f"joblib-{codec}", f"model.joblib{suffix}", lambda model: stream_of(joblib.dump, model, compress=compress)


def _plain_python(model: Any) -> bytes:
    out = io.BytesIO()
    pickle._Pickler(out, 4).dump(model)  # noqa: SLF001 - the Python half frames otherwise
    return out.getvalue()


def ways() -> list[Save]:
    """Every way to save an estimator."""
    import cloudpickle
    import skops.io

    return [
        *(_pickled(protocol) for protocol in (0, 1, 2, 3, 4, 5)),
        ("pickle4-python", "model.pickle", _plain_python),
        _joblib("plain", 0),
        _joblib("zlib", 3),
        _joblib("gzip", ("gzip", 3), ".gz"),
        _joblib("bz2", ("bz2", 3), ".bz2"),
        _joblib("lzma", ("lzma", 1), ".lzma"),
        _joblib("xz", ("xz", 1), ".xz"),
        _joblib("lz4", ("lz4", 1)),
        ("cloudpickle", "model.pkl", cloudpickle.dumps),
        ("skops", "model.skops", skops.io.dumps),
    ]


def data() -> list[tuple[Any, Any]]:
    """Training sets to try, one after the other."""
    import numpy as np

    rng = np.random.default_rng(3)
    x = rng.normal(size=(40, 4))
    label = (x[:, 0] > 0).astype(int)
    counts = rng.integers(0, 5, (40, 4)).astype(float)
    texts = ["the quick fox", "a lazy dog", "quick dog", "the end"] * 5
    records = [{"a": 1, "b": 2.0}, {"a": 3, "c": 1.0}] * 4
    return [
        (x, label),
        (counts, label),
        (np.abs(x), np.abs(x[:, 0]) + 0.1),
        (x, x[:, :2]),
        (x, np.c_[label, 1 - label]),
        (x[:, 0], np.sort(x[:, 1])),
        (texts, [0, 1] * 10),
        (records, [0, 1] * 4),
        (["a", "b", "a"], None),
        ([["a"], ["b", "a"]], None),
    ]


def instances(kind: type) -> Iterator[Any]:
    """Ways to make an estimator of this class."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeRegressor

    grid = {"C": [0.1, 1.0]}
    for args in (
        (),
        (LogisticRegression(),),
        (Ridge(),),
        (LogisticRegression(), grid),
        ([("a", LogisticRegression()), ("b", LogisticRegression(C=2))],),
        ([("a", Ridge()), ("b", DecisionTreeRegressor(max_depth=2))],),
        ([("a", StandardScaler())],),
        ([("a", StandardScaler(), [0, 1])],),
        ([LogisticRegression()],),
    ):
        try:
            model = kind(*args)
            small = {"n_estimators": 3, "max_iter": 20, "random_state": 0, "n_components": 2, "cv": 2, "n_jobs": None}
            known = model.get_params()
            model.set_params(**{key: value for key, value in small.items() if key in known and known[key] != "warn"})
        except Exception:  # noqa: S112 - this class is made otherwise
            continue
        yield model


def fitted(kind: type) -> Any:
    """An estimator of this class that has been fitted, or None."""
    for model in instances(kind):
        for x, y in data():
            try:
                model.fit(x, y)
            except Exception:  # noqa: S112 - it wants other data
                continue
            return model
    return None


def estimators() -> Iterator[tuple[str, Any]]:
    """One fitted estimator of each class."""
    from sklearn.utils import all_estimators

    for name, kind in all_estimators():
        model = fitted(kind)
        if model is not None:
            yield name, model


def compositions() -> Iterator[tuple[str, Any]]:
    """Estimators in estimators, and what else stands in their attributes."""
    import numpy as np
    from sklearn import (
        calibration,
        compose,
        decomposition,
        ensemble,
        feature_selection,
        gaussian_process,
        impute,
        kernel_approximation,
        linear_model,
        metrics,
        model_selection,
        multiclass,
        multioutput,
        naive_bayes,
        neighbors,
        neural_network,
        pipeline,
        preprocessing,
        svm,
        tree,
    )  # fmt: skip

    x, y = data()[0]
    logistic, scaler = linear_model.LogisticRegression, preprocessing.StandardScaler
    kernels = gaussian_process.kernels
    models = {
        "scale-then-classify": pipeline.make_pipeline(impute.SimpleImputer(), scaler(), logistic()),
        "function": pipeline.make_pipeline(preprocessing.FunctionTransformer(np.log1p, np.expm1), scaler(), logistic()),
        "union": pipeline.make_union(scaler(), decomposition.PCA(2)),
        "columns-in-pipeline": pipeline.make_pipeline(
            compose.ColumnTransformer([("a", scaler(), [0, 1]), ("b", preprocessing.KBinsDiscretizer(3), [2])], remainder="passthrough"),
            ensemble.RandomForestClassifier(3),
        ),
        "columns-by-slice": compose.ColumnTransformer([("a", "passthrough", slice(0, 2)), ("b", "drop", slice(2, 4))]),
        "columns-by-selector": compose.ColumnTransformer([("a", scaler(), compose.make_column_selector(dtype_include=float))]),
        "grid-of-pipeline": model_selection.GridSearchCV(
            pipeline.Pipeline([("s", scaler()), ("c", svm.SVC())]), {"c__C": [0.1, 1], "c__kernel": ["rbf", "linear"]}, cv=2
        ),
        "search-with-scorers": model_selection.GridSearchCV(
            logistic(), {"C": [1, 2]}, cv=model_selection.StratifiedKFold(2),
            scoring={"f1": "f1", "loss": metrics.make_scorer(metrics.log_loss, response_method="predict_proba")}, refit="f1",
        ),
        "random-search": model_selection.RandomizedSearchCV(logistic(), {"C": [0.1, 1, 10]}, n_iter=2, cv=2, random_state=0),
        "random-search-of-distributions": model_selection.RandomizedSearchCV(
            logistic(), {"C": __import__("scipy.stats").stats.loguniform(0.1, 10)}, n_iter=2, cv=2, random_state=0
        ),
        "calibrated-isotonic": calibration.CalibratedClassifierCV(svm.LinearSVC(), method="isotonic", cv=2),
        "calibrated-sigmoid": calibration.CalibratedClassifierCV(naive_bayes.GaussianNB(), cv=2),
        "stacking": ensemble.StackingClassifier([("a", svm.SVC()), ("b", tree.DecisionTreeClassifier())], logistic(), cv=2),
        "stacking-regressor": ensemble.StackingRegressor([("a", svm.SVR()), ("b", linear_model.Lasso())], cv=2),
        "voting-soft": ensemble.VotingClassifier([("a", logistic()), ("b", naive_bayes.GaussianNB())], voting="soft"),
        "voting-of-pipelines": ensemble.VotingClassifier([("a", pipeline.make_pipeline(scaler(), logistic())), ("b", logistic())]),
        "bagging-of-neighbours": ensemble.BaggingClassifier(neighbors.KNeighborsClassifier(3), 3),
        "boosting-of-trees": ensemble.AdaBoostRegressor(tree.DecisionTreeRegressor(max_depth=2), n_estimators=3),
        "one-vs-rest": multiclass.OneVsRestClassifier(logistic()),
        "one-vs-one": multiclass.OneVsOneClassifier(svm.LinearSVC()),
        "error-correcting": multiclass.OutputCodeClassifier(logistic(), random_state=0),
        "chain": multioutput.RegressorChain(linear_model.Ridge()),
        "target-transformed": compose.TransformedTargetRegressor(linear_model.Ridge(), func=np.log1p, inverse_func=np.expm1),
        "target-scaled": compose.TransformedTargetRegressor(linear_model.Ridge(), transformer=scaler()),
        "gaussian-process-sum": gaussian_process.GaussianProcessRegressor(
            kernels.ConstantKernel() * kernels.RBF([1.0] * 4) + kernels.WhiteKernel() + kernels.DotProduct() ** 2
        ),
        "gaussian-process-matern": gaussian_process.GaussianProcessClassifier(kernels.Matern(nu=1.5)),
        "gaussian-process-others": gaussian_process.GaussianProcessRegressor(kernels.RationalQuadratic() + kernels.ExpSineSquared()),
        "neighbours-kd-tree": neighbors.KNeighborsClassifier(algorithm="kd_tree", metric="manhattan"),
        "neighbours-ball-tree": neighbors.KNeighborsClassifier(algorithm="ball_tree", metric="minkowski", p=3),
        "neighbours-haversine": neighbors.NearestNeighbors(metric="haversine", algorithm="ball_tree").fit(x[:, :2]),
        "density": neighbors.KernelDensity(kernel="epanechnikov", algorithm="kd_tree"),
        "forest-of-entropy": ensemble.RandomForestClassifier(3, criterion="entropy", oob_score=True, warm_start=True),
        "gradient-quantile": ensemble.GradientBoostingRegressor(loss="quantile", n_estimators=3),
        "gradient-huber": ensemble.GradientBoostingRegressor(loss="huber", n_estimators=3, init=linear_model.Ridge()),
        "gradient-exponential": ensemble.GradientBoostingClassifier(loss="exponential", n_estimators=3),
        "histogram-poisson": ensemble.HistGradientBoostingRegressor(loss="poisson", max_iter=3),
        "histogram-quantile": ensemble.HistGradientBoostingRegressor(loss="quantile", quantile=0.3, max_iter=3),
        "histogram-early": ensemble.HistGradientBoostingClassifier(max_iter=5, early_stopping=True, categorical_features=None),
        "sgd-huber": linear_model.SGDClassifier(loss="modified_huber", early_stopping=True, average=True),
        "sgd-regressor": linear_model.SGDRegressor(loss="epsilon_insensitive"),
        "perceptron-sgd": neural_network.MLPClassifier((4, 3), solver="sgd", max_iter=5, early_stopping=True),
        "perceptron-lbfgs": neural_network.MLPRegressor((4,), solver="lbfgs", max_iter=5),
        "select-mutual": feature_selection.SelectKBest(feature_selection.mutual_info_classif, k=2),
        "select-percentile": feature_selection.SelectPercentile(feature_selection.f_classif, percentile=50),
        "select-from-model": feature_selection.SelectFromModel(linear_model.Lasso(0.01), threshold="median"),
        "recursive": feature_selection.RFECV(logistic(), cv=2),
        "sequential": feature_selection.SequentialFeatureSelector(logistic(), n_features_to_select=2, cv=2),
        "nystroem-chain": pipeline.make_pipeline(kernel_approximation.Nystroem(n_components=5), linear_model.SGDClassifier()),
        "spline": pipeline.make_pipeline(preprocessing.SplineTransformer(3), linear_model.Ridge()),
        "iterative-imputer": impute.KNNImputer(add_indicator=True),
        "threshold": model_selection.TunedThresholdClassifierCV(logistic(), cv=2),
        "fixed-threshold": model_selection.FixedThresholdClassifier(logistic()),
        "quantile-normal": preprocessing.QuantileTransformer(n_quantiles=10, output_distribution="normal"),
        "set-output": scaler().set_output(transform="pandas"),
        "precomputed-kernel": svm.SVC(kernel="poly", degree=2, probability=False, class_weight={0: 1.0, 1: 2.0}),
        "seeded-by-state": linear_model.SGDClassifier(random_state=np.random.RandomState(1)),
        "typed-scaler": scaler().fit(x.astype(np.float32)),
    }  # fmt: skip
    target = {"gaussian-process-sum", "gaussian-process-others", "histogram-poisson", "target-transformed"}
    for name, model in models.items():
        want = np.abs(x[:, 0]) if name in target else x[:, :2] if name == "chain" else y
        try:
            yield (
                name,
                model
                if hasattr(model, "_tree") or name == "typed-scaler"
                else model.fit(x[:, :2] if "haversine" in name else x, want),
            )
        except Exception as error:
            warnings.warn(f"{name}: {error}", stacklevel=1)


def texts_and_tables() -> Iterator[tuple[str, Any]]:
    """Fitted on texts, sparse matrices, tables and labels that are texts; and containers of models."""
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp
    from sklearn import (
        compose,
        decomposition,
        feature_extraction,
        linear_model,
        naive_bayes,
        pipeline,
        preprocessing,
        tree,
    )

    texts = ["the quick fox", "a lazy dog", "quick dog", "the end of it"] * 5
    topics = np.array(["animal", "animal", "animal", "other"] * 5)
    text = feature_extraction.text
    yield (
        "tfidf-bayes",
        pipeline.make_pipeline(text.TfidfVectorizer(ngram_range=(1, 2)), naive_bayes.MultinomialNB()).fit(
            texts, topics
        ),
    )
    yield (
        "counts-svd",
        pipeline.make_pipeline(text.CountVectorizer(analyzer="char_wb"), decomposition.TruncatedSVD(2)).fit(texts),
    )
    yield (
        "hashing",
        pipeline.make_pipeline(text.HashingVectorizer(n_features=32), linear_model.SGDClassifier()).fit(texts, topics),
    )
    yield "tfidf-stop-words", text.TfidfVectorizer(stop_words="english", max_features=5, dtype=np.float32).fit(texts)
    rows = [{"town": "a", "n": 1}, {"town": "b", "n": 2}] * 4
    yield (
        "records",
        pipeline.make_pipeline(feature_extraction.DictVectorizer(), tree.DecisionTreeRegressor()).fit(rows, range(8)),
    )
    table = pd.DataFrame(
        {"n": [1.0, 2, 3, 4], "town": ["a", "b", "a", "c"], "size": pd.Categorical(["s", "m", "s", "l"])}
    )
    columns = compose.make_column_transformer(
        (preprocessing.StandardScaler(), ["n"]), (preprocessing.OneHotEncoder(handle_unknown="ignore"), ["town"]),
        (preprocessing.OrdinalEncoder(), compose.make_column_selector(dtype_include="category")),
    )  # fmt: skip
    yield "table", pipeline.make_pipeline(columns, linear_model.LogisticRegression()).fit(table, ["x", "y", "x", "y"])
    yield "one-hot-sparse", preprocessing.OneHotEncoder(dtype=np.int8, min_frequency=2).fit(table[["town"]])
    yield "target-encoder", preprocessing.TargetEncoder(cv=2).fit(table[["town"]], [0, 1, 0, 1])
    for form in (sp.csr_matrix, sp.csc_matrix, sp.csr_array):
        x = form(np.eye(6))
        yield f"sparse-{form.__name__}", linear_model.LogisticRegression().fit(x, [0, 1] * 3).sparsify()
    model = linear_model.Ridge().fit([[1.0], [2.0]], [1.0, 2.0])
    yield (
        "dict-of-models",
        {"model": model, "columns": ["a"], "version": "1.2.0", "scores": {"r2": 0.5, "folds": np.ones(3)}},
    )
    yield (
        "tuple-of-models",
        (model, tree.DecisionTreeClassifier().fit([[1], [2]], [0, 1]), None, {1, 2}, frozenset({"a"})),
    )
    yield (
        "table-in-dict",
        {"model": model, "train": table, "index": pd.date_range("2024-01-01", periods=3), "series": pd.Series([1, 2])},
    )


def others() -> Iterator[tuple[str, Any]]:
    """Libraries that build on scikit-learn; each is left out where it is not installed."""
    try:
        import imblearn.ensemble
        import imblearn.over_sampling
        import imblearn.pipeline
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        return
    x, y = data()[0]
    yield (
        "imblearn-pipeline",
        imblearn.pipeline.make_pipeline(imblearn.over_sampling.SMOTE(), LogisticRegression()).fit(x, y),
    )
    yield "imblearn-forest", imblearn.ensemble.BalancedRandomForestClassifier(3).fit(x, y)
    yield (
        "imblearn-random",
        imblearn.pipeline.make_pipeline(imblearn.over_sampling.RandomOverSampler(), LogisticRegression()).fit(x, y),
    )
    yield "imblearn-bagging", imblearn.ensemble.BalancedBaggingClassifier(n_estimators=2).fit(x, y)


def samples() -> Iterator[Sample]:
    """The models of this family."""
    import numpy as np

    np.random.seed(0)
    warnings.simplefilter("ignore")
    turns = ways()
    for at, (name, model) in enumerate(estimators()):
        way, file, save = turns[at % len(turns)]
        yield f"{name}-{way}", {file: save(model)}
    for at, (name, model) in enumerate([*compositions(), *texts_and_tables(), *others()]):
        for way, file, save in (turns[(at * 5) % len(turns)], turns[(at * 5 + 8) % len(turns)]):
            try:
                yield f"{name}-{way}", {file: save(model)}
            except Exception as error:
                warnings.warn(f"{name}, {way}: {error}", stacklevel=1)  # skops refuses what it does not know
