"""Whether a process is alive and whether it can do its work, for orchestrators and load balancers; with its metrics."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tidegauge import instruments

STUCK_AFTER_S = 120.0


class Health:
    """What keeps a part from its work, by name; and when it last showed that it is alive.

    Waiting for another service makes it not ready; it stays alive, for a restart would change nothing.
    """

    def __init__(self, part: str) -> None:
        self._part = part
        self._lock = threading.Lock()
        self._reasons: dict[str, str] = {}
        self._beat = time.monotonic()
        instruments.READY.labels(part).set(1)

    def red(self, name: str, reason: str) -> None:
        """Say that ``name`` keeps the part from its work, and why."""
        with self._lock:
            self._reasons[name] = reason
            instruments.READY.labels(self._part).set(0)

    def green(self, name: str) -> None:
        """Say that ``name`` is all right again."""
        with self._lock:
            if self._reasons.pop(name, None) is not None and not self._reasons:
                instruments.READY.labels(self._part).set(1)

    def beat(self) -> None:
        """Say that the part's loop goes round."""
        self._beat = time.monotonic()

    @property
    def reasons(self) -> Mapping[str, str]:
        """Why the part is not ready; empty when it is."""
        with self._lock:
            return dict(self._reasons)

    @property
    def stuck_s(self) -> float:
        """Seconds since the last sign of life."""
        return time.monotonic() - self._beat


def create_app(health: Health) -> Starlette:
    """``/healthz`` (alive), ``/readyz`` (can work; else 503 and the reasons) and ``/metrics``."""

    async def alive(_: Request) -> Response:
        stuck_s = health.stuck_s if "stopped" not in health.reasons else 0.0
        return JSONResponse({"alive": stuck_s < STUCK_AFTER_S}, 200 if stuck_s < STUCK_AFTER_S else 503)

    async def ready(_: Request) -> Response:
        reasons = health.reasons
        return JSONResponse({"ready": not reasons, "reasons": reasons}, 503 if reasons else 200)

    async def metrics(_: Request) -> Response:
        return Response(instruments.exposition(), media_type="text/plain; version=0.0.4")

    return Starlette(
        routes=[Route("/healthz", alive), Route("/readyz", ready), Route("/metrics", metrics)],
    )
