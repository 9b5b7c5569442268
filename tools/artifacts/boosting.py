"""XGBoost, LightGBM and CatBoost: their own formats, pickles of their estimators, and both within scikit-learn."""

from __future__ import annotations

import functools
import json
import pickle
import tempfile
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from tools.artifacts import Sample, file_of, stream_of

LIBRARIES = ("xgboost", "lightgbm", "catboost", "sklearn", "numpy", "joblib")


def _training() -> tuple[Any, Any, Any]:
    import numpy as np

    x = np.random.default_rng(5).normal(size=(60, 4))
    return x, (x[:, 0] > 0).astype(int), x[:, 0] * 2


def _saved(name: str, model: object, turn: int) -> Sample:
    """The model through a pickle or joblib; the way takes turns."""
    import joblib

    ways: list[tuple[str, str, Callable[[], bytes]]] = [
        ("pickle4", "model.pkl", lambda: pickle.dumps(model, 4)),
        ("pickle2", "model.pkl", lambda: pickle.dumps(model, 2)),
        ("joblib", "model.joblib", lambda: stream_of(joblib.dump, model)),
        ("pickle5", "model.pickle", lambda: pickle.dumps(model, 5)),
        ("joblib-zlib", "model.joblib", lambda: stream_of(joblib.dump, model, compress=3)),
        ("pickle0", "model.pkl", lambda: pickle.dumps(model, 0)),
    ]
    way, file, save = ways[turn % len(ways)]
    return f"{name}-{way}", {file: save()}


def _xgboost() -> Iterator[Sample]:
    import xgboost as xgb

    x, y, z = _training()
    few: dict[str, Any] = {"n_estimators": 3, "max_depth": 2}
    fitted = {
        "xgb-classifier": xgb.XGBClassifier(**few).fit(x, y),
        "xgb-regressor": xgb.XGBRegressor(**few).fit(x, z),
        "xgb-ranker": xgb.XGBRanker(**few).fit(x, y, group=[30, 30]),
        "xgb-forest": xgb.XGBRFClassifier(**few).fit(x, y),
        "xgb-forest-regressor": xgb.XGBRFRegressor(**few).fit(x, z),
        "xgb-linear": xgb.XGBRegressor(booster="gblinear", n_estimators=3).fit(x, z),
        "xgb-dart": xgb.XGBClassifier(booster="dart", **few).fit(x, y),
        "xgb-multi": xgb.XGBClassifier(**few).fit(x, (x[:, 1] > 0).astype(int) + y),
        "xgb-early": xgb.XGBClassifier(early_stopping_rounds=2, eval_metric=["logloss", "auc"], **few).fit(
            x, y, eval_set=[(x, y)], verbose=False
        ),
        "xgb-multi-target": xgb.XGBRegressor(multi_strategy="multi_output_tree", tree_method="hist", **few).fit(
            x, x[:, :2]
        ),
        "xgb-quantile": xgb.XGBRegressor(objective="reg:quantileerror", quantile_alpha=[0.1, 0.9], **few).fit(x, z),
    }
    for turn, (name, model) in enumerate(fitted.items()):
        yield _saved(name, model, turn)
        for kind in ("json", "ubj"):
            if (turn + (kind == "ubj")) % 2 or turn < 3:
                yield f"{name}-{kind}", {f"model.{kind}": file_of(model.save_model, f"m.{kind}")}
    booster = xgb.train({"max_depth": 2}, xgb.DMatrix(x, label=y, feature_names=list("abcd")), 3)
    booster.set_attr(best_iteration="2", note="first")
    yield "xgb-booster-json", {"model.json": file_of(booster.save_model, "m.json")}
    yield "xgb-booster-ubj", {"model.ubj": bytes(booster.save_raw("ubj"))}
    yield "xgb-booster-text", {"dump.txt": file_of(booster.dump_model, "m.txt")}
    yield "xgb-booster-config", {"config.json": booster.save_config().encode()}
    yield _saved("xgb-booster", booster, 0)
    yield _saved("xgb-booster", booster, 2)


