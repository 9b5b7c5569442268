"""Scans in processes of their own: one for each file, locked in, with limits, and never believed.

The process that parses is forked by a helper that was started once (see `child.py`), so it holds nothing of this one: no
key, no connection, no other file. Its report comes back as data and is judged anew. Whatever ends it early is a finding
that refuses the file.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import msgspec

from fastness.core.errors import Corrupt, FastnessError, Invalid, Unavailable
from fastness.core.findings import Finding, Rule, judge
from fastness.core.sources import RandomAccess
from fastness.foundation.sandbox import Channel, ChannelError
from fastness.models.scan.budget import ScanSettings
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.facts import found
from fastness.models.scan.messages import (
    BROKE,
    FAILED,
    HELLO,
    LONGEST_PATH,
    NO_LOCK,
    NO_PROCESS,
    OK,
    ORDER,
    OVERDUE,
    PIECE,
    Done,
    Has,
    Noted,
    Read,
    Sizes,
    Stopped,
    Task,
    read_said,
)  # fmt: skip
from fastness.models.scan.records import MOST_BYTES, encode, finding_of, report_of
from fastness.models.scan.report import Report
from fastness.models.scan.rules import SCANNER_CRASHED, SCANNER_TIMEOUT, UNREADABLE
from fastness.models.scan.settings import RunSettings

_PROGRAM = """\
import sys, json
sys.path[:] = json.loads(sys.argv[1])
from fastness.models.scan.child import main
main()
"""
_ENVIRONMENT = {"LANG": "C.UTF-8", "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
_START_S = 60.0
_GRACE_S = 5.0
_MOST_ASKED = 100_000
_ENDINGS = {
    BROKE: "it broke", NO_PROCESS: "no process could be started for it", NO_LOCK: "it could not lock itself in",
}  # fmt: skip
_SIGNALS = {9: "killed", 11: "a fault of memory", 24: "its processor time was spent", 6: "aborted", 7: "a bus error"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file stands: in a folder, at a path, with the readers that must read it."""

    bundle: Bundle
    path: str
    readers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of one scan.

    Attributes:
        referenced: paths of the folder that it refers to.
        asked: paths that it asked about, with the answers.
        readers: of a folder, path to the readers that must read it.
    """

    report: Report | None
    referenced: frozenset[str] = frozenset()
    asked: tuple[tuple[str, bool], ...] = ()
    readers: tuple[tuple[str, frozenset[str]], ...] = ()


class Scanner:
    """Scans in processes of their own. Threads may share it; `close` is its owner's duty.

    Args:
        settings: how long a scan may take, and how much it may hold.
    """

    def __init__(self, settings: RunSettings | None = None) -> None:
        self.settings = settings or RunSettings()
        self._forker: _Forker | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin to load the readers, without waiting for it: the first scan then waits less."""
        self._ready()

    def isolation(self) -> str:
        """`sandbox` where a scan can reach nothing, `limits` where the system offers no more than limits.

        Raises:
            Unavailable: it does not start.
        """
        return self._ready().isolation()

    def scan(self, source: RandomAccess, settings: ScanSettings | None = None) -> Report:
        """The report on one file, as `scan` gives it.

        Raises:
            Unavailable: no process can be started.
            OSError, FastnessError: the source cannot be read, or cannot be trusted.
        """
        report = self.scan_placed(source, settings).report
        if report is None:
            raise Unavailable("scanner-silent", "the scan of a file came back without a report")
        return report

    def scan_placed(
        self, source: RandomAccess, settings: ScanSettings | None = None, place: Place | None = None, file: int = -1
    ) -> Seen:
        """What came of scanning one file, alone or in its folder.

        Args:
            file: a descriptor of its bytes; without one they are read from `source` as they are asked for.

        Raises:
            Unavailable: no process can be started.
            OSError, FastnessError: the source cannot be read, or cannot be trusted.
        """
        task = Task(source.name, source.size, given=file >= 0, bounds=_bounds(settings))
        if place is not None:
            task = msgspec.structs.replace(
                task, path=place.path, folder=place.bundle.name, readers=tuple(sorted(place.readers))
            )
        return self._run(task, _Answers(source, place.bundle if place is not None else None), file)

    def scan_whole(self, bundle: Bundle, settings: ScanSettings | None = None) -> Seen:
        """What stands between the files of a folder, and what its files are.

        Raises:
            Unavailable: no process can be started.
            OSError, FastnessError: a file cannot be read, or cannot be trusted.
        """
        task = Task(bundle.name, 0, whole=True, bounds=_bounds(settings))
        return self._run(task, _Answers(None, bundle), -1)

    def close(self) -> None:
        """End every process."""
        with self._lock:
            if self._forker is not None:
                self._forker.close()
                self._forker = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ready(self) -> _Forker:
        with self._lock:
            if self._forker is None or self._forker.ended():
                if self._forker is not None:
                    self._forker.close()
                self._forker = _Forker()
            return self._forker

    def _run(self, task: Task, answers: _Answers, file: int) -> Seen:
        seconds = self.settings.patience_s(task.size)
        ours, theirs = socket.socketpair()
        told, status = os.pipe2(os.O_CLOEXEC)
        with ours:
            try:
                forker = self._ready()
                isolation = forker.isolation()
                forker.order((theirs.fileno(), status, *((file,) if file >= 0 else ())), self.settings.memory_bytes, seconds)  # fmt: skip
            except BaseException:
                os.close(told)
                raise
            finally:
                theirs.close()
                os.close(status)
            try:
                done = _converse(Channel(ours, MOST_BYTES), task, answers, time.monotonic() + seconds + _GRACE_S)
                if answers.problem is not None:  # whatever it made of what it could not read
                    raise answers.problem
                return _seen(done, task, answers, isolation)
            except (ChannelError, Corrupt) as error:
                if answers.problem is not None:
                    raise answers.problem from error
                ours.close()
                rule, how = _ending(told, seconds, error)
                return Seen(replace(_report(task, rule, how, answers.noted), isolation=isolation))
            finally:
                os.close(told)


