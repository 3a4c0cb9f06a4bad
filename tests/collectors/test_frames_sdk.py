"""Frames from a service's own calls: as Arrow to a receiver of ours, as OTLP to any other, never in its way."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

import tidegauge
from tidegauge.collectors import frames
from tidegauge.collectors.sdk.fallback import FramesOrLogs
from tidegauge.collectors.sdk.post import Answer, Lane, Later, Refused, Taken
from tidegauge.errors import InvalidRecord

if TYPE_CHECKING:
    from conftest import Pipeline

ROWS = 10_000
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def connect() -> Iterator[Callable[..., tidegauge.Client]]:
    started: list[tidegauge.Client] = []

    def start(endpoint: str, **options: Any) -> tidegauge.Client:
        started.append(tidegauge.init("shop", endpoint, **options))
        return started[-1]

    yield start
    for client in started:
        client.shutdown(0.1)


Connect = Callable[..., tidegauge.Client]


def wide(rows: int = ROWS) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    numbers = {f"n{i}": rng.normal(size=rows) for i in range(14)}
    texts = {f"c{i}": rng.choice(["red", "green", "blue"], rows) for i in range(6)}
    return pl.DataFrame({**numbers, **texts, "y": np.arange(rows) % 2, "p": rng.random(rows)})


class Recorder(BaseHTTPRequestHandler):
    """Answers each path as it is told, the last answer for good, and keeps what it is sent."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append((self.path, body))  # type: ignore[attr-defined]
        answers = self.server.answers.get(self.path, [404])  # type: ignore[attr-defined]
        self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
        self.send_header("content-length", "0")
        self.send_header("retry-after", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def recorder(port: int = 0, **answers: list[int]) -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", port), Recorder) as server:
        server.got = []  # type: ignore[attr-defined]
        server.answers = {f"/v1/{name}": each for name, each in answers.items()}  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def got(server: ThreadingHTTPServer) -> list[tuple[str, bytes]]:
    return list(server.got)  # type: ignore[attr-defined]


def url(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


# To a receiver of ours


def test_a_frame_and_its_labels_arrive_as_arrow_under_the_ids_that_were_returned(
    connect: Connect, direct: Pipeline
) -> None:
    client = connect(direct.server.http_url, strict=True)
    before = direct.metric("tidegauge_accepted_records_total", signal="frames")
    ids = client.log_predictions("m", wide(), prediction="y", score="p", slices=["c0"], version="3")
    client.log_labels("m", ids, pl.Series(np.arange(ROWS) % 2), timestamps=pl.Series([NOON] * ROWS))
    assert client.flush(60)
    assert direct.metric("tidegauge_accepted_records_total", signal="frames") == before + 2 * ROWS
    assert len(set(ids)) == ROWS
    sql = """SELECT count() AS n, uniqExact(prediction_id) AS ids, sum(length(features)) AS numbers,
        sum(length(categories)) AS texts, countIf(slices['c0'] != '') AS sliced, any(version) AS version
        FROM predictions"""
    expected = {"n": ROWS, "ids": ROWS, "numbers": 14 * ROWS, "texts": 5 * ROWS, "sliced": ROWS, "version": "3"}
    assert direct.store.rows(sql) == [expected]
    joined = "SELECT count() FROM labels WHERE prediction_id IN (SELECT prediction_id FROM predictions)"
    assert direct.store.value(joined) == ROWS
    assert (client.sent, client.dropped, client.rejected) == (2 * ROWS, 0, 0)


def test_what_all_rows_share_comes_from_the_client_and_its_context(connect: Connect, direct: Pipeline) -> None:
    client = connect(direct.server.http_url, strict=True, resource={"tidegauge.version.base_model": "b1"})
    with client.request(tenant="acme", versions={"prompt": "v7"}):
        client.log_predictions("m", wide(200), prediction="y", role="shadow", versions={"data": "h4sh"})
    assert client.flush(30)
    sql = "SELECT DISTINCT service, role, slices, versions FROM predictions"
    [row] = direct.store.rows(sql)
    assert (row["service"], row["role"], row["slices"]) == ("shop", "shadow", {"tenant": "acme"})
    assert row["versions"] == {"base_model": "b1", "prompt": "v7", "data": "h4sh"}


@pytest.mark.parametrize("rows", [3, 300])
def test_small_frames_and_large_ones_give_the_same_rows(connect: Connect, direct: Pipeline, rows: int) -> None:
    client = connect(direct.server.http_url, strict=True)
    frame = {
        "x": np.arange(rows) + 0.5,
        "t": ["a"] * rows,
        "y": np.arange(rows),
        "i": [f"{n:03d}" for n in range(rows)],
    }
    client.log_predictions("m", pd.DataFrame(frame), prediction="y", prediction_id="i")
    assert client.flush(30)
    found = direct.store.rows(
        "SELECT prediction_id, features, categories, value FROM predictions ORDER BY prediction_id"
    )
    assert found == [
        {"prediction_id": f"{n:03d}", "features": {"x": n + 0.5}, "categories": {"t": "a"}, "value": str(n)}
        for n in range(rows)
    ]


def test_a_numpy_array_is_a_frame_once_its_columns_have_names(connect: Connect, direct: Pipeline) -> None:
    client = connect(direct.server.http_url, strict=True)
    matrix = np.random.default_rng(2).normal(size=(500, 3))
    client.log_predictions("m", matrix, columns=["a", "b", "y"], prediction="y")
    assert client.flush(30)
    assert direct.store.rows("SELECT DISTINCT mapKeys(features) AS names FROM predictions") == [{"names": ["a", "b"]}]
    for names in (None, ["a", "b"]):
        with pytest.raises(InvalidRecord, match=r"shape \(500, 3\)"):
            client.log_predictions("m", matrix, columns=names, prediction="y")


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (pl.DataFrame({"y": [1] * 200, "l": [[1]] * 200}), {}, "feature column 'l' is large_list"),
        (pl.DataFrame({"y": [1] * 200, "t": [NOON.replace(tzinfo=None)] * 200}), {"timestamp": "t"}, "time zone"),
        (pl.DataFrame({"y": [1] * 200}), {"score": "p"}, "no column 'p'; it has y"),
        (pd.DataFrame([[1, 2]] * 200, columns=["y", "y"]), {}, "Duplicate column names"),
        (pd.DataFrame({"y": [1] * 200, "m": [1, "a"] * 100}), {}, "column m"),
    ],
)
def test_a_frame_that_cannot_be_sent_is_named_at_once(
    connect: Connect, frame: Any, options: dict[str, Any], message: str
) -> None:
    strict, lenient = connect("http://127.0.0.1:1", strict=True), connect("http://127.0.0.1:1")
    with pytest.raises(InvalidRecord, match=message):
        strict.log_predictions("m", frame, prediction="y", **options)
    assert lenient.log_predictions("m", frame, prediction="y", **options) == []
    assert (lenient.rejected, lenient.queued) == (1, 0)


