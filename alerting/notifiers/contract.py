"""What every notifier is: a pure builder of messages, and one method that sends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath
from typing import Protocol, runtime_checkable
from urllib.parse import quote

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
    Notice.PROPOSE: "PROPOSED",
    Notice.HOOK: "HOOK",
    Notice.DIAGNOSE: "LIKELY CAUSE",
}

_OF_MODELS = ("findings", "score", "share")
_OPEN = (Notice.FIRE, Notice.REMIND, Notice.ESCALATE, Notice.DIAGNOSE)


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


@runtime_checkable
class Illustrating(Protocol):
    """A notifier that adds pictures to what it has told."""

    def illustrate(self, alerts: Sequence[Transition]) -> None:
        """Add what can be added to a message that is delivered and in the ledger. Never raises."""
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
        ("How large, how sure", "" if alert.notice is Notice.DIAGNOSE else plain(alert.reason, 400)),
        ("Likely cause", likely_cause(alert)),
        ("Largest", plain(alert.note, 600)),
        ("Course", alert.evidence.course),
        ("Owner", plain(alert.owner)),
        ("Action", plain(alert.action, 600)),
        ("Runbook", plain(alert.runbook, 400)),
        ("Answer", _answer(alert)),
    ]
    return [(name, text) for name, text in found if text]


def likely_cause(alert: Transition) -> str:
    """Why it is, how sure that is, in one line; empty where it is not known, or not sure enough."""
    return plain(alert.evidence.diagnosis.words, 600) if alert.evidence.diagnosis else ""


def _answer(alert: Transition) -> str:
    if alert.notice is Notice.PROPOSE:
        return f"tidegauge hooks approve {alert.fingerprint[:12]}, or reject"
    return f"tidegauge alerts ack {alert.fingerprint[:12]}" if alert.notice in _OPEN else ""


def links(alert: Transition, page_url: str) -> list[tuple[str, str]]:
    """Names and URLs: runbook; with ``page_url`` the page of alerts, the diagnosis of a model, and a few traces."""
    found = [("Runbook", web_link(runbook_url(alert.runbook, page_url)))]
    if page_url:
        root, model = page_url.rstrip("/"), alert.labels.get("model") or alert.labels.get("subject", "")
        found.append(("Page", web_link(f"{root}/alerts")))
        if model and alert.notice in _OPEN and alert.unit in _OF_MODELS:
            found.append(("Diagnosis", web_link(f"{root}/diagnosis/{quote(model, safe='')}")))
        traces = enumerate(alert.evidence.traces, 1)
        found += [(f"Trace {i}", web_link(f"{root}/traces/{quote(each, safe='')}")) for i, each in traces]
    return [(name, url) for name, url in found if url]


def runbook_url(runbook: str, page_url: str) -> str:
    """Where a runbook can be read: its own URL, or for a file the built-in page that shows it.

    >>> runbook_url("docs/runbooks/drift-found.md", "https://gauge.example/")
    'https://gauge.example/runbooks/drift-found'
    """
    name = PurePosixPath(runbook)
    if page_url and "://" not in runbook and name.suffix == ".md":
        return f"{page_url.rstrip('/')}/runbooks/{quote(name.stem, safe='')}"
    return runbook
