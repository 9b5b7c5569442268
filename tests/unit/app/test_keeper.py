"""The keeper, with real sandboxed workers: what dies is replaced, what cannot run says why, and the loop outlives it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastness.app.keeper import Keeper, KeptWorker
from fastness.core.errors import Corrupt, Unavailable
from fastness.core.events import Detail, EventKind
from fastness.core.signature import Datatype, ModelSignature, TensorSpec
from fastness.foundation.sandbox import SealedFile
from fastness.models.release import Route, Routes
from tests.unit.foundation.sandbox.grounds import gone, sealed
from tests.unit.models.runtime.onnx_models import host, softmax

SIGNATURE = ModelSignature((TensorSpec("x", Datatype.FP32, (-1, 4)),), (TensorSpec("label", Datatype.INT64, (-1,)),))


class Watched:
    """A keeper of one or more revisions, with a loader and a record that tests can break."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.failing: Exception | None = None
        self.mute: EventKind | None = None
        self.loaded: list[SealedFile] = []
        self.events: list[tuple[EventKind, str, dict[str, Detail]]] = []
        self.keeper = Keeper(host(), self._load, self._record, retry_s=0.1, check_s=0.05, hung_s=1.0)

    def _load(self, route: Route) -> SealedFile:
        if self.failing is not None:
            raise self.failing
        self.loaded.append(sealed(softmax(), f"{route.model}.onnx"))
        return self.loaded[-1]

    def _record(self, kind: EventKind, route: Route, reason: str, details: dict[str, Detail]) -> None:
        if kind is self.mute:
            raise Unavailable("records-full", "the disk is full")
        self.events.append((kind, reason, details))

    def route(self, revision: str = "r1", problem: str = "") -> Route:
        return Route("default", "m", 1, revision, SIGNATURE, str(self.folder / f"{revision}.sock"), problem)

    def want(self, *routes: Route) -> Routes:
        wanted = Routes({f"m/{n}": route for n, route in enumerate(routes)})
        self.keeper.want(wanted)
        return wanted

    def worker(self, revision: str = "r1") -> KeptWorker | None:
        return next((w for w in self.keeper.workers() if w.route.revision == revision), None)

    def until(self, check: Callable[[KeptWorker], bool], revision: str = "r1") -> KeptWorker:
        for _ in range(3000):
            found = self.worker(revision)
            if found is not None and check(found):
                return found
            time.sleep(0.01)
        raise AssertionError(f"it never came to pass: {self.worker(revision)}")

    def serving(self, besides: int = 0) -> KeptWorker:
        return self.until(lambda w: not w.problem and w.pid not in {0, besides})

    def seen(self, kind: EventKind) -> list[tuple[str, dict[str, Detail]]]:
        return [(reason, details) for k, reason, details in self.events if k is kind]


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    made = Watched(tmp_path)
    made.keeper.start()
    yield made
    made.keeper.close()


def test_a_wanted_revision_gets_a_worker_and_its_start_is_recorded(watched: Watched) -> None:
    watched.want(watched.route())
    worker = watched.serving()
    assert Path(worker.route.socket).is_socket()
    ((_, details),) = watched.seen(EventKind.WORKER_STARTED)
    assert (details["pid"], details["revision"]) == (worker.pid, "r1")


def test_the_keeper_keeps_no_bytes_of_the_model(watched: Watched) -> None:
    watched.want(watched.route())
    watched.serving()
    with pytest.raises((OSError, ValueError)):
        os.fstat(watched.loaded[0].fileno())


def test_a_killed_worker_is_replaced_and_the_third_time_left_down(watched: Watched) -> None:
    routes, pid = watched.want(watched.route()), 0
    for _ in range(2):
        pid = watched.serving(besides=pid).pid
        os.kill(pid, signal.SIGKILL)
    pid = watched.serving(besides=pid).pid
    changes = watched.keeper.changes
    os.kill(pid, signal.SIGKILL)
    down = watched.until(lambda w: w.problem == "worker-quarantined")
    assert down.pid == 0
    assert watched.keeper.changes > changes
    assert watched.keeper.seen_from_outside(routes).by_key["m/0"].problem == "worker-quarantined"
    lost = watched.seen(EventKind.WORKER_LOST)
    assert [reason for reason, _ in lost] == ["worker-lost", "worker-lost", "worker-quarantined"]
    assert [details["crashes"] for _, details in lost] == [1, 2, 3]
    time.sleep(0.3)
    assert watched.worker() == down  # it stays down


