"""Who sent what, what was acknowledged, and what must therefore be in the tables.

An oracle issues requests of spans and of predictions, each record with an id of its own and a payload that is random
and the same for the same seed. Whoever sends a request reports the answer. ``verify`` then compares with the tables:
each acknowledged id is there once, with its exact payload; nothing unknown is there; every rollup says what counting
the raw rows says.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, ResourceLogs, ScopeLogs
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from tidegauge.store import Store

NOON = 1_767_268_800_000_000_000  # 2026-01-01 12:00 UTC, nanoseconds
WORDS = [
    *("tide", "gauge", "harbour", "'quoted'", '"doubled"', "back\\slash", "{brace}", "[1,2]", "<b>bold</b>", "{{x}}"),
    *("tab\there", "line\nbreak", "Ωmega", "naïve", "漢字", "🌊", "שלום", "e\u0301", "\u200b", "$dollar", "%percent"),
    *("`tick`", ";drop", "--", "#", "\x7f", "\u2028", " ", ""),
]


@dataclass(frozen=True)
class Request:
    """One request as a client sends it: ``signal`` is ``traces`` or ``logs``."""

    signal: str
    body: bytes
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What the tables hold of what an oracle issued."""

    sent: int = 0
    acked: int = 0
    stored: int = 0
    duplicates: int = 0
    lost: int = 0
    altered: int = 0
    unknown: int = 0
    rollups_off: tuple[str, ...] = ()

    def __add__(self, other: Verdict) -> Verdict:
        return Verdict(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))

    @property
    def right(self) -> bool:
        """Every acknowledged record is stored once as it was sent, and nothing else is."""
        return not (self.duplicates or self.lost or self.altered or self.unknown or self.rollups_off)


@dataclass
class Oracle:
    """Issues records for one service of one database."""

    service: str
    seed: int = 1
    issued: dict[str, str] = field(default_factory=dict)
    acked: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)

    def traces(self, count: int) -> Request:
        """A request of ``count`` LLM spans."""
        ids = self._issue(count)
        scope = ScopeSpans(spans=[self._span(each) for each in ids])
        resource = ResourceSpans(resource=self._resource(), scope_spans=[scope])
        return Request("traces", ExportTraceServiceRequest(resource_spans=[resource]).SerializeToString(), ids)

    def logs(self, count: int, marker: str = "") -> Request:
        """A request of ``count`` predictions; ``marker`` stands in each payload."""
        ids = self._issue(count, marker)
        scope = ScopeLogs(log_records=[self._prediction(each) for each in ids])
        resource = ResourceLogs(resource=self._resource(), scope_logs=[scope])
        return Request("logs", ExportLogsServiceRequest(resource_logs=[resource]).SerializeToString(), ids)

    def acknowledge(self, request: Request) -> None:
        """``request`` was answered with success."""
        self.acked.update(request.ids)

    def verify(self, store: Store, *, tolerate: Iterable[str] = ()) -> Verdict:
        """Compare with the tables; ``tolerate`` names records that may be there though they were not acknowledged."""
        rows = store.rows(STORED)
        copies = Counter(str(row["id"]) for row in rows for _ in range(row["n"]))
        altered = {row["id"] for row in rows if row["id"] in self.issued and row["payload"] != self.issued[row["id"]]}
        allowed = self.acked | set(tolerate)
        return Verdict(
            sent=len(self.issued),
            acked=len(self.acked),
            stored=len(copies),
            duplicates=sum(n - 1 for n in copies.values()),
            lost=len(self.acked - copies.keys()),
            altered=len(altered),
            unknown=len(copies.keys() - allowed),
            rollups_off=tuple(name for name, pair in ROLLUPS.items() if store.rows(pair[0]) != store.rows(pair[1])),
        )

    def unsure(self) -> set[str]:
        """What was sent and not acknowledged: it may be there or not, but not twice."""
        return self.issued.keys() - self.acked

    def _issue(self, count: int, marker: str = "") -> tuple[str, ...]:
        first = len(self.issued)
        ids = tuple(f"{self.service}-{number}" for number in range(first, first + count))
        for each in ids:
            self.issued[each] = marker + " ".join(self._rng.choices(WORDS, k=self._rng.randint(1, 30)))
        return ids

    def _resource(self) -> Resource:
        return Resource(attributes=_attributes({"service.name": self.service}))

    def _span(self, name: str) -> Span:
        start = NOON + self._rng.randrange(600 * 10**9)
        sent: dict[str, str | int | float] = {
            "oracle.id": name,
            "oracle.payload": self.issued[name],
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": f"model-{self._rng.randrange(3)}",
            "gen_ai.usage.input_tokens": self._rng.randrange(1000),
        }
        return Span(
            trace_id=self._rng.randbytes(16),
            span_id=self._rng.randbytes(8),
            name="chat",
            start_time_unix_nano=start,
            end_time_unix_nano=start + self._rng.randrange(10**9),
            attributes=_attributes(sent),
        )

    def _prediction(self, name: str) -> LogRecord:
        sent: dict[str, str | int | float] = {
            "oracle.id": name,
            "oracle.payload": self.issued[name],
            "tidegauge.prediction.id": name,
            "tidegauge.model.name": f"model-{self._rng.randrange(3)}",
            "tidegauge.prediction.score": self._rng.randrange(1, 1000) / 1024,
            "tidegauge.slice.country": self._rng.choice(("de", "fr", "it")),
        }
        at = NOON + self._rng.randrange(7200 * 10**9)
        return LogRecord(time_unix_nano=at, event_name="tidegauge.prediction", attributes=_attributes(sent))


