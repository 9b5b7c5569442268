"""Control groups for memory and process counts: found at run time, per controller, and never inferred from the system.

A host may mount version 2 and keep memory and pids on version 1, or offer a controller that this process may not use.
Whether a limit is enforced is proven elsewhere, by breaking it.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_OURS = re.compile(r"fastness-(\d+)-\d+")
# (version, controller) to the files that limit it.
_FILES = {
    (1, "memory"): ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
    (2, "memory"): ("memory.max", "memory.swap.max"),
    (1, "pids"): ("pids.max",),
    (2, "pids"): ("pids.max",),
}
_USED = {1: "memory.usage_in_bytes", 2: "memory.current"}
_EVENTS = {1: "memory.oom_control", 2: "memory.events"}


@dataclass(frozen=True, slots=True)
class Place:
    """A folder below which this process can make groups that have `controller`."""

    version: int
    controller: str
    folder: Path


@dataclass(slots=True)
class Group:
    """The groups of one guest: one folder on version 2, or one a controller on version 1."""

    places: tuple[Place, ...]
    folders: tuple[Path, ...]
    _oom: bool = field(default=False, init=False)

    def procs(self) -> Iterator[int]:
        """Descriptors of each `cgroup.procs`, opened with this process's rights; the caller closes them."""
        for folder in dict.fromkeys(self.folders):
            yield os.open(folder / "cgroup.procs", os.O_WRONLY)

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel killed something in here for want of memory."""
        memory = self._memory()
        if memory is not None and not self._oom:
            version, folder = memory
            self._oom = bool(re.search(r"^oom_kill [1-9]", _read(folder / _EVENTS[version]), re.MULTILINE))
        return self._oom

    def memory_bytes(self) -> int | None:
        """What all processes in here use, with the page cache that they caused."""
        memory = self._memory()
        if memory is None:
            return None
        text = _read(memory[1] / _USED[memory[0]])
        return int(text) if text.strip().isdigit() else None

    def remove(self, patience_s: float = 2.0) -> None:
        """End what is left in here and remove it."""
        self.ran_out_of_memory()
        end = time.monotonic() + patience_s
        for folder in dict.fromkeys(self.folders):
            while not _remove(folder) and time.monotonic() < end:
                for pid in _read(folder / "cgroup.procs").split():
                    _kill(int(pid))
                time.sleep(0.002)

    def _memory(self) -> tuple[int, Path] | None:
        pairs = zip(self.places, self.folders, strict=True)
        return next(((p.version, f) for p, f in pairs if p.controller == "memory"), None)


class Cgroups:
    """Where groups can be made."""

    def __init__(self, places: tuple[Place, ...]) -> None:
        self.places = places
        self._made = 0

    @classmethod
    def detect(cls) -> Cgroups:
        """Look where this process stands, then at the root of each hierarchy."""
        found = []
        mounts = list(_mounts(_read(Path("/proc/self/mountinfo"))))
        standing = _standing(_read(Path("/proc/self/cgroup")))
        for controller in ("memory", "pids"):
            found += [place for place in _candidates(controller, mounts, standing) if _usable(place)][:1]
        places = tuple(found)
        for place in places:
            _sweep(place.folder)
        return cls(places)

    def has(self, controller: str) -> bool:
        """Whether `memory` or `pids` can be limited."""
        return any(place.controller == controller for place in self.places)

    def make(self, memory_bytes: int, pids: int) -> Group:
        """Groups with these limits; empty where there are no places.

        Raises:
            OSError: a limit cannot be set; nothing is left behind.
        """
        self._made += 1
        name = f"fastness-{os.getpid()}-{self._made}"
        group = Group(self.places, tuple(place.folder / name for place in self.places))
        most = {"memory": memory_bytes, "pids": pids}
        try:
            for place, folder in zip(group.places, group.folders, strict=True):
                folder.mkdir(exist_ok=True)
                _limit(place, folder, most)
        except OSError:
            group.remove()
            raise
        return group


def _limit(place: Place, folder: Path, most: Mapping[str, int]) -> None:
    limit, *swap = _FILES[place.version, place.controller]
    (folder / limit).write_text(str(most[place.controller]), "ascii")
    for name in swap:
        if (folder / name).exists():  # not where the kernel does not count swap
            (folder / name).write_text("0" if place.version == 2 else str(most[place.controller]), "ascii")


def _mounts(text: str) -> Iterator[tuple[int, frozenset[str], str, Path]]:
    """(version, controllers, root of the mount, folder) of each mounted hierarchy."""
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) > 4 and kind and kind[0] in {"cgroup", "cgroup2"}:
            options = frozenset(kind[-1].split(","))
            yield (2 if kind[0] == "cgroup2" else 1), options, fields[3], Path(fields[4])


def _standing(text: str) -> dict[str, str]:
    """Controller, or empty for version 2, to this process's group."""
    rows = [line.split(":", 2) for line in text.splitlines() if line.count(":") >= 2]
    return {controller: path for _, controllers, path in rows for controller in controllers.split(",")}


def _candidates(
    controller: str, mounts: list[tuple[int, frozenset[str], str, Path]], standing: dict[str, str]
) -> Iterator[Place]:
    for version, options, root, folder in mounts:
        if version == 1 and controller not in options:
            continue
        path = standing.get(controller if version == 1 else "", "/")
        inside = path.removeprefix(root.rstrip("/")) if root != "/" else path
        for parent in dict.fromkeys([folder / inside.lstrip("/"), folder]):
            yield Place(version, controller, parent)


def _usable(place: Place) -> bool:
    """Whether a group made here can limit the controller; tried, not read."""
    if place.version == 2:
        handed = _read(place.folder / "cgroup.subtree_control").split()
        if place.controller not in handed and not _hand_down(place):
            return False
    probe = place.folder / f"fastness-{os.getpid()}-0"
    try:
        probe.mkdir(exist_ok=True)
        return os.access(probe / _FILES[place.version, place.controller][0], os.W_OK)
    except OSError:
        return False
    finally:
        _remove(probe)


def _hand_down(place: Place) -> bool:
    try:
        (place.folder / "cgroup.subtree_control").write_text(f"+{place.controller}", "ascii")
    except OSError:
        return False
    return True


def _sweep(folder: Path) -> None:
    """Remove the groups of Fastness processes that are no more."""
    for child in folder.iterdir() if folder.is_dir() else ():
        match = _OURS.fullmatch(child.name)
        if match and not Path(f"/proc/{match[1]}").exists():
            _remove(child)


def _remove(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except (ProcessLookupError, PermissionError):
        return


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""
