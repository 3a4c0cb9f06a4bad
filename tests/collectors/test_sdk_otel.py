"""Beside an application's own OpenTelemetry set-up, and beside the instrumentations of others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import Parse
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from sdk_sink import Sink, attributes

import tidegauge

if TYPE_CHECKING:
    from conftest import Pipeline

RECORDED = Path(__file__).parent / "recorded"


class Theirs:
    """An application's own provider and what its exporter got."""

    def __init__(self, **options: Any) -> None:
        self.exporter = InMemorySpanExporter()
        resource = Resource({"service.name": "theirs"})
        self.provider = TracerProvider(resource=resource, shutdown_on_exit=False, **options)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("app", "1")

    def names(self) -> list[str]:
        return [span.name for span in self.exporter.get_finished_spans()]

    def context(self, name: str) -> SpanContext:
        found = self.of(name).get_span_context()
        assert found
        return found

    def of(self, name: str) -> ReadableSpan:
        [found] = [span for span in self.exporter.get_finished_spans() if span.name == name]
        return found


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Theirs:
    """An application whose provider is OpenTelemetry's global one."""
    made = Theirs(sampler=ParentBased(TraceIdRatioBased(0.0)))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", made.provider)
    return made


def ours(client: tidegauge.Client, sink: Sink) -> dict[str, Any]:
    assert client.flush(20)
    assert client.rejects == {}
    return {span.name: span for span in sink.spans()}


