"""A reader is taken over by the file that it reads: what it can reach from its process, and what its lies are worth.

The code that would run there is run there on purpose, after the locks are set as for any file. Success rate of what is
attempted: 0 of 12 acts; 0 of 15 lies change the verdict on another file, or make an impossible report.
"""

from __future__ import annotations

import gzip
import json
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import pytest

from fastness.core.errors import Corrupt
from fastness.core.findings import Severity
from fastness.core.sources import BytesSource, FileSource
from fastness.foundation.sandbox import Channel, ChannelError
from fastness.models.scan import Outcome, Report, RunSettings, Scanner, isolated, pool
from fastness.models.scan.bundles import Bundle
from fastness.models.scan.cluster import Told, seen_of
from fastness.models.scan.files import Work
from fastness.models.scan.messages import Done, Has, Noted, Read, Sizes, Task, read_said
from fastness.models.scan.records import MOST_BYTES, FindingRecord, ReportRecord, encode, report_of
from tests.needs import ROOT, need_host
from tests.unit.foundation.sandbox.grounds import can_isolate
from tests.unit.models.scan.artifacts import EVIL, rules_of

PLAIN = pickle.dumps({"a": 1})

TAKEN_OVER = """
import ctypes, json, os, resource, signal, socket, sys
from fastness.models.scan import child
victim, secret = int(sys.argv[1]), sys.argv[2]
libc = ctypes.CDLL(None, use_errno=True)
def code(call, *arguments):
    ctypes.set_errno(0)
    return "possible" if getattr(libc, call)(*arguments) >= 0 else "errno %d" % ctypes.get_errno()
acts = {
    "read a file": lambda: open(secret).read(),
    "write a file": lambda: open(secret + ".new", "w").write("x"),
    "list a folder": lambda: os.listdir("/"),
    "open a socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM),
    "open a local socket": lambda: socket.socketpair(),
    "fork": lambda: os.fork() or os._exit(0),
    "run a program": lambda: os.execv("/bin/true", ["true"]),
    "signal another process": lambda: os.kill(victim, 0),
    "signal its thread": lambda: None if libc.tgkill(victim, victim, 0) == 0 else 1 / 0,
    "look into another process": lambda: None if libc.ptrace(16, victim, None, None) == 0 else 1 / 0,
    "raise its limits": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20)),
    "make memory that runs": lambda: None if libc.mmap(None, 4096, 7, 34, -1, 0) != -1 else 1 / 0,
    "grow without end": lambda: bytearray(1 << 30),
}
child.confine(150 << 20, child._base())
possible = []
for name, act in acts.items():
    try:
        act()
    except Exception:
        continue
    possible.append(name)
os.write(1, json.dumps(possible).encode())
os._exit(0)
"""


def test_what_takes_a_reader_over_can_reach_nothing(tmp_path: Path) -> None:
    need_host("user namespaces and landlock", present=can_isolate())
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o644)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as victim:
        run = subprocess.run(
            [sys.executable, "-c", TAKEN_OVER, str(victim.pid), str(secret)],
            capture_output=True, check=False, timeout=60, env={"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"], "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        victim.communicate(b"\n")
    assert run.returncode == 0, run.stderr.decode()
    # A signal to a process of one's own user is held back by landlock from Linux 6.12 on, or by another user id.
    known = {"signal its thread"} if os.geteuid() and os.uname().release < "6.12" else set()
    assert set(json.loads(run.stdout)) <= known
    assert not secret.with_suffix(".new").exists()


def test_the_acts_are_possible_where_nothing_is_locked(tmp_path: Path) -> None:
    """The test above can fail."""
    (tmp_path / "secret").write_text("secret")
    unlocked = TAKEN_OVER.replace("child.confine(150 << 20, child._base())", "")
    for act in ('os.execv("/bin/true", ["true"])', "os.fork() or os._exit(0)", "libc.ptrace(16, victim, None, None)"):
        unlocked = unlocked.replace(act, "1")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as victim:
        run = subprocess.run(
            [sys.executable, "-c", unlocked, str(victim.pid), str(tmp_path / "secret")],
            capture_output=True, check=False, timeout=60, env={"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"], "OPENBLAS_NUM_THREADS": "1"},
        )  # fmt: skip
        victim.communicate(b"\n")
    assert {"read a file", "write a file", "open a socket", "signal its thread"} <= set(json.loads(run.stdout))


