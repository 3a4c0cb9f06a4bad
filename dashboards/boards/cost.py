"""Cost of LLM calls: per day, per request, per tenant."""

# ruff: noqa: S608 - the pieces are constants of this folder; every value is a bound parameter

from __future__ import annotations

from tidegauge.dashboards.boards.calls import CHOSEN, LLM_MINUTES, VARIABLES, named
from tidegauge.dashboards.panels import END, Board, Kind, Panel, Unit, bucket, within

SPENT = f"FROM llm_calls_1m WHERE {within('minute')} AND {CHOSEN}"
DAY = 86_400


def _stat(title: str, value: str, unit: Unit, description: str) -> Panel:
    return Panel(title, f"SELECT {value} AS value {SPENT}", unit, Kind.STAT, description, width=6)


def _by(title: str, column: str, description: str) -> Panel:
    sql = f"""SELECT {named(column)} AS part, round(sum(cost_usd), 6) AS cost, sum(calls) AS requests,
  round(sum(cost_usd) / nullIf(sum(calls), 0), 6) AS per_request, sum(input_tokens) AS tokens_in,
    sum(output_tokens) AS tokens_out
{SPENT} AND kind = 'llm' GROUP BY part ORDER BY cost DESC LIMIT 100"""
    return Panel(title, sql, Unit.USD, Kind.TABLE, description)


WEEKS = f"""SELECT if(before > 0, this / before - 1, NULL) AS value FROM (
  SELECT sumIf(cost_usd, minute >= {END} - INTERVAL 7 DAY) AS this, sumIf(cost_usd,
    minute < {END} - INTERVAL 7 DAY) AS before
  FROM llm_calls_1m WHERE minute >= {END} - INTERVAL 14 DAY AND minute < {END} AND {CHOSEN})"""

COST = Board(
    title="Cost",
    uid="tidegauge-cost",
    description="What the calls cost, and who causes it.",
    variables=VARIABLES,
    hours=14 * 24,
    panels=(
        _stat("Cost", "sum(cost_usd)", Unit.USD, "In the shown time."),
        _stat(
            "Cost per call",
            "sumIf(cost_usd, kind = 'llm') / nullIf(sumIf(calls, kind = 'llm'), 0)",
            Unit.USD,
            "Mean of an LLM call.",
        ),
        _stat("Tokens", "sum(input_tokens) + sum(output_tokens)", Unit.TOKENS, "Input and output."),
        Panel(
            "Week on week",
            WEEKS,
            Unit.SHARE,
            Kind.STAT,
            "The last seven days against the seven before; 20 % is that much more. Empty without a cost before.",
            width=6,
        ),
        Panel(
            "Cost per day, by model",
            f"""SELECT {bucket("minute")} AS time, {named("model")} AS series, sum(cost_usd) AS value
{SPENT} GROUP BY time, series ORDER BY time""",
            Unit.USD,
            Kind.TIMESERIES,
            "Days in UTC.",
            min_step_s=DAY,
            zero_gaps=True,
            stacked=True,
        ),
        Panel(
            "Cost per call, by prompt version",
            f"""SELECT {bucket("minute")} AS time, {named("prompt_version")} AS series,
  sum(cost_usd) / sum(calls) AS value
{LLM_MINUTES} GROUP BY time, series ORDER BY time""",
            Unit.USD,
            Kind.TIMESERIES,
            "A new prompt that costs more shows here first.",
            min_step_s=3600,
        ),
        _by("By tenant", "tenant", "LLM calls."),
        _by("By prompt version", "prompt_version", "LLM calls."),
        _by("By intent", "intent", "LLM calls."),
        _by("By model", "model", "LLM calls."),
    ),
)
