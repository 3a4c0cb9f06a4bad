"""The JSON that the page's charts read, for other programs as well."""

from __future__ import annotations

from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tidegauge.dashboards.boards import BOARDS, board
from tidegauge.dashboards.page import findings, overview, traces
from tidegauge.dashboards.page.views import chosen, range_of, store_of
from tidegauge.dashboards.query import plain, run
from tidegauge.errors import StoreError


def boards(request: Request) -> Response:
    """Every board with its panels and variables."""
    return JSONResponse(
        [
            {
                "uid": each.uid,
                "title": each.title,
                "variables": [variable.name for variable in each.variables],
                "panels": [
                    {"number": number, "title": panel.title, "kind": panel.kind}
                    for number, panel in enumerate(each.panels, 1)
                ],
            }
            for each in BOARDS
        ]
    )


def panel(request: Request) -> Response:
    """One panel's rows."""
    shown, number = board(request.path_params["uid"]), request.path_params["number"]
    if shown is None or not 1 <= number <= len(shown.panels):
        raise HTTPException(404, "There is no such panel; GET api/boards lists them.")
    stretch, asked = range_of(request, shown.hours), shown.panels[number - 1]
    data = run(store_of(request), asked, stretch.window, chosen(request, shown))
    return JSONResponse(
        data.as_json()
        | {
            "title": asked.title,
            "kind": asked.kind,
            "unit": asked.unit,
            "stacked": asked.stacked,
            "start": plain(stretch.window.start),
            "end": plain(stretch.window.end),
        }
    )


def drift(request: Request) -> Response:
    """One finding with its evidence and its course."""
    store = store_of(request)
    found = findings.finding(store, request.path_params["finding_id"])
    if found is None:
        raise HTTPException(404, "There is no finding with this id.")
    return JSONResponse(plain(found | {"course": findings.course(store, found)}))


def open_now(request: Request) -> Response:
    """What is not well: alerts, and drift that is open, most important first."""
    store, shown = store_of(request), range_of(request)
    found = overview.latest_findings(store, shown.window.end)
    answer: dict[str, Any] = {
        "alerts": overview.alerts_at(store, max(shown.window.end, request.app.state.clock.now())),
        "drift": [
            each.finding | {"detectors": each.detectors, "since": each.since} for each in overview.open_drifts(found)
        ],
        "tests": len(found),
        "undetermined": sum(row["verdict"] == "undetermined" for row in found),
        "newest_event": shown.newest,
    }
    return JSONResponse(plain(answer))


def trace(request: Request) -> Response:
    """The spans of a trace and what refers to it."""
    store, trace_id = store_of(request), request.path_params["trace_id"]
    rows = traces.spans(store, trace_id)
    if not rows:
        raise HTTPException(404, "There is no span of this trace.")
    return JSONResponse(plain({"spans": rows, **traces.around(store, trace_id)}))


def health(request: Request) -> Response:
    """Whether the page can read its store."""
    try:
        store_of(request).value("SELECT 1")
    except StoreError as error:
        return JSONResponse({"status": "failing", "detail": str(error)[:300]}, 503)
    return JSONResponse({"status": "ok"})