def test_neither_gets_the_others_spans_and_trace_ids_are_shared(client: tidegauge.Client, sink: Sink) -> None:
    theirs = Theirs()
    with theirs.tracer.start_as_current_span("outer") as outer, client.request("ask"):
        with theirs.tracer.start_as_current_span("inner"), client.llm_call("gpt"):
            pass
        assert trace.get_current_span() is outer
    found = ours(client, sink)
    assert (set(found), theirs.names()) == ({"ask", "chat gpt"}, ["inner", "outer"])
    ids = {name: theirs.context(name) for name in theirs.names()}
    assert {int.from_bytes(span.trace_id, "big") for span in found.values()} == {outer.get_span_context().trace_id}
    assert int.from_bytes(found["ask"].parent_span_id, "big") == ids["outer"].span_id
    assert int.from_bytes(found["chat gpt"].parent_span_id, "big") == ids["inner"].span_id
    assert theirs.of("inner").parent == ids["outer"], "their tree has no hole where ours is"


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_global_provider_keeps_its_own_roots_and_its_own_sampling(
    sink: Sink, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    theirs = Theirs(sampler=ParentBased(TraceIdRatioBased(0.0)))
    if when == "before":
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", theirs.provider)
    client = tidegauge.init("shop", sink.url)
    if when == "after":
        monkeypatch.setattr(trace, "_TRACER_PROVIDER", theirs.provider)
    with client.request("ask"):
        assert trace.get_current_span() is trace.INVALID_SPAN
        with theirs.tracer.start_as_current_span("sampled out"):
            pass
        with client.llm_call("gpt"):
            pass
    found = ours(client, sink)
    assert theirs.names() == []
    assert found["chat gpt"].parent_span_id == found["ask"].span_id
    client.shutdown()


def test_without_a_provider_of_its_own_ours_are_current_for_whoever_asks(client: tidegauge.Client) -> None:
    with client.request("ask") as step:
        assert trace.get_current_span() is step.span
        with client.llm_call("gpt") as call:
            assert trace.get_current_span() is call.span
        assert trace.get_current_span() is step.span
    assert trace.get_current_span() is trace.INVALID_SPAN


def test_a_remote_parent_in_their_context_is_ours_too(client: tidegauge.Client, sink: Sink) -> None:
    remote = SpanContext(7, 9, is_remote=True, trace_flags=TraceFlags(0))
    with trace.use_span(NonRecordingSpan(remote)), client.request("ask"):
        headers = tidegauge.trace_headers()
    span = ours(client, sink)["ask"]
    assert (span.trace_id, span.parent_span_id) == (bytes(15) + b"\x07", bytes(7) + b"\x09")
    assert headers["traceparent"].endswith("-00"), "the caller's sampling is handed on"


def test_a_processor_on_their_provider_brings_their_spans_whole(client: tidegauge.Client, sink: Sink) -> None:
    theirs = Theirs()
    theirs.provider.add_span_processor(client.span_processor(keep=lambda span: span.name != "noise"))
    link = SpanContext(1, 2, is_remote=True)
    with client.request("ask", tenant="acme"):
        with theirs.tracer.start_as_current_span(
            "work", kind=SpanKind.CLIENT, attributes={"a": 1, "list": ["x", "y"]}, links=[Link(link, {"l": True})]
        ) as span:
            span.add_event("hit", {"e": 0.5})
            span.set_status(Status(StatusCode.ERROR, "bad"))
        with theirs.tracer.start_as_current_span("noise"):
            pass
    found = ours(client, sink)
    assert (sorted(found), sorted(theirs.names())) == (["ask", "work"], ["noise", "work"])
    work = found["work"]
    assert (work.trace_id, work.parent_span_id, work.kind) == (found["ask"].trace_id, found["ask"].span_id, 3)
    assert attributes(work.attributes) == {"a": 1, "list": ["x", "y"], "tidegauge.tenant": "acme"}
    assert (work.status.code, work.status.message) == (2, "bad")
    assert (work.events[0].name, attributes(work.events[0].attributes)) == ("hit", {"e": 0.5})
    assert attributes(work.links[0].attributes) == {"l": True}
    assert "tidegauge.tenant" not in (theirs.of("work").attributes or {}), "theirs stays as it was"
    services = {
        attributes(resource.resource.attributes)["service.name"]
        for _, body in sink.requests
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
    }
    assert services == {"shop", "theirs"}


def test_a_processor_takes_only_what_they_sample_and_never_fails_them(client: tidegauge.Client, sink: Sink) -> None:
    theirs = Theirs(sampler=ALWAYS_OFF)
    theirs.provider.add_span_processor(client.span_processor())
    with theirs.tracer.start_as_current_span("unsampled"):
        pass
    failing = Theirs()
    failing.provider.add_span_processor(client.span_processor(keep=lambda span: 1 / 0))  # type: ignore[arg-type,return-value]
    with failing.tracer.start_as_current_span("work"):
        pass
    assert failing.provider.force_flush()
    failing.provider.shutdown()
    assert failing.names() == ["work"]
    assert (client.rejects, sink.spans()) == ({"span": 1}, [])


def test_an_installed_provider_that_shares_with_us_nests_in_our_steps(
    client: tidegauge.Client, sink: Sink, installed: Theirs
) -> None:
    installed.provider.add_span_processor(client.span_processor())
    with client.request("ask"), installed.tracer.start_as_current_span("work"), client.llm_call("gpt"):
        pass
    found = ours(client, sink)
    assert found["work"].parent_span_id == found["ask"].span_id
    assert found["chat gpt"].parent_span_id == found["work"].span_id


def test_our_own_requests_are_not_traced_by_their_instrumentation_of_http_clients(
    client: tidegauge.Client, sink: Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry.context import _SUPPRESS_HTTP_INSTRUMENTATION_KEY, _SUPPRESS_INSTRUMENTATION_KEY, get_value

    silent: list[Any] = []
    connect = client._sender._connect

    def noticing() -> Any:
        silent.extend([get_value(_SUPPRESS_HTTP_INSTRUMENTATION_KEY), get_value(_SUPPRESS_INSTRUMENTATION_KEY)])
        return connect()

    monkeypatch.setattr(client._sender, "_connect", noticing)
    client.log_prediction("m", {}, prediction=1)
    assert client.flush(20)
    assert silent == [True, True]


def test_our_provider_serves_an_instrumentation_like_opentelemetrys(client: tidegauge.Client, sink: Sink) -> None:
    tracer = client.tracer_provider.get_tracer("some.instrumentation", "3")
    with pytest.raises(ValueError, match="inside"), tracer.start_as_current_span("failing"):
        raise ValueError("inside")
    root = tracer.start_span("root", context=Context(), start_time=5, links=[Link(SpanContext(1, 2, True), {"l": 1})])
    with client.request("ask", tenant="acme"), tracer.start_as_current_span("outer", kind=SpanKind.SERVER) as outer:
        outer.set_attributes({"a": 1})
        outer.update_name("renamed")
        outer.add_event("seen", {"e": 1}, timestamp=7)
        with tracer.start_span("inner"):
            pass
        assert (outer.is_recording(), outer.attributes["a"]) == (True, 1)
    outer.end()
    root.end(end_time=9)
    found = ours(client, sink)
    assert (found["root"].start_time_unix_nano, found["root"].end_time_unix_nano) == (5, 9)
    assert found["root"].links[0].span_id == bytes(7) + b"\x02"
    assert found["failing"].events[0].name == "exception"
    assert found["failing"].status.code == 2
    assert found["renamed"].parent_span_id == found["ask"].span_id
    assert found["inner"].parent_span_id == found["renamed"].span_id
    assert attributes(found["inner"].attributes) == {"tidegauge.tenant": "acme"}
    scopes = {
        (scope.scope.name, scope.scope.version)
        for _, body in sink.requests
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
    }
    assert scopes == {("some.instrumentation", "3"), ("tidegauge", tidegauge.__version__)}


def test_a_long_conversation_of_an_instrumentation_is_not_cut_at_128_attributes(
    client: tidegauge.Client, sink: Sink
) -> None:
    named = {f"llm.input_messages.{number}.message.content": "x" for number in range(500)}
    with client.tracer_provider.get_tracer("x").start_as_current_span("chat", attributes=named):
        pass
    assert len(ours(client, sink)["chat"].attributes) == 500


@pytest.mark.parametrize("instrumentation", ["openinference", "openllmetry"])
def test_what_their_instrumentations_of_openai_send_arrives_normalised(direct: Pipeline, instrumentation: str) -> None:
    """Recorded from openinference-instrumentation-openai and opentelemetry-instrumentation-openai, inside a request."""
    payload = Parse((RECORDED / f"{instrumentation}.json").read_text(), ExportTraceServiceRequest())
    assert direct.post("traces", payload.SerializeToString()).status_code == 200
    direct.flush()
    calls = direct.store.rows("SELECT * FROM llm_calls WHERE kind = 'llm' ORDER BY timestamp")
    assert len(calls) == 2
    for call in calls:
        assert (call["tenant"], call["session"], call["provider"], call["service"]) == ("acme", "s1", "openai", "live")
        assert (call["model"], call["input_tokens"], call["output_tokens"]) == ("gpt-x-1", 11, 2)
        assert (call["finish_reason"], call["output"]) == ("stop", "Hello")
        assert call["input"].endswith("hi")
    assert [call["cache_read_tokens"] for call in calls] == [4, 0]
    [root] = direct.store.rows("SELECT SpanId FROM otel_traces WHERE SpanName = 'ask'")
    assert {call["parent_span_id"] for call in calls} == {root["SpanId"]}
    [embedding] = direct.store.rows("SELECT model, input_tokens FROM llm_calls WHERE kind = 'embedding'")
    assert (embedding["model"], embedding["input_tokens"]) == ("emb-1", 3)
