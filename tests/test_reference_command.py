"""`tidegauge reference`: a training set is brought in, compared with from then on, listed, and gone back to."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from tidegauge.cli import app
from tidegauge.cli_reference import named_after
from tidegauge.clock import SystemClock
from tidegauge.collectors.direct import DirectTransport
from tidegauge.collectors.receiver import ReceiverServer
from tidegauge.config import Detectors, Direct, Receiver, Reference, Settings, Watch
from tidegauge.dashboards.page import create_app
from tidegauge.detectors.finding import Finding
from tidegauge.detectors.runner import DetectorLoop
from tidegauge.errors import ConfigError
from tidegauge.store import Store
from tidegauge.training_sets import listed

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
Run = Callable[..., Result]


def frame(rows: int, shift: float, start: datetime) -> pl.DataFrame:
    rng = np.random.default_rng(rows)
    times = [start + timedelta(seconds=each) for each in range(rows)]
    plans = rng.choice(["free", "pro"], rows)
    ids = [f"{start:%d}-{rows}-{each}" for each in range(rows)]
    return pl.DataFrame(
        {
            "prediction_id": ids,
            "timestamp": times,
            "age": rng.normal(shift, 1, rows),
            "plan": plans,
            "prediction": plans,
        }
    )


@pytest.fixture
def run(store: Store, tmp_path: Path) -> Iterator[Run]:
    """The command against a receiver that stores at once."""
    transport = DirectTransport(store, Direct(flush_after_s=0.02))
    server = ReceiverServer(transport, Receiver(http_port=0, grpc_port=0))
    environment = {"TIDEGAUGE_ENDPOINT": server.http_url, "XDG_STATE_HOME": str(tmp_path)}

    def command(*arguments: Any, **given: Any) -> Result:
        return CliRunner().invoke(app, [*map(str, arguments)], env=environment, catch_exceptions=False, **given)

    yield command
    server.close()
    transport.close(10)


def compared(store: Store, reference: Reference) -> Finding:
    """The finding on age of the day after noon, of a loop that knew nothing before."""
    watch = Watch(reference=reference, window_hours=1, step_hours=1)
    detector = DetectorLoop(store, Detectors(models=(watch,), embedder="off"))
    detector._models._last["fraud"] = NOON
    findings = detector.run(NOON + timedelta(hours=1.1))
    return next(each for each in findings if (each.feature, each.detector, each.slice) == ("age", "ks", ""))


def test_the_newest_training_set_is_compared_with_and_a_named_one_when_asked_for(
    store: Store, run: Run, tmp_path: Path
) -> None:
    old, new, live = (tmp_path / f"{name}.parquet" for name in ("old", "new", "live"))
    frame(400, 5.0, NOON - timedelta(days=30)).write_parquet(old)
    frame(500, 0.0, NOON - timedelta(days=20)).write_parquet(new)
    frame(600, 0.0, NOON).write_parquet(live)
    assert run("load", live, "--model", "fraud").exit_code == 0
    assert run("reference", "load", "fraud", old, "--name", "q3").exit_code == 0
    store.execute("ALTER TABLE predictions UPDATE stored_at = stored_at - 60 WHERE role = 'training'")
    said = run("reference", "load", "fraud", new)
    assert f"training set {named_after([new])!r} of fraud" in said.output
    found = compared(store, Reference(kind="training"))
    assert (found.verdict, found.n_reference) == ("stable", 500)
    assert f"training set {named_after([new])!r}" in found.reason
    before = compared(store, Reference(kind="training", name="q3"))
    assert (before.verdict, before.n_reference) == ("drift", 400)
    assert [(each["name"], each["rows"], each["newest"]) for each in listed(store)] == [
        (named_after([new]), 500, True),
        ("q3", 400, False),
    ]


CLICKHOUSE = """SELECT toString(id) AS prediction_id, toDateTime64(at, 3, 'UTC') AS timestamp,
  toString(plan) AS plan, paid, country, amount, age, plan AS prediction
