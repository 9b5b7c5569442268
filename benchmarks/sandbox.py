"""What the sandbox costs a call, and how long a worker takes to be there.

Method: one model (a random forest of 50 trees on 20 numbers, onnxruntime on one thread) is asked in this process, in a
plain subprocess, in one with landlock and seccomp, and in the full sandbox, all over the same frames and channel, in
turns within one run; the answers are compared. The tax is the median of the full sandbox less the median in process. A
cold start is from the call to a worker that has loaded the model, run it and locked itself in; files in the page cache.

Caveats: sequential calls of one caller. A call is two context switches, and where caller and worker sit on different
processors each has to wake the other's; in a virtual machine with idle processors that alone takes 30 to 40 us a switch,
with and without a sandbox, and the kernel places them differently from run to run. So all are first held to one processor,
where only the work counts (the figure), and then let go to any (beside it). Trust the differences between rows of one run.
The first start also proves the layers, once a process; it is shown apart. Exit status 1 if a target is missed.

    python benchmarks/sandbox.py [--quick]
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import, here too
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402 - the variable comes first
import onnxruntime as ort  # noqa: E402
from skl2onnx import to_onnx  # noqa: E402
from sklearn.ensemble import RandomForestClassifier  # noqa: E402

from fastness.foundation.sandbox import EntryPoint, Limits, Sandbox, SandboxSettings  # noqa: E402
from fastness.models.runtime import ModelHost, RunningModel, RuntimeSettings, Tensors  # noqa: E402
from tests.unit.foundation.sandbox.grounds import sealed, start_unprotected  # noqa: E402

TAX_US, COLD_MS = 50.0, 500.0
WORKER = EntryPoint("fastness.models.runtime.worker")
UNLOCKED = (
    "from fastness.foundation.sandbox.guest.inside import Guest; "
    "Guest.lock_down = lambda self: None"
)  # fmt: skip
Call = Callable[[Tensors], Tensors]


def forest() -> tuple[bytes, np.ndarray]:
    """The model, and inputs for it."""
    random = np.random.default_rng(0)
    x = random.random((2000, 20), np.float32)
    fitted = RandomForestClassifier(50, max_depth=8, random_state=0).fit(x, x[:, 0] + x[:, 1] * x[:, 2] > 0.7)
    return to_onnx(fitted, x[:1], options={"zipmap": False}).SerializeToString(), x


def in_process(data: bytes) -> Call:
    """The model in this process."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]
    return lambda tensors: dict(zip(names, session.run(names, tensors), strict=True))


def unprotected(host: ModelHost, data: bytes, prelude: str) -> RunningModel:
    """The model in a process of its own, without namespaces, limits or another user."""
    with sealed(data, "model.onnx") as file:
        worker = start_unprotected(WORKER, [file], Limits(), prelude=prelude)
    return RunningModel(worker, host._described(worker), 0.0, None)


def taxes(calls: dict[str, Call], x: np.ndarray, rounds: int) -> float:
    """Print the medians at one and at a hundred rows; the tax of the full sandbox at one row, in microseconds."""
    tax = 0.0
    for count in (1, 100):
        tensors = {"X": x[:count]}
        right = calls["in process"](tensors)["probabilities"]
        taken: dict[str, list[int]] = {name: [] for name in calls}
        for turn in range(rounds):
            for name, call in calls.items():
                for i in range(40):
                    began = time.perf_counter_ns()
                    answer = call(tensors)
                    if i >= 5:  # the first find cold caches after another's turn
                        taken[name].append(time.perf_counter_ns() - began)
                if turn == 0 and not np.array_equal(answer["probabilities"], right):
                    raise SystemExit(f"{name} gives other answers")
        medians = {name: statistics.median(times) / 1e3 for name, times in taken.items()}
        tax = tax or medians["full sandbox"] - medians["in process"]
        for name, median in medians.items():
            p99 = statistics.quantiles(taken[name], n=100)[-1] / 1e3
            print(f"      {count:3d} rows  {name:22s} p50 {median:7.1f} us   p99 {p99:7.1f} us")
    return tax


def cold_ms(host: ModelHost, data: bytes, starts: int) -> float:
    """Median of several cold starts."""
    taken = []
    with sealed(data, "model.onnx") as file:
        for _ in range(starts):
            started = host.start(file, "onnx", None)
            taken.append(started.started_ms)
            started.close()
    print(f"      {starts} starts: {min(taken):.0f} to {max(taken):.0f} ms")
    return statistics.median(taken)


def told(name: str, seen: float, target: float, unit: str) -> bool:
    """Print one figure against its target."""
    met = seen <= target
    print(f"{'PASS' if met else 'MISS'}  {name}: {seen:.1f} {unit}, target <= {target:g} {unit}")
    return met


def main() -> None:
    """Print the figures; exit status 1 if one is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer calls and starts")
    quick = parser.parse_args().quick
    data, x = forest()
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(everywhere)})  # what is started from here on sits there too
    sandbox = Sandbox.detect(SandboxSettings())
    began = time.perf_counter()
    holding = sum(proof.holds for proof in sandbox.layers())
    print(f"      {sandbox.backend}: {holding} layers hold, proven in {(time.perf_counter() - began) * 1000:.0f} ms")
    host = ModelHost(sandbox, RuntimeSettings())
    workers = {
        "plain subprocess": unprotected(host, data, UNLOCKED),
        "landlock and seccomp": unprotected(host, data, ""),
    }
    with sealed(data, "model.onnx") as file:
        workers["full sandbox"] = host.start(file, "onnx", None)
    calls: dict[str, Call] = {"in process": in_process(data)}
    calls |= {name: lambda tensors, worker=worker: worker.call(tensors, 10) for name, worker in workers.items()}
    try:
        print("      on one processor:")
        tax = taxes(calls, x, 10 if quick else 60)
        for pid in (0, *(worker.pid for worker in workers.values())):
            os.sched_setaffinity(pid, everywhere)
        print("      on any processor:")
        spread = taxes(calls, x, 10 if quick else 60)
        print(f"      sandbox tax, one row, on any processor: {spread:.1f} us")
        print(f"      memory of a worker: {workers['full sandbox'].memory_bytes() / (1 << 20):.0f} MiB")
    finally:
        for worker in workers.values():
            worker.close()
    met = told("sandbox tax, one row", tax, TAX_US, "us")
    met &= told("cold start of a worker", cold_ms(host, data, 3 if quick else 10), COLD_MS, "ms")
    sys.exit(not met)


if __name__ == "__main__":
    main()
