"""A push is registered with everything that speaks for it, or refused with everything that speaks against it."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest

from fastness.core.errors import Invalid, NotFound, Unavailable
from fastness.core.events import EventKind
from fastness.core.findings import Decision
from fastness.core.signature import Datatype, ModelSignature, TensorSpec
from fastness.core.sources import BytesSource
from fastness.models import registry, release
from fastness.models.release import PushRequest
from fastness.models.release.admission import _file_name
from fastness.models.release.card import declare
from tests.unit.models.release.world import ALICE, DIGITS, World, digits_onnx, safetensors

STEPS = ["intake", "scan", "dependencies", "assess", "commit", "attest", "register"]


def test_a_clean_model_is_registered_with_its_evidence(world: World) -> None:
    admission = world.push(digits_onnx())
    assert admission.verdict.decision is Decision.ALLOW
    assert admission.version is not None
    manifest = admission.version.manifest
    assert (manifest.model, manifest.number, manifest.author) == ("digits", 3, "user:alice")
    assert (manifest.loader, manifest.formats) == ("onnx", ("onnx",))
    assert manifest.signature is not None
    assert (manifest.signature.inputs[0].low, manifest.signature.inputs[0].high) == (0.0, 16.0)
    assert manifest.signature.probabilities == "probabilities"
    kinds = [s.predicate_type for s in admission.version.statements(world.parts.attesting)]
    assert kinds == [f"urn:fastness:predicate:{name}:v1" for name in ("manifest", "scan", "behaviour")]


def test_each_step_leaves_its_event(world: World) -> None:
    world.push(digits_onnx())
    for kind in (
        EventKind.BLOB_COMMITTED,
        EventKind.MODEL_PUSHED,
        EventKind.MODEL_SCANNED,
        EventKind.MODEL_ASSESSED,
        EventKind.MODEL_REGISTERED,
    ):
        assert len(world.events(kind)) == 3
    assert world.events(EventKind.MODEL_PUSHED)[-1].details["file"] == "model.onnx"


def test_progress_is_told_before_and_after_each_step(world: World) -> None:
    told: list[tuple[str, str]] = []
    world.push(digits_onnx(), progress=lambda step, state: told.append((step, state)))
    assert [step for step, _ in told] == [step for step in STEPS for _ in range(2)]
    assert all(state == "begun" for _, state in told[::2])
    assert all(state.startswith("done: ") for _, state in told[1::2])


def test_what_is_stored_is_what_was_pushed(world: World) -> None:
    data = digits_onnx()
    world.push(data)
    with world.records.read(ALICE) as reading:
        file = registry.version(reading, "digits", 3).manifest.files[0]
        with world.vault.open(world.vault.ticket(reading, file.blob)) as segments:
            assert segments.read_at(0, file.size) == data


def test_the_same_file_is_stored_once_and_registered_twice(world: World) -> None:
    before = len(list(world.blobs.ids(None)))
    world.push(digits_onnx())
    assert len(list(world.blobs.ids(None))) == before
    assert world.view(3).digest != world.view(1).digest


def test_a_pickle_is_refused_with_what_to_do(world: World) -> None:
    told: list[str] = []
    admission = world.push(
        pickle.dumps(np.load), "model.pkl", progress=lambda step, state: told.append(f"{step} {state}")
    )
    assert admission.verdict.decision is not Decision.ALLOW
    assert admission.reason in {"scan-block", "scan-review", "scan-incomplete"}
    assert admission.version is None
    assert told[-1].startswith("scan failed: ")
    for finding in admission.verdict.findings:
        assert admission.fixes[finding.rule]


def test_what_needs_a_review_is_refused_until_somebody_waives_it(world: World) -> None:
    """A pickle that calls what is not known to be dangerous, nor to be harmless."""
    admission = world.push(pickle.dumps(DIGITS), "model.pkl")
    assert (admission.verdict.decision, admission.reason) == (Decision.REVIEW, "scan-review")
    assert admission.version is None
    (event,) = world.events(EventKind.MODEL_REFUSED)
    assert event.decision is Decision.REVIEW


def test_a_refusal_is_recorded_and_nothing_is_kept(world: World) -> None:
    blobs = sorted(world.blobs.ids(None))
    admission = world.push(b"no model at all", "model.onnx")
    assert admission.verdict.decision is Decision.DENY
    (event,) = world.events(EventKind.MODEL_REFUSED)
    assert (event.resource, event.decision, event.reason) == ("model:digits", Decision.DENY, admission.reason)
    assert event.findings
    assert sorted(world.blobs.ids(None)) == blobs
    with world.records.read(ALICE) as reading:
        assert registry.models(reading) == {"digits": (1, 2)}


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (PushRequest("digits", {"pixels": (0, 16)}), "range-unknown"),
        (PushRequest("digits", {}, "scores"), "probabilities-unknown"),
        (PushRequest("digits", {"X": (16, 0)}), "signature-range"),
        (PushRequest("digits", {"X": (float("-inf"), 16)}), "signature-range"),
        (PushRequest("digits", {"X": (float("nan"), 16)}), "signature-range"),
        (PushRequest("digits", min_confidence=2.0), "signature-confidence"),
        (PushRequest("digits", min_confidence=float("nan")), "signature-confidence"),
        (PushRequest("digits", labels=("one", "two")), "labels-count"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_declaration_that_does_not_fit_is_an_error(world: World, request_: PushRequest, code: str) -> None:
    blobs = sorted(world.blobs.ids(None))
    with pytest.raises(Invalid, match=code):
        world.push(digits_onnx(), request=request_)
    assert world.events(EventKind.MODEL_REFUSED)[-1].reason == code
    assert sorted(world.blobs.ids(None)) == blobs


def test_a_bad_name_is_an_error_before_a_byte_is_read(world: World) -> None:
    with pytest.raises(Invalid, match="name-malformed"):
        world.push(digits_onnx(), request=PushRequest("../digits"))


def test_weights_are_kept_but_nothing_runs_them(world: World) -> None:
    admission = world.push(safetensors(), "model.safetensors", PushRequest("weights"))
    assert admission.version is not None
    assert (admission.version.manifest.loader, admission.version.manifest.signature) == ("", None)
    assert [(m.name, m.state) for m in admission.measures] == [("dependencies", "not-run"), ("loads", "not-run")]
    view = world.view(1, "weights")
    assert view.format == "safetensors"
    assert view.signature == {}


def test_labels_are_kept(world: World) -> None:
    labels = tuple("0123456789")
    admission = world.push(digits_onnx(), request=PushRequest("digits", {"X": (0, 16)}, labels=labels))
    assert admission.version is not None
    assert admission.version.manifest.labels == labels


def test_probabilities_are_found_by_their_name() -> None:
    described = ModelSignature(
        (TensorSpec("X", Datatype.FP32, (-1, 4)),), (TensorSpec("probabilities", Datatype.FP32, (-1, 3)),)
    )
    assert declare(described, PushRequest("m", min_confidence=0.5)).probabilities == "probabilities"
    integers = ModelSignature(described.inputs, (TensorSpec("probabilities", Datatype.INT64, (-1,)),))
    with pytest.raises(Invalid, match="confidence-undefined"):
        declare(integers, PushRequest("m", min_confidence=0.5))


def test_two_models_do_not_meet(world: World) -> None:
    world.push(digits_onnx(), request=PushRequest("other", DIGITS.ranges))
    assert world.view(1, "other").version == 1
    with pytest.raises(NotFound, match="version-unknown"):
        world.view(2, "other")


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("model.onnx", "model.onnx"),
        ("../../etc/model.onnx", "model.onnx"),
        ("C:\\models\\model.onnx", "model.onnx"),
        ("a\x1b[31m\n\udcff.onnx", "a_[31m__.onnx"),
        ("..", "model"),
        ("", "model"),
    ],
)
def test_a_file_name_is_kept_without_its_dangers(world: World, name: str, kept: str) -> None:
    assert _file_name(name) == kept


def test_a_model_that_does_not_load_is_refused_as_a_value(world: World) -> None:
    """Structure and operators are sound, so the scan passes it; its types do not fit, so nothing can run it."""
    a = onnx.helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, [None, 4])
    b = onnx.helper.make_tensor_value_info("Z", onnx.TensorProto.INT64, [None, 4])
    out = onnx.helper.make_tensor_value_info("Y", onnx.TensorProto.FLOAT, [None, 4])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["X", "Z"], ["Y"])], "g", [a, b], [out])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    blobs = sorted(world.blobs.ids(None))
    admission = world.push(model.SerializeToString(), request=PushRequest("broken"))
    assert (admission.verdict.decision, admission.reason) == (Decision.DENY, "assess-failed")
    assert [(f.rule, f.where) for f in admission.verdict.findings] == [("assess-failed", "measure:loads")]
    assert [(m.name, m.state) for m in admission.measures] == [("dependencies", "not-run"), ("loads", "failed")]
    assert admission.fixes["assess-failed"]
    assert sorted(world.blobs.ids(None)) == blobs
    assert world.events(EventKind.MODEL_REFUSED)[-1].reason == "assess-failed"


def test_pushes_at_the_same_time_get_numbers_of_their_own(world: World) -> None:
    def push(number: int) -> int:
        source = BytesSource("model.safetensors", safetensors(number))
        admission = release.admit(world.parts, ALICE, source, PushRequest("weights"))
        assert admission.version is not None
        return admission.version.manifest.number

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(push, range(16))) == list(range(1, 17))


class _Broken:
    """An upload whose sender goes away."""

    name = "model.onnx"

    def chunks(self) -> Iterator[bytes]:
        yield digits_onnx()[:1000]
        raise Unavailable("upload-broken", "the sender went away")


def test_an_upload_that_breaks_leaves_its_event_and_no_blob(world: World) -> None:
    before = set(world.blobs.ids())
    with pytest.raises(Unavailable):
        release.admit(world.parts, ALICE, _Broken(), PushRequest("digits"))
    (refused,) = world.events(EventKind.MODEL_REFUSED)[-1:]
    assert (refused.reason, refused.details["file"]) == ("upload-broken", "model.onnx")
    assert set(world.blobs.ids()) == before
