"""Whatever can be decoded is stored, in every table: no request makes a view throw once something is written."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from kafka_bench import Bench, drain, new_group
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from tidegauge.collectors.direct import DirectTransport
from tidegauge.collectors.kafka.batch import data_points
from tidegauge.collectors.otlp import MOST_REPEATED, count, repeated_bytes
from tidegauge.collectors.schema import insert_exports
from tidegauge.config import Direct
from tidegauge.errors import InvalidPayload
from tidegauge.model import Export, Signal
from tidegauge.store import Store

REQUESTS = 30  # of each signal, in batches of ten
EVENTS = (
    "tidegauge.prediction",
    "tidegauge.label",
    "tidegauge.feedback",
    "tidegauge.outcome",
    "gen_ai.evaluation.result",
)
KEYS = (
    *("service.name", "event.name", "error.type", "session.id", "db.system", "", "a", "a.b.c", "\x00", "ключ" * 40),
    *("gen_ai.operation.name", "gen_ai.request.model", "gen_ai.response.finish_reasons", "gen_ai.usage.input_tokens"),
    *("gen_ai.usage.output_tokens", "gen_ai.response.time_to_first_chunk", "tidegauge.cost.usd", "tidegauge.refused"),
    *(
        "openinference.span.kind",
        "llm.model_name",
        "tidegauge.guardrail.name",
        "tidegauge.slice.region",
        "tidegauge.slice.",
    ),
    *(
        "tidegauge.version.prompt",
        "tidegauge.tenant",
        "tidegauge.feature.age",
        "tidegauge.feature.",
        "tidegauge.category.c",
    ),
    *("tidegauge.prediction.id", "tidegauge.prediction.score", "tidegauge.label.value", "tidegauge.feedback.score"),
    *(
        "tidegauge.outcome.value",
        "gen_ai.evaluation.score.value",
        "tidegauge.model.name",
        "tidegauge.judge.inclusion_probability",
    ),
)
TEXTS = (
    *(
        "",
        "x",
        "nan",
        "inf",
        "-inf",
        "1e999",
        "-1",
        "9" * 60,
        "0x10",
        "true",
        "chat",
        "LLM",
        "\x00\x00",
        "'; DROP TABLE otel_traces",
    ),
    *(
        "[" * 5000,
        '{"a":' * 2000,
        '["stop"',
        '[{"role": 1}]',
        "[]",
        "null",
        "\\",
        "\u202e\ufffe\U0010ffff",
        "y" * 100_000,
        "%s{x:String}",
    ),
)
INTS = (0, 1, -1, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63))
DOUBLES = (0.0, -0.0, 1.5, float("nan"), float("inf"), float("-inf"), 5e-324, 1.7e308)
TIMES = (0, 1, 10**9, 946_684_799_999_999_999, 1_780_000_000_000_000_000, 2**63 - 1, 2**63, 2**64 - 1)


class Hostile:
    """Requests that are valid protobuf and nothing else."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def traces(self) -> bytes:
        request = ExportTraceServiceRequest()
        for resource in self._some(request.resource_spans.add, 3):
            self._attributes(resource.resource.attributes)
            for scope in self._some(resource.scope_spans.add, 3):
                scope.scope.name, scope.schema_url = self._pick(TEXTS), self._pick(TEXTS)
                for span in self._some(scope.spans.add, 5):
                    self._span(span)
        return request.SerializeToString()

    def logs(self) -> bytes:
        request = ExportLogsServiceRequest()
        for resource in self._some(request.resource_logs.add, 3):
            self._attributes(resource.resource.attributes)
            for scope in self._some(resource.scope_logs.add, 3):
                self._attributes(scope.scope.attributes)
                for record in self._some(scope.log_records.add, 8):
                    self._record(record)
        return request.SerializeToString()

    def metrics(self) -> bytes:
        request = ExportMetricsServiceRequest()
        for resource in self._some(request.resource_metrics.add, 2):
            self._attributes(resource.resource.attributes)
            for scope in self._some(resource.scope_metrics.add, 2):
                self._attributes(scope.scope.attributes)
                for metric in self._some(scope.metrics.add, 4):
                    self._metric(metric)
        return request.SerializeToString()

    def _span(self, span: Any) -> None:
        span.trace_id, span.span_id, span.parent_span_id = (self._id() for _ in range(3))
        span.name, span.trace_state = self._pick(TEXTS), self._pick(TEXTS)
        span.kind, span.status.code = (int(self._rng.integers(-5, 300)) for _ in range(2))
        span.start_time_unix_nano, span.end_time_unix_nano = self._pick(TIMES), self._pick(TIMES)
        self._attributes(span.attributes)
        for event in self._some(span.events.add, 3):
            event.name, event.time_unix_nano = (
                self._pick((*TEXTS, "gen_ai.choice", "db.query.result")),
                self._pick(TIMES),
            )
            self._attributes(event.attributes)
        for link in self._some(span.links.add, 3):
            link.trace_id, link.span_id, link.trace_state = self._id(), self._id(), self._pick(TEXTS)
            self._attributes(link.attributes)

    def _record(self, record: Any) -> None:
        record.time_unix_nano, record.observed_time_unix_nano = self._pick(TIMES), self._pick(TIMES)
        record.event_name = self._pick((*EVENTS, *EVENTS, *TEXTS))
        record.severity_number, record.flags = self._pick((0, 9, -1, 2**31 - 1)), self._pick((0, 1, 2**32 - 1))
        record.severity_text, record.trace_id, record.span_id = self._pick(TEXTS), self._id(), self._id()
        self._value(record.body)
        self._attributes(record.attributes, most=25)

    def _metric(self, metric: Any) -> None:
        metric.name, metric.unit, metric.description = (self._pick(TEXTS) for _ in range(3))
        kind = self._pick(("gauge", "sum", "histogram", "exponential_histogram", "summary", ""))
        if not kind:
            return
        data = getattr(metric, kind)
        data.SetInParent()
        for point in self._some(data.data_points.add, 3):
            point.time_unix_nano, point.start_time_unix_nano = self._pick(TIMES), self._pick(TIMES)
            self._attributes(point.attributes)
            self._numbers(kind, point)
            for exemplar in self._some(point.exemplars.add, 2) if kind != "summary" else ():
                exemplar.time_unix_nano, exemplar.trace_id, exemplar.as_double = (
                    self._pick(TIMES),
                    self._id(),
                    self._pick(DOUBLES),
                )
                self._attributes(exemplar.filtered_attributes)

    def _numbers(self, kind: str, point: Any) -> None:
        if kind in ("gauge", "sum"):
            setattr(point, *self._pick((("as_int", self._pick(INTS)), ("as_double", self._pick(DOUBLES)))))
            return
        point.count, point.sum = self._pick((0, 2**64 - 1)), self._pick(DOUBLES)
        if kind == "histogram":  # as many buckets and bounds as it likes
            point.bucket_counts.extend([self._pick((0, 2**64 - 1)) for _ in range(self._rng.integers(4))])
            point.explicit_bounds.extend([self._pick(DOUBLES) for _ in range(self._rng.integers(4))])
        elif kind == "exponential_histogram":
            point.scale, point.positive.offset = self._pick((-(2**31), 2**31 - 1)), self._pick((-(2**31), 0))
            point.negative.bucket_counts.extend([2**64 - 1] * int(self._rng.integers(3)))
        else:
            self._some(lambda: point.quantile_values.add(quantile=self._pick(DOUBLES), value=self._pick(DOUBLES)), 3)

    def _attributes(self, into: Any, most: int = 8) -> None:
        for pair in self._some(into.add, most):  # the same key twice, too
            pair.key = self._pick(KEYS)
            self._value(pair.value)

    def _value(self, value: AnyValue, depth: int = 0) -> None:
        kind = self._rng.integers(9 if depth < 6 else 6)
        if kind <= 2:
            value.string_value = self._pick(TEXTS)
        elif kind == 3:
            value.int_value = self._pick(INTS)
        elif kind == 4:
            value.double_value = self._pick(DOUBLES)
        elif kind == 5:
            value.bytes_value = self._rng.bytes(int(self._rng.integers(40)))
        elif kind == 6:
            value.array_value.SetInParent()
            self._some(lambda: self._value(value.array_value.values.add(), depth + 1), 3)
        elif kind == 7:
            value.kvlist_value.SetInParent()
            for pair in self._some(value.kvlist_value.values.add, 3):
                pair.key = self._pick(KEYS)
                self._value(pair.value, depth + 1)

    def _some(self, make: Callable[[], Any], most: int) -> list[Any]:
        return [make() for _ in range(self._rng.integers(most + 1))]

    def _pick(self, values: Any) -> Any:
        return values[int(self._rng.integers(len(values)))]

    def _id(self) -> bytes:
        return self._rng.bytes(int(self._pick((0, 1, 8, 16, 1000))))


