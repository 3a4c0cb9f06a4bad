"""What a client may rely on, whichever transport stands behind the receiver: direct, and Kafka with the sink."""

from __future__ import annotations

import base64
import gzip
import json
import math
import threading
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
import zstandard
from google.protobuf import json_format
from google.protobuf.message import Message
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from otlp_payloads import (
    NOW_NS,
    REQUESTS,
    attributes,
    logs,
    metrics,
    prediction,
    predictions,
    record,
    span,
    traces,
    value,
)

from tidegauge.collectors import direct as direct_module
from tidegauge.collectors.kafka import inserter as inserter_module
from tidegauge.collectors.schema import insert_exports
from tidegauge.errors import StoreError
from tidegauge.protobuf import varint

if TYPE_CHECKING:
    from conftest import Pipeline

PROTOBUF, JSON = "application/x-protobuf", "application/json"
NOW = datetime(2026, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)

FULL_SPAN = span(
    7,
    parent_span_id=b"\x01\x02\x03\x04\x05\x06\x07\xff",
    trace_state="a=b",
    kind=Span.SPAN_KIND_SERVER,
    attributes=attributes({"http.route": "/cart"}),
    events=[Span.Event(time_unix_nano=NOW_NS + 5, name="paid", attributes=attributes({"amount": 3}))],
    links=[Span.Link(trace_id=b"\xaa" * 16, span_id=b"\xbb" * 8, trace_state="c=d", attributes=attributes({"l": 1}))],
    status=Status(code=Status.STATUS_CODE_ERROR, message="declined"),
)


def to_json(request: Message) -> bytes:
    """OTLP/JSON: the protobuf mapping, but identifiers in hexadecimal."""

    def hexadecimal(node: Any) -> Any:
        if isinstance(node, list):
            return [hexadecimal(item) for item in node]
        if not isinstance(node, dict):
            return node
        return {
            key: base64.b64decode(each).hex() if key in ("traceId", "spanId", "parentSpanId") else hexadecimal(each)
            for key, each in node.items()
        }

    return json.dumps(hexadecimal(json_format.MessageToDict(request))).encode()


def every_metric() -> list[pb.Metric]:
    times = {"start_time_unix_nano": NOW_NS - 60_000_000_000, "time_unix_nano": NOW_NS}
    point: dict[str, Any] = times | {"attributes": attributes({"route": "/cart"}), "flags": 1}
    seen = pb.Exemplar(
        time_unix_nano=NOW_NS,
        as_double=9.5,
        span_id=b"\x01" * 8,
        trace_id=b"\x02" * 16,
        filtered_attributes=attributes({"nested": {"a": [1, {"b": 2}]}}),
    )
    delta, cumulative = pb.AGGREGATION_TEMPORALITY_DELTA, pb.AGGREGATION_TEMPORALITY_CUMULATIVE
    number = pb.NumberDataPoint(as_int=-3, exemplars=[seen], **point)
    histogram = pb.HistogramDataPoint(
        count=3, sum=6.5, bucket_counts=[1, 2], explicit_bounds=[2.5], exemplars=[seen], min=0.5, max=4, **point
    )
    exponential = pb.ExponentialHistogramDataPoint(
        count=4,
        sum=1.5,
        scale=-2,
        zero_count=1,
        positive=pb.ExponentialHistogramDataPoint.Buckets(offset=-3, bucket_counts=[1, 2]),
        negative=pb.ExponentialHistogramDataPoint.Buckets(offset=5, bucket_counts=[300]),
        min=-1,
        max=2,
        **point,
    )
    quantiles = [pb.SummaryDataPoint.ValueAtQuantile(quantile=q, value=q * 10) for q in (0.5, 0.99)]
    return [
        pb.Metric(name="gauge", description="of gauge", unit="1", gauge=pb.Gauge(data_points=[number, number])),
        pb.Metric(name="sum", sum=pb.Sum(data_points=[number], aggregation_temporality=cumulative, is_monotonic=True)),
        pb.Metric(name="histogram", histogram=pb.Histogram(data_points=[histogram], aggregation_temporality=delta)),
        pb.Metric(
            name="exponential",
            exponential_histogram=pb.ExponentialHistogram(data_points=[exponential], aggregation_temporality=delta),
        ),
        pb.Metric(
            name="summary",
            summary=pb.Summary(data_points=[pb.SummaryDataPoint(count=2, sum=3, quantile_values=quantiles, **point)]),
        ),
    ]


