"""Every metric that rules and panels can name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from tidegauge.metrics.model import Kind, Metric, Source
from tidegauge.metrics.sources import (
    AGREEMENT,
    ATTEMPTS,
    CALLS,
    CALLS_1M,
    CAPPED,
    CAUSES,
    CONVERSIONS,
    DELAYS,
    FEEDBACK,
    FINDINGS,
    INGEST,
    LABELLED,
    LABELLING,
    MARKS,
    MASKED,
    OUTCOMES,
    PART,
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
_STREAMED = f"{_LLM} AND output_tokens > 1 AND duration_s >= time_to_first_token_s"
_PACE = "(duration_s - assumeNotNull(time_to_first_token_s)) / (output_tokens - 1)"
_CORRECT = "(value = label OR ifNull(toFloat64OrNull(value) = label_number, false))"
_SCORED = "isNotNull(score) AND isFinite(score)"
_TOP_FINDINGS = f"""arrayStringConcat(arrayMap(t -> t.2, arraySlice(arrayReverseSort(t -> t.1, groupArrayIf(
  (ifNull(latest.2 / nullIf(latest.3, 0), 0),
   concat(feature, ' by ', detector, if(dimension = '', '', concat(' where ', {PART})),
     if(isNull(latest.2), '', concat(': effect ', toString(round(latest.2, 3)))),
     if(isNull(latest.5), '', concat(', since ', formatDateTime(assumeNotNull(latest.5), '%F %R'))),
     if(latest.6 = '', '', concat(', ', latest.6)))),
  latest.1 = 'drift')), 1, 5)), '; ')"""

_TOLD = "latest.1 = 'drift' AND NOT startsWith(latest.3, 'told by ')"
_TOP_CAUSES = f"""arrayStringConcat(arrayMap(t -> t.2, arraySlice(arrayReverseSort(t -> t.1, groupArrayIf(
  (ifNull(latest.2, 0), latest.3), {_TOLD})), 1, 3)), '; ')"""


def rate_of(name: str, title: str, sources: tuple[Source, ...], hits: str, samples: str, condition: str = "") -> Metric:
    """A share: the aggregate ``hits`` out of the aggregate ``samples``."""
    return Metric(name, title, "share", Kind.RATE, sources, {"hits": hits, "samples": samples}, condition)


def mean_of(name: str, title: str, unit: str, source: Source, x: str, condition: str, weight: str = "1.0") -> Metric:
    """The mean of ``x``, SQL of one row, each weighing ``weight``."""
    columns = {
        "weights": f"sum({weight})",
        "weighted": f"sum({weight} * {x})",
        "squares": f"sum({weight} * {weight})",
        "squares_x": f"sum({weight} * {weight} * {x})",
        "squares_xx": f"sum({weight} * {weight} * {x} * {x})",
        "samples": "count()",
    }
    return Metric(name, title, unit, Kind.MEAN, (source,), columns, condition)


def value_of(
    name: str,
    title: str,
    unit: str,
    kind: Kind,
    sources: tuple[Source, ...],
    value: str,
    samples: str,
    condition: str = "",
) -> Metric:
    """The aggregate ``value``, which has no interval."""
    return Metric(name, title, unit, kind, sources, {"value": value, "samples": samples}, condition)


def _quantile(name: str, title: str, column: str, index: int) -> Metric:
    digest = f"quantilesTDigest{{merge}}(0.5, 0.95, 0.99)({column})[{index}]"
    return value_of(name, title, "s", Kind.QUANTILE, _CALLS, digest, "sum(calls)", _LLM)


def _only(index: int) -> str:
    """One number of the single row that is asked for: that of all traffic, or of the one slice; else nothing."""
    column = f"latest.{index}"
    return f"multiIf(countIf(dimension = '') = 1, anyIf({column}, dimension = ''), count() = 1, any({column}), NULL)"


_OFF, _SCORED_ALL = "abs(latest.6 - latest.1)", "countIf(dimension = '' AND isNotNull(latest.6))"
"""How far an estimate was off; that of all traffic counts alone, where it is asked for, as of ``performance``."""


def _performance(name: str, title: str, kind: str) -> Metric:
    columns = {"value": _only(1), "low": _only(2), "high": _only(3), "samples": f"toUInt64(ifNull({_only(4)}, 0))",
               "note": f"ifNull({_only(5)}, '')"}  # fmt: skip
    return Metric(name, title, "score", Kind.ESTIMATE, (PERFORMANCE,), columns, f"kind = '{kind}'")


_LLM_METRICS = (
    rate_of("refusal_rate", "Refusal rate", _CALLS, "sum(refusals)", "sum(calls)", _LLM),
    rate_of("guardrail_block_rate", "Guardrail block rate", _CALLS, "sum(blocks)", "sum(calls)", _GUARDRAIL),
    rate_of("jailbreak_rate", "Share of jailbreak and injection checks that blocked", _CALLS,
            "sum(blocks)", "sum(calls)", f"{_GUARDRAIL} AND match(lower(name), 'jailbreak|injection')"),
    rate_of("llm_error_rate", "LLM error rate", _CALLS, "sum(errors)", "sum(calls)", _LLM),
    rate_of("tool_error_rate", "Tool error rate", _CALLS, "sum(errors)", "sum(calls)", _TOOL),
    _quantile("latency_p50", "LLM latency, median", "duration_s", 1),
    _quantile("latency_p95", "LLM latency, 95 % quantile", "duration_s", 2),
    _quantile("latency_p99", "LLM latency, 99 % quantile", "duration_s", 3),
    _quantile("ttft_p95", "Time to first token, 95 % quantile", "time_to_first_token_s", 2),
    value_of("tokens_per_minute", "Tokens per minute", "tokens/min", Kind.SUM, _CALLS,
             "sum(input_tokens + output_tokens) / {minutes:Float64}", "sum(calls)", _TOKENS),
    value_of("tokens", "Tokens", "tokens", Kind.SUM, _CALLS, "sum(input_tokens + output_tokens)",
             "sum(calls)", _TOKENS),
    *(value_of(f"tpot_{name}", f"Time per output token, {title}", "s", Kind.QUANTILE, (CALLS,),
             f"quantileTDigest({at})({_PACE})", "count()", _STREAMED)
      for name, title, at in (("p50", "median", 0.5), ("p95", "95 % quantile", 0.95))),
    value_of("cost_usd", "Cost", "USD", Kind.SUM, _CALLS, "sum(cost_usd)", "sum(calls)"),
    value_of("cost_per_request", "Cost per LLM call", "USD", Kind.RATIO, _CALLS,
             "sum(cost_usd) / sum(calls)", "sum(calls)", _LLM),
    value_of("cache_hit_share", "Share of input tokens read from cache", "share", Kind.RATIO, _CALLS,
             "sum(cache_read_tokens) / nullIf(sum(input_tokens), 0)", "sum(calls)", _LLM),
    value_of("llm_requests", "LLM calls", "records", Kind.COUNT, _CALLS, "sum(calls)", "sum(calls)", _LLM),
)  # fmt: skip
_QUALITY_METRICS = (
    rate_of("thumbs_down_rate", "Thumbs-down rate", (FEEDBACK,), "countIf(score < 0)", "count()", "kind = 'thumbs'"),
    mean_of("csat", "Customer satisfaction, 1 to 5", "score", FEEDBACK, "assumeNotNull(score)",
            f"kind = 'csat' AND {_SCORED}"),
    rate_of("conversion_rate", "Share of predictions with a conversion by the end of the window", (CONVERSIONS,),
            "countIf(converted)", "count()"),
    mean_of("outcome_value", "Mean of a business outcome", "score", OUTCOMES, "value", "isFinite(value)"),
    rate_of("judge_agreement", "Share of judged answers with a thumb on which judge and user agree", (AGREEMENT,),
            "countIf((assumeNotNull(score) >= 0.5) = (thumbs > 0))", "count()"),
    mean_of("quality_score", "Judged quality", "score", SCORES, "assumeNotNull(score)",
            f"{_SCORED} AND inclusion_probability > 0", "(1 / inclusion_probability)"),
    mean_of("low_score_rate", "Share of judged answers below 0.5", "share", SCORES,
            "toFloat64(assumeNotNull(score) < 0.5)",
            f"{_SCORED} AND inclusion_probability > 0", "(1 / inclusion_probability)"),
    rate_of("judge_undetermined_share", "Share of judgements without a score", (SCORES,),
            "countIf(isNull(score))", "count()"),
)  # fmt: skip
_MODEL_METRICS = (
    value_of("prediction_volume", "Predictions", "records", Kind.COUNT, (PREDICTIONS,), "toFloat64(count())",
             "count()"),
    rate_of("prediction_error_rate", "Share of predictions that ended in an exception", (ATTEMPTS,),
            "sum(failed)", "count()"),
    mean_of("mean_score", "Mean prediction score", "score", PREDICTIONS, "assumeNotNull(score)", _SCORED),
    rate_of("accuracy", "Accuracy of labelled predictions", (LABELLED,), f"countIf({_CORRECT})", "count()"),
    rate_of("error_rate", "Error rate of labelled predictions", (LABELLED,), f"countIf(NOT {_CORRECT})", "count()"),
    mean_of("mean_absolute_error", "Mean absolute error of labelled predictions", "score", LABELLED,
            "abs(toFloat64OrZero(value) - assumeNotNull(label_number))",
            "isNotNull(label_number) AND isNotNull(toFloat64OrNull(value))"),
    _performance("performance", "Performance of the last window whose labels are in", "realised"),
    _performance("estimated_performance", "Estimated performance of the last window", "estimated"),
    value_of("estimation_error", "How far off estimated performance was, on average", "score", Kind.RATIO,
             (PERFORMANCE,), f"if({_SCORED_ALL} > 0, avgIf({_OFF}, dimension = ''), avg({_OFF}))",
             f"if({_SCORED_ALL} > 0, {_SCORED_ALL}, countIf(isNotNull(latest.6)))", "kind = 'realised'"),
    value_of("label_lag", "Delay of labels, 95 % quantile", "s", Kind.QUANTILE, (LABELLED,),
             "quantileTDigest(0.95)(dateDiff('millisecond', timestamp, labelled_at) / 1000)", "count()"),
    rate_of("label_share", "Share of predictions whose label is known by the end of the window", (LABELLING,),
            "countIf(known)", "count()"),
    Metric("drift_findings", "Drift findings", "findings", Kind.FINDING, (FINDINGS,),
           {"value": "countIf(latest.1 = 'drift')", "samples": "countIf(latest.1 != 'undetermined')",
            "note": _TOP_FINDINGS}),
    Metric("diagnosed_causes", "Causes found by the daily diagnosis", "findings", Kind.FINDING, (CAUSES,),
           {"value": f"countIf({_TOLD})", "samples": "count()", "note": _TOP_CAUSES}),
    rate_of("label_contradiction_rate", "Share of labelled predictions whose labels contradict each other", (LABELLED,),
            "countIf(label_contradictions > 0)", "count()"),
    value_of("schema_changes", "Features that are new, gone or of another kind", "records", Kind.COUNT,
             (SCHEMA_CHANGES,), "toFloat64(count())", "count()"),
    rate_of("undetermined_share", "Share of drift tests that could not tell", (FINDINGS,),
            "countIf(latest.1 = 'undetermined')", "count()"),
)  # fmt: skip
_PIPELINE_METRICS = (
    rate_of("alert_precision", "Share of answered alerts that were right", (MARKS,), "countIf(right)", "count()"),
    rate_of("late_share", "Share of records stored a day or more after the event", (DELAYS,),
            "sum(late)", "sum(records)"),
    rate_of("wrong_clock_share", "Share of records with an impossible time", (DELAYS,),
            "sum(ahead + no_time + ends_before_start)", "sum(records)"),
    value_of("capped_dimensions", "Dimensions with too many values for the rollups", "records", Kind.COUNT, (CAPPED,),
             "toFloat64(count())", "count()"),
    value_of("sdk_lost_records", "Records that services gave up before they reached us", "records", Kind.SUM,
             (SDK_LOSSES,), "sum(records)", "count()"),
    value_of("pii_hits", "Personal data and secrets replaced", "records", Kind.SUM, (MASKED,), "sum(grown)", "count()"),
    value_of("ingest_volume", "Records received", "records", Kind.SUM, (INGEST,), "sum(records)", "sum(records)"),
    Metric("reconciliation_gap_records", "Records not accounted for", "records", Kind.SUM, (RECONCILIATION,),
           {"value": "toFloat64(sum(gap))", "samples": "count()",
            "note": "arrayStringConcat(arraySlice(arrayFlatten(groupArray(what)), 1, 5), '; ')"}),
    value_of("sink_lag", "Age of the oldest message not stored", "s", Kind.SUM, (RECONCILIATION,), "max(lag)",
             "count()"),
)  # fmt: skip

METRICS: Mapping[str, Metric] = MappingProxyType(
    {each.name: each for each in (*_LLM_METRICS, *_QUALITY_METRICS, *_MODEL_METRICS, *_PIPELINE_METRICS)}
)
