"""Where groups can be made: read from the host's own tables, tried before it is believed, cleaned up afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fastness.foundation.sandbox.cgroups import Cgroups, Group, Place, _candidates, _mounts, _standing
from tests.needs import need_host

HYBRID = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
UNIFIED = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
CONTAINER = "30 23 0:26 /kubepods/pod1 /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw\n"


@pytest.mark.parametrize(
    ("mounts", "standing", "controller", "expected"),
    [
        (HYBRID, "9:pids:/\n4:memory:/unit/a\n0::/\n", "memory", [
            (1, "/sys/fs/cgroup/memory/unit/a"), (1, "/sys/fs/cgroup/memory"), (2, "/sys/fs/cgroup/unified"),
        ]),
        (HYBRID, "9:pids:/\n4:memory:/unit/a\n0::/\n", "pids", [(1, "/sys/fs/cgroup/pids"), (2, "/sys/fs/cgroup/unified")]),
        (UNIFIED, "0::/user.slice/x.scope\n", "memory", [
            (2, "/sys/fs/cgroup/user.slice/x.scope"), (2, "/sys/fs/cgroup"),
        ]),
        (CONTAINER, "0::/kubepods/pod1/c\n", "pids", [(2, "/sys/fs/cgroup/c"), (2, "/sys/fs/cgroup")]),
        ("", "", "memory", []),
        ("nonsense\n1 2 - \n - cgroup2", "x\n:::\n", "memory", []),
    ],
)  # fmt: skip
def test_candidates_are_found_in_the_tables(
    mounts: str, standing: str, controller: str, expected: list[tuple[int, str]]
) -> None:
    found = _candidates(controller, list(_mounts(mounts)), _standing(standing))
    assert [(place.version, str(place.folder)) for place in found] == expected


@pytest.fixture(scope="module")
def cgroups() -> Cgroups:
    found = Cgroups.detect()
    need_host("a memory and a pids cgroup that can be written", present=found.has("memory") and found.has("pids"))
    return found


def run_in(group: Group, program: str) -> int:
    """The exit status of a Python that first joins `group`."""
    fds = list(group.procs())
    join = f"import os\nfor fd in {fds}: os.write(fd, b'0')\n"
    try:
        return subprocess.run([sys.executable, "-I", "-S", "-c", join + program], pass_fds=fds, check=False).returncode
    finally:
        for fd in fds:
            os.close(fd)


def test_memory_beyond_the_limit_kills_and_is_told(cgroups: Cgroups) -> None:
    group = cgroups.make(64 << 20, 20)
    assert group.memory_bytes() is not None
    assert run_in(group, "x = bytearray(b'x') * (256 << 20)") == -9
    assert group.ran_out_of_memory()
    group.remove()
    assert group.ran_out_of_memory()
    assert not any(folder.exists() for folder in group.folders)


def test_processes_beyond_the_limit_are_refused(cgroups: Cgroups) -> None:
    group = cgroups.make(64 << 20, 3)
    program = "import time\nfor _ in range(9):\n if os.fork() == 0: time.sleep(.2); os._exit(0)"
    assert run_in(group, program) == 1
    assert not group.ran_out_of_memory()
    group.remove()


def test_removing_ends_what_is_left_inside(cgroups: Cgroups) -> None:
    group = cgroups.make(64 << 20, 6)
    fds = list(group.procs())
    join = f"import os, time\nfor fd in {fds}: os.write(fd, b'0')\nprint(1, flush=True)\ntime.sleep(99)"
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", join], pass_fds=fds, stdout=subprocess.PIPE) as left:
        assert left.stdout is not None
        left.stdout.readline()
        group.remove()
        assert left.wait(5) == -9
    for fd in fds:
        os.close(fd)
    assert not any(folder.exists() for folder in group.folders)


def test_what_dead_processes_left_behind_is_swept(cgroups: Cgroups) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    stale = [place.folder / f"fastness-{dead.pid}-1" for place in cgroups.places]
    ours = [place.folder / f"fastness-{os.getpid()}-999999" for place in cgroups.places]
    for folder in dict.fromkeys([*stale, *ours]):
        folder.mkdir()
    Cgroups.detect()
    try:
        assert not any(folder.exists() for folder in stale)
        assert all(folder.exists() for folder in ours)
    finally:
        for folder in dict.fromkeys(ours):
            folder.rmdir()


def test_a_limit_that_cannot_be_set_leaves_nothing(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(OSError):
        Cgroups((Place(1, "memory", tmp_path / "absent"),)).make(1 << 26, 9)
    assert list(tmp_path.iterdir()) == []
    assert time.monotonic() - began < 5


def test_without_places_there_is_nothing_to_join() -> None:
    group = Cgroups(()).make(1 << 26, 9)
    assert (list(group.procs()), group.memory_bytes(), group.ran_out_of_memory()) == ([], None, False)
    group.remove()
