"""Wrapped data keys: for any two different contexts, what is wrapped for one never opens for the other."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fastness.core.clock import system_entropy
from fastness.core.errors import Corrupt
from fastness.core.secrets import SecretBytes
from fastness.foundation.crypto import KeyContext, SealedKeyRing

RING = SealedKeyRing.in_memory(system_entropy)
TENANTS = st.sampled_from(["a", "b", "", 'a","blob":"', "ü", "a\0"])
CONTEXTS = st.builds(
    KeyContext, TENANTS, st.text(st.characters(codec="utf-8"), max_size=12), st.integers(0, 1 << 53 - 1)
)


@given(CONTEXTS, st.binary(min_size=32, max_size=32))
def test_round_trip(context: KeyContext, key: bytes) -> None:
    assert bytes(RING.unwrap(RING.wrap(SecretBytes(key), context), context).reveal()) == key


@given(CONTEXTS, CONTEXTS)
def test_contexts_are_apart(one: KeyContext, other: KeyContext) -> None:
    assume(one != other)
    assert one.aad("x") != other.aad("x") or (one.tenant, one.blob) == (other.tenant, other.blob)
    wrapped = RING.wrap(SecretBytes(bytes(32)), one)
    RING.wrap(SecretBytes(bytes(32)), other)
    with pytest.raises(Corrupt):
        RING.unwrap(wrapped, other)
    # Nor under the name of the other tenant's key.
    with pytest.raises(Corrupt):
        RING.unwrap(dataclasses.replace(wrapped, key_id=RING.key_id(other.tenant)), other)


@given(CONTEXTS, st.binary(max_size=64))
def test_foreign_bytes_are_corrupt(context: KeyContext, data: bytes) -> None:
    wrapped = RING.wrap(SecretBytes(bytes(32)), context)
    assume(data != wrapped.wrapped)
    with pytest.raises(Corrupt):
        RING.unwrap(dataclasses.replace(wrapped, wrapped=data), context)
