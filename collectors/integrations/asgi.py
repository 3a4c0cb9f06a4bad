"""Middleware for ASGI applications: FastAPI, Starlette and others.

Every HTTP request becomes a span that the steps and predictions inside belong to. Nothing it does can fail a request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from typing import Any

from anyio import to_thread
from opentelemetry import trace
from opentelemetry.trace import SpanContext, SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tidegauge.collectors.integrations import route
from tidegauge.collectors.sdk import records
from tidegauge.collectors.sdk.client import Client
from tidegauge.collectors.sdk.process import EXIT_S
from tidegauge.collectors.sdk.spans import Step
from tidegauge.collectors.sdk.start import current_client

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Source = str | Callable[[Scope], str] | None

HEALTH = ("/health", "/healthz", "/livez", "/readyz", "/ready", "/live", "/ping", "/metrics")
LONGEST = 256  # characters of what a header says
W3C = TraceContextTextMapPropagator()


class Middleware:
    """``app.add_middleware(tidegauge.Middleware, tenant="x-tenant")``

    Args:
        app: What is behind it.
        client: Default: what the last ``tidegauge.init`` returned, at the time of the request.
        tenant: A header, or a function of the ASGI scope. Nothing is read unless it is named here: what a header says
            is only as true as who set it.
        session: As ``tenant``.
        intent: As ``tenant``.
        slices: Names of slices, and for each a header or a function of the scope.
        exclude: Paths that are not recorded.
        trace_response: Tell the caller the ids in the ``traceresponse`` header, so that feedback can name them.
    """

    def __init__(
        self,
        app: App,
        *,
        client: Client | None = None,
        tenant: Source = None,
        session: Source = None,
        intent: Source = None,
        slices: Mapping[str, str | Callable[[Scope], str]] | None = None,
        exclude: Collection[str] = HEALTH,
        trace_response: bool = True,
    ) -> None:
        self.app, self._client = app, client
        self._tenant, self._session, self._intent, self._slices = tenant, session, intent, slices or {}
        self._exclude, self._trace_response = frozenset(exclude), trace_response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = self._client or current_client()
        if client is None:
            return await self.app(scope, receive, send)
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, _flushing(client, send))
        step = None
        if scope["type"] == "http" and scope.get("path") not in self._exclude:
            step = client.harmless("middleware", lambda: self._begin(client, scope), None)
        if step is None:
            return await self.app(scope, receive, send)
        with step:
            exchange = _Exchange(client, scope, step, receive, send, self._trace_response)
            try:
                await self.app(scope, exchange.receive, exchange.send)
            finally:
                client.harmless("middleware", exchange.finish, None)

    def _begin(self, client: Client, scope: Scope) -> Step:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope.get("headers", ())}

        def read(name: str, source: Source) -> str:
            if callable(source):
                return client.harmless(f"middleware: {name}", lambda: str(source(scope) or ""), "")[:LONGEST]
            return headers.get(source.lower(), "")[:LONGEST] if source else ""

        context = records.context(
            read("tenant", self._tenant),
            read("intent", self._intent),
            read("session", self._session),
            slices={name: read(name, source) for name, source in self._slices.items()},
        )
        method = str(scope.get("method", ""))
        named = {"http.request.method": method, "url.scheme": scope.get("scheme", "http")}
        if client.captures:  # a path may name a person; the route, which cannot, is always recorded
            named["url.path"] = scope.get("path", "")
        return Step(client, method, named, SpanKind.SERVER, shared=context, remote=_remote(headers))


class _Exchange:
    """One request and its response, passing by."""

    def __init__(
        self, client: Client, scope: Scope, step: Step, receive: Receive, send: Send, trace_response: bool
    ) -> None:
        self._clock, self._scope, self._step = client.clock, scope, step
        self._receive, self._send, self._client = receive, send, client
        self._trace_response = trace_response
        self._status = self._bytes = 0
        self._complete_ns: int | None = None
        self._first_byte_ns: int | None = None
        self._disconnected = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" and self._complete_ns is None:
            self._disconnected = True
        return message

    async def send(self, message: Message) -> None:
        self._client.harmless("middleware", lambda: self._notice(message), None)
        await self._send(message)

    def _notice(self, message: Message) -> None:
        kind, now_ns = message["type"], self._clock.now_ns()
        if kind == "http.response.start":
            self._status = int(message["status"])
            if self._trace_response:
                message["headers"] = [*message.get("headers", ()), (b"traceresponse", traceparent(self._step).encode())]
        elif kind in ("http.response.body", "http.response.pathsend"):
            self._bytes += len(message.get("body", b""))
            if self._first_byte_ns is None:
                self._first_byte_ns = now_ns
            if not message.get("more_body", False):
                self._complete_ns = now_ns

    def finish(self) -> None:
        """Write down what passed; the span ends when the response did, not with the tasks after it."""
        step, began = self._step, self._step.span.start_time
        if template := self._client.harmless("middleware: route", lambda: route.template(self._scope), ""):
            step.set("http.route", template)
            step.span.update_name(f"{self._scope.get('method', '')} {template}")
        if self._status:
            step.set("http.response.status_code", self._status)
            step.set("http.response.body.size", self._bytes)
        if self._status >= 500:
            step.wrong(str(self._status))
        if self._first_byte_ns is not None:
            step.set("tidegauge.http.time_to_first_byte_s", (self._first_byte_ns - began) / 1e9)
        if self._disconnected:
            step.set("tidegauge.http.disconnected", True)
        step.ends_at(self._complete_ns)


def traceparent(step: Step) -> str:
    """A step's ids as W3C trace context has them."""
    return f"00-{step.trace_id}-{step.span_id}-{int(step.span.get_span_context().trace_flags) & 1:02x}"


def _remote(headers: Mapping[str, str]) -> SpanContext | None:
    """The span of the caller, where it names one."""
    found = trace.get_current_span(W3C.extract(headers)).get_span_context() if "traceparent" in headers else None
    return found if found is not None and found.is_valid and found.is_remote else None


def _flushing(client: Client, send: Send) -> Send:
    """Deliver before the server is told that the application is down: uvicorn then ends the process by a signal."""

    async def flushing(message: Message) -> None:
        if message["type"] in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            await to_thread.run_sync(client.flush, EXIT_S, abandon_on_cancel=True)
        await send(message)

    return flushing
