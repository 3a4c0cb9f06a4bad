"""Hooks from the command line: in the database, or over the page of the running service that owns it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from urllib.parse import quote

from tidegauge import hooks
from tidegauge.config import Settings
from tidegauge.running import Page, reach
from tidegauge.store import Store

LISTED = timedelta(days=90)
Listed = list[dict[str, Any]]


class Deciding(Protocol):
    """Lists proposals, decides on them, and has hooks called."""

    def listed(self) -> Listed:
        """Those of the last 90 days, newest first."""
        ...

    def one(self, proposal: str) -> dict[str, Any]:
        """One of any age. Raises TidegaugeError when there is no single one."""
        ...

    def decide(self, proposal: str, state: hooks.State, author: str, note: str) -> dict[str, Any]:
        """Approve or reject one. Raises TidegaugeError when that cannot be."""
        ...

    def call(self, hook: str, labels: Mapping[str, str], author: str, note: str) -> dict[str, Any]:
        """Have a hook called. Raises TidegaugeError when there is none of this name."""
        ...


class InDatabase:
    """Reads and writes the table itself."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings

    def listed(self) -> Listed:
        return [each.as_json() for each in hooks.read(self._store, datetime.now(UTC) - LISTED)]

    def one(self, proposal: str) -> dict[str, Any]:
        return hooks.one(self._store, proposal).as_json()

    def decide(self, proposal: str, state: hooks.State, author: str, note: str) -> dict[str, Any]:
        return hooks.decide(self._store, proposal, state, author, note, datetime.now(UTC)).as_json()

    def call(self, hook: str, labels: Mapping[str, str], author: str, note: str) -> dict[str, Any]:
        wanted = hooks.named(self._settings.alerting.hooks, hook)
        return hooks.ask(self._store, wanted, labels, author, note, datetime.now(UTC)).as_json()


class OverPage:
    """Asks the page."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def listed(self) -> Listed:
        found: Listed = self._page.get("/api/hooks").json()
        return found

    def one(self, proposal: str) -> dict[str, Any]:
        found: Listed = self._page.get("/api/hooks", {"id": proposal}).json()
        return found[0]

    def decide(self, proposal: str, state: hooks.State, author: str, note: str) -> dict[str, Any]:
        word = "approve" if state is hooks.State.APPROVED else "reject"
        return self._post(f"/api/hooks/{quote(proposal, safe='')}/{word}", {"author": author, "note": note})

    def call(self, hook: str, labels: Mapping[str, str], author: str, note: str) -> dict[str, Any]:
        said = {"author": author, "note": note, "labels": dict(labels)}
        return self._post(f"/api/hooks/{quote(hook, safe='')}/call", said)

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self._page.post(path, body).json()
        return found


def deciding(settings: Settings) -> Deciding:
    """Whichever can be reached; raises as :func:`tidegauge.running.reach` does."""
    found = reach(settings)
    return OverPage(found) if isinstance(found, Page) else InDatabase(found, settings)
