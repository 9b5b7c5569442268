from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.errors import Corrupt, TooLarge
from fastness.wire import frames

ALL = [
    frames.Snapshot("keys", 7, b"\x00\xff"),
    frames.Confirm(),
    frames.WorkerHello("gateway-0", 42),
    frames.Stats("gateway-0", b"# HELP"),
]


@given(st.integers(1, 40))
def test_frames_come_out_whole_however_they_are_cut(step: int) -> None:
    stream = b"".join(map(frames.encode, ALL))
    reader = frames.FrameReader()
    found = [frame for at in range(0, len(stream), step) for frame in reader.feed(stream[at : at + step])]
    assert found == ALL


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode({"type": "Other"}),
        msgspec.msgpack.encode({"type": "Snapshot", "topic": "keys"}),
        msgspec.msgpack.encode({"type": "Confirm", "extra": 1}),
        msgspec.msgpack.encode([1]),
        frames.encode(frames.Confirm())[4:] + b"x",
    ],
)
def test_what_is_no_frame_is_corrupt(body: bytes) -> None:
    with pytest.raises(Corrupt) as refused:
        list(frames.FrameReader().feed(len(body).to_bytes(4, "big") + body))
    assert refused.value.code == "frame-malformed"


def test_a_long_frame_is_refused_by_its_length_alone() -> None:
    with pytest.raises(Corrupt) as refused:
        list(frames.FrameReader(max_bytes=100).feed(b"\x00\x00\x00\x65"))
    assert refused.value.code == "frame-too-large"


def test_a_frame_too_long_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MAX_FRAME_BYTES", 100)
    with pytest.raises(TooLarge):
        frames.encode(frames.Stats("w", b"x" * 200))
