"""Every metric that rules and panels can name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tidegauge.metrics.model import Kind, Metric, Source
from tidegauge.metrics.sources import (
    ATTEMPTS,
    CALLS,
    CALLS_1M,
    CAPPED,
    DELAYS,
    FEEDBACK,
    FINDINGS,
    INGEST,
    LABELLED,
    LABELLING,
    MARKS,
    PERFORMANCE,
    PREDICTIONS,
    RECONCILIATION,
    SCHEMA_CHANGES,
    SCORES,
    SDK_LOSSES,
)

_CALLS = (CALLS_1M, CALLS)
_LLM, _TOOL, _GUARDRAIL = "kind = 'llm'", "kind = 'tool'", "kind = 'guardrail'"
_TOKENS = "kind IN ('llm', 'embedding')"
_CORRECT = "(value = label OR ifNull(toFloat64OrNull(value) = label_number, false))"
_SCORED = "isNotNull(score) AND isFinite(score)"
_TOP_FINDINGS = """arrayStringConcat(arrayMap(t -> t.2, arraySlice(arrayReverseSort(t -> t.1, groupArrayIf(
  (ifNull(latest.2 / nullIf(latest.3, 0), 0),
   concat(feature, ' by ', detector, if(dimension = '', '', concat(' where ', dimension, ' = ', slice)),
     if(isNull(latest.2), '', concat(': effect ', toString(round(latest.2, 3)))),
     if(isNull(latest.5), '', concat(', since ', formatDateTime(assumeNotNull(latest.5), '%F %R'))),
     if(latest.6 = '', '', concat(', ', latest.6)))),
  latest.1 = 'drift')), 1, 5)), '; ')"""


def _rate(name: str, title: str, sources: tuple[Source, ...], hits: str, samples: str, condition: str = "") -> Metric:
    return Metric(name, title, "share", Kind.RATE, sources, {"hits": hits, "samples": samples}, condition)


def _mean(name: str, title: str, unit: str, source: Source, x: str, condition: str, weight: str = "1.0") -> Metric:
    columns = {
        "weights": f"sum({weight})",
        "weighted": f"sum({weight} * {x})",
        "squares": f"sum({weight} * {weight})",
        "squares_x": f"sum({weight} * {weight} * {x})",
        "squares_xx": f"sum({weight} * {weight} * {x} * {x})",
        "samples": "count()",
    }
    return Metric(name, title, unit, Kind.MEAN, (source,), columns, condition)


def _value(
    name: str,
    title: str,
    unit: str,
    kind: Kind,
    sources: tuple[Source, ...],
    value: str,
    samples: str,
    condition: str = "",
) -> Metric:
    return Metric(name, title, unit, kind, sources, {"value": value, "samples": samples}, condition)


def _quantile(name: str, title: str, column: str, index: int) -> Metric:
    digest = f"quantilesTDigest{{merge}}(0.5, 0.95, 0.99)({column})[{index}]"
    return _value(name, title, "s", Kind.QUANTILE, _CALLS, digest, "sum(calls)", _LLM)


def _only(index: int) -> str:
    """One number of the single row that is asked for: that of all traffic, or of the one slice; else nothing."""
    column = f"latest.{index}"
    return f"multiIf(countIf(dimension = '') = 1, anyIf({column}, dimension = ''), count() = 1, any({column}), NULL)"


def _performance(name: str, title: str, kind: str) -> Metric:
    columns = {"value": _only(1), "low": _only(2), "high": _only(3), "samples": f"toUInt64(ifNull({_only(4)}, 0))",
               "note": f"ifNull({_only(5)}, '')"}  # fmt: skip
    return Metric(name, title, "score", Kind.ESTIMATE, (PERFORMANCE,), columns, f"kind = '{kind}'")


_LLM_METRICS = (
    _rate("refusal_rate", "Refusal rate", _CALLS, "sum(refusals)", "sum(calls)", _LLM),
    _rate("guardrail_block_rate", "Guardrail block rate", _CALLS, "sum(blocks)", "sum(calls)", _GUARDRAIL),
    _rate("llm_error_rate", "LLM error rate", _CALLS, "sum(errors)", "sum(calls)", _LLM),
    _rate("tool_error_rate", "Tool error rate", _CALLS, "sum(errors)", "sum(calls)", _TOOL),
    _quantile("latency_p50", "LLM latency, median", "duration_s", 1),
    _quantile("latency_p95", "LLM latency, 95 % quantile", "duration_s", 2),
    _quantile("latency_p99", "LLM latency, 99 % quantile", "duration_s", 3),
    _quantile("ttft_p95", "Time to first token, 95 % quantile", "time_to_first_token_s", 2),
    _value("tokens_per_minute", "Tokens per minute", "tokens/min", Kind.SUM, _CALLS,
           "sum(input_tokens + output_tokens) / {minutes:Float64}", "sum(calls)", _TOKENS),
    _value("cost_usd", "Cost", "USD", Kind.SUM, _CALLS, "sum(cost_usd)", "sum(calls)"),
    _value("cost_per_request", "Cost per LLM call", "USD", Kind.RATIO, _CALLS,
           "sum(cost_usd) / sum(calls)", "sum(calls)", _LLM),
    _value("cache_hit_share", "Share of input tokens read from cache", "share", Kind.RATIO, _CALLS,
           "sum(cache_read_tokens) / nullIf(sum(input_tokens), 0)", "sum(calls)", _LLM),
    _value("llm_requests", "LLM calls", "records", Kind.COUNT, _CALLS, "sum(calls)", "sum(calls)", _LLM),
)  # fmt: skip
_QUALITY_METRICS = (
    _rate("thumbs_down_rate", "Thumbs-down rate", (FEEDBACK,), "countIf(score < 0)", "count()", "kind = 'thumbs'"),
    _mean("quality_score", "Judged quality", "score", SCORES, "assumeNotNull(score)",
          f"{_SCORED} AND inclusion_probability > 0", "(1 / inclusion_probability)"),
    _mean("low_score_rate", "Share of judged answers below 0.5", "share", SCORES,
          "toFloat64(assumeNotNull(score) < 0.5)",
          f"{_SCORED} AND inclusion_probability > 0", "(1 / inclusion_probability)"),
    _rate("judge_undetermined_share", "Share of judgements without a score", (SCORES,),
          "countIf(isNull(score))", "count()"),
)  # fmt: skip
_MODEL_METRICS = (
    _value("prediction_volume", "Predictions", "records", Kind.COUNT, (PREDICTIONS,), "toFloat64(count())", "count()"),
    _rate("prediction_error_rate", "Share of predictions that ended in an exception", (ATTEMPTS,),
          "sum(failed)", "count()"),
    _mean("mean_score", "Mean prediction score", "score", PREDICTIONS, "assumeNotNull(score)", _SCORED),
    _rate("accuracy", "Accuracy of labelled predictions", (LABELLED,), f"countIf({_CORRECT})", "count()"),
    _rate("error_rate", "Error rate of labelled predictions", (LABELLED,), f"countIf(NOT {_CORRECT})", "count()"),
    _mean("mean_absolute_error", "Mean absolute error of labelled predictions", "score", LABELLED,
          "abs(toFloat64OrZero(value) - assumeNotNull(label_number))",
          "isNotNull(label_number) AND isNotNull(toFloat64OrNull(value))"),
    _performance("performance", "Performance of the last window whose labels are in", "realised"),
    _performance("estimated_performance", "Estimated performance of the last window", "estimated"),
    _value("estimation_error", "How far off estimated performance was, on average", "score", Kind.RATIO, (PERFORMANCE,),
           "avg(abs(latest.6 - latest.1))", "countIf(isNotNull(latest.6))", "kind = 'realised'"),
    _value("label_lag", "Delay of labels, 95 % quantile", "s", Kind.QUANTILE, (LABELLED,),
           "quantileTDigest(0.95)(dateDiff('millisecond', timestamp, labelled_at) / 1000)", "count()"),
    _rate("label_share", "Share of predictions whose label is known by the end of the window", (LABELLING,),
          "countIf(known)", "count()"),
    Metric("drift_findings", "Drift findings", "findings", Kind.FINDING, (FINDINGS,),
           {"value": "countIf(latest.1 = 'drift')", "samples": "countIf(latest.1 != 'undetermined')",
            "note": _TOP_FINDINGS}),
    _rate("label_contradiction_rate", "Share of labelled predictions whose labels contradict each other", (LABELLED,),
          "countIf(label_contradictions > 0)", "count()"),
    _value("schema_changes", "Features that are new, gone or of another kind", "records", Kind.COUNT, (SCHEMA_CHANGES,),
           "toFloat64(count())", "count()"),
    _rate("undetermined_share", "Share of drift tests that could not tell", (FINDINGS,),
          "countIf(latest.1 = 'undetermined')", "count()"),
)  # fmt: skip
_PIPELINE_METRICS = (
    _rate("alert_precision", "Share of answered alerts that were right", (MARKS,), "countIf(right)", "count()"),
    _rate("late_share", "Share of records stored a day or more after the event", (DELAYS,),
          "sum(late)", "sum(records)"),
    _rate("wrong_clock_share", "Share of records with an impossible time", (DELAYS,),
          "sum(ahead + no_time + ends_before_start)", "sum(records)"),
    _value("capped_dimensions", "Dimensions with too many values for the rollups", "records", Kind.COUNT, (CAPPED,),
           "toFloat64(count())", "count()"),
    _value("sdk_lost_records", "Records that services gave up before they reached us", "records", Kind.SUM,
           (SDK_LOSSES,), "sum(records)", "count()"),
    _value("ingest_volume", "Records received", "records", Kind.SUM, (INGEST,), "sum(records)", "sum(records)"),
    Metric("reconciliation_gap_records", "Records not accounted for", "records", Kind.SUM, (RECONCILIATION,),
           {"value": "toFloat64(sum(gap))", "samples": "count()",
            "note": "arrayStringConcat(arraySlice(arrayFlatten(groupArray(what)), 1, 5), '; ')"}),
    _value("sink_lag", "Age of the oldest message not stored", "s", Kind.SUM, (RECONCILIATION,), "max(lag)", "count()"),
)  # fmt: skip

METRICS: Mapping[str, Metric] = MappingProxyType(
    {each.name: each for each in (*_LLM_METRICS, *_QUALITY_METRICS, *_MODEL_METRICS, *_PIPELINE_METRICS)}
)
