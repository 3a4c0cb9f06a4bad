"""The alerts that there are, as rows for people and machines."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from tidegauge import diagnoses
from tidegauge.errors import InvalidRecord
from tidegauge.model import Window
from tidegauge.store import Rows, Store

LATEST = """SELECT rule, fingerprint, e.1 AS state, e.2 AS severity, e.3 AS owner, e.4 AS labels, e.5 AS since,
  e.6 AS summary, e.7 AS reason, e.8 AS open, e.9 AS muted, e.10 AS runbook, e.11 AS action,
  fired_at, acknowledged, told
FROM (SELECT rule, fingerprint,
    argMax(tuple(state, severity, owner, labels, since, summary, reason, open, muted, runbook, action), timestamp) AS e,
    if(countIf(notice = 'fire') = 0, NULL, maxIf(timestamp, notice = 'fire')) AS fired_at,
    if(maxIf(timestamp, notice = 'acknowledge') > maxIf(timestamp, notice = 'fire'),
      argMaxIf(note, timestamp, notice = 'acknowledge'), '') AS acknowledged,
    argMaxIf(receivers, timestamp, notice = 'fire') AS told
  FROM alert_events WHERE startsWith(fingerprint, {start:String}) AND notice != 'diagnose' GROUP BY rule, fingerprint)
WHERE {all:Bool} OR open OR state NOT IN ('inactive', 'resolved')
ORDER BY open DESC, severity = 'page' DESC, since DESC LIMIT 1000"""
COURSE = """SELECT timestamp, previous, state, notice, value, low, high, threshold, samples, unit, reason, receivers
FROM alert_events WHERE fingerprint = {fingerprint:String} ORDER BY timestamp DESC LIMIT 50"""


def open_alerts(store: Store, *, everything: bool = False) -> Rows:
    """Alerts that fire, are pending or cannot be told; with ``everything`` also those that are over, up to 1,000."""
    return store.rows(LATEST, {"start": "", "all": everything})


def one(store: Store, alert: str) -> dict[str, Any]:
    """One alert with its course and its diagnoses, newest first, by the beginning of its fingerprint.

    Raises:
        InvalidRecord: no or no single alert has it.
    """
    found = store.rows(LATEST, {"start": alert, "all": True}) if len(alert) >= 6 else []
    if len(found) != 1:
        raise InvalidRecord(f"{'several alerts begin' if found else 'no alert begins'} with {alert[:40]!r}")
    key = found[0]["fingerprint"]
    made = [each.as_json() for each in reversed(diagnoses.read(store, [key]))]
    return found[0] | {"course": store.rows(COURSE, {"fingerprint": key}), "diagnoses": made}


def span(now: datetime, since: datetime | None, days: float) -> Window:
    """From ``since``, or so many days ago, until now. Raises InvalidRecord when it is not in the past."""
    start = since or datetime.fromtimestamp(now.timestamp() - days * 86_400, now.tzinfo)
    if start >= now:
        raise InvalidRecord(f"since must be in the past, got {start}")
    return Window(start, now)