FROM (
  SELECT generateUUIDv4() AS id, toDateTime('2026-01-11 12:00:00', 'UTC') + number AS at,
    CAST(number % 2 + 1, 'Enum8(\\'free\\' = 1, \\'pro\\' = 2)') AS plan, (number % 3 = 0)::Bool AS paid,
    toLowCardinality(if(number % 5 = 0, NULL, 'DE')) AS country, toDecimal64(number / 4, 2) AS amount,
    if(number % 7 = 0, NULL, number / 10) AS age
  FROM numbers(400))"""
WRITE = "import chdb, sys; sys.stdout.buffer.write(chdb.query(sys.argv[1], 'ArrowStream').bytes())"


def test_a_table_of_clickhouse_is_brought_in_as_it_writes_it(store: Store, run: Run) -> None:
    stream = subprocess.run([sys.executable, "-c", WRITE, CLICKHOUSE], capture_output=True, check=True).stdout
    done = run("reference", "load", "fraud", "-", "--name", "2026-04", input=stream)
    assert done.exit_code == 0, done.output
    [row] = store.rows("""SELECT count() AS n, uniqExact(prediction_id) AS ids, sum(features['amount']) AS amount,
        countIf(isFinite(features['age'])) AS aged, countIf(categories['plan'] = 'pro') AS pro,
        countIf(categories['paid'] = 'true') AS paid, countIf(categories['country'] = 'DE') AS german,
        min(timestamp) AS first FROM predictions WHERE role = 'training' AND versions['reference'] = '2026-04'""")
    first = NOON - timedelta(days=20)
    expected = {"n": 400, "ids": 400, "amount": 19950, "aged": 342, "pro": 200, "paid": 134, "german": 320}
    assert row == expected | {"first": first}


def test_a_set_that_was_never_brought_in_is_undetermined_and_named(store: Store, run: Run, tmp_path: Path) -> None:
    live = tmp_path / "live.csv"
    frame(100, 0.0, NOON).write_csv(live, datetime_format="%Y-%m-%dT%H:%M:%SZ")
    run("load", live, "--model", "fraud")
    watch = Watch(reference=Reference(kind="training", name="gone"), window_hours=1, step_hours=1)
    detector = DetectorLoop(store, Detectors(models=(watch,), embedder="off"))
    detector._models._last["fraud"] = NOON
    findings = detector.run(NOON + timedelta(hours=1.1))
    assert "no training set is named 'gone'" in [each.reason for each in findings if each.feature == "*"]


def test_the_command_lists_the_sets_of_a_running_service_over_its_page(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"timestamp": NOON, "model": "fraud", "role": "training", "features": {"age": 1.0}, "categories": {}}
    store.insert("predictions", [row | {"prediction_id": "1", "versions": {"reference": "q3"}}])
    monkeypatch.setattr("tidegauge.running.reach", lambda _: store)
    shown = CliRunner().invoke(app, ["reference", "list"]).output
    assert shown == "fraud  q3  1 rows  2026-01-31 12:00 to 2026-01-31 12:00  1 numbers, 0 texts  newest\n"
    assert json.loads(CliRunner().invoke(app, ["reference", "list", "--json"]).output)[0]["name"] == "q3"
    page = TestClient(create_app(store, Settings(), SystemClock()), base_url="http://127.0.0.1:8000")
    assert page.get("/api/references").json() == listed(store)


def test_the_name_follows_from_the_contents_and_a_missing_file_is_named(tmp_path: Path) -> None:
    for name, text in (("a", "1"), ("b", "2")):
        (tmp_path / name).write_text(text)
    assert named_after([tmp_path / "a"]) == "a-6b86b273"
    assert named_after([tmp_path / "a", tmp_path / "b"]) == "a-6b51d431"
    with pytest.raises(ConfigError, match="No such file"):
        named_after([tmp_path / "c"])
    with pytest.raises(ConfigError, match="stdin has none"):
        CliRunner().invoke(app, ["reference", "load", "fraud", "-"], catch_exceptions=False)