class _Answers:
    """What a scan may ask for: bytes of its file, and of the files of its folder; and what it notes on the way.

    Attributes:
        asked: paths that it asked about, with the answers.
        noted: what blocks, as far as it was found.
        problem: why something could not be read; then the scan says nothing.
    """

    def __init__(self, source: RandomAccess | None, bundle: Bundle | None) -> None:
        self._source = source
        self._bundle = bundle
        self.asked: dict[str, bool] = {}
        self.noted: list[Finding] = []
        self.problem: FastnessError | OSError | None = None
        self._room = MOST_BYTES

    def answer(self, question: Read | Has | Sizes | Noted) -> bytes:
        """The answer; one that begins with FAILED where it cannot be read.

        Raises:
            Corrupt: it asks for what nobody would.
        """
        try:
            if isinstance(question, Read):
                return OK + self._read(question)
            if isinstance(question, Has):
                return OK + (b"1" if self._has(question.path) else b"0")
            if isinstance(question, Noted):
                return OK + self._note(question)
            return OK + self._sizes()
        except OSError as error:
            self.problem = self.problem or error
            return FAILED + (error.strerror or type(error).__name__).encode("utf-8", "replace")
        except _Untrue as lie:
            raise lie.error from None
        except FastnessError as error:
            self.problem = error
            return FAILED + error.code.encode()

    def holds(self, path: str) -> bool:
        """Whether a file is in the folder."""
        return self._bundle is not None and path in self._bundle

    def _has(self, path: str) -> bool:
        if path not in self.asked:
            if len(path) > LONGEST_PATH or len(self.asked) >= _MOST_ASKED:
                raise _Untrue("a scan asks about more than a file refers to")
            self._take(len(path))
            self.asked[path] = self.holds(path)
        return self.asked[path]

    def _note(self, noted: Noted) -> bytes:
        self._take(len(encode(noted)))
        try:
            self.noted.append(finding_of(noted.finding))
        except Corrupt as error:
            raise _Untrue(error.message) from error
        return b""

    def _take(self, room: int) -> None:
        """What it says is kept, so it has a bound."""
        self._room -= room
        if self._room < 0:
            raise _Untrue("a scan says more than it may")

    def _read(self, question: Read) -> bytes:
        if not 0 < question.length <= PIECE or question.offset < 0:
            raise _Untrue("a scan asks for more than it may at once")
        if question.path:
            if not self.holds(question.path) or self._bundle is None:
                raise _Untrue("a scan asks for a file that is not there")
            return self._bundle.source(question.path).read_at(question.offset, question.length)
        if self._source is None:
            raise _Untrue("a scan asks for a file that it was not given")
        return self._source.read_at(question.offset, question.length)

    def _sizes(self) -> bytes:
        if self._bundle is None:
            raise _Untrue("a scan asks for a folder that it was not given")
        packed = msgspec.msgpack.encode({path: _size(self._bundle.source(path)) for path in self._bundle})
        if len(packed) >= MOST_BYTES:
            raise OSError(0, "the folder holds too many files")
        return packed


