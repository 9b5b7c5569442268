"""A secret does not show itself, whatever one does to it by accident."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import pprint
import traceback
from dataclasses import dataclass

import pytest

from fastness.core.secrets import SecretBytes

VALUE = b"correct horse battery staple"


@dataclass(frozen=True)
class Holder:
    key: SecretBytes


@pytest.mark.parametrize(
    "show",
    [
        pytest.param(repr, id="repr"),
        pytest.param(str, id="str"),
        pytest.param(lambda s: f"{s}", id="format"),
        pytest.param(lambda s: f"{s!r:>40}", id="padded"),
        pytest.param(lambda s: "%s %r" % (s, s), id="percent"),  # noqa: UP031 - this way of showing is the case
        pytest.param(lambda s: repr(Holder(s)), id="inside a dataclass"),
        pytest.param(lambda s: repr([s, {"key": s}]), id="inside containers"),
        pytest.param(lambda s: pprint.pformat({"key": s}), id="pprint"),
        pytest.param(lambda s: str(ValueError(s)), id="in an exception"),
    ],
)
def test_it_is_never_shown(show: object) -> None:
    assert callable(show)
    text = show(SecretBytes(VALUE))
    assert "***" in text
    assert not any(word in text for word in ("correct", "staple", VALUE.hex()))


def test_it_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("test").error("key %s", SecretBytes(VALUE), extra={"key": SecretBytes(VALUE)})
    assert "***" in caplog.text
    assert "correct" not in caplog.text


def test_it_is_not_in_a_traceback_of_locals() -> None:
    def fail(key: SecretBytes) -> None:
        raise ValueError("with a secret in scope")

    with pytest.raises(ValueError, match="in scope") as caught:
        fail(SecretBytes(VALUE))
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "key = SecretBytes(***)" in shown
    assert "correct" not in shown


@pytest.mark.parametrize("leave", [pickle.dumps, copy.copy, copy.deepcopy, json.dumps], ids=lambda f: f.__name__)
def test_it_does_not_leave_the_process_or_multiply(leave: object) -> None:
    assert callable(leave)
    with pytest.raises(TypeError):
        leave(SecretBytes(VALUE))


def test_it_has_no_attributes_that_others_would_print() -> None:
    assert not hasattr(SecretBytes(VALUE), "__dict__")


def test_two_of_the_same_value_are_not_equal_by_accident() -> None:
    assert SecretBytes(VALUE) != SecretBytes(VALUE)
    assert SecretBytes(VALUE) != VALUE


def test_it_is_revealed_on_purpose_and_wiped_on_request() -> None:
    secret = SecretBytes(VALUE)
    shared = secret.reveal()
    assert bytes(shared) == VALUE
    assert len(secret) == len(VALUE)
    secret.wipe()
    assert bytes(shared) == bytes(len(VALUE))
    assert len(secret) == len(VALUE)


def test_wiping_does_not_touch_the_bytes_it_was_made_from() -> None:
    source = bytearray(VALUE)
    SecretBytes(source).wipe()
    assert bytes(source) == VALUE