@pytest.mark.parametrize("signal", [Signal.TRACES, Signal.LOGS, Signal.METRICS])
def test_no_request_that_can_be_decoded_is_refused_and_every_record_of_it_is_a_row(
    store: Store, rng: np.random.Generator, signal: Signal
) -> None:
    make = getattr(Hostile(rng), signal.name.lower())
    payloads = [make() for _ in range(REQUESTS)]

    for at in range(0, REQUESTS, 10):
        insert_exports(store, signal, payloads[at : at + 10], uuid.uuid4().hex)

    sizes = {Signal.METRICS: data_points}.get(signal, lambda payload: count(signal, payload))
    assert sum(map(sizes, payloads)) == _rows(store, signal)
    if signal is not Signal.METRICS:  # behind every row stand its views
        assert store.value("SELECT sum(records) FROM ingest_1m") == _rows(store, signal)
        assert store.value("SELECT sum(records) FROM ingest_delay_1m") == _rows(store, signal)
    _merge_everything(store)
    for name in ("llm_calls_1m", "predictions_1h", "ingest_delay_1m"):
        store.value(f"SELECT count() FROM {name} FINAL")


def test_a_request_that_a_view_of_one_kind_of_metric_refuses_is_stored_once_in_the_tables_before_it(
    store: Store,
) -> None:
    """The views of gauges may have written when that of sums finds a value that only Python can flatten."""
    request = ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    metrics.add(name="level").gauge.data_points.add(as_double=1, time_unix_nano=TIMES[4])
    point = metrics.add(name="total").sum.data_points.add(as_int=1, time_unix_nano=TIMES[4])
    point.attributes.add(key="k").value.kvlist_value.values.add(key="deep").value.string_value = "x"

    insert_exports(store, Signal.METRICS, [request.SerializeToString()], uuid.uuid4().hex)

    assert _rows(store, Signal.METRICS) == 2
    assert store.rows("SELECT Value, Attributes FROM otel_metrics_sum") == [
        {"Value": 1.0, "Attributes": {"k": '{"deep":"x"}'}}
    ]
    assert store.value("SELECT sum(rows) FROM ingest_rows") == 2


