"""Contexts around the steps of an LLM request.

They set the OpenTelemetry GenAI attributes, and of our own only what those conventions lack: cost, refusal, guardrail
action, tenant, intent and the version tuple.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer

from tidegauge.clock import Clock
from tidegauge.collectors.sdk.records import Attributes, clean, text

INHERITED: ContextVar[Attributes | None] = ContextVar("tidegauge_context", default=None)


class Step:
    """One span under way."""

    def __init__(self, span: Span, clock: Clock, capture_content: bool) -> None:
        self._span, self._clock, self._capture = span, clock, capture_content
        self._started_ns = clock.now_ns()

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return trace.format_trace_id(self._span.get_span_context().trace_id)

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits."""
        return trace.format_span_id(self._span.get_span_context().span_id)

    def set(self, key: str, value: Any) -> None:
        """Set any attribute."""
        self._span.set_attribute(key, _clean(value))

    def content(self, key: str, value: Any) -> None:
        """Set an attribute that may hold personal data: only where content capture is on."""
        if self._capture and value:
            self.set(key, value)


class Retrieval(Step):
    """A search in a document index."""

    def documents(self, found: Sequence[Mapping[str, Any]]) -> None:
        """What was found, best first: ``[{"id": ..., "score": ...}]``; anything else in them is content."""
        kept = (
            found if self._capture else [{key: each[key] for key in ("id", "score") if key in each} for each in found]
        )
        self.set("gen_ai.retrieval.documents", json.dumps([dict(each) for each in kept], default=text))


class Guardrail(Step):
    """A check of input or output. It passes unless ``blocked`` is called."""

    def blocked(self) -> None:
        """The check stopped the request."""
        self.set("tidegauge.guardrail.action", "block")


class ToolCall(Step):
    """A tool that the model called."""

    def output(self, text: str) -> None:
        """What the tool returned."""
        self.content("gen_ai.tool.call.result", text)


class LlmCall(Step):
    """A call of a language model."""

    def input(self, text: str, role: str = "user") -> None:
        """The prompt's last message."""
        self.content("gen_ai.input.messages", _messages(role, text))

    def output(self, text: str) -> None:
        """The answer."""
        self.content("gen_ai.output.messages", _messages("assistant", text))

    def first_token(self) -> None:
        """The first piece of the answer has arrived: sets the time to first token."""
        self.set("gen_ai.response.time_to_first_chunk", (self._clock.now_ns() - self._started_ns) / 1e9)

    def usage(self, input_tokens: int, output_tokens: int, cache_read_tokens: int = 0) -> None:
        """Tokens; the cached ones are part of the input."""
        self.set("gen_ai.usage.input_tokens", input_tokens)
        self.set("gen_ai.usage.output_tokens", output_tokens)
        if cache_read_tokens:
            self.set("gen_ai.usage.cache_read.input_tokens", cache_read_tokens)

    def cost(self, usd: float) -> None:
        """What the call cost, in US dollars."""
        self.set("tidegauge.cost.usd", float(usd))

    def response(self, model: str = "", finish_reason: str = "", id: str = "") -> None:
        """What the model server said of itself."""
        named = {"gen_ai.response.model": model, "gen_ai.response.id": id}
        for key, value in named.items():
            if value:
                self.set(key, value)
        if finish_reason:
            self.set("gen_ai.response.finish_reasons", [finish_reason])

    def refused(self) -> None:
        """The model declined to answer."""
        self.set("tidegauge.refused", True)


S = TypeVar("S", bound=Step)


class Steps:
    """Makes spans of ``tracer`` with the times of ``clock``."""

    def __init__(self, tracer: Tracer, clock: Clock, capture_content: bool) -> None:
        self._tracer, self._clock, self.captures = tracer, clock, capture_content

    @contextmanager
    def span(self, kind: type[S], name: str, attributes: Attributes, client: bool = False) -> Iterator[S]:
        """A span of ``kind``; an exception inside marks it as an error and is raised again.

        What the exception says may quote a prompt, so that only its type is recorded where content is not.
        """
        span = self._tracer.start_span(
            clean(name),
            kind=SpanKind.CLIENT if client else SpanKind.INTERNAL,
            attributes=(INHERITED.get() or {}) | {key: _clean(each) for key, each in attributes.items() if each != ""},
            start_time=self._clock.now_ns(),
        )
        try:
            with trace.use_span(span, end_on_exit=False, record_exception=self.captures, set_status_on_exception=False):
                yield kind(span, self._clock, self.captures)
        except BaseException as error:
            span.set_attribute("error.type", type(error).__qualname__)
            span.set_status(Status(StatusCode.ERROR, clean(str(error)) if self.captures else None))
            raise
        finally:
            span.end(end_time=self._clock.now_ns())

    @contextmanager
    def request(self, name: str, context: Attributes) -> Iterator[Step]:
        """A root span whose ``context`` every step inside inherits."""
        token = INHERITED.set((INHERITED.get() or {}) | context)
        try:
            with self.span(Step, name, {}) as step:
                yield step
        finally:
            INHERITED.reset(token)


def _clean(value: Any) -> Any:
    return clean(value) if isinstance(value, str) else value


def _messages(role: str, text: str) -> str:
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}]}], ensure_ascii=False)
