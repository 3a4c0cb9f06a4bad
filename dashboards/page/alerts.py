"""Alerts over the API, answers to them, and why somebody was or was not told."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from tidegauge import alerts, decisions, responses
from tidegauge.dashboards.page.silences import body_of, check_may_write, json_of
from tidegauge.dashboards.page.views import render, store_of
from tidegauge.dashboards.query import plain
from tidegauge.decisions import Decision
from tidegauge.errors import InvalidRecord
from tidegauge.responses import Action
from tidegauge.silences import parse_matchers


def listed(request: Request) -> Response:
    """Alerts that are not well; with ``all=1`` also those that are over, with ``id`` one and its course."""
    store, asked = store_of(request), request.query_params
    try:
        found = (
            [alerts.one(store, asked["id"])] if "id" in asked else alerts.open_alerts(store, everything="all" in asked)
        )
    except InvalidRecord as error:
        raise HTTPException(404, str(error)) from error
    return JSONResponse(plain(found))


async def answer(request: Request) -> Response:
    """Store an answer, given as JSON with ``author`` and perhaps ``note``."""
    check_may_write(request)
    said = await json_of(request)
    if not isinstance(said, dict):
        raise HTTPException(400, "Send an object with author and note.")
    action = request.path_params["action"]
    await _respond(request, action, str(said.get("author", "")), str(said.get("note", "")))
    return JSONResponse({"status": "stored"}, 201)


async def answer_by_form(request: Request) -> Response:
    """Store an answer from the buttons beside an alert."""
    check_may_write(request)
    form = dict(parse_qsl((await body_of(request)).decode(errors="replace"), max_num_fields=10))
    await _respond(request, form.get("action", ""), form.get("author", ""), form.get("note", ""))
    return RedirectResponse(request.url_for("alerts").path, 303)


def why(request: Request) -> Response:
    """The decision log of one rule."""
    return JSONResponse([each.as_json() for each in _decisions(request)])


def why_page(request: Request) -> Response:
    """The decision log of one rule, to read."""
    rule = request.query_params.get("rule", "")
    return render(request, "why.html", None, rule=rule, decisions=_decisions(request)[::-1])


def _decisions(request: Request) -> list[Decision]:
    asked = request.query_params
    try:
        since = datetime.fromisoformat(asked["since"]) if "since" in asked else None
        since = since.replace(tzinfo=since.tzinfo or UTC) if since else None
        span = alerts.span(request.app.state.clock.now(), since, 7)
        labels = parse_matchers(asked.getlist("slice"))
        return decisions.why(store_of(request), asked.get("rule", ""), span, labels)
    except (InvalidRecord, ValueError) as error:
        raise HTTPException(400, str(error)) from error


async def _respond(request: Request, action: str, author: str, note: str) -> None:
    if action not in set(Action):
        raise HTTPException(404, f"There is no answer {action!r}; use one of {', '.join(Action)}.")
    store, alert, now = store_of(request), request.path_params["alert"], request.app.state.clock.now()
    try:
        await run_in_threadpool(responses.respond, store, alert, Action(action), author, note, now)
    except InvalidRecord as error:
        raise HTTPException(400, str(error)) from error
