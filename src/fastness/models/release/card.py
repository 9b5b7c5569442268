"""The report card of a candidate: what it takes and gives, and what the sandbox saw of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from fastness.core.errors import Invalid
from fastness.core.findings import ALLOWED, Finding, Verdict, judge
from fastness.core.signature import ModelSignature, TensorSpec
from fastness.foundation.sandbox import SealedFile
from fastness.foundation.vault import Candidate
from fastness.models.assess import Measure, ReportCard, assess
from fastness.models.release.parts import ReleaseParts
from fastness.models.release.policy import ASSESS_FAILED, NOTHING_KNOWN
from fastness.models.release.statements import BehaviourRecord
from fastness.models.scan import Report

LOADERS = {"onnx": "onnx"}
"""Format to the loader that runs it; other formats are kept but not served."""
ESSENTIAL = frozenset({"loads", "signature", "answers", "isolation"})
"""Without these there is nothing to release; whatever else fails lowers a score."""


@dataclass(frozen=True, slots=True)
class PushRequest:
    """What the author declares about an artifact.

    Attributes:
        ranges: input name to its lowest and highest value.
        probabilities: output that holds class probabilities; empty takes the one called so, if there is one.
        min_confidence: replies less confident than this are refused; 0 is off.
        labels: names of the classes, in the order of the output.
    """

    model: str
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    probabilities: str = ""
    min_confidence: float = 0.0
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Card:
    """What the assessment came to.

    Attributes:
        signature: what the model takes and gives; None where nothing can run it.
        record: what was measured, for signing.
        verdict: DENY where the model does not do what a model has to do.
    """

    signature: ModelSignature | None
    record: BehaviourRecord
    verdict: Verdict

    def with_measures(self, more: Sequence[Measure]) -> Card:
        """This card with other measures before its own."""
        record = BehaviourRecord(self.record.loader, (*more, *self.record.measures))
        return Card(self.signature, record, self.verdict)


def assess_candidate(parts: ReleaseParts, candidate: Candidate, report: Report, request: PushRequest) -> Card:
    """Run a scanned candidate in the sandbox, if a loader can.

    Raises:
        Invalid: the request names an input or output that the model does not have.
        Unavailable: this host cannot run a sandbox.
        Corrupt: the stored bytes were changed since the scan.
    """
    loader = LOADERS.get(report.formats[0], "") if len(report.formats) == 1 else ""
    if not loader:
        said = f"no loader runs {', '.join(report.formats)}: not servable"
        return Card(None, BehaviourRecord("", (not_run("loads", "security", said),)), ALLOWED)
    with (
        parts.vault.open(candidate) as segments,
        SealedFile.filled(request.model, segments.size, segments.read_into) as model,
    ):
        try:
            declared = declare(_described(parts, model, loader), request)
        except Invalid as error:
            if error.code != "model-not-loadable":
                raise  # the declaration is wrong, not the model
            card = ReportCard((Measure("loads", "security", "failed", 0.0, detail=error.message),), NOTHING_KNOWN)
        else:
            card = assess(parts.host, model, loader, declared, parts.entropy, parts.settings.assess)
    failed = [m for m in card.measurements if m.state == "failed" and m.name in ESSENTIAL]
    findings = [
        Finding(ASSESS_FAILED.id, ASSESS_FAILED.severity, f"measure:{m.name}", f"{m.name} failed: {m.detail}")
        for m in failed
    ]
    return Card(card.signature, BehaviourRecord(loader, card.measurements), judge(findings))


def _described(parts: ReleaseParts, model: SealedFile, loader: str) -> ModelSignature:
    running = parts.host.start(model, loader, None)
    try:
        return running.described
    finally:
        running.close()


def declare(described: ModelSignature, request: PushRequest) -> ModelSignature:
    """The signature of the model as its loader describes it, with what its author declares.

    Raises:
        Invalid: the request names what the model does not have, or contradicts it.
    """
    inputs, outputs = {s.name: s for s in described.inputs}, {s.name: s for s in described.outputs}
    if unknown := sorted(set(request.ranges) - set(inputs)):
        raise Invalid("range-unknown", f"the model has no input {unknown[0][:80]!r}", f"It has {', '.join(inputs)}.")
    probabilities = request.probabilities or _default(outputs)
    if probabilities and probabilities not in outputs:
        raise Invalid(
            "probabilities-unknown", f"the model has no output {probabilities[:80]!r}", f"It has {', '.join(outputs)}."
        )
    if request.min_confidence and not probabilities:
        raise Invalid(
            "confidence-undefined", "a lowest confidence needs an output of probabilities", "Name it: --probabilities."
        )
    classes = outputs[probabilities].shape[-1] if probabilities else -1
    if request.labels and classes > 0 and len(request.labels) != classes:
        raise Invalid("labels-count", f"{len(request.labels)} labels for {classes} classes", "Give one label a class.")
    return ModelSignature(
        tuple(_ranged(spec, request.ranges) for spec in described.inputs),
        described.outputs,
        probabilities,
        request.min_confidence,
    )


def not_run(name: str, area: str, why: str) -> Measure:
    """A check that was not run, and so counts as failed."""
    return Measure(name, area, "not-run", 0.0, detail=why)


def _default(outputs: Mapping[str, TensorSpec]) -> str:
    found = outputs.get("probabilities")
    return found.name if found is not None and found.datatype.startswith("FP") and len(found.shape) == 2 else ""


def _ranged(spec: TensorSpec, ranges: Mapping[str, tuple[float, float]]) -> TensorSpec:
    if spec.name not in ranges:
        return spec
    low, high = ranges[spec.name]
    return msgspec.structs.replace(spec, low=low, high=high)