# What arrives


@pytest.mark.parametrize("kind", [PROTOBUF, JSON, "application/json; charset=utf-8", "grpc"])
def test_a_span_arrives_whole_by_every_protocol(pipeline: Pipeline, kind: str) -> None:
    request = traces(FULL_SPAN)
    if kind == "grpc":
        pipeline.call("traces", request.SerializeToString())
    else:
        answer = pipeline.post("traces", request.SerializeToString() if kind == PROTOBUF else to_json(request), kind)
        assert (answer.status_code, answer.content) == (200, b"" if kind == PROTOBUF else b"{}")
        assert answer.headers["content-type"].partition(";")[0] == kind.partition(";")[0]
    pipeline.flush()

    [row] = pipeline.store.rows("SELECT *, toUnixTimestamp64Nano(Timestamp) AS ns FROM otel_traces")
    assert row["ns"] == NOW_NS
    assert (row["TraceId"], row["SpanId"]) == ("0" * 31 + "7", "0" * 15 + "7")
    assert (row["ParentSpanId"], row["TraceState"]) == ("01020304050607ff", "a=b")
    assert (row["SpanName"], row["SpanKind"], row["ServiceName"]) == ("work", "Server", "shop")
    assert row["ResourceAttributes"] == {"service.name": "shop", "deployment.environment.name": "test"}
    assert (row["ScopeName"], row["ScopeVersion"], row["SpanAttributes"]) == ("scope", "1.2", {"http.route": "/cart"})
    assert (row["Duration"], row["StatusCode"], row["StatusMessage"]) == (1_000_000, "Error", "declined")
    assert (row["Events.Name"], row["Events.Attributes"]) == (["paid"], [{"amount": "3"}])
    assert (row["Links.TraceId"], row["Links.SpanId"]) == (["aa" * 16], ["bb" * 8])
    assert (row["Links.TraceState"], row["Links.Attributes"]) == (["c=d"], [{"l": "1"}])


@pytest.mark.parametrize("kind", [PROTOBUF, JSON])
def test_a_log_record_arrives_whole(pipeline: Pipeline, kind: str) -> None:
    sent = record(
        severity_text="WARN",
        severity_number=13,
        body=value("the body"),
        attributes=attributes({"k": "v"}),
        flags=0x101,
        trace_id=b"\xab" * 16,
        span_id=b"\xcd" * 8,
        event_name="cart.paid",
        observed_time_unix_nano=NOW_NS + 1,
    )
    untimed = record(time_unix_nano=0, observed_time_unix_nano=NOW_NS + 2, body=value("untimed"))
    request = logs(sent, untimed)
    pipeline.post(
        "logs", request.SerializeToString() if kind == PROTOBUF else to_json(request), kind
    ).raise_for_status()
    pipeline.flush()

    row, late = pipeline.store.rows(
        "SELECT *, toUnixTimestamp64Nano(Timestamp) AS ns FROM otel_logs ORDER BY Timestamp"
    )
    assert (row["ns"], late["ns"]) == (NOW_NS, NOW_NS + 2)
    assert (row["TraceId"], row["SpanId"], row["TraceFlags"]) == ("ab" * 16, "cd" * 8, 1)
    assert (row["SeverityText"], row["SeverityNumber"], row["Body"]) == ("WARN", 13, "the body")
    assert (row["ResourceSchemaUrl"], row["ScopeSchemaUrl"]) == ("https://resource", "https://scope")
    assert (row["ScopeName"], row["ScopeAttributes"]) == ("scope", {"scope.key": "scope value"})
    assert (row["LogAttributes"], row["EventName"], late["EventName"]) == ({"k": "v"}, "cart.paid", "")


