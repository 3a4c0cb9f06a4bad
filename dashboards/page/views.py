"""The HTML pages. Each view reads the tables and fills a template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from tidegauge import alerts, diagnoses, silences
from tidegauge.clock import Clock
from tidegauge.config import Settings
from tidegauge.dashboards import traces
from tidegauge.dashboards.boards import BOARDS, board
from tidegauge.dashboards.lineage import UNKNOWN, lineage
from tidegauge.dashboards.page import findings, models, overview, rules
from tidegauge.dashboards.page.svg import sparkline
from tidegauge.dashboards.page.timerange import QUICK, TimeRange, time_range
from tidegauge.dashboards.panels import Board
from tidegauge.dashboards.query import menus
from tidegauge.diagnoses import Diagnosed
from tidegauge.store import Rows, Store

DELIVERIES = """SELECT timestamp, rule, state, receiver, kind, outcome, attempts, detail FROM alert_deliveries
WHERE timestamp >= {start:DateTime64(3)} AND timestamp <= {end:DateTime64(3)} ORDER BY timestamp DESC LIMIT 200"""
TRANSITIONS = """SELECT timestamp, rule, previous, state, severity, owner, labels, value, threshold, samples, since,
  if(notice IN ('', 'fire', 'resolve'), state, notice) AS shown, reason, summary
FROM alert_events WHERE timestamp >= {start:DateTime64(3)} AND timestamp <= {end:DateTime64(3)}
  ORDER BY timestamp DESC LIMIT 200"""
SERVICES = (
    "SELECT service AS name FROM ingest_1m WHERE kind = 'span' GROUP BY service ORDER BY sum(records) DESC LIMIT 100"
)


def store_of(request: Request) -> Store:
    """The store that the page reads."""
    return request.app.state.store  # type: ignore[no-any-return]


def range_of(request: Request, hours: float = 24) -> TimeRange:
    """The time range that the request asks for. Raises HTTPException 400 when it makes no sense."""
    clock: Clock = request.app.state.clock
    try:
        return time_range(store_of(request), clock, request.query_params, hours)
    except ValueError as error:
        raise HTTPException(400, str(error)) from error


def chosen(request: Request, shown: Board) -> dict[str, str]:
    """The values that the request sets for the board's variables."""
    return {each.name: request.query_params.get(each.name, "") for each in shown.variables}


def render(request: Request, template: str, shown: TimeRange | None, status: int = 200, **values: Any) -> Response:
    """Fill ``template``; the layout's own values are added."""
    layout: Mapping[str, Any] = {
        "boards": BOARDS,
        "path": request.url.path,
        "root": request.scope.get("root_path", ""),
        "range": shown,
        "quick": QUICK,
        "sparkline": sparkline,
        "variables": {},
        "menu": {},
        "filters": {},
        "only": "",
        "service": "",
    }
    text = request.app.state.templates.get_template(template).render({**layout, **values})
    return HTMLResponse(text, status)


def index(request: Request) -> Response:
    """The overview."""
    store, shown = store_of(request), range_of(request)
    settings: Settings = request.app.state.settings
    found = overview.latest_findings(store, shown.window.end)
    states = overview.alerts_at(store, max(shown.window.end, request.app.state.clock.now()))
    return render(
        request,
        "overview.html",
        shown,
        alerts=states,
        causes=_causes(store, states),
        firing=sum(row["firing"] for row in states),
        drifts=overview.open_drifts(found),
        tests=len(found),
        undetermined=[row for row in found if row["verdict"] == "undetermined"],
        last_window=max((row["window_end"] for row in found), default=None),
        groups=overview.tiles(store, shown.window),
        receiver=settings.receiver,
        loops={"detectors": settings.detectors.enabled, "alerting": settings.alerting.enabled},
    )


def drift(request: Request) -> Response:
    """One finding."""
    store = store_of(request)
    found = findings.finding(store, request.path_params["finding_id"])
    if found is None:
        raise HTTPException(404, "There is no finding with this id. It may be older than the table's retention.")
    return render(
        request,
        "finding.html",
        None,
        found=found,
        beside=findings.beside(store, found),
        deployed=findings.deployed(store, found),
    )


def board_page(request: Request) -> Response:
    """Any board."""
    shown = board(request.path_params["uid"])
    if shown is None:
        raise HTTPException(404, "There is no such board; the menu lists them all.")
    stretch = range_of(request, shown.hours)
    values = chosen(request, shown)
    menu = menus(store_of(request), shown, stretch.window)
    counters = request.app.state.counters() if shown.uid == "tidegauge-pipeline" else []
    return render(request, "board.html", stretch, board=shown, variables=values, menu=menu, counters=counters)


def trace_list(request: Request) -> Response:
    """The newest traces."""
    shown, store = range_of(request), store_of(request)
    only, service = request.query_params.get("only", ""), request.query_params.get("service", "")
    if only not in traces.FILTERS:
        raise HTTPException(400, f"only: use one of {', '.join(filter(None, traces.FILTERS))}")
    rows = traces.listed(store, shown.window, service, only)
    services = [row["name"] for row in store.rows(SERVICES)]
    return render(
        request,
        "traces.html",
        shown,
        traces=rows,
        only=only,
        service=service,
        services=services,
        filters=traces.FILTERS,
        receiver=request.app.state.settings.receiver,
    )


def trace_page(request: Request) -> Response:
    """One answer, named by a trace or prediction id: the waterfall, versions, and all that refers to it."""
    found = lineage(store_of(request), request.path_params["identifier"])
    if found is None:
        raise HTTPException(404, f"{UNKNOWN[0].upper()}{UNKNOWN[1:]}.")
    return render(request, "trace.html", None, found=found, limit=traces.MAX_SPANS)


def alert_page(request: Request) -> Response:
    """What is not well now, transitions, deliveries."""
    store, shown = store_of(request), range_of(request, 7 * 24)
    times = {"start": shown.window.start, "end": shown.window.end}
    states = overview.alerts_at(store, shown.window.end)
    return render(
        request,
        "alerts.html",
        shown,
        alerts=states,
        causes=_causes(store, states),
        known={row["fingerprint"]: row for row in alerts.open_alerts(store)},
        transitions=store.rows(TRANSITIONS, times),
        deliveries=store.rows(DELIVERIES, times),
        receivers=[each.name for each in request.app.state.settings.alerting.receivers],
        silences=silences.read(store, request.app.state.clock.now()),
        rules=rules.watched(request),
        writes=request.app.state.settings.page.writes != "never",
    )


def _causes(store: Store, states: Rows) -> dict[str, Diagnosed]:
    """The last diagnosis of each alert, by fingerprint."""
    return diagnoses.newest(store, [each["fingerprint"] for each in states])


def model_page(request: Request) -> Response:
    """One model."""
    store, name = store_of(request), request.path_params["name"]
    shown = range_of(request, 60 * 24)
    rows = models.versions(store, name, shown.window)
    found = [row for row in overview.latest_findings(store, shown.window.end) if row["subject"] == name]
    if not rows and not found:
        raise HTTPException(404, "No prediction of this model has been stored.")
    return render(
        request,
        "model.html",
        shown,
        name=name,
        versions=rows,
        drifts=overview.open_drifts(found),
        tests=len(found),
        deployments=models.deployments(store, name),
        lineage=models.lineage(store, name, shown.window),
    )
