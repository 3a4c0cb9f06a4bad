"""Silences on the page: it writes for its own visitors only."""

from __future__ import annotations

import ipaddress
import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from tidegauge import silences
from tidegauge.dashboards.page.views import store_of
from tidegauge.errors import InvalidRecord
from tidegauge.silences import Silence, from_json, parse_matchers

MOST_BODY = 64 * 1024


def listed(request: Request) -> Response:
    """Silences that are in force or to come."""
    return JSONResponse([each.as_json() for each in silences.read(store_of(request), request.app.state.clock.now())])


async def add(request: Request) -> Response:
    """Store one silence, given as JSON; answers with it and its id."""
    check_may_write(request)
    try:
        silence = from_json(await json_of(request))
        await run_in_threadpool(silences.write, store_of(request), silence, request.app.state.clock.now())
    except InvalidRecord as error:
        raise HTTPException(400, str(error)) from error
    return JSONResponse(silence.as_json(), 201)


async def add_by_form(request: Request) -> Response:
    """Store one silence from the form on the alert page."""
    check_may_write(request)
    form = dict(parse_qsl((await body_of(request)).decode(errors="replace"), max_num_fields=10))
    now = request.app.state.clock.now()
    try:
        ends = now + timedelta(hours=float(form.get("hours", "")))
        matchers = parse_matchers(form.get("matchers", "").split())
        silence = Silence(matchers, now, ends, form.get("author", ""), form.get("reason", ""))
        await run_in_threadpool(silences.write, store_of(request), silence, now)
    except (InvalidRecord, ValueError, OverflowError) as error:
        raise HTTPException(400, str(error)) from error
    return RedirectResponse(request.url_for("alerts").path, 303)


def end(request: Request) -> Response:
    """End a silence now, by the API or by its button."""
    check_may_write(request)
    try:
        silences.end(store_of(request), request.path_params["silence_id"], request.app.state.clock.now())
    except InvalidRecord as error:
        raise HTTPException(404, str(error)) from error
    if request.method == "DELETE":
        return Response(status_code=204)
    return RedirectResponse(request.url_for("alerts").path, 303)


def check_may_write(request: Request) -> None:
    """Raises HTTPException 403 unless the configuration lets this visitor write and no other site sent the request."""
    writes = request.app.state.settings.page.writes
    client = request.client.host if request.client else ""
    if writes == "never" or (writes == "loopback" and not _is_loopback(client)):
        raise HTTPException(403, f"Writing is not allowed from {client or 'here'}: page.writes is {writes!r}.")
    origin = request.headers.get("origin")
    foreign = request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
    if foreign or (origin is not None and urlsplit(origin).netloc != request.headers.get("host")):
        raise HTTPException(403, "The request comes from another site.")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def json_of(request: Request) -> Any:
    """The body as JSON. Raises HTTPException 400, 413 or 415."""
    if request.headers.get("content-type", "").partition(";")[0] != "application/json":
        raise HTTPException(415, "Send application/json.")
    try:
        return json.loads(await body_of(request))
    except ValueError as error:
        raise HTTPException(400, f"The body is not JSON: {error}") from error


async def body_of(request: Request, most_bytes: int = MOST_BODY) -> bytes:
    """The body, if it is no longer than ``most_bytes``. Raises HTTPException 413."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise HTTPException(413, f"Send no more than {most_bytes} bytes.")
    return bytes(body)