def test_a_resource_that_would_be_repeated_beyond_memory_is_put_aside_by_the_sink_and_the_rest_stored(
    store: Store, bench: Bench
) -> None:
    """In a table each record has its own copy of the resource: 600 kB of it, a thousand times, are half a gigabyte."""
    settings, heavy = bench.settings(new_group()), _repeating(records=1000, resource_bytes=600_000)
    bench.start_at_end(settings)
    fine = _repeating(records=3, resource_bytes=600_000)
    end = bench.send(fine, heavy, fine)

    drain(bench.sink(settings), lambda: bench.committed(settings) == end)

    assert store.value("SELECT count() FROM otel_logs") == 6
    [letter] = bench.dead_letters(settings)
    assert letter.value == heavy
    assert b"repeated for each of its records" in dict(letter.headers)["reason"]


def test_without_kafka_a_client_is_told_that_its_resource_would_be_repeated_beyond_memory(store: Store) -> None:
    transport = DirectTransport(store, Direct(flush_after_s=0.01))
    heavy = Export(Signal.LOGS, _repeating(1000, 600_000), 1000, b"d" * 16)
    error = transport.submit(heavy).exception(60)
    transport.close(10)
    assert isinstance(error, InvalidPayload)
    assert "send fewer records in one request" in str(error)


def test_what_is_repeated_is_counted_only_where_it_can_be_much() -> None:
    ordinary, heavy = _repeating(100, 2_000), _repeating(200, 2**21)
    assert repeated_bytes(Signal.LOGS, ordinary, 100) == 0
    assert 200 * 2**21 < repeated_bytes(Signal.LOGS, heavy, 200) < MOST_REPEATED
    with pytest.raises(InvalidPayload, match="send fewer records in one request"):
        repeated_bytes(Signal.LOGS, _repeating(257, 2**21), 257)


def test_points_of_a_metric_are_counted_and_their_own_attributes_are_not() -> None:
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.add(key="big").value.string_value = "x" * 10_000
    metric = resource.scope_metrics.add().metrics.add(name="level")
    for at in range(2_000):
        metric.gauge.data_points.add(time_unix_nano=at).attributes.add(key="n").value.string_value = "y" * 1_000
    found = repeated_bytes(Signal.METRICS, request.SerializeToString(), 1)
    assert 2_000 * 10_000 < found < 2_000 * 10_100


def _repeating(records: int, resource_bytes: int) -> bytes:
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.add(key="big").value.string_value = "x" * resource_bytes
    made = resource.scope_logs.add().log_records
    for at in range(records):
        made.add(time_unix_nano=TIMES[4] + at)
    return request.SerializeToString()


def _rows(store: Store, signal: Signal) -> int:
    kinds = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
    tables = {Signal.TRACES: ["otel_traces"], Signal.LOGS: ["otel_logs"]}.get(
        signal, [f"otel_metrics_{each}" for each in kinds]
    )
    return sum(int(store.value(f"SELECT count() FROM {table}")) for table in tables)


def _merge_everything(store: Store) -> None:
    """Merges read what the views have written: a state that cannot be merged would stay for ever."""
    sql = "SELECT DISTINCT table FROM system.parts WHERE active AND database = currentDatabase()"
    for row in store.rows(sql):
        store.execute(f"OPTIMIZE TABLE {row['table']} FINAL")
