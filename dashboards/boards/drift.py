"""Drift findings: what moved, how far beyond what matters, and what could not be told."""

from __future__ import annotations

from tidegauge.dashboards.panels import Board, Kind, Panel, Unit, Variable, bucket, matching, options, within
from tidegauge.metrics.sources import PART

FOUND = f"FROM findings WHERE {within('window_end')} AND {matching('subject', 'feature', 'detector')}"
ALL_TRAFFIC = f"{FOUND} AND dimension = ''"
LATEST = f"""FROM (
  SELECT subject, feature, detector, dimension, slice, argMax(verdict, (window_end, evaluated_at)) AS latest
  {ALL_TRAFFIC} AND NOT startsWith(reason, 'labels pending') GROUP BY subject, feature, detector, dimension, slice)"""
TIMES = "max(effect / nullIf(effect_floor, 0))"
STRONGEST = f"""SELECT subject, feature {ALL_TRAFFIC} GROUP BY subject, feature
  ORDER BY max(effect / nullIf(effect_floor, 0)) DESC NULLS LAST LIMIT"""


def _effect(title: str, kind: Kind, limit: int, description: str) -> Panel:
    sql = f"""SELECT {bucket("window_end")} AS time, concat(subject, ' ', feature) AS series, {TIMES} AS value
{ALL_TRAFFIC} AND (subject, feature) IN ({STRONGEST} {limit})
GROUP BY time, series HAVING isNotNull(value) ORDER BY time, series"""
    return Panel(title, sql, Unit.NUMBER, kind, description, width=24, min_step_s=3600)


DRIFT = Board(
    title="Drift",
    uid="tidegauge-drift",
    description="Windows compared with their reference, for each feature and slice.",
    hours=60 * 24,
    variables=(
        Variable("subject", "Model or service", options("subject", "findings", "window_end")),
        Variable("feature", "Feature", options("feature", "findings", "window_end")),
        Variable("detector", "Detector", options("detector", "findings", "window_end")),
    ),
    panels=(
        Panel(
            "Drifting now",
            f"SELECT countIf(latest = 'drift') AS value {LATEST}",
            Unit.COUNT,
            Kind.STAT,
            "Tests of all traffic whose latest window differs from its reference.",
            width=8,
        ),
        Panel(
            "Tests",
            f"SELECT count() AS value {LATEST}",
            Unit.COUNT,
            Kind.STAT,
            "Different tests (feature, detector) of all traffic that ran.",
            width=8,
        ),
        Panel(
            "Undetermined",
            f"SELECT countIf(latest = 'undetermined') / nullIf(count(), 0) AS value {LATEST}",
            Unit.SHARE,
            Kind.STAT,
            "Share of tests that could not tell. Undetermined is not the same as stable.",
            width=8,
        ),
        _effect(
            "Effect in multiples of its floor",
            Kind.TIMESERIES,
            8,
            "All traffic, the eight strongest features. Above 1 a difference is large enough to matter.",
        ),
        _effect(
            "Features over time",
            Kind.HEATMAP,
            30,
            "All traffic, the thirty strongest features, in multiples of the floor: grey 0, ochre 1, red 3 and more.",
        ),
        Panel(
            "Findings",
            f"""SELECT finding_id, window_end, subject, feature, {PART} AS part,
  detector,
  effect, effect_floor, p_adjusted, n_reference, n_current, since, reason
{FOUND} AND verdict = 'drift' ORDER BY window_end DESC, effect / nullIf(effect_floor, 0) DESC NULLS LAST LIMIT 200""",
            Unit.NONE,
            Kind.TABLE,
            "The newest 200 of drift.",
            width=24,
        ),
        Panel(
            "Undetermined share, by detector",
            f"""SELECT {bucket("window_end")} AS time, detector AS series,
  countIf(verdict = 'undetermined') / count() AS value
{FOUND} GROUP BY time, series ORDER BY time""",
            Unit.SHARE,
            Kind.TIMESERIES,
            "A detector that cannot tell watches nothing.",
            min_step_s=3600,
        ),
        Panel(
            "Why undetermined",
            f"""SELECT reason, detector, count() AS findings, uniqExact(feature) AS features,
  max(window_end) AS last_window
{FOUND} AND verdict = 'undetermined' GROUP BY reason, detector ORDER BY findings DESC LIMIT 50""",
            Unit.COUNT,
            Kind.TABLE,
            "Most frequent reasons first.",
        ),
    ),
)
