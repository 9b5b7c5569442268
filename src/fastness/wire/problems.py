"""Problem details: any `FastnessError` as `application/problem+json`, and back into the same kind of error.

Source: RFC 9457. `type` is `urn:fastness:problem:` and the stable code; `hint` and `request_id` are extension members.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fastness.core.errors import (
    Conflict,
    Corrupt,
    FastnessError,
    Forbidden,
    Invalid,
    Limited,
    NotFound,
    Stale,
    TooLarge,
    Unauthenticated,
    Unavailable,
)

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:fastness:problem:"
MAX_PROBLEM_BYTES = 1 << 16
_LONGEST_WAIT_S = 86_400.0

_TITLES: Mapping[type[FastnessError], str] = {
    Invalid: "The request is wrong",
    Unauthenticated: "Not authenticated",
    Forbidden: "Not allowed",
    NotFound: "Not found",
    Conflict: "Not possible in the present state",
    Stale: "Changed meanwhile",
    TooLarge: "Too large",
    Limited: "Too many requests",
    Corrupt: "An integrity check failed",
    Unavailable: "Not available",
    FastnessError: "Failed",
}
_KINDS = {kind.status: kind for kind in _TITLES if kind not in {Corrupt, FastnessError}}
_CORRUPT = _TITLES[Corrupt]


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON object.

    Attributes:
        type: URN that ends in the stable code.
        title: what sort of problem it is.
        detail: what happened this time.
        hint: what the caller can change.
        request_id: the request it happened to, as it stands in the audit log.
        subject, permission: digest of what takes the approval of others, and for which permission.
    """

    type: str = "about:blank"
    title: str = ""
    status: int = 0
    detail: str = ""
    hint: str = ""
    request_id: str = ""
    subject: str = ""
    permission: str = ""


_DECODER = msgspec.json.Decoder(Problem)
_ENCODER = msgspec.json.Encoder()


def encode(error: FastnessError, request_id: str = "", status: int | None = None) -> bytes:
    """`error` as problem+json.

    Args:
        status: where HTTP has a more exact status than the error's kind, such as 405 or 415.
    """
    title = next(_TITLES[kind] for kind in type(error).__mro__ if kind in _TITLES)
    # A message may quote a file name that is not UTF-8; its bytes are shown escaped.
    detail = error.message.encode("utf-8", "backslashreplace").decode()
    hint = error.hint.encode("utf-8", "backslashreplace").decode()
    problem = Problem(TYPE_PREFIX + error.code, title, status or error.status, detail, hint, request_id)
    if isinstance(error, Forbidden):
        problem = msgspec.structs.replace(problem, subject=error.subject, permission=error.permission)
    return _ENCODER.encode(problem)


def decode(status: int, body: bytes, headers: Mapping[str, str]) -> FastnessError:
    """The error that an answer of `status` stands for; never raises, whatever the body holds.

    Args:
        headers: with lower-case names; `retry-after` is read.
    """
    problem = _problem(body)
    code = problem.type.removeprefix(TYPE_PREFIX) if problem.type.startswith(TYPE_PREFIX) else f"http-{status}"
    message = problem.detail or problem.title or f"the server answered with status {status}"
    kind = _kind(status, problem.title)
    if issubclass(kind, Limited):
        return kind(code, message, problem.hint, _seconds(headers.get("retry-after", "")))
    if issubclass(kind, Forbidden):
        return kind(code, message, problem.hint, problem.subject, problem.permission)
    return kind(code, message, problem.hint)


def _problem(body: bytes) -> Problem:
    if len(body) > MAX_PROBLEM_BYTES:
        return Problem()
    try:
        return _DECODER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Problem()


def _kind(status: int, title: str) -> type[FastnessError]:
    if status in _KINDS:
        return _KINDS[status]
    if 400 <= status < 500:
        return Invalid
    if status in {502, 504}:
        return Unavailable
    return Corrupt if title == _CORRUPT else FastnessError


def _seconds(text: str) -> float:
    return min(float(text), _LONGEST_WAIT_S) if text.isascii() and text.isdigit() else 1.0
