"""Measurements: counters and histograms, shown in Prometheus text. Lossy and aggregated; never in the ledger."""

from fastness.foundation.telemetry.metrics import Counter, CounterChild, Histogram, HistogramChild, Metrics

__all__ = ["Counter", "CounterChild", "Histogram", "HistogramChild", "Metrics"]