@pytest.mark.parametrize("kind", [PROTOBUF, JSON, "grpc"])
def test_all_five_kinds_of_metrics_arrive_whole(pipeline: Pipeline, kind: str) -> None:
    request = metrics(*every_metric())
    if kind == "grpc":
        pipeline.call("metrics", request.SerializeToString())
    else:
        body = request.SerializeToString() if kind == PROTOBUF else to_json(request)
        pipeline.post("metrics", body, kind).raise_for_status()
    pipeline.flush()

    kinds = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
    found = {kind: pipeline.store.rows(f"SELECT * FROM otel_metrics_{kind}") for kind in kinds}
    assert {kind: len(rows) for kind, rows in found.items()} == {**dict.fromkeys(kinds, 1), "gauge": 2}
    for rows in found.values():
        expected = {"ServiceName": "shop", "Attributes": {"route": "/cart"}, "Flags": 1, "ScopeVersion": "1.2"}
        assert expected.items() <= rows[0].items()
        assert (NOW - rows[0]["StartTimeUnix"]).total_seconds() == pytest.approx(60, abs=1)
    gauge, total, histogram, exponential, summary = (found[kind][0] for kind in kinds)
    assert (gauge["MetricName"], gauge["MetricDescription"], gauge["MetricUnit"]) == ("gauge", "of gauge", "1")
    assert (gauge["Value"], gauge["Exemplars.Value"], gauge["Exemplars.TraceId"]) == (-3, [9.5], ["02" * 16])
    assert json.loads(gauge["Exemplars.FilteredAttributes"][0]["nested"]) == {"a": [1, {"b": 2}]}
    assert (total["Value"], total["AggregationTemporality"], total["IsMonotonic"]) == (-3, 2, True)
    assert (histogram["Count"], histogram["Sum"], histogram["BucketCounts"]) == (3, 6.5, [1, 2])
    assert (histogram["ExplicitBounds"], histogram["Min"], histogram["Max"]) == ([2.5], 0.5, 4)
    assert (exponential["Scale"], exponential["ZeroCount"], exponential["PositiveOffset"]) == (-2, 1, -3)
    assert (exponential["PositiveBucketCounts"], exponential["NegativeBucketCounts"]) == ([1, 2], [300])
    assert (summary["ValueAtQuantiles.Quantile"], summary["ValueAtQuantiles.Value"]) == ([0.5, 0.99], [5, 9.9])


COMPRESSIONS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
    "identity": bytes,
    "GZIP": gzip.compress,
}


@pytest.mark.parametrize("encoding", COMPRESSIONS)
def test_every_content_encoding_is_understood(pipeline: Pipeline, encoding: str) -> None:
    body = logs(*(record(number) for number in range(500))).SerializeToString()
    pipeline.post("logs", COMPRESSIONS[encoding](body), encoding=encoding).raise_for_status()
    pipeline.flush()
    assert pipeline.count("otel_logs") == 500


def test_a_body_in_several_gzip_members_or_zstd_frames_is_read_to_its_end(direct: Pipeline) -> None:
    body = logs(*(record(number) for number in range(500))).SerializeToString()
    for encoding, start in (("gzip", 0), ("zstd", 1)):
        body = body if not start else logs(*(record(number) for number in range(500, 1000))).SerializeToString()
        parts = COMPRESSIONS[encoding](body[:1000]) + COMPRESSIONS[encoding](body[1000:])
        direct.post("logs", parts, encoding=encoding).raise_for_status()
    direct.flush()
    assert direct.count("otel_logs") == 1000


