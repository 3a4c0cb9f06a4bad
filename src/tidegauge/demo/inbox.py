"""A stand-in for Slack and PagerDuty on loopback: a real HTTP receiver that shows what would have been sent."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from tidegauge.web import WebServer


@dataclass(frozen=True, slots=True)
class Message:
    """One delivery: which service it was meant for, and its body."""

    service: str
    body: dict[str, Any]


class Inbox:
    """Accepts deliveries in the shape of Slack's incoming webhooks and of PagerDuty's Events API v2."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        routes = [
            Route("/slack", self._slack, methods=["POST"]),
            Route("/pagerduty", self._pagerduty, methods=["POST"]),
        ]
        self._server = WebServer(Starlette(routes=routes), "127.0.0.1", 0, "tidegauge-inbox")

    @property
    def url(self) -> str:
        """Base address; ``/slack`` and ``/pagerduty`` are below it."""
        return self._server.url

    def take(self) -> list[Message]:
        """The messages since the last call."""
        taken, self.messages = self.messages, []
        return taken

    def close(self) -> None:
        """Stop listening."""
        self._server.close()

    async def _slack(self, request: Request) -> Response:
        self.messages.append(Message("Slack", json.loads(await request.body())))
        return PlainTextResponse("ok")

    async def _pagerduty(self, request: Request) -> Response:
        body = json.loads(await request.body())
        self.messages.append(Message("PagerDuty", body))
        answer = {"status": "success", "message": "Event processed", "dedup_key": body.get("dedup_key", "")}
        return JSONResponse(answer, status_code=202)
