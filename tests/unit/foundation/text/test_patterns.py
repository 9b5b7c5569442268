"""Many patterns in one pass: the same ends as one pattern at a time."""

from __future__ import annotations

import re
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.foundation.text import Patterns
from tests.needs import need_host

EXPRESSIONS = [rb"\x7fELF", rb"ab", rb"b[\x00-\x05]", rb"a.c"]


@pytest.fixture(scope="module")
def patterns() -> Patterns:
    made = Patterns.compiled(EXPRESSIONS)
    need_host("Hyperscan, which is made for x86 alone", present=made is not None)
    assert made is not None
    return made


def expected(data: bytes) -> list[tuple[int, int]]:
    found = [
        (match.start() + len(match[1]), number)
        for number, expression in enumerate(EXPRESSIONS)
        for match in re.finditer(rb"(?=(" + expression + rb"))", data, re.DOTALL)
    ]
    return sorted(found)


@given(
    data=st.lists(st.sampled_from([b"a", b"b", b"c", b"\n", b"\x00", b"\x7fELF", b"\x05"]), max_size=60).map(b"".join)
)
def test_the_ends_are_those_of_each_pattern_alone(patterns: Patterns, data: bytes) -> None:
    found = patterns.ends(data, 10_000)
    assert found is not None
    assert sorted(found) == expected(data)


def test_more_matches_than_the_limit_are_none(patterns: Patterns) -> None:
    assert patterns.ends(b"ab" * 10, 10) == [(2 * n, 1) for n in range(1, 11)]
    assert patterns.ends(b"ab" * 11, 10) is None
    assert patterns.ends(b"", 10) == []


def test_threads_may_share_them(patterns: Patterns) -> None:
    seen: list[int] = []

    def scan() -> None:
        for _ in range(50):
            found = patterns.ends(b"ab" * 500, 1000)
            seen.append(len(found or ()))

    threads = [threading.Thread(target=scan) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [500] * 200
