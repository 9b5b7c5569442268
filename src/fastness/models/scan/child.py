"""The process that reads hostile bytes: forked for one file, locked in, and gone with it.

Started as `python -c` by its parent, this program imports every reader once, then forks for each order. The fork has the
file as an open descriptor, or asks its parent for bytes; it gives up root, sets limits on memory, processor time, files
and processes, and locks itself in: no new privileges, no file, no socket, no program, nothing but reading, computing and
answering. What came over it dies with it, and it never saw another file.

What it misses: where the kernel has neither landlock nor seccomp only the limits hold, which the report says. Signals to
other processes of the same user are held back by landlock from Linux 6.12 on, or where Fastness was started by root.
"""

from __future__ import annotations

import array
import codecs
import contextlib
import ctypes
import gc
import importlib
import json
import os
import pkgutil
import resource
import select
import signal
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fastness.core.findings import Finding
from fastness.core.sources import BytesSource, RandomAccess
from fastness.foundation.sandbox import Channel, ChannelError, Guest, LockError
from fastness.models import scan as package
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.catalogue import all_checks, all_layouts, all_readers, rules
from fastness.models.scan.facts import Fact, Facts
from fastness.models.scan.frame import Job, Tree, scan_job, scan_tree
from fastness.models.scan.messages import (
    BROKE,
    FAILED,
    HELLO,
    LONGEST_PATH,
    NO_LOCK,
    NO_PROCESS,
    ORDER,
    OVERDUE,
    PIECE,
    RAN,
    Done,
    Has,
    Noted,
    Read,
    Sizes,
    Stopped,
    Task,
)  # fmt: skip
from fastness.models.scan.records import MOST_BYTES, encode, finding_record, record_of
from fastness.models.scan.report import Report

LATE = (
    "numpy.ma", "jinja2", "jinja2.debug", "jinja2.sandbox", "jinja2.ext", "lz4.frame", "lz4.block", "packaging.requirements", "packaging.specifiers",
    "packaging.version", "packaging.utils", "yaml", "zstandard", "bz2", "lzma", "zlib", "gzip", "zipfile", "tarfile",
    "unicodedata", "xml.parsers.expat", "tomllib", "configparser", "ast", "symtable", "dis", "opcode", "json", "base64", "binascii",
)  # fmt: skip
"""What readers import only when they need it: behind the lock nothing can be imported any more."""
_ENCODINGS = (
    "ascii", "cp437", "cp1252", "idna", "latin-1", "punycode", "raw-unicode-escape", "unicode-escape", "utf-7", "utf-8",
    "utf-8-sig", "utf-16", "utf-16-be", "utf-16-le", "utf-32", "utf-32-be", "utf-32-le",
)  # fmt: skip
_PARENTS = {"cache", "child", "cluster", "cyclonedx", "files", "inprocess", "isolated", "pool", "sarif", "waivers"}
_NOBODY = 65534
_PDEATHSIG, _SIGKILL = 1, 9
_MMAP_THRESHOLD, _TRIM_THRESHOLD, _KEPT_BYTES = -3, -1, 32 << 20  # malloc.h; the most that glibc takes
_FILES = 64
_FEW = 100
_WARM = 10
"""So often Python runs a function before it has settled how: behind the fork, that would copy the pages it is written to."""


# --- in the one that forks ------------------------------------------------------------------------------------------


def main() -> None:
    """Serve the orders that come over the socket on descriptor 0, until it closes."""
    control = socket.socket(fileno=os.dup(0))
    sys.setrecursionlimit(3000)
    load()
    confined = _confinable()
    gc.collect()
    gc.freeze()  # a fork copies no page for the sake of the collector
    control.sendall(HELLO + (b"1" if confined else b"0"))
    _Forker(control, confined=confined).serve()


def load() -> None:
    """Import all that a scan may need, and read the data that comes with it: behind the lock no file can be opened."""
    for name in LATE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for name in _ENCODINGS:
        codecs.lookup(name)
    for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if info.name.rpartition(".")[2] not in _PARENTS:
            importlib.import_module(info.name)
    for plugins in (all_readers, all_layouts, all_checks):
        plugins()
    rules()
    _fill_caches()
    _warm_up()


