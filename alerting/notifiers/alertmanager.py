"""Alertmanager's API v2: alerts are handed over with their labels; it groups, silences, inhibits and notifies.

Alertmanager keeps what it is told in memory and takes an alert as resolved at ``endsAt``. So open alerts are posted
again every ``refresh_s``, as Prometheus does, and end by themselves when nobody does so any more.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from tidegauge.alerting.http import Delivered, Outcome, Poster, outcome
from tidegauge.alerting.notifiers.contract import facts, links
from tidegauge.alerting.states import Notice, Transition
from tidegauge.alerting.text import plain

KEEP = timedelta(minutes=10)
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_]")


def build(alerts: Sequence[Transition], page_url: str = "") -> list[dict[str, Any]]:
    """The body for ``/api/v2/alerts``. Texts are on one line; Alertmanager's templates do not evaluate values."""
    return [_alert(each, page_url) for each in alerts if each.notice is not Notice.ACKNOWLEDGE]


class Alertmanager:
    """Posts to one Alertmanager; of a cluster name each as a receiver, it deduplicates."""

    kind = "alertmanager"
    max_groups = 1_000
    max_alerts = 500
    spacing_s = 0.0
    refresh_s = 60.0

    def __init__(self, name: str, poster: Poster, page_url: str = "", token: str = "") -> None:
        self.name = name
        self._poster, self._page_url = poster, page_url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def send(self, alerts: Sequence[Transition]) -> Outcome:
        """Post ``alerts`` once; any 2xx means taken."""
        body = build(alerts, self._page_url)
        if not body:
            return Delivered("acknowledged, which Alertmanager does not know")
        return outcome(self._poster.post(json.dumps(body).encode(), self._headers))


def label(name: str) -> str:
    """A label's name as Prometheus allows it.

    >>> [label("service"), label("gen_ai.model"), label("2nd")]
    ['service', 'gen_ai_model', '_2nd']
    """
    safe = _NOT_IN_A_NAME.sub("_", name)[:100]
    return f"_{safe}" if not safe or safe[0].isdigit() else safe


def _alert(alert: Transition, page_url: str) -> dict[str, Any]:
    over = alert.notice is Notice.RESOLVE
    own = {"alertname": plain(alert.rule), "severity": alert.severity, "tidegauge_id": alert.fingerprint[:12]}
    page = dict(links(alert, page_url)).get("Page", "")
    return {
        "labels": {label(name): plain(value, 1000) for name, value in alert.labels.items() if value} | own,
        "annotations": {label(name.lower()): text for name, text in facts(alert)},
        "startsAt": alert.since.isoformat(),
        "endsAt": (alert.at if over else alert.at + KEEP).isoformat(),
        **({"generatorURL": page} if page else {}),
    }
