"""Silences from the command line: in the database, or over the page of the running service that owns it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol
from urllib.parse import quote

from tidegauge import silences
from tidegauge.config import Settings
from tidegauge.running import Page, reach
from tidegauge.silences import Silence, from_json
from tidegauge.store import Store


class Silencing(Protocol):
    """Lists, adds and ends silences."""

    def listed(self) -> list[Silence]:
        """Those in force or to come."""
        ...

    def add(self, silence: Silence) -> None:
        """Store one."""
        ...

    def end(self, silence_id: str) -> None:
        """End one now. Raises TidegaugeError when there is none with this id."""
        ...


class InDatabase:
    """Reads and writes the table itself."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def listed(self) -> list[Silence]:
        return silences.read(self._store, datetime.now(UTC))

    def add(self, silence: Silence) -> None:
        silences.write(self._store, silence, datetime.now(UTC))

    def end(self, silence_id: str) -> None:
        silences.end(self._store, silence_id, datetime.now(UTC))


class OverPage:
    """Asks the page."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def listed(self) -> list[Silence]:
        return [from_json(each) for each in self._page.get("/api/silences").json()]

    def add(self, silence: Silence) -> None:
        self._page.post("/api/silences", silence.as_json())

    def end(self, silence_id: str) -> None:
        self._page.delete(f"/api/silences/{quote(silence_id, safe='')}")


def silencing(settings: Settings) -> Silencing:
    """Whichever can be reached; raises as :func:`tidegauge.running.reach` does."""
    found = reach(settings)
    return OverPage(found) if isinstance(found, Page) else InDatabase(found)
