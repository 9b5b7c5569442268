"""Boosters and R: both encodings of a tree tell the same, and whatever is damaged gets a verdict."""

import json
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from fastness.core.sources import BytesSource
from fastness.models.scan import Outcome
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.events import Event, Kind, json_events, ubjson_events
from tests.unit.models.scan.artifacts import report_of, rules_of
from tests.unit.models.scan.test_boosters import BIN, JSON, TEXT, UBJ, call, i, r, symbol, texts

SMALL = {"fields": 50_000, "header_bytes": 1 << 18, "stack": 10_000}
SEEDS = {
    "model.json": JSON.encode(),
    "model.ubj": UBJ,
    "model": BIN,
    "model.txt": TEXT.encode(),
    "model.rds": r(call(symbol("~"), texts("a"), i(13, 2, 1, 2))),
}
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
VALUES = st.recursive(
    st.booleans() | TEXTS | st.lists(st.integers(-(1 << 31), (1 << 31) - 1), min_size=1, max_size=5),
    lambda inner: st.dictionaries(TEXTS, inner, max_size=4) | st.lists(st.dictionaries(TEXTS, inner, max_size=2), max_size=3),
    max_leaves=12,
)  # fmt: skip


def ubjson(value: object) -> bytes:
    """The value as UBJSON, lists of numbers typed."""
    if isinstance(value, bool):
        return b"T" if value else b"F"
    if isinstance(value, str):
        return b"S" + _length(value.encode())
    if isinstance(value, dict):
        return b"{" + b"".join(_length(key.encode()) + ubjson(one) for key, one in value.items()) + b"}"
    assert isinstance(value, list)
    if value and isinstance(value[0], int):
        return b"[$l#L" + struct.pack(">q", len(value)) + struct.pack(f">{len(value)}i", *value)
    return b"[" + b"".join(map(ubjson, value)) + b"]"


def _length(data: bytes) -> bytes:
    return b"L" + struct.pack(">q", len(data)) + data


def shape(events: list[Event]) -> list[tuple[Kind, str, str, int, int, int]]:
    """What must be the same in both; an empty list is a list of no numbers where nobody tells."""
    told = [(e.kind, e.key, e.text if e.kind is Kind.TEXT else "", e.count, e.low, e.high) for e in events]
    merged: list[tuple[Kind, str, str, int, int, int]] = []
    for one in told:
        if one[0] is Kind.END and merged and merged[-1][0] is Kind.LIST:
            merged[-1] = (Kind.NUMBERS, merged[-1][1], "", 0, 0, 0)
        else:
            merged.append(one)
    return merged


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_both_encodings_tell_the_same(value: dict[str, object]) -> None:
    def told(read: object, data: bytes) -> list[tuple[Kind, str, str, int, int, int]]:
        assert callable(read)
        return shape(list(read(BytesSource("m", data), Budget(ScanSettings()))))

    plain = told(json_events, json.dumps(value, ensure_ascii=False).encode())
    assert plain == told(ubjson_events, ubjson(value))
    assert plain == told(json_events, json.dumps(value, indent=1).encode())


@given(st.sampled_from(list(SEEDS)), st.data())
@settings(max_examples=4 * settings().max_examples)
def test_damaged_files_get_a_verdict(name: str, data: st.DataObject) -> None:
    damaged = bytearray(SEEDS[name])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged)))
        damaged[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    report = report_of(bytes(damaged), name, **SMALL)
    assert "reader-failed" not in rules_of(report), report.verdict.findings
    assert report.outcome is not Outcome.PASS or report.explained_bytes == report.size


@given(
    st.lists(
        st.sampled_from([i(n) for n in (1, 2, 3, 4, 5, 6, 9, 13, 16, 19, 21, 238, 252, 254, 255, 1026)])
        | st.binary(max_size=4),
        max_size=40,
    )
)
@settings(max_examples=2 * settings().max_examples)
def test_items_of_r_in_any_order_get_a_verdict(parts: list[bytes]) -> None:
    assert "reader-failed" not in rules_of(report_of(r(b"".join(parts)), "m.rds", **SMALL))
