"""The table of errors: one place where a kind becomes a status and an exit code."""

from __future__ import annotations

import copy
import pickle

import pytest

from fastness.core import errors
from fastness.core.errors import FastnessError, Limited

TABLE = {
    "Invalid": (400, 2),
    "Unauthenticated": (401, 77),
    "Forbidden": (403, 77),
    "NotFound": (404, 66),
    "Conflict": (409, 75),
    "Stale": (412, 75),
    "TooLarge": (413, 2),
    "Limited": (429, 75),
    "Corrupt": (500, 65),
    "Unavailable": (503, 69),
}
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FastnessError)]
BELOW = [kind for kind in KINDS if kind is not FastnessError]


def test_the_table_is_complete_and_right() -> None:
    assert {kind.__name__: (kind.status, kind.exit) for kind in BELOW} == TABLE


def test_there_are_at_most_ten_kinds_and_all_stand_right_below_the_root() -> None:
    assert len(BELOW) <= 10
    assert all(kind.__bases__ == (FastnessError,) for kind in BELOW)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_says_what_happened_and_what_to_change(kind: type[FastnessError]) -> None:
    error = kind("some-code", "it went wrong", "Do it right.")
    assert (error.code, error.message, error.hint) == ("some-code", "it went wrong", "Do it right.")
    assert str(error) == "it went wrong (some-code). Do it right."
    assert str(kind("some-code", "it went wrong")) == "it went wrong (some-code)"


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_crosses_a_process_boundary(kind: type[FastnessError]) -> None:
    error = kind("some-code", "it went wrong", "Do it right.")
    for again in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(again) is kind
        assert (again.code, again.message, again.hint, str(again)) == (
            error.code,
            error.message,
            error.hint,
            str(error),
        )


def test_a_limit_says_when_to_come_back_also_after_a_process_boundary() -> None:
    error = Limited("rate", "too many requests", retry_after_s=3.5)
    assert error.retry_after_s == 3.5
    assert pickle.loads(pickle.dumps(error)).retry_after_s == 3.5
