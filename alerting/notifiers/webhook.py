"""A plain webhook: one JSON object with all alerts that wait, each with its numbers and its deduplication key."""

from __future__ import annotations

import json
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
    return {"source": "tidegauge", "version": 1, "alerts": [_alert(each, page_url) for each in alerts]}


class Webhook:
    """Sends to one HTTP endpoint; any 2xx means delivered."""

    kind = "webhook"
    max_groups = 100
    max_alerts = 200
    spacing_s = 0.0

    def __init__(self, name: str, poster: Poster, page_url: str = "") -> None:
        self.name = name
        self._poster = poster
        self._page_url = page_url

    def send(self, alerts: Sequence[Transition]) -> Outcome:
        """Post ``alerts`` once."""
        return outcome(self._poster.post(json.dumps(build(alerts, self._page_url)).encode()))


def _alert(alert: Transition, page_url: str) -> dict[str, Any]:
    return {
        "dedup_key": alert.fingerprint,
        "event_id": f"{alert.fingerprint}-{alert.notice.value}-{alert.at.isoformat()}",
        "notice": alert.notice.value,
        "state": alert.state.value,
        "labels": dict(alert.labels),
        "since": alert.since.isoformat(),
        "at": alert.at.isoformat(),
        "links": dict(links(alert, page_url)),
    } | {name: getattr(alert, name) for name in _AS_THEY_ARE}
