from __future__ import annotations

import math
from threading import Thread

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fastness.core.errors import Conflict, Invalid
from fastness.foundation.telemetry import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def test_counters_are_shown_by_label() -> None:
    metrics = Metrics()
    requests = metrics.counter("fastness_requests", "Requests.", ["outcome"])
    requests.labels("allowed").inc()
    requests.labels("allowed").inc(2)
    requests.labels("refused").inc()
    seen = samples(metrics)
    assert seen["fastness_requests_total", (("outcome", "allowed"),)] == 3
    assert seen["fastness_requests_total", (("outcome", "refused"),)] == 1


def test_a_histogram_is_cumulative_and_a_bound_belongs_to_its_bucket() -> None:
    metrics = Metrics()
    child = metrics.histogram("fastness_step", "Seconds.", ["step"], [0.1, 1.0]).labels("infer")
    for value in (0.05, 0.1, 0.5, 3.0):
        child.observe(value)
    seen = samples(metrics)
    got = [seen["fastness_step_bucket", (("le", le), ("step", "infer"))] for le in ("0.1", "1.0", "+Inf")]
    assert got == [2, 3, 4]
    assert seen["fastness_step_count", (("step", "infer"),)] == 4
    assert seen["fastness_step_sum", (("step", "infer"),)] == pytest.approx(3.65)


def test_hostile_label_values_do_not_break_the_text() -> None:
    metrics = Metrics()
    metrics.counter("c", "C.", ["l"]).labels('"}\n\\ x').inc()
    assert samples(metrics)["c_total", (("l", '"}\n\\ x'),)] == 1


def test_children_are_kept_and_safe_among_threads() -> None:
    counter = Metrics().counter("c", "C.")
    child = counter.labels()
    assert counter.labels() is child
    threads = [Thread(target=lambda: [child.inc() for _ in range(5000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert child.value == 20_000


def test_two_instances_share_nothing() -> None:
    first, second = Metrics(), Metrics()
    first.counter("c", "C.").labels().inc()
    second.counter("c", "C.")
    assert ("c_total", ()) not in samples(second)


def test_a_counter_only_grows() -> None:
    child = Metrics().counter("c", "C.").labels()
    for amount in (-1, math.nan):
        with pytest.raises(Invalid):
            child.inc(amount)
    assert child.value == 0


def test_wrong_declarations_are_refused() -> None:
    metrics = Metrics()
    metrics.counter("c", "C.")
    with pytest.raises(Conflict):
        metrics.histogram("c", "C.")
    for name, labels in (("a-b", []), ("", []), ("ok", ["x y"]), ("ok", ["le"])):
        with pytest.raises(Invalid):
            metrics.counter(name, "C.", labels)
    for buckets in ([], [2.0, 1.0], [1.0, 1.0], [1.0, math.inf], [math.nan]):
        with pytest.raises(Invalid):
            metrics.histogram("h", "H.", buckets=buckets)
    with pytest.raises(Invalid):
        metrics.counter("d", "D.", ["l"]).labels()


def test_constant_labels_stand_on_every_metric() -> None:
    metrics = Metrics({"worker": "gateway-1"})
    metrics.counter("asked", "How often.", ("by",)).labels("me").inc()
    metrics.histogram("took", "How long.", (), (1.0,)).labels().observe(0.5)
    lines = [line for line in metrics.render().decode().splitlines() if not line.startswith("#")]
    assert lines
    assert all('worker="gateway-1"' in line for line in lines)
