"""What a woken engineer asks first: what changed, since when, for whom, how sure, what to do."""

# ruff: noqa: S608 - the pieces are constants of this folder; every value is a bound parameter

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tidegauge.dashboards.panels import bucket, within
from tidegauge.dashboards.query import step_for
from tidegauge.model import Window
from tidegauge.store import Rows, Store

STATES = """SELECT rule, fingerprint, e.1 AS state, e.2 AS severity, e.3 AS owner, e.4 AS runbook, e.5 AS action,
  e.6 AS labels,
  e.7 AS value, e.8 AS threshold, e.9 AS samples, e.10 AS since, e.11 AS reason, e.12 AS summary, e.13 AS changed,
  e.14 AS unit, e.15 OR state = 'firing' AS firing, note
FROM (SELECT rule, fingerprint, argMaxIf(alert_events.note, timestamp, notice != 'acknowledge') AS note,
    argMax(tuple(state, severity, owner, runbook, action, labels, value, threshold, samples, since, reason, summary,
      timestamp, unit, open), timestamp) AS e
  FROM alert_events WHERE timestamp <= {at:DateTime64(6)} AND notice != 'diagnose' GROUP BY rule, fingerprint)
WHERE state NOT IN ('inactive', 'resolved')
ORDER BY firing DESC, indexOf(['firing', 'pending', 'no_data', 'insufficient'], state), severity = 'page' DESC,
  since DESC LIMIT 200"""

# A test counts while its window is not much older than the newest of its subject: a feature that is gone is not open.
# Of a slice only drift is kept as a row, so one that is older than what all traffic was last told about is over.
# Labels that are still to come say nothing yet.
TOLD = "window_end <= {at:DateTime64(6)} AND NOT startsWith(reason, 'labels pending')"
LATEST = f"""SELECT f.subject AS subject, f.feature AS feature, f.detector AS detector, f.dimension AS dimension,
  f.slice AS slice,
  e.1 AS finding_id, e.2 AS verdict, e.3 AS p_adjusted, e.4 AS effect, e.5 AS effect_floor, e.6 AS n_reference,
    e.7 AS n_current,
  e.8 AS since, e.9 AS reason, e.10 AS window_start, e.11 AS window_end
FROM (SELECT subject, feature, detector, dimension, slice,
    argMax(tuple(finding_id, verdict, p_adjusted, effect, effect_floor, n_reference, n_current, since, reason,
    window_start, window_end), (window_end, evaluated_at)) AS e
  FROM findings WHERE {TOLD} AND window_end > {{at:DateTime64(6)}} - INTERVAL 400 DAY
  GROUP BY subject, feature, detector, dimension, slice) AS f
INNER JOIN (SELECT subject, max(window_end) AS newest FROM findings WHERE window_end <= {{at:DateTime64(6)}}
  GROUP BY subject) AS n ON f.subject = n.subject
LEFT JOIN (SELECT subject, feature, max(window_end) AS told FROM findings WHERE {TOLD} AND dimension = ''
  GROUP BY subject, feature) AS a ON f.subject = a.subject AND f.feature = a.feature
WHERE window_end > newest - toIntervalSecond(3 * dateDiff('second', window_start, window_end))
  AND (dimension = '' OR window_end >= told)"""

SERVICES = f"""SELECT service, {bucket("minute")} AS time, sum(calls) AS n, sum(errors) AS failed,
  sum(refusals) AS refused, sum(cost_usd) AS cost,
  quantilesTDigestMerge(0.5, 0.95, 0.99)(duration_s)[2] AS p95
FROM llm_calls_1m WHERE kind = 'llm' AND {within("minute")} GROUP BY service, time ORDER BY service, time"""
MODELS = f"""SELECT model, {bucket("hour")} AS time, sum(predictions) AS n, sum(score_sum) AS score,
  sum(scored) AS with_score
FROM predictions_1h WHERE dimension = '' AND {within("hour")} GROUP BY model, time ORDER BY model, time"""
OUTCOME_FEATURES = frozenset({"accuracy", "performance", "estimated performance", "outcome", "label", "error"})
INTEGRITY_DETECTORS = frozenset(
    {"volume", "missing", "new_categories", "lost_categories", "schema", "out_of_range", "non_finite", "wrong_type"}
    | {"duplicates", "repeated_ids"}
)
OUTPUT_FEATURES = frozenset({"score", "prediction"})


