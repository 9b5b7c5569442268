from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest

from fastness.core.clock import Instant
from fastness.core.digests import BlobId
from fastness.core.errors import Unavailable
from fastness.foundation.storage import FileBlobs

A = BlobId("ab" + "0" * 62)


def test_a_blob_is_a_private_file_of_its_own_in_a_shard(tmp_path: Path) -> None:
    FileBlobs(tmp_path / "blobs").put(A, [b"x"])
    path = tmp_path / "blobs" / "ab" / A
    assert path.read_bytes() == b"x"
    assert (path.stat().st_mode & 0o777, path.stat().st_nlink) == (0o600, 1)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert list((tmp_path / "blobs" / "tmp").iterdir()) == []


def test_old_temporary_files_are_swept_and_new_ones_are_not(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    blobs.put(A, [b"x"])
    left = tmp_path / "tmp" / "tmpabc"
    left.write_bytes(b"half")
    made = left.stat().st_mtime_ns
    assert blobs.sweep_temporary(3600, Instant(made + 3_600_000_000_000)) == 0
    assert blobs.sweep_temporary(3600, Instant(made + 3_600_000_000_001)) == 1
    assert list(blobs.ids()) == [A]
    assert not left.exists()


def test_foreign_files_are_no_blobs(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab" / "notes").write_bytes(b"x")
    (tmp_path / "README").write_bytes(b"x")
    assert list(blobs.ids()) == []


def test_a_link_in_a_blobs_place_is_not_followed(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path / "blobs")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "blobs" / "ab").mkdir()
    (tmp_path / "blobs" / "ab" / A).symlink_to(tmp_path / "secret")
    with pytest.raises(Unavailable):
        blobs.read_into(A, 0, bytearray(6))


def test_a_full_disk_is_unavailable_and_leaves_nothing(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        with pytest.raises(Unavailable) as caught:
            blobs.put(A, [b"x" * 60_000] * 3)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert caught.value.code == "storage-full"
    assert list(blobs.ids()) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable):
        FileBlobs(tmp_path / "file" / "blobs")
