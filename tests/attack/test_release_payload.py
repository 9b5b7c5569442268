"""Attack: a payload hidden in a pickled model is pushed. It is refused with its place, and never runs.

Source of the form: "Pickle payloads in model hubs", MITRE ATLAS AML.T0010 and AML.T0011.000. Success rate: 0.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path

import joblib
import numpy as np
import pytest

from fastness.core.events import EventKind
from fastness.core.findings import Decision
from fastness.models import registry
from fastness.models.release.admission import Admission
from tests.unit.models.release.world import ALICE, World, copied, digits_onnx


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with copied(tmp_path / "home") as world:
        yield world


class Payload:
    """Pickles as a call; harmless: it would create a file."""

    def __init__(self, marker: Path) -> None:
        self.command = f"touch '{marker}'"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.system, (self.command,)


def pickled(marker: Path) -> bytes:
    return pickle.dumps({"weights": np.zeros(4), "cache": Payload(marker)})


def joblibbed(marker: Path) -> bytes:
    out = io.BytesIO()
    joblib.dump({"weights": np.zeros(4), "cache": Payload(marker)}, out)
    return out.getvalue()


def disguised(marker: Path) -> bytes:
    """A pickle that is called a model and carries one behind itself."""
    return pickled(marker) + digits_onnx()


CASES = {
    "pickle": (pickled, "model.pkl"),
    "joblib": (joblibbed, "model.joblib"),
    "called onnx": (pickled, "model.onnx"),
    "before an onnx model": (disguised, "model.onnx"),
}


def refused(world: World, data: bytes, name: str) -> Admission:
    blobs = sorted(world.blobs.ids(None))
    admission = world.push(data, name)
    assert admission.verdict.decision is Decision.DENY
    assert admission.version is None
    assert sorted(world.blobs.ids(None)) == blobs
    with world.records.read(ALICE) as reading:
        assert registry.models(reading) == {"digits": (1, 2)}
    (event,) = world.events(EventKind.MODEL_REFUSED)
    assert event.decision is Decision.DENY
    assert {f.rule for f in event.findings} == {f.rule for f in admission.verdict.findings}
    return admission


@pytest.mark.parametrize("case", CASES)
def test_the_payload_is_refused_and_never_runs(world: World, tmp_path: Path, case: str) -> None:
    make, name = CASES[case]
    marker = tmp_path / "the-payload-ran"
    admission = refused(world, make(marker), name)
    assert not marker.exists()
    assert all(admission.fixes[f.rule] for f in admission.verdict.findings)


@pytest.mark.parametrize(("make", "name"), [(pickled, "model.pkl"), (joblibbed, "model.joblib")])
def test_the_finding_names_the_call_and_the_offset_of_its_opcode(
    world: World, tmp_path: Path, make: object, name: str
) -> None:
    data = make(tmp_path / "the-payload-ran")  # type: ignore[operator]  # one of the two above
    admission = refused(world, data, name)
    worst = max(admission.verdict.findings, key=lambda f: f.severity)
    assert "system" in worst.message
    offset = worst.evidence["offset"]
    assert isinstance(offset, int)
    assert data[offset : offset + 1] in {b"R", b"\x93"}  # REDUCE, or STACK_GLOBAL
    assert str(offset) in worst.where
