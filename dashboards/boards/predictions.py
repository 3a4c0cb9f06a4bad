"""Predictions of models: volume, scores, classes, and accuracy once labels arrive."""

# ruff: noqa: S608 - the pieces are constants of this folder; every value is a bound parameter

from __future__ import annotations

from tidegauge.dashboards.boards.calls import named
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

HOUR = 3600
CHOSEN = matching("model", "version")
HOURS = f"FROM predictions_1h WHERE dimension = '' AND {within('hour')} AND {CHOSEN}"
MADE = f"FROM predictions WHERE {within('timestamp')} AND {CHOSEN}"
SPAN = f"start = {START}, end = {END}, known_by = {END} + toIntervalDay(92)"
LABELLED = f"FROM labelled({SPAN}, model = {{model:String}}) WHERE {CHOSEN}"
NAME = f"concat(model, ' ', {named('version')})"

ACCURACY = f"""SELECT time, series, share AS value, {wilson("share", "n", "-")} AS low,
  {wilson("share", "n", "+")} AS high
FROM (SELECT {bucket("timestamp")} AS time, {NAME} AS series, avg(value = label) AS share, toFloat64(count()) AS n
  {LABELLED} GROUP BY time, series HAVING n >= 10)
ORDER BY time"""

FAILED = f"FROM prediction_errors(start = {START}, end = {END}) WHERE {CHOSEN}"
FAILURES = f"""SELECT time, series, sum(failed) / sum(failed + made) AS value FROM (
  SELECT {bucket("timestamp")} AS time, {NAME} AS series, 1 AS failed, 0 AS made {FAILED}
  UNION ALL SELECT {bucket("hour")}, {NAME}, 0, predictions {HOURS})
GROUP BY time, series HAVING sum(failed + made) > 0 ORDER BY time"""

PREDICTIONS = Board(
    title="Predictions",
    uid="tidegauge-predictions",
    description="What the models predict, and how right they turn out to be.",
    hours=60 * 24,
    variables=(
        Variable("model", "Model", options("model", "predictions_1h", "hour")),
        Variable("version", "Version", options("version", "predictions_1h", "hour")),
    ),
    panels=(
        Panel(
            "Predictions",
            f"SELECT sum(predictions) AS value {HOURS}",
            Unit.COUNT,
            Kind.STAT,
            "In the shown time.",
            width=8,
        ),
        Panel(
            "Accuracy",
            f"SELECT avg(value = label) AS share {LABELLED} HAVING count() > 0",
            Unit.SHARE,
            Kind.STAT,
            "Predictions of the shown time whose last label is the same text; empty without labels.",
            width=8,
        ),
        Panel(
            "Labelled",
            f"""SELECT labelled / nullIf(made, 0) AS value
  FROM (SELECT (SELECT count() {LABELLED}) AS labelled, (SELECT count() {MADE}) AS made)""",
            Unit.SHARE,
            Kind.STAT,
            "Share of predictions whose label has arrived.",
            width=8,
        ),
        Panel(
            "Volume, by version",
            f"""SELECT {bucket("hour")} AS time, {NAME} AS series, sum(predictions) AS value {HOURS}
  GROUP BY time, series ORDER BY time""",
            Unit.COUNT,
            Kind.TIMESERIES,
            "Predictions per bucket.",
            min_step_s=HOUR,
            zero_gaps=True,
            stacked=True,
        ),
        Panel(
            "Accuracy over time",
            ACCURACY,
            Unit.SHARE,
            Kind.TIMESERIES,
            "By time of the prediction, with 95 % Wilson intervals; buckets of fewer than 10 labels are left out.",
            min_step_s=HOUR,
        ),
        Panel(
            "Score quantiles",
            f"""SELECT time, series, q[3] AS value, q[1] AS low, q[5] AS high
FROM (SELECT {bucket("hour")} AS time, {NAME} AS series, quantilesTDigestMerge(0.1, 0.25, 0.5, 0.75, 0.9)(score) AS q,
  sum(scored) AS n
  {HOURS} GROUP BY time, series HAVING n > 0)
ORDER BY time""",
            Unit.NUMBER,
            Kind.TIMESERIES,
            "Median, and the band from the 10 % to the 90 % quantile.",
            min_step_s=HOUR,
        ),
        Panel(
            "Predicted classes",
            f"""SELECT {bucket("timestamp")} AS time, if(value IN (SELECT value {MADE} GROUP BY value
  ORDER BY count() DESC LIMIT 8), value, '(other)') AS series,
  count() AS predictions
{MADE} GROUP BY time, series ORDER BY time""",
            Unit.COUNT,
            Kind.TIMESERIES,
            "The eight most frequent values; meant for classes, not for regression.",
            min_step_s=HOUR,
            zero_gaps=True,
            stacked=True,
        ),
        Panel(
            "Failed predictions",
            FAILURES,
            Unit.SHARE,
            Kind.TIMESERIES,
            "Calls of tracked functions that ended in an exception, of these and the predictions.",
            min_step_s=HOUR,
        ),
        Panel(
            "Failures, by type",
            f"""SELECT model, version, error_type, count() AS failures, max(timestamp) AS last_seen,
  argMax(trace_id, timestamp) AS trace_id
{FAILED} GROUP BY model, version, error_type ORDER BY failures DESC LIMIT 100""",
            Unit.COUNT,
            Kind.TABLE,
            "The exception's type, and the trace of the last one where there was one; its text stays in the service.",
        ),
        Panel(
            "By slice",
            f"""SELECT model, version, dimension, slice, sum(predictions) AS volume,
  round(sum(score_sum) / nullIf(sum(scored), 0), 4) AS mean_score
FROM predictions_1h WHERE dimension != '' AND {within("hour")} AND {CHOSEN}
GROUP BY model, version, dimension, slice ORDER BY volume DESC LIMIT 200""",
            Unit.COUNT,
            Kind.TABLE,
            "Slices with the most predictions first.",
        ),
        Panel(
            "Accuracy by slice",
            f"""SELECT model, part.1 AS dimension, part.2 AS slice, count() AS labels, round(avg(value = label),
  4) AS accuracy
FROM (SELECT model, value, label, arrayJoin(arrayZip(mapKeys(slices), mapValues(slices))) AS part {LABELLED})
GROUP BY model, dimension, slice HAVING labels >= 30 ORDER BY accuracy, labels DESC LIMIT 100""",
            Unit.SHARE,
            Kind.TABLE,
            "Worst first; at least 30 labels.",
        ),
        Panel(
            "Label delay",
            f"""SELECT model, n AS labels, q[1] AS p50_hours, q[2] AS p95_hours FROM (
  SELECT model, quantilesTDigest(0.5, 0.95)(dateDiff('second', timestamp, labelled_at) / 3600) AS q,
    count() AS n {LABELLED} GROUP BY model)
ORDER BY model""",
            Unit.NUMBER,
            Kind.TABLE,
            "From the prediction to its last label.",
            width=24,
        ),
    ),
)
