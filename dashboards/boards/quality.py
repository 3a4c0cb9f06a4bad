"""Quality: judge scores with their uncertainty, feedback of people, outcomes, the review queue."""

# ruff: noqa: S608 - the pieces are constants of this folder; every value is a bound parameter

from __future__ import annotations

from tidegauge.dashboards.panels import (
    END,
    START,
    Board,
    Kind,
    Panel,
    Unit,
    Variable,
    bucket,
    matching,
    options,
    wilson,
    within,
)

JUDGED = f"FROM scores WHERE {within('timestamp')} AND {matching('name', 'judge')}"
WEIGHTED = """sum(score / inclusion_probability) / sum(1 / inclusion_probability) AS mean,
  pow(sum(1 / inclusion_probability), 2) / sum(1 / pow(inclusion_probability, 2)) AS n"""
SCORED = f"{JUDGED} AND isNotNull(score) AND error_type = '' AND inclusion_probability > 0"

QUALITY = Board(
    title="Quality",
    uid="tidegauge-quality",
    description="How good the answers are: judged, rated and measured by what came of them.",
    hours=14 * 24,
    variables=(
        Variable("name", "Rubric", options("name", "scores", "timestamp")),
        Variable("judge", "Judge", options("judge", "scores", "timestamp")),
    ),
    panels=(
        Panel(
            "Judge scores",
            f"""SELECT time, series, mean AS value, {wilson("mean", "n", "-")} AS low,
  {wilson("mean", "n", "+")} AS high
FROM (SELECT {bucket("timestamp")} AS time, concat(name, ' (', judge, ')') AS series, {WEIGHTED} {SCORED}
  GROUP BY time, series)
ORDER BY time""",
            Unit.SHARE,
            Kind.TIMESERIES,
            "Mean over all calls, estimated from the judged sample (each weighs 1 / inclusion probability), with a "
            "95 % Wilson interval at the effective sample size. A change of judge starts a new line.",
            width=24,
            min_step_s=86_400,
        ),
        Panel(
            "By rubric and judge",
            f"""SELECT name, judge, sample, round(mean, 4) AS score, round({wilson("mean", "n", "-")}, 4) AS low,
  round({wilson("mean", "n", "+")}, 4) AS high,
  round(n, 1) AS effective_sample
FROM (SELECT name, judge, {WEIGHTED}, count() AS sample {SCORED} GROUP BY name, judge) ORDER BY name, judge""",
            Unit.SHARE,
            Kind.TABLE,
            "The whole shown time.",
        ),
        Panel(
            "Lowest scores",
            f"SELECT timestamp, name, score, explanation, trace_id {SCORED} ORDER BY score, timestamp DESC LIMIT 50",
            Unit.SHARE,
            Kind.TABLE,
            "Candidates for a look and for the golden set.",
        ),
        Panel(
            "Judge samples, by outcome",
            f"""SELECT {bucket("timestamp")} AS time, toString(outcome) AS series, count() AS value
FROM judge_samples WHERE chosen AND {within("timestamp")} GROUP BY time, series ORDER BY time""",
            Unit.COUNT,
            Kind.TIMESERIES,
            "What became of the calls that were drawn; over_budget and invalid ones leave the score less certain.",
            min_step_s=3600,
            zero_gaps=True,
            stacked=True,
        ),
        Panel(
            "Feedback",
            f"""SELECT {bucket("timestamp")} AS time, kind AS series, avg(score) AS value
FROM last_feedback(start = {START}, end = {END}) WHERE isNotNull(score) GROUP BY time, series ORDER BY time""",
            Unit.NUMBER,
            Kind.TIMESERIES,
            "Mean of the last of each answer and kind: thumbs from -1 to 1, CSAT from 1 to 5.",
            min_step_s=86_400,
        ),
        Panel(
            "Outcomes",
            f"""SELECT {bucket("timestamp")} AS time, concat(service, ' ', name) AS series, sum(value) AS total
FROM last_outcomes(start = {START}, end = {END}) GROUP BY time, series ORDER BY time""",
            Unit.NUMBER,
            Kind.TIMESERIES,
            "Sum per bucket of the last of each answer and name: clicks, conversions, deflections.",
            min_step_s=3600,
            zero_gaps=True,
        ),
        Panel(
            "Review queue",
            f"""SELECT timestamp, reason, detail, state, trace_id FROM (
  SELECT trace_id, span_id, max(timestamp) AS timestamp, argMax(reason, review_queue.timestamp) AS reason,
    argMax(detail, review_queue.timestamp) AS detail, argMax(state, review_queue.timestamp) AS state
  FROM review_queue WHERE {within("review_queue.timestamp")} GROUP BY trace_id, span_id)
ORDER BY timestamp DESC LIMIT 100""",
            Unit.NONE,
            Kind.TABLE,
            "Calls for people to look at, newest first.",
        ),
    ),
)
