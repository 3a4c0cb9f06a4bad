"""The rules that are evaluated: the false pages that each must be expected to bring, beside how often it fired."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

Watched = Callable[[], Mapping[str, Any]]
"""``rules``, a row for each, and ``together``, lines about all of them."""
DAYS = 28
FIRED = """SELECT rule, count() AS fired, uniqExact(fingerprint) AS series FROM alert_events
WHERE notice = 'fire' AND timestamp >= toDateTime64({since:DateTime64(6)}, 9)
  AND timestamp < toDateTime64({until:DateTime64(6)}, 9) GROUP BY rule"""


def watched(request: Request) -> dict[str, Any]:
    """Each rule with its expected false pages a week and how often it fired in ``DAYS`` days, and lines about all."""
    state = request.app.state
    now = state.clock.now()
    times = {"since": now - timedelta(days=DAYS), "until": now}
    fired = {row["rule"]: row for row in state.store.rows(FIRED, times)}
    none = {"fired": 0, "series": 0}
    known = state.watched()
    rows = [each | fired.get(each["rule"], none) for each in known.get("rules", ())]
    return {"days": DAYS, "together": list(known.get("together", ())), "rules": rows}


def listed(request: Request) -> Response:
    """All rules, for machines."""
    return JSONResponse(watched(request))