@dataclass(frozen=True, slots=True)
class Drift:
    """One feature of one subject in one slice, as its strongest detector sees it."""

    finding: dict[str, Any]
    detectors: tuple[str, ...]
    since: datetime | None

    @property
    def times(self) -> float | None:
        """Effect in multiples of the floor below which it does not matter."""
        return _times(self.finding)

    @property
    def new(self) -> bool:
        """Whether it began in the window that was tested last, and did not go on from one before."""
        return self.since is not None and self.since >= self.finding["window_start"]


@dataclass(slots=True)
class Tile:
    """A number with its recent course."""

    title: str
    value: float | None
    unit: str
    points: list[float | None] = field(default_factory=list)


@dataclass(slots=True)
class Group:
    """The tiles of one service or model."""

    name: str
    kind: str
    tiles: list[Tile]


def alerts_at(store: Store, at: datetime) -> Rows:
    """Every rule that is neither inactive nor resolved at ``at``; open ones first, also while they have no data."""
    return store.rows(STATES, {"at": at})


def latest_findings(store: Store, at: datetime) -> Rows:
    """The last result of every test that still runs."""
    return store.rows(LATEST, {"at": at})


def open_drifts(findings: Rows) -> list[Drift]:
    """Findings of drift, one for each subject, feature and slice, most important first.

    Outcomes and data integrity come before outputs, outputs before inputs; within each what is new before what has
    been drifting for long, then the larger effect over its floor, then all traffic before a slice.
    """
    groups: dict[tuple[str, ...], Rows] = {}
    for row in findings:
        if row["verdict"] == "drift":
            groups.setdefault((row["subject"], row["feature"], row["dimension"], row["slice"]), []).append(row)
    return sorted((_strongest(rows) for rows in groups.values()), key=_importance)


def _strongest(rows: Rows) -> Drift:
    ordered = sorted(rows, key=lambda row: -(_times(row) or 0.0))
    begun = [row["since"] for row in rows if row["since"]]
    return Drift(ordered[0], tuple(row["detector"] for row in ordered), min(begun, default=None))


def _importance(drift: Drift) -> tuple[int, bool, float, bool]:
    row = drift.finding
    if row["feature"] in OUTCOME_FEATURES:
        tier = 0
    elif set(drift.detectors) & INTEGRITY_DETECTORS:
        tier = 1
    else:
        tier = 2 if row["feature"] in OUTPUT_FEATURES else 3
    return tier, not drift.new, -(drift.times or 0.0), bool(row["dimension"])


def _times(row: dict[str, Any]) -> float | None:
    return row["effect"] / row["effect_floor"] if row["effect"] is not None and row["effect_floor"] else None


def tiles(store: Store, window: Window) -> list[Group]:
    """Health of each service and model over ``window``."""
    step = step_for(window) * 3
    rows = store.rows(SERVICES, {"start": window.start, "end": window.end, "step": step})
    services = [Group(name, "service", _service_tiles(part)) for name, part in _by(rows, "service")]
    hourly = max(step, 3600)
    rows = store.rows(MODELS, {"start": window.start, "end": window.end, "step": hourly})
    return services[:8] + [Group(name, "model", _model_tiles(part)) for name, part in _by(rows, "model")][:8]


def _by(rows: Rows, column: str) -> list[tuple[str, Rows]]:
    parts: dict[str, Rows] = {}
    for row in rows:
        parts.setdefault(row[column], []).append(row)
    return sorted(parts.items(), key=lambda part: -sum(row["n"] for row in part[1]))


def _service_tiles(rows: Rows) -> list[Tile]:
    calls = sum(row["n"] for row in rows)
    slowest = sorted((row["p95"], row["n"]) for row in rows)
    return [
        Tile("calls", calls, "count", [row["n"] for row in rows]),
        Tile("errors", sum(row["failed"] for row in rows) / calls, "share", [row["failed"] / row["n"] for row in rows]),
        Tile(
            "refused", sum(row["refused"] for row in rows) / calls, "share", [row["refused"] / row["n"] for row in rows]
        ),
        Tile("latency p95, median", slowest[len(slowest) // 2][0], "s", [row["p95"] for row in rows]),
        Tile("cost", sum(row["cost"] for row in rows), "USD", [row["cost"] for row in rows]),
    ]


def _model_tiles(rows: Rows) -> list[Tile]:
    scored = sum(row["with_score"] for row in rows)
    means = [row["score"] / row["with_score"] if row["with_score"] else None for row in rows]
    mean = sum(row["score"] for row in rows) / scored if scored else None
    return [
        Tile("predictions", sum(row["n"] for row in rows), "count", [row["n"] for row in rows]),
        Tile("mean score", mean, "number", means),
    ]
