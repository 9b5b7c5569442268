"""Answers: what leaves the gateway, and how an error becomes one."""

from __future__ import annotations

import math
from typing import NamedTuple

from fastness.core.errors import FastnessError, Limited, Unavailable
from fastness.wire import problems

Headers = list[tuple[bytes, bytes]]

_SAFE: Headers = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
JSON_HEADERS: Headers = [(b"content-type", b"application/json"), *_SAFE]
BINARY_HEADERS: Headers = [(b"content-type", b"application/octet-stream"), *_SAFE]
TEXT_HEADERS: Headers = [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8"), *_SAFE]
PROBLEM_HEADERS: Headers = [(b"content-type", problems.CONTENT_TYPE.encode()), *_SAFE]

# Where HTTP has a more exact status than the error's kind.
STATUS = {
    "method-not-allowed": 405,
    "header-too-slow": 408,
    "body-too-slow": 408,
    "media-type": 415,
    "content-encoding": 415,
    "confidence-low": 422,
    "confidence-unknown": 422,
    "headers-too-large": 431,
    "client-disconnected": 499,
}


class Answer(NamedTuple):
    """What is to be sent; content length and request id are added when it is."""

    status: int
    headers: Headers
    body: bytes


def status_of(error: FastnessError) -> int:
    """The HTTP status of `error`."""
    return STATUS.get(error.code, error.status)


def refusal(error: FastnessError, request_id: str, retry_after_s: int) -> Answer:
    """The answer that tells `error`.

    Args:
        retry_after_s: advised where a part does not answer.
    """
    status = status_of(error)
    headers = PROBLEM_HEADERS
    if isinstance(error, Limited):
        headers = [*headers, (b"retry-after", str(max(1, math.ceil(error.retry_after_s))).encode())]
    elif isinstance(error, Unavailable):
        headers = [*headers, (b"retry-after", str(retry_after_s).encode())]
    elif status == 401:
        headers = [*headers, (b"www-authenticate", b"Bearer")]
    elif status == 405:
        headers = [*headers, (b"allow", error.hint.rpartition(" ")[2].rstrip(".").encode("ascii", "replace"))]
    return Answer(status, headers, problems.encode(error, request_id, status))
