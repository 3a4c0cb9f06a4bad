"""A week of made-up telemetry with a story in it: prompt v8 is refused more, the flight model sees slower taxiways."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from tidegauge.store import Store

END = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)
HOSTILE = '<script>window.pwned=1</script><img src=x onerror="window.pwned=1">'
LINK = "javascript:window.pwned=1"
TRACE_WITH_ERROR = "e" * 32
DRIFTED = "finding-taxi"
CARRIERS = ("UA", "DL", "B6", "AA")


def fill(store: Store, rng: np.random.Generator, traces: int = 600) -> None:
    """Insert everything; all times are before ``END``."""
    spans = [span for index in range(traces) for span in _request(rng, index, traces)]
    store.insert("otel_traces", [*spans, *_failed_request()])
    store.insert("otel_logs", [*_predictions(rng), *_judgements(rng, spans), *_feedback(rng, spans)])
    store.insert("findings", _findings(rng))
    store.insert("performance", _performance())
    store.insert("alert_events", _alerts())
    store.insert("alert_deliveries", _deliveries())
    store.insert("alert_responses", [_called_false()])
    store.insert("alert_decisions", [_held_back()])
    store.insert("judge_samples", [_sample(span) for span in spans if span["SpanName"] == "chat"][::20])
    store.insert("review_queue", [_review(spans[1])])
    store.insert("deployments", [_deployment("support-bot", "v8"), _deployment("flight-delay", "2")])
    store.insert("otel_metrics_gauge", [_gauge(rng, minute) for minute in range(0, 24 * 60, 10)])
    store.execute(DELAYS, {"end": END})
    for table, rows in _own_metrics(rng).items():
        store.insert(table, rows)


def _span(
    trace: str, span: str, parent: str, name: str, at: datetime, seconds: float, **attributes: str
) -> dict[str, Any]:
    failed = "error.type" in attributes
    return {
        "Timestamp": at,
        "TraceId": trace,
        "SpanId": span,
        "ParentSpanId": parent,
        "SpanName": name,
        "SpanKind": "Client" if parent else "Server",
        "ServiceName": "support-bot",
        "ResourceAttributes": {"service.name": "support-bot"},
        "SpanAttributes": attributes,
        "Duration": int(seconds * 1e9),
        "StatusCode": "Error" if failed else "Unset",
        "StatusMessage": "upstream timed out" if failed else "",
    }


def _request(rng: np.random.Generator, index: int, total: int) -> list[dict[str, Any]]:
    ago = (1 - (index + rng.random()) / total) * 7 * 24
    at = END - timedelta(hours=float(ago))
    new = ago < 30
    trace = f"{index + 1:032x}"
    common = {
        "tidegauge.tenant": ("acme", "globex", "initech")[index % 3],
        "tidegauge.intent": ("refund", "shipping")[index % 2],
        "session.id": f"s{index // 3}",
        "gen_ai.prompt.version": "v8" if new else "v7",
    }
    latency = float(rng.lognormal(0.3, 0.5))
    llm = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4.1-mini" if index % 4 else "gpt-4.1",
        "gen_ai.usage.input_tokens": str(int(rng.integers(400, 1800))),
        "gen_ai.usage.output_tokens": str(int(rng.integers(40, 400))),
        "gen_ai.usage.cache_read.input_tokens": str(int(rng.integers(0, 400))),
        "gen_ai.response.time_to_first_chunk": f"{latency / 5:.3f}",
        "tidegauge.cost.usd": f"{rng.gamma(2, 0.0008):.6f}",
        "tidegauge.refused": "true" if rng.random() < (0.14 if new else 0.02) else "false",
        "gen_ai.response.finish_reason": "stop",
    }
    if rng.random() < 0.015:
        llm["error.type"] = "timeout"
    blocked = "block" if rng.random() < 0.03 else "pass"
    second = timedelta(seconds=0.12)
    return [
        _span(trace, f"{index:08x}00000001", "", "POST /answer", at, latency + 0.5, **common),
        _span(
            trace,
            f"{index:08x}00000002",
            f"{index:08x}00000001",
            "retrieve",
            at + second,
            0.08,
            **common,
            **{"gen_ai.operation.name": "retrieval", "gen_ai.data_source.id": "handbook"},
        ),
        _span(trace, f"{index:08x}00000003", f"{index:08x}00000001", "chat", at + 2 * second, latency, **common, **llm),
        _span(
            trace,
            f"{index:08x}00000004",
            f"{index:08x}00000003",
            "lookup_order",
            at + 3 * second,
            0.1,
            **common,
            **{"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "lookup_order"},
            **({"error.type": "not_found"} if rng.random() < 0.04 else {}),
        ),
        _span(
            trace,
            f"{index:08x}00000005",
            f"{index:08x}00000001",
            "guard",
            at + 4 * second,
            0.03,
            **common,
            **{"tidegauge.guardrail.name": "pii", "tidegauge.guardrail.action": blocked},
        ),
    ]


def _failed_request() -> list[dict[str, Any]]:
    at, root, chat = END - timedelta(minutes=8), "f" * 16, "e" * 16
    message = json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": HOSTILE}]}])
    return [
        _span(TRACE_WITH_ERROR, root, "", "POST /answer", at, 3.2, **{"tidegauge.tenant": HOSTILE}),
        _span(
            TRACE_WITH_ERROR,
            chat,
            root,
            "chat",
            at + timedelta(seconds=0.2),
            2.9,
            **{
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": "gpt-4.1",
                "error.type": "timeout",
                "gen_ai.usage.input_tokens": "1200",
                "gen_ai.usage.output_tokens": "7",
                "gen_ai.output.messages": message,
                "gen_ai.input.messages": json.dumps(
                    [{"role": "user", "parts": [{"type": "text", "content": "Where is my order?"}]}]
                ),
                "gen_ai.prompt.version": "v8",
                "tidegauge.tenant": HOSTILE,
                "link": LINK,
            },
        ),
        _span(
            TRACE_WITH_ERROR,
            "d" * 16,
            chat,
            HOSTILE,
            at + timedelta(seconds=0.4),
            0.9,
            **{"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": HOSTILE},
        ),
    ]


def _log(
    name: str, at: datetime, trace: str = "", span: str = "", service: str = "support-bot", **attributes: str
) -> dict[str, Any]:
    return {
        "Timestamp": at,
        "TraceId": trace,
        "SpanId": span,
        "ServiceName": service,
        "EventName": name,
        "ResourceAttributes": {"service.name": service},
        "LogAttributes": attributes,
    }


def _predictions(rng: np.random.Generator) -> list[dict[str, Any]]:
    rows = []
    for index in range(2000):
        hours = (1 - index / 2000) * 7 * 24
        at, drifted = END - timedelta(hours=hours), hours < 36
        score = float(1 / (1 + math.exp(-(rng.normal(-0.8 + 0.9 * drifted, 1)))))
        late, key = score > 0.5, f"p{index}"
        rows.append(
            _log(
                "tidegauge.prediction",
                at,
                service="flights",
                **{
                    "tidegauge.prediction.id": key,
                    "tidegauge.model.name": "flight-delay",
                    "tidegauge.model.version": "2" if hours < 60 else "1",
                    "tidegauge.prediction.value": "late" if late else "on-time",
                    "tidegauge.prediction.score": f"{score:.4f}",
                    "tidegauge.feature.taxi_out_min": f"{rng.gamma(6, 2.5 + 1.2 * drifted):.2f}",
                    "tidegauge.feature.distance": f"{rng.gamma(3, 300):.0f}",
                    "tidegauge.slice.carrier": CARRIERS[index % 4],
                    "tidegauge.role": "production",
                },
            )
        )
        if index % 100 == 0:
            rows.append(_failed_prediction(at))
        if hours > 12:
            right = rng.random() < (0.74 if drifted else 0.86)
            rows.append(
                _log(
                    "tidegauge.label",
                    at + timedelta(hours=5),
                    service="flights",
                    **{
                        "tidegauge.prediction.id": key,
                        "tidegauge.model.name": "flight-delay",
                        "tidegauge.label.value": ("late" if late else "on-time")
                        if right
                        else ("on-time" if late else "late"),
                    },
                )
            )
    return rows


def _judgements(rng: np.random.Generator, spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    chats = [span for span in spans if span["SpanName"] == "chat"][::3]
    return [
        _log(
            "gen_ai.evaluation.result",
            span["Timestamp"] + timedelta(minutes=2),
            span["TraceId"],
            span["SpanId"],
            **{
                "gen_ai.evaluation.name": rubric,
                "tidegauge.judge.model": "judge-1",
                "tidegauge.judge.rubric": rubric,
                "gen_ai.evaluation.score.value": f"{min(1, max(0, rng.normal(mean, 0.12))):.2f}",
                "gen_ai.evaluation.explanation": "Supported by the second document.",
                "tidegauge.judge.inclusion_probability": "0.25" if index % 2 else "0.05",
            },
        )
        for index, span in enumerate(chats)
        for rubric, mean in (("faithfulness", 0.88), ("relevance", 0.8))
    ]


def _feedback(rng: np.random.Generator, spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    roots = [span for span in spans if not span["ParentSpanId"]][::5]
    thumbs = [
        _log(
            "tidegauge.feedback",
            span["Timestamp"] + timedelta(minutes=1),
            span["TraceId"],
            span["SpanId"],
            **{
                "tidegauge.feedback.kind": "thumbs",
                "tidegauge.feedback.score": "1" if rng.random() < 0.8 else "-1",
                "tidegauge.feedback.comment": "wrong order number",
            },
        )
        for span in roots
    ]
    failed = _log(
        "tidegauge.feedback",
        END - timedelta(minutes=6),
        TRACE_WITH_ERROR,
        "f" * 16,
        **{
            "tidegauge.feedback.kind": "thumbs",
            "tidegauge.feedback.score": "-1",
            "tidegauge.feedback.comment": HOSTILE,
        },
    )
    clicks = [
        _log(
            "tidegauge.outcome",
            span["Timestamp"],
            span["TraceId"],
            **{"tidegauge.outcome.name": "deflection", "tidegauge.outcome.value": "1"},
        )
        for span in roots
    ]
    return [*thumbs, failed, *clicks]


def _findings(rng: np.random.Generator) -> list[dict[str, Any]]:
    rows = []
    tests = (
        ("flight-delay", "taxi_out_min", "psi", "", "", 0.35),
        ("flight-delay", "taxi_out_min", "ks", "", "", 0.28),
        ("flight-delay", "distance", "psi", "", "", 0.0),
        ("flight-delay", "score", "ks", "", "", 0.22),
        ("flight-delay", "taxi_out_min", "psi", "carrier", "UA", 0.5),
        ("flight-delay", HOSTILE, "psi", "carrier", HOSTILE, 0.3),
        ("support-bot", "input", "mmd", "", "", 0.0),
    )
    for day in range(14, 0, -1):
        for subject, feature, detector, dimension, value, strength in tests:
            rows.append(_finding(rng, day, subject, feature, detector, dimension, value, strength if day <= 2 else 0.0))
    return rows


def _finding(
    rng: np.random.Generator,
    day: int,
    subject: str,
    feature: str,
    detector: str,
    dimension: str,
    value: str,
    strength: float,
) -> dict[str, Any]:
    end = END.replace(hour=0) - timedelta(days=day - 1)
    effect, drifted = max(0.0, float(rng.normal(0.03, 0.01))) + strength, strength > 0
    undetermined = detector == "mmd"
    current = [0.06, 0.09, 0.15, 0.25, 0.45] if drifted else [0.2, 0.2, 0.2, 0.2, 0.2]
    evidence = {
        "labels": ["< 9", "9 to 13", "13 to 16", "16 to 21", "> 21"],
        "reference": [0.2] * 5,
        "current": current,
    }
    return {
        "evaluated_at": end + timedelta(minutes=1),
        "finding_id": DRIFTED
        if (feature, detector, dimension, day) == ("taxi_out_min", "psi", "", 1)
        else f"f-{day}-{subject}-{detector}-{abs(hash((feature, dimension)))}",
        "subject": subject,
        "feature": feature,
        "detector": detector,
        "dimension": dimension,
        "slice": value,
        "reference": "trailing",
        "reference_start": end - timedelta(days=30),
        "reference_end": end - timedelta(days=2),
        "window_start": end - timedelta(days=1),
        "window_end": end,
        "verdict": "undetermined" if undetermined else "drift" if drifted else "stable",
        "statistic": None if undetermined else effect,
        "p_value": None if undetermined else 1e-6 if drifted else 0.4,
        "p_adjusted": None if undetermined else 1e-5 if drifted else 0.6,
        "effect": None if undetermined else effect,
        "effect_floor": 0.1,
        "n_reference": 8000,
        "n_current": 285,
        "dropped_reference": 12,
        "dropped_current": 0,
        "since": END.replace(hour=0) - timedelta(days=2) if drifted else None,
        "reason": "120 texts are too few: 200 are needed" if undetermined else "",
        "evidence": json.dumps(evidence),
    }


def _performance() -> list[dict[str, Any]]:
    def one(day: int, metric: str, kind: str, value: float, **other: Any) -> dict[str, Any]:
        end = END.replace(hour=0) - timedelta(days=day - 1)
        return {
            "evaluated_at": end + timedelta(hours=6),
            "model": "flight-delay",
            "dimension": "",
            "slice": "",
            "window_start": end - timedelta(days=1),
            "window_end": end,
            "metric": metric,
            "kind": kind,
            "method": "labels" if kind == "realised" else "cbpe",
            "stage": "final",
            "value": value,
            "low": value - 0.02,
            "high": value + 0.02,
            "n": 280,
            "labels_share": 0.97,
            "expected_share": 0.95,
            "baseline": 0.86,
            "baseline_windows": 8,
            "verdict": "drift" if value < 0.8 else "stable",
            "estimated": None,
            "note": "",
        } | other

    rows = []
    for day in range(7, 0, -1):
        true = 0.74 if day == 1 else 0.86
        rows += [one(day, "labels", "realised", 0.97), one(day, "accuracy", "estimated", 0.85)]
        rows += [one(day, "accuracy", "realised", true, estimated=0.85)]
        rows += [one(day, "accuracy", "realised", true, dimension=HOSTILE, slice=HOSTILE, note=HOSTILE)]
    return rows


def _alert(rule: str, state: str, previous: str, hours: float, **other: Any) -> dict[str, Any]:
    return {
        "timestamp": END - timedelta(hours=hours),
        "rule": rule,
        "fingerprint": f"{rule}-1",
        "state": state,
        "previous": previous,
        "severity": "page",
        "owner": "support-ml",
        "runbook": "https://runbooks.example.com/refusals",
        "action": "Roll prompt v8 back to v7.",
        "labels": {"service": "support-bot", "prompt_version": "v8"},
        "value": 0.137,
        "threshold": 0.05,
        "samples": 214,
        "since": END - timedelta(hours=hours + 0.5),
        "reason": "refusal rate 13.7 % was above 5 % for 30 min (214 calls)",
        "summary": "Refusals of prompt v8 rose to 13.7 %",
        "notice": "",
        "open": state == "firing",
        "note": "",
    } | other


def _alerts() -> list[dict[str, Any]]:
    hostile = {
        "summary": HOSTILE,
        "runbook": LINK,
        "labels": {"tenant": HOSTILE},
        "severity": "ticket",
        "owner": "flights",
        "action": "Read the drift report.",
    }
    cost = {
        "summary": "Cost is 24 % above last week",
        "severity": "ticket",
        "reason": "cost fell below the threshold again",
    }
    nothing = {
        "summary": "No labels for flight-delay",
        "severity": "ticket",
        "labels": {"model": "flight-delay"},
        "value": None,
        "samples": 0,
        "reason": "no label arrived in the last 12 h",
    }
    return [
        _alert("refusal-rate", "pending", "inactive", 4.5),
        _alert("refusal-rate", "firing", "pending", 4.0),
        _alert("feature-drift", "firing", "inactive", 11.5, **hostile, note=f"age by psi: effect 0.31 {HOSTILE}"),
        _alert("feature-drift", "firing", "firing", 11, **hostile, notice="acknowledge", note="ann"),
        _alert("cost-week", "firing", "inactive", 60, **cost),
        _alert("cost-week", "resolved", "firing", 20, **cost),
        _alert("accuracy", "no_data", "inactive", 2, **nothing),
    ]


def _deliveries() -> list[dict[str, Any]]:
    def one(hours: float, rule: str, state: str, outcome: str, attempts: int, detail: str = "") -> dict[str, Any]:
        return {
            "timestamp": END - timedelta(hours=hours),
            "dedup_key": f"{rule}-1/{state}",
            "rule": rule,
            "state": state,
            "receiver": "oncall",
            "kind": "slack",
            "outcome": outcome,
            "attempts": attempts,
            "detail": detail,
        }

    return [
        one(4.0, "refusal-rate", "firing", "retry", 1, "429, retry after 30 s"),
        one(3.99, "refusal-rate", "firing", "delivered", 2),
        one(60, "cost-week", "firing", "delivered", 1),
        one(11.5, "feature-drift", "firing", "failed", 9, HOSTILE),
    ]


def _called_false() -> dict[str, Any]:
    fired = END - timedelta(hours=60)
    answer = {"written_at": fired + timedelta(hours=1), "fired_at": fired, "action": "false", "author": "ann"}
    return answer | {"rule": "cost-week", "fingerprint": "cost-week-1", "labels": {}, "note": HOSTILE}


def _held_back() -> dict[str, Any]:
    at = END - timedelta(hours=11.5)
    reason = {"receiver": "oncall", "reason": "quiet_hours", "detail": "quiet hours nights"}
    return reason | {"timestamp": at, "rule": "feature-drift", "fingerprint": "feature-drift-1", "event_at": at}


def _sample(span: dict[str, Any]) -> dict[str, Any]:
    return {
        "timestamp": span["Timestamp"],
        "trace_id": span["TraceId"],
        "span_id": span["SpanId"],
        "stratum": "v7",
        "inclusion_probability": 0.25,
        "chosen": True,
        "outcome": "scored",
        "detail": "",
    }


def _review(span: dict[str, Any]) -> dict[str, Any]:
    return {
        "timestamp": END - timedelta(hours=3),
        "trace_id": span["TraceId"],
        "span_id": span["SpanId"],
        "reason": "disagreement",
        "detail": "two judges differ by 0.6",
        "state": "open",
    }


def _deployment(subject: str, version: str) -> dict[str, Any]:
    return {
        "timestamp": END - timedelta(hours=30),
        "subject": subject,
        "version": version,
        "role": "production",
        "note": "",
    }


DELAYS = """INSERT INTO ingest_delay_1m (minute, service, kind, records, late, delay_s)
SELECT toStartOfMinute({end:DateTime64(3)}) - toIntervalMinute(number * 10 + 1) AS minute, 'support-bot', 'span', 20, 1,
  quantilesTDigestState(0.5, 0.95, 0.99)(number % 7 / 4) FROM numbers(140) GROUP BY minute"""
OWN_COUNTERS = {
    "tidegauge_accepted_records_total": {"signal": "traces"},
    "tidegauge_stored_records_total": {"signal": "traces"},
    "tidegauge_rejected_records_total": {"signal": "traces", "reason": "too large"},
    "tidegauge_masked_total": {"rule": "email", "signal": "traces"},
    "tidegauge_dead_letters_total": {"topic": "otlp_spans", "reason": "undecodable"},
    "tidegauge_insert_failures_total": {"code": "252"},
}
OWN_GAUGES = {
    "tidegauge_sink_lag_seconds": {"topic": "otlp_spans"},
    "tidegauge_sink_lag_messages": {"topic": "otlp_spans"},
    "tidegauge_pending_bytes": {},
    "tidegauge_reconciliation_gap_records": {"signal": "traces"},
}
OWN_HISTOGRAMS = ("tidegauge_sink_batch_records", "tidegauge_insert_seconds")


def _failed_prediction(at: datetime) -> dict[str, Any]:
    named = {"tidegauge.model.name": "flight-delay", "tidegauge.model.version": "1", "error.type": "KeyError"}
    return _log("tidegauge.prediction.error", at, service="flights", **named)


def _loss(hours: int) -> dict[str, Any]:
    return {
        "ServiceName": "flights",
        "MetricName": "tidegauge.sdk.dropped_records",
        "TimeUnix": END - timedelta(hours=hours),
        "ResourceAttributes": {},
        "Attributes": {"tidegauge.reason": "queue full"},
        "Value": 3.0,
    }


def _own_metrics(rng: np.random.Generator) -> dict[str, list[dict[str, Any]]]:
    """A day of what Tidegauge sends of itself."""
    minutes = range(1, 24 * 60, 10)
    counted = {name: np.cumsum(rng.poisson(5, len(minutes))) for name in (*OWN_COUNTERS, *OWN_HISTOGRAMS)}

    def row(name: str, labels: dict[str, str], place: int) -> dict[str, Any]:
        at = END - timedelta(minutes=24 * 60 - minutes[place])
        instance = {"service.instance.id": "one"}
        return {
            "ServiceName": "tidegauge",
            "MetricName": name,
            "TimeUnix": at,
            "ResourceAttributes": instance,
            "Attributes": labels,
        }

    places = range(len(minutes))
    return {
        "otel_metrics_sum": [
            row(name, labels, i) | {"Value": float(counted[name][i])}
            for name, labels in OWN_COUNTERS.items()
            for i in places
        ]
        + [_loss(hours) for hours in (1, 30)],
        "otel_metrics_gauge": [
            row(name, labels, i) | {"Value": float(rng.poisson(3))}
            for name, labels in OWN_GAUGES.items()
            for i in places
        ],
        "otel_metrics_histogram": [
            row(name, {"signal": "traces"}, i) | {"Count": int(counted[name][i]), "Sum": float(counted[name][i]) / 4}
            for name in OWN_HISTOGRAMS
            for i in places
        ],
    }


def _gauge(rng: np.random.Generator, minute: int) -> dict[str, Any]:
    return {
        "ServiceName": "support-bot",
        "MetricName": "vllm:num_requests_waiting",
        "TimeUnix": END - timedelta(minutes=minute + 1),
        "Value": float(rng.poisson(3)),
        "ResourceAttributes": {},
        "Attributes": {},
    }
