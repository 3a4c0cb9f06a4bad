"""The page as a Starlette application. It writes silences, answers and decisions alone; nothing leaves the machine."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import Path

import plotly
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegauge.clock import Clock
from tidegauge.config import Settings
from tidegauge.dashboards.page import alerts, api, diagnosis, golden, hooks, inbound, rules, runbooks, silences, views
from tidegauge.dashboards.page.text import environment
from tidegauge.errors import StoreError
from tidegauge.instruments import REGISTRY
from tidegauge.store import Store

logger = logging.getLogger(__name__)
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
PAGE = Path(__file__).parent
# The chart library writes style elements, which our policy forbids, unless elements of these ids are there already.
STYLE_IDS = re.compile(rb'getElementById\("([0-9a-f]{64})"\)')


def create_app(
    store: Store,
    settings: Settings,
    clock: Clock,
    diagnose: diagnosis.Diagnose | None = None,
    taking: Mapping[str, inbound.Take] | None = None,
    propose: golden.Propose | None = None,
    watched: rules.Watched | None = None,
) -> Starlette:
    """The built-in page over ``store``; ``clock`` says what now is, so a replay's page shows the replay's time.

    ``diagnose`` says why a model changed, ``propose`` looks for failures for the golden set; without them there is no
    page for the one and no button for the other. ``taking`` says what Slack's and PagerDuty's requests mean,
    ``watched`` which rules are evaluated and what is expected of them.
    """
    app = Starlette(
        routes=_routes(),
        middleware=[Middleware(GZipMiddleware, minimum_size=2000), Middleware(SafeHeaders)],
        exception_handlers={HTTPException: _refused, StoreError: _store_failed},
    )
    app.state.store, app.state.settings, app.state.clock = store, settings, clock
    app.state.templates, app.state.counters = environment(), counters
    app.state.diagnose, app.state.propose, app.state.inbound = diagnose, propose, taking or {}
    app.state.watched = watched or (lambda past: {})
    app.state.templates.globals["chart_styles"] = ["plotly.js-style-global", *chart_styles()]
    return app


def counters() -> list[tuple[str, str, float]]:
    """What this process counted: name, labels, value; zeros left out."""
    samples = [sample for metric in REGISTRY.collect() for sample in metric.samples]
    return [
        (each.name, ", ".join(f"{key}={value}" for key, value in each.labels.items()), each.value)
        for each in samples
        if each.value and not each.name.endswith(("_created", "_bucket"))
    ]


def chart_styles() -> list[str]:
    """Ids of the style elements that the installed chart library would write by itself."""
    return sorted({each.decode() for each in STYLE_IDS.findall(PLOTLY.read_bytes())})


class SafeHeaders:
    """Puts the security headers on every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, with_headers if scope["type"] == "http" else send)


def _routes() -> list[Route | Mount]:
    return [
        Route("/", views.index),
        Route("/drift/{finding_id:path}", views.drift),
        Route("/boards/{uid}", views.board_page),
        Route("/traces", views.trace_list),
        Route("/traces/{identifier:path}", views.trace_page),
        Route("/alerts", views.alert_page, name="alerts"),
        Route("/alerts/why", alerts.why_page),
        Route("/alerts/{alert}/answer", alerts.answer_by_form, methods=["POST"]),
        Route("/silences", silences.add_by_form, methods=["POST"]),
        Route("/silences/{silence_id}/end", silences.end, methods=["POST"]),
        Route("/hooks", hooks.page, name="hooks"),
        Route("/hooks/{name}/decide", hooks.decide_by_form, methods=["POST"]),
        Route("/runbooks", runbooks.index),
        Route("/runbooks/{name}", runbooks.page),
        Route("/golden", golden.page, name="golden"),
        Route("/golden/propose", golden.propose_by_form, methods=["POST"]),
        Route("/golden/{candidate}/decide", golden.decide_by_form, methods=["POST"]),
        Route("/diagnosis/{name:path}", diagnosis.page),
        Route("/models/{name:path}", views.model_page),
        Route("/api/open", api.open_now),
        Route("/api/boards", api.boards),
        Route("/api/boards/{uid}/panels/{number:int}", api.panel),
        Route("/api/drift/{finding_id:path}", api.drift),
        Route("/api/diagnosis/{name:path}", diagnosis.data),
        Route("/api/traces/{identifier:path}", api.trace),
        Route("/api/affected", api.affected_by),
        Route("/api/affected.{kind}", api.affected_by),
        Route("/api/references", api.references),
        Route("/api/alerts", alerts.listed),
        Route("/api/alerts/why", alerts.why),
        Route("/api/alerts/{alert}/{action}", alerts.answer, methods=["POST"]),
        Route("/api/hooks", hooks.listed),
        Route("/api/hooks/{name}/{action}", hooks.act, methods=["POST"]),
        Route("/api/golden", golden.listed),
        Route("/api/golden/propose", golden.propose, methods=["POST"]),
        Route("/api/golden/{candidate}/{decision}", golden.decide, methods=["POST"]),
        Route("/api/rules", rules.listed),
        Route("/api/silences", silences.listed),
        Route("/api/silences", silences.add, methods=["POST"]),
        Route("/api/silences/{silence_id}", silences.end, methods=["DELETE"]),
        Route("/slack/interactions", inbound.slack, methods=["POST"]),
        Route("/pagerduty/webhook", inbound.pagerduty, methods=["POST"]),
        Route("/healthz", api.health),
        Route("/static/plotly.min.js", _plotly),
        Mount("/static", StaticFiles(directory=PAGE / "static")),
    ]


def _plotly(request: Request) -> Response:
    return FileResponse(PLOTLY, media_type="text/javascript", headers={"Cache-Control": "max-age=86400"})


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _problem(request, error.status_code, error.detail)


def _store_failed(request: Request, error: Exception) -> Response:
    logger.error("the store refused a query of %s: %s", request.url.path, error)
    code = getattr(error, "code", 0)
    slow = "The query took longer than 30 s: choose a shorter time." if code == 159 else ""
    return _problem(
        request, 503, slow or f"ClickHouse refused the query (code {code}); the log of this process says why."
    )


def _problem(request: Request, status: int, detail: str) -> Response:
    if request.url.path.startswith(("/api/", "/static/", "/slack/", "/pagerduty/")):
        return JSONResponse({"status": status, "detail": detail}, status)
    return views.render(request, "problem.html", None, status, code=status, detail=detail)