def _warm_up() -> None:
    """Have every reader and check do a little, so that what they load when they first need it is there."""
    detail: dict[str, str | int] = {
        "standing": "unknown", "opcode": "REDUCE", "arguments": "", "domain": "", "local": 0, "vocabulary": "keras",
        "language": "python", "runs": "load", "text": "{{ a }}", "ecosystem": "pypi", "specifier": "", "length": 0,
    }  # fmt: skip
    for check in all_checks():
        facts = Facts(Fact(kind, "", 0, "builtins.list", detail) for kind in check.wants)
        with contextlib.suppress(Exception):  # it may well not like them
            list(check.check(facts))
    for reader in all_readers():
        for data in (b"{}", b"\x80\x04N.", bytes(64)):
            with contextlib.suppress(Exception):
                list(reader.read(BytesSource("", data), Budget(ScanSettings())))
    for data in (b"{}", b"\x80\x04N.", bytes(64)) * _WARM:
        scan_job(Job(BytesSource("", data)))


def _fill_caches() -> None:
    """Call what is cached and takes nothing, or the name of a part of its module's data: most of it reads data files."""
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{package.__name__}.") and name.rpartition(".")[2] not in _PARENTS:
            parts = tuple(part for value in vars(module).values() if isinstance(value, Path) for part in _parts(value))
            for value in list(vars(module).values()):
                _fill_cache(value, parts)


def _parts(path: Path) -> Iterator[str]:
    """The names of and in data that comes with the scanner, of one file or those of a folder, two levels deep."""
    for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
        yield file.stem
        tree = json.loads(file.read_bytes()) if file.suffix == ".json" else None
        for name, value in tree.items() if isinstance(tree, dict) else ():
            yield name
            yield from value if isinstance(value, dict) and len(value) < _FEW else ()


def _fill_cache(value: object, parts: Iterable[str]) -> None:
    if not hasattr(value, "cache_info") or not hasattr(value, "__wrapped__") or not callable(value):
        return
    taken = value.__wrapped__.__code__.co_argcount
    for arguments in [()] if not taken else [(part,) for part in parts] if taken == 1 else []:
        with contextlib.suppress(Exception):  # it takes something else
            value(*arguments)


def _confinable() -> bool:
    """Whether a process can lock itself in here; found by doing it."""
    pid = os.fork()
    if not pid:
        try:
            Guest(-1, {}, -1, 0).lock_down()
        except BaseException:  # whatever the reason, it does not hold
            os._exit(NO_LOCK)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


@dataclass(slots=True)
class _Running:
    """A fork: where to say how it ended, and when it is overdue."""

    status: int
    deadline: float
    overdue: bool = False


