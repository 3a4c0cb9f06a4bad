"""Safety: refusals and guardrail blocks."""

# ruff: noqa: S608 - the pieces are constants of this folder; every value is a bound parameter

from __future__ import annotations

from tidegauge.dashboards.boards.calls import CHOSEN, LLM_MINUTES, SLICES, VARIABLES, named
from tidegauge.dashboards.panels import Board, Kind, Panel, Unit, bucket, wilson, within

GUARDED = f"FROM llm_calls_1m WHERE kind = 'guardrail' AND {within('minute')} AND {SLICES}"


def _refusals(title: str, column: str) -> Panel:
    sql = f"""SELECT time, series, share AS value, {wilson("share", "n", "-")} AS low,
  {wilson("share", "n", "+")} AS high FROM (
  SELECT {bucket("minute")} AS time, {named(column)} AS series, sum(refusals) / sum(calls) AS share,
    toFloat64(sum(calls)) AS n
  {LLM_MINUTES} GROUP BY time, series)
ORDER BY time"""
    return Panel(
        title,
        sql,
        Unit.SHARE,
        Kind.TIMESERIES,
        "Refused share of LLM calls, with its 95 % Wilson interval.",
        min_step_s=3600,
    )


SAFETY = Board(
    title="Safety",
    uid="tidegauge-safety",
    description="What models refuse and guardrails block.",
    variables=VARIABLES,
    panels=(
        Panel(
            "Refusals",
            f"SELECT sum(refusals) / nullIf(sum(calls), 0) AS value {LLM_MINUTES}",
            Unit.SHARE,
            Kind.STAT,
            "Refused share of LLM calls.",
            width=8,
        ),
        Panel(
            "Blocks",
            f"SELECT sum(blocks) / nullIf(sum(calls), 0) AS value {GUARDED}",
            Unit.SHARE,
            Kind.STAT,
            "Share of guardrail checks that blocked.",
            width=8,
        ),
        Panel(
            "Guardrail checks",
            f"SELECT sum(calls) AS value {GUARDED}",
            Unit.COUNT,
            Kind.STAT,
            "When this falls to 0, nothing is guarded.",
            width=8,
        ),
        _refusals("Refusals, by prompt version", "prompt_version"),
        _refusals("Refusals, by model", "model"),
        Panel(
            "Blocks, by guardrail",
            f"""SELECT {bucket("minute")} AS time, name AS series, sum(blocks) / sum(calls) AS value {GUARDED}
  GROUP BY time, series ORDER BY time""",
            Unit.SHARE,
            Kind.TIMESERIES,
            "Blocked share of checks.",
        ),
        Panel(
            "By tenant",
            f"""SELECT {named("tenant")} AS part, sumIf(calls, kind = 'llm') AS llm_calls, sumIf(refusals,
  kind = 'llm') AS refused,
  round(sumIf(refusals, kind = 'llm') / nullIf(sumIf(calls, kind = 'llm'), 0), 4) AS refused_share, sumIf(blocks,
    kind = 'guardrail') AS blocked
FROM llm_calls_1m WHERE {within("minute")} AND {SLICES} GROUP BY part ORDER BY refused DESC, blocked DESC LIMIT 100""",
            Unit.NONE,
            Kind.TABLE,
            "Most refusals first.",
        ),
        Panel(
            "Latest refusals and blocks",
            f"""SELECT timestamp, service, kind, name, prompt_version, if(refused, 'refused', 'blocked') AS what,
  trace_id
FROM llm_calls WHERE (refused OR blocked) AND {within("timestamp")} AND {CHOSEN} ORDER BY timestamp DESC LIMIT 50""",
            Unit.NONE,
            Kind.TABLE,
            "Each with its trace.",
            width=24,
        ),
    ),
)
