"""A sign of life that leaves the system, so that somebody outside notices when Tidegauge itself falls silent."""

from __future__ import annotations

import json
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta

from tidegauge.addresses import Refused
from tidegauge.alerting.http import Delivered, Poster, outcome
from tidegauge.config import Alerting
from tidegauge.errors import ConfigError
from tidegauge.instruments import HEARTBEATS

logger = logging.getLogger(__name__)


class Heartbeat:
    """Posts to ``poster`` at most every ``interval_s``, from a thread of its own: a slow receiver delays no round.

    What watches it should allow for two missed beats: one is lost whenever the network is.
    """

    def __init__(self, poster: Poster, interval_s: float) -> None:
        self._poster, self._interval = poster, timedelta(seconds=interval_s)
        self._pool = ThreadPoolExecutor(1, "tidegauge-heartbeat")
        self._last: datetime | None = None
        self._sending: Future[None] | None = None

    def beat(self, now: datetime, rules: int, open_alerts: int) -> None:
        """Called after a round in which every rule could be evaluated; sends when it is time."""
        if self._sending is not None and not self._sending.done():
            return
        if self._last is None or now - self._last >= self._interval:
            self._last = now
            body = {"service": "tidegauge", "at": now.isoformat(), "rules": rules, "open_alerts": open_alerts}
            self._sending = self._pool.submit(self._send, json.dumps(body).encode())

    def flush(self, timeout_s: float) -> None:
        """Wait for the beat under way."""
        if self._sending is not None:
            self._sending.result(timeout_s)

    def close(self) -> None:
        """Send no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _send(self, body: bytes) -> None:
        result = outcome(self._poster.post(body))
        HEARTBEATS.labels("delivered" if isinstance(result, Delivered) else "failed").inc()
        if not isinstance(result, Delivered):
            logger.warning("heartbeat: %s", result.detail)


def heartbeat(settings: Alerting) -> Heartbeat | None:
    """As configured, None where no address is. Raises ConfigError when the address is refused."""
    url = settings.heartbeat_url.get_secret_value()
    if not url:
        return None
    try:
        poster = Poster(url, settings.timeout_s, allow_internal=settings.allow_internal_addresses)
    except Refused as error:
        raise ConfigError("alerting", [f"heartbeat_url {error}"]) from error
    return Heartbeat(poster, settings.heartbeat_interval_s)
