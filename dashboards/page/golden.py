"""Candidates for the golden set: shown, accepted, rejected, and looked for when asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from tidegauge import golden
from tidegauge.dashboards.page.silences import body_of, check_may_write, json_of
from tidegauge.dashboards.page.views import range_of, render, store_of
from tidegauge.errors import InvalidRecord
from tidegauge.golden import Candidate, State
from tidegauge.model import Window

Propose: TypeAlias = Callable[[Window, int], dict[str, Any]]
SHOWN, MOST_LISTED = 100, 100_000


def page(request: Request) -> Response:
    """The candidates in one state, the newest first, with their reasons and two buttons."""
    store, asked = store_of(request), request.query_params
    state, subject = asked.get("state", State.PROPOSED.value), asked.get("subject", "")
    candidates = _read(request, state, subject, SHOWN)
    return render(
        request,
        "golden.html",
        None,
        candidates=candidates,
        state=state,
        subject=subject,
        limit=SHOWN,
        states=golden.counts(store),
        rounds=golden.rounds(store),
        can_propose=request.app.state.propose is not None,
        writes=request.app.state.settings.page.writes != "never",
    )


async def decide_by_form(request: Request) -> Response:
    """Store a decision from the buttons below a candidate."""
    check_may_write(request)
    form = dict(parse_qsl((await body_of(request)).decode(errors="replace"), max_num_fields=10))
    await _decide(request, form.get("decision", ""), form)
    return RedirectResponse(request.url_for("golden").path, 303)


async def propose_by_form(request: Request) -> Response:
    """Look for failures in the days before the page's now."""
    check_may_write(request)
    end = await run_in_threadpool(lambda: range_of(request).window.end)
    days = request.app.state.settings.golden.look_back_days
    await _propose(request, Window(end - timedelta(days=days), end + timedelta(microseconds=1)), 0)
    return RedirectResponse(request.url_for("golden").path, 303)


def listed(request: Request) -> Response:
    """Candidates as JSON; ``state``, ``subject`` and ``id`` (the beginning of one) narrow them down."""
    asked = request.query_params
    try:
        if "id" in asked:
            found = [golden.one(store_of(request), asked["id"])]
        else:
            most = min(int(asked.get("most", golden.MOST_SHOWN)), MOST_LISTED)
            found = _read(request, asked.get("state", ""), asked.get("subject", ""), max(1, most))
    except ValueError as error:
        raise HTTPException(400, f"most: {error}") from error
    except InvalidRecord as error:
        raise HTTPException(404, str(error)) from error
    return JSONResponse([each.as_json() for each in found])


async def decide(request: Request) -> Response:
    """Store a decision, given as JSON with ``author`` and perhaps ``note`` and ``expected``."""
    check_may_write(request)
    said = await json_of(request)
    if not isinstance(said, dict):
        raise HTTPException(400, "Send an object with author, note and expected.")
    return JSONResponse((await _decide(request, request.path_params["decision"], said)).as_json(), 201)


async def propose(request: Request) -> Response:
    """Look for failures between ``since`` and ``until``, times in ISO 8601; answers with what was proposed."""
    check_may_write(request)
    said = await json_of(request)
    try:
        window = Window(*(_time(said[name]) for name in ("since", "until")))
        seed = int(said.get("seed", 0))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HTTPException(400, f"Send since and until, and perhaps a seed: {error}") from error
    return JSONResponse(await _propose(request, window, seed), 201)


def _read(request: Request, state: str, subject: str, most: int) -> list[Candidate]:
    try:
        return golden.read(store_of(request), state, subject, most=most)
    except InvalidRecord as error:
        raise HTTPException(400, str(error)) from error


async def _decide(request: Request, decision: str, said: Mapping[str, Any]) -> Candidate:
    author, note, expected = (str(said.get(name, "")) for name in ("author", "note", "expected"))
    store, candidate, now = store_of(request), request.path_params["candidate"], request.app.state.clock.now()
    try:
        return await run_in_threadpool(
            golden.decide, store, candidate, decision, author, now, note=note, expected=expected
        )
    except InvalidRecord as error:
        raise HTTPException(400, str(error)) from error


async def _propose(request: Request, window: Window, seed: int) -> dict[str, Any]:
    if request.app.state.propose is None:
        raise HTTPException(404, "This page cannot look for failures: it runs without the rest of the service.")
    found: dict[str, Any] = await run_in_threadpool(request.app.state.propose, window, seed)
    return found


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
