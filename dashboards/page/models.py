"""One model: its versions, what they touched, and how they do."""

from __future__ import annotations

from datetime import datetime

from tidegauge.model import Window
from tidegauge.store import Rows, Store

VERSIONS = """SELECT version, min(hour) AS first_seen, max(hour) AS last_seen, sum(predictions) AS volume,
  sum(score_sum) / nullIf(sum(scored), 0) AS mean_score
FROM predictions_1h WHERE model = {model:String} AND dimension = '' GROUP BY version
  ORDER BY last_seen DESC, volume DESC LIMIT 50"""
ACCURACY = """SELECT version, count() AS labels, avg(value = label) AS accuracy
FROM labelled(start = {start:DateTime64(3)}, end = {end:DateTime64(3)},
  known_by = {end:DateTime64(3)} + toIntervalDay(92), model = {model:String}) GROUP BY version"""
DEPLOYED = """SELECT timestamp, version, role, note FROM deployments WHERE subject = {model:String}
  ORDER BY timestamp DESC LIMIT 50"""
LINEAGE = """SELECT version, role, versions, services, predictions FROM (
  SELECT version, role, versions, groupUniqArray(10)(service) AS services, count() AS predictions FROM predictions
  WHERE model = {model:String} AND timestamp >= {start:DateTime64(3)} AND timestamp < {end:DateTime64(3)}
  GROUP BY version, role, versions)
ORDER BY predictions DESC LIMIT 50"""


def versions(store: Store, model: str, window: Window) -> Rows:
    """Every version with its volume and mean score, and its accuracy within ``window`` (None without labels)."""
    right = {row["version"]: row for row in store.rows(ACCURACY, _of(model, window))}
    none = {"labels": 0, "accuracy": None}
    return [
        row | {key: right.get(row["version"], none)[key] for key in none}
        for row in store.rows(VERSIONS, {"model": model})
    ]


def deployments(store: Store, model: str) -> Rows:
    """When which version was put in which role, newest first."""
    return store.rows(DEPLOYED, {"model": model})


def lineage(store: Store, model: str, window: Window) -> Rows:
    """Each version tuple seen in ``window``, the services that it answered, and how often."""
    return store.rows(LINEAGE, _of(model, window))


def _of(model: str, window: Window) -> dict[str, str | datetime]:
    return {"model": model, "start": window.start, "end": window.end}