def test_grpc_requests_may_be_compressed(pipeline: Pipeline) -> None:
    body = logs(*(record(number) for number in range(500))).SerializeToString()
    pipeline.call("logs", body, compression=grpc.Compression.Gzip)
    pipeline.flush()
    assert pipeline.count("otel_logs") == 500


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_the_exporters_of_opentelemetry_deliver(pipeline: Pipeline, protocol: str) -> None:
    http, rpc = pipeline.server.http_url, pipeline.server.grpc_url
    over_http = protocol == "http"
    tracers = TracerProvider(resource=Resource.create({"service.name": "official"}))
    spans = HttpSpans(f"{http}/v1/traces", compression=Compression.Gzip) if over_http else GrpcSpans(rpc, insecure=True)
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    with tracers.get_tracer("t").start_as_current_span("outer", attributes={"list": ["a", "b"], "ok": True}):
        pass
    tracers.shutdown()
    numbers = HttpMetrics(f"{http}/v1/metrics") if over_http else GrpcMetrics(rpc, insecure=True)
    meters = MeterProvider([PeriodicExportingMetricReader(numbers, export_interval_millis=600_000)])
    meters.get_meter("m").create_counter("paid").add(3, {"k": "v"})
    meters.shutdown()
    loggers = LoggerProvider()
    loggers.add_log_record_processor(SimpleLogRecordProcessor(HttpLogs(f"{http}/v1/logs")))
    loggers.get_logger("l").emit(timestamp=NOW_NS, body={"nested": {"a": [1, "x"]}}, event_name="e")
    loggers.shutdown()
    pipeline.flush()

    [row] = pipeline.store.rows("SELECT SpanName, ServiceName, SpanAttributes FROM otel_traces")
    assert row["SpanAttributes"] == {"list": '["a","b"]', "ok": "true"}
    assert (row["SpanName"], row["ServiceName"]) == ("outer", "official")
    assert pipeline.store.rows("SELECT MetricName, Value FROM otel_metrics_sum") == [{"MetricName": "paid", "Value": 3}]
    assert json.loads(pipeline.store.value("SELECT Body FROM otel_logs")) == {"nested": {"a": [1, "x"]}}


NESTED: dict[str, Any] = {
    "five deep": {"a": {"b": {"c": {"d": {"e": "bottom", "f": [1, 2.5, True]}}}}},
    "array of lists": [{"a": 1}, {"b": [2, {"c": "3"}]}],
    "list after scalars": [1, "two", {"three": 3}],
    "array after null": [None, [1]],
    "arrays in arrays": [[1, 2], [], [[3]]],
    "empty list": {},
    "empty array": [],
    "array": ["a", 1, -2.5, False, None],
    "text": {"quote": '"', "unicode": "\u00e9\u202e\U0001f600", "newline": "a\nb", "brace": "}{"},
    "bytes": {"raw": b"\x00\xff"},
    "numbers": {"big": 2**62, "small": -(2**63), "zero": 0, "not": float("nan"), "infinite": float("-inf")},
    "long": {"text": "x" * 70_000, "after": [{"y": 1}]},
}


