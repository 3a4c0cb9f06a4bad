"""Reaching what a service has stored: in its database, or over its page where the running service owns the database."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx

from tidegauge.config import Settings
from tidegauge.errors import StoreError, TidegaugeError
from tidegauge.store import Store
from tidegauge.web import authority

TIMEOUT_S = 60


class Page:
    """The page of a running service at ``url``."""

    def __init__(self, url: str) -> None:
        self._url = url

    def get(self, path: str, query: dict[str, str] | None = None) -> httpx.Response:
        """Raises TidegaugeError, with what the page says, for anything but success."""
        return self._ask("GET", path, params=query)

    def post(self, path: str, body: Any) -> httpx.Response:
        """Send ``body`` as JSON. Raises TidegaugeError as ``get`` does."""
        return self._ask("POST", path, json=body)

    def delete(self, path: str) -> httpx.Response:
        """Raises TidegaugeError as ``get`` does."""
        return self._ask("DELETE", path)

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = httpx.request(method, self._url + path, timeout=TIMEOUT_S, trust_env=False, **options)
        except httpx.HTTPError as error:
            raise TidegaugeError(f"no answer from the page at {self._url}: {error}") from error
        if answer.is_error:
            raise TidegaugeError(_detail(answer))
        return answer


def reach(settings: Settings) -> Store | Page:
    """The database; or, where a running service has the embedded one open, that service's page.

    Raises:
        TidegaugeError: the embedded database was never made.
        StoreError: a server does not answer.
    """
    folder = Path(settings.dsn.removeprefix("chdb://"))
    embedded = settings.dsn.startswith("chdb://")
    if embedded and not folder.exists():
        raise TidegaugeError(f"there is no database in {folder}: set data_dir to the service's, or name a server")
    try:
        return Store(settings.dsn, settings.clickhouse.database)
    except StoreError:
        if not embedded:
            raise
        return Page(f"http://{authority(settings.page.host, settings.page.port)}")


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{answer.url} answered {answer.status_code}"
