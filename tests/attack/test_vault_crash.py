"""kill -9 at any moment of an intake: no half blob is ever seen, and what is left behind can be swept."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastness.core.clock import Instant, SystemClock, system_entropy
from fastness.core.errors import NotFound
from fastness.core.identity import SYSTEM_SCOPE
from fastness.core.sources import Buffer
from fastness.foundation.crypto import SealedKeyRing, Unlock
from fastness.foundation.storage import FileBlobs, SqliteRecords
from fastness.foundation.vault import Vault

STEP = (1 << 18) - 32
NOW = SystemClock().now()


class DeadlySource:
    """Gives pieces until the process is killed, as by the kernel, before piece `deadly`."""

    name = "deadly"

    def __init__(self, deadly: int) -> None:
        self._deadly = deadly

    def chunks(self) -> Iterator[Buffer]:
        for number in range(4):
            if number == self._deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            yield bytes([number]) * (STEP + 7)


@pytest.mark.parametrize("deadly", [0, 1, 3, 99])
def test_kill_during_intake(tmp_path: Path, deadly: int) -> None:
    unlock = Unlock.new_key_file(tmp_path / "unlock.key", system_entropy)
    SealedKeyRing.create(tmp_path / "keyring", unlock, system_entropy)
    child = os.fork()
    if child == 0:
        try:
            ring = SealedKeyRing.open(tmp_path / "keyring", unlock)
            Vault(FileBlobs(tmp_path / "blobs"), ring, system_entropy).intake(DeadlySource(deadly), SYSTEM_SCOPE, NOW)
        finally:
            os._exit(0)  # dies after the intake and before the commit, if it comes so far
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1]) == (deadly < 4)
    blobs = FileBlobs(tmp_path / "blobs")
    vault = Vault(blobs, SealedKeyRing.open(tmp_path / "keyring", unlock), system_entropy)
    left = list(blobs.ids())
    assert len(left) == (0 if deadly < 4 else 1)
    records = SqliteRecords(":memory:", system_entropy)
    records.create_all()
    with records.read(SYSTEM_SCOPE) as reading:
        assert vault.sweep(reading, Instant(NOW + 1), 3600) == []
        assert vault.sweep(reading, Instant(NOW + 3_601 * 10**9), 3600) == left
        for blob in left:
            with pytest.raises(NotFound):
                vault.ticket(reading, blob)
    assert list(blobs.ids()) == []
    records.close()
