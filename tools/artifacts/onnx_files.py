"""ONNX: written by onnx itself, torch, scikit-learn's and TensorFlow's converters; with data outside, functions, training."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.artifacts import Sample, folder_of

LIBRARIES = ("onnx", "skl2onnx", "onnxscript", "torch", "tf2onnx", "sklearn", "numpy")


def by_hand() -> Iterator[Sample]:
    """What the parts of the format are for, one after the other."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 4])

    def model(nodes: list[Any], weights: list[Any] = [], **more: Any) -> Any:  # noqa: B006 - never changed
        return helper.make_model(
            helper.make_graph(nodes, "g", [x], [y], weights), opset_imports=[helper.make_opsetid("", 17)], **more
        )

    large = numpy_helper.from_array(np.ones((16, 4), "f4"), "w")
    add = helper.make_node("Add", ["x", "b"], ["y"])
    bias = numpy_helper.from_array(np.arange(4, dtype="f4"), "b")
    yield "add", {"model.onnx": model([add], [bias]).SerializeToString()}
    described = model([add], [bias])
    helper.set_model_props(
        described, {"task": "add", "url": "https://example.org", "names": "{0: 'cat', 1: 'dog'}", "stride": "32"}
    )
    yield "properties", {"model.onnx": described.SerializeToString()}
    then, other = (
        helper.make_graph(
            [helper.make_node("Constant", [], ["c"], value=bias)], n, [], [helper.make_tensor_value_info("c", 1, [4])]
        )
        for n in "ab"
    )
    yes = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
    chosen = helper.make_node("If", ["yes"], ["b"], then_branch=then, else_branch=other)
    yield "if", {"model.onnx": model([yes, chosen, add]).SerializeToString()}
    sparse = helper.make_sparse_tensor(
        helper.make_tensor("v", 1, [2], [1.0, 2.0]), helper.make_tensor("i", 7, [2], [0, 3]), [4]
    )
    yield (
        "sparse",
        {"model.onnx": model([helper.make_node("Constant", [], ["b"], sparse_value=sparse), add]).SerializeToString()},
    )
    own = helper.make_function(
        "my.own", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    twice = model([helper.make_node("Twice", ["x"], ["y"], domain="my.own")], functions=[own])
    twice.opset_import.append(helper.make_opsetid("my.own", 1))
    yield "function", {"model.onnx": twice.SerializeToString()}
    texts = numpy_helper.from_array(np.array(["import os", "é"], dtype=object), "t")
    yield "texts", {"model.onnx": model([add], [bias, texts]).SerializeToString()}
    small = [
        helper.make_tensor(f"t{kind}", kind, [2], [0, 1])
        for kind in (2, 3, 5, 6, 7, 9, 10, 11, 12, 13, 16, 17, 19, 21, 22)
    ]
    yield "types", {"model.onnx": model([add], [bias, *small]).SerializeToString()}
    training = model([add], [bias])
    training.training_info.add().algorithm.CopyFrom(
        helper.make_graph(
            [helper.make_node("Neg", ["b"], ["c"])], "step", [], [helper.make_tensor_value_info("c", 1, [4])]
        )
    )
    yield "training", {"model.onnx": training.SerializeToString()}

    def outside(root: str, **how: Any) -> None:
        product = model([helper.make_node("MatMul", ["x", "wt"], ["h"]), helper.make_node("Identity", ["x"], ["y"])],
                        [large, numpy_helper.from_array(np.ones((4, 16), "f4"), "wt")])  # fmt: skip
        onnx.save(product, root + "/model.onnx", save_as_external_data=True, size_threshold=16, **how)

    yield "data-outside", folder_of(lambda root: outside(root, location="model.onnx.data"))
    yield "data-outside-each", folder_of(lambda root: outside(root, all_tensors_to_one_file=False))


def torches() -> Iterator[Sample]:
    """Both exporters of torch."""
    import torch
    from torch import nn

    nets: dict[str, tuple[Any, Any]] = {
        "dense": (nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), (1, 4)),
        "image": (
            nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            (1, 3, 8, 8),
        ),
        "recurrent": (nn.GRU(4, 3), (5, 1, 4)),
        "attention": (nn.TransformerEncoderLayer(8, 2, 16), (3, 1, 8)),
        "upsample": (nn.Sequential(nn.Upsample(scale_factor=2), nn.PixelShuffle(2)), (1, 4, 3, 3)),
    }
    for name, (net, shape) in nets.items():
        for dynamo in (False, True):
            if dynamo and name == "attention":
                continue
            with tempfile.TemporaryDirectory() as folder:
                path = str(Path(folder, "model.onnx"))
                try:
                    torch.onnx.export(net.eval(), (torch.zeros(shape),), path, dynamo=dynamo, verbose=False)
                except Exception as problem:  # the older exporter goes away with some version
                    print(f"torch-{name}-{dynamo}: {problem!r}"[:200])
                    continue
                files = {one.name: one.read_bytes() for one in Path(folder).iterdir()}
            yield f"torch-{name}{'-dynamo' * dynamo}", files


