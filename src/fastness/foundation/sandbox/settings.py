"""What a sandbox must hold, and what runs in it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from fastness.core.settings import InvalidSetting

_BACKENDS = ("auto", "bubblewrap", "namespaces")
_MIB = 1 << 20
_LAST_UID = (1 << 32) - (1 << 17)


class Layer(StrEnum):
    """What a sandbox keeps its guest from; each is proven by attempting the forbidden act."""

    NETWORK = "network"
    FILES = "files"
    WRITE = "write"
    PROCESSES = "processes"
    CAPABILITIES = "capabilities"
    REAL_UID = "real-uid"
    MEMORY = "memory"
    PIDS = "pids"
    LANDLOCK = "landlock"
    SECCOMP = "seccomp"
    OPEN = "open"
    SOCKET = "socket"
    FORK = "fork"
    EXEC = "exec"


ALL_LAYERS = tuple(str(layer) for layer in Layer)


@dataclass(frozen=True)
class SandboxSettings:
    """How guests are isolated.

    Attributes:
        backend: `bubblewrap`, `namespaces` (made by our own launcher), or `auto`: bubblewrap where it is installed.
        required: layers without which nothing is started; the default is all of them.
        start_timeout_s: from spawn to the guest's first word.
        uid_first: first of 65536 user ids from which each guest gets one of its own, where Fastness was started by
            root; nobody else may use them. 0 is not possible.
    """

    backend: str = "auto"
    required: tuple[str, ...] = ALL_LAYERS
    start_timeout_s: float = 15.0
    uid_first: int = 1_879_048_192  # the first that systemd leaves to nobody: above its container ranges

    def __post_init__(self) -> None:
        if self.backend not in _BACKENDS:
            raise InvalidSetting("sandbox.backend", f"is one of {', '.join(_BACKENDS)}")
        unknown = set(self.required) - set(ALL_LAYERS)
        if unknown:
            raise InvalidSetting("sandbox.required", f"no such layer: {', '.join(sorted(unknown))}")
        if not 0 < self.start_timeout_s <= 600:
            raise InvalidSetting("sandbox.start_timeout_s", "is above 0 and at most 600")
        if not 1000 <= self.uid_first <= _LAST_UID:
            raise InvalidSetting("sandbox.uid_first", f"is 1000 to {_LAST_UID}")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one guest may use.

    Attributes:
        memory_bytes: of the whole guest, by cgroup; of its address space where no cgroup can be had.
        pids: processes and threads, at least 6: the sandbox's own count too.
        cpu_s: processor seconds in its whole life; 0 is no limit.
        descriptors: open files and sockets.
        frame_bytes: the longest frame on its channel, either way.
    """

    memory_bytes: int = 1024 * _MIB
    pids: int = 16
    cpu_s: int = 0
    descriptors: int = 128
    frame_bytes: int = 64 * _MIB

    def __post_init__(self) -> None:
        if self.memory_bytes < 32 * _MIB:
            raise InvalidSetting("limits.memory_bytes", "is at least 32 MiB")
        if self.pids < 6 or self.cpu_s < 0 or self.descriptors < 16:
            raise InvalidSetting("limits", "pids is at least 6, descriptors at least 16, cpu_s not negative")
        if not 1 <= self.frame_bytes < 1 << 31:
            raise InvalidSetting("limits.frame_bytes", "is 1 to 2 GiB")


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """The program of a guest: modules of Fastness that need nothing but the standard library and `packages`.

    Attributes:
        main: dotted name of the module whose `main(guest)` runs.
        modules: dotted names of the further modules that it imports.
        packages: installed packages and modules that it sees, such as numpy; nothing else of the environment is there.
        environment: further variables, set before anything is imported.
    """

    main: str
    modules: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
