"""Traces: the list, and one trace as a tree of spans."""

# ruff: noqa: S608 - the pieces are constants of this folder; every value is a bound parameter

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tidegauge.dashboards.panels import within
from tidegauge.model import Window
from tidegauge.store import Rows, Store

MAX_SPANS = 2000
ROOTS = f"""SELECT t.TraceId AS trace_id, t.Timestamp AS started, t.ServiceName AS service, t.SpanName AS name,
  t.Duration / 1e9 AS duration_s,
  c.spans AS spans, c.failed AS failed, c.tokens AS tokens, c.cost AS cost, c.said AS said
FROM (SELECT TraceId, Timestamp, ServiceName, SpanName, Duration FROM otel_traces
  WHERE ParentSpanId = '' AND {within("Timestamp")} AND ({{service:String}} = '' OR ServiceName = {{service:String}})
    AND ({{only:String}} = '' OR TraceId IN (SELECT trace_id FROM llm_facts WHERE {within("timestamp")}
      AND multiIf({{only:String}} = 'errors', error_type != '', {{only:String}} = 'refused', refused, blocked)))
  ORDER BY Timestamp DESC LIMIT 100) AS t
LEFT JOIN (SELECT trace_id, count() AS spans, countIf(error_type != '') AS failed,
  sum(input_tokens + output_tokens) AS tokens,
    sum(cost_usd) AS cost, substring(anyIf(input, kind = 'llm'), 1, 120) AS said
  FROM llm_calls WHERE timestamp >= {{start:DateTime64(3)}} AND timestamp < {{end:DateTime64(3)}} + INTERVAL 1 HOUR
    GROUP BY trace_id) AS c
ON t.TraceId = c.trace_id ORDER BY started DESC"""
# Compared as DateTime64: a DateTime constant as an exclusive end prunes parts whose newest row is in the second before.
BOUNDS = """Timestamp >= (SELECT toDateTime64(min(Start), 9) FROM otel_traces_trace_id_ts WHERE TraceId = {id:String})
  AND Timestamp < (SELECT toDateTime64(max(End) + 1, 9) FROM otel_traces_trace_id_ts WHERE TraceId = {id:String})"""
SPANS = f"""SELECT Timestamp AS started, SpanId AS span_id, ParentSpanId AS parent_span_id, SpanName AS name,
  SpanKind AS span_kind,
  ServiceName AS service, Duration / 1e9 AS duration_s, StatusCode AS status, StatusMessage AS message,
    SpanAttributes AS attributes,
  Events.Name AS event_names, Events.Attributes AS event_attributes
FROM otel_traces WHERE TraceId = {{id:String}} AND {BOUNDS} ORDER BY Timestamp, SpanId LIMIT {MAX_SPANS}"""
CALLS = f"""SELECT span_id, kind, name, provider, model, input_tokens, output_tokens, cache_read_tokens, cost_usd,
  time_to_first_token_s, error_type,
  finish_reason, refused, blocked, tenant, intent, session, role, prompt_name, prompt_version, versions, slices,
  input, output, documents
FROM llm_calls WHERE trace_id = {{id:String}}
  AND {BOUNDS.replace("Timestamp", "sent_at")} LIMIT {MAX_SPANS}"""
FILTERS = {"": "all", "errors": "with an error", "refused": "refused", "blocked": "blocked"}


@dataclass(frozen=True, slots=True)
class Placed:
    """A span with its place in the tree and on the time axis; ``left`` and ``width`` are percent of the trace."""

    span: dict[str, Any]
    depth: int
    left: float
    width: float


def listed(store: Store, window: Window, service: str, only: str) -> Rows:
    """The newest 100 traces; ``only`` is one of FILTERS."""
    names = {"start": window.start, "end": window.end, "service": service, "only": only}
    return store.rows(ROOTS, names)


def spans(store: Store, trace_id: str) -> Rows:
    """The spans of a trace, at most 2000, each with its GenAI fields under ``call`` (None where it is no such span)."""
    calls = {row["span_id"]: row for row in store.rows(CALLS, {"id": trace_id})}
    return [row | {"call": calls.get(row["span_id"])} for row in store.rows(SPANS, {"id": trace_id})]


def waterfall(rows: Rows) -> list[Placed]:
    """Spans in tree order. One whose parent is unknown stands at the root; a ring of parents is cut, not followed."""
    if not rows:
        return []
    begin = min(row["started"] for row in rows)
    ends = [(row["started"] - begin).total_seconds() + row["duration_s"] for row in rows]
    whole = max(*ends, 1e-9) if len(ends) > 1 else max(ends[0], 1e-9)
    return [_placed(row, depth, begin, whole) for row, depth in _in_order(rows)]


def _in_order(rows: Rows) -> list[tuple[dict[str, Any], int]]:
    known = {row["span_id"] for row in rows}
    children: dict[str, Rows] = {}
    for row in rows:
        parent = row["parent_span_id"] if row["parent_span_id"] in known else ""
        children.setdefault(parent, []).append(row)
    ordered: list[tuple[dict[str, Any], int]] = []
    seen: set[int] = set()
    for start in (*children.get("", []), *rows):  # the second pass finds what only a ring of parents holds
        stack = [(start, 0)]
        while stack:
            row, depth = stack.pop()
            if id(row) not in seen:
                seen.add(id(row))
                ordered.append((row, depth))
                stack += [(child, depth + 1) for child in reversed(children.get(row["span_id"], []))]
    return ordered


def _placed(row: Mapping[str, Any], depth: int, begin: Any, whole: float) -> Placed:
    left = 100 * (row["started"] - begin).total_seconds() / whole
    width = 100 * row["duration_s"] / whole
    return Placed(dict(row), min(depth, 24), round(min(left, 99.6), 3), round(max(min(width, 100 - left), 0.4), 3))
