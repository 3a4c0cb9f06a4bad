"""GenAI spans as the instrumentations of four dialects send them, read through llm_calls."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from otlp_payloads import NOW_NS, attributes, span, traces

from tidegauge.collectors.schema import insert_exports
from tidegauge.model import Signal
from tidegauge.store import Store

ASKED, ANSWERED, SYSTEM = "Where is my order?", "It ships on Monday.", "You are a support assistant."
DOCUMENT = {"id": "faq-7", "score": 0.83, "content": "Orders ship on Mondays."}
Attributes = dict[str, Any]


def arriving(store: Store, given: Attributes, *events: Span.Event, resource: Attributes | None = None) -> Attributes:
    """The one row of llm_calls that a span becomes."""
    request = traces(span(attributes=attributes(given), events=events))
    request.resource_spans[0].resource.attributes.extend(attributes(resource or {}))
    insert_exports(store, Signal.TRACES, [request.SerializeToString()])
    [call] = store.rows("SELECT * FROM llm_calls")
    return call


def event(name: str, given: Attributes) -> Span.Event:
    return Span.Event(time_unix_nano=NOW_NS, name=name, attributes=attributes(given))


def message(role: str, text: str) -> Attributes:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


OTEL: Attributes = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4.1",
    "gen_ai.response.model": "gpt-4.1-2026-04-14",
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.usage.input_tokens": 120,
    "gen_ai.usage.output_tokens": 9,
}
OLD_OTEL: Attributes = {
    "gen_ai.operation.name": "chat",
    "gen_ai.system": "az.ai.openai",
    "gen_ai.request.model": "gpt-4.1",
    "gen_ai.response.model": "gpt-4.1-2026-04-14",
    "gen_ai.response.finish_reason": "stop",
    "gen_ai.usage.prompt_tokens": 120,
    "gen_ai.usage.completion_tokens": 9,
}
OPENINFERENCE: Attributes = {
    "openinference.span.kind": "LLM",
    "llm.provider": "openai",
    "llm.model_name": "gpt-4.1",
    "llm.response.model_name": "gpt-4.1-2026-04-14",
    "llm.finish_reason": "stop",
    "llm.token_count.prompt": 120,
    "llm.token_count.completion": 9,
    "llm.invocation_parameters": '{"temperature": 0}',
}
OPENLLMETRY: Attributes = {
    "llm.request.type": "chat",
    "gen_ai.system": "openai",
    "gen_ai.request.model": "gpt-4.1",
    "gen_ai.response.model": "gpt-4.1-2026-04-14",
    "gen_ai.response.finish_reason": "stop",
    "gen_ai.usage.prompt_tokens": 120,
    "gen_ai.usage.completion_tokens": 9,
    "traceloop.workflow.name": "answer",
}
ASKING = [message("system", SYSTEM), message("user", ASKED)]
ANSWER = [message("assistant", ANSWERED) | {"finish_reason": "stop"}]
FLAT_IN = {
    "llm.input_messages.0.message.role": "system",
    "llm.input_messages.0.message.content": SYSTEM,
    "llm.input_messages.1.message.role": "user",
}
DIALECTS: dict[str, tuple[Attributes, list[Span.Event]]] = {
    "otel, messages as JSON": (
        OTEL | {"gen_ai.input.messages": json.dumps(ASKING), "gen_ai.output.messages": json.dumps(ANSWER)},
        [],
    ),
    "otel, messages as values": (OTEL | {"gen_ai.input.messages": ASKING, "gen_ai.output.messages": ANSWER}, []),
    "otel, messages in the details event": (
        OTEL,
        [
            event(
                "gen_ai.client.inference.operation.details",
                {"gen_ai.input.messages": ASKING, "gen_ai.output.messages": json.dumps(ANSWER)},
            )
        ],
    ),
    "old otel, content events": (
        OLD_OTEL,
        [
            event(
                "gen_ai.content.prompt",
                {
                    "gen_ai.prompt": json.dumps(
                        [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ASKED}]
                    )
                },
            ),
            event(
                "gen_ai.content.completion",
                {"gen_ai.completion": json.dumps([{"role": "assistant", "content": ANSWERED}])},
            ),
        ],
    ),
    "old otel, an event a message": (
        OLD_OTEL,
        [
            event("gen_ai.system.message", {"content": SYSTEM}),
            event("gen_ai.user.message", {"content": ASKED}),
            event("gen_ai.choice", {"index": 0, "message": {"content": ANSWERED, "role": "assistant"}}),
        ],
    ),
    "openinference": (
        OPENINFERENCE
        | FLAT_IN
        | {
            "llm.input_messages.1.message.content": ASKED,
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.content": ANSWERED,
            "input.value": '{"messages": []}',
        },
        [],
    ),
    "openinference, contents": (
        OPENINFERENCE
        | FLAT_IN
        | {
            "llm.input_messages.1.message.contents.0.message_content.type": "text",
            "llm.input_messages.1.message.contents.0.message_content.text": ASKED,
            "llm.output_messages.0.message.role": "assistant",
            "llm.output_messages.0.message.contents.0.message_content.text": ANSWERED,
        },
        [],
    ),
    "openllmetry": (
        OPENLLMETRY
        | {
            "gen_ai.prompt.0.role": "system",
            "gen_ai.prompt.0.content": SYSTEM,
            "gen_ai.prompt.1.role": "user",
            "gen_ai.prompt.1.content": json.dumps([{"type": "text", "text": ASKED}]),
            "gen_ai.completion.0.role": "assistant",
            "gen_ai.completion.0.content": ANSWERED,
            "gen_ai.completion.0.finish_reason": "stop",
        },
        [],
    ),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_a_call_of_every_dialect_reads_the_same(store: Store, name: str) -> None:
    given, events = DIALECTS[name]
    call = arriving(store, given, *events)

    expected: Attributes = {"kind": "llm", "request_model": "gpt-4.1", "model": "gpt-4.1-2026-04-14"}
    expected |= {"input_tokens": 120, "output_tokens": 9, "finish_reason": "stop"}
    assert {key: call[key] for key in expected} == expected
    assert call["provider"] == ("azure.ai.openai" if given.get("gen_ai.system") == "az.ai.openai" else "openai")
    assert (call["input"], call["output"]) == (ASKED, ANSWERED)
    assert call["input_messages"] == [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ASKED}]
    assert call["output_messages"] == [{"role": "assistant", "content": ANSWERED}]


@pytest.mark.parametrize(
    ("given", "events", "kind"),
    [
        ({"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": json.dumps([DOCUMENT])}, [], "retrieval"),
        (
            {
                "openinference.span.kind": "RETRIEVER",
                "input.value": ASKED,
                **{f"retrieval.documents.0.document.{key}": value for key, value in DOCUMENT.items()},
            },
            [],
            "retrieval",
        ),
        (
            {
                "openinference.span.kind": "RERANKER",
                "reranker.query": ASKED,
                **{f"reranker.output_documents.0.document.{key}": value for key, value in DOCUMENT.items()},
            },
            [],
            "reranker",
        ),
        (
            {"db.system": "chroma", "db.operation": "query", "traceloop.entity.input": ASKED},
            [
                event(
                    "db.query.result",
                    {
                        "db.query.result.id": DOCUMENT["id"],
                        "db.query.result.score": DOCUMENT["score"],
                        "db.query.result.document": DOCUMENT["content"],
                    },
                )
            ],
            "retrieval",
        ),
    ],
    ids=["otel", "openinference", "openinference reranker", "openllmetry"],
)
def test_retrieved_documents_of_every_dialect_read_the_same(
    store: Store, given: Attributes, events: list[Span.Event], kind: str
) -> None:
    call = arriving(store, given, *events)
    assert (call["kind"], json.loads(call["documents"])) == (kind, [DOCUMENT])
    assert call["input"] in (ASKED, "")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"openinference.span.kind": "TOOL", "tool.name": "lookup"}, ("tool", "lookup")),
        ({"gen_ai.operation.name": "execute_tool", "tool.name": "look", "gen_ai.agent.name": "a"}, ("tool", "look")),
        ({"traceloop.span.kind": "workflow", "traceloop.entity.name": "answer"}, ("chain", "answer")),
        ({"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "planner"}, ("agent", "planner")),
        ({"gen_ai.operation.name": "create_memory_store"}, ("other", "span")),
        ({"gen_ai.operation.name": "chat", "tidegauge.guardrail.name": "pii"}, ("guardrail", "pii")),
    ],
)  # fmt: skip
def test_the_kind_and_the_name_of_a_step_follow_from_any_dialect(
    store: Store, given: Attributes, expected: tuple[str, str]
) -> None:
    call = arriving(store, given)
    assert (call["kind"], "span" if expected[1] == "span" else call["name"]) == expected


def test_a_span_that_is_no_genai_span_is_no_call(store: Store) -> None:
    plain = traces(span(attributes=attributes({"http.route": "/cart", "db.system": "postgresql"})))
    insert_exports(store, Signal.TRACES, [plain.SerializeToString()])
    assert store.value("SELECT count() FROM otel_traces") == 1
    assert store.value("SELECT count() FROM llm_calls") == 0
    assert store.value("SELECT count() FROM llm_calls_1m") == 0


@pytest.mark.parametrize(
    ("resource", "own", "tenant"),
    [
        ({"tidegauge.tenant.verified": "acme", "tidegauge.tenant": "evil"}, {"tidegauge.tenant": "evil"}, "acme"),
        ({"tidegauge.tenant.verified": "acme"}, {"tidegauge.tenant.verified": "evil"}, "acme"),
        ({"tidegauge.tenant": "house"}, {"tidegauge.tenant": "guest"}, "guest"),
        ({"tidegauge.tenant": "house"}, {}, "house"),
        ({}, {"tidegauge.tenant.verified": "evil"}, ""),
    ],
)
def test_the_tenant_is_the_key_s_where_one_was_given_and_the_payload_s_otherwise(
    store: Store, resource: Attributes, own: Attributes, tenant: str
) -> None:
    assert arriving(store, OTEL | own, resource=resource)["tenant"] == tenant
    assert store.value("SELECT any(tenant) FROM llm_calls_1m") == tenant


def test_versions_and_slices_come_from_the_resource_and_the_span_and_the_span_wins(store: Store) -> None:
    resource = {"tidegauge.version.base_model": "b1", "tidegauge.version.prompt": "p0", "tidegauge.role": "canary"}
    own = {"tidegauge.version.prompt": "p1", "tidegauge.slice.tier": "paid", "session.id": "s1"}
    call = arriving(store, OTEL | own, resource=resource)
    assert call["versions"] == {"base_model": "b1", "prompt": "p1"}
    assert (call["slices"], call["role"], call["session"]) == ({"tier": "paid"}, "canary", "s1")


DAY_NS = 86_400 * 10**9


@pytest.mark.parametrize(
    ("start", "took", "note"),
    [
        (0, 10**9, "no time"),
        (NOW_NS + 329 * 365 * DAY_NS, 0, "ahead"),
        (time.time_ns() + DAY_NS, 10**9, "ahead"),
        (time.time_ns() - 365 * DAY_NS, 10**9, "late"),
        (time.time_ns(), -(10**9), "ends before start"),
        (time.time_ns(), 10**9, ""),
    ],
    ids=["epoch", "year 2299", "a day ahead", "a year ago", "end before start", "right"],
)
def test_a_clock_that_is_wrong_is_noted_and_its_calls_count_when_they_came(
    store: Store, start: int, took: int, note: str
) -> None:
    end = min(max(start + took, 0), 2**64 - 1)
    wrong = span(attributes=attributes(OTEL), start_time_unix_nano=start, end_time_unix_nano=end)
    insert_exports(store, Signal.TRACES, [traces(wrong).SerializeToString()], "once")
    insert_exports(store, Signal.TRACES, [traces(wrong).SerializeToString()], "once")

    [call] = store.rows("SELECT time_note, timestamp, sent_at, duration_s FROM llm_calls")
    [minute] = store.rows("SELECT minute, sum(calls) AS calls FROM llm_calls_1m GROUP BY minute")
    now = datetime.now(UTC)
    assert call["time_note"] == note
    assert call["duration_s"] == max(0, took) / 1e9
    assert minute["calls"] == 1
    if note in ("no time", "ahead"):
        assert abs(call["timestamp"] - now) < timedelta(minutes=2)
        assert abs(minute["minute"] - now) < timedelta(minutes=3)
    else:
        assert call["timestamp"] == call["sent_at"]


def test_nested_values_met_once_are_expected_from_then_on_and_nothing_is_stored_twice(store: Store) -> None:
    lists = [traces(span(number, attributes=attributes({"list": {"a": [1, {"b": None}]}}))) for number in (1, 2)]
    plain = traces(span(3, attributes=attributes({"list": [], "text": ""})))
    for request in (lists[0], plain, lists[1]):
        insert_exports(store, Signal.TRACES, [request.SerializeToString()] * 2)
    found = store.rows("SELECT SpanAttributes['list'] AS l, count() AS n FROM otel_traces GROUP BY l ORDER BY l")
    assert found == [{"l": "[]", "n": 2}, {"l": '{"a":[1,{"b":null}]}', "n": 4}]


def test_calls_of_a_service_and_kind_and_of_a_trace_are_found_without_reading_all_others(store: Store) -> None:
    store.execute(
        """INSERT INTO otel_traces (Timestamp, TraceId, ServiceName, SpanAttributes)
        SELECT now64(9) - toIntervalSecond(number % 80000), lower(hex(sipHash128(number))),
          ['a', 'b', 'c'][number % 3 + 1], map('gen_ai.operation.name', ['chat', 'retrieval'][number % 2 + 1])
        FROM numbers(200000)"""
    )
    recent = "service = 'b' AND kind = 'llm' AND timestamp >= now() - toIntervalHour(1)"
    trace = store.value("SELECT max(TraceId) FROM otel_traces")
    for condition in (recent, f"trace_id = '{trace}'"):
        plan = store.rows(f"EXPLAIN indexes = 1 SELECT name, cost_usd, input FROM llm_calls WHERE {condition}")
        granules = re.findall(r"Granules: (\d+)/(\d+)", "\n".join(row["explain"] for row in plan))
        assert int(granules[-1][0]) / int(granules[0][1]) <= 0.3, (condition, plan)
