"""Counters and histograms with pre-bound children, rendered by prometheus-client from a registry of their own.

A child is a few numbers: 0.2 us an `inc`, 0.15 us an `observe`, a fraction of prometheus-client's own children, which is why
those are not used. Values of labels come from closed sets (routes, steps, outcomes), never from a request:
each value costs memory for good.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from fastness.core.errors import Conflict, Invalid

LATENCY_BUCKETS = (
    0.00001,
    0.00005,
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.5,
    1.0,
    5.0,
)
_PENDING = 512
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)


class CounterChild:
    """A number that only grows."""

    __slots__ = ("_lock", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self._lock = Lock()

    def inc(self, amount: float = 1.0) -> None:
        """Add `amount`.

        Raises:
            Invalid: it is negative or not a number.
        """
        if not amount >= 0:
            raise Invalid("counter-amount", "a counter only grows")
        with self._lock:
            self.value += amount


class HistogramChild:
    """How many observations fell into each bucket, and their sum. Observations are sorted in when there are many."""

    __slots__ = ("_bounds", "_counts", "_lock", "_pending", "_total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._total = 0.0
        self._pending: list[float] = []
        self._lock = Lock()

    def observe(self, value: float) -> None:
        """Count one observation."""
        self._pending.append(value)
        if len(self._pending) >= _PENDING:
            self._sort_in()

    def observe_all(self, values: Iterable[float]) -> None:
        """Count many observations."""
        self._pending.extend(values)
        self._sort_in()

    def _sort_in(self) -> None:
        with self._lock:
            # Others append at the end meanwhile: what is not counted now is counted the next time.
            values = self._pending[:]
            del self._pending[: len(values)]
            for value in values:
                self._counts[bisect_left(self._bounds, value)] += 1
            self._total += sum(values)

    def cumulated(self) -> tuple[list[tuple[str, float]], float]:
        """Upper bounds with the number of observations up to each, and the sum of all."""
        self._sort_in()
        with self._lock:
            counts, total = list(self._counts), self._total
        found: list[tuple[str, float]] = []
        so_far = 0
        for bound, count in zip((*self._bounds, math.inf), counts, strict=True):
            so_far += count
            found.append(("+Inf" if bound == math.inf else str(bound), so_far))
        return found, total


Child = TypeVar("Child", CounterChild, HistogramChild)


class _Family(Generic[Child]):
    """One metric: its children by the values of their labels."""

    def __init__(self, name: str, text: str, labels: Sequence[str]) -> None:
        self.name = name
        self.text = text
        self.label_names = tuple(labels)
        self.children: dict[tuple[str, ...], Child] = {}
        self._lock = Lock()

    def _child(self) -> Child:
        raise NotImplementedError

    def labels(self, *values: str) -> Child:
        """The child of these label values, to be kept by whoever uses it often.

        Raises:
            Invalid: not as many values as labels.
        """
        if len(values) != len(self.label_names):
            raise Invalid(
                "metric-labels", f"metric {self.name} has the labels {', '.join(self.label_names) or '(none)'}"
            )
        with self._lock:
            found = self.children.get(values)
            if found is None:
                found = self.children[values] = self._child()
            return found


class Counter(_Family[CounterChild]):
    """A counter with labels."""

    def _child(self) -> CounterChild:
        return CounterChild()

    def family(self) -> Metric:
        """The counter as prometheus-client wants it."""
        family = CounterMetricFamily(self.name, self.text, labels=self.label_names)
        for values, child in list(self.children.items()):
            family.add_metric(values, child.value)
        return family


class Histogram(_Family[HistogramChild]):
    """A histogram with labels."""

    def __init__(self, name: str, text: str, labels: Sequence[str], buckets: Sequence[float]) -> None:
        super().__init__(name, text, labels)
        self.buckets = tuple(buckets)

    def _child(self) -> HistogramChild:
        return HistogramChild(self.buckets)

    def family(self) -> Metric:
        """The histogram as prometheus-client wants it."""
        family = HistogramMetricFamily(self.name, self.text, labels=self.label_names)
        for values, child in list(self.children.items()):
            buckets, total = child.cumulated()
            family.add_metric(values, buckets, total)
        return family


class _Families(Collector):
    def __init__(self, families: dict[str, Counter | Histogram], constant: Mapping[str, str]) -> None:
        self._families = families
        self._constant = constant

    def collect(self) -> Iterator[Metric]:
        for family in list(self._families.values()):
            metric = family.family()
            metric.samples = [s._replace(labels={**s.labels, **self._constant}) for s in metric.samples]
            yield metric


class Metrics:
    """The metrics of one process; passed as an argument, never global.

    Args:
        constant: labels of every metric, such as which worker this is, where several are asked at one address.
    """

    def __init__(self, constant: Mapping[str, str] | None = None) -> None:
        self._families: dict[str, Counter | Histogram] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Families(self._families, constant or {}))

    def counter(self, name: str, text: str, labels: Sequence[str] = ()) -> Counter:
        """A new counter; shown as `name` and `_total`.

        Raises:
            Invalid: a name is not one.
            Conflict: the name is taken.
        """
        counter = Counter(name, text, labels)
        self._add(counter)
        return counter

    def histogram(
        self, name: str, text: str, labels: Sequence[str] = (), buckets: Sequence[float] = LATENCY_BUCKETS
    ) -> Histogram:
        """A new histogram.

        Args:
            buckets: upper bounds in the unit of the observations, rising and finite.

        Raises:
            Invalid: a name is not one, or the buckets do not rise.
            Conflict: the name is taken.
        """
        if not buckets or list(buckets) != sorted(set(buckets)) or not all(map(math.isfinite, buckets)):
            raise Invalid("metric-buckets", f"the buckets of {name} are finite and rise")
        histogram = Histogram(name, text, labels, buckets)
        self._add(histogram)
        return histogram

    def _add(self, family: Counter | Histogram) -> None:
        for name in (family.name, *family.label_names):
            if not _NAME.fullmatch(name) or name in {"le", "quantile"}:
                raise Invalid("metric-name", f"{name!r} is not a name for a metric or a label")
        if family.name in self._families:
            raise Conflict("metric-exists", f"there is a metric {family.name} already")
        self._families[family.name] = family

    def render(self) -> bytes:
        """All metrics as Prometheus text (version 0.0.4)."""
        return generate_latest(self._registry)