def expected_json(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {key: expected_json(each) for key, each in plain.items()}
    if isinstance(plain, list):
        return [expected_json(each) for each in plain]
    if isinstance(plain, bytes):
        return base64.b64encode(plain).decode()
    return str(plain) if isinstance(plain, float) and not math.isfinite(plain) else plain


def test_nested_values_are_stored_as_plain_json_wherever_they_stand(pipeline: Pipeline) -> None:
    event = Span.Event(time_unix_nano=NOW_NS, name="e", attributes=attributes(NESTED))
    link = Span.Link(trace_id=b"\x01" * 16, span_id=b"\x01" * 8, attributes=attributes(NESTED))
    request = traces(span(attributes=attributes(NESTED), events=[event], links=[link]))
    request.resource_spans[0].resource.attributes.extend(attributes(NESTED))
    pipeline.post("traces", request.SerializeToString()).raise_for_status()
    bodies = logs(*(record(body=value(each), attributes=attributes({"a": each})) for each in NESTED.values()))
    pipeline.post("logs", bodies.SerializeToString()).raise_for_status()
    pipeline.flush()

    expected = {key: expected_json(each) for key, each in NESTED.items()}
    [row] = pipeline.store.rows("SELECT * FROM otel_traces")
    places = [row["SpanAttributes"], row["Events.Attributes"][0], row["Links.Attributes"][0], row["ResourceAttributes"]]
    for found in places:
        assert {key: json.loads(found[key]) for key in NESTED} == expected
    stored = pipeline.store.rows("SELECT Body, LogAttributes['a'] AS a FROM otel_logs")
    in_order = sorted(json.dumps(each) for each in expected.values())
    assert sorted(json.dumps(json.loads(each["Body"])) for each in stored) == in_order
    assert sorted(json.dumps(json.loads(each["a"])) for each in stored) == in_order


@pytest.mark.parametrize("name", NESTED)
def test_each_nested_value_is_found_when_it_is_the_only_one(direct: Pipeline, name: str) -> None:
    request = traces(span(attributes=attributes({"only": NESTED[name]})))
    direct.post("traces", request.SerializeToString()).raise_for_status()
    direct.post("logs", logs(record(body=value(NESTED[name]))).SerializeToString()).raise_for_status()
    direct.flush()
    found = direct.store.value("SELECT SpanAttributes['only'] FROM otel_traces")
    assert json.loads(found) == json.loads(direct.store.value("SELECT Body FROM otel_logs"))
    assert json.loads(found) == expected_json(NESTED[name])


SCALARS: dict[str, tuple[Any, str]] = {
    "zero": (0, "0"),
    "negative": (-5, "-5"),
    "least": (-(2**63), "-9223372036854775808"),
    "greatest": (2**63 - 1, "9223372036854775807"),
    "float zero": (0.0, "0"),
    "negative zero": (-0.0, "-0"),
    "tenth": (0.1, "0.1"),
    "third": (1 / 3, "0.3333333333333333"),
    "denormal": (5e-324, "5e-324"),
    "nan": (math.nan, "nan"),
    "infinite": (math.inf, "inf"),
    "false": (False, "false"),
    "true": (True, "true"),
    "empty": ("", ""),
    "text": ("\u00e9\u202e\U0001f600\x00'\"\\\t\n", "\u00e9\u202e\U0001f600\x00'\"\\\t\n"),
    "looks like json": ('{"a": [1]}', '{"a": [1]}'),
    "bytes": (b"\x00\xff*2", base64.b64encode(b"\x00\xff*2").decode()),
    "no value": (None, ""),
}


def test_attribute_values_of_every_type_come_back_exactly(pipeline: Pipeline) -> None:
    sent = attributes({key: plain for key, (plain, _) in SCALARS.items()})
    pipeline.post("traces", traces(span(attributes=sent)).SerializeToString()).raise_for_status()
    pipeline.post("logs", to_json(logs(record(attributes=sent))), JSON).raise_for_status()
    pipeline.flush()
    expected = {key: text for key, (_, text) in SCALARS.items()}
    assert pipeline.store.value("SELECT SpanAttributes FROM otel_traces") == expected
    assert pipeline.store.value("SELECT LogAttributes FROM otel_logs") == expected


def test_random_doubles_come_back_to_the_last_bit(direct: Pipeline, rng: np.random.Generator) -> None:
    numbers = np.frombuffer(rng.bytes(8 * 2_000)).tolist()
    sent = attributes({str(place): number for place, number in enumerate(numbers)})
    direct.post("traces", traces(span(attributes=sent)).SerializeToString()).raise_for_status()
    direct.flush()
    found = direct.store.value("SELECT SpanAttributes FROM otel_traces")
    stored = [float(found[str(place)]) for place in range(len(numbers))]
    assert all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(stored, numbers, strict=True))


