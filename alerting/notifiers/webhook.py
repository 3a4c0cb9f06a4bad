"""A plain webhook: one JSON object with all alerts that wait, each with its numbers and its deduplication key.

With a secret each request carries ``Tidegauge-Timestamp`` (seconds since 1970) and ``Tidegauge-Signature``:
``v1=`` and the HMAC-SHA256, in hex, of the timestamp, a dot and the body. A receiver that checks both and refuses old
timestamps knows that the message is ours, whole and not sent again by somebody else.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Sequence
from typing import Any

from tidegauge.alerting.http import Outcome, Poster, outcome
from tidegauge.alerting.notifiers.contract import links
from tidegauge.alerting.states import Transition

_AS_THEY_ARE = (
    "rule", "severity", "owner", "runbook", "action", "value", "low", "high", "threshold", "samples", "unit",
    "reason", "summary", "note",
)  # fmt: skip


def build(alerts: Sequence[Transition], page_url: str = "") -> dict[str, Any]:
    """``{"source": "tidegauge", "version": 1, "alerts": [...]}``; texts as they are, escaping is the reader's."""
    return {"source": "tidegauge", "version": 1, "alerts": [alert_json(each, page_url) for each in alerts]}


class Webhook:
    """Sends to one HTTP endpoint; any 2xx means delivered."""

    kind = "webhook"
    max_groups = 100
    max_alerts = 200
    spacing_s = 0.0
    refresh_s = 0.0

    def __init__(self, name: str, poster: Poster, page_url: str = "", secret: str = "") -> None:
        self.name = name
        self._poster = poster
        self._page_url = page_url
        self._secret = secret

    def send(self, alerts: Sequence[Transition]) -> Outcome:
        """Post ``alerts`` once."""
        body = json.dumps(build(alerts, self._page_url)).encode()
        signed = signature(self._secret, body, int(time.time())) if self._secret else {}
        return outcome(self._poster.post(body, signed))


def signature(secret: str, body: bytes, timestamp: int) -> dict[str, str]:
    """The headers that sign ``body``; ``timestamp`` in seconds since 1970.

    >>> signature("s", b"{}", 1)["Tidegauge-Signature"][:11]
    'v1=b253639b'
    """
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Tidegauge-Timestamp": str(timestamp), "Tidegauge-Signature": f"v1={digest}"}


def alert_json(alert: Transition, page_url: str = "") -> dict[str, Any]:
    """One alert with its numbers and its deduplication key."""
    return {
        "dedup_key": alert.fingerprint,
        "event_id": f"{alert.fingerprint}-{alert.notice.value}-{alert.at.isoformat()}",
        "notice": alert.notice.value,
        "state": alert.state.value,
        "labels": dict(alert.labels),
        "since": alert.since.isoformat(),
        "at": alert.at.isoformat(),
        "links": dict(links(alert, page_url)),
        "course": alert.evidence.course,
        "traces": list(alert.evidence.traces),
        "diagnosis": alert.evidence.diagnosis.as_json() if alert.evidence.diagnosis else None,
    } | {name: getattr(alert, name) for name in _AS_THEY_ARE}