class _Forker:
    """Forks once an order, ends what is overdue, and says how each fork ended. It never looks at what they read."""

    def __init__(self, control: socket.socket, *, confined: bool) -> None:
        self._control = control
        self._confined = confined
        self._running: dict[int, _Running] = {}
        self._base = _base()
        self._woken, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._woken, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Until the parent is gone; then everything ends."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        while True:
            ready = dict(poll.poll(self._patience_ms()))
            if self._woken in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._woken, 4096)
            self._reap()
            self._end_overdue()
            if self._control.fileno() in ready and not self._take():
                break
        for pid in self._running:
            os.kill(pid, signal.SIGKILL)

    def _take(self) -> bool:
        """The next order; false where there will be none."""
        data, ancillary, _, _ = self._control.recvmsg(ORDER.size, socket.CMSG_SPACE(3 * 4))
        handed = array.array("i")
        for _, kind, value in ancillary:
            if kind == socket.SCM_RIGHTS:
                handed.frombytes(value[: len(value) - len(value) % handed.itemsize])
        if len(data) < ORDER.size:
            return False
        given, memory, seconds = ORDER.unpack(data)
        answer, status, *file = handed
        try:
            pid = os.fork()
        except OSError:  # no room for another one now: that is the end of this scan, not of those that run
            _tell(status, RAN, NO_PROCESS)
        else:
            if not pid:
                self._become(answer, file[0] if given else -1, memory)
            self._running[pid] = _Running(status, time.monotonic() + seconds)
        os.close(answer)
        for descriptor in file:
            os.close(descriptor)
        return True

    def _become(self, answer: int, file: int, memory: int) -> None:
        """In the fork: scan, answer, and never come back."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _keep_only(answer, file)
            if self._confined:
                confine(memory, self._base)
            else:
                limit(memory, self._base)
            serve_one(Channel(socket.socket(fileno=answer), MOST_BYTES), file)
            status = 0
        except LockError:
            status = NO_LOCK
        except BaseException:  # a traceback would be lost; the parent is told by the status that it ended so
            status = BROKE
        finally:
            os._exit(status)

    def _reap(self) -> None:
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            ended = self._running.pop(pid)
            _tell(ended.status, OVERDUE if ended.overdue else RAN, os.waitstatus_to_exitcode(status))

    def _end_overdue(self) -> None:
        now = time.monotonic()
        for pid, running in self._running.items():
            if running.deadline <= now and not running.overdue:
                running.overdue = True
                os.kill(pid, signal.SIGKILL)

    def _patience_ms(self) -> float | None:
        waiting = [running.deadline for running in self._running.values() if not running.overdue]
        return max(0.0, min(waiting) - time.monotonic()) * 1000 + 1 if waiting else None


def _tell(status: int, word: bytes, code: int) -> None:
    """Say how a fork ended; whoever asked may be gone."""
    with contextlib.suppress(OSError):
        os.write(status, word + str(code).encode())
    os.close(status)


def _keep_only(*kept: int) -> None:
    """Close every other descriptor: over the socket of the one that forks come the files of other scans."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    begin = 3
    for descriptor in sorted(one for one in kept if one >= begin):
        os.closerange(begin, descriptor)
        begin = descriptor + 1
    os.closerange(begin, max(begin, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def _base() -> tuple[int, int]:
    """Address space and resident memory of this process, in bytes; zeros where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - pathlib is not faster, and this is proc
            pages = file.read().split()
    except OSError:
        return 0, 0
    size = os.sysconf("SC_PAGE_SIZE")
    return int(pages[0]) * size, int(pages[1]) * size


# --- in the fork ----------------------------------------------------------------------------------------------------


def limit(memory: int, base: tuple[int, int]) -> None:
    """Give up root and set the limits of this process, for good.

    Args:
        memory: bytes that may be resident; what is resident now counts too.
        base: address space and resident bytes of the process it was forked from.
    """
    if hasattr(os, "setresuid") and os.geteuid() == 0:
        with contextlib.suppress(OSError):  # a container may not let it: the lock holds all the same
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PDEATHSIG, _SIGKILL, 0, 0, 0)
        if hasattr(
            libc, "mallopt"
        ):  # windows over numbers are freed and taken again a thousand times: keep their pages
            libc.mallopt(_MMAP_THRESHOLD, _KEPT_BYTES)
            libc.mallopt(_TRIM_THRESHOLD, _KEPT_BYTES)
    space, resident = base
    limits = {"CORE": 0, "FSIZE": 0, "NOFILE": _FILES, "NPROC": 0}
    if space:
        limits["AS"] = space + max(0, memory - resident)
    for name, most in limits.items():
        number = getattr(resource, f"RLIMIT_{name}")
        most_now = resource.getrlimit(number)[1]
        chosen = most if most_now == resource.RLIM_INFINITY else min(most, most_now)
        resource.setrlimit(number, (chosen, chosen))


def confine(memory: int, base: tuple[int, int]) -> None:
    """Set the limits, then lock this process in.

    Raises:
        LockError: a lock cannot be set, or what it forbids was possible.
    """
    limit(memory, base)
    Guest(-1, {}, -1, 0).lock_down()


def serve_one(channel: Channel, file: int) -> None:
    """Take the task, do it, and say what came of it."""
    task = msgspec.msgpack.decode(channel.receive(), type=Task)
    parent = _Parent(channel)
    try:
        done = _whole(task, parent) if task.whole else _file(task, parent, file)
    except (OSError, ChannelError) as error:
        channel.send(encode(Stopped(getattr(error, "strerror", "") or type(error).__name__)))
        return
    channel.send(encode(done))


def _file(task: Task, parent: _Parent, file: int) -> Done:
    source: RandomAccess = _Given(task, file) if task.given else _Asked(task.name, task.size, "", parent)
    tree = Tree(Bundle(task.folder, _Files(task.folder, parent)), ()) if task.path else None
    job = Job(source, 0, tree, task.path, frozenset(task.readers))
    report = scan_job(job, ScanSettings(**task.bounds), parent.note)
    return Done(record_of(report), {}, tuple(sorted(tree.referenced)) if tree is not None else ())


def _whole(task: Task, parent: _Parent) -> Done:
    tree = Tree(Bundle(task.name, _Files(task.name, parent)))
    report: Report | None = scan_tree(tree, ScanSettings(**task.bounds), parent.note)
    told = {path: tuple(sorted(tree.readers(path))) for path in tree.bundle} if tree.layouts else {}
    return Done(
        record_of(report) if report is not None else None,
        {path: names for path, names in told.items() if names},
        tuple(sorted(tree.referenced)),
    )


class _Parent:
    """Asks the parent, who has the files."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def note(self, finding: Finding) -> None:
        """Tell what blocks, as soon as it is found."""
        self.ask(Noted(finding_record(finding)))

    def ask(self, question: Read | Has | Sizes | Noted) -> memoryview:
        """The answer.

        Raises:
            OSError: the parent cannot read.
        """
        self._channel.send(encode(question))
        answer = memoryview(self._channel.receive())
        if answer[:1] == FAILED:
            raise OSError(0, bytes(answer[1:]).decode("utf-8", "replace"))
        return answer[1:]


class _Given:
    """The bytes behind a descriptor."""

    def __init__(self, task: Task, file: int) -> None:
        self.name = task.name
        self.size = task.size
        self._file = file

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`."""
        wanted = max(0, min(length, self.size - offset))
        data = os.pread(self._file, wanted, offset)
        while 0 < len(data) < wanted and (more := os.pread(self._file, wanted - len(data), offset + len(data))):
            data += more
        return data


class _Asked:
    """Bytes that the parent reads."""

    def __init__(self, name: str, size: int, path: str, parent: _Parent) -> None:
        self.name = name
        self.size = size
        self._path = path
        self._parent = parent

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes from `offset`."""
        wanted = max(0, min(length, self.size - offset))
        if wanted <= PIECE:
            return bytes(self._parent.ask(Read(self._path, offset, wanted))) if wanted else b""
        starts = range(offset, offset + wanted, PIECE)
        return b"".join(self.read_at(at, min(PIECE, offset + wanted - at)) for at in starts)


class _Files(Mapping[str, RandomAccess]):
    """The files of a folder; whether there is one, and which there are, is asked for when it matters."""

    def __init__(self, folder: str, parent: _Parent) -> None:
        self._folder = folder
        self._parent = parent
        self._known: dict[str, bool] = {}
        self._sizes: dict[str, int] | None = None

    def __contains__(self, path: object) -> bool:
        if self._sizes is not None:
            return path in self._sizes
        if not isinstance(path, str) or len(path) > LONGEST_PATH:
            return False
        if path not in self._known:
            self._known[path] = bytes(self._parent.ask(Has(path))) == b"1"
        return self._known[path]

    def __getitem__(self, path: str) -> RandomAccess:
        return _Asked(f"{self._folder}/{path}", self._all()[path], path, self._parent)

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, int]:
        if self._sizes is None:
            self._sizes = msgspec.msgpack.decode(self._parent.ask(Sizes()), type=dict[str, int])
        return self._sizes