def test_impossible_times_do_not_poison_the_batch(pipeline: Pipeline) -> None:
    year_ns = 365 * 86_400 * 10**9
    times = {
        "epoch": 0,
        "one nanosecond": 1,
        "1975": 5 * year_ns,
        "2105": 135 * year_ns,
        "2150": 180 * year_ns,
        "2261": 291 * year_ns,
        "2299": 329 * year_ns,
        "1900 as unsigned": 2**64 - 70 * year_ns,
        "greatest": 2**64 - 1,
        "now": NOW_NS,
    }
    spans = [
        span(place, name=name, start_time_unix_nano=ns, end_time_unix_nano=ns, events=[Span.Event(time_unix_nano=ns)])
        for place, (name, ns) in enumerate(times.items(), start=1)
    ]
    calls = [span(50 + each, start_time_unix_nano=ns) for each, ns in enumerate(times.values())]
    for each in calls:
        each.attributes.extend(attributes({"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}))
    events = [prediction(name, "m", at_ns=ns) for name, ns in times.items()]
    points = [pb.NumberDataPoint(time_unix_nano=ns, start_time_unix_nano=ns, as_int=1) for ns in times.values()]
    gauge = pb.Metric(name="g", gauge=pb.Gauge(data_points=points))
    pipeline.post("traces", traces(*spans, *calls).SerializeToString()).raise_for_status()
    pipeline.post("logs", logs(*events).SerializeToString()).raise_for_status()
    pipeline.post("metrics", metrics(gauge).SerializeToString()).raise_for_status()
    pipeline.flush()

    size = len(times)
    tables = {"otel_traces": 2 * size, "llm_calls": size, "otel_logs": size, "predictions": size}
    assert {table: pipeline.count(table) for table in tables} == tables
    assert pipeline.count("otel_metrics_gauge") == size
    assert pipeline.store.value("SELECT sum(predictions) FROM predictions_1h WHERE dimension = ''") == size
    moment = "SELECT toUnixTimestamp64Nano(Timestamp) FROM otel_traces WHERE SpanName = {name:String}"
    kept = {name: pipeline.store.value(moment, {"name": name}) for name in ("epoch", "one nanosecond", "now", "2261")}
    assert kept == {"epoch": 0, "one nanosecond": 1, "now": NOW_NS, "2261": 291 * year_ns}


def test_a_span_that_ends_before_it_starts_has_no_duration(pipeline: Pipeline) -> None:
    spans = [span(1, end_time_unix_nano=NOW_NS - 1), span(2, end_time_unix_nano=0), span(3, end_time_unix_nano=NOW_NS)]
    pipeline.post("traces", traces(*spans).SerializeToString()).raise_for_status()
    pipeline.flush()
    assert [row["Duration"] for row in pipeline.store.rows("SELECT Duration FROM otel_traces")] == [0, 0, 0]


# How many arrive


def test_ten_thousand_records_are_stored_once_and_every_rollup_agrees(pipeline: Pipeline) -> None:
    requests = [[f"{part}-{number}" for number in range(500)] for part in range(20)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda ids: pipeline.post("logs", predictions(ids, "many")), requests))
    pipeline.flush()

    assert {each.status_code for each in answers} == {200}
    counted = pipeline.store.rows("SELECT count() AS n, uniqExact(prediction_id) AS ids FROM predictions")
    assert counted == [{"n": 10_000, "ids": 10_000}]
    assert pipeline.count("otel_logs") == 10_000
    sums = "SELECT sum(predictions) AS n, sum(scored) AS scored, sum(score_sum) AS score FROM predictions_1h"
    assert pipeline.store.rows(f"{sums} WHERE dimension = ''") == [{"n": 10_000, "scored": 10_000, "score": 5_000}]
    assert pipeline.store.value("SELECT sum(predictions) FROM predictions_1m") == 10_000
    assert pipeline.store.value("SELECT sum(records) FROM ingest_1m") == 10_000


def test_a_score_that_is_no_number_leaves_the_rollup_finite(pipeline: Pipeline) -> None:
    scores = [0.25, math.nan, math.inf, -math.inf, 0.75]
    events = [prediction(str(place), "m", score) for place, score in enumerate(scores)]
    pipeline.post("logs", logs(*events).SerializeToString()).raise_for_status()
    pipeline.flush()
    sums = "SELECT sum(predictions) AS n, sum(scored) AS scored, sum(score_sum) AS score FROM predictions_1h"
    assert pipeline.store.rows(sums) == [{"n": 5, "scored": 2, "score": 1.0}]
    assert pipeline.store.value("SELECT countIf(isNull(score)) FROM predictions") == 1


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_request_sent_again_because_its_answer_was_lost_is_stored_once(pipeline: Pipeline, protocol: str) -> None:
    body = predictions([str(number) for number in range(100)], "again")
    send: Callable[[], object] = (
        (lambda: pipeline.post("logs", body).raise_for_status())
        if protocol == "http"
        else (lambda: pipeline.call("logs", body))
    )
    before = pipeline.metric("tidegauge_rejected_records_total", reason="duplicate")
    send()
    pipeline.flush()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: send(), range(3)))
    pipeline.flush()
    assert (pipeline.count("predictions"), pipeline.count("otel_logs")) == (100, 100)
    assert pipeline.store.value("SELECT sum(predictions) FROM predictions_1h WHERE dimension = ''") == 100
    assert pipeline.store.value("SELECT sum(predictions) FROM predictions_1m") == 100
    assert pipeline.metric("tidegauge_rejected_records_total", reason="duplicate") == before + 3


