"""The JSON that the page's charts read, for other programs as well."""

from __future__ import annotations

from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from tidegauge import training_sets
from tidegauge.dashboards.boards import BOARDS, board
from tidegauge.dashboards.lineage import UNKNOWN, VERSIONS, Affected, Selection, affected, export, lineage
from tidegauge.dashboards.lineage.affected import FORMATS
from tidegauge.dashboards.page import findings, overview
from tidegauge.dashboards.page.views import chosen, range_of, store_of
from tidegauge.dashboards.query import plain, run
from tidegauge.errors import InvalidRecord, StoreError
from tidegauge.store import Store


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


def references(request: Request) -> Response:
    """The training sets of every model."""
    return JSONResponse(training_sets.listed(store_of(request)))


def trace(request: Request) -> Response:
    """Everything that is known of a prediction or trace: versions, spans, labels, scores, drift."""
    found = lineage(store_of(request), request.path_params["identifier"])
    if found is None:
        raise HTTPException(404, UNKNOWN)
    return JSONResponse(plain(found))


def affected_by(request: Request) -> Response:
    """What a version touched in the shown time, as JSON or, where the address ends in a file type, each record."""
    kind = request.path_params.get("kind")
    try:
        selection = Selection({name: value for name, value in request.query_params.items() if name in VERSIONS})
    except InvalidRecord as error:
        raise HTTPException(400, str(error)) from error
    store, found = store_of(request), affected(store_of(request), selection, range_of(request, 24 * 30).window)
    if kind is None:
        return JSONResponse(plain(found.as_json()))
    return _file(store, found, f".{kind}")


def _file(store: Store, found: Affected, suffix: str) -> Response:
    if suffix not in FORMATS:
        raise HTTPException(404, f"Ask for affected with one of {', '.join(FORMATS)}.")
    with NamedTemporaryFile(suffix=suffix, delete=False) as file:
        path = Path(file.name)
    export(store, found, path)
    return FileResponse(path, filename=f"affected{suffix}", background=BackgroundTask(path.unlink))


def health(request: Request) -> Response:
    """Whether the page can read its store."""
    try:
        store_of(request).value("SELECT 1")
    except StoreError as error:
        return JSONResponse({"status": "failing", "detail": str(error)[:300]}, 503)
    return JSONResponse({"status": "ok"})
