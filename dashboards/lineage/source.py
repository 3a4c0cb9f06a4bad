"""Where lineage is read: in the database, or from a running service's page where that service owns the database."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from tidegauge.config import Settings
from tidegauge.dashboards.lineage.affected import Affected, affected, check_format, export
from tidegauge.dashboards.lineage.trace import UNKNOWN, lineage
from tidegauge.dashboards.lineage.versions import Selection
from tidegauge.errors import TidegaugeError
from tidegauge.model import Window
from tidegauge.running import Page, reach
from tidegauge.store import Store


class Source(Protocol):
    """Answers questions of lineage."""

    def lineage(self, identifier: str) -> dict[str, Any]:
        """What is known of a prediction or trace. Raises TidegaugeError when nothing is."""
        ...

    def affected(self, selection: Selection, window: Window) -> Affected:
        """What versions touched."""
        ...

    def export(self, found: Affected, out: Path) -> None:
        """Each touched record into a file."""
        ...


class FromDatabase:
    """Reads the tables itself."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def lineage(self, identifier: str) -> dict[str, Any]:
        found = lineage(self._store, identifier)
        if found is None:
            raise TidegaugeError(f"{identifier}: {UNKNOWN}")
        return found

    def affected(self, selection: Selection, window: Window) -> Affected:
        return affected(self._store, selection, window)

    def export(self, found: Affected, out: Path) -> None:
        export(self._store, found, out)


class FromPage:
    """Asks the page of a running service."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def lineage(self, identifier: str) -> dict[str, Any]:
        answer: dict[str, Any] = self._page.get(f"/api/traces/{quote(identifier, safe='')}").json()
        return answer

    def affected(self, selection: Selection, window: Window) -> Affected:
        return Affected.from_json(self._page.get("/api/affected", _query(dict(selection.wanted), window)).json())

    def export(self, found: Affected, out: Path) -> None:
        check_format(out)
        query = _query(found.selection, Window(found.start, found.end))
        out.write_bytes(self._page.get(f"/api/affected{out.suffix}", query).content)


def source(settings: Settings) -> Source:
    """Whichever can be reached; raises as :func:`tidegauge.running.reach` does."""
    found = reach(settings)
    return FromPage(found) if isinstance(found, Page) else FromDatabase(found)


def _query(selection: dict[str, str], window: Window) -> dict[str, str]:
    return {**selection, "from": window.start.isoformat(), "to": window.end.isoformat()}
