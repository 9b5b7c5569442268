"""Does a model do in the sandbox what it is said to do? Behaviour, latency and memory; the rest says that it was not run.

It is asked over its worker's own channel, one call after the other, so latencies are those of one caller on this
machine at this moment, the sandbox and the frames included. Random inputs find a model that fails often, not one that
fails on purpose at one input.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from fastness.core.clock import Entropy
from fastness.core.errors import Invalid, Unavailable
from fastness.core.signature import ModelSignature, TensorSpec
from fastness.foundation.sandbox import SealedFile
from fastness.models.assess.card import Measure, ReportCard
from fastness.models.assess.inputs import draw
from fastness.models.assess.settings import AssessSettings
from fastness.models.runtime import ModelHost, RunningModel, Tensors

_DEFAULTS = AssessSettings()
_MIB = 1 << 20
_BATCH = 100
_LEAST_CALLS = 10
_TOLERANCE = (1e-4, 1e-5)  # relative, absolute: float32 sums in another order
_SUM_TOLERANCE = 1e-3

_LATER = (
    ("robustness", "security", "adversarial inputs are not tried yet"),
    ("poisoning", "security", "backdoors are not searched for yet"),
    ("watermark", "security", "no watermark is looked for yet"),
    ("membership-privacy", "privacy", "membership inference is not tried yet"),
)


class Misbehaved(Exception):
    """The model did not do what it should; the text says how."""


def assess(
    host: ModelHost,
    model: SealedFile,
    loader: str,
    declared: ModelSignature,
    entropy: Entropy,
    settings: AssessSettings = _DEFAULTS,
) -> ReportCard:
    """The report card of `model`, held against what is `declared`.

    A model that does not load is a failed measure, not an error.

    Raises:
        Unavailable: no sandbox can be had.
    """
    try:
        running = host.start(model, loader, None)
    except Invalid as error:
        loads = Measure("loads", "security", "failed", 0.0, None, "", error.message)
        return ReportCard((loads, *_not_run("the model did not load")), declared)
    try:
        trial = _Trial(running, declared, np.random.default_rng(list(entropy(32))), settings)
        loads = Measure(
            "loads", "security", "passed", 1.0, round(running.started_ms, 1), "ms", "to loaded and locked in"
        )
        return ReportCard((loads, *trial.measures(), *_later()), declared)
    finally:
        running.close()


class _Trial:
    """One running model, and what is asked of it."""

    def __init__(
        self, running: RunningModel, declared: ModelSignature, random: np.random.Generator, settings: AssessSettings
    ) -> None:
        self._running = running
        self._declared = declared
        self._random = random
        self._settings = settings
        self._batches = all(spec.shape[:1] == (-1,) for spec in (*declared.inputs, *declared.outputs))

    def measures(self) -> Iterator[Measure]:
        """All that can be measured now."""
        for name, check in self._checks():
            yield _measured(name, "security", check)
        yield self._latency("latency-single", 1, self._settings.single_ms)
        if self._batches:
            yield self._latency("latency-batch", _BATCH, self._settings.batch_ms)
        yield self._memory()

    def _checks(self) -> Iterator[tuple[str, Callable[[], str]]]:
        yield "signature", self._same_signature
        yield "answers", self._answers
        yield "finite", self._finite
        if self._declared.probabilities:
            yield "probabilities", self._probabilities
        yield "deterministic", self._deterministic
        if self._batches:
            yield "batch-consistent", self._consistent
        yield "isolation", self._isolation

    def _same_signature(self) -> str:
        described = self._running.described
        pairs = (
            ("input", self._declared.inputs, described.inputs),
            ("output", self._declared.outputs, described.outputs),
        )
        for side, said, seen in pairs:
            told, found = _interface(said), _interface(seen)
            if told != found:
                names = sorted(name for name in told.keys() | found.keys() if told.get(name) != found.get(name))
                raise Misbehaved(f"{side} {names[0]}: declared {told.get(names[0])}, described {found.get(names[0])}")
        return "as declared"

    def _answers(self) -> str:
        """Outputs are what is declared, in number, type, shape (the runtime refuses others) and range."""
        for _, outputs in self._rounds():
            for spec in self._declared.outputs:
                _within(spec, outputs[spec.name])
        return f"{self._settings.rounds} batches of valid inputs answered"

    def _finite(self) -> str:
        for _, outputs in self._rounds():
            for spec in self._declared.outputs:
                array = outputs[spec.name]
                if array.dtype.kind == "f" and not spec.nullable and not np.isfinite(array).all():
                    raise Misbehaved(f"{spec.name} holds what is not a number")
        return "all outputs are numbers"

    def _probabilities(self) -> str:
        name = self._declared.probabilities
        worst = 0.0
        for _, outputs in self._rounds():
            array = outputs[name].astype(np.float64)
            if array.ndim != 2 or not np.isfinite(array).all() or array.min() < 0 or array.max() > 1 + _SUM_TOLERANCE:
                raise Misbehaved(f"{name}: not rows of numbers in [0, 1]")
            worst = max(worst, float(np.abs(array.sum(1) - 1).max()))
        if worst > _SUM_TOLERANCE:
            raise Misbehaved(f"{name}: a row sums to 1 only within {worst:.3g}")
        return f"rows sum to 1 within {worst:.1g}"

    def _deterministic(self) -> str:
        for inputs, outputs in self._rounds():
            again = self._call(inputs)
            for name, array in outputs.items():
                if not _same_bits(array, again[name]):
                    raise Misbehaved(f"{name}: the same input gave another output")
        return "the same input gives the same bits"

    def _consistent(self) -> str:
        inputs, outputs = next(self._rounds())
        for row in range(min(8, self._settings.rows)):
            alone = self._call({name: array[row : row + 1] for name, array in inputs.items()})
            for name, array in outputs.items():
                if not _close(alone[name], array[row : row + 1]):
                    raise Misbehaved(f"{name}: a row alone gives another output than in a batch")
        return "rows alone give what they give in a batch"

    def _isolation(self) -> str:
        return f"refused inside: {', '.join(self._running.check(self._settings.timeout_s))}"

    def _latency(self, name: str, rows: int, most_ms: float) -> Measure:
        try:
            inputs = draw(self._declared, rows, self._random)
            taken = _timed(lambda: self._call(inputs), self._settings.latency_s)
        except (Invalid, Unavailable) as error:
            return Measure(name, "performance", "failed", 0.0, None, "ms", error.message)
        p50, p99 = (float(np.percentile(taken, share, method="higher")) for share in (50, 99))
        detail = f"p50 {p50:.3g} ms, p99 {p99:.3g} ms over {len(taken)} calls of {rows} rows; at most {most_ms:g} ms"
        return _judged(name, round(p99, 4), "ms", most_ms, detail)

    def _memory(self) -> Measure:
        try:
            used = self._running.memory_bytes() / _MIB
        except Unavailable as error:
            return Measure("memory", "performance", "failed", 0.0, None, "MiB", error.message)
        most = self._settings.memory_mib
        return _judged("memory", round(used, 1), "MiB", most, f"{used:.0f} MiB after all calls; at most {most:g} MiB")

    def _rounds(self) -> Iterator[tuple[Tensors, Tensors]]:
        for _ in range(self._settings.rounds):
            inputs = draw(self._declared, self._settings.rows, self._random)
            yield inputs, self._call(inputs)

    def _call(self, inputs: Tensors) -> Tensors:
        return self._running.call(inputs, self._settings.timeout_s)


def _timed(call: Callable[[], object], budget_s: float) -> Sequence[float]:
    """Milliseconds of each call, after a few that do not count."""
    taken: list[float] = []
    for _ in range(3):
        call()
    end = time.perf_counter() + budget_s
    while len(taken) < _LEAST_CALLS or (len(taken) < 1000 and time.perf_counter() < end):
        began = time.perf_counter()
        call()
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def _measured(name: str, area: str, check: Callable[[], str]) -> Measure:
    try:
        detail = check()
    except Misbehaved as error:
        return Measure(name, area, "failed", 0.0, None, "", str(error))
    except (Invalid, Unavailable) as error:
        return Measure(name, area, "failed", 0.0, None, "", error.message)
    except KeyError as error:
        return Measure(name, area, "failed", 0.0, None, "", f"the model has no output {error}")
    return Measure(name, area, "passed", 1.0, None, "", detail)


def _judged(name: str, value: float, unit: str, most: float, detail: str) -> Measure:
    passed = value <= most
    return Measure(name, "performance", "passed" if passed else "failed", float(passed), value, unit, detail)


def _not_run(why: str) -> Iterator[Measure]:
    for name in ("signature", "answers", "finite", "deterministic", "batch-consistent", "isolation"):
        yield Measure(name, "security", "not-run", 0.0, None, "", why)
    for name in ("latency-single", "latency-batch", "memory"):
        yield Measure(name, "performance", "not-run", 0.0, None, "", why)
    yield from _later()


def _later() -> Iterator[Measure]:
    for name, area, why in _LATER:
        yield Measure(name, area, "not-run", 0.0, None, "", why)


def _interface(specs: tuple[TensorSpec, ...]) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {spec.name: (str(spec.datatype), spec.shape) for spec in specs}


def _within(spec: TensorSpec, array: np.ndarray) -> None:
    if array.dtype.kind not in "fiu" or not array.size:
        return
    low, high = float(np.nanmin(array)), float(np.nanmax(array))
    if (spec.low is not None and low < spec.low) or (spec.high is not None and high > spec.high):
        raise Misbehaved(f"{spec.name}: from {low:.4g} to {high:.4g}, declared {spec.low} to {spec.high}")


def _same_bits(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype == object:
        return bool(one.tolist() == other.tolist())
    return one.shape == other.shape and one.tobytes() == other.tobytes()


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    if one.dtype.kind != "f":
        return _same_bits(one, other)
    relative, absolute = _TOLERANCE
    return one.shape == other.shape and bool(np.allclose(one, other, relative, absolute, equal_nan=True))