def test_an_empty_frame_is_nothing_to_send(connect: Connect) -> None:
    client = connect("http://127.0.0.1:1", strict=True)
    assert client.log_predictions("m", wide(0), prediction="y") == []
    client.log_labels("m", [], [])
    assert (client.queued, client.dropped) == (0, 0)


# An outage


def test_a_frame_survives_an_outage_and_is_the_same_bytes_each_time(connect: Connect) -> None:
    with recorder(frames=[503, 503, 200]) as server:
        client = connect(url(server), strict=True)
        client.log_predictions("m", wide(), prediction="y")
        assert client.flush(30)
        bodies = [body for _, body in got(server)]
    assert len(bodies) == 3
    assert len(set(bodies)) == 1
    assert (client.sent, client.dropped) == (ROWS, 0)


def test_what_finds_the_queue_full_is_dropped_and_counted_and_holds_nobody_up(
    connect: Connect, unused_port: int
) -> None:
    client = connect(f"http://127.0.0.1:{unused_port}")
    frame, begun = wide(20_000), time.process_time()
    for _ in range(30):  # about 3 MiB each, of 64
        client.log_predictions("m", frame, prediction="y")
    assert time.process_time() - begun < 30 * 20_000 * 5e-6
    assert client.dropped > 0
    assert client.queued + client.dropped >= 30


