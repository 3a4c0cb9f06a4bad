"""Contexts around the steps of an LLM request.

They set the OpenTelemetry GenAI attributes, and of our own only what those conventions lack: cost, refusal, guardrail
action, tenant, intent and the version tuple.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextvars import Token
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from opentelemetry import trace
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from tidegauge.clock import Clock
from tidegauge.collectors.sdk import nesting
from tidegauge.collectors.sdk.nesting import INHERITED
from tidegauge.collectors.sdk.records import Attributes, text
from tidegauge.collectors.sdk.span import Span

T = TypeVar("T")


class Recorder(Protocol):
    """What a step needs of the client."""

    clock: Clock
    captures: bool

    def finished(self, span: Span) -> None:
        """A span of ours has ended."""
        ...

    def enter(self, span: Span) -> nesting.Entered:
        """Make a span the innermost."""
        ...

    def attempt(self, what: str, work: Callable[[], T], otherwise: T) -> T:
        """Do ``work``; if it fails, count that and return ``otherwise``, or raise InvalidRecord if strict."""
        ...


class Step:
    """One span, from the beginning to the end of a ``with`` block.

    An exception inside marks it as an error and goes on up; only its type is recorded where content is not, because its
    text may quote a prompt.
    """

    __slots__ = (
        "_attributes",
        "_ended_ns",
        "_entered",
        "_inherited",
        "_kind",
        "_name",
        "_recorder",
        "_remote",
        "_shared",
        "_span",
    )

    def __init__(
        self,
        recorder: Recorder,
        name: str,
        attributes: Attributes,
        kind: SpanKind = SpanKind.INTERNAL,
        shared: Attributes | None = None,
        remote: SpanContext | None = None,
    ) -> None:
        """``shared`` is what every step inside inherits; ``remote`` the parent where this process has none."""
        self._recorder, self._name, self._kind = recorder, name, kind
        self._attributes, self._shared, self._remote = attributes, shared, remote
        self._ended_ns: int | None = None
        self._span: Span | None = None
        self._inherited: Token[Attributes | None] | None = None

    def __enter__(self) -> Self:
        recorder, inherited = self._recorder, INHERITED.get()
        if self._shared is not None:
            inherited = {**(inherited or {}), **self._shared}
            self._inherited = INHERITED.set(inherited)
        parent = nesting.parent() or self._remote
        named = {**inherited, **self._attributes} if inherited else self._attributes
        self._span = Span(self._name, self._kind, named, parent, recorder.clock, recorder.finished)
        self._entered = recorder.enter(self._span)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_back: TracebackType | None
    ) -> None:
        nesting.leave(self._entered)
        if self._inherited is not None:
            try:
                INHERITED.reset(self._inherited)
            except ValueError:  # a generator, closed from another context
                self._inherited = None
        if error is not None:
            self.failed(error)
        self.span.end(self._ended_ns)

    def failed(self, error: BaseException) -> None:
        """Mark the step as an error: for one that is handled inside it."""
        self.wrong(type(error).__qualname__)
        if self._recorder.captures:
            self._attempt(lambda: self._quote(error))

    def _quote(self, error: BaseException) -> None:
        self.span.record_exception(error)
        self.span.set_status(StatusCode.ERROR, str(error))

    def _attempt(self, work: Callable[[], None]) -> None:
        self._recorder.attempt("span", work, None)

    def wrong(self, kind: str) -> None:
        """Mark the step as an error of a ``kind``, without an exception."""
        self.span.set_attribute("error.type", kind)
        self.span.set_status(StatusCode.ERROR)

    def ends_at(self, time_ns: int | None) -> None:
        """The step ended then, and not when its ``with`` block does."""
        self._ended_ns = time_ns

    @property
    def span(self) -> Span:
        """OpenTelemetry's interface to it. Raises RuntimeError before the ``with`` block."""
        if self._span is None:
            raise RuntimeError("this step has not begun; use it in a with statement")
        return self._span

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return trace.format_trace_id(self.span.get_span_context().trace_id)

    @property
    def span_id(self) -> str:
        """16 hexadecimal digits."""
        return trace.format_span_id(self.span.get_span_context().span_id)

    def set(self, key: str, value: Any) -> None:
        """Set any attribute."""
        self.span.attributes[key] = value

    def content(self, key: str, value: Any) -> None:
        """Set an attribute that may hold personal data: only where content capture is on."""
        if self._recorder.captures and value:
            self.set(key, value)


class Retrieval(Step):
    """A search in a document index."""

    __slots__ = ()

    def documents(self, found: Sequence[Mapping[str, Any]]) -> None:
        """What was found, best first: ``[{"id": ..., "score": ...}]``; anything else in them is content."""
        self._attempt(lambda: self.set("gen_ai.retrieval.documents", self._listed(found)))

    def _listed(self, found: Sequence[Mapping[str, Any]]) -> str:
        whole = self._recorder.captures
        kept = [{key: each[key] for key in each if whole or key in ("id", "score")} for each in found]
        return json.dumps(kept, default=text)


class Guardrail(Step):
    """A check of input or output. It passes unless ``blocked`` is called."""

    __slots__ = ()

    def blocked(self) -> None:
        """The check stopped the request."""
        self.set("tidegauge.guardrail.action", "block")


class ToolCall(Step):
    """A tool that the model called."""

    __slots__ = ()

    def output(self, text: str) -> None:
        """What the tool returned."""
        self.content("gen_ai.tool.call.result", text)


class LlmCall(Step):
    """A call of a language model."""

    __slots__ = ()

    def input(self, text: str, role: str = "user") -> None:
        """The prompt's last message."""
        self._message("gen_ai.input.messages", role, text)

    def output(self, text: str) -> None:
        """The answer."""
        self._message("gen_ai.output.messages", "assistant", text)

    def _message(self, key: str, role: str, said: str) -> None:
        if self._recorder.captures:
            self._attempt(lambda: self.set(key, _messages(role, said)))

    def first_token(self) -> None:
        """The first piece of the answer has arrived: sets the time to first token."""
        self.set("gen_ai.response.time_to_first_chunk", (self._recorder.clock.now_ns() - self.span.start_time) / 1e9)

    def usage(self, input_tokens: int, output_tokens: int, cache_read_tokens: int = 0) -> None:
        """Tokens; the cached ones are part of the input."""
        self.set("gen_ai.usage.input_tokens", input_tokens)
        self.set("gen_ai.usage.output_tokens", output_tokens)
        if cache_read_tokens:
            self.set("gen_ai.usage.cache_read.input_tokens", cache_read_tokens)

    def cost(self, usd: float) -> None:
        """What the call cost, in US dollars."""
        self._attempt(lambda: self.set("tidegauge.cost.usd", float(usd)))

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


def _messages(role: str, said: Any) -> str:
    written = text(said)
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": written}]}], ensure_ascii=False)
