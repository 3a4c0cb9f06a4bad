"""Behaviour of agents: tools, retrieval, depth of conversations, how answers end."""

# ruff: noqa: S608 - the pieces are constants of this folder; every value is a bound parameter

from __future__ import annotations

from tidegauge.dashboards.boards.calls import INTENT, SERVICE, SLICES, TENANT, named
from tidegauge.dashboards.panels import Board, Kind, Panel, Unit, bucket, within

CALLS = f"FROM llm_facts WHERE {within('timestamp')} AND {SLICES}"
TOOLS = f"FROM llm_calls_1m WHERE kind = 'tool' AND {within('minute')} AND {SLICES}"
RETRIEVALS = f"FROM llm_calls_1m WHERE kind = 'retrieval' AND {within('minute')} AND {SLICES}"
FINISHES = f"{CALLS} AND kind = 'llm'"

BEHAVIOUR = Board(
    title="Behaviour",
    uid="tidegauge-behaviour",
    description="What agents do on the way to an answer.",
    variables=(SERVICE, TENANT, INTENT),
    panels=(
        Panel(
            "Tool success",
            f"""SELECT {bucket("minute")} AS time, name AS series, 1 - sum(errors) / sum(calls) AS value {TOOLS}
  GROUP BY time, series ORDER BY time""",
            Unit.SHARE,
            Kind.TIMESERIES,
            "Share of tool calls without an error.",
        ),
        Panel(
            "Tool calls",
            f"""SELECT {bucket("minute")} AS time, name AS series, sum(calls) AS value {TOOLS} GROUP BY time, series
  ORDER BY time""",
            Unit.COUNT,
            Kind.TIMESERIES,
            "Per bucket, by tool.",
            zero_gaps=True,
            stacked=True,
        ),
        Panel(
            "Tools",
            f"""SELECT name, n AS tool_calls, failed, round(1 - failed / n, 4) AS success, round(q[1], 4) AS p50_s,
  round(q[2], 4) AS p95_s FROM (
  SELECT name, sum(calls) AS n, sum(errors) AS failed, quantilesTDigestMerge(0.5, 0.95, 0.99)(duration_s) AS q {TOOLS}
    GROUP BY name)
ORDER BY tool_calls DESC LIMIT 100""",
            Unit.NONE,
            Kind.TABLE,
            "Most used first.",
        ),
        Panel(
            "Retrieval",
            f"""SELECT name, n AS retrievals, failed, round(q[1], 4) AS p50_s, round(q[2], 4) AS p95_s FROM (
  SELECT name, sum(calls) AS n, sum(errors) AS failed, quantilesTDigestMerge(0.5, 0.95,
    0.99)(duration_s) AS q {RETRIEVALS} GROUP BY name)
ORDER BY retrievals DESC LIMIT 100""",
            Unit.NONE,
            Kind.TABLE,
            "By source.",
        ),
        Panel(
            "Steps per request",
            f"""SELECT time, q[1] AS p50, q[2] AS p95 FROM (
  SELECT time, quantilesExact(0.5, 0.95)(steps) AS q FROM (
    SELECT {bucket("min(timestamp)")} AS time, trace_id, countIf(kind IN ('llm', 'tool',
    'retrieval')) AS steps {CALLS} AND trace_id != '' GROUP BY trace_id)
  GROUP BY time)
ORDER BY time""",
            Unit.COUNT,
            Kind.TIMESERIES,
            "LLM calls, tool calls and retrievals of one trace; a rise means loops or retries.",
            zero_gaps=False,
        ),
        Panel(
            "Conversation depth",
            f"""SELECT least(turns, 20) AS depth, count() AS sessions FROM (
  SELECT session, uniqExact(trace_id) AS turns {CALLS} AND session != '' GROUP BY session)
GROUP BY depth ORDER BY depth""",
            Unit.COUNT,
            Kind.BAR,
            "Requests per session; 20 stands for 20 and more.",
        ),
        Panel(
            "How answers end",
            f"""SELECT {bucket("timestamp")} AS time, {named("finish_reason")} AS series, count() AS value
{FINISHES} GROUP BY time, series ORDER BY time""",
            Unit.COUNT,
            Kind.TIMESERIES,
            "Finish reason of LLM calls; length means cut off.",
            zero_gaps=True,
            stacked=True,
        ),
        Panel(
            "Longest traces",
            f"""SELECT trace_id, min(timestamp) AS started, count() AS spans, countIf(kind = 'tool') AS tools,
  round(sum(cost_usd), 6) AS cost,
  sum(input_tokens + output_tokens) AS tokens
{CALLS} AND trace_id != '' GROUP BY trace_id ORDER BY spans DESC, tokens DESC LIMIT 50""",
            Unit.NONE,
            Kind.TABLE,
            "Most steps first.",
        ),
    ),
)