# To a receiver that knows no frames


def test_an_official_collector_gets_otlp_and_is_asked_once(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with recorder(logs=[200]) as server:
        client = connect(url(server), strict=True)
        first = client.log_predictions("m", wide(4_500), prediction="y")
        second = client.log_predictions("m", wide(150), prediction="y")
        assert client.flush(30)
        paths = [path for path, _ in got(server)]
        logs = [ExportLogsServiceRequest.FromString(body) for path, body in got(server) if path == "/v1/logs"]
    assert paths.count("/v1/frames") == 1
    records = [
        each for request in logs for resource in request.resource_logs for each in resource.scope_logs[0].log_records
    ]
    ids = [
        {pair.key: pair.value for pair in each.attributes}["tidegauge.prediction.id"].string_value for each in records
    ]
    assert sorted(ids) == sorted(first + second)
    assert caplog.text.count("takes no frames") == 1
    assert (client.sent, client.dropped) == (4_650, 0)


def test_over_grpc_frames_are_otlp(connect: Connect, direct: Pipeline) -> None:
    client = connect(direct.server.grpc_url, protocol="grpc", strict=True)
    client.log_predictions("m", wide(2_500), prediction="y")
    assert client.flush(60)
    assert direct.store.value("SELECT uniqExact(prediction_id) FROM predictions") == 2_500
    assert direct.count("otel_logs") == 2_500


class Told:
    """A way to deliver that answers as it is told."""

    def __init__(self, answers: list[Answer]) -> None:
        self.answers, self.sent = answers, list[tuple[Lane, bytes]]()

    def __call__(self, lane: Lane, payload: bytes) -> Answer:
        self.sent.append((lane, payload))
        return self.answers.pop(0)

    def close(self) -> None:
        pass


def test_a_frame_that_was_taken_in_part_goes_on_where_it_stopped() -> None:
    layout = frames.Layout(frames.Kind.PREDICTIONS, "m", frames.Roles(prediction="y"), {}, 1, "f")
    payload = frames.write(pa.table({"y": np.arange(4_500)}), layout)
    unknown = Refused("HTTP 404", unknown=True)
    post = Told([unknown, Taken(), Later("HTTP 503"), Taken(), Refused("HTTP 400: no"), Refused("never asked")])
    ways = FramesOrLogs(post)
    assert ways(Lane.FRAMES, payload) == Later("HTTP 503")
    assert ways(Lane.FRAMES, payload) == Taken(500, "HTTP 400: no")
    sent = [body for lane, body in post.sent if lane is Lane.LOGS]
    assert len(sent) == 4
    assert sent[1] == sent[2]


@pytest.mark.parametrize("answer", [Later("HTTP 503"), Refused("HTTP 401: no key"), Taken()])
def test_any_other_answer_is_no_reason_for_otlp(answer: Answer) -> None:
    post = Told([answer])
    assert FramesOrLogs(post)(Lane.FRAMES, b"frame") == answer
    assert [lane for lane, _ in post.sent] == [Lane.FRAMES]


def test_times_in_a_column_are_kept(connect: Connect, direct: Pipeline) -> None:
    client = connect(direct.server.http_url, strict=True)
    moments = [NOON + timedelta(microseconds=n) for n in range(150)]
    client.log_predictions("m", pl.DataFrame({"t": moments, "y": 1}), prediction="y", timestamp="t", features=[])
    assert client.flush(30)
    found = direct.store.rows("SELECT timestamp FROM predictions ORDER BY timestamp")
    assert [row["timestamp"] for row in found] == moments