def test_a_request_that_failed_is_taken_when_it_comes_again(direct: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    body = predictions(["a"], "again")
    with monkeypatch.context() as broken:
        broken.setattr(direct_module, "insert_exports", _raising(StoreError("no room", 243)))
        assert direct.post("logs", body).status_code == 503
    assert direct.post("logs", body).status_code == 200
    assert direct.count("predictions") == 1


# What is refused


BAD = {
    "not protobuf": b"\xff\xff\xff\xff",
    "text": b"hello",
    "another signal": traces(FULL_SPAN).SerializeToString()[2:],
    "cut off": logs(record()).SerializeToString()[:-3],
    "not utf-8": b"\x0a\x08\x12\x06\x12\x04\x1a\x02\xff\xfe",
}


@pytest.mark.parametrize("name", BAD)
def test_wrong_bytes_are_refused_for_good_and_counted(pipeline: Pipeline, name: str) -> None:
    counted = {"signal": "logs", "reason": "undecodable"}
    before = pipeline.metric("tidegauge_rejected_records_total", **counted)
    answer = pipeline.post("logs", BAD[name])
    assert (answer.status_code, answer.headers["content-type"]) == (400, PROTOBUF)
    with pytest.raises(grpc.RpcError) as caught:
        pipeline.call("logs", BAD[name])
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert pipeline.metric("tidegauge_rejected_records_total", **counted) == before + 2


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"5",
        b'"text"',
        b"\xff",
        b'{"resourceLogs": 5}',
        b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"traceId": "xyz"}]}]}]}',
        b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"traceId": 5}]}]}]}',
        b'{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"timeUnixNano": "soon"}]}]}]}',
        b"[" * 100_000,
        b'{"resourceLogs":' + b'[{"scopeLogs":' * 5_000,
    ],
    ids=range(13),
)
def test_wrong_json_is_refused_for_good_and_counted(direct: Pipeline, body: bytes) -> None:
    before = direct.metric("tidegauge_rejected_records_total", reason="undecodable")
    answer = direct.post("logs", body, JSON)
    assert (answer.status_code, answer.headers["content-type"]) == (400, JSON)
    assert "OTLP/JSON" in answer.json()["message"] or "hexadecimal" in answer.json()["message"]
    assert direct.metric("tidegauge_rejected_records_total", reason="undecodable") == before + 1


def test_values_nested_deeper_than_protobuf_allows_are_refused_for_good(pipeline: Pipeline) -> None:
    deep = value("bottom").SerializeToString()
    for _ in range(200):
        items = b"\x0a" + varint(len(deep)) + deep
        deep = b"\x2a" + varint(len(items)) + items
    for number in (5, 2, 2, 1):  # body, log record, scope, resource
        deep = bytes([number << 3 | 2]) + varint(len(deep)) + deep
    assert pipeline.post("logs", deep).status_code == 400


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "", "application/x-protobuf+json"])
def test_another_content_type_is_refused_and_counted(direct: Pipeline, kind: str) -> None:
    before = direct.metric("tidegauge_rejected_records_total", reason="content type")
    answer = direct.post("logs", logs(record()).SerializeToString(), kind)
    assert answer.status_code == 415
    assert direct.metric("tidegauge_rejected_records_total", reason="content type") == before + 1


def test_an_unknown_content_encoding_is_refused(direct: Pipeline) -> None:
    answer = direct.post("logs", logs(record()).SerializeToString(), encoding="br")
    assert answer.status_code == 400
    assert b"gzip, deflate, zstd" in answer.content


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_a_compressed_body_that_is_cut_off_or_broken_is_refused_and_nothing_of_it_is_stored(
    direct: Pipeline, encoding: str
) -> None:
    before = direct.metric("tidegauge_rejected_records_total", reason="undecodable")
    whole = logs(*(record(number) for number in range(200))).SerializeToString()
    half = logs(*(record(number) for number in range(100))).SerializeToString()
    compress = COMPRESSIONS[encoding]
    stream = zstandard.ZstdCompressor().compressobj() if encoding == "zstd" else zlib.compressobj(wbits=31)
    flushed = stream.compress(half) + stream.flush(
        *([zstandard.COMPRESSOBJ_FLUSH_BLOCK] if encoding == "zstd" else [2])
    )
    for body in (compress(whole)[:-5], compress(whole)[:20], b"no such thing", flushed, compress(half) + b"tail"):
        assert direct.post("logs", body, encoding=encoding).status_code == 400
    direct.flush()
    assert direct.count("otel_logs") == 0
    assert direct.metric("tidegauge_rejected_records_total", reason="undecodable") == before + 5


