"""LLM calls for tests, written as the spans that they come as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tidegauge.store import Store

OPERATIONS = {"llm": "chat", "embedding": "embeddings", "retrieval": "retrieval", "tool": "execute_tool"}
ATTRIBUTES = {
    "name": "gen_ai.tool.name",
    "provider": "gen_ai.provider.name",
    "model": "gen_ai.response.model",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cache_read_tokens": "gen_ai.usage.cache_read.input_tokens",
    "cost_usd": "tidegauge.cost.usd",
    "time_to_first_token_s": "gen_ai.response.time_to_first_chunk",
    "error_type": "error.type",
    "finish_reason": "gen_ai.response.finish_reason",
    "tenant": "tidegauge.tenant",
    "intent": "tidegauge.intent",
    "session": "session.id",
    "role": "tidegauge.role",
    "prompt_name": "gen_ai.prompt.name",
    "prompt_version": "gen_ai.prompt.version",
    "input": "input.value",
    "output": "output.value",
}


def insert_calls(store: Store, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert what ``llm_calls`` shall show; each row has some of its columns."""
    store.insert("otel_traces", [_span(row) for row in rows])


def _span(row: Mapping[str, Any]) -> dict[str, Any]:
    attributes = {ATTRIBUTES[name]: str(value) for name, value in row.items() if name in ATTRIBUTES and value}
    kind = row.get("kind", "llm")
    attributes |= {"gen_ai.operation.name": OPERATIONS[kind]} if kind in OPERATIONS else {"traceloop.span.kind": kind}
    attributes |= {"tidegauge.refused": "true"} if row.get("refused") else {}
    attributes |= {"tidegauge.guardrail.action": "block"} if row.get("blocked") else {}
    for name, prefix in (("slices", "slice"), ("versions", "version")):
        attributes |= {f"tidegauge.{prefix}.{key}": value for key, value in row.get(name, {}).items()}
    return {
        "Timestamp": row["timestamp"],
        "TraceId": row.get("trace_id", ""),
        "SpanId": row.get("span_id", ""),
        "ServiceName": row.get("service", ""),
        "SpanAttributes": attributes,
        "Duration": round(row.get("duration_s", 0) * 1e9),
    }
