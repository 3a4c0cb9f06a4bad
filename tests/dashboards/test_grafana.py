"""The Grafana dashboards: whole, runnable, safe against hostile variables, and pushed once however often."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from synthetic import END

from tidegauge.config import Grafana, Settings
from tidegauge.dashboards.boards import BOARDS
from tidegauge.dashboards.grafana import export, push
from tidegauge.dashboards.grafana_json import dashboard, grafana_sql
from tidegauge.dashboards.panels import Board
from tidegauge.errors import TidegaugeError
from tidegauge.store import Store

HOSTILE = [
    "",
    "v8",
    "\\",
    "\\' OR 1=1 --",
    "' OR 1=1 --",
    "'||'",
    "%27",
    "`${x}`",
    "$__fromTime",
    "a/*b*/--",
    "наш",
    "(!*)",
]
BY_UID = [pytest.param(board, id=board.uid) for board in BOARDS]


def percentencode(value: str) -> str:
    """What Grafana's format of that name does: encodeURIComponent, and the five marks that it leaves."""
    return quote(value, safe="-_.~")


def expanded(sql: str, variables: dict[str, str]) -> str:
    """``sql`` as Grafana sends it: variables in the browser first, then the data source's macros, here over a week."""
    text = re.sub(r"\$\{(\w+):percentencode\}", lambda match: percentencode(variables.get(match[1], "")), sql)
    start, end = (int(moment.timestamp() * 1000) for moment in (END - timedelta(days=7), END))
    for macro, value in (
        ("$__fromTime_ms", f"fromUnixTimestamp64Milli({start})"),
        ("$__toTime_ms", f"fromUnixTimestamp64Milli({end})"),
        ("$__interval_s", "3600"),
    ):
        text = text.replace(macro, value)
    assert "$" not in text and "{" not in text, text
    return text


@pytest.mark.parametrize("board", BY_UID)
def test_a_dashboard_is_whole(board: Board) -> None:
    model = json.loads(json.dumps(dashboard(board, "ch")))
    panels = model["panels"]
    assert len({each["id"] for each in panels}) == len(panels) == len(board.panels)
    assert [each["title"] for each in panels] == [each.title for each in board.panels]
    assert all(each["gridPos"]["x"] + each["gridPos"]["w"] <= 24 for each in panels)
    names = {each["name"] for each in model["templating"]["list"]}
    for panel in panels:
        assert (
            panel["targets"][0]["datasource"]
            == panel["datasource"]
            == {"type": "grafana-clickhouse-datasource", "uid": "ch"}
        )
        assert set(re.findall(r"\$\{(\w+)", panel["targets"][0]["rawSql"])) <= names
    assert model["schemaVersion"] >= 39


@pytest.mark.parametrize("board", BY_UID)
def test_no_two_panels_overlap(board: Board) -> None:
    places = [each["gridPos"] for each in dashboard(board, "ch")["panels"]]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(set(cells)) == len(cells)


def test_every_target_variable_and_annotation_runs_as_grafana_sends_it(week: Store) -> None:
    for board in BOARDS:
        model = dashboard(board, "ch")
        for panel in model["panels"]:
            assert week.rows(expanded(panel["targets"][0]["rawSql"], {})) or panel["title"] == "GPU use"
        for variable in model["templating"]["list"]:
            rows = week.rows(expanded(variable["query"], {}))
            assert list(rows[0].values()) == ["", "All"]
        assert len(week.rows(expanded(model["annotations"]["list"][0]["target"]["rawSql"], {}))) == 2


@pytest.mark.parametrize("value", HOSTILE)
def test_a_template_variable_arrives_as_the_value_it_is(store: Store, value: str) -> None:
    sql = grafana_sql("SELECT {name:String} AS arrived")
    assert store.value(expanded(sql, {"name": value})) == value


def test_the_reader_statements_are_clickhouse_sql(store: Store, tmp_path: Path) -> None:
    export(tmp_path, Settings())
    text = "\n".join(
        line for line in (tmp_path / "clickhouse-reader.sql").read_text().splitlines() if not line.startswith("--")
    )
    for statement in text.strip().rstrip(";").split(";\n"):
        assert store.rows(f"EXPLAIN AST {statement}")


