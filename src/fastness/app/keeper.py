"""Keeps one sandboxed worker alive for each revision that is to be served.

Law 1 holds at each start: signatures, approvals, policy and every byte are verified again before the bytes are given to
a worker. What does not pass is not served, and says why. A worker that dies is replaced; one that dies three times in
five minutes is left down. Each is asked every few seconds to attempt the forbidden once more: one that hangs, or
succeeds, is ended and replaced.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from fastness.core.errors import FastnessError
from fastness.core.events import Detail, EventKind
from fastness.foundation.sandbox import SealedFile
from fastness.models.release import Route, Routes
from fastness.models.runtime import ModelHost, RunningModel

_LOOK_S = 0.1
_RETRY_S = 2.0
_LONGEST_RETRY_S = 30.0
_CHECK_S, _HUNG_S = 5.0, 10.0
_CRASHES, _CRASH_WINDOW_S = 3, 300.0

_log = logging.getLogger(__name__)

Load = Callable[[Route], SealedFile]
Record = Callable[[EventKind, Route, str, dict[str, Detail]], None]


@dataclass
class _Kept:
    """What is known of one revision's worker."""

    route: Route
    retry_s: float
    running: RunningModel | None = None
    problem: str = "model-starting"
    detail: str = "the model is being verified and loaded"
    due: float = 0.0
    crashes: list[float] = field(default_factory=list)
    check_due: float = 0.0
    checking: threading.Thread | None = None


@dataclass(frozen=True, slots=True)
class KeptWorker:
    """A worker as the outside sees it."""

    route: Route
    pid: int
    problem: str
    detail: str


