"""Models as Keras 3 saves them: .keras, whole models in HDF5, weights alone, and the configuration in JSON."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tools.artifacts import Sample

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

FOLDER = "keras"
LIBRARIES = ("keras", "tensorflow", "h5py")


def samples() -> Iterator[Sample]:
    """Each model under the forms that it can be saved in."""
    import keras

    keras.utils.set_random_seed(0)
    forms = {"dense": (".keras", ".h5", ".weights.h5"), "functional": (".keras", ".h5"), "shared": (".keras", ".h5")}
    for name, model in _models(keras):
        for suffix in forms.get(name, (".keras",)):
            with TemporaryDirectory() as folder:
                path = Path(folder, f"model{suffix}")
                (model.save_weights if suffix == ".weights.h5" else model.save)(path)
                yield f"{name}{suffix}", {f"{name}{suffix}": path.read_bytes()}
        if name == "dense":
            yield "dense.json", {"dense.json": model.to_json().encode()}
    for name, model in _custom(keras):
        with TemporaryDirectory() as folder:
            path = Path(folder, "model.keras")
            model.save(path)
            yield f"custom-{name}.keras", {f"custom-{name}.keras": path.read_bytes()}


def _models(keras: Any) -> Iterator[tuple[str, Any]]:
    """Models whose layers are all Keras' own."""
    layers = keras.layers
    dense = keras.Sequential([keras.Input((4,)), layers.Dense(3, "relu"), layers.Dropout(0.1), layers.Dense(1)])
    dense.compile("adam", "mse", metrics=["mae"])
    yield "dense", dense
    image = keras.Input((8, 8, 1))
    hidden = layers.Conv2D(2, 3, kernel_initializer="he_normal", kernel_regularizer="l2", padding="same")(image)
    hidden = layers.BatchNormalization()(hidden)
    hidden = layers.Add()([hidden, layers.SeparableConv2D(2, 1)(hidden)])
    yield "functional", keras.Model(image, layers.Dense(2, "softmax")(layers.GlobalAveragePooling2D()(hidden)))
    text = keras.Input((5,), dtype="int32")
    hidden = layers.Embedding(10, 4, mask_zero=True)(text)
    hidden = layers.Bidirectional(layers.LSTM(2, return_sequences=True))(hidden)
    hidden = layers.TimeDistributed(layers.Dense(2))(hidden)
    yield "recurrent", keras.Model(text, layers.RNN(layers.GRUCell(2))(hidden))
    words = layers.TextVectorization(max_tokens=10, output_sequence_length=3)
    words.adapt(["the cat sat", "on the mat"])
    yield "text", keras.Sequential([keras.Input((1,), dtype="string"), words, layers.Embedding(10, 2)])
    lookup = layers.StringLookup(vocabulary=["a", "b"])
    yield "lookup", keras.Sequential([keras.Input((1,), dtype="string"), lookup])
    scaled = layers.Normalization(mean=[0.0, 1.0], variance=[1.0, 1.0])
    yield "normalised", keras.Sequential([keras.Input((2,)), scaled, layers.Dense(1)])
    augmented = [
        layers.Rescaling(1 / 255),
        layers.RandomFlip("horizontal"),
        layers.RandomRotation(0.1),
        layers.Resizing(4, 4),
    ]
    yield "augmented", keras.Sequential([keras.Input((8, 8, 3)), *augmented, layers.Flatten(), layers.Dense(1)])
    query = keras.Input((4, 8))
    hidden = layers.MultiHeadAttention(2, 4)(query, query)
    yield "attention", keras.Model(query, layers.LayerNormalization()(hidden + query))
    shared = layers.Dense(2, name="shared")
    left, right = keras.Input((3,)), keras.Input((3,))
    yield "shared", keras.Model([left, right], layers.Concatenate()([shared(left), shared(right)]))
    yield "operations", keras.Model(left, keras.ops.mean(keras.ops.relu(left) * 2.0, axis=-1))
    inner = keras.Sequential([keras.Input((2,)), layers.Dense(2)], name="inner")
    nested = keras.Sequential([keras.Input((2,)), inner, layers.Dense(1, dtype="mixed_float16")])
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    nested.compile(keras.optimizers.SGD(schedule, momentum=0.9), keras.losses.Huber(), metrics=[keras.metrics.AUC()])
    yield "nested", nested


def _custom(keras: Any) -> Iterator[tuple[str, Any]]:
    """Models that hold code of somebody's own, or name it."""
    lambdas = keras.Sequential([keras.Input((2,)), keras.layers.Lambda(lambda x: x * 2)])
    yield "lambda", lambdas

    @keras.saving.register_keras_serializable("Mine")
    class Doubling(keras.layers.Layer):  # type: ignore[misc]  # Keras ships no types here
        def call(self, inputs: Any) -> Any:
            return inputs * 2

    yield "layer", keras.Sequential([keras.Input((2,)), Doubling()])
