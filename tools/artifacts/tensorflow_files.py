"""What TensorFlow writes besides Keras' models: SavedModels of modules with tables, signatures and assets, graphs, checkpoints."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.artifacts import Sample, folder_of

FOLDER = "tensorflow"
LIBRARIES = ("tensorflow",)

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def samples() -> Iterator[Sample]:
    """SavedModel folders, frozen graphs in binary and text, sessions' checkpoints."""
    import tensorflow as tf

    plain = tf.saved_model.SaveOptions(save_debug_info=False)
    for name, module, signatures in _modules(tf):
        yield (
            f"savedmodel-{name}",
            folder_of(
                lambda path, m=module, s=signatures: tf.saved_model.save(m, path, signatures=s, options=plain)  # type: ignore[misc]
            ),
        )
    yield from _graphs(tf)
    yield from _sessions(tf)


def _modules(tf: Any) -> Iterator[tuple[str, Any, Any]]:
    class Linear(tf.Module):  # type: ignore[misc]  # TensorFlow ships no types here
        def __init__(self) -> None:
            super().__init__()
            self.w = tf.Variable(tf.ones((2, 3)), name="w")

        @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32)])  # type: ignore[untyped-decorator]
        def __call__(self, x: Any) -> Any:
            return tf.nn.relu(x @ self.w)

    linear = Linear()
    yield "linear", linear, None
    yield "signature", linear, {"serving_default": linear.__call__.get_concrete_function()}

    class Words(tf.Module):  # type: ignore[misc]
        def __init__(self, path: str) -> None:
            super().__init__()
            self.file = tf.saved_model.Asset(path)
            source = tf.lookup.TextFileInitializer(self.file, tf.string, 0, tf.int64, 1, delimiter=" ")
            self.table = tf.lookup.StaticHashTable(source, -1)

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])  # type: ignore[untyped-decorator]
        def find(self, words: Any) -> Any:
            return self.table.lookup(words)

    with tempfile.TemporaryDirectory() as folder:
        words = Path(folder, "words.txt")
        words.write_text("a 1\nb 2\n")
        yield "table", Words(str(words)), None

    class Choice(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec((), tf.int32)])  # type: ignore[untyped-decorator]
        def run(self, n: Any) -> Any:
            total = tf.constant(0)
            for step in tf.range(n):
                total = tf.cond(step % 2 == 0, lambda t=total, s=step: t + s, lambda t=total: t)
            return total

    yield "control", Choice(), None


def _graphs(tf: Any) -> Iterator[Sample]:
    graph = tf.Graph()
    with graph.as_default():
        x = tf.compat.v1.placeholder(tf.float32, (None, 3), name="x")
        tf.nn.softmax(tf.matmul(x, tf.ones((3, 2))), name="y")
    yield "frozen", {"frozen.pb": graph.as_graph_def().SerializeToString()}
    yield "frozen-text", {"frozen.pbtxt": str(graph.as_graph_def()).encode()}


def _sessions(tf: Any) -> Iterator[Sample]:
    """The checkpoint of a session, with its graph, and a SavedModel of the first version."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, (None, 2), name="x")
        w = v1.get_variable("w", (2, 1), use_resource=False)
        y = tf.matmul(x, w, name="y")
        session.run(v1.global_variables_initializer())
        saver = v1.train.Saver()
        yield "session", folder_of(lambda path: saver.save(session, f"{path}/model.ckpt", global_step=1))

        def save(path: str) -> None:
            v1.saved_model.simple_save(session, f"{path}/1", {"x": x}, {"y": y})

        yield "simple-save", folder_of(save)
    module = tf.Module()
    module.w = tf.Variable(3.0)
    yield "checkpoint", folder_of(lambda path: tf.train.Checkpoint(model=module).save(f"{path}/ckpt"))
