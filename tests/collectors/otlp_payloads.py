"""OTLP requests to send in tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, ResourceMetrics, ScopeMetrics
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

NOW_NS = 1_767_268_800_123_456_789  # 2026-01-01 12:00 UTC
REQUESTS: dict[str, type[Message]] = {
    "traces": ExportTraceServiceRequest,
    "logs": ExportLogsServiceRequest,
    "metrics": ExportMetricsServiceRequest,
}


def value(plain: Any) -> AnyValue:
    """The AnyValue of a Python value; None is one without any."""
    if plain is None:
        return AnyValue()
    if isinstance(plain, bool):
        return AnyValue(bool_value=plain)
    if isinstance(plain, Mapping):
        return AnyValue(kvlist_value=KeyValueList(values=attributes(plain)))
    if isinstance(plain, list):
        return AnyValue(array_value=ArrayValue(values=[value(item) for item in plain]))
    names = {int: "int_value", float: "double_value", str: "string_value", bytes: "bytes_value"}
    return AnyValue(**{names[type(plain)]: plain})


def attributes(plain: Mapping[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=key, value=value(each)) for key, each in plain.items()]


def resource(service: str) -> Resource:
    return Resource(attributes=attributes({"service.name": service, "deployment.environment.name": "test"}))


SCOPE = InstrumentationScope(name="scope", version="1.2", attributes=attributes({"scope.key": "scope value"}))


def span(number: int = 1, **fields: Any) -> Span:
    """A span whose identifiers come from ``number``."""
    given: dict[str, Any] = {
        "trace_id": number.to_bytes(16, "big"),
        "span_id": number.to_bytes(8, "big"),
        "name": "work",
        "start_time_unix_nano": NOW_NS,
        "end_time_unix_nano": NOW_NS + 1_000_000,
    }
    return Span(**given | fields)


def record(number: int = 1, **fields: Any) -> LogRecord:
    """A log record that says its ``number``."""
    given: dict[str, Any] = {"time_unix_nano": NOW_NS, "body": value(str(number)), "severity_number": 9}
    return LogRecord(**given | fields)


def traces(*spans: Span, service: str = "shop") -> ExportTraceServiceRequest:
    inside = ScopeSpans(scope=SCOPE, spans=spans, schema_url="https://scope")
    return ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=resource(service), scope_spans=[inside], schema_url="https://resource")]
    )


def logs(*records: LogRecord, service: str = "shop") -> ExportLogsServiceRequest:
    inside = ScopeLogs(scope=SCOPE, log_records=records, schema_url="https://scope")
    return ExportLogsServiceRequest(
        resource_logs=[ResourceLogs(resource=resource(service), scope_logs=[inside], schema_url="https://resource")]
    )


def metrics(*found: Metric, service: str = "shop") -> ExportMetricsServiceRequest:
    inside = ScopeMetrics(scope=SCOPE, metrics=found, schema_url="https://scope")
    return ExportMetricsServiceRequest(
        resource_metrics=[
            ResourceMetrics(resource=resource(service), scope_metrics=[inside], schema_url="https://resource")
        ]
    )


def prediction(identifier: str, model: str, score: float = 0.5, at_ns: int = NOW_NS) -> LogRecord:
    """A prediction event as the SDK writes it."""
    sent = {
        "tidegauge.model.name": model,
        "tidegauge.prediction.id": identifier,
        "tidegauge.prediction.value": "yes",
        "tidegauge.prediction.score": score,
        "tidegauge.feature.amount": 41.5,
    }
    return LogRecord(time_unix_nano=at_ns, event_name="tidegauge.prediction", attributes=attributes(sent))


def predictions(identifiers: Sequence[str], model: str) -> bytes:
    """One serialized request of predictions."""
    return logs(*(prediction(each, model) for each in identifiers), service=model).SerializeToString()
