"""XGBoost, LightGBM and CatBoost: each in the formats of its own, which are no pickles."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from tools.artifacts import Sample, file_of

LIBRARIES = ("xgboost", "lightgbm", "catboost", "numpy", "pandas")


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
        for suffix in ("json", "ubj") if name in {"classifier", "dart", "two-targets", "linear"} else ("json",):
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
    small = {"iterations": 3, "depth": 2, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
    table = pd.DataFrame({"a": x[:, 0], "town": ["x", "y", "z", "z"] * 20})
    texts = pd.DataFrame({"a": x[:, 0], "words": ["good day", "bad day", "good", "bad luck"] * 20})
    models = {
        "classifier": catboost.CatBoostClassifier(**small).fit(x, classes),
        "classes": catboost.CatBoostClassifier(**small).fit(x, classes + (x[:, 1] > 0)),
        "regressor": catboost.CatBoostRegressor(**small).fit(x, numbers),
        "lossguide": catboost.CatBoostRegressor(**small, grow_policy="Lossguide").fit(x, numbers),
        "categories": catboost.CatBoostClassifier(**small, cat_features=["town"]).fit(table, classes),
        "one-hot": catboost.CatBoostClassifier(**small, cat_features=["town"], one_hot_max_size=10).fit(table, classes),
        "texts": catboost.CatBoostClassifier(**small, text_features=["words"]).fit(texts, classes),
        "ranker": catboost.CatBoostRanker(**small).fit(x, classes, group_id=[0] * 40 + [1] * 40),
    }
    for name, model in models.items():
        yield f"catboost-{name}", {"model.cbm": file_of(model.save_model, "m.cbm")}
    for form in ("json", "onnx", "coreml", "pmml"):
        save = partial(models["classifier"].save_model, format=form)
        suffix = {"coreml": "mlmodel"}.get(form, form)
        yield f"catboost-as-{form}", {f"model.{suffix}": file_of(save, f"m.{suffix}")}
    yield (
        "catboost-categories-as-json",
        {"model.json": file_of(lambda path: models["categories"].save_model(path, format="json"), "m.json")},
    )


def samples() -> Iterator[Sample]:
    """All of them."""
    for family in (xgboosts, lightgbms, catboosts):
        yield from family()
