"""A pickle of a known estimator, or of weights, into a format that holds no code; made in the sandbox, shown to agree.

The pickle is scanned first, and nothing but reviewed names is looked up. It is then loaded in a sandbox without files,
network or processes; what comes out is scanned like any other model, and its predictions are compared with those of the
original on the same rows.

What it misses: estimators whose converter skl2onnx lacks, inputs that are texts, and a model that behaves otherwise on
rows that were not tried. Cost: 3 to 6 s for onnx and skops, of which most goes into importing scikit-learn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec

import msgspec

from fastness.core.errors import Invalid, Unavailable
from fastness.core.findings import Severity
from fastness.core.sources import BytesSource, RandomAccess
from fastness.foundation.sandbox import EntryPoint, Limits, Sandbox, SealedFile
from fastness.models.scan import Outcome, Report, Scanner, reviewed_globals

_GUEST = "fastness.models.convert.guest"
_MODULES = ("fastness.models.convert.restore",)
_ARRAYS = ("numpy", "joblib")
_LEARN = (*_ARRAYS, "scipy", "sklearn", "threadpoolctl", "narwhals")
_OPTIONAL = ("xgboost", "lightgbm", "pandas", "dateutil", "pytz", "six", "packaging", "prettytable", "wcwidth")
_PACKAGES = {
    "onnx": (
        *_LEARN,
        "skl2onnx",
        "onnx",
        "onnxruntime",
        "google.protobuf",
        "google._upb",
        "ml_dtypes",
        "typing_extensions",
    ),
    "skops": (*_LEARN, "skops", "packaging", "prettytable", "rich"),
    "safetensors": (*_ARRAYS, "safetensors"),
}
_LIMITS = Limits(memory_bytes=4 << 30, pids=16, cpu_s=600, descriptors=512, frame_bytes=(1 << 31) - 1)
_TIMEOUT_S = 600.0
MOST_BYTES = 1 << 30


class Target(StrEnum):
    """What a model can be converted to."""

    ONNX = "onnx"
    SKOPS = "skops"
    SAFETENSORS = "safetensors"


class Comparison(msgspec.Struct, frozen=True):
    """One output before and after.

    Attributes:
        equal: rows that are equal; for real numbers, within 1e-4 of their size.
        largest_difference: relative to the larger of the value and 1.
    """

    output: str
    equal: int
    count: int
    largest_difference: float


class _Said(msgspec.Struct, frozen=True):
    problem: str = ""
    text: str = ""
    estimator: str = ""
    rows: int = 0
    generated: bool = False
    compared: tuple[Comparison, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Converted:
    """A converted model.

    Attributes:
        estimator: what the pickle held.
        rows: how many rows, or tensors, were compared.
        generated: whether the rows were made up here.
        left_out: what stood beside the tensors and is not in the result; outputs that were not compared.
        report: the scan of `data`.
    """

    data: bytes
    estimator: str
    rows: int
    generated: bool
    compared: tuple[Comparison, ...]
    left_out: tuple[str, ...]
    report: Report

    @property
    def agrees(self) -> bool:
        """Whether all compared rows are equal."""
        return bool(self.compared) and all(one.equal == one.count > 0 for one in self.compared)


def convert(
    source: RandomAccess, target: Target, sandbox: Sandbox, rows: Sequence[Sequence[float]] | None = None
) -> Converted:
    """The model in `source` in another format.

    Args:
        rows: inputs to compare predictions on, (rows, features); generated where None.

    Raises:
        Invalid: `convert-unsafe`, the scan found more than reviewed names; `convert-unknown`, `convert-failed`: it cannot
            be done, with the reason; `convert-size`.
        Unavailable: the sandbox does not hold, or a library is missing.
    """
    if source.size > MOST_BYTES:
        raise Invalid("convert-size", f"{source.name} has {source.size} bytes, and {MOST_BYTES} can be converted")
    data = source.read_at(0, source.size)  # once: what is scanned is what is converted
    with Scanner() as scanner:
        _check(scanner.scan(BytesSource(source.name, data)))
        made, said = _read(_answer(data, target, sandbox, rows))
        report = scanner.scan(BytesSource(f"{source.name}.{target}", made))
    return Converted(made, said.estimator, said.rows, said.generated, said.compared, said.left_out, report)


def _answer(data: bytes, target: Target, sandbox: Sandbox, rows: Sequence[Sequence[float]] | None) -> bytes:
    """What the guest says, to which the bytes are given."""
    with SealedFile.filled("model", len(data), lambda into: _fill(into, data)) as file:
        worker = sandbox.start(_entry(target), [file], _LIMITS)
        try:
            asked = {"target": str(target), "allowed": sorted(_named(data)), "rows": rows}
            return bytes(worker.call(msgspec.json.encode(asked), _TIMEOUT_S))
        except Unavailable as error:
            why = worker.exit_reason() or error.message
            raise Invalid(
                "convert-failed", f"the conversion ended: {why}", "Convert it where it was trained."
            ) from error
        finally:
            worker.close()


_WORD = re.compile(rb"[A-Za-z_][\w.]+")
_SEARCHED = 1 << 26


def _named(data: bytes) -> frozenset[tuple[str, str]]:
    """The reviewed names of which the bytes hold the module and the name; all where they are compressed or long.

    A letter that is part of an instruction, or a length, may stand right before a name.
    """
    names = reviewed_globals()
    if data[:1] != b"\x80" or len(data) > _SEARCHED:
        return names
    words = {word[at:] for word in _WORD.findall(data) for at in range(3)}
    return frozenset(name for name in names if all(part.encode() in words for part in name))


def _check(report: Report) -> None:
    worst = next((f for f in report.verdict.findings if f.severity >= Severity.MEDIUM), None)
    if worst is None and report.outcome is Outcome.PASS:
        return
    what = worst.message if worst is not None else "the scan did not pass"
    raise Invalid(
        "convert-unsafe", f"{report.name}: {what}", "Only what the scan passes is loaded, even in the sandbox."
    )


def _fill(into: memoryview, data: bytes) -> None:
    into[:] = data


def _entry(target: Target) -> EntryPoint:
    present = tuple(name for name in _OPTIONAL if target is not Target.SAFETENSORS and find_spec(name) is not None)
    packages = tuple(dict.fromkeys((*_PACKAGES[target], *present)))
    return EntryPoint(_GUEST, _MODULES, packages)


def _read(answer: bytes) -> tuple[bytes, _Said]:
    head, _, made = answer.partition(b"\0")
    try:
        said = msgspec.json.decode(head, type=_Said)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Invalid("convert-failed", "the conversion gave an answer that cannot be read") from error
    if said.problem or not made:
        raise Invalid(
            said.problem or "convert-failed",
            said.text or "nothing came out",
            "Export it where it was trained; `fastness convert --help` says what can be converted here.",
        )
    return made, said
