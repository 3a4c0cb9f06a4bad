"""Tidegauge's own metrics on the way that everybody's metrics take, so that panels and rules see them in ClickHouse.

Each process sends what its ``/metrics`` shows: counters and histograms as cumulative sums, gauges as gauges.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import pairwise
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
)
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

from tidegauge import __version__, instruments
from tidegauge.clock import epoch_ns
from tidegauge.model import Export, Signal, Transport

SERVICE = "tidegauge"
Labels = tuple[tuple[str, str], ...]


class Telemetry:
    """Sends the metrics of this process through ``transport``.

    Args:
        started: Since when the counters count.
        registry: What is sent.
    """

    def __init__(
        self, transport: Transport, started: datetime, registry: CollectorRegistry = instruments.REGISTRY
    ) -> None:
        self._transport, self._started, self._registry = transport, epoch_ns(started), registry
        self._instance = f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"

    def run(self, now: datetime) -> int:
        """Send one snapshot, as of ``now``; returns how many metrics. What is not stored is in the next one as well."""
        request = self._request(epoch_ns(now))
        metrics = len(request.resource_metrics[0].scope_metrics[0].metrics)
        self._transport.submit(Export(Signal.METRICS, request.SerializeToString(), metrics))
        instruments.OWN_RECORDS.labels("metrics").inc(metrics)
        return metrics

    def _request(self, now: int) -> ExportMetricsServiceRequest:
        request = ExportMetricsServiceRequest()
        resource = request.resource_metrics.add()
        named = {"service.name": SERVICE, "service.instance.id": self._instance, "service.version": __version__}
        resource.resource.attributes.extend(_attributes(named.items()))
        scope = resource.scope_metrics.add()
        scope.scope.name = "tidegauge.instruments"
        for family in self._registry.collect():
            if (metric := _metric(family, self._started, now)) is not None:
                scope.metrics.append(metric)
        return request


def _metric(family: Family, started: int, now: int) -> Metric | None:
    """An OTLP metric; None where nothing was observed yet or where the kind has no counterpart."""
    metric = Metric(description=family.documentation)
    if family.type == "counter":
        metric.name = f"{family.name}_total"
        metric.sum.aggregation_temporality, metric.sum.is_monotonic = AGGREGATION_TEMPORALITY_CUMULATIVE, True
        metric.sum.data_points.extend(_numbers(family.samples, metric.name, started, now))
        return metric if metric.sum.data_points else None
    metric.name = family.name
    if family.type == "gauge":
        metric.gauge.data_points.extend(_numbers(family.samples, metric.name, 0, now))
        return metric if metric.gauge.data_points else None
    if family.type == "histogram":
        metric.histogram.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
        metric.histogram.data_points.extend(_histograms(family, started, now))
        return metric if metric.histogram.data_points else None
    return None


def _numbers(samples: Iterable[Sample], name: str, started: int, now: int) -> Iterator[NumberDataPoint]:
    for sample in samples:
        if sample.name == name:
            yield NumberDataPoint(
                start_time_unix_nano=started,
                time_unix_nano=now,
                as_double=sample.value,
                attributes=_attributes(sample.labels.items()),
            )


def _histograms(family: Family, started: int, now: int) -> Iterator[HistogramDataPoint]:
    """Prometheus counts each bucket with all below it; OTLP counts each by itself."""
    for labels, samples in _by_labels(family.samples).items():
        buckets = [(float(each.labels["le"]), each.value) for each in samples if each.name.endswith("_bucket")]
        counts = [0.0, *(value for _, value in buckets)]
        if counts[-1]:
            yield HistogramDataPoint(
                start_time_unix_nano=started,
                time_unix_nano=now,
                count=int(counts[-1]),
                sum=next(each.value for each in samples if each.name.endswith("_sum")),
                explicit_bounds=[bound for bound, _ in buckets[:-1]],
                bucket_counts=[int(after - before) for before, after in pairwise(counts)],
                attributes=_attributes(labels),
            )


def _by_labels(samples: Iterable[Sample]) -> dict[Labels, list[Sample]]:
    found: dict[Labels, list[Sample]] = {}
    for sample in samples:
        labels = tuple((name, value) for name, value in sample.labels.items() if name != "le")
        found.setdefault(labels, []).append(sample)
    return found


def _attributes(pairs: Iterable[tuple[str, Any]]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=str(value))) for key, value in pairs]
