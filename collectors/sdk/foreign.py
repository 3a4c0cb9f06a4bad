"""Spans of an application's own OpenTelemetry set-up, taken as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.trace import StatusCode

from tidegauge.collectors.sdk import nesting, otlp
from tidegauge.collectors.sdk.span import WIRE_KINDS

ORIGINS_KEPT = 256
UNDER_WAY_KEPT = 10_000

Made = tuple[bytes, otlp.Origin]


class Forwarding(SpanProcessor):
    """Passes on a copy of every sampled span that ends; their spans and exporters are not touched.

    The copy of a span that starts inside a step of ours inherits its tenant, session, intent and versions.
    """

    def __init__(
        self,
        take: Callable[[Callable[[], Made | None]], None],
        flush: Callable[[float], bool],
        keep: Callable[[ReadableSpan], bool] | None,
    ) -> None:
        """``take`` calls what it is given, and is not disturbed by what that raises."""
        self._take, self._flush, self._keep = take, flush, keep
        self._origins: dict[tuple[int, int], tuple[Any, Any, otlp.Origin]] = {}
        self._inherited: dict[int, dict[str, Any]] = {}

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:
        inherited = nesting.INHERITED.get()
        context = span.get_span_context()
        if inherited and context and len(self._inherited) < UNDER_WAY_KEPT:
            self._inherited[context.span_id] = inherited

    def on_end(self, span: ReadableSpan) -> None:
        self._take(lambda: self._made(span))

    def _made(self, span: ReadableSpan) -> Made | None:
        context = span.get_span_context()
        if context is None:
            return None
        inherited = self._inherited.pop(context.span_id, None)
        if not context.trace_flags.sampled or (self._keep is not None and not self._keep(span)):
            return None
        return encoded(span, inherited or {}), self._origin(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Their provider ends; the client goes on."""

    def _origin(self, span: ReadableSpan) -> otlp.Origin:
        resource, scope = span.resource, span.instrumentation_scope
        key = id(resource), id(scope)
        if key not in self._origins:
            name, version = (scope.name, scope.version or "") if scope else ("", "")
            made = otlp.origin(resource.attributes, name, version)
            if len(self._origins) >= ORIGINS_KEPT:
                self._origins.clear()
            self._origins[key] = resource, scope, made  # held, so that an id cannot come again
        return self._origins[key][2]


def encoded(span: ReadableSpan, inherited: dict[str, Any]) -> bytes:
    """A span of opentelemetry-sdk that has ended, as OTLP; its own attributes win over those it inherits."""
    context, parent, code = span.get_span_context(), span.parent, span.status.status_code
    assert context is not None  # a span that a processor gets has ids
    return otlp.span(
        context.trace_id,
        context.span_id,
        parent.span_id if parent else 0,
        span.name,
        WIRE_KINDS[span.kind],
        span.start_time or 0,
        span.end_time or span.start_time or 0,
        {**inherited, **(span.attributes or {})},
        failed=None if code is StatusCode.UNSET else code is StatusCode.ERROR,
        message=span.status.description or "",
        events=[otlp.SpanEvent(each.name, each.timestamp, each.attributes or {}) for each in span.events],
        links=[
            otlp.SpanLink(each.context.trace_id, each.context.span_id, each.attributes or {}) for each in span.links
        ],
        trace_state=context.trace_state.to_header() if context.trace_state else "",
        lost_attributes=span.dropped_attributes,
    )