def test_export_writes_dashboards_and_provisioning(tmp_path: Path) -> None:
    settings = Settings.model_validate({"clickhouse": {"dsn": "clickhouses://writer:hunter2@db.example.com:8443"}})
    written = export(tmp_path, settings)
    assert len(written) == len(BOARDS) + 3 and all(path.exists() for path in written)
    assert "hunter2" not in "".join(path.read_text() for path in written)
    source = yaml.safe_load((tmp_path / "provisioning/datasources/tidegauge.yaml").read_text())["datasources"][0]
    assert source["uid"] == settings.grafana.datasource_uid
    assert (source["jsonData"]["host"], source["jsonData"]["port"], source["jsonData"]["secure"]) == (
        "db.example.com",
        8443,
        True,
    )
    before = [path.read_text() for path in written]
    assert [path.read_text() for path in export(tmp_path, settings)] == before


class FakeGrafana(BaseHTTPRequestHandler):
    """The four endpoints that a push uses, over plain dictionaries."""

    folders: dict[str, Any]
    dashboards: dict[str, Any]
    writes: list[str]
    token = "secret"

    def do_GET(self) -> None:
        *_, kind, uid = self.path.split("/")
        found = self.folders.get(uid) if kind == "folders" else self.dashboards.get(uid)
        self._answer(200 if found else 404, found or {"message": "not found"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.writes.append(self.path)
        if self.path == "/grafana/api/folders":
            self.folders[body["uid"]] = body
        else:
            assert body["overwrite"] is True and body["folderUid"] in self.folders
            saved = body["dashboard"] | {"id": len(self.dashboards) + 1, "version": 1}
            self.dashboards[body["dashboard"]["uid"]] = {"dashboard": saved, "meta": {}}
        self._answer(200, {"status": "success"})

    def _answer(self, status: int, body: Any) -> None:
        if self.headers["Authorization"] != f"Bearer {self.token}":
            status, body = 401, {"message": "Unauthorized"}
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def grafana() -> Iterator[tuple[type[FakeGrafana], str]]:
    handler = type("Fresh", (FakeGrafana,), {"folders": {}, "dashboards": {}, "writes": []})
    with serving(handler) as url:
        yield handler, f"{url}/grafana"


def test_push_creates_folder_and_dashboards_and_a_second_push_writes_nothing(
    grafana: tuple[type[FakeGrafana], str],
) -> None:
    server, url = grafana
    settings = Grafana.model_validate({"url": url, "token": "secret"})
    assert set(push(settings).values()) == {"created"}
    assert set(server.folders) == {"tidegauge"} and set(server.dashboards) == {board.uid for board in BOARDS}
    server.writes.clear()
    assert set(push(settings).values()) == {"unchanged"}
    assert server.writes == []


def test_push_puts_back_a_dashboard_that_was_changed_by_hand(grafana: tuple[type[FakeGrafana], str]) -> None:
    server, url = grafana
    settings = Grafana.model_validate({"url": url, "token": "secret"})
    push(settings)
    server.dashboards[BOARDS[0].uid]["dashboard"]["title"] = "mine"
    assert push(settings)[BOARDS[0].uid] == "updated"
    assert server.dashboards[BOARDS[0].uid]["dashboard"]["title"] == "Tidegauge: LLM health"


def test_a_wrong_token_says_which_setting_to_change(grafana: tuple[type[FakeGrafana], str]) -> None:
    with pytest.raises(TidegaugeError, match=r"401.*grafana\.token"):
        push(Grafana.model_validate({"url": grafana[1], "token": "wrong"}))


def test_an_unreachable_grafana_says_where_it_was_looked_for(unused_port: int) -> None:
    with pytest.raises(TidegaugeError, match=rf"127\.0\.0\.1:{unused_port} cannot be reached.*export"):
        push(Grafana.model_validate({"url": f"http://127.0.0.1:{unused_port}"}))


@pytest.mark.parametrize("url", ["127.0.0.1:3000", "ftp://x", "http://"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(TidegaugeError, match=r"grafana\.url"):
        push(Grafana(url=url))