class _Untrue(Exception):
    """It asks for what no scan asks for, or says what none says."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.error = Corrupt("scan-record", what)


def _size(source: RandomAccess) -> int:
    """Bytes of a file of the folder; none of one that cannot be read: it has a report of its own that says so."""
    try:
        return source.size
    except (OSError, Invalid):
        return 0


def _converse(channel: Channel, task: Task, answers: _Answers, deadline: float) -> Done:
    """Hand over the task, answer what is asked, and take the result."""
    channel.send(encode(task), deadline)
    while True:
        said = read_said(channel.receive(deadline))
        if isinstance(said, Done):
            return said
        if isinstance(said, Stopped):
            if answers.problem is not None:
                raise answers.problem
            raise OSError(0, ascii(said.message)[:200])
        channel.send(answers.answer(said), deadline)


def _seen(done: Done, task: Task, answers: _Answers, isolation: str) -> Seen:
    """The result, held against what was asked for.

    Raises:
        Corrupt: it tells of what is not there.
    """
    readers = tuple((path, frozenset(names)) for path, names in done.readers.items())
    if not all(answers.holds(path) for path in (*done.readers, *done.referenced)):
        raise Corrupt("scan-record", "a scan tells of a file that is not there")
    report = report_of(done.report, task.name, task.size) if done.report is not None else None
    if report is None and not task.whole:
        raise Corrupt("scan-record", "a scan came back without a report")
    shown = replace(report, isolation=isolation) if report is not None else None
    return Seen(shown, frozenset(done.referenced), tuple(sorted(answers.asked.items())), readers)


def _ending(told: int, seconds: float, error: Exception) -> tuple[Rule, str]:
    """How a scan that did not come to its end ended."""
    if isinstance(error, Corrupt):
        return SCANNER_CRASHED, f"the process that scanned it was ended, for {error.message}"
    ends = _ends(told)
    word = os.read(told, 64) if ends else b""
    if word[:1] == OVERDUE or not ends:
        return SCANNER_TIMEOUT, f"the scan was ended after {seconds:g} s"
    code = int(word[1:]) if word else 0
    if not word:
        how = "the one that started it is gone"
    elif code < 0:
        how = f"signal {-code} ({_SIGNALS.get(-code, 'ended')})"
    else:
        how = _ENDINGS.get(code, f"it ended with {code}")
    return SCANNER_CRASHED, f"the process that scanned it did not come to its end: {how}"


def _ends(told: int) -> bool:
    """Wait until the helper says how the process ended; it ends what is overdue by itself."""
    waiting = select.poll()  # not select: its descriptors end at 1024
    waiting.register(told, select.POLLIN)
    return bool(waiting.poll(_GRACE_S * 1000))


def _report(task: Task, rule: Rule, message: str, noted: Iterable[Finding]) -> Report:
    """The report of such a scan; what it had found by then stands."""
    findings = sorted((found(rule, task.name, 0, message), *noted), key=lambda finding: -finding.severity)
    return Report(task.name, task.size, (), judge(findings), 0)


def unreadable(name: str, error: OSError) -> Report:
    """The report on a file that cannot be read."""
    return Report(name, 0, (), judge([found(UNREADABLE, name, 0, error.strerror or type(error).__name__)]), 0)


def _bounds(settings: ScanSettings | None) -> dict[str, int]:
    return {name: int(value) for name, value in vars(settings or ScanSettings()).items()}


class _Forker:
    """The parent's hand on the program that forks: started at once, waited for when it is needed."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        root = str(Path(__file__).resolve().parents[3])
        path = [root, *(entry for entry in sys.path if entry and entry != root)]
        said, stderr = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-B", "-c", _PROGRAM, json.dumps(path)],
                stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=stderr, env=_ENVIRONMENT, cwd="/",
                start_new_session=True,
            )  # fmt: skip
        os.close(stderr)
        self._said = said
        self._isolation = ""
        self._lock = threading.Lock()
        self._finalizer = weakref.finalize(self, _end, self._process, self._control, said)

    def isolation(self) -> str:
        """Wait until it is ready.

        Raises:
            Unavailable: it does not start.
        """
        with self._lock:
            if not self._isolation:
                self._control.settimeout(_START_S)
                try:
                    word = self._control.recv(2)
                except OSError as error:
                    raise self._failed() from error
                if word[:1] != HELLO:
                    raise self._failed()
                self._isolation = "sandbox" if word[1:] == b"1" else "limits"
            return self._isolation

    def order(self, descriptors: tuple[int, ...], memory: int, seconds: float) -> None:
        """Have it fork.

        Raises:
            Unavailable: it has ended.
        """
        order = ORDER.pack(len(descriptors) > 2, memory, seconds)
        try:
            with self._lock:
                socket.send_fds(self._control, [order], list(descriptors))
        except OSError as error:
            raise self._failed() from error

    def ended(self) -> bool:
        """Whether it is gone."""
        return self._process.poll() is not None

    def close(self) -> None:
        """End it, and with it what it has forked."""
        self._finalizer()

    def _failed(self) -> Unavailable:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)
        try:
            said = os.read(self._said, 1 << 16)[-400:].decode("ascii", "replace")
        except OSError:
            said = ""
        plain = "".join(c if c.isprintable() else " " for c in said).strip()
        return Unavailable("scanner-lost", f"the program that scans does not run: {plain or 'it said nothing'}")


def _end(process: subprocess.Popen[bytes], control: socket.socket, said: int) -> None:
    control.close()
    try:
        process.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    os.close(said)
