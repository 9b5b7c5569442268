"""What every Blobs keeps to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastness.core.digests import BlobId
from fastness.core.errors import Conflict, Invalid, NotFound
from fastness.foundation.storage import Blobs, FileBlobs
from fastness.foundation.storage.memory import MemoryBlobs

A, B, C = (BlobId(digit * 64) for digit in "1a9")


@pytest.fixture(params=["files", "memory"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Blobs:
    return FileBlobs(tmp_path / "blobs") if request.param == "files" else MemoryBlobs()


CONTENTS = {
    "empty": [],
    "one empty chunk": [b""],
    "one": [b"abc"],
    "many": [b"x" * 1000] * 300,
    "kinds of buffer": [b"a", bytearray(b"b"), memoryview(b"cd")[1:]],
    "wide view": [memoryview(b"12345678").cast("I")],
}


@pytest.mark.parametrize("chunks", CONTENTS.values(), ids=CONTENTS)
def test_what_was_put_is_read(blobs: Blobs, chunks: list[bytes]) -> None:
    blobs.put(A, iter(chunks))
    expected = b"".join(bytes(chunk) for chunk in chunks)
    into = bytearray(len(expected) + 10)
    assert blobs.size(A) == len(expected)
    assert blobs.read_into(A, 0, into) == len(expected)
    assert bytes(into[: len(expected)]) == expected


@pytest.mark.parametrize(
    ("offset", "length", "expected"), [(0, 3, b"012"), (7, 3, b"789"), (8, 9, b"89"), (10, 1, b""), (99, 5, b"")]
)
def test_parts(blobs: Blobs, offset: int, length: int, expected: bytes) -> None:
    blobs.put(A, [b"0123456789"])
    into = bytearray(length)
    assert blobs.read_into(A, offset, memoryview(into)) == len(expected)
    assert bytes(into[: len(expected)]) == expected


def test_a_taken_id_is_a_conflict_and_nothing_changes(blobs: Blobs) -> None:
    blobs.put(A, [b"first"])
    with pytest.raises(Conflict) as caught:
        blobs.put(A, [b"second"])
    assert caught.value.code == "blob-exists"
    into = bytearray(5)
    blobs.read_into(A, 0, into)
    assert into == b"first"


def test_of_many_who_put_at_once_one_wins(blobs: Blobs) -> None:
    gate, won = threading.Barrier(8), []

    def put(number: int) -> None:
        def chunks() -> Iterator[bytes]:
            gate.wait(30)
            yield bytes([number]) * 1000

        try:
            blobs.put(A, chunks())
            won.append(number)
        except Conflict:
            pass

    threads = [threading.Thread(target=put, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    into = bytearray(1000)
    assert len(won) == 1
    assert blobs.read_into(A, 0, into) == 1000
    assert into == bytes(won) * 1000


def test_a_source_that_fails_leaves_nothing(blobs: Blobs) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        blobs.put(A, chunks())
    assert list(blobs.ids()) == []
    blobs.put(A, [b"whole"])


MISSING: dict[str, Callable[[Blobs], object]] = {
    "read": lambda blobs: blobs.read_into(B, 0, bytearray(1)),
    "size": lambda blobs: blobs.size(B),
    "delete": lambda blobs: blobs.delete(B),
}


@pytest.mark.parametrize("use", MISSING.values(), ids=MISSING)
def test_what_is_missing_is_not_found(blobs: Blobs, use: Callable[[Blobs], object]) -> None:
    blobs.put(A, [b"x"])
    with pytest.raises(NotFound) as caught:
        use(blobs)
    assert caught.value.code == "blob-missing"


def test_delete_frees_the_id(blobs: Blobs) -> None:
    blobs.put(A, [b"x"])
    blobs.delete(A)
    assert list(blobs.ids()) == []
    blobs.put(A, [b"y"])


def test_ids_come_in_order_and_from_anywhere(blobs: Blobs) -> None:
    inner = BlobId("1" * 63 + "2")
    for name in (C, inner, A, B):
        blobs.put(name, [b"x"])
    assert list(blobs.ids()) == [A, inner, C, B]
    assert list(blobs.ids(A)) == [inner, C, B]
    assert list(blobs.ids(BlobId("5" * 64))) == [C, B]
    assert list(blobs.ids(B)) == []


HOSTILE = {
    "empty": "",
    "up": "../" * 21 + "x",
    "short": "ab",
    "upper case": "A" * 64,
    "nul": "a" * 63 + "\0",
    "newline": "a" * 64 + "\n",
}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_only_ids_are_taken(blobs: Blobs, name: str) -> None:
    for use in (
        lambda: blobs.put(BlobId(name), [b"x"]),
        lambda: blobs.read_into(BlobId(name), 0, bytearray(1)),
        lambda: blobs.size(BlobId(name)),
        lambda: blobs.delete(BlobId(name)),
    ):
        with pytest.raises(Invalid):
            use()
