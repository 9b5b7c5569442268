"""Limits that would limit nothing are refused."""

from __future__ import annotations

import math

import pytest

from fastness.core.errors import Invalid
from fastness.core.limits import Limit


@pytest.mark.parametrize(
    ("per_s", "burst"),
    [(0, 1), (-1, 1), (math.nan, 1), (1, 0), (1, 0.5), (1, math.nan), (1, math.inf), (math.inf, 1), (1, -1)],
)
def test_a_limit_out_of_range(per_s: float, burst: float) -> None:
    with pytest.raises(Invalid) as caught:
        Limit(per_s, burst)
    assert caught.value.code == "limit-range"


@pytest.mark.parametrize(("per_s", "burst"), [(0.001, 1), (100, 20), (1e9, 1e9)])
def test_a_limit_in_range(per_s: float, burst: float) -> None:
    assert Limit(per_s, burst).burst == burst
