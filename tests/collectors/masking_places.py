"""Requests with secrets in every place, and a search for them in what became of the requests."""

from __future__ import annotations

import re
from typing import Any

import masking_corpus
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Exemplar, Gauge, Metric, NumberDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from otlp_payloads import NOW_NS, attributes, logs, metrics, prediction, record, span, traces, value

from tidegauge.store import Store

SECRETS = [case for case in masking_corpus.secrets() if re.fullmatch(r"[\w.@+/=-]{8,}", case.secret, re.ASCII)]
ALL = "\n".join(case.text for case in SECRETS)
HEADERS = {"http.request.header.authorization": ["Token swordfish17"], "http.request.header.cookie": "a=swordfish17"}
SENT = [case.secret for case in SECRETS] + ["swordfish17"]


def left_in(text: str) -> list[str]:
    """The secrets in ``text``, each with what stands before it."""
    return [text[max(0, text.index(secret) - 100) :][:150] for secret in SENT if secret in text]


def everything() -> dict[str, Any]:
    """A request of each signal with the secrets in prompts, exceptions, URLs, headers, names, bodies and points."""
    prompt = [{"role": "user", "parts": [{"type": "text", "content": ALL}]}]
    failure = {"exception.message": ALL, "exception.stacktrace": f'File "x.py"\n  connect("{ALL}")'}
    sent = span(
        1,
        name=f"chat {ALL}",
        trace_state=ALL,
        attributes=attributes(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.input.messages": prompt,
                "gen_ai.output.messages": ALL,
                "url.full": ALL,
            }
            | HEADERS
        ),
        events=[Span.Event(time_unix_nano=NOW_NS, name=ALL, attributes=attributes(failure | HEADERS))],
        links=[Span.Link(trace_id=b"1" * 16, span_id=b"1" * 8, attributes=attributes({"why": ALL}))],
        status=Status(message=ALL, code=Status.STATUS_CODE_ERROR),
    )
    event = prediction("1", "secrets")
    event.attributes.extend(attributes({"tidegauge.category.note": ALL, "tidegauge.slice.owner": ALL}))
    bodies: list[LogRecord] = [record(1, body=value(ALL)), record(2, body=value({"nested": [ALL]})), event]
    exemplar = Exemplar(time_unix_nano=NOW_NS, as_int=1, filtered_attributes=attributes({"user": ALL}))
    point = NumberDataPoint(time_unix_nano=NOW_NS, as_int=1, attributes=attributes({"user": ALL}), exemplars=[exemplar])
    return {
        "traces": traces(sent, service=ALL),
        "logs": logs(*bodies, service=ALL),
        "metrics": metrics(Metric(name=ALL, description=ALL, gauge=Gauge(data_points=[point])), service=ALL),
    }


def stored(store: Store) -> str:
    """All that is in any table, as text."""
    sql = """SELECT table, arrayStringConcat(groupArray('`' || name || '`'), ', ') AS names FROM system.columns
        WHERE database = currentDatabase() AND NOT endsWith(table, '_in') AND NOT startsWith(table, '.inner')
        AND NOT startsWith(type, 'AggregateFunction') AND default_kind != 'EPHEMERAL' GROUP BY table"""
    tables = {row["table"]: row["names"] for row in store.rows(sql)}
    assert {"otel_traces", "otel_logs", "predictions", "llm_calls"} <= tables.keys()
    return "\n".join(
        str(row) for table, names in tables.items() for row in store.rows(f"SELECT {names} FROM `{table}`")
    )
