"""Tidegauge's own metrics reach the tables that everybody's metrics reach."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from tidegauge.collectors.direct import DirectTransport
from tidegauge.config import Direct
from tidegauge.store import Store
from tidegauge.telemetry import Telemetry

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_counters_gauges_and_histograms_arrive_as_the_metrics_that_they_are(store: Store) -> None:
    registry = CollectorRegistry()
    Counter("refused", "Requests refused", ["reason"], registry=registry).labels("too large").inc(3)
    Gauge("waiting", "Bytes", registry=registry).set(17.5)
    seconds = Histogram("took", "Seconds", registry=registry, buckets=(0.1, 1.0))
    for value in (0.05, 0.5, 0.7, 30):
        seconds.observe(value)
    transport = DirectTransport(store, Direct(flush_after_s=0.01))
    telemetry = Telemetry(transport, START, registry)

    sent = telemetry.run(START + timedelta(minutes=1))
    transport.close(30)

    counter = store.rows("SELECT * FROM otel_metrics_sum")
    gauge = store.rows("SELECT * FROM otel_metrics_gauge")
    histogram = store.rows("SELECT * FROM otel_metrics_histogram")
    assert sent == 3
    assert [(row["ServiceName"], row["MetricName"], row["Attributes"], row["Value"]) for row in counter] == [
        ("tidegauge", "refused_total", {"reason": "too large"}, 3.0)
    ]
    assert counter[0]["IsMonotonic"]
    assert (counter[0]["StartTimeUnix"], counter[0]["TimeUnix"]) == (START, START + timedelta(minutes=1))
    assert [(row["MetricName"], row["Value"]) for row in gauge] == [("waiting", 17.5)]
    assert histogram[0]["BucketCounts"] == [1, 2, 1]
    assert histogram[0]["ExplicitBounds"] == [0.1, 1.0]
    assert (histogram[0]["Count"], histogram[0]["Sum"]) == (4, 31.25)


def test_what_was_never_observed_is_not_sent(store: Store) -> None:
    registry = CollectorRegistry()
    Counter("refused", "Requests refused", ["reason"], registry=registry)
    Histogram("took", "Seconds", registry=registry)
    transport = DirectTransport(store, Direct(flush_after_s=0.01))

    sent = Telemetry(transport, START, registry).run(START)
    transport.close(30)

    assert sent == 0


def test_two_processes_can_be_told_apart(store: Store) -> None:
    registry = CollectorRegistry()
    Gauge("waiting", "Bytes", registry=registry).set(1)
    transport = DirectTransport(store, Direct(flush_after_s=0.01))

    for _ in range(2):
        Telemetry(transport, START, registry).run(START)
    transport.close(30)

    named = "uniqExact(ResourceAttributes['service.instance.id'])"
    assert store.value(f"SELECT {named} FROM otel_metrics_gauge") == 2
