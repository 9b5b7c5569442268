"""Sources: the same bytes, read in order or at any place; only regular files."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.errors import Invalid
from fastness.core.sources import BytesSource, FileSource, digest_of

DATA = bytes(range(256)) * 5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "model.bin"
    file.write_bytes(DATA)
    return file


@pytest.mark.parametrize("chunk", [1, 7, 256, 1280, 1 << 20])
def test_a_file_in_pieces_is_the_file(path: Path, chunk: int) -> None:
    with FileSource(path, chunk=chunk) as source:
        assert b"".join(bytes(piece) for piece in source.chunks()) == DATA
        assert b"".join(bytes(piece) for piece in source.chunks()) == DATA
        assert (source.name, source.size) == ("model.bin", len(DATA))


@given(st.integers(0, 1400), st.integers(0, 1400))
def test_both_read_as_a_slice_does(offset: int, length: int) -> None:
    assert BytesSource("x", DATA).read_at(offset, length) == DATA[offset : offset + length]


@pytest.mark.parametrize("offset", [0, 1, 1279, 1280, 5000])
def test_a_file_reads_as_a_slice_does(path: Path, offset: int) -> None:
    with FileSource(path, name="shown") as source:
        assert source.read_at(offset, 300) == DATA[offset : offset + 300]
        assert source.read_at(offset, 0) == b""
        assert source.name == "shown"


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with FileSource(tmp_path / "empty") as source:
        assert list(source.chunks()) == []
        assert source.read_at(0, 10) == b""
        assert digest_of(source) == f"sha256:{hashlib.sha256().hexdigest()}"


@pytest.mark.parametrize("chunk", [1, 100, 1280, 1 << 20])
def test_the_digest_does_not_depend_on_the_pieces(path: Path, chunk: int) -> None:
    expected = f"sha256:{hashlib.sha256(DATA).hexdigest()}"
    with FileSource(path) as source:
        assert digest_of(source, chunk) == digest_of(BytesSource("x", DATA), chunk) == expected


def test_bytes_of_any_layout_count_as_bytes() -> None:
    source = BytesSource("x", memoryview(DATA).cast("I"))
    assert source.size == len(DATA)
    assert [bytes(piece) for piece in source.chunks()] == [DATA]


def test_a_link_is_not_followed(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    with pytest.raises(OSError, match="link"):
        FileSource(link)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        FileSource(tmp_path)
    assert caught.value.code == "file-irregular"


@pytest.mark.timeout(10)
def test_a_pipe_is_refused_at_once_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Invalid, match="pipe is not a regular file"):
        FileSource(tmp_path / "pipe")


def test_a_device_is_refused() -> None:
    with pytest.raises(Invalid):
        FileSource(Path("/dev/zero"))


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(OSError, match="socket"):
            FileSource(Path("socket"))


def test_a_refused_file_is_not_left_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        with pytest.raises(Invalid):
            FileSource(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_file_replaced_meanwhile_is_still_the_one_opened(path: Path) -> None:
    with FileSource(path) as source:
        path.unlink()
        path.write_bytes(b"other")
        assert source.read_at(0, 2000) == DATA
