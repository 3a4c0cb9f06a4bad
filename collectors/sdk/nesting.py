"""Which span is the innermost, ours or one of the application's own OpenTelemetry set-up.

Ours share trace ids with theirs and nest in them. Whether theirs nest in ours is a matter of care: an application's
exporter does not have our spans, so a child of ours would be an orphan there, and its sampler would follow us. So ours
become OpenTelemetry's current span only where no span of the application is current and it has no tracer provider of
its own, or was asked to share it (``client.span_processor()``). Everywhere else ours are current only among ourselves.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import Any, NamedTuple

from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.trace import ProxyTracerProvider, Span, SpanContext

INHERITED: ContextVar[dict[str, Any] | None] = ContextVar("tidegauge_context", default=None)


class Innermost(NamedTuple):
    """Our span, and what OpenTelemetry's current span was when it became the innermost."""

    span: Span
    seen: Span


class Entered(NamedTuple):
    """What to put back."""

    ours: Token[Innermost | None]
    theirs: Any  # opentelemetry's token, or None


_INNERMOST: ContextVar[Innermost | None] = ContextVar("tidegauge_span", default=None)


def current() -> Span:
    """The innermost span. A span of theirs that began inside ours is further in."""
    theirs, ours = trace.get_current_span(), _INNERMOST.get()
    return ours.span if ours is not None and ours.seen is theirs else theirs


def parent(of: otel.Context | None = None) -> SpanContext | None:
    """The span that a new one is a child of; None for a root."""
    found = (current() if of is None else trace.get_current_span(of)).get_span_context()
    return found if found.is_valid else None


def enter(span: Span, ours: type[Span], provider: trace.TracerProvider, shared: bool) -> Entered:
    """Make ``span`` the innermost. ``ours`` is the class of our spans, ``provider`` the one that makes them."""
    theirs, token = trace.get_current_span(), None
    if _leads(theirs, ours, provider, shared):
        token = otel.attach(trace.set_span_in_context(span))
        theirs = span
    return Entered(_INNERMOST.set(Innermost(span, theirs)), token)


def leave(entered: Entered) -> None:
    """Undo ``enter``. A generator that is closed from another context has nothing to put back there."""
    try:
        _INNERMOST.reset(entered.ours)
    except ValueError:
        return
    if entered.theirs is not None:
        otel.detach(entered.theirs)


def _leads(theirs: Span, ours: type[Span], provider: trace.TracerProvider, shared: bool) -> bool:
    found = theirs.get_span_context()
    if found.is_valid and not found.is_remote and not isinstance(theirs, ours):
        return False
    installed = trace.get_tracer_provider()
    return shared or installed is provider or isinstance(installed, ProxyTracerProvider | trace.NoOpTracerProvider)
