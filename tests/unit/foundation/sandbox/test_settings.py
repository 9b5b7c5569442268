"""Settings that would leave a guest without limits are refused by name."""

from __future__ import annotations

import pytest

from fastness.core.settings import InvalidSetting, load
from fastness.foundation.sandbox import Layer, Limits, SandboxSettings


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"backend": "docker"}, "sandbox.backend"),
        ({"required": "network,moat"}, "moat"),
        ({"start_timeout_s": "0"}, "start_timeout_s"),
        ({"start_timeout_s": "601"}, "start_timeout_s"),
        ({"uid_first": "0"}, "uid_first"),
        ({"uid_first": "4294967290"}, "uid_first"),
        ({"uid": "5"}, "uid"),
    ],
)
def test_what_is_out_of_range_is_named(flags: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidSetting, match=named):
        load(SandboxSettings, None, {}, flags)


def test_all_layers_are_required_unless_said_otherwise() -> None:
    assert set(SandboxSettings().required) == {str(layer) for layer in Layer}


@pytest.mark.parametrize(
    "limits",
    [{"memory_bytes": 1}, {"pids": 5}, {"cpu_s": -1}, {"descriptors": 3}, {"frame_bytes": 0}, {"frame_bytes": 1 << 31}],
)
def test_limits_that_limit_nothing_or_everything_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(InvalidSetting, match="limits"):
        Limits(**limits)
