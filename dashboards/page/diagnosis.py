"""Why a model changed, on the page: the diagnosis itself is made by whoever wires the page."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tidegauge.dashboards.page.views import render
from tidegauge.errors import StoreError, TidegaugeError

Diagnose: TypeAlias = Callable[[str, datetime | None, datetime, float], dict[str, Any]]
"""Model, since (None: find it), until, days of history -> the diagnosis as plain data. Raises TidegaugeError."""
HISTORY_DAYS = 42.0
LEAST_DAYS, MOST_DAYS = 3.0, 400.0


def page(request: Request) -> Response:
    """One model's diagnosis."""
    found = _diagnosis(request)
    for name in ("start", "since", "until"):
        found[name] = datetime.fromisoformat(found[name])
    for each in found["causes"]:
        each["since"] = datetime.fromisoformat(each["since"])
    return render(
        request, "diagnosis.html", None, found=found, since=request.query_params.get("since", ""), name=found["model"]
    )


def data(request: Request) -> Response:
    """The same as JSON."""
    return JSONResponse(_diagnosis(request))


def _diagnosis(request: Request) -> dict[str, Any]:
    diagnose: Diagnose | None = request.app.state.diagnose
    if diagnose is None:
        raise HTTPException(404, "This process makes no diagnoses.")
    query = request.query_params
    now: datetime = request.app.state.clock.now()
    try:
        days = float(query.get("history", HISTORY_DAYS))
        since, until = _moment(query.get("since", "")), _moment(query.get("until", "")) or now
    except ValueError as error:
        raise HTTPException(400, f"{error}: write times as 2026-03-01 or 2026-03-01T09:30, history as days") from error
    if not LEAST_DAYS <= days <= MOST_DAYS:
        raise HTTPException(400, f"history must be {LEAST_DAYS:g} to {MOST_DAYS:g} days")
    try:
        return diagnose(request.path_params["name"], since, until, days)
    except StoreError:
        raise
    except TidegaugeError as error:
        raise HTTPException(404, str(error)) from error


def _moment(text: str) -> datetime | None:
    """A time in UTC unless it says otherwise."""
    if not text.strip():
        return None
    moment = datetime.fromisoformat(text.strip())
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
