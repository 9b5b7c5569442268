"""PMML and R: what nyoka, R itself and pyreadr write."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import partial

from tools.artifacts import Sample, file_of
from tools.artifacts.boosters import data

LIBRARIES = ("nyoka", "sklearn", "pandas", "pyreadr")


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
            written = file_of(partial(skl_to_pmml, made, names, "y"), "m.pmml")
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
            )

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
    for family in (pmmls, rs, pyreadrs):
        yield from family()
