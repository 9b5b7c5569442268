"""FLOE: the published vectors, and every way to hand a writer or reader the wrong thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastness.core.clock import system_entropy
from fastness.core.errors import Corrupt, FastnessError, Invalid
from fastness.core.secrets import SecretBytes
from fastness.foundation.crypto import floe
from fastness.foundation.crypto.floe import FloeLimits
from tests.needs import need_data

KEY = SecretBytes(bytes(range(32)))
AAD = b"This is AAD"
SMALL = FloeLimits(frozenset({64}), rotate_bits=2)
PLAIN_LEN = 32


def seal(plain: bytes, limits: FloeLimits = SMALL, segment: int = 64) -> bytes:
    writer = floe.FloeWriter(KEY, AAD, system_entropy, segment, limits)
    room = memoryview(bytearray(segment))
    sealed = bytearray(writer.header)
    parts = [plain[at : at + writer.plain_len] for at in range(0, len(plain), writer.plain_len)] or [b""]
    for number, part in enumerate(parts):
        sealed += room[: writer.seal_into(part, number == len(parts) - 1, room)]
    return bytes(sealed)


def unseal(sealed: bytes, limits: FloeLimits = SMALL, key: SecretBytes = KEY, aad: bytes = AAD) -> bytes:
    """Reads as one who knows the size of the container and nothing else."""
    reader = floe.FloeReader(key, aad, sealed[: floe.FloeReader.HEADER], limits)
    body = sealed[floe.FloeReader.HEADER :]
    parts = [body[at : at + reader.segment] for at in range(0, len(body), reader.segment)] or [b""]
    plain = bytearray()
    for number, part in enumerate(parts):
        room = memoryview(bytearray(reader.plain_len))
        plain += room[: reader.open_into(part, number, number == len(parts) - 1, room)]
    return bytes(plain)


def _vectors() -> Iterator[Path]:
    folder = need_data("vectors/floe")
    yield from sorted(folder.glob("*_ct.txt"))


def test_known_answers_of_four_languages_open_and_their_changed_copies_do_not() -> None:
    seen = 0
    for path in _vectors():
        sealed = bytes.fromhex(path.read_text().strip())
        plain = bytes.fromhex(path.with_name(path.name.replace("_ct", "_pt")).read_text().strip())
        segment = int.from_bytes(sealed[2:6], "big")
        limits = FloeLimits(frozenset({segment}), 2 if "rotation" in path.name else 20)
        zeros = SecretBytes(bytes(32))
        assert unseal(sealed, limits, zeros) == plain, path.name
        for what, changed in _changes(sealed, segment):
            with pytest.raises(Corrupt):
                unseal(changed, limits, zeros)
                pytest.fail(f"{path.name}: {what} was accepted")
        seen += 1
    assert seen == 17


def _changes(sealed: bytes, segment: int) -> Iterator[tuple[str, bytes]]:
    yield "truncated", sealed[:-1]
    yield "one byte appended", sealed + b"x"
    yield "a segment appended", sealed + bytes(segment)
    for at in (0, 1, 5, 9, 20, 50, 74, 78, 100, len(sealed) - 1):
        yield f"flipped at {at}", sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
    body = sealed[floe.FloeReader.HEADER :]
    if len(body) > segment:
        yield "cut at a border", sealed[: floe.FloeReader.HEADER + segment]
    if len(body) > 2 * segment:
        yield "two swapped", sealed[:74] + body[segment : 2 * segment] + body[:segment] + body[2 * segment :]


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 64, 65, 32 * 9, 32 * 9 + 1])
def test_what_is_sealed_opens(size: int) -> None:
    plain = bytes(number % 251 for number in range(size))
    sealed = seal(plain)
    assert unseal(sealed) == plain
    assert floe.FloeReader(KEY, AAD, sealed[:74], SMALL).sealed_size(size) == len(sealed)


@pytest.mark.parametrize("segment", [1 << 16, 1 << 18, 1 << 20])
def test_the_shipped_lengths_are_read(segment: int) -> None:
    writer = floe.FloeWriter(KEY, AAD, system_entropy, segment)
    room = memoryview(bytearray(segment))
    size = writer.seal_into(b"plain", True, room)
    assert floe.FloeReader(KEY, AAD, writer.header).open_into(room[:size], 0, True, memoryview(bytearray(5))) == 5


def test_segments_open_in_any_order_across_key_rotations() -> None:
    plain = b"".join(bytes([number]) * PLAIN_LEN for number in range(10))
    sealed = seal(plain)
    reader = floe.FloeReader(KEY, AAD, sealed[:74], SMALL)
    for number in (9, 0, 5, 4, 3, 9, 7):
        at = 74 + number * 64
        out = memoryview(bytearray(PLAIN_LEN))
        reader.open_into(sealed[at : at + 64], number, number == 9, out)
        assert bytes(out) == bytes([number]) * PLAIN_LEN


def test_a_segment_that_fails_leaves_nothing_in_the_buffer() -> None:
    sealed = bytearray(seal(b"secret plain text of 32 bytes!!!"))
    sealed[-1] ^= 1
    out = memoryview(bytearray(b"\xaa" * 40))
    with pytest.raises(Corrupt, match="authentication"):
        floe.FloeReader(KEY, AAD, bytes(sealed[:74]), SMALL).open_into(bytes(sealed[74:]), 0, True, out)
    assert bytes(out) == bytes(32) + b"\xaa" * 8


def test_another_key_or_context_is_refused_before_any_segment() -> None:
    header = seal(b"x")[:74]
    for key, aad in [(SecretBytes(bytes(32)), AAD), (KEY, b"another blob")]:
        with pytest.raises(Corrupt) as caught:
            floe.FloeReader(key, aad, header, SMALL)
        assert caught.value.code == "floe-header"


def test_a_header_cannot_ask_for_a_buffer_of_its_own_size() -> None:
    header = bytearray(seal(b"x")[:74])
    header[2:6] = (1 << 31).to_bytes(4, "big")
    with pytest.raises(Corrupt, match="not a container"):
        floe.FloeReader(KEY, AAD, bytes(header))


def _finished() -> floe.FloeWriter:
    writer = floe.FloeWriter(KEY, AAD, system_entropy, 64, SMALL)
    writer.seal_into(b"", True, memoryview(bytearray(64)))
    return writer


@pytest.mark.parametrize(
    ("writer", "plain", "last", "room", "code"),
    [
        (_finished, b"", True, 64, "floe-finished"),
        (lambda: floe.FloeWriter(KEY, AAD, system_entropy, 64, SMALL), b"short", False, 64, "floe-segment-length"),
        (lambda: floe.FloeWriter(KEY, AAD, system_entropy, 64, SMALL), bytes(33), True, 65, "floe-segment-length"),
        (lambda: floe.FloeWriter(KEY, AAD, system_entropy, 64, SMALL), bytes(32), True, 63, "floe-buffer"),
        (lambda: floe.FloeWriter(KEY, AAD, system_entropy, 1 << 17), b"", True, 64, "floe-segment-length"),
        (lambda: floe.FloeWriter(SecretBytes(bytes(16)), AAD, system_entropy), b"", True, 64, "floe-key"),
    ],
)
def test_a_writer_refuses_what_would_make_a_wrong_container(
    writer: Callable[[], floe.FloeWriter], plain: bytes, last: bool, room: int, code: str
) -> None:
    with pytest.raises(Invalid) as caught:
        writer().seal_into(plain, last, memoryview(bytearray(room)))
    assert caught.value.code == code


def test_a_reader_refuses_a_small_buffer_and_an_impossible_place() -> None:
    sealed = seal(b"plain")
    reader = floe.FloeReader(KEY, AAD, sealed[:74], SMALL)
    with pytest.raises(Invalid):
        reader.open_into(sealed[74:], 0, True, memoryview(bytearray(4)))
    for position, last in [(-1, True), (1, True), (0, False), (1 << 40, True)]:
        with pytest.raises(FastnessError):
            reader.open_into(sealed[74:], position, last, memoryview(bytearray(32)))


def test_two_messages_share_neither_header_nor_ciphertext() -> None:
    assert seal(b"same")[10:42] != seal(b"same")[10:42]
    assert seal(b"same")[-20:] != seal(b"same")[-20:]
