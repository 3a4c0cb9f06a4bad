"""The same requests through whatever stands in the way, and what is stored of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import httpx
from google.protobuf.message import Message
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from otlp_payloads import NOW_NS, attributes, logs, metrics, prediction, record, span, traces, value

from tidegauge.model import Signal
from tidegauge.store import Store

# In the order of their names, by which the ClickHouse exporter sorts what it writes as JSON.
NESTED = {"bytes": b"\x00\xff", "deep": {"a": [1, {"b": "c"}]}, "empty": None, "list": ["x", 2, True, 0.5]}
TABLES = ("otel_traces", "otel_logs", "otel_metrics_gauge", "otel_metrics_sum", "otel_metrics_histogram")
PATHS = {Signal.TRACES: "traces", Signal.LOGS: "logs", Signal.METRICS: "metrics"}
ROWS = 300 + 302 + 300 + 3  # spans, log records, predictions among them once more, data points


def requests() -> dict[Signal, Message]:
    """One request a signal, with all that our tables have columns for."""
    rich = {"text": "ß ✓", "int": 2**62, "float": 0.1, "bool": False, **NESTED}
    spans = [
        span(
            number,
            parent_span_id=b"\x01" * 8,
            trace_state="a=b",
            kind=Span.SPAN_KIND_SERVER,
            attributes=attributes(rich),
            events=[Span.Event(time_unix_nano=NOW_NS + 5, name="paid", attributes=attributes({"amount": 3}))],
            links=[Span.Link(trace_id=b"\xaa" * 16, span_id=b"\xbb" * 8, trace_state="c=d")],
            status=Status(code=Status.STATUS_CODE_ERROR, message="declined"),
        )
        for number in range(1, 301)
    ]
    records = [record(7, attributes=attributes(rich), trace_id=b"\x03" * 16, flags=1, body=value(NESTED)), record(8)]
    events = [prediction(str(number), "churn") for number in range(300)]
    for each in events:
        each.body.SetInParent()  # the Collector writes an empty one where there is none
    point: dict[str, Any] = {"time_unix_nano": NOW_NS, "attributes": attributes({"route": "/cart"})}
    found = [
        pb.Metric(name="gauge", unit="1", gauge=pb.Gauge(data_points=[pb.NumberDataPoint(as_double=0.5, **point)])),
        pb.Metric(
            name="sum",
            sum=pb.Sum(
                data_points=[pb.NumberDataPoint(as_int=-3, **point)],
                aggregation_temporality=pb.AGGREGATION_TEMPORALITY_CUMULATIVE,
            ),
        ),
        pb.Metric(
            name="histogram",
            histogram=pb.Histogram(
                data_points=[
                    pb.HistogramDataPoint(count=3, sum=6.5, bucket_counts=[1, 2], explicit_bounds=[2], **point)
                ],
                aggregation_temporality=pb.AGGREGATION_TEMPORALITY_DELTA,
            ),
        ),
    ]
    return {Signal.TRACES: traces(*spans), Signal.LOGS: logs(*records, *events), Signal.METRICS: metrics(*found)}


def post_all(url: str) -> None:
    """One request a signal over OTLP/HTTP."""
    headers = {"content-type": "application/x-protobuf"}
    for signal, request in requests().items():
        body = request.SerializeToString()
        httpx.post(f"{url}/v1/{PATHS[signal]}", content=body, headers=headers, trust_env=False).raise_for_status()


def stored(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Every row of the official tables, and of ours behind them, but for when it was stored."""
    without = "* EXCEPT (StoredAt) REPLACE (toString(Timestamp) AS Timestamp)"
    found = {}
    for table in TABLES:
        columns = without if table in ("otel_traces", "otel_logs") else "* EXCEPT (StoredAt)"
        found[table] = sorted(store.rows(f"SELECT {columns} FROM {table}"), key=repr)
    found["predictions"] = store.rows("SELECT * EXCEPT (stored_at) FROM predictions ORDER BY prediction_id")
    return found


def stored_all(store: Store) -> bool:
    """Whether all that :func:`post_all` sent is there."""
    return sum(map(len, stored(store).values())) >= ROWS


def until(done: Callable[[], bool], what: str, limit_s: float = 30) -> None:
    """Return once ``done``; what other processes do has no other signal."""
    deadline = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
