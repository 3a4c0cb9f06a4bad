"""Proposals to hooks on the page and over the API: what waits for a decision, and what came of the others."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from tidegauge import hooks
from tidegauge.dashboards.page.silences import body_of, check_may_write, json_of
from tidegauge.dashboards.page.views import render, store_of
from tidegauge.errors import InvalidRecord

SHOWN = timedelta(days=90)
DECISIONS = {"approve": hooks.State.APPROVED, "reject": hooks.State.REJECTED}


def page(request: Request) -> Response:
    """What is proposed, with buttons, and what became of the others."""
    settings = request.app.state.settings
    found = hooks.read(store_of(request), request.app.state.clock.now() - SHOWN)
    waiting = [each for each in found if each.state is hooks.State.PROPOSED]
    return render(
        request,
        "hooks.html",
        None,
        waiting=waiting,
        past=[each for each in found if each not in waiting][:200],
        hooks=settings.alerting.hooks,
        writes=settings.page.writes != "never",
    )


def listed(request: Request) -> Response:
    """Proposals of the last 90 days; with ``id`` one of any age."""
    store, asked = store_of(request), request.query_params
    try:
        since = request.app.state.clock.now() - SHOWN
        found = [hooks.one(store, asked["id"])] if "id" in asked else hooks.read(store, since)
    except InvalidRecord as error:
        raise HTTPException(404, str(error)) from error
    return JSONResponse([each.as_json() for each in found])


async def act(request: Request) -> Response:
    """Approve or reject a proposal, or have a hook called; JSON with ``author``, ``note`` and perhaps ``labels``."""
    check_may_write(request)
    said = await json_of(request)
    if not isinstance(said, dict) or not isinstance(said.get("labels", {}), dict):
        raise HTTPException(400, "Send an object with author, note and, to call a hook, labels.")
    return JSONResponse((await _acted(request, request.path_params["action"], said)).as_json(), 201)


async def decide_by_form(request: Request) -> Response:
    """Approve or reject by the buttons beside a proposal."""
    check_may_write(request)
    form = dict(parse_qsl((await body_of(request)).decode(errors="replace"), max_num_fields=10))
    if form.get("action") not in DECISIONS:
        raise HTTPException(400, "action must be approve or reject")
    await _acted(request, form["action"], form)
    return RedirectResponse(request.url_for("hooks").path, 303)


async def _acted(request: Request, action: str, said: dict[str, Any]) -> hooks.Proposal:
    store, now, name = store_of(request), request.app.state.clock.now(), request.path_params["name"]
    author, note = str(said.get("author", "")), str(said.get("note", ""))
    try:
        if action in DECISIONS:
            return await run_in_threadpool(hooks.decide, store, name, DECISIONS[action], author, note, now)
        if action != "call":
            raise HTTPException(404, f"There is no {action!r} here; use approve, reject or call.")
        hook = hooks.named(request.app.state.settings.alerting.hooks, name)
        labels = {str(key): str(value) for key, value in said.get("labels", {}).items()}
        return await run_in_threadpool(hooks.ask, store, hook, labels, author, note, now)
    except InvalidRecord as error:
        raise HTTPException(400, str(error)) from error
