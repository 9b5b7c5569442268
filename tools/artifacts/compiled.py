"""Formats of compilers and mobile runtimes: TFLite, CoreML, OpenVINO, ExecuTorch, by their own converters."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tools.artifacts import Sample, file_of, folder_of

LIBRARIES = ("tensorflow", "coremltools", "openvino", "executorch", "torch", "sklearn", "numpy")


def tflites() -> Iterator[Sample]:
    """Each kind of layer, quantisation, selected TensorFlow operator, signature, and files appended as a zip."""
    import keras
    import numpy as np
    import tensorflow as tf

    def converted(model: Any, change: Callable[[Any], None] = lambda _: None) -> bytes:
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        change(converter)
        return bytes(converter.convert())

    def dense() -> Any:
        return keras.Sequential(
            [keras.layers.Input((4,)), keras.layers.Dense(3, "relu"), keras.layers.Dense(2, "softmax")]
        )

    def quantised(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([np.ones((1, 4), np.float32)] for _ in range(4))

    def halved(converter: Any) -> None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tf.float16]

    def selected(converter: Any) -> None:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]

    def called(function: Any, *shapes: Any, change: Callable[[Any], None] = lambda _: None) -> bytes:
        made = tf.function(function, input_signature=[tf.TensorSpec(shape, tf.float32) for shape in shapes])
        converter = tf.lite.TFLiteConverter.from_concrete_functions([made.get_concrete_function()])
        change(converter)
        return bytes(converter.convert())

    layers = keras.layers
    image = keras.Sequential([
        layers.Input((8, 8, 3)), layers.Conv2D(2, 3, activation="relu"), layers.DepthwiseConv2D(2), layers.MaxPooling2D(),
        layers.Flatten(), layers.Dense(2),
    ])  # fmt: skip
    text = keras.Sequential([layers.Input((6,)), layers.Embedding(9, 4), layers.LSTM(3), layers.Dense(1, "sigmoid")])
    plain = converted(dense())
    yield "tflite-dense", {"model.tflite": plain}
    yield "tflite-dense-quantised", {"model.tflite": converted(dense(), quantised)}
    yield "tflite-dense-float16", {"model.tflite": converted(dense(), halved)}
    yield "tflite-image", {"model.tflite": converted(image)}
    yield "tflite-text", {"model.tflite": converted(text, selected)}
    yield (
        "tflite-while",
        {
            "model.tflite": called(
                lambda x: tf.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, y * x), [0, x])[1], [2]
            )
        },
    )
    yield (
        "tflite-selected",
        {"model.tflite": called(lambda x: tf.math.lgamma(x) + tf.linalg.inv(x), [2, 2], change=selected)},
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.tflite")
        path.write_bytes(plain)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(zipfile.ZipInfo("labels.txt"), "tabby\nhound\n")
        yield "tflite-labels", {"model.tflite": path.read_bytes()}


def _packed(model: Any, root: str) -> None:
    model.save(root + "/m.mlpackage")


def _paired(model: Any, root: str) -> None:
    import openvino as ov

    ov.save_model(model, root + "/model.xml")


def coremls() -> Iterator[Sample]:
    """Models of classic learning, of the older neural format and of the newer program format."""
    import coremltools as ct
    import numpy as np
    import torch
    from coremltools.models import datatypes, neural_network
    from sklearn import ensemble, linear_model, preprocessing, svm, tree

    x, y = np.arange(24, dtype="f8").reshape(12, 2), np.arange(12) % 2
    for model in (linear_model.LinearRegression(), tree.DecisionTreeRegressor(max_depth=2), ensemble.RandomForestClassifier(2), svm.SVC(),
                  linear_model.LogisticRegression(), preprocessing.StandardScaler()):  # fmt: skip
        name = type(model).__name__
        try:
            made = ct.converters.sklearn.convert(model.fit(x, y), ["a", "b"])
        except Exception as problem:  # not every version of both fits
            print(f"coreml-{name}: {problem!r}"[:200])
            continue
        yield f"coreml-{name}", {"model.mlmodel": file_of(made.save, "m.mlmodel")}
    builder = neural_network.NeuralNetworkBuilder([("x", datatypes.Array(3))], [("y", datatypes.Array(2))])
    builder.add_inner_product(
        "dense", np.ones((2, 3)), np.ones(2), 3, 2, has_bias=True, input_name="x", output_name="h"
    )
    builder.add_activation("act", "RELU", "h", "y")
    yield "coreml-network", {"model.mlmodel": builder.spec.SerializeToString()}
    net = torch.nn.Sequential(torch.nn.Linear(64, 40), torch.nn.ReLU(), torch.nn.Linear(40, 2)).eval()
    traced = torch.jit.trace(net, torch.zeros(1, 64))
    for form in ("mlprogram", "neuralnetwork"):
        made = ct.convert(traced, inputs=[ct.TensorType(shape=(1, 64))], convert_to=form)
        if form == "mlprogram":
            yield "coreml-program", folder_of(partial(_packed, made))
        else:
            yield "coreml-converted", {"model.mlmodel": file_of(made.save, "m.mlmodel")}


def openvinos() -> Iterator[Sample]:
    """Pairs of an xml and a bin."""
    import numpy as np
    import openvino as ov
    import torch
    from openvino import opset13 as ops

    nets = {
        "dense": (torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2)), (1, 4)),
        "image": (
            torch.nn.Sequential(
                torch.nn.Conv2d(3, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.MaxPool2d(2), torch.nn.Flatten()
            ),
            (1, 3, 8, 8),
        ),
        "recurrent": (torch.nn.LSTM(4, 3), (5, 1, 4)),
        "attention": (torch.nn.TransformerEncoderLayer(8, 2, 16), (3, 1, 8)),
    }
    for name, (net, shape) in nets.items():
        made = ov.convert_model(net.eval(), example_input=torch.zeros(shape))
        yield f"openvino-{name}", folder_of(partial(_paired, made))
    x = ops.parameter([2, 2], name="x")
    made = ov.Model([ops.result(ops.add(ops.softmax(x, 1), ops.constant(np.ones((2, 2), np.float32))))], [x], "by-hand")
    yield "openvino-by-hand", folder_of(lambda root: ov.save_model(made, root + "/model.xml", compress_to_fp16=False))


def executorches() -> Iterator[Sample]:
    """Programs of the portable kernels and of a delegate, with constants inside and in segments."""
    import torch
    from executorch.exir import ExecutorchBackendConfig, to_edge, to_edge_transform_and_lower

    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2)).eval()
    exported = torch.export.export(net, (torch.zeros(1, 4),))
    yield "executorch-portable", {"model.pte": bytes(to_edge(exported).to_executorch().buffer)}
    inside = ExecutorchBackendConfig(extract_delegate_segments=False)
    yield "executorch-inside", {"model.pte": bytes(to_edge(exported).to_executorch(inside).buffer)}
    try:
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

        lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        yield "executorch-delegate", {"model.pte": bytes(lowered.to_executorch().buffer)}
    except ImportError as problem:
        print(f"executorch-delegate: {problem!r}")


def samples() -> Iterator[Sample]:
    """All of them; a library that does not work here is named and left out."""
    for family in (openvinos, coremls, executorches, tflites):
        try:
            yield from family()
        except Exception as problem:
            print(f"{family.__name__}: {problem!r}"[:400])
