"""Trace context for requests that a service makes itself."""

from __future__ import annotations

from opentelemetry import trace
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tidegauge.collectors.sdk import nesting


def trace_headers() -> dict[str, str]:
    """``traceparent`` and ``tracestate`` of the innermost span, for a request to another service; empty outside one."""
    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers, trace.set_span_in_context(nesting.current()))
    return headers
