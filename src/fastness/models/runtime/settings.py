"""How model workers run."""

from __future__ import annotations

from dataclasses import dataclass

from fastness.core.settings import InvalidSetting

_MIB = 1 << 20


@dataclass(frozen=True)
class RuntimeSettings:
    """Limits of workers and of those who ask them.

    Attributes:
        max_batch: rows that are run together at most; what is queued is taken, nobody waits for more.
        max_queue: requests that wait in one gateway process; beyond it they are refused.
        frame_bytes: the longest request or answer.
        memory_bytes: of one worker, the model and everything it needs to run.
        pids: processes and threads of one worker's sandbox.
        load_timeout_s: from spawn to having loaded the model.
    """

    max_batch: int = 64
    max_queue: int = 512
    frame_bytes: int = 16 * _MIB
    memory_bytes: int = 1024 * _MIB
    pids: int = 16
    load_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        if not 1 <= self.max_batch <= 65536:
            raise InvalidSetting("runtime.max_batch", "is 1 to 65536")
        if not 1 <= self.max_queue <= 1 << 20:
            raise InvalidSetting("runtime.max_queue", "is 1 to 1048576")
        if not 4096 <= self.frame_bytes < 1 << 31:
            raise InvalidSetting("runtime.frame_bytes", "is 4 KiB to 2 GiB")
        if self.memory_bytes < 128 * _MIB:
            raise InvalidSetting("runtime.memory_bytes", "is at least 128 MiB")
        if self.pids < 6:
            raise InvalidSetting("runtime.pids", "is at least 6")
        if not 0 < self.load_timeout_s <= 3600:
            raise InvalidSetting("runtime.load_timeout_s", "is above 0 and at most 3600")