HOLDS = """
import array, json, os, socket, sys, tempfile
from fastness.models.scan import child
from fastness.models.scan.messages import ORDER
ours, control = socket.socketpair()
def look(channel, file):
    channel.send(json.dumps({fd: os.readlink("/proc/self/fd/" + fd) for fd in os.listdir("/proc/self/fd")
                             if os.path.exists("/proc/self/fd/" + fd)}).encode())
child.serve_one = look
child.confine = child.limit = lambda *_: None
if not os.fork():
    ours.close()
    os.dup2(control.fileno(), 0)
    child._Forker(control, confined=True).serve()
    os._exit(0)
control.close()
told = []
for _ in range(2):  # the first still runs: its pipe is open where the second is forked
    answer, theirs = socket.socketpair()
    read, status = os.pipe()
    with tempfile.TemporaryFile() as file:
        socket.send_fds(ours, [ORDER.pack(1, 1 << 30, 60.0)], [theirs.fileno(), status, file.fileno()])
    theirs.close()
    os.close(status)
    told.append(json.loads(child.Channel(answer, 1 << 20).receive()))
ours.close()
print(json.dumps(told))
"""


def test_what_takes_a_reader_over_holds_its_file_and_its_answer_and_nothing_of_others() -> None:
    """Over the socket of the one that forks come the files of other scans; whoever holds it takes them, or shuts it."""
    run = subprocess.run(
        [sys.executable, "-c", HOLDS], capture_output=True, text=True, check=False, timeout=60,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"], "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    for held in json.loads(run.stdout):
        kinds = sorted(
            link.partition(":")[0] if ":" in link else "file" for link in held.values() if link != "/dev/null"
        )
        assert kinds in (["file", "socket"], ["file", "file", "socket"]), held  # the list of descriptors is one


BOMBED = """
import resource, sys
from pathlib import Path
from fastness.models.scan import Scanner, pool
with Scanner() as scanner:
    for report in pool.scan_folders([Path(sys.argv[1])], pool.Bench(scanner)):
        print(report.outcome.value, report.verdict.findings[0].rule if report.verdict.findings else "")
print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


def test_no_file_makes_its_reader_hold_more_than_it_may(tmp_path: Path) -> None:
    """What each process held at most, the interpreter included, over bombs of four kinds."""
    packed = zlib.compressobj(9)
    zeros = b"".join(packed.compress(bytes(1 << 20)) for _ in range(300)) + packed.flush()
    bombs = {
        "zeros.zlib": zeros,
        "zeros.gz": gzip.compress(gzip.compress(bytes(200 << 20))),
        "memo.pkl": b"\x80\x04" + b"".join(b"](%sh%ce" % (b"h\x00" * 100, 0) for _ in range(2000)) + b".",
        "marks.pkl": b"\x80\x04]" + b"(" * 4_000_000 + b".",
        "long.pkl": b"\x80\x04\x8e" + (1 << 40).to_bytes(8, "little") + b"x" * 1000,
        "text.json": b"[" * 2_000_000,
    }
    for name, data in bombs.items():
        (tmp_path / name).write_bytes(data)
    run = subprocess.run(
        [sys.executable, "-c", BOMBED, str(tmp_path)], capture_output=True, text=True, check=False, timeout=110,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": os.environ["PATH"], "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    *told, peak = run.stdout.splitlines()
    assert len(told) >= len(bombs)
    assert int(peak.split()[1]) <= 150, run.stdout


# --- lies -------------------------------------------------------------------------------------------------------------


def record(**changes: object) -> ReportRecord:
    return msgspec.structs.replace(ReportRecord(("pickle",), len(PLAIN), 0, ()), **changes)


def one(**changes: object) -> tuple[FindingRecord, ...]:
    finding = FindingRecord("pickle-dangerous-call", int(Severity.CRITICAL), "a@0", "said")
    return (msgspec.structs.replace(finding, **changes),)


IMPOSSIBLE = {
    "a rule that does not exist": record(findings=one(rule="all-is-well")),
    "a severity that does not exist": record(findings=one(severity=9)),
    "a severity below all": record(findings=one(severity=-1)),
    "an undecided rule that only informs": record(findings=one(rule="format-unknown", severity=0)),
    "more bytes than there are": record(explained_bytes=len(PLAIN) + 1),
    "less than no bytes": record(explained_bytes=-1),
    "less than no findings dropped": record(dropped=-1),
    "a message without end": record(findings=one(message="x" * 100_000)),
    "findings without end": record(findings=one() * 30_000),
    "evidence without end": record(findings=one(evidence={"a": "x" * 100_000})),
    "formats without end": record(formats=("x",) * 200_000),
}


@pytest.mark.parametrize("lie", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_an_impossible_report_is_refused(lie: ReportRecord) -> None:
    with pytest.raises(Corrupt):
        report_of(lie, "a.pkl", len(PLAIN))


def test_the_verdict_is_judged_by_who_reads_the_report() -> None:
    assert report_of(record(findings=one()), "a.pkl", len(PLAIN)).outcome is Outcome.BLOCK
    assert report_of(record(), "b.pkl", len(PLAIN)).name == "b.pkl"


GARBAGE = {
    "nothing that is known": b"\x93\xa4evil\x01\x02",
    "no message": b"\xc1",
    "zeros": bytes(64),
    "nested without end": b"\x91" * 50_000,
    "a text that is none": b"\xa2\xff\xff",
    "an array of 2^32": b"\xdd\xff\xff\xff\xff",
    "a done without its report": msgspec.msgpack.encode(["done"]),
    "a read of a text": msgspec.msgpack.encode(["read", 1, 2, "3"]),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(Corrupt):
        read_said(data)


QUESTIONS: dict[str, Read | Has | Sizes] = {
    "another file": Read("../../etc/passwd", 0, 16),
    "a file that is not in the folder": Read("b.pkl", 0, 16),
    "before the beginning": Read("", -1, 16),
    "nothing": Read("", 0, 0),
    "all at once": Read("", 0, 1 << 40),
    "a negative length": Read("", 0, -1),
    "a folder that it was not given": Sizes(),
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
def test_questions_that_no_scan_asks_end_it(question: Read | Has | Sizes) -> None:
    answers = isolated._Answers(BytesSource("a.pkl", PLAIN), None)
    with pytest.raises(Corrupt):
        answers.answer(question)


def test_only_the_files_of_the_folder_are_there() -> None:
    answers = isolated._Answers(None, Bundle("m", {"a.pkl": BytesSource("a.pkl", PLAIN)}))
    assert answers.answer(Has("a.pkl")) == b"\x001"
    assert [answers.answer(Has(path)) for path in ("", "/etc/passwd", "../a.pkl", "a.pkl/..")] == [b"\x000"] * 4
    assert answers.answer(Read("a.pkl", 0, 4)) == b"\0" + PLAIN[:4]


def converse(say: Callable[[Channel], object]) -> object:
    """What the parent makes of a process that says what `say` says."""
    ours, theirs = socket.socketpair()

    def other() -> None:
        channel = Channel(theirs, MOST_BYTES)
        channel.receive()
        say(channel)
        theirs.close()

    thread = threading.Thread(target=other)
    thread.start()
    try:
        answers = isolated._Answers(BytesSource("a.pkl", PLAIN), None)
        task = Task("a.pkl", len(PLAIN))
        done = isolated._converse(Channel(ours, MOST_BYTES), task, answers, time.monotonic() + 5)
        return isolated._seen(done, task, answers, "sandbox")
    finally:
        ours.close()
        thread.join(10)


def test_a_report_about_files_that_were_not_there_is_refused() -> None:
    for done in (Done(record(), {"b": ("raw",)}), Done(record(), {}, ("../b",)), Done(None)):
        said = encode(done)
        with pytest.raises(Corrupt):
            converse(partial(Channel.send, payload=said))


def test_questions_without_end_are_no_memory_of_the_parent() -> None:
    answers = isolated._Answers(None, Bundle("m", {}))
    with pytest.raises(Corrupt):
        answers.answer(Has("x" * 100_000))
    with pytest.raises(Corrupt):
        for number in range(10_000):
            answers.answer(Has(f"{number}" + "x" * 15_000))
    assert sum(map(len, answers.asked)) <= MOST_BYTES
    assert answers.answer(Has(next(iter(answers.asked)))) == b"\x000"  # what was asked already is free


def test_what_could_not_be_read_is_not_passed_over() -> None:
    """A scan that goes on as if it had read everything is not believed."""

    class Failing(BytesSource):
        def read_at(self, offset: int, length: int) -> bytes:
            raise OSError(5, "Input/output error")

    with Scanner() as scanner, pytest.MonkeyPatch.context() as patch:

        def goes_on(_: Channel, __: Task, answers: isolated._Answers, ___: float) -> Done:
            answers.answer(Read("", 0, 4))
            return Done(record())

        patch.setattr(isolated, "_converse", goes_on)
        with pytest.raises(OSError, match="Input/output error"):
            scanner.scan(Failing("a.pkl", PLAIN))


DIGEST = f"sha256:{'a' * 64}"
NOTED = FindingRecord("pickle-dangerous-call", int(Severity.CRITICAL), "a@0", "would run posix.system")


def refused(say: Callable[[Channel], object]) -> Report:
    """The report on a file whose scan says something, and dies."""
    ours, theirs = socket.socketpair()
    answers = isolated._Answers(BytesSource("a.pkl", PLAIN), None)
    task = Task("a.pkl", len(PLAIN))
    told, status = os.pipe()
    os.write(status, b"R-11")
    os.close(status)

    def other() -> None:
        channel = Channel(theirs, MOST_BYTES)
        channel.receive()
        say(channel)
        theirs.close()

    thread = threading.Thread(target=other)
    thread.start()
    try:
        with pytest.raises((ChannelError, Corrupt)) as caught:
            isolated._converse(Channel(ours, MOST_BYTES), task, answers, time.monotonic() + 5)
        return isolated._report(task, *isolated._ending(told, 1.0, caught.value), answers.noted)
    finally:
        ours.close()
        os.close(told)
        thread.join(10)


def test_what_was_found_before_the_reader_died_counts() -> None:
    def say(channel: Channel) -> None:
        channel.send(encode(Noted(NOTED)))
        assert channel.receive() == b"\0"

    report = refused(say)
    assert (report.outcome, rules_of(report)) == (Outcome.BLOCK, {"pickle-dangerous-call", "scanner-crashed"})
    assert "signal 11" in "".join(finding.message for finding in report.verdict.findings)
    assert refused(lambda _: None).outcome is Outcome.INCOMPLETE


LIES: dict[str, object] = {
    "nothing": b"",
    "an object": {"a": 1},
    "no record": b"\x93\x01\x02\x03",
    "a rule that does not exist": Told(4, DIGEST, "sandbox", record(explained_bytes=0, findings=one(rule="x")), (), ()),
    "more bytes than there are": Told(4, DIGEST, "sandbox", record(explained_bytes=5), (), ()),
    "no digest": Told(4, "all is well", "sandbox", record(explained_bytes=4), (), ()),
    "an isolation that does not exist": Told(4, DIGEST, "a fortress", record(explained_bytes=4), (), ()),
    "a negative size": Told(-1, DIGEST, "sandbox", record(explained_bytes=0), (), ()),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_worker_of_a_cluster_that_answers_nonsense_costs_its_file_alone(lie: object) -> None:
    answer = encode(lie) if isinstance(lie, Told) else lie
    report = seen_of(answer, Work(Path("a.pkl"), "a.pkl"), None).report
    assert report is not None
    assert (report.outcome, rules_of(report)) == (Outcome.INCOMPLETE, {"scanner-crashed"})


def test_a_worker_of_a_cluster_tells_only_of_files_that_are_there() -> None:
    told = Told(4, DIGEST, "sandbox", record(explained_bytes=4), ("../b", "w.bin"), ())
    seen = seen_of(encode(told), Work(Path("a"), "a"), Bundle("m", {"w.bin": BytesSource("w.bin", b"")}))
    assert seen.referenced == {"w.bin"}


def test_an_impossible_note_is_refused() -> None:
    answers = isolated._Answers(None, None)
    with pytest.raises(Corrupt):
        answers.answer(Noted(msgspec.structs.replace(NOTED, rule="all-is-well")))
    with pytest.raises(Corrupt):
        for _ in range(10_000):
            answers.answer(Noted(msgspec.structs.replace(NOTED, message="x" * 15_000)))
    assert len(answers.noted) < 2000


def test_what_a_pickle_does_before_its_reader_is_killed_blocks() -> None:
    """A call, and behind it hours of work."""
    slow = b"\x80\x04" + b"(cbuiltins\nlist\no0" * 400_000 + b"N."
    with Scanner(RunSettings(timeout_s=2.0)) as scanner:
        report = scanner.scan(BytesSource("a.pkl", EVIL + slow))
    assert report.outcome is Outcome.BLOCK
    assert "pickle-dangerous-call" in rules_of(report)


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01", (1 << 31).to_bytes(4, "little") + b"\x01\0\0\0", bytes(8), b"\x08\0\0\0\x01\0\0\0half"],
    ids=["nothing", "one byte", "a frame of 2 GiB", "an empty frame", "half a frame"],
)
def test_a_broken_stream_is_an_end(data: bytes) -> None:
    with pytest.raises((ChannelError, Corrupt)):
        converse(lambda channel: channel.stream.sendall(data))


def test_a_reader_that_never_answers_is_ended_in_time() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(ChannelError):
        isolated._converse(
            Channel(ours, MOST_BYTES), Task("a", 1), isolated._Answers(None, None), time.monotonic() + 0.3
        )


# --- the file changes under the scan ----------------------------------------------------------------------------------


class Swapped(Scanner):
    """A scanner during whose scan somebody does something to the file."""

    def __init__(self, act: Callable[[], object]) -> None:
        super().__init__(RunSettings(jobs=1))
        self._act = act

    def scan_placed(self, *arguments: object, **named: object) -> isolated.Seen:
        seen = super().scan_placed(*arguments, **named)  # type: ignore[arg-type]  # passed on as they come
        self._act()
        return seen


def swap(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(EVIL)
    other.replace(path)


def restamped(path: Path) -> None:
    """Other bytes of the same length, and the times set back."""
    before = path.stat()
    path.write_bytes(PLAIN[:-1] + b"0")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "another file in its place": swap,
    "other bytes": lambda path: path.write_bytes(EVIL),
    "more bytes": lambda path: os.truncate(path, 1000),
    "fewer bytes": lambda path: os.truncate(path, 3),
    "other bytes, the times set back": restamped,
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_that_changes_while_it_is_scanned_is_incomplete(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(PLAIN)
    with Swapped(lambda: change(path)) as scanner:
        (report,) = pool.scan_folders([path], pool.Bench(scanner))
    assert rules_of(report) <= {"path-changed", "path-unreadable"}
    assert report.outcome is Outcome.INCOMPLETE


def test_a_file_that_is_cut_under_its_reader_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(PLAIN)
    with Scanner() as scanner, FileSource(path) as source:
        os.truncate(path, 2)
        report = scanner.scan_placed(source, file=source.fileno()).report
    assert report is not None
    assert report.outcome is Outcome.INCOMPLETE
