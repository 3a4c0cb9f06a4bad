"""The official Collector's ClickHouse exporter, inserting into our tables: its rows are ours."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from broker import free_ports
from official_collector import OfficialCollector, missing, otlp_receiver, pipelines
from official_traffic import post_all, requests, stored, stored_all, until

from tidegauge.collectors.schema import insert_exports, migrate
from tidegauge.store import Store

PROGRAM = "otelcol-clickhouse"
SERVER = Path(__file__).parents[1] / "reliability" / "clickhouse_server.py"

pytestmark = pytest.mark.skipif(bool(missing(PROGRAM)), reason=missing(PROGRAM))


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """ClickHouse's engine in a process of its own, behind HTTP."""
    [port] = free_ports(1)
    command = [sys.executable, str(SERVER), str(port), str(tmp_path / "server" / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout and server.stdout.readline() == "ready\n"
        yield port
        server.kill()


def test_rows_that_the_official_exporter_inserts_are_what_we_would_have_stored(port: int, tmp_path: Path) -> None:
    stores = {name: Store(f"clickhouse://127.0.0.1:{port}", name) for name in ("theirs", "ours")}
    for each in stores.values():
        migrate(each)
    exporter = {
        "endpoint": f"http://127.0.0.1:{port}",
        "database": "theirs",
        "create_schema": False,
        "async_insert": False,
        "compress": "none",  # the server here is the embedded engine, which takes no compressed blocks over HTTP
    }
    config = pipelines(otlp_receiver(), {"clickhouse": exporter}, "traces", "logs", "metrics")
    with OfficialCollector(config, tmp_path, PROGRAM) as official:
        post_all(official.http_url)
        until(lambda: stored_all(stores["theirs"]), "stored")
    for signal, request in requests().items():
        insert_exports(stores["ours"], signal, [request.SerializeToString()])
    theirs, ours = (stored(each) for each in stores.values())
    for table in ours:
        for left, right in zip(theirs[table], ours[table], strict=True):
            assert {k: (left[k], right[k]) for k in left if left[k] != right[k]} == {}, table
    for each in stores.values():
        each.close()
