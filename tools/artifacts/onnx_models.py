"""ONNX: of skl2onnx, of torch and of onnx's own helper, with external data, functions, sequences and many element types."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from typing import Any

from tools.artifacts import Sample, folder_of
from tools.artifacts.sklearn_models import data, instances

LIBRARIES = ("onnx", "skl2onnx", "onnxscript", "torch", "sklearn")


def _of_estimators() -> Iterator[Sample]:
    import numpy as np
    from skl2onnx import supported_converters, to_onnx
    from sklearn.utils import all_estimators

    supported = {name.removeprefix("Sklearn") for name in supported_converters()}
    x, y = data()[0]
    x = np.abs(x).astype(np.float32)
    for name, kind in all_estimators():
        if name not in supported:
            continue
        for model in instances(kind):
            try:
                options = {"zipmap": False} if len(name) % 2 and hasattr(model, "predict_proba") else None
                made = to_onnx(model.fit(x, y), x[:1], options={id(model): options} if options else None)
            except Exception:  # noqa: S112 - it wants other data, or has no converter for these settings
                continue
            yield f"skl2onnx-{name}", {"model.onnx": made.SerializeToString()}
            break


def _of_torch() -> Iterator[Sample]:
    import torch
    from torch import nn

    modules: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "linear": (nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), (torch.ones(1, 4),)),
        "convolution": (
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2)),
            (torch.ones(1, 1, 8, 8),),
        ),
        "lstm": (nn.LSTM(3, 4), (torch.ones(2, 1, 3),)),
        "encoder": (nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), (torch.ones(1, 3, 4),)),
        "embedding": (nn.Sequential(nn.Embedding(10, 4), nn.LayerNorm(4)), (torch.ones(1, 3, dtype=torch.long),)),
        "upsample": (nn.Sequential(nn.Upsample(scale_factor=2), nn.Sigmoid()), (torch.ones(1, 1, 2, 2),)),
    }
    for name, (module, inputs) in modules.items():
        for modern in (False, True):
            out = io.BytesIO()
            try:
                if modern:
                    torch.onnx.export(module.eval(), inputs, dynamo=True, verbose=False).save(out)
                else:
                    torch.onnx.export(module.eval(), inputs, out, dynamo=False)
            except Exception as error:
                warnings.warn(f"{name}: {error}", stacklevel=1)
                continue
            yield f"torch-{name}{'-dynamo' if modern else ''}", {"model.onnx": out.getvalue()}


def _handmade() -> Iterator[Sample]:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def value(name: str, kind: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, kind, ["n", 4])

    def model(nodes: list[Any], weights: list[Any] | None = None, **named: Any) -> Any:
        graph = helper.make_graph(nodes, "g", [value("x")], [value("y")], weights or [])
        return helper.make_model(
            graph, opset_imports=named.pop("opsets", [helper.make_opsetid("", 18)]), producer_name="handmade", **named
        )

    add = helper.make_node("Add", ["x", "w"], ["y"])
    weight = numpy_helper.from_array(np.ones(4, "f4"), "w")
    yield "handmade-add", {"model.onnx": model([add], [weight]).SerializeToString()}
    documented = model([add], [weight], doc_string="adds")
    helper.set_model_props(documented, {"author": "nobody", "task": "none"})
    yield "handmade-metadata", {"model.onnx": documented.SerializeToString()}
    function = helper.make_function(
        "local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 18)]
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    called = model([helper.make_node("Twice", ["x"], ["y"], domain="local")], opsets=opsets, functions=[function])
    yield "handmade-function", {"model.onnx": called.SerializeToString()}
    inner = helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "then", [], [value("z")])
    branch = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    yes = numpy_helper.from_array(np.array(True), "c")
    yield "handmade-if", {"model.onnx": model([branch], [yes]).SerializeToString()}
    for kind in ("float16", "float64", "int8", "int64", "bool", "complex64"):
        typed = numpy_helper.from_array(np.ones(4).astype(kind), "w")
        yield (
            f"handmade-{kind}",
            {"model.onnx": model([helper.make_node("Cast", ["w"], ["y"], to=1)], [typed]).SerializeToString()},
        )
    words = helper.make_tensor("w", TensorProto.STRING, [2], [b"cat", b"dog"])
    yield (
        "handmade-texts",
        {"model.onnx": model([helper.make_node("Identity", ["w"], ["y"])], [words]).SerializeToString()},
    )
    sparse = helper.make_sparse_tensor(
        numpy_helper.from_array(np.ones(1, "f4"), "s"), numpy_helper.from_array(np.array([1], "i8"), "i"), [4]
    )
    node = helper.make_node("Constant", [], ["y"], sparse_value=sparse)
    yield "handmade-sparse", {"model.onnx": model([node]).SerializeToString()}
    large = model([add], [numpy_helper.from_array(np.ones((64, 64), "f4"), "w")])
    split = {"save_as_external_data": True, "location": "model.onnx.data", "size_threshold": 0}
    yield "external-one-file", folder_of(lambda folder: onnx.save_model(large, f"{folder}/model.onnx", **split))
    large = model(
        [add], [numpy_helper.from_array(np.ones((64, 64), "f4"), "w"), numpy_helper.from_array(np.ones(64, "f4"), "v")]
    )
    apart = {"save_as_external_data": True, "all_tensors_to_one_file": False, "size_threshold": 0}
    yield "external-many-files", folder_of(lambda folder: onnx.save_model(large, f"{folder}/model.onnx", **apart))
    linear = helper.make_node("LinearRegressor", ["x"], ["y"], domain="ai.onnx.ml", coefficients=[1.0] * 4)
    both = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    yield "handmade-ml", {"model.onnx": model([linear], opsets=both).SerializeToString()}


def samples() -> Iterator[Sample]:
    """The models of this family."""
    warnings.simplefilter("ignore")
    for make in (_handmade, _of_estimators, _of_torch):
        try:
            yield from make()
        except ImportError as error:
            if make is _handmade:
                raise
            print(f"onnx_models: left out, {error}")