def sklearns() -> Iterator[Sample]:
    """Estimators of the classic domain."""
    import numpy as np
    from skl2onnx import to_onnx
    from sklearn import (
        cluster,
        ensemble,
        feature_extraction,
        gaussian_process,
        linear_model,
        naive_bayes,
        neighbors,
        neural_network,
        pipeline,
        preprocessing,
        svm,
    )

    x, y = np.arange(48, dtype="f4").reshape(12, 4) % 7, np.arange(12) % 2
    models = [
        ensemble.RandomForestClassifier(2, max_depth=2), ensemble.GradientBoostingRegressor(n_estimators=2, max_depth=2), linear_model.LogisticRegression(),
        svm.SVC(probability=True), neighbors.KNeighborsClassifier(2), naive_bayes.GaussianNB(), cluster.KMeans(2, n_init=1), neural_network.MLPClassifier((3,), max_iter=3),
        gaussian_process.GaussianProcessRegressor(), preprocessing.KBinsDiscretizer(2), preprocessing.PolynomialFeatures(2), ensemble.IsolationForest(n_estimators=2),
        pipeline.make_pipeline(preprocessing.StandardScaler(), linear_model.SGDClassifier()),
    ]  # fmt: skip
    for model in models:
        name = type(model).__name__
        try:
            yield (
                f"sklearn-{name}",
                {
                    "model.onnx": to_onnx(
                        model.fit(x, y), x[:1], target_opset={"": 17, "ai.onnx.ml": 3}
                    ).SerializeToString()
                },
            )
        except Exception as problem:  # not every version of both fits
            print(f"sklearn-{name}: {problem!r}"[:200])
    texts = np.array([["good day"], ["bad day"]])
    words = pipeline.make_pipeline(feature_extraction.text.TfidfVectorizer(), linear_model.LogisticRegression()).fit(
        texts[:, 0], [0, 1]
    )
    from skl2onnx.common.data_types import StringTensorType

    made = to_onnx(words, initial_types=[("words", StringTensorType([None, 1]))])
    yield "sklearn-words", {"model.onnx": made.SerializeToString()}


def tensorflows() -> Iterator[Sample]:
    """What tf2onnx writes."""
    import tensorflow as tf
    import tf2onnx

    made = tf.function(
        lambda x: tf.nn.softmax(tf.matmul(x, tf.ones((4, 3)))), input_signature=[tf.TensorSpec([None, 4], tf.float32)]
    )
    model, _ = tf2onnx.convert.from_function(made, input_signature=made.input_signature)
    yield "tensorflow-dense", {"model.onnx": model.SerializeToString()}


def samples() -> Iterator[Sample]:
    """All of them; a converter that does not work here is named and left out."""
    for family in (by_hand, sklearns, torches, tensorflows):
        try:
            yield from family()
        except ImportError as problem:
            print(f"{family.__name__}: {problem!r}"[:400])
