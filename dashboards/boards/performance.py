"""How well models do, window by window: measured from labels, and estimated before they come."""

# ruff: noqa: S608 - the pieces are constants of this folder; every value is a bound parameter

from __future__ import annotations

from tidegauge.dashboards.panels import Board, Kind, Panel, Unit, Variable, bucket, matching, options, within


def _rows(condition: str) -> str:
    """Windows of the shown time, with the numbers under names that no answer's column has."""
    return f"""FROM (SELECT *, assumeNotNull(value) AS x, assumeNotNull(low) AS x_low, assumeNotNull(high) AS x_high
  FROM performance_latest WHERE {within("window_end")} AND isNotNull(value) AND {condition})"""


MEASURED = f"{matching('model', 'metric')} AND metric NOT IN ('labels', 'outcomes')"
ALL_TRAFFIC = _rows(f"{MEASURED} AND dimension = ''")
SCORED = _rows(f"{MEASURED} AND dimension = '' AND kind = 'realised' AND isNotNull(estimated)")
LABELS = _rows(f"{matching('model')} AND metric = 'labels' AND stage != 'training'")
LAST = f"""FROM (SELECT model, metric, kind, dimension, slice, argMax((x, x_low, x_high, n, baseline, baseline_windows,
    verdict, labels_share, note, window_end, method), window_end) AS w
  {_rows(MEASURED + " AND stage = 'final'")} GROUP BY model, metric, kind, dimension, slice)"""

PERFORMANCE = Board(
    title="Performance",
    uid="tidegauge-performance",
    description="How well models do: measured from labels as they come, estimated while they are missing.",
    hours=60 * 24,
    variables=(
        Variable("model", "Model", options("model", "performance", "window_end")),
        Variable(
            "metric", "Metric", options("metric", "performance", "window_end", "metric NOT IN ('labels', 'outcomes')")
        ),
    ),
    panels=(
        Panel(
            "Worse than before",
            f"SELECT countIf(w.7 = 'drift' AND kind = 'realised') AS value {LAST} HAVING count() > 0",
            Unit.COUNT,
            Kind.STAT,
            "Metrics, of all traffic and of slices, whose last window is worse than its baseline.",
            width=8,
        ),
        Panel(
            "Labels of the last window",
            f"SELECT argMax(x, window_end) AS value {LABELS} HAVING count() > 0",
            Unit.SHARE,
            Kind.STAT,
            "Share of its predictions that have a label.",
            width=8,
        ),
        Panel(
            "Off by",
            f"SELECT avg(abs(estimated - x)) AS value {SCORED} HAVING count() > 0",
            Unit.NUMBER,
            Kind.STAT,
            "Mean distance of estimated and realised values; choose a metric to compare like with like.",
            width=8,
        ),
        Panel(
            "Estimated and realised",
            f"""SELECT {bucket("window_end")} AS time, concat(model, ' ', metric, ' ', kind) AS series,
  argMax(x, window_end) AS value, argMax(x_low, window_end) AS low, argMax(x_high, window_end) AS high
{ALL_TRAFFIC} GROUP BY time, series ORDER BY time, series""",
            Unit.NUMBER,
            Kind.TIMESERIES,
            "All traffic with 95 % intervals, at the end of each window; that of an estimate holds how far off the "
            "last ones were. Best with one metric chosen.",
            width=24,
            min_step_s=3600,
        ),
        Panel(
            "How far off estimates were",
            f"""SELECT {bucket("window_end")} AS time, concat(model, ' ', metric) AS series, avg(estimated - x) AS value
{SCORED} GROUP BY time, series ORDER BY time""",
            Unit.NUMBER,
            Kind.TIMESERIES,
            "Estimated less realised; above 0 the estimate was too high.",
            min_step_s=3600,
        ),
        Panel(
            "Labels by window",
            f"""SELECT {bucket("window_end")} AS time, model AS series, avg(x) AS value, avg(expected_share) AS expected
{LABELS} GROUP BY time, series ORDER BY time""",
            Unit.SHARE,
            Kind.TIMESERIES,
            "Share of predictions with a label, and the share expected by how long labels took before.",
            min_step_s=3600,
        ),
        Panel(
            "Last window",
            f"""SELECT model, metric, kind, if(dimension = '', 'all', concat(dimension, '=', slice)) AS part,
  w.10 AS window_end, round(w.1, 4) AS value, round(w.2, 4) AS low, round(w.3, 4) AS high, round(w.5, 4) AS baseline,
  w.6 AS windows, w.4 AS n, w.7 AS verdict, w.8 AS labels_share, w.11 AS method, w.9 AS note
{LAST} ORDER BY verdict = 'drift' DESC, dimension != '', model, metric, kind, n DESC LIMIT 300""",
            Unit.NUMBER,
            Kind.TABLE,
            "Every metric of all traffic and of slices, the worse ones first.",
            width=24,
        ),
    ),
)
