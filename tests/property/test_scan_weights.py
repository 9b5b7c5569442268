"""Whatever numbers a tensor holds, looking at them raises nothing, and honest shapes of noise are never called odd."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fastness.core.sources import BytesSource
from fastness.models.scan.budget import Budget, ScanSettings
from fastness.models.scan.facts import FactKind
from fastness.models.scan.numbers import Tensor, odd_weights
from fastness.models.scan.payloads import search_payloads
from tests.unit.models.scan.programs import ELF, MACHO, PE

DTYPES = st.sampled_from(["F16", "BF16", "F32", "F64", "C64", "I8", "F8_E4M3"])


@given(st.binary(max_size=4096), DTYPES, st.integers(0, 64), st.integers(0, 1 << 62))
def test_any_bytes_as_any_type_raise_nothing(data: bytes, dtype: str, start: int, size: int) -> None:
    tensor = Tensor("w", dtype, min(start, len(data)), min(size, len(data) - min(start, len(data))))
    for fact in odd_weights(BytesSource("m", data), [tensor]):
        assert fact.kind in {FactKind.WEIGHTS, FactKind.EXECUTABLE}


@given(st.integers(0, 1 << 32), st.floats(1e-6, 1e3), st.floats(-10, 10), st.sampled_from(["<f2", "<f4", "<f8"]))
def test_noise_of_any_scale_is_not_odd(seed: int, scale: float, mean: float, kind: str) -> None:
    values = np.clip(np.random.default_rng(seed).normal(mean, scale, 8192), -6e4, 6e4).astype(kind).tobytes()
    dtype = {"<f2": "F16", "<f4": "F32", "<f8": "F64"}[kind]
    assert list(odd_weights(BytesSource("m", values), [Tensor("w", dtype, 0, len(values))])) == []


@given(st.binary(max_size=2000), st.sampled_from([ELF, PE, MACHO]), st.binary(max_size=2000))
def test_a_program_is_found_between_any_bytes(before: bytes, program: bytes, behind: bytes) -> None:
    data = before + program + behind
    facts = list(search_payloads(BytesSource("m", data), 0, len(data), Budget(ScanSettings())))
    begins = len(before) + max(0, program.find(b"PE\0\0"))
    assert begins in [fact.offset for fact in facts if fact.kind is FactKind.EXECUTABLE]


@given(st.binary(max_size=8192))
def test_any_bytes_are_searched_without_a_fault(data: bytes) -> None:
    facts = list(search_payloads(BytesSource("m", data), 0, len(data), Budget(ScanSettings())))
    assert all(0 <= fact.offset < len(data) for fact in facts)
