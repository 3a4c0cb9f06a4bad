"""One drift finding: its evidence, its course, and what else moved then."""

from __future__ import annotations

import json
import math
from typing import Any

from tidegauge.dashboards.page.texts import texts
from tidegauge.store import Rows, Store

ONE = "SELECT * FROM findings WHERE finding_id = {id:String} ORDER BY evaluated_at DESC LIMIT 1"
COURSE = """SELECT window_end, e.1 AS finding_id, e.2 AS verdict, e.3 AS effect, e.4 AS effect_floor,
  e.5 AS p_adjusted FROM (
  SELECT window_end, argMax(tuple(finding_id, verdict, effect, effect_floor, p_adjusted), evaluated_at) AS e
    FROM findings
  WHERE subject = {subject:String} AND feature = {feature:String} AND detector = {detector:String}
    AND dimension = {dimension:String}
    AND slice = {slice:String} GROUP BY window_end ORDER BY window_end DESC LIMIT 200) ORDER BY window_end"""
BESIDE = """SELECT finding_id, feature, detector, dimension, slice, verdict, effect, effect_floor, p_adjusted,
  n_reference, n_current
FROM findings WHERE subject = {subject:String} AND window_end = {window_end:DateTime64(6)} AND verdict = 'drift'
  AND finding_id != {id:String}
ORDER BY feature = {feature:String} DESC, effect / nullIf(effect_floor, 0) DESC NULLS LAST LIMIT 12"""
DEPLOYED = """SELECT timestamp, subject, version, role, note FROM deployments
WHERE timestamp > {since:DateTime64(6)} - INTERVAL 7 DAY AND timestamp <= {window_end:DateTime64(6)}
  ORDER BY timestamp DESC LIMIT 20"""


def finding(store: Store, finding_id: str) -> dict[str, Any] | None:
    """The finding with this id, its evidence as ``bins``, ``texts`` and ``cause``; None when there is none."""
    rows = store.rows(ONE, {"id": finding_id})
    evidence = rows[0]["evidence"] if rows else ""
    return rows[0] | {"bins": bins(evidence), "texts": texts(evidence), "cause": cause(evidence)} if rows else None


def cause(evidence: str) -> dict[str, Any] | None:
    """The cause that a diagnosis found, or None where ``evidence`` is that of a test.

    >>> cause('{"cause": "stale", "subject": "temp", "sure": "likely", "days": 3, "next": "look"}')["name"]
    'stale: temp'
    >>> cause('{"labels": ["a"]}')
    """
    try:
        data = json.loads(evidence or "{}")
        name, days = data["cause"], int(data["days"])
        found = {each: str(data.get(each, "")) for each in ("part", "sure", "next")}
        numbers = {str(key): value for key, value in dict(data.get("numbers", {})).items()}
        follows = [str(each) for each in data.get("followed by", [])]
    except (ValueError, TypeError, KeyError):
        return None
    words = ": ".join(str(each) for each in (name, data.get("subject")) if each)
    return found | {"name": words, "days": days, "numbers": numbers, "follows": follows}


def bins(evidence: str) -> dict[str, list[Any]] | None:
    """The chart's labels and shares, or None where ``evidence`` holds no such thing.

    >>> bins('{"labels": ["a"], "reference": [1.0], "current": [0.5]}')["current"]
    [0.5]
    >>> bins('{"labels": ["a"], "reference": [1, 2], "current": [1]}')
    """
    try:
        data = json.loads(evidence or "{}")
        labels = [str(each) for each in data["labels"]]
        reference, current = ([float(each) for each in data[name]] for name in ("reference", "current"))
    except (ValueError, TypeError, KeyError):
        return None
    fits = len(labels) == len(reference) == len(current) > 0 and all(map(math.isfinite, reference + current))
    return {"labels": labels, "reference": reference, "current": current} if fits else None


def course(store: Store, found: dict[str, Any]) -> Rows:
    """The same test over its last 200 windows."""
    return store.rows(COURSE, {name: found[name] for name in ("subject", "feature", "detector", "dimension", "slice")})


def beside(store: Store, found: dict[str, Any]) -> Rows:
    """What else drifted in the same window, the same feature first."""
    names = {name: found[name] for name in ("subject", "feature", "window_end")}
    return store.rows(BESIDE, names | {"id": found["finding_id"]})


def deployed(store: Store, found: dict[str, Any]) -> Rows:
    """Deployments in the week before the drift began, and since."""
    since = found["since"] or found["window_start"]
    return store.rows(DEPLOYED, {"since": since, "window_end": found["window_end"]})
