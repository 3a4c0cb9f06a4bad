"""Alerts from the command line: in the database, or over the page of the running service that owns it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from tidegauge import alerts, decisions, responses
from tidegauge.config import Settings
from tidegauge.decisions import Decision
from tidegauge.model import Window
from tidegauge.responses import Action
from tidegauge.running import Page, reach
from tidegauge.store import Store

Listed = list[dict[str, Any]]


class Answering(Protocol):
    """Lists alerts, answers them and tells why."""

    def listed(self, *, everything: bool) -> Listed:
        """Those that are not well, or all."""
        ...

    def one(self, alert: str) -> dict[str, Any]:
        """One with its course. Raises TidegaugeError when there is no single one."""
        ...

    def respond(self, alert: str, action: Action, author: str, note: str) -> None:
        """Store an answer. Raises TidegaugeError when the alert cannot have it."""
        ...

    def why(self, rule: str, span: Window, labels: Mapping[str, str]) -> list[Decision]:
        """The decision log."""
        ...


class InDatabase:
    """Reads and writes the tables itself."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def listed(self, *, everything: bool) -> Listed:
        return alerts.open_alerts(self.store, everything=everything)

    def one(self, alert: str) -> dict[str, Any]:
        return alerts.one(self.store, alert)

    def respond(self, alert: str, action: Action, author: str, note: str) -> None:
        responses.respond(self.store, alert, action, author, note, datetime.now(UTC))

    def why(self, rule: str, span: Window, labels: Mapping[str, str]) -> list[Decision]:
        return decisions.why(self.store, rule, span, labels)


class OverPage:
    """Asks the page."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def listed(self, *, everything: bool) -> Listed:
        found: Listed = self._page.get("/api/alerts", {"all": "1"} if everything else None).json()
        return found

    def one(self, alert: str) -> dict[str, Any]:
        found: Listed = self._page.get("/api/alerts", {"id": alert}).json()
        return found[0]

    def respond(self, alert: str, action: Action, author: str, note: str) -> None:
        self._page.post(f"/api/alerts/{quote(alert, safe='')}/{action}", {"author": author, "note": note})

    def why(self, rule: str, span: Window, labels: Mapping[str, str]) -> list[Decision]:
        asked = [("rule", rule), ("since", span.start.isoformat())]
        asked += [("slice", f"{name}={value}") for name, value in labels.items()]
        return [decisions.from_json(each) for each in self._page.get(f"/api/alerts/why?{urlencode(asked)}").json()]


def answering(settings: Settings) -> Answering:
    """Whichever can be reached; raises as :func:`tidegauge.running.reach` does."""
    found = reach(settings)
    return OverPage(found) if isinstance(found, Page) else InDatabase(found)
