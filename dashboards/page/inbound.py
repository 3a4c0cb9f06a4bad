"""What Slack and PagerDuty post to the page; whoever wires the page says what it means.

Their signature stands for the login that the page does not have, so these requests may come from anywhere unless
``page.writes`` is ``never``. Nothing of a request is read as anything before its signature is checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tidegauge.dashboards.page.silences import body_of

MOST_BODY = 512 * 1024
"""A pressed button comes with the whole message that it stands in."""


class Answered(Protocol):
    """Status and words of an answer, and work that need not be waited for."""

    @property
    def status(self) -> int: ...
    @property
    def detail(self) -> str: ...
    @property
    def then(self) -> Callable[[], None]: ...


Take = Callable[[bytes, Mapping[str, str]], Answered]


async def slack(request: Request) -> Response:
    """A button pressed in Slack."""
    return await _take(request, "slack")


async def pagerduty(request: Request) -> Response:
    """An incident that changed in PagerDuty."""
    return await _take(request, "pagerduty")


async def _take(request: Request, name: str) -> Response:
    take: Take | None = request.app.state.inbound.get(name)
    if take is None:
        raise HTTPException(404, "This process takes no answers from there.")
    if request.app.state.settings.page.writes == "never":
        raise HTTPException(403, "Writing is not allowed: page.writes is 'never'.")
    body = await body_of(request, MOST_BODY)
    answered = await run_in_threadpool(take, body, dict(request.headers))
    if answered.status != 200:
        raise HTTPException(answered.status, answered.detail)
    if name == "slack":  # which shows what it is answered
        return Response(status_code=200, background=BackgroundTask(answered.then))
    return JSONResponse({"status": answered.detail}, background=BackgroundTask(answered.then))
