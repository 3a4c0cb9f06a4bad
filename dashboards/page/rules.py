"""The rules that are evaluated: the false pages that each must be expected to bring, beside how often it fired.

What they did is read from the events of the alert loop, a row a change, so it costs as much as there were changes. How
long a rule was watched begins with its first event there: of one that never had any it is not known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tidegauge.store import Store

WEEK = timedelta(weeks=1)
Watched = Callable[[Mapping[str, "Past"]], Mapping[str, Any]]
"""From what the rules did to ``rules``, a row for each, and ``together``, lines about all of them."""
DAYS = 28
RIGHT = """SELECT fingerprint, fired_at FROM alert_responses WHERE action IN ('true', 'false')
  GROUP BY fingerprint, fired_at HAVING argMax(action, written_at) = 'true'"""
DONE = f"""SELECT rule, countIf(fires) AS fired, uniqExactIf(fingerprint, fires) AS series, min(timestamp) AS first,
  countIf(fires AND (fingerprint, timestamp) NOT IN ({RIGHT})) AS unexplained
FROM (SELECT rule, fingerprint, timestamp, notice = 'fire' AND timestamp >= {{since:DateTime64(6)}} AS fires
  FROM alert_events WHERE timestamp >= {{before:DateTime64(6)}} AND timestamp < {{until:DateTime64(6)}})
GROUP BY rule"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class Past:
    """What one rule did in the last ``DAYS`` days.

    Attributes:
        fired: How often it was told that it fires, in ``series`` of them.
        unexplained: How often nobody called it true.
        weeks: How long it is known to have been watched.
    """

    fired: int = 0
    series: int = 0
    unexplained: int = 0
    weeks: float = 0.0


def watched(request: Request) -> dict[str, Any]:
    """Each rule with its expected false pages a week and how often it fired in ``DAYS`` days, and lines about all."""
    state = request.app.state
    past = _past(state.store, state.clock.now())
    known = state.watched(past)
    rows = [each | asdict(past.get(each["rule"], Past())) for each in known.get("rules", ())]
    return {"days": DAYS, "together": list(known.get("together", ())), "rules": rows}


def _past(store: Store, now: datetime) -> dict[str, Past]:
    length = timedelta(days=DAYS)
    rows = store.rows(DONE, {"since": now - length, "before": now - 2 * length, "until": now})
    return {
        row["rule"]: Past(row["fired"], row["series"], row["unexplained"], min(length, now - row["first"]) / WEEK)
        for row in rows
    }


def listed(request: Request) -> Response:
    """All rules, for machines."""
    return JSONResponse(watched(request))
