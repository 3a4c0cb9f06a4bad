"""Where lineage is read: in the database, or from a running service's page where that service owns the database."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import httpx

from tidegauge.config import Settings
from tidegauge.dashboards.lineage.affected import Affected, affected, check_format, export
from tidegauge.dashboards.lineage.trace import UNKNOWN, lineage
from tidegauge.dashboards.lineage.versions import Selection
from tidegauge.errors import StoreError, TidegaugeError
from tidegauge.model import Window
from tidegauge.store import Store
from tidegauge.web import authority

TIMEOUT_S = 60


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


class Database:
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


class Page:
    """Asks the page of a running service at ``url``."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=TIMEOUT_S, trust_env=False)

    def lineage(self, identifier: str) -> dict[str, Any]:
        answer: dict[str, Any] = self._get(f"/api/traces/{identifier}", {}).json()
        return answer

    def affected(self, selection: Selection, window: Window) -> Affected:
        return Affected.from_json(self._get("/api/affected", _query(dict(selection.wanted), window)).json())

    def export(self, found: Affected, out: Path) -> None:
        check_format(out)
        answer = self._get(f"/api/affected{out.suffix}", _query(found.selection, Window(found.start, found.end)))
        out.write_bytes(answer.content)

    def _get(self, path: str, query: dict[str, str]) -> httpx.Response:
        try:
            answer = self._client.get(path, params=query)
        except httpx.HTTPError as error:
            raise TidegaugeError(f"no answer from the page at {self._client.base_url}: {error}") from error
        if answer.is_error:
            raise TidegaugeError(_detail(answer))
        return answer


def source(settings: Settings) -> Source:
    """The database; or, where a running service has the embedded one open, that service's page.

    Raises:
        TidegaugeError: the embedded database was never made.
    """
    folder = Path(settings.dsn.removeprefix("chdb://"))
    if folder != Path(settings.dsn) and not folder.exists():
        raise TidegaugeError(f"there is no database in {folder}: set data_dir to the service's, or name a server")
    try:
        return Database(Store(settings.dsn, settings.clickhouse.database))
    except StoreError:
        if not settings.dsn.startswith("chdb://"):
            raise
        return Page(f"http://{authority(settings.page.host, settings.page.port)}")


def _query(selection: dict[str, str], window: Window) -> dict[str, str]:
    return {**selection, "from": window.start.isoformat(), "to": window.end.isoformat()}


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.url} answered {answer.status_code}"
