"""Frames on a stream: what breaks the rules ends it, within the time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from fastness.foundation.sandbox import HEAD_BYTES, Channel, ChannelError, pack_head, read_head
from fastness.foundation.sandbox.guest.channel import ChannelLate

Pair = tuple[Channel, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = socket.socketpair()
    with one, other:
        yield Channel(one, 1 << 20), other


@pytest.mark.parametrize("size", [1, 7, (1 << 16) - HEAD_BYTES, 1 << 16, (1 << 16) + 1, 1 << 20])
def test_a_frame_of_any_size_arrives_whole(pair: Pair, size: int) -> None:
    channel, other = pair
    data = bytes(i & 255 for i in range(size))
    sender = threading.Thread(target=lambda: Channel(other, 1 << 20).send(data))
    sender.start()
    assert channel.receive(time.monotonic() + 10) == data
    sender.join()


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        (b"\x00\x00\x00\x00\x01\x00\x00\x00", "0 bytes"),
        (b"\x01\x00\x10\x00\x01\x00\x00\x00", "1048577 bytes"),
        (b"\xff\xff\xff\xff\x01\x00\x00\x00", "4294967295 bytes"),
        (b"\x01\x00\x00\x00\x02\x00\x00\x00", "version 2"),
        (b"\x01\x00\x00\x00\x01\x00\x00\x01", "version"),
        (b"HTTP/1.1 400", "version"),
    ],
)
def test_a_head_that_breaks_the_rules_is_refused(pair: Pair, head: bytes, problem: str) -> None:
    channel, other = pair
    other.sendall(head)
    with pytest.raises(ChannelError, match=problem):
        channel.receive(time.monotonic() + 10)


def test_nothing_is_longer_than_agreed_on_the_way_out(pair: Pair) -> None:
    with pytest.raises(ChannelError, match="at most"):
        pair[0].send(bytes((1 << 20) + 1))
    with pytest.raises(ChannelError, match="0 bytes"):
        pair[0].send(b"")


def test_silence_is_late(pair: Pair) -> None:
    began = time.monotonic()
    with pytest.raises(ChannelLate):
        pair[0].receive(began + 0.1)
    assert time.monotonic() - began < 5


def test_a_frame_that_comes_byte_by_byte_is_late_all_the_same(pair: Pair) -> None:
    channel, other = pair
    stop = threading.Event()

    def trickle() -> None:
        for byte in pack_head(1000) + bytes(1000):
            if stop.wait(0.02):
                return
            other.sendall(bytes([byte]))

    sender = threading.Thread(target=trickle)
    sender.start()
    began = time.monotonic()
    with pytest.raises(ChannelLate):
        channel.receive(began + 0.3)
    stop.set()
    sender.join()
    assert time.monotonic() - began < 5


def test_whoever_does_not_read_is_late(pair: Pair) -> None:
    with pytest.raises(ChannelLate):
        for _ in range(64):
            pair[0].send(bytes(1 << 20), time.monotonic() + 0.1)


@pytest.mark.parametrize("sent", [b"", pack_head(8), pack_head(8) + b"half"])
def test_the_end_of_the_stream_is_no_frame(pair: Pair, sent: bytes) -> None:
    channel, other = pair
    other.sendall(sent)
    other.close()
    with pytest.raises(ChannelError, match="closed"):
        channel.receive(time.monotonic() + 10)


def test_two_answers_to_one_question_are_refused(pair: Pair) -> None:
    channel, other = pair
    other.sendall(pack_head(2) + b"ok" + pack_head(2) + b"no")
    with pytest.raises(ChannelError, match="more than one"):
        channel.receive(time.monotonic() + 10)


def test_a_head_is_what_it_was_packed_from() -> None:
    assert read_head(pack_head(77), 100) == 77
