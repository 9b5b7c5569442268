"""Keras and TensorFlow: .keras, .h5, weights, SavedModel folders and TFLite, over layers, losses, metrics and optimizers.

Keras is one library with one backend a process; TensorFlow is taken, for it also writes SavedModel and TFLite.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from typing import Any

from tools.artifacts import Sample, file_of, folder_of

LIBRARIES = ("keras", "tensorflow", "h5py")


def _models(keras: Any) -> dict[str, Any]:
    layers, seq, data = keras.layers, keras.Sequential, keras.Input
    image, words, steps = (8, 8, 3), (6,), (5, 3)
    found = {
        "dense": seq([data((4,)), layers.Dense(3, "relu"), layers.Dropout(0.2), layers.Dense(1, "sigmoid")]),
        "convolution": seq(
            [
                data(image),
                layers.Conv2D(2, 3),
                layers.BatchNormalization(),
                layers.MaxPooling2D(),
                layers.Flatten(),
                layers.Dense(2),
            ]
        ),
        "separable": seq(
            [data(image), layers.SeparableConv2D(2, 3), layers.DepthwiseConv2D(3), layers.GlobalMaxPooling2D()]
        ),
        "transposed": seq(
            [
                data(image),
                layers.Conv2DTranspose(1, 3),
                layers.UpSampling2D(),
                layers.Cropping2D(1),
                layers.ZeroPadding2D(1),
            ]
        ),
        "lstm": seq([data(steps), layers.LSTM(4, return_sequences=True), layers.GRU(3), layers.Dense(1)]),
        "bidirectional": seq(
            [
                data(steps),
                layers.Bidirectional(layers.LSTM(2)),
                layers.RepeatVector(2),
                layers.TimeDistributed(layers.Dense(1)),
            ]
        ),
        "embedding": seq(
            [
                data(words),
                layers.Embedding(10, 4, mask_zero=True),
                layers.GlobalAveragePooling1D(),
                layers.Dense(2, "softmax"),
            ]
        ),
        "normalization": seq(
            [data((4,)), layers.Normalization(mean=0.0, variance=1.0), layers.LayerNormalization(), layers.Dense(1)]
        ),
        "activations": seq(
            [data((4,)), layers.LeakyReLU(), layers.PReLU(), layers.ELU(), layers.Softmax(), layers.Activation("gelu")]
        ),
        "regularised": seq(
            [
                data((4,)),
                layers.Dense(2, kernel_regularizer="l2", kernel_initializer="he_normal", kernel_constraint="max_norm"),
            ]
        ),
        "noise": seq(
            [data((4,)), layers.GaussianNoise(0.1), layers.AlphaDropout(0.1), layers.ActivityRegularization(0.1)]
        ),
        "rescaling": seq(
            [data(image), layers.Rescaling(1 / 255), layers.RandomFlip(), layers.Resizing(4, 4), layers.Conv2D(1, 1)]
        ),
        "shapes": seq([data((4,)), layers.Reshape((2, 2)), layers.Permute((2, 1)), layers.Flatten(), layers.Dense(1)]),
        "one-dimension": seq(
            [data(steps), layers.Conv1D(2, 2, padding="causal"), layers.AveragePooling1D(2), layers.Flatten()]
        ),
        "nested": seq([data((4,)), seq([layers.Dense(3), layers.ReLU()]), layers.Dense(1)]),
    }
    left, right = data((3,), name="left"), data((2,), name="right")
    joined = layers.Concatenate()([layers.Dense(2)(left), layers.Dense(2)(right)])
    found["two-inputs"] = keras.Model(
        [left, right], {"a": layers.Dense(1, name="a")(joined), "b": layers.Dense(2, name="b")(joined)}
    )
    x = data((4,))
    found["residual"] = keras.Model(x, layers.Add()([x, layers.Dense(4)(x)]))
    shared = layers.Dense(3, name="shared")
    found["shared"] = keras.Model(x, layers.Multiply()([shared(x), shared(layers.Dense(4)(x))]))
    tokens = data((5, 4))
    found["attention"] = keras.Model(
        tokens, layers.LayerNormalization()(tokens + layers.MultiHeadAttention(2, 2)(tokens, tokens))
    )
    found["operations"] = keras.Model(x, keras.ops.tanh(x * 2.0 + 1.0))
    return found


def _compiled(keras: Any, model: Any, turn: int) -> Any:
    optimizers = (
        "adam",
        "sgd",
        "rmsprop",
        keras.optimizers.AdamW(keras.optimizers.schedules.CosineDecay(0.1, 10)),
        "nadam",
    )
    losses = ("mse", keras.losses.Huber(), "mae", keras.losses.LogCosh(), "mse")
    model.compile(
        optimizers[turn % 5], losses[turn % 5], metrics=["mae"] if turn % 2 and len(model.outputs) == 1 else None
    )
    return model


def _of_keras(keras: Any) -> Iterator[Sample]:
    for turn, (name, model) in enumerate(_models(keras).items()):
        yield f"keras-{name}", {"model.keras": file_of(model.save, "m.keras")}
        if turn % 2 and name != "two-inputs":
            _compiled(keras, model, turn)
            yield f"keras-compiled-{name}", {"model.keras": file_of(model.save, "m.keras")}
        if turn % 3 != 2:
            yield f"h5-{name}", {"model.h5": file_of(model.save, "m.h5")}
        if turn % 3 == 0:
            yield f"weights-{name}", {"model.weights.h5": file_of(model.save_weights, "m.weights.h5")}
        if turn % 4 == 0:
            yield f"config-{name}", {"config.json": model.to_json().encode()}


def _of_tensorflow(keras: Any) -> Iterator[Sample]:
    import tensorflow as tf

    models = _models(keras)
    for name in ("dense", "convolution", "lstm", "embedding", "two-inputs", "attention", "rescaling"):
        yield f"savedmodel-{name}", folder_of(models[name].export)
    for name in ("dense", "convolution", "normalization"):
        converter = tf.lite.TFLiteConverter.from_keras_model(models[name])
        if name == "convolution":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        yield f"tflite-{name}", {"model.tflite": converter.convert()}

    class Own(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.w = tf.Variable(tf.ones((3, 2)))
            self.table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a", "b"], [0, 1]), -1)

        @tf.function(input_signature=[tf.TensorSpec((None, 3))])  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            return tf.nn.relu(x @ self.w)

    own = Own()
    yield (
        "savedmodel-own",
        folder_of(lambda folder: tf.saved_model.save(own, folder, signatures=own.__call__.get_concrete_function())),
    )
    checkpoint = tf.train.Checkpoint(w=own.w)
    yield "checkpoint", folder_of(lambda folder: checkpoint.save(f"{folder}/ckpt"))
    graph = own.__call__.get_concrete_function().graph.as_graph_def()
    yield "graph", {"frozen_graph.pb": graph.SerializeToString()}


def samples() -> Iterator[Sample]:
    """The models of this family."""
    warnings.simplefilter("ignore")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import keras

    keras.utils.set_random_seed(0)
    for make in (_of_keras, _of_tensorflow):
        try:
            yield from make(keras)
        except ImportError as error:
            print(f"keras_models: left out, {error}")
