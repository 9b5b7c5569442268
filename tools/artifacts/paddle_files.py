"""PaddlePaddle: a family of its own, for its library does not share a process with others that bring the same parts."""

from __future__ import annotations

from collections.abc import Iterator

from tools.artifacts import Sample, file_of, folder_of

LIBRARIES = ("paddle", "numpy")


def samples() -> Iterator[Sample]:
    """The program of both generations, the joined parameters, and the pickles of them."""
    import paddle

    net = paddle.nn.Sequential(paddle.nn.Linear(4, 3), paddle.nn.ReLU(), paddle.nn.Linear(3, 2))
    net.eval()
    spec = [paddle.static.InputSpec([None, 4], "float32", "x")]
    yield "paddle-json", folder_of(lambda root: paddle.jit.save(net, root + "/inference", input_spec=spec))
    yield "paddle-state", {"model.pdparams": file_of(lambda path: paddle.save(net.state_dict(), path), "m.pdparams")}
    adam = paddle.optimizer.Adam(parameters=net.parameters())
    yield "paddle-optimizer", {"model.pdopt": file_of(lambda path: paddle.save(adam.state_dict(), path), "m.pdopt")}
    paddle.set_flags({"FLAGS_enable_pir_api": False})
    paddle.enable_static()
    program, start = paddle.static.Program(), paddle.static.Program()
    with paddle.static.program_guard(program, start):
        x = paddle.static.data("x", [None, 4], "float32")
        y = paddle.static.nn.fc(x, 3, activation="relu")
        runner = paddle.static.Executor(paddle.CPUPlace())
        runner.run(start)
        yield (
            "paddle-program",
            folder_of(
                lambda root: paddle.static.save_inference_model(root + "/model", [x], [y], runner, program=program)
            ),
        )
    paddle.disable_static()
