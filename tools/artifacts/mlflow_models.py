"""MLflow models of several flavors, as MLflow saves them; a flavor whose library is missing is left out."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tools.artifacts import Sample, folder_of

FOLDER = "mlflow"
LIBRARIES = ("mlflow", "sklearn", "skops", "xgboost", "lightgbm", "torch", "onnx", "cloudpickle")
PINNED = ["mlflow==3.17.2"]


def _flavors() -> Iterator[tuple[str, Callable[[str], Any]]]:
    """A name, and what saves the model into a folder."""
    import mlflow.lightgbm
    import mlflow.onnx
    import mlflow.pytorch
    import mlflow.sklearn
    import mlflow.xgboost
    import numpy
    import onnx
    import torch
    from lightgbm import LGBMClassifier
    from mlflow.models import infer_signature
    from sklearn.linear_model import LogisticRegression
    from sklearn.tree import DecisionTreeClassifier
    from xgboost import XGBClassifier

    x = numpy.random.default_rng(0).random((20, 3))
    y = (x[:, 0] > 0.5).astype(int)
    line, tree = LogisticRegression().fit(x, y), DecisionTreeClassifier(max_depth=2).fit(x, y)
    signature = infer_signature(x, y)
    sklearn, pinned = mlflow.sklearn.save_model, {"pip_requirements": PINNED}
    for kind in ("skops", "cloudpickle", "pickle"):
        yield f"sklearn-{kind}", partial(sklearn, line, serialization_format=kind, signature=signature, **pinned)
    yield "sklearn-example", partial(sklearn, line, input_example=x[:2], **pinned)
    trusted = ["sklearn.tree._tree.Tree"]
    yield "sklearn-tree", partial(sklearn, tree, skops_trusted_types=trusted, **pinned)
    boosted = XGBClassifier(n_estimators=2, max_depth=2).fit(x, y)
    for suffix in ("json", "ubj"):
        yield f"xgboost-{suffix}", partial(mlflow.xgboost.save_model, boosted, model_format=suffix, **pinned)
    light = LGBMClassifier(n_estimators=2, min_child_samples=1, verbose=-1).fit(x, y)
    yield "lightgbm", partial(mlflow.lightgbm.save_model, light.booster_, **pinned)
    net = torch.nn.Sequential(torch.nn.Linear(3, 2))
    yield "pytorch", partial(mlflow.pytorch.save_model, net, serialization_format="pickle", **pinned)
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "ab"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["a"], ["b"])], "g", ends[:1], ends[1:])
    yield "onnx", partial(mlflow.onnx.save_model, onnx.helper.make_model(graph), **pinned)


def samples() -> Iterator[Sample]:
    """The models of this family."""
    warnings.simplefilter("ignore")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with tempfile.TemporaryDirectory() as tracking:
        os.environ.setdefault("MLFLOW_TRACKING_URI", Path(tracking).as_uri())
        for name, save in _flavors():
            try:
                yield name, folder_of(save)
            except Exception as error:  # a flavor of another version, or whose library is missing
                warnings.warn(f"{name}: {error}", stacklevel=1)
                print(f"mlflow_models: {name} left out, {error}"[:200])
