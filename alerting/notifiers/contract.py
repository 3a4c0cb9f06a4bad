"""What every notifier is: a pure builder of messages, and one method that sends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

from tidegauge.alerting.http import Outcome
from tidegauge.alerting.states import Notice, Transition
from tidegauge.alerting.text import labels_text, moment, plain, web_link

_WORDS = {
    Notice.FIRE: "FIRING",
    Notice.RESOLVE: "RESOLVED",
    Notice.REMIND: "STILL FIRING",
    Notice.ESCALATE: "NOBODY HAS IT",
    Notice.ACKNOWLEDGE: "ACKNOWLEDGED",
    Notice.DIGEST: "DIGEST",
}

_OPEN = (Notice.FIRE, Notice.REMIND, Notice.ESCALATE)


class Notifier(Protocol):
    """A receiver of alerts.

    Attributes:
        name: As configured; part of the ledger.
        kind: slack, pagerduty, email, alertmanager or webhook.
        max_groups: How many (rule, notice) pairs one message may hold.
        max_alerts: How many alerts one message may hold.
        spacing_s: Shortest time between two messages.
        refresh_s: How often it wants to hear again of every open alert; 0 for never.
    """

    name: str
    kind: str
    max_groups: int
    max_alerts: int
    spacing_s: float
    refresh_s: float

    def send(self, alerts: Sequence[Transition]) -> Outcome:
        """Try once to deliver ``alerts`` as one message. Never raises for what a receiver does."""
        ...


@dataclass(frozen=True, slots=True)
class Group:
    """Alerts of one rule that say the same: it fires, or it is over."""

    rule: str
    notice: Notice
    alerts: tuple[Transition, ...]

    @property
    def title(self) -> str:
        """``FIRING: Refusals are high (3 slices)``."""
        word = _WORDS.get(self.notice, self.notice.value.upper())
        count = f" ({len(self.alerts)} slices)" if len(self.alerts) > 1 else ""
        return f"{word}: {plain(self.rule, 110)}{count}"


def grouped(alerts: Sequence[Transition]) -> list[Group]:
    """Neighbours of the same rule and notice together; the order stays, so that a resolve follows its fire."""
    parts = groupby(alerts, key=lambda each: (each.rule, each.notice))
    return [Group(rule, notice, tuple(members)) for (rule, notice), members in parts]


def facts(alert: Transition) -> list[tuple[str, str]]:
    """What a message says of one alert, as name and text; every text on one line and free of control characters."""
    until = f" to {moment(alert.at)}" if alert.notice in (Notice.RESOLVE, Notice.DIGEST) else ""
    found = [
        ("What", plain(alert.summary, 600)),
        ("Slice", labels_text(alert.labels)),
        ("Since", moment(alert.since) + until),
        ("How large, how sure", plain(alert.reason, 400)),
        ("Largest", plain(alert.note, 600)),
        ("Owner", plain(alert.owner)),
        ("Action", plain(alert.action, 600)),
        ("Runbook", plain(alert.runbook, 400)),
        ("Answer", f"tidegauge alerts ack {alert.fingerprint[:12]}" if alert.notice in _OPEN else ""),
    ]
    return [(name, text) for name, text in found if text]


def links(alert: Transition, page_url: str) -> list[tuple[str, str]]:
    """Name and URL of the runbook, where it is a URL, and of the alert's page, where ``page_url`` is set."""
    page = f"{page_url.rstrip('/')}/alerts" if page_url else ""
    return [(name, url) for name, url in (("Runbook", web_link(alert.runbook)), ("Page", web_link(page))) if url]
