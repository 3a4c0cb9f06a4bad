"""OpenTelemetry's own exporters, and ours for frames, for one endpoint and protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from tidegauge.collectors.sdk.sender import GrpcPost, HttpPost, Post

Protocol = Literal["http/protobuf", "grpc"]
Lost = Callable[[int, str], None]


class CountedSpans(SpanExporter):
    """Tells ``lost`` how many spans an exporter gave up."""

    def __init__(self, exporter: SpanExporter, lost: Lost) -> None:
        self._exporter, self._lost = exporter, lost

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            self._lost(len(spans), "spans could not be delivered")
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class CountedLogs(LogRecordExporter):
    """Tells ``lost`` how many events an exporter gave up."""

    def __init__(self, exporter: LogRecordExporter, lost: Lost) -> None:
        self._exporter, self._lost = exporter, lost

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        result = self._exporter.export(batch)
        if result is not LogRecordExportResult.SUCCESS:
            self._lost(len(batch), "events could not be delivered")
        return result

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        return self._exporter.force_flush(timeout_millis)

    def shutdown(self) -> None:
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


def spans(protocol: Protocol, endpoint: str, headers: Mapping[str, str], lost: Lost) -> SpanExporter:
    """The exporter of spans."""
    if protocol == "grpc":
        insecure = not endpoint.startswith("https")
        return CountedSpans(GrpcSpans(endpoint, insecure=insecure, headers=dict(headers)), lost)
    return CountedSpans(HttpSpans(f"{endpoint}/v1/traces", headers=dict(headers)), lost)


def logs(protocol: Protocol, endpoint: str, headers: Mapping[str, str], lost: Lost) -> LogRecordExporter:
    """The exporter of single events."""
    if protocol == "grpc":
        insecure = not endpoint.startswith("https")
        return CountedLogs(GrpcLogs(endpoint, insecure=insecure, headers=dict(headers)), lost)
    return CountedLogs(HttpLogs(f"{endpoint}/v1/logs", headers=dict(headers)), lost)


def post(protocol: Protocol, endpoint: str, headers: Mapping[str, str]) -> Post:
    """Delivery of ready-made log requests."""
    return (GrpcPost if protocol == "grpc" else HttpPost)(endpoint, headers)
