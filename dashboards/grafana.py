"""Getting the boards into Grafana: files for its provisioning, or a push over its API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from grafana_api import GrafanaFace
from grafana_api.grafana_api import GrafanaClientError, GrafanaException

from tidegauge.config import Grafana, Settings
from tidegauge.dashboards.boards import BOARDS
from tidegauge.dashboards.grafana_json import PLUGIN, dashboard
from tidegauge.errors import TidegaugeError

FOLDER_UID, FOLDER_TITLE = "tidegauge", "Tidegauge"
READER = "tidegauge_reader"
PASSWORD_VARIABLE = "TIDEGAUGE_GRAFANA_PASSWORD"  # noqa: S105 - the name of a variable
TIMEOUT_S = 10.0
READER_SQL = """-- Run once on the ClickHouse server: the user that Grafana reads with. It can change nothing.
CREATE SETTINGS PROFILE IF NOT EXISTS {reader} SETTINGS readonly = 1, max_execution_time = 30 CHANGEABLE_IN_READONLY,
  max_memory_usage = 4000000000, max_result_rows = 100000, result_overflow_mode = 'break';
CREATE USER IF NOT EXISTS {reader} IDENTIFIED BY 'change-me' SETTINGS PROFILE '{reader}';
GRANT SELECT ON {database}.* TO {reader};
"""


def export(directory: Path, settings: Settings) -> list[Path]:
    """Write what Grafana's provisioning reads, and the SQL of its read-only user; returns the files.

    ``dashboards/*.json`` and ``provisioning/`` go under a folder that Grafana mounts at ``/etc/grafana``; the password
    of the ClickHouse user is read by Grafana from the variable TIDEGAUGE_GRAFANA_PASSWORD.
    """
    uid = settings.grafana.datasource_uid
    files = {Path("dashboards") / f"{board.uid}.json": _json(dashboard(board, uid)) for board in BOARDS}
    files[Path("provisioning/datasources/tidegauge.yaml")] = _yaml(_datasources(settings))
    files[Path("provisioning/dashboards/tidegauge.yaml")] = _yaml(_providers())
    files[Path("clickhouse-reader.sql")] = READER_SQL.format(reader=READER, database=settings.clickhouse.database)
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return [directory / name for name in files]


def push(settings: Grafana) -> dict[str, str]:
    """Create or update the folder and every dashboard by uid; returns uid: created, updated or unchanged.

    Raises:
        TidegaugeError: Grafana cannot be reached or refuses; the message says what to do.
    """
    try:
        client = _client(settings)
        _ensure_folder(client)
        return {board.uid: _push_one(client, dashboard(board, settings.datasource_uid)) for board in BOARDS}
    except GrafanaException as error:
        raise TidegaugeError(_advice(settings, error)) from error
    except OSError as error:  # every error of the HTTP client is one
        raise TidegaugeError(
            f"Grafana at {settings.url} cannot be reached or is no Grafana: {error}. Check grafana.url "
            "(TIDEGAUGE_GRAFANA__URL), or write files for its provisioning: tidegauge dashboards export DIR"
        ) from error


def _client(settings: Grafana) -> Any:
    parts = urlsplit(settings.url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise TidegaugeError(f"grafana.url: {settings.url!r} must be like http://127.0.0.1:3000")
    prefix = parts.path.strip("/")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return GrafanaFace(
        auth=settings.token.get_secret_value(),
        host=host,
        port=parts.port,
        url_path_prefix=f"{prefix}/" if prefix else "",
        protocol=parts.scheme,
        timeout=TIMEOUT_S,
    )


def _ensure_folder(client: Any) -> None:
    if _found(client.folder.get_folder, FOLDER_UID) is None:
        client.folder.create_folder(FOLDER_TITLE, FOLDER_UID)


def _push_one(client: Any, model: dict[str, Any]) -> str:
    stored = _found(client.dashboard.get_dashboard, model["uid"])
    if stored and _same(stored["dashboard"], model):
        return "unchanged"
    client.dashboard.update_dashboard(
        {"dashboard": model, "folderUid": FOLDER_UID, "overwrite": True, "message": "tidegauge dashboards push"}
    )
    return "updated" if stored else "created"


def _same(stored: dict[str, Any], model: dict[str, Any]) -> bool:
    return {key: stored.get(key) for key in model} == model


def _found(get: Any, uid: str) -> Any:
    try:
        return get(uid)
    except GrafanaClientError as error:
        if error.status_code != 404:
            raise
        return None


def _advice(settings: Grafana, error: GrafanaException) -> str:
    cure = "set grafana.token (TIDEGAUGE_GRAFANA__TOKEN) to a service account token with the Editor role"
    advice = f": {cure}" if error.status_code in (401, 403) else ""
    return f"Grafana at {settings.url} refused ({error.status_code}): {error.message}{advice}"


def _datasources(settings: Settings) -> dict[str, Any]:
    parts = urlsplit(settings.clickhouse.dsn.get_secret_value() or "clickhouse://127.0.0.1:8123")
    secure = parts.scheme.endswith("s")
    source = {
        "name": "Tidegauge",
        "type": PLUGIN,
        "uid": settings.grafana.datasource_uid,
        "jsonData": {
            "host": parts.hostname or "127.0.0.1",
            "port": parts.port or (8443 if secure else 8123),
            "protocol": "http",
            "secure": secure,
            "username": READER,
            "defaultDatabase": settings.clickhouse.database,
        },
        "secureJsonData": {"password": f"${PASSWORD_VARIABLE}"},
    }
    return {"apiVersion": 1, "datasources": [source]}


def _providers() -> dict[str, Any]:
    provider = {
        "name": "tidegauge",
        "folder": FOLDER_TITLE,
        "folderUid": FOLDER_UID,
        "type": "file",
        "options": {"path": "/etc/grafana/dashboards"},
    }
    return {"apiVersion": 1, "providers": [provider]}


def _json(model: dict[str, Any]) -> str:
    return json.dumps(model, indent=2, ensure_ascii=False) + "\n"


def _yaml(model: dict[str, Any]) -> str:
    return yaml.safe_dump(model, sort_keys=False)