def _attributes(plain: Mapping[str, str | int | float]) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(each)) for key, each in plain.items()]


def _value(plain: str | int | float) -> AnyValue:
    if isinstance(plain, str):
        return AnyValue(string_value=plain)
    return AnyValue(int_value=plain) if isinstance(plain, int) else AnyValue(double_value=plain)


STORED = """
SELECT SpanAttributes['oracle.id'] AS id, SpanAttributes['oracle.payload'] AS payload, count() AS n
FROM otel_traces GROUP BY id, payload
UNION ALL
SELECT LogAttributes['oracle.id'] AS id, LogAttributes['oracle.payload'] AS payload, count() AS n
FROM otel_logs GROUP BY id, payload"""

# What each rollup says, and what counting the rows it was made of says; all sums here are exact in binary.
ROLLUPS = {
    "llm_calls_1m": (
        """SELECT service, minute, model, sum(calls) AS calls, sum(input_tokens) AS tokens
        FROM llm_calls_1m GROUP BY ALL ORDER BY ALL""",
        """SELECT ServiceName AS service, toStartOfMinute(Timestamp) AS minute,
        SpanAttributes['gen_ai.request.model'] AS model, count() AS calls,
        sum(toUInt64OrZero(SpanAttributes['gen_ai.usage.input_tokens'])) AS tokens
        FROM otel_traces GROUP BY ALL ORDER BY ALL""",
    ),
    "ingest_1m": (
        "SELECT service, minute, kind, sum(records) AS n FROM ingest_1m GROUP BY ALL ORDER BY ALL",
        """SELECT service, minute, kind, count() AS n FROM (
        SELECT ServiceName AS service, toStartOfMinute(Timestamp) AS minute, 'span' AS kind FROM otel_traces UNION ALL
        SELECT ServiceName AS service, toStartOfMinute(Timestamp) AS minute,
        if(EventName = '', 'log', EventName) AS kind FROM otel_logs) GROUP BY ALL ORDER BY ALL""",
    ),
    "predictions_1h": (
        """SELECT hour, model, slice, sum(predictions) AS n, sum(score_sum) AS total
        FROM predictions_1h WHERE dimension IN ('', 'country') GROUP BY ALL ORDER BY ALL""",
        """SELECT toStartOfHour(Timestamp) AS hour, LogAttributes['tidegauge.model.name'] AS model,
        arrayJoin(['', LogAttributes['tidegauge.slice.country']]) AS slice, count() AS n,
        sum(toFloat64OrZero(LogAttributes['tidegauge.prediction.score'])) AS total
        FROM otel_logs WHERE EventName = 'tidegauge.prediction' GROUP BY ALL ORDER BY ALL""",
    ),
    "predictions_1m": (
        "SELECT minute, model, sum(predictions) AS n FROM predictions_1m GROUP BY ALL ORDER BY ALL",
        """SELECT toStartOfMinute(Timestamp) AS minute, LogAttributes['tidegauge.model.name'] AS model, count() AS n
        FROM otel_logs WHERE EventName = 'tidegauge.prediction' GROUP BY ALL ORDER BY ALL""",
    ),
}