class Keeper:
    """The workers of a house; runs on a thread of its own, which outlives them (they die with the thread that made them).

    Args:
        host: starts workers.
        load: gives the verified bytes of a route's model, or raises.
        record: writes an event.
        retry_s: until a model that did not load is tried again; twice as long each time, up to half a minute.
        check_s: between two checks of a worker.
        hung_s: a worker that does not answer a check for so long hangs.
    """

    def __init__(
        self,
        host: ModelHost,
        load: Load,
        record: Record,
        retry_s: float = _RETRY_S,
        check_s: float = _CHECK_S,
        hung_s: float = _HUNG_S,
    ) -> None:
        self._check_s, self._hung_s = check_s, hung_s
        self._host = host
        self._load = load
        self._record = record
        self._retry_s = retry_s
        self._kept: dict[str, _Kept] = {}
        self._wanted: dict[str, Route] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self.changes = 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Stop all workers."""
        self._stop.set()
        self._thread.join()

    def want(self, routes: Routes) -> None:
        """Say what is to be served from now on."""
        wanted = {r.revision: r for r in routes.by_key.values() if not r.problem}
        with self._lock:
            self._wanted = wanted

    def seen_from_outside(self, routes: Routes) -> Routes:
        """`routes`, each with the problem of its worker where there is one."""
        with self._lock:
            kept = {revision: (k.problem, k.detail) for revision, k in self._kept.items()}
        starting = ("model-starting", "the model is being verified and loaded")
        by_key = {}
        for key, route in routes.by_key.items():
            problem, detail = (route.problem, route.detail) if route.problem else kept.get(route.revision, starting)
            by_key[key] = msgspec.structs.replace(route, problem=problem, detail=detail)
        return Routes(by_key)

    def workers(self) -> list[KeptWorker]:
        """All workers."""
        with self._lock:
            return [
                KeptWorker(k.route, k.running.pid if k.running else 0, k.problem, k.detail) for k in self._kept.values()
            ]

    def _run(self) -> None:
        while not self._stop.wait(_LOOK_S):
            with self._lock:
                wanted = dict(self._wanted)
            for revision in self._kept.keys() - wanted.keys():
                self._drop(revision)
            for revision, route in wanted.items():
                self._tend(revision, route)
        for revision in list(self._kept):
            self._drop(revision)

    def _drop(self, revision: str) -> None:
        with self._lock:
            kept = self._kept.pop(revision)
            self.changes += 1
        if kept.running is not None:
            kept.running.close()
        Path(kept.route.socket).unlink(missing_ok=True)

    def _tend(self, revision: str, route: Route) -> None:
        with self._lock:
            kept = self._kept.setdefault(revision, _Kept(route, self._retry_s))
        if kept.running is not None:
            if not kept.running.alive():
                self._lost(kept)
            elif time.monotonic() >= kept.check_due and not (kept.checking and kept.checking.is_alive()):
                kept.check_due = time.monotonic() + self._check_s
                kept.checking = threading.Thread(target=_check, args=(kept.running, self._hung_s), daemon=True)
                kept.checking.start()
            return
        if time.monotonic() >= kept.due:
            self._raise_up(kept)

    def _raise_up(self, kept: _Kept) -> None:
        try:
            running = self._started(kept.route)
        except FastnessError as error:
            self._refused(kept, error)
            return
        except Exception as error:  # the loop outlives a fault in one model, which is then not served
            _log.exception("a fault while %s version %d was loaded", kept.route.model, kept.route.version)
            self._refused(kept, FastnessError("internal", f"a fault: {type(error).__name__}"))
            return
        with self._lock:
            kept.running, kept.problem, kept.detail, kept.retry_s = running, "", "", self._retry_s
            self.changes += 1

    def _started(self, route: Route) -> RunningModel:
        """A worker whose start is recorded: what cannot be recorded does not serve."""
        socket = Path(route.socket)
        socket.unlink(missing_ok=True)
        with self._load(route) as model:  # the worker has the bytes then; this process keeps none
            running = self._host.start(model, "onnx", socket)
        details: dict[str, Detail] = {
            "pid": running.pid,
            "started_ms": round(running.started_ms, 1),
            "revision": route.revision,
        }
        try:
            self._record(EventKind.WORKER_STARTED, route, "", details)
        except FastnessError:
            running.close()
            socket.unlink(missing_ok=True)
            raise
        return running

    def _tell(self, kind: EventKind, kept: _Kept, reason: str, details: dict[str, Detail]) -> None:
        """Record that something is not served; where even that fails, the loop goes on, for it is the safe side."""
        try:
            self._record(kind, kept.route, reason, {"revision": kept.route.revision, **details})
        except FastnessError:
            _log.exception("%s of %s version %d is not recorded", kind, kept.route.model, kept.route.version)

    def _refused(self, kept: _Kept, error: FastnessError) -> None:
        _log.warning("%s version %d is not served: %s", kept.route.model, kept.route.version, error)
        again = kept.problem == error.code
        with self._lock:
            kept.problem, kept.detail = error.code, error.message
            kept.due = time.monotonic() + kept.retry_s
            kept.retry_s = min(kept.retry_s * 2, _LONGEST_RETRY_S)
            self.changes += 1
        if not again:
            self._tell(EventKind.WORKER_REFUSED, kept, error.code, {})

    def _lost(self, kept: _Kept) -> None:
        running, now = kept.running, time.monotonic()
        reason = running.exit_reason() if running is not None else ""
        if running is not None:
            running.close()
        kept.crashes = [at for at in kept.crashes if now - at < _CRASH_WINDOW_S] + [now]
        down = len(kept.crashes) >= _CRASHES
        with self._lock:
            kept.running = None
            kept.problem = "worker-quarantined" if down else "worker-lost"
            kept.detail = f"its worker ended: {reason}"
            kept.due = now + (_CRASH_WINDOW_S if down else 0.0)
            self.changes += 1
        self._tell(EventKind.WORKER_LOST, kept, kept.problem, {"exit": reason, "crashes": len(kept.crashes)})


def _check(running: RunningModel, hung_s: float) -> None:
    """See that a worker answers and is still locked in; one that does not is ended, and so replaced."""
    with contextlib.suppress(FastnessError, OSError, ValueError):  # it ends by this, or was ended meanwhile
        running.check(hung_s)
