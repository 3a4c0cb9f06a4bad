"""Health of LLM services: traffic, errors, latency, tokens, caches, GPUs."""

# ruff: noqa: S608 - the pieces are constants of this folder; every value is a bound parameter

from __future__ import annotations

from tidegauge.dashboards.boards.calls import LLM_CALLS, LLM_MINUTES, VARIABLES, named
from tidegauge.dashboards.panels import STEP, Board, Kind, Panel, Unit, bucket, matching, within

MINUTE = bucket("minute")


def _stat(title: str, value: str, unit: Unit, description: str) -> Panel:
    return Panel(title, f"SELECT {value} AS value {LLM_MINUTES}", unit, Kind.STAT, description, width=4)


def _over_time(title: str, series: str, value: str, unit: Unit, description: str, zero_gaps: bool = False) -> Panel:
    sql = f"""SELECT {MINUTE} AS time, {series} AS series, {value} AS value {LLM_MINUTES} GROUP BY time, series
  ORDER BY time"""
    return Panel(title, sql, unit, Kind.TIMESERIES, description, zero_gaps=zero_gaps)


def _quantiles(title: str, column: str, description: str) -> Panel:
    sql = f"""SELECT time, q[1] AS p50, q[2] AS p95, q[3] AS p99
FROM (SELECT {MINUTE} AS time, quantilesTDigestMerge(0.5, 0.95, 0.99)({column}) AS q {LLM_MINUTES} GROUP BY time)
WHERE isFinite(p50) ORDER BY time"""
    return Panel(title, sql, Unit.SECONDS, Kind.TIMESERIES, description)


def _gauge(title: str, names: tuple[str, ...], unit: Unit, description: str) -> Panel:
    listed = ", ".join(f"'{name}'" for name in names)
    sql = f"""SELECT {bucket("TimeUnix")} AS time, concat(ServiceName, ' ', MetricName) AS series, avg(Value) AS value
FROM otel_metrics_gauge
WHERE MetricName IN ({listed}) AND {within("TimeUnix")} AND {matching("service").replace("service =", "ServiceName =")}
GROUP BY time, series ORDER BY time"""
    return Panel(title, sql, unit, Kind.TIMESERIES, description)


HEALTH = Board(
    title="LLM health",
    uid="tidegauge-health",
    description="Traffic, errors and latency of LLM calls.",
    variables=VARIABLES,
    panels=(
        _stat("Calls", "sum(calls)", Unit.COUNT, "LLM calls in the shown time."),
        _stat(
            "Error rate", "sum(errors) / nullIf(sum(calls), 0)", Unit.SHARE, "Share of calls that ended in an error."
        ),
        _stat(
            "Latency p95",
            "quantilesTDigestMerge(0.5, 0.95, 0.99)(duration_s)[2]",
            Unit.SECONDS,
            "95 % of calls were faster, end to end.",
        ),
        _stat(
            "First token p95",
            "quantilesTDigestMerge(0.5, 0.95, 0.99)(time_to_first_token_s)[2]",
            Unit.SECONDS,
            "95 % of streamed calls sent their first token sooner.",
        ),
        _stat(
            "Refusals", "sum(refusals) / nullIf(sum(calls), 0)", Unit.SHARE, "Share of calls that the model refused."
        ),
        _stat("Cost", "sum(cost_usd)", Unit.USD, "Sum of the cost that the services reported."),
        _over_time(
            "Calls per second, by model",
            named("model"),
            f"sum(calls) / {STEP}",
            Unit.RATE,
            "A stretch without calls is drawn as 0.",
            zero_gaps=True,
        ),
        _over_time(
            "Error rate, by model", named("model"), "sum(errors) / sum(calls)", Unit.SHARE, "Errors per call, by model."
        ),
        _quantiles("Latency", "duration_s", "End to end, of one call; quantiles merged from minutes."),
        _quantiles("Time to first token", "time_to_first_token_s", "Streamed calls only."),
        Panel(
            "Time per output token",
            f"""SELECT time, q[1] AS p50, q[2] AS p95 FROM (
  SELECT {bucket("timestamp")} AS time, quantilesTDigest(0.5,
    0.95)((duration_s - assumeNotNull(time_to_first_token_s)) / (output_tokens - 1)) AS q
  {LLM_CALLS} AND isNotNull(time_to_first_token_s) AND output_tokens > 1 GROUP BY time)
ORDER BY time""",
            Unit.SECONDS,
            Kind.TIMESERIES,
            "After the first token, of streamed calls.",
        ),
        Panel(
            "Tokens per second",
            f"""SELECT {MINUTE} AS time, sum(input_tokens) / {STEP} AS input, sum(output_tokens) / {STEP} AS output,
  sum(cache_read_tokens) / {STEP} AS cached
{LLM_MINUTES} GROUP BY time ORDER BY time""",
            Unit.TOKENS,
            Kind.TIMESERIES,
            "Input, output, and input that a prompt cache served.",
            zero_gaps=True,
        ),
        _over_time(
            "Prompt cache hits",
            named("model"),
            "sum(cache_read_tokens) / nullIf(sum(input_tokens), 0)",
            Unit.SHARE,
            "Share of input tokens that came from the prompt cache.",
        ),
        Panel(
            "Errors, by type",
            f"""SELECT error_type, model, count() AS calls, max(timestamp) AS last_seen, argMax(trace_id,
  timestamp) AS trace_id
{LLM_CALLS} AND error_type != '' GROUP BY error_type, model ORDER BY calls DESC LIMIT 50""",
            Unit.COUNT,
            Kind.TABLE,
            "Each with the trace of its last occurrence.",
        ),
        _gauge(
            "Queue depth",
            ("vllm:num_requests_waiting", "vllm:num_requests_running", "tgi_queue_size", "gen_ai.server.queue.depth"),
            Unit.COUNT,
            "Requests waiting in or running on the model servers, where their metrics reach us.",
        ),
        _gauge(
            "GPU use",
            ("DCGM_FI_DEV_GPU_UTIL", "hw.gpu.utilization", "gpu.utilization", "nv_gpu_utilization"),
            Unit.NUMBER,
            "As the exporter reports it: 0 to 1, or percent.",
        ),
    ),
)