def test_a_hung_worker_is_ended_and_replaced(watched: Watched) -> None:
    watched.want(watched.route())
    hung = watched.serving()
    os.kill(hung.pid, signal.SIGSTOP)
    replaced = watched.serving(besides=hung.pid)
    assert replaced.route == hung.route
    assert gone(hung.pid)
    (lost,) = watched.seen(EventKind.WORKER_LOST)
    assert lost[1]["exit"] == "killed: late"


FAULTS: list[tuple[Exception, str]] = [
    (Corrupt("blob-corrupt", "a segment does not open"), "blob-corrupt"),
    (ZeroDivisionError("a fault of ours"), "internal"),
]


@pytest.mark.parametrize(("fault", "code"), FAULTS, ids=[code for _, code in FAULTS])
def test_a_model_that_does_not_load_is_not_served_and_says_why(watched: Watched, fault: Exception, code: str) -> None:
    watched.failing = fault
    routes = watched.want(watched.route())
    watched.until(lambda w: w.problem == code)
    shown = watched.keeper.seen_from_outside(routes).by_key["m/0"]
    assert (shown.problem, "a fault of ours" in shown.detail) == (code, False)
    assert watched.seen(EventKind.WORKER_REFUSED) == [(code, {"revision": "r1"})]
    watched.failing = None
    watched.want(watched.route("r2"))  # the loop survived
    watched.until(lambda w: not w.problem, "r2")


def test_it_is_tried_again_and_told_once(watched: Watched) -> None:
    watched.failing = Corrupt("blob-corrupt", "a segment does not open")
    watched.want(watched.route())
    watched.until(lambda w: w.problem == "blob-corrupt")
    changes = watched.keeper.changes
    while watched.keeper.changes == changes:
        time.sleep(0.01)
    assert len(watched.seen(EventKind.WORKER_REFUSED)) == 1
    watched.failing = None
    watched.serving()


def test_a_worker_whose_start_cannot_be_recorded_does_not_serve(watched: Watched) -> None:
    watched.mute = EventKind.WORKER_STARTED
    watched.want(watched.route())
    worker = watched.until(lambda w: w.problem == "records-full")
    assert (worker.pid, Path(worker.route.socket).exists()) == (0, False)
    watched.mute = None
    watched.serving()


def test_the_loop_outlives_a_record_that_cannot_take_a_loss(watched: Watched) -> None:
    watched.want(watched.route())
    pid = watched.serving().pid
    watched.mute = EventKind.WORKER_LOST
    os.kill(pid, signal.SIGKILL)
    watched.serving(besides=pid)


def test_dropping_a_route_ends_its_worker_and_removes_its_socket(watched: Watched) -> None:
    watched.want(watched.route())
    worker = watched.serving()
    watched.want()
    for _ in range(1000):
        if watched.worker() is None:
            break
        time.sleep(0.01)
    assert watched.worker() is None
    assert gone(worker.pid)
    assert not Path(worker.route.socket).exists()


def test_a_route_with_a_problem_gets_no_worker(watched: Watched) -> None:
    routes = watched.want(watched.route(problem="alias-rolled-back"), watched.route("r2"))
    watched.until(lambda w: not w.problem, "r2")
    assert watched.worker() is None
    assert watched.keeper.seen_from_outside(routes).by_key["m/0"].problem == "alias-rolled-back"


def test_before_it_was_looked_at_a_model_is_starting(watched: Watched) -> None:
    assert watched.keeper.seen_from_outside(Routes({"m": watched.route("new")})).by_key["m"].problem == "model-starting"


def test_closing_ends_every_worker(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.keeper.start()
    watched.want(watched.route())
    pid = watched.serving().pid
    watched.keeper.close()
    assert gone(pid)
