"""How one worker's socket bears several gateway processes: throughput and latency at 1, 2 and 4 clients.

Method: one worker in the full sandbox; each client is a process with its own event loop (uvloop) and one predictor, in
which a number of askers send one row after the other. All clients start together; what counts is the time from the
common start to the last answer, and the latency of each request as its asker saw it. Answers are checked.

Caveats: clients, worker and this process share the machine's processors: with fewer than one a process the figures show
what they take from each other, not what a socket bears. Nothing here has a target; the figures answer the question
whether several gateways may share one worker, which the contracts assume: PASS is no loss, no wrong answer, and at
least 0.7 of one client's throughput at four.

    python benchmarks/worker_socket.py [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

import numpy as np  # noqa: E402 - found through the path above
import uvloop  # noqa: E402

from fastness.core.signature import ModelSignature  # noqa: E402
from fastness.foundation.sandbox import Sandbox, SandboxSettings  # noqa: E402
from fastness.models.runtime import ModelHost, RunningModel, RuntimeSettings, WorkerPredictor  # noqa: E402

CLIENTS = (1, 2, 4)
LEAST_SHARE = 0.7
SETTINGS = RuntimeSettings()


def client(path: str, signature: ModelSignature, load: tuple[int, int], ends: Connection) -> None:
    """Ask when told to, then say how long each request took and how much CPU time all of them."""
    askers, requests = load
    x = np.random.default_rng(os.getpid()).random((256, 20), np.float32)

    async def run() -> tuple[list[float], float]:
        predictor = WorkerPredictor(Path(path), signature, SETTINGS)
        alone = [(await predictor.predict({"X": x[i : i + 1]}, 10))["probabilities"] for i in range(256)]
        ends.send("ready")
        ends.recv()
        taken: list[float] = []
        cpu = time.process_time()

        async def asker(first: int) -> None:
            for i in range(requests):
                row = (first + i) % 256
                began = time.perf_counter()
                answer = await predictor.predict({"X": x[row : row + 1]}, 10)
                taken.append(time.perf_counter() - began)
                if not np.allclose(answer["probabilities"], alone[row], atol=1e-6):
                    raise SystemExit("a wrong answer")

        await asyncio.gather(*(asker(17 * n) for n in range(askers)))
        cpu = time.process_time() - cpu
        predictor.close()
        return taken, cpu

    ends.send(uvloop.run(run()))


def worker_cpu_s(started: RunningModel) -> float:
    """Processor seconds of the worker so far."""
    fields = Path(f"/proc/{started.pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(path: Path, started: RunningModel, clients: int, load: tuple[int, int]) -> float:
    """Requests a second of `clients` processes together."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(clients):
        ours, theirs = context.Pipe()
        process = context.Process(target=client, args=(str(path), started.described, load, theirs))
        process.start()
        pipes.append(ours)
        processes.append(process)
    for pipe in pipes:
        pipe.recv()
    cpu, began = worker_cpu_s(started), time.perf_counter()
    for pipe in pipes:
        pipe.send("go")
    results = [pipe.recv() for pipe in pipes]
    wall = time.perf_counter() - began
    cpu = worker_cpu_s(started) - cpu
    for process in processes:
        process.join()
    taken = [seconds for times, _ in results for seconds in times]
    spent = sum(seconds for _, seconds in results)
    if len(taken) != clients * load[0] * load[1]:
        raise SystemExit("a request was lost")
    p50, p99 = statistics.median(taken) * 1e6, statistics.quantiles(taken, n=100)[-1] * 1e6
    rate = len(taken) / wall
    print(
        f"      {clients} clients x {load[0]:2d} askers: {rate:7.0f} requests/s   p50 {p50:6.0f} us   p99 {p99:6.0f} us"
        f"   CPU a request: client {spent / len(taken) * 1e6:4.0f} us, worker {cpu / len(taken) * 1e6:4.0f} us"
    )
    return rate


def main() -> None:
    """Print the figures; exit status 1 if sharing loses more than it may."""
    from benchmarks.sandbox import forest
    from tests.unit.foundation.sandbox.grounds import sealed

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer requests")
    requests = 200 if parser.parse_args().quick else 2000
    data, _ = forest()
    host = ModelHost(Sandbox.detect(SandboxSettings()), SETTINGS)
    met = True
    with tempfile.TemporaryDirectory() as folder, sealed(data, "model.onnx") as file:
        path = Path(folder) / "worker.sock"
        started = host.start(file, "onnx", path)
        try:
            for askers in (1, 16):
                rates = {clients: measure(path, started, clients, (askers, requests)) for clients in CLIENTS}
                share = rates[CLIENTS[-1]] / rates[1]
                kept = share >= LEAST_SHARE
                met &= kept
                print(
                    f"{'PASS' if kept else 'MISS'}  {CLIENTS[-1]} clients x {askers} askers keep {share:.2f} of one client's "
                    f"throughput, target >= {LEAST_SHARE:g}"
                )
        finally:
            started.close()
    print(f"      {os.cpu_count()} processors for up to {CLIENTS[-1]} clients, one worker and this process")
    sys.exit(not met)


if __name__ == "__main__":
    main()
