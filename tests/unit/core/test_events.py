"""Events: every one that can be made can be written and read again."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.clock import Instant, system_entropy
from fastness.core.events import Event, EventFactory, EventKind, decode_event, encode_event
from fastness.core.findings import Decision, Finding, Severity
from fastness.core.identity import DEFAULT_TENANT, SYSTEM

NOW = Instant(1_767_323_045_000_000_000)
FACTORY = EventFactory(DEFAULT_TENANT, SYSTEM, NOW, system_entropy)
# With lone surrogates: file names that are not UTF-8 come as such.
TEXTS = st.text(st.characters(codec=None), max_size=20)
DETAILS = st.dictionaries(TEXTS, TEXTS | st.integers() | st.floats() | st.booleans(), max_size=4)
FINDINGS = st.lists(st.builds(Finding, st.just("rule"), st.sampled_from(Severity), TEXTS, TEXTS), max_size=3).map(tuple)


@given(st.sampled_from(EventKind), TEXTS, st.none() | st.sampled_from(Decision), FINDINGS, DETAILS)
def test_whatever_is_made_comes_back_the_same(
    kind: EventKind,
    resource: str,
    decision: Decision | None,
    findings: tuple[Finding, ...],
    details: dict[str, str | int | float | bool],
) -> None:
    event = FACTORY.make(kind, resource, decision=decision, findings=findings, details=details)
    assert decode_event(encode_event(event)) == event
    assert decode_event(memoryview(encode_event(event))) == event


def test_it_is_valid_json_for_other_readers() -> None:
    event = FACTORY.make(EventKind.JOB_FAILED, "job:1", details={"rate": float("nan"), "path": "a\udcffb"})
    seen = json.loads(encode_event(event), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert seen["details"] == {"rate": "nan", "path": "a\\udcffb"}


def test_the_bytes_do_not_depend_on_the_order_of_the_details() -> None:
    one = FACTORY.make(EventKind.KEY_CREATED, details={"b": 1, "a": 2})
    other = msgspec.structs.replace(one, details={"a": 2, "b": 1})
    assert encode_event(one) == encode_event(other)


def test_an_event_carries_rule_and_place_of_a_finding_but_not_its_evidence() -> None:
    finding = Finding("pii-email", Severity.HIGH, "body:3", "an address", {"value": "someone@example.org"})
    text = encode_event(FACTORY.make(EventKind.REQUEST_REFUSED, findings=(finding,)))
    assert b"pii-email" in text
    assert b"body:3" in text
    assert b"someone" not in text
    assert b"an address" not in text


def test_the_factory_fills_in_who_when_and_a_new_id() -> None:
    first, second = FACTORY.make(EventKind.KEY_CREATED), FACTORY.make(EventKind.KEY_CREATED)
    assert (first.at, first.tenant, first.principal) == (NOW, DEFAULT_TENANT, SYSTEM)
    assert first.id != second.id
    assert first.id[14] == "7"


def test_every_kind_is_a_dotted_pair_and_none_is_given_twice() -> None:
    kinds = [kind.value for kind in EventKind]
    assert len(set(kinds)) == len(kinds)
    assert all(len(kind.split(".")) == 2 and kind == kind.lower() for kind in kinds)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"id":"x","at":0,"kind":"no.such","tenant":"t","principal":"p"}',
        b'{"id":"x","at":"0","kind":"key.created","tenant":"t","principal":"p"}',
        b'{"id":"x","at":0,"kind":"key.created","tenant":"t","principal":"p","details":{"a":[1]}}',
        b'{"id":"x","at":0,"kind":"key.created","tenant":"t","principal":"p","decision":7}',
        b'{"x":' + b"[" * 100_000,
        b'{"id":"\xff","at":0,"kind":"key.created","tenant":"t","principal":"p"}',
    ],
)
def test_what_is_not_an_event_is_refused(data: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_event(data)


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    try:
        event = decode_event(data)
    except msgspec.MsgspecError:
        return
    assert isinstance(event, Event)
