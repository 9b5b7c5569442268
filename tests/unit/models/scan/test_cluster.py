"""Scans on a real Ray cluster of two nodes on this machine: the same verdicts, also after a worker and a node are killed."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastness.core.errors import Unavailable
from fastness.models.scan import Report, RunSettings, Scanner, pool
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.files import Bench, Work
from fastness.models.scan.isolated import Seen
from tests.needs import ROOT
from tests.unit.models.scan.artifacts import EVIL, rules_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore"),  # Ray's own: sockets that it leaves to the end of the process
]
_MIB = 1 << 20


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two nodes, one processor each."""
    ray = pytest.importorskip("ray")
    utils = pytest.importorskip("ray.cluster_utils")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(ROOT)]))
        patch.setenv("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        node = {"num_cpus": 1, "object_store_memory": 80 * _MIB, "include_dashboard": False}
        made = utils.Cluster(initialize_head=True, head_node_args=node)
        second = made.add_node(num_cpus=1, object_store_memory=80 * _MIB)
        made.wait_for_nodes()
        made.second = second
        ray.init(address=made.address, log_to_driver=False)
        yield made
        ray.shutdown()
        made.shutdown()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(24):
        data = EVIL if number % 5 == 0 else b"\x80\x04" + b"N0" * 40_000 + pickle.dumps(number)[2:]
        (folder / f"{number:02}.pkl").write_bytes(data)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    return folder


def told(reports: Iterator[Report]) -> list[tuple[object, ...]]:
    return [(r.name, r.size, r.outcome, r.digest, r.formats, rules_of(r)) for r in reports]


def on_cluster(paths: list[Path], address: str, kept: Path | None = None) -> list[tuple[object, ...]]:
    settings = RunSettings(engine="ray", address=address)
    with Scanner(settings) as scanner, pool.engine(settings) as many:
        cache = pool.open_cache(kept, settings) if kept else None
        return told(pool.scan_folders(paths, Bench(scanner, cache=cache), many))


def here(paths: list[Path]) -> list[tuple[object, ...]]:
    with Scanner() as scanner:
        return told(pool.scan_folders(paths, Bench(scanner)))


def test_two_nodes_say_what_this_machine_says(cluster: Any, files: Path, tmp_path: Path) -> None:
    import ray

    assert len([node for node in ray.nodes() if node["Alive"]]) == 2
    wanted = here([files])
    assert on_cluster([files], cluster.address) == wanted
    (tmp_path / "kept").mkdir(mode=0o700)
    assert on_cluster([files], cluster.address, tmp_path / "kept") == wanted
    assert len(list((tmp_path / "kept").glob("??/*"))) == 25
    assert on_cluster([files], cluster.address, tmp_path / "kept") == wanted


def workers() -> list[int]:
    """Processes of this machine that scan for the cluster."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes().startswith(b"ray::work"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_a_worker_that_is_killed_midway_loses_nothing(cluster: Any, files: Path) -> None:
    wanted = here([files])
    killed: list[int] = []
    stop = threading.Event()

    def kill_one() -> None:
        while not killed and not stop.is_set():
            for pid in workers()[:1]:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            time.sleep(0.02)

    thread = threading.Thread(target=kill_one)
    thread.start()
    try:
        assert on_cluster([files], cluster.address) == wanted
    finally:
        stop.set()
        thread.join(30)
    assert killed


def test_a_node_that_is_lost_midway_loses_nothing(cluster: Any, files: Path) -> None:
    """The last one: the second node is gone for good."""
    wanted = here([files])
    settings = RunSettings(engine="ray", address=cluster.address)
    with Scanner(settings) as scanner, pool.engine(settings) as many:
        reports = pool.scan_folders([files], Bench(scanner), many)
        first = told(iter([next(reports)]))
        cluster.remove_node(cluster.second, allow_graceful=False)
        assert first + told(reports) == wanted


def test_a_cluster_that_is_not_there_is_named() -> None:
    program = (
        "from fastness.models.scan import RunSettings, pool\n"
        "from fastness.core.errors import Unavailable\n"
        "try:\n"
        "    with pool.engine(RunSettings(engine='ray', address='127.0.0.1:1')):\n"
        "        pass\n"
        "except Unavailable as error:\n"
        "    print(error.code)\n"
    )

    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=200,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "RAY_gcs_rpc_server_connect_timeout_s": "2",
             "RAY_gcs_server_request_timeout_seconds": "2"},
    )  # fmt: skip
    assert run.stdout.strip() == "ray-unreachable", run.stderr[-2000:]


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(Unavailable, match="needs Ray"), pool.engine(RunSettings(engine="ray")):
        pass


def test_the_pool_needs_no_cluster() -> None:
    with pool.engine(RunSettings()) as many, Scanner() as scanner:
        seen: list[Seen] = list(many(Bench(scanner), [Work(Path("/dev/null"), "null")], Bundle("", {})))
    assert seen[0].report is not None
    assert rules_of(seen[0].report) == {"path-special"}