def _lightgbm() -> Iterator[Sample]:
    import lightgbm as lgb
    import pandas as pd

    x, y, z = _training()
    few: dict[str, Any] = {"n_estimators": 3, "verbose": -1, "n_jobs": 1, "min_child_samples": 5}
    table = pd.DataFrame({"a": x[:, 0], "b": pd.Categorical(["u", "v", "w"] * 20)})
    fitted = {
        "lgb-classifier": lgb.LGBMClassifier(**few).fit(x, y),
        "lgb-regressor": lgb.LGBMRegressor(**few).fit(x, z),
        "lgb-ranker": lgb.LGBMRanker(**few).fit(x, y, group=[30, 30]),
        "lgb-dart": lgb.LGBMClassifier(boosting_type="dart", **few).fit(x, y),
        "lgb-linear-tree": lgb.LGBMRegressor(linear_tree=True, **few).fit(x, z),
        "lgb-multi": lgb.LGBMClassifier(**few).fit(x, (x[:, 1] > 0).astype(int) + y),
        "lgb-categorical": lgb.LGBMClassifier(**few).fit(table, y),
        "lgb-quantile": lgb.LGBMRegressor(objective="quantile", alpha=0.2, **few).fit(x, z),
        "lgb-evaluated": lgb.LGBMClassifier(**few).fit(
            x, y, eval_set=[(x, y)], callbacks=[lgb.early_stopping(2, verbose=False)]
        ),
    }
    for turn, (name, model) in enumerate(fitted.items()):
        yield _saved(name, model, turn + 1)
        yield f"{name}-text", {"model.txt": file_of(model.booster_.save_model, "m.txt")}
    booster = fitted["lgb-multi"].booster_
    yield "lgb-booster-json", {"model.json": json.dumps(booster.dump_model()).encode()}
    yield _saved("lgb-booster", booster, 0)
    yield _saved("lgb-booster", booster, 2)


def _catboost() -> Iterator[Sample]:
    import catboost as cb

    x, y, z = _training()
    with tempfile.TemporaryDirectory() as folder:
        few: dict[str, Any] = {
            "iterations": 3,
            "depth": 2,
            "verbose": 0,
            "train_dir": folder,
            "allow_writing_files": False,
        }
        texts = [[float(a), "u" if a > 0 else "v"] for a in x[:, 0]]
        fitted = {
            "cat-classifier": cb.CatBoostClassifier(**few).fit(x, y),
            "cat-regressor": cb.CatBoostRegressor(**few).fit(x, z),
            "cat-multi": cb.CatBoostClassifier(loss_function="MultiClass", **few).fit(x, (x[:, 1] > 0).astype(int) + y),
            "cat-categorical": cb.CatBoostClassifier(**few).fit(texts, y, cat_features=[1]),
            "cat-lossguide": cb.CatBoostRegressor(grow_policy="Lossguide", **few).fit(x, z),
            "cat-quantile": cb.CatBoostRegressor(loss_function="Quantile:alpha=0.3", **few).fit(x, z),
        }
        del few["train_dir"]
    kinds = {
        "cbm": "cbm",
        "json": "json",
        "onnx": "onnx",
        "coreml": "mlmodel",
        "pmml": "pmml",
        "cpp": "cpp",
        "python": "py",
    }
    for turn, (name, model) in enumerate(fitted.items()):
        model._init_params.pop("train_dir", None)  # noqa: SLF001 - the folder is gone, and no fixture names it
        yield _saved(name, model, turn)
        yield f"{name}-cbm", {"model.cbm": file_of(model.save_model, "m.cbm")}
        for kind, suffix in list(kinds.items())[1:5]:
            if kind == "json" or turn < 2:
                try:
                    data = file_of(functools.partial(model.save_model, format=kind), f"m.{suffix}")
                    yield f"{name}-{kind}", {f"model.{suffix}": data}
                except Exception as error:
                    warnings.warn(f"{name}, {kind}: {error}", stacklevel=1)


def _composed() -> Iterator[Sample]:
    import lightgbm as lgb
    import xgboost as xgb
    from sklearn.ensemble import StackingClassifier, VotingClassifier
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y, _ = _training()
    light = lgb.LGBMClassifier(n_estimators=2, verbose=-1, n_jobs=1)
    yield _saved("pipeline-xgb", make_pipeline(StandardScaler(), xgb.XGBClassifier(n_estimators=2)).fit(x, y), 0)
    yield _saved("pipeline-lgb", make_pipeline(StandardScaler(), light).fit(x, y), 2)
    yield _saved("voting-both", VotingClassifier([("a", xgb.XGBClassifier(n_estimators=2)), ("b", light)]).fit(x, y), 3)
    yield _saved(
        "stacking-both", StackingClassifier([("a", xgb.XGBClassifier(n_estimators=2)), ("b", light)], cv=2).fit(x, y), 4
    )
    yield _saved(
        "search-xgb", GridSearchCV(xgb.XGBClassifier(n_estimators=2), {"max_depth": [1, 2]}, cv=2).fit(x, y), 0
    )
    yield _saved("search-lgb", GridSearchCV(light, {"max_depth": [1, 2]}, cv=2).fit(x, y), 1)


def samples() -> Iterator[Sample]:
    """The models of this family; a library that is missing is left out."""
    warnings.simplefilter("ignore")
    for make in (_xgboost, _lightgbm, _catboost, _composed):
        try:
            yield from make()
        except ImportError as error:
            print(f"boosting: left out, {error}")
            if make is _xgboost:
                raise
