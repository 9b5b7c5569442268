"""PaddlePaddle: a family of its own, for its library does not share a process with others that bring the same parts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.artifacts import Sample, file_of, folder_of

LIBRARIES = ("paddle", "numpy")


OLDER = """
import sys, paddle
paddle.enable_static()
program, start = paddle.static.Program(), paddle.static.Program()
with paddle.static.program_guard(program, start):
    x = paddle.static.data("x", [None, 4], "float32")
    y = paddle.static.nn.fc(x, 3, activation="relu")
    runner = paddle.static.Executor(paddle.CPUPlace())
    runner.run(start)
    paddle.static.save_inference_model(sys.argv[1] + "/model", [x], [y], runner, program=program)
"""


def _older(root: str) -> None:
    """Save as versions before 3 did; the library asks for that when it is imported, hence a process of its own."""
    older = {**os.environ, "FLAGS_enable_pir_api": "0"}
    subprocess.run([sys.executable, "-c", OLDER, root], check=True, capture_output=True, env=older)
    model = Path(root, "model.pdmodel")  # it tells which line of which file made each operator
    prefix = sys.prefix.encode()
    model.write_bytes(model.read_bytes().replace(prefix, b"/".ljust(len(prefix), b"x")))


def samples() -> Iterator[Sample]:
    """The program of both generations, the joined parameters, and the pickles of them."""
    yield "paddle-program", folder_of(_older)
    import paddle

    net = paddle.nn.Sequential(paddle.nn.Linear(4, 3), paddle.nn.ReLU(), paddle.nn.Linear(3, 2))
    net.eval()
    spec = [paddle.static.InputSpec([None, 4], "float32", "x")]
    yield "paddle-json", folder_of(lambda root: paddle.jit.save(net, root + "/inference", input_spec=spec))
    yield "paddle-state", {"model.pdparams": file_of(lambda path: paddle.save(net.state_dict(), path), "m.pdparams")}
    adam = paddle.optimizer.Adam(parameters=net.parameters())
    yield "paddle-optimizer", {"model.pdopt": file_of(lambda path: paddle.save(adam.state_dict(), path), "m.pdopt")}
