"""Settings out of range stop the start and name the key."""

from __future__ import annotations

import pytest

from fastness.core.settings import InvalidSetting, load
from fastness.models.runtime import RuntimeSettings


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_batch", "0"), ("max_batch", "65537"), ("max_queue", "0"), ("frame_bytes", "1"),
        ("frame_bytes", "2147483648"), ("memory_bytes", "1"), ("pids", "1"), ("load_timeout_s", "0"), ("threads", "4"),
    ],
)  # fmt: skip
def test_out_of_range_is_named(key: str, value: str) -> None:
    with pytest.raises(InvalidSetting, match=key):
        load(RuntimeSettings, None, {}, {key: value})
