"""A key ring that is killed in the middle of a change is as before it or as after it, never in between."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fastness.core.clock import system_entropy
from fastness.core.digests import BlobId
from fastness.core.errors import NotFound
from fastness.core.identity import TenantId
from fastness.core.secrets import SecretBytes
from fastness.foundation.crypto import KeyContext, SealedKeyRing, Unlock

CONTEXT = KeyContext(TenantId("default"), BlobId("a" * 64), 1)


def killed_at(step: int, act: Callable[[], object]) -> bool:
    """Run `act` in a child process that dies, as by kill -9, at its `step`-th system call; whether it came so far."""
    child = os.fork()
    if child == 0:
        left = [step]

        def die(event: str, _: object) -> None:
            if event in {"open", "os.rename", "os.mkdir", "os.remove"}:
                left[0] -= 1
                if left[0] == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(die)
        try:
            act()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


@pytest.fixture
def unlock(tmp_path: Path) -> Unlock:
    return Unlock.new_key_file(tmp_path / "unlock.key", system_entropy)


def test_creation(tmp_path: Path, unlock: Unlock) -> None:
    step = 1
    while killed_at(step, lambda: SealedKeyRing.create(tmp_path / "keyring", unlock, system_entropy)):
        if (tmp_path / "keyring").exists():
            SealedKeyRing.open(tmp_path / "keyring", unlock)
            break
        with pytest.raises(NotFound):
            SealedKeyRing.open(tmp_path / "keyring", unlock)
        step += 1
    assert step > 8
    if not (tmp_path / "keyring").exists():
        pytest.fail("the ring was never made")


def test_rotation(tmp_path: Path, unlock: Unlock) -> None:
    ring = SealedKeyRing.create(tmp_path / "keyring", unlock, system_entropy)
    old = ring.wrap(SecretBytes(bytes(32)), CONTEXT)
    step, versions = 1, []
    while killed_at(step, lambda: SealedKeyRing.open(tmp_path / "keyring", unlock).rotate(old.key_id)):
        again = SealedKeyRing.open(tmp_path / "keyring", unlock)
        assert bytes(again.unwrap(old, CONTEXT).reveal()) == bytes(32)
        versions.append(again.wrap(SecretBytes(bytes(32)), CONTEXT).version)
        step += 1
    assert versions == sorted(versions)
    assert versions[0] == 1
    assert step > 8


def test_destruction(tmp_path: Path, unlock: Unlock) -> None:
    ring = SealedKeyRing.create(tmp_path / "keyring", unlock, system_entropy)
    old = ring.wrap(SecretBytes(bytes(32)), CONTEXT)
    step, code = 1, ""
    while killed_at(step, lambda: SealedKeyRing.open(tmp_path / "keyring", unlock).destroy(old.key_id)):
        again = SealedKeyRing.open(tmp_path / "keyring", unlock)
        try:
            kept = bytes(again.unwrap(old, CONTEXT).reveal())
        except NotFound as error:
            code = error.code
            break
        assert kept == bytes(32)
        step += 1
    assert code == "key-destroyed"
    assert step > 8
