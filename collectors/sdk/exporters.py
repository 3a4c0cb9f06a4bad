"""OpenTelemetry's own exporters, and ours for frames, for one endpoint and protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk._logs.export import LogRecordExporter
from opentelemetry.sdk.trace.export import SpanExporter

from tidegauge.collectors.sdk.sender import Post, grpc_post, http_post

Protocol = Literal["http/protobuf", "grpc"]


def spans(protocol: Protocol, endpoint: str, headers: Mapping[str, str]) -> SpanExporter:
    """The exporter of spans."""
    if protocol == "grpc":
        return GrpcSpans(endpoint, insecure=not endpoint.startswith("https"), headers=dict(headers))
    return HttpSpans(f"{endpoint}/v1/traces", headers=dict(headers))


def logs(protocol: Protocol, endpoint: str, headers: Mapping[str, str]) -> LogRecordExporter:
    """The exporter of single events."""
    if protocol == "grpc":
        return GrpcLogs(endpoint, insecure=not endpoint.startswith("https"), headers=dict(headers))
    return HttpLogs(f"{endpoint}/v1/logs", headers=dict(headers))


def post(protocol: Protocol, endpoint: str, headers: Mapping[str, str]) -> Post:
    """Delivery of ready-made log requests."""
    return (grpc_post if protocol == "grpc" else http_post)(endpoint, headers)
