"""PagerDuty Events API v2: trigger, acknowledge and resolve of an alert under the same deduplication key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tidegauge.alerting.http import Delivered, Outcome, Poster, Reply, RetryAfter, outcome
from tidegauge.alerting.notifiers.contract import facts, links
from tidegauge.alerting.states import Notice, Transition
from tidegauge.alerting.text import labels_text, plain

MAX_EVENT_BYTES = 512_000
_SEVERITIES = {"page": "critical", "triage": "warning", "info": "info"}
_ACTIONS = {Notice.RESOLVE: "resolve", Notice.ACKNOWLEDGE: "acknowledge"}
_CUT_NOTE = "some details were cut to fit PagerDuty's limit of 512 kB"


def build(alert: Transition, routing_key: str, page_url: str = "") -> dict[str, Any]:
    """The event for ``alert``. Its ``dedup_key`` is the fingerprint: one incident, however often it is sent."""
    event: dict[str, Any] = {
        "routing_key": routing_key,
        "event_action": _ACTIONS.get(alert.notice, "trigger"),
        "dedup_key": alert.fingerprint,
        "payload": {
            "summary": plain(f"{alert.rule}: {alert.summary}", 1024),
            "source": plain(f"tidegauge: {labels_text(alert.labels)}", 255),
            "severity": _SEVERITIES.get(alert.severity, "error"),
            "timestamp": alert.since.isoformat(),
            "group": plain(alert.rule, 255),
            "custom_details": dict(facts(alert)) | {"labels": dict(alert.labels), "samples": alert.samples},
        },
        "client": "Tidegauge",
        "links": [{"text": name, "href": url} for name, url in links(alert, page_url)],
    }
    return event if _size(event) <= MAX_EVENT_BYTES else _cut(event)


class PagerDuty:
    """Sends to one integration."""

    kind = "pagerduty"
    max_groups = 1
    max_alerts = 1
    spacing_s = 0.0
    refresh_s = 0.0

    def __init__(self, name: str, poster: Poster, routing_key: str, page_url: str = "") -> None:
        self.name = name
        self._poster = poster
        self._routing_key = routing_key
        self._page_url = page_url

    def send(self, alerts: Sequence[Transition]) -> Outcome:
        """Delivered only when the answer is JSON with status ``success``."""
        (alert,) = alerts
        reply = self._poster.post(json.dumps(build(alert, self._routing_key, self._page_url)).encode())
        result = outcome(reply)
        if isinstance(result, Delivered) and not (isinstance(reply, Reply) and _succeeded(reply.body)):
            return RetryAfter(None, f"{result.detail}, but the answer was not PagerDuty's success")
        return result


def _succeeded(body: bytes) -> bool:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(said, dict) and said.get("status") == "success"


def _size(event: dict[str, Any]) -> int:
    return len(json.dumps(event).encode())


def _cut(event: dict[str, Any]) -> dict[str, Any]:
    """Labels are the only part without a bound of its own: shorten each, then leave out what is still too much."""
    details = event["payload"]["custom_details"]
    short: dict[str, str] = {}
    for name, value in details["labels"].items():
        if len(short) < 100:
            short[plain(name, 60)] = plain(value, 300)
    return event | {"payload": event["payload"] | {"custom_details": details | {"labels": short, "note": _CUT_NOTE}}}
