from __future__ import annotations

import json

import pytest

from fastness.core import errors
from fastness.wire import problems

KINDS = [
    errors.Invalid,
    errors.Unauthenticated,
    errors.Forbidden,
    errors.NotFound,
    errors.Conflict,
    errors.TooLarge,
    errors.Limited,
    errors.Corrupt,
    errors.Unavailable,
    errors.FastnessError,
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_back_as_itself(kind: type[errors.FastnessError]) -> None:
    body = problems.encode(kind("some-code", "what happened", "what to do"), "id-1")
    back = problems.decode(kind.status, body, {})
    assert type(back) is kind
    assert (back.code, back.message, back.hint) == ("some-code", "what happened", "what to do")


def test_the_members_are_those_of_the_rfc() -> None:
    told = json.loads(problems.encode(errors.NotFound("model-unknown", "no model x", "list them"), "id-1"))
    assert told == {
        "type": "urn:fastness:problem:model-unknown",
        "title": "Not found",
        "status": 404,
        "detail": "no model x",
        "hint": "list them",
        "request_id": "id-1",
    }


def test_a_subclass_is_told_as_its_kind_and_a_status_can_be_more_exact() -> None:
    class Special(errors.Invalid):
        pass

    body = problems.encode(Special("media-type", "not json"), status=415)
    assert json.loads(body)["status"] == 415
    assert type(problems.decode(415, body, {})) is errors.Invalid


def test_retry_after_is_read() -> None:
    body = problems.encode(errors.Limited("rate", "slow"))
    back = problems.decode(429, body, {"retry-after": "7"})
    assert isinstance(back, errors.Limited)
    assert back.retry_after_s == 7


@pytest.mark.parametrize("text", ["", "-1", "soon", "1e9", "9" * 400, "²"])
def test_a_strange_retry_after_is_bounded(text: str) -> None:
    back = problems.decode(429, b"", {"retry-after": text})
    assert isinstance(back, errors.Limited)
    assert 0 < back.retry_after_s <= 86_400


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, errors.NotFound), (502, errors.Unavailable), (504, errors.Unavailable), (418, errors.Invalid)],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"\xff", b'{"type": 3}', b"x" * 100_000, b"[" * 5000])
def test_a_body_that_is_no_problem_still_gives_an_error(
    status: int, kind: type[errors.FastnessError], body: bytes
) -> None:
    back = problems.decode(status, body, {})
    assert type(back) is kind
    assert back.code == f"http-{status}"


def test_a_name_that_is_not_utf8_does_not_break_the_answer() -> None:
    body = problems.encode(errors.Invalid("name", "file \udcff"))
    assert "udcff" in json.loads(body)["detail"]
