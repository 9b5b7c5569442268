"""XGBoost, LightGBM, CatBoost, PMML and R: each in the formats of its own, which are no pickles."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from tools.artifacts import Sample, file_of

LIBRARIES = ("xgboost", "lightgbm", "catboost", "numpy", "sklearn", "nyoka", "pandas", "pyreadr")


def data() -> tuple[Any, Any, Any]:
    """Rows, classes and numbers."""
    import numpy as np

    chance = np.random.default_rng(7)
    x = chance.normal(size=(80, 4)).astype("f4")
    return x, (x[:, 0] > 0).astype(int), x @ np.arange(4)


def xgboosts() -> Iterator[Sample]:
    """Each booster, objective and file format."""
    import xgboost

    x, classes, numbers = data()
    small = {"n_estimators": 3, "max_depth": 2, "n_jobs": 1}
    many = (classes + (x[:, 1] > 0)).astype(int)
    models = {
        "classifier": xgboost.XGBClassifier(**small).fit(x, classes),
        "classes": xgboost.XGBClassifier(**small).fit(x, many),
        "regressor": xgboost.XGBRegressor(**small, objective="reg:absoluteerror").fit(x, numbers),
        "dart": xgboost.XGBRegressor(**small, booster="dart", rate_drop=0.1).fit(x, numbers),
        "linear": xgboost.XGBRegressor(booster="gblinear", n_estimators=3).fit(x, numbers),
        "forest": xgboost.XGBRFClassifier(**small).fit(x, classes),
        "ranker": xgboost.XGBRanker(**small).fit(x, classes, group=[40, 40]),
        "counts": xgboost.XGBRegressor(**small, objective="count:poisson").fit(x, abs(numbers)),
        "quantiles": xgboost.XGBRegressor(**small, objective="reg:quantileerror", quantile_alpha=[0.1, 0.9]).fit(
            x, numbers
        ),
        "two-targets": xgboost.XGBRegressor(**small, multi_strategy="multi_output_tree", tree_method="hist").fit(
            x, x[:, :2]
        ),
    }
    for name, model in models.items():
        for suffix in ("json", "ubj"):
            yield f"xgboost-{name}-{suffix}", {f"model.{suffix}": file_of(model.save_model, f"m.{suffix}")}
    booster = models["classifier"].get_booster()
    booster.set_attr(best_iteration="2", note="hand-tuned")
    booster.feature_names = ["age", "a<b", "income (EUR)", "x"]
    yield "xgboost-attributes", {"model.json": file_of(booster.save_model, "m.json")}
    yield "xgboost-config", {"config.json": booster.save_config().encode()}
    yield "xgboost-raw", {"model.bin": bytes(booster.save_raw("ubj"))}


def lightgbms() -> Iterator[Sample]:
    """Each booster and objective, as text."""
    import lightgbm
    import pandas as pd

    x, classes, numbers = data()
    small = {"n_estimators": 3, "max_depth": 2, "min_child_samples": 2, "verbose": -1, "n_jobs": 1}
    table = pd.DataFrame({"a": x[:, 0], "town": pd.Categorical(["x", "y"] * 40)})
    models = {
        "classifier": lightgbm.LGBMClassifier(**small).fit(x, classes),
        "classes": lightgbm.LGBMClassifier(**small).fit(x, classes + (x[:, 1] > 0)),
        "regressor": lightgbm.LGBMRegressor(**small, objective="quantile").fit(x, numbers),
        "dart": lightgbm.LGBMRegressor(**small, boosting_type="dart").fit(x, numbers),
        "forest": lightgbm.LGBMRegressor(**small, boosting_type="rf", subsample=0.5, subsample_freq=1).fit(x, numbers),
        "ranker": lightgbm.LGBMRanker(**small).fit(x, classes, group=[40, 40]),
        "linear-tree": lightgbm.LGBMRegressor(**small, linear_tree=True).fit(x, numbers),
        "categories": lightgbm.LGBMClassifier(**small).fit(table, classes),
    }
    for name, model in models.items():
        yield f"lightgbm-{name}", {"model.txt": file_of(model.booster_.save_model, "m.txt")}


def catboosts() -> Iterator[Sample]:
    """Each kind of feature, in each format."""
    import catboost
    import pandas as pd

    x, classes, numbers = data()
    with tempfile.TemporaryDirectory() as folder:
        small = {"iterations": 3, "depth": 2, "verbose": 0, "train_dir": folder, "thread_count": 1}
        table = pd.DataFrame({"a": x[:, 0], "town": ["x", "y", "z", "z"] * 20})
        texts = pd.DataFrame({"a": x[:, 0], "words": ["good day", "bad day", "good", "bad luck"] * 20})
        models = {
            "classifier": catboost.CatBoostClassifier(**small).fit(x, classes),
            "classes": catboost.CatBoostClassifier(**small).fit(x, classes + (x[:, 1] > 0)),
            "regressor": catboost.CatBoostRegressor(**small).fit(x, numbers),
            "lossguide": catboost.CatBoostRegressor(**small, grow_policy="Lossguide").fit(x, numbers),
            "categories": catboost.CatBoostClassifier(**small, cat_features=["town"]).fit(table, classes),
            "one-hot": catboost.CatBoostClassifier(**small, cat_features=["town"], one_hot_max_size=10).fit(
                table, classes
            ),
            "texts": catboost.CatBoostClassifier(**small, text_features=["words"]).fit(texts, classes),
            "ranker": catboost.CatBoostRanker(**small).fit(x, classes, group_id=[0] * 40 + [1] * 40),
        }
        for name, model in models.items():
            yield f"catboost-{name}", {"model.cbm": file_of(model.save_model, "m.cbm")}
        for form in ("json", "onnx", "coreml", "pmml"):
            save: Callable[[str], object] = lambda path, form=form: models["classifier"].save_model(path, format=form)  # noqa: E731
            suffix = {"coreml": "mlmodel"}.get(form, form)
            yield f"catboost-as-{form}", {f"model.{suffix}": file_of(save, f"m.{suffix}")}
        yield (
            "catboost-categories-as-json",
            {"model.json": file_of(lambda path: models["categories"].save_model(path, format="json"), "m.json")},
        )


def pmmls() -> Iterator[Sample]:
    """What nyoka writes for scikit-learn."""
    from nyoka import skl_to_pmml
    from sklearn import (
        cluster,
        ensemble,
        linear_model,
        naive_bayes,
        neighbors,
        neural_network,
        pipeline,
        preprocessing,
        svm,
        tree,
    )

    x, classes, numbers = data()
    names = ["a", "b", "c", "d"]
    models = {
        "tree": (tree.DecisionTreeClassifier(max_depth=2), classes),
        "forest": (ensemble.RandomForestRegressor(2, max_depth=2), numbers),
        "boosting": (ensemble.GradientBoostingClassifier(n_estimators=2, max_depth=2), classes),
        "logistic": (linear_model.LogisticRegression(), classes),
        "linear": (linear_model.LinearRegression(), numbers),
        "bayes": (naive_bayes.GaussianNB(), classes),
        "neighbours": (neighbors.KNeighborsClassifier(3), classes),
        "network": (neural_network.MLPClassifier((3,), max_iter=5), classes),
        "support": (svm.SVC(), classes),
        "clusters": (cluster.KMeans(2, n_init=1), classes),
    }
    for name, (model, target) in models.items():
        made = pipeline.Pipeline([("scale", preprocessing.StandardScaler()), ("model", model)]).fit(x, target)
        try:
            written = file_of(lambda path, made=made: skl_to_pmml(made, names, "y", path), "m.pmml")
        except (
            AttributeError,
            TypeError,
            KeyError,
            ValueError,
            IndexError,
            ImportError,
        ) as problem:  # not every version of both fits
            print(f"pmml-{name}: {problem!r}")
            continue
        yield f"pmml-{name}", {"model.pmml": written}


R_MODELS = {
    "numbers": "list(w = c(1.5, NA, Inf), b = 1:3, f = factor(c('x', 'y')), n = NULL, l = TRUE, z = 1i, r = as.raw(1:3))",
    "table": "data.frame(x = 1:5, y = letters[1:5])",
    "matrix": "matrix(as.numeric(1:6), 2, dimnames = list(NULL, c('a', 'b', 'c')))",
    "date": "as.Date('2024-01-01') + 0:3",
    "lm": "lm(mpg ~ wt + hp, data = mtcars, model = FALSE)",
    "glm": "glm(am ~ wt, data = mtcars, family = binomial(), model = FALSE)",
    "formula": "y ~ log(x) + I(x^2)",
    "function": "function(x) x + 1",
    "kmeans": "kmeans(as.matrix(mtcars[, 1:2]), 2)",
    "prcomp": "prcomp(mtcars[, 1:3])",
    "loess-like": "smooth.spline(mtcars$wt, mtcars$mpg)",
    "nls": "nls(mpg ~ a + b * wt, data = mtcars, start = list(a = 40, b = -5))",
}


def rs() -> Iterator[Sample]:
    """What R itself writes: each model as RDS, and the ways of saving."""
    r = shutil.which("Rscript")
    if r is None:
        return

    def run(code: str, name: str) -> bytes:
        def save(path: str) -> None:
            subprocess.run(
                [r, "--vanilla", "-e", f"set.seed(1); path <- '{path}'; {code}"], check=True, capture_output=True
            )  # type: ignore[list-item]

        return file_of(save, name)

    for name, made in R_MODELS.items():
        yield f"r-{name}", {"model.rds": run(f"saveRDS({made}, path)", "m.rds")}
    for codec in ("FALSE", "'bzip2'", "'xz'"):
        yield (
            f"r-{codec.strip(chr(39)).lower()}",
            {"model.rds": run(f"saveRDS({R_MODELS['numbers']}, path, compress = {codec})", "m.rds")},
        )
    yield "r-ascii", {"model.rds": run(f"saveRDS({R_MODELS['table']}, path, ascii = TRUE)", "m.rds")}
    yield "r-version-2", {"model.rds": run(f"saveRDS({R_MODELS['lm']}, path, version = 2)", "m.rds")}
    yield (
        "r-data",
        {
            "model.RData": run(
                f"model <- {R_MODELS['numbers']}; other <- 1:3; save(model, other, file = path)", "m.RData"
            )
        },
    )
    yield (
        "r-data-ascii",
        {"model.RData": run("other <- list(a = 'x', b = 2.5); save(other, file = path, ascii = TRUE)", "m.RData")},
    )


def pyreadrs() -> Iterator[Sample]:
    """What pyreadr writes."""
    import pandas as pd
    import pyreadr

    table = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    yield "pyreadr-rds", {"model.rds": file_of(lambda path: pyreadr.write_rds(path, table), "m.rds")}
    yield (
        "pyreadr-rdata",
        {"model.RData": file_of(lambda path: pyreadr.write_rdata(path, table, df_name="t"), "m.RData")},
    )


def samples() -> Iterator[Sample]:
    """All of them."""
    for family in (xgboosts, lightgbms, catboosts, pmmls, rs, pyreadrs):
        yield from family()