def test_an_empty_request_is_a_success(pipeline: Pipeline) -> None:
    for signal in REQUESTS:
        assert pipeline.post(signal, b"").status_code == 200
        assert pipeline.post(signal, b"{}", JSON).status_code == 200
        pipeline.call(signal, b"")
    assert pipeline.post("traces", traces().SerializeToString()).status_code == 200


def test_unknown_json_fields_are_ignored(pipeline: Pipeline) -> None:
    data = json.loads(to_json(logs(record(3))))
    data["futureField"] = {"a": [1]}
    data["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]["alsoNew"] = "x"
    assert pipeline.post("logs", json.dumps(data).encode(), JSON).status_code == 200
    pipeline.flush()
    assert pipeline.store.value("SELECT Body FROM otel_logs") == "3"


def test_unknown_protobuf_fields_are_ignored(pipeline: Pipeline) -> None:
    body = logs(record(3)).SerializeToString() + b"\xfa\x3e\x03new"
    assert pipeline.post("logs", body).status_code == 200
    pipeline.flush()
    assert pipeline.store.value("SELECT Body FROM otel_logs") == "3"


def test_a_bad_request_among_good_ones_loses_only_itself_and_the_receiver_goes_on(pipeline: Pipeline) -> None:
    def send(number: int) -> int:
        good = logs(record(number)).SerializeToString()
        return pipeline.post("logs", b"\xff" + good if number % 10 == 3 else good).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(send, range(40)))
    pipeline.flush()
    assert (statuses.count(200), statuses.count(400)) == (36, 4)
    stored = {int(row["Body"]) for row in pipeline.store.rows("SELECT Body FROM otel_logs")}
    assert stored == {number for number in range(40) if number % 10 != 3}
    assert pipeline.post("logs", logs(record(1000)).SerializeToString()).status_code == 200


def test_what_the_store_refuses_for_good_takes_no_other_request_with_it(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (direct_module, inserter_module):
        _refuse_where(monkeypatch, module, b"cursed")
    bodies = [logs(record(number)) for number in range(40)]
    bodies[17].resource_logs[0].scope_logs[0].log_records[0].body.string_value = "cursed"
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda body: pipeline.post("logs", body.SerializeToString()).status_code, bodies))
    pipeline.flush()
    assert answers.count(200) == (39 if isinstance_direct(pipeline) else 40)  # Kafka has it: it becomes a dead letter
    assert pipeline.count("otel_logs") == 39


def isinstance_direct(pipeline: Pipeline) -> bool:
    return isinstance(pipeline.transport, direct_module.DirectTransport)


def _refuse_where(monkeypatch: pytest.MonkeyPatch, module: Any, marker: bytes) -> None:
    insert = module.insert_exports

    def refusing(store: object, signal: object, payloads: list[bytes], *token: str) -> None:
        if any(marker in payload for payload in payloads):
            raise StoreError("Code: 53. cannot store it", 53)
        insert(store, signal, payloads, *token)

    monkeypatch.setattr(module, "insert_exports", refusing)


def _raising(error: Exception) -> Callable[..., None]:
    def raising(*_: object) -> None:
        raise error

    return raising


def test_a_client_that_hangs_up_does_not_stop_the_others(direct: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, go_on, insert = threading.Event(), threading.Event(), insert_exports

    def slowly(*given: Any) -> None:
        entered.set()
        go_on.wait(60)
        insert(*given)

    monkeypatch.setattr(direct_module, "insert_exports", slowly)
    with pytest.raises(grpc.RpcError) as caught:
        direct.call("logs", logs(record(1)).SerializeToString(), timeout=3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert entered.is_set()
    go_on.set()
    assert direct.post("logs", logs(record(2)).SerializeToString()).status_code == 200
    assert direct.count("otel_logs") == 2
