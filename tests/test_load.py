"""`tidegauge load`: files of every kind into a running service, each row once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from tidegauge.cli import app
from tidegauge.collectors import frames
from tidegauge.collectors.direct import DirectTransport
from tidegauge.collectors.load import Journal, Loader, Meaning, sources
from tidegauge.collectors.receiver import ReceiverServer
from tidegauge.collectors.sdk.post import Later, Refused, Taken
from tidegauge.config import Direct, Receiver
from tidegauge.errors import ConfigError, InvalidRecord, TidegaugeError
from tidegauge.store import Store

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
ROWS = 25_003
Run = Callable[..., Result]


def data(rows: int = 30) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "prediction_id": [f"{n:05d}" for n in range(rows)],
            "timestamp": [NOON + timedelta(seconds=n) for n in range(rows)],
            "age": np.arange(rows) * 0.5,
            "carrier": [["AA", "UA", None][n % 3] for n in range(rows)],
            "prediction": [n % 2 for n in range(rows)],
            "score": [n / rows for n in range(rows)],
            "label": [n % 2 if n % 5 else None for n in range(rows)],
        }
    )


WRITERS: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
    "parquet": lambda frame, path: frame.write_parquet(path, row_group_size=7_000),
    "csv": lambda frame, path: frame.write_csv(path, datetime_format="%Y-%m-%dT%H:%M:%SZ"),
    "ndjson": lambda frame, path: _as_text(frame).write_ndjson(path),
    "jsonl": lambda frame, path: _as_text(frame).write_ndjson(path),
    "arrow": lambda frame, path: frame.write_ipc(path),
    "feather": lambda frame, path: frame.write_ipc_stream(path),
}


def _as_text(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col("timestamp").dt.strftime("%Y-%m-%dT%H:%M:%SZ"))


@pytest.fixture
def endpoint(store: Store) -> Iterator[str]:
    transport = DirectTransport(store, Direct(flush_after_s=0.02))
    server = ReceiverServer(transport, Receiver(http_port=0, grpc_port=0))
    yield server.http_url
    server.close()
    transport.close(10)


@pytest.fixture
def run(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command against a whole service."""
    return _command(endpoint, tmp_path, monkeypatch)


class Taking(BaseHTTPRequestHandler):
    """A receiver that takes what its server's ``paths`` say, and keeps where it came."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_response(200 if self.path in self.server.paths else 404)  # type: ignore[attr-defined]
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def taking() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Taking) as server:
        server.paths, server.asked = {"/v1/frames"}, []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def run_alone(taking: ThreadingHTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command against a receiver that takes everything and has nothing behind it."""
    return _command(f"http://127.0.0.1:{taking.server_port}", tmp_path, monkeypatch)


def _command(endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments: str | Path, **options: Any) -> Result:
        line = ["load", *map(str, arguments), "--model", "m", "--endpoint", endpoint]
        return CliRunner().invoke(app, line, **options)

    return invoke


def counts(result: Result) -> list[dict[str, Any]]:
    assert result.exit_code == 0, result.exception
    found: list[dict[str, Any]] = json.loads(result.stdout)
    return found


# What is stored


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_of_every_format_gives_the_same_rows(run: Run, store: Store, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"d.{kind}"
    WRITERS[kind](data(), path)
    [done] = counts(run(path, "--slice", "carrier", "--version", "3", "--set", "data=h4sh", "--json"))
    assert (done["predictions"], done["labels"], done["skipped"]) == (30, 24, 0)
    found = store.rows("SELECT * FROM predictions ORDER BY prediction_id")
    expected = data()
    assert [row["prediction_id"] for row in found] == expected["prediction_id"].to_list()
    assert [row["timestamp"] for row in found] == expected["timestamp"].to_list()
    assert [row["features"] for row in found] == [{"age": each} for each in expected["age"]]
    assert [row["slices"].get("carrier") for row in found] == expected["carrier"].to_list()
    assert [row["value"] for row in found] == [str(each) for each in expected["prediction"]]
    assert [row["score"] for row in found] == pytest.approx(expected["score"].to_list())
    assert {(row["version"], tuple(row["versions"].items())) for row in found} == {("3", (("data", "h4sh"),))}
    known = expected.filter(pl.col("label").is_not_null())
    labels = store.rows("SELECT prediction_id, value FROM labels ORDER BY prediction_id")
    assert [(row["prediction_id"], row["value"]) for row in labels] == [
        (key, str(value)) for key, value in known.select("prediction_id", "label").rows()
    ]


def test_a_large_file_goes_in_parts_and_keeps_every_row_once(run: Run, store: Store, tmp_path: Path) -> None:
    data(ROWS).drop("prediction_id", "label").write_parquet(tmp_path / "big.parquet", row_group_size=4_000)
    [done] = counts(run("big.parquet", "--json"))
    sql = "SELECT count() AS n, uniqExact(prediction_id) AS ids, sum(features['age']) AS age FROM predictions"
    assert store.rows(sql) == [{"n": ROWS, "ids": ROWS, "age": ROWS * (ROWS - 1) / 4}]
    assert done["predictions"] == ROWS


def test_the_same_file_loaded_again_is_stored_once_even_without_its_journal(
    run: Run, store: Store, tmp_path: Path
) -> None:
    data().write_parquet(tmp_path / "a.parquet")
    first, second = counts(run("a.parquet", "--json")), counts(run("a.parquet", "--json"))
    elsewhere = counts(run("a.parquet", "--json", "--journal", tmp_path / "other"))
    assert (first[0]["predictions"], second[0]["predictions"], second[0]["skipped"]) == (30, 0, 54)
    assert elsewhere[0]["predictions"] == 30  # sent again, and known by the receiver
    assert store.value("SELECT count() FROM predictions") == 30
    assert store.value("SELECT count() FROM labels") == 24


def test_made_up_ids_are_the_same_each_time_and_labels_carry_them(run: Run, store: Store, tmp_path: Path) -> None:
    data().drop("prediction_id").write_parquet(tmp_path / "a.parquet")
    data().drop("prediction_id").write_parquet(tmp_path / "b.parquet", compression="uncompressed")
    counts(run("a.parquet", "--json"))
    before = store.rows("SELECT prediction_id FROM predictions ORDER BY prediction_id")
    counts(run("b.parquet", "--json", "--again"))
    assert store.rows("SELECT prediction_id FROM predictions ORDER BY prediction_id") == before
    joined = "SELECT count() FROM labels WHERE prediction_id IN (SELECT prediction_id FROM predictions)"
    assert store.value(joined) == 24


def test_training_rows_are_a_reference_and_labels_alone_are_labels(run: Run, store: Store, tmp_path: Path) -> None:
    data().drop("timestamp", "label").write_parquet(tmp_path / "train.parquet")
    data().select("prediction_id", "timestamp", truth="label").write_csv(
        tmp_path / "truth.csv", datetime_format="%Y-%m-%d %H:%M:%S"
    )
    counts(run("train.parquet", "--role", "training", "--at", "2026-01-01", "--json"))
    counts(run("truth.csv", "--labels-only", "--label", "truth", "--timezone", "Europe/Berlin", "--json"))
    assert store.rows("SELECT role, count() AS n FROM predictions GROUP BY role") == [{"role": "training", "n": 30}]
    first = store.rows("SELECT prediction_id, timestamp FROM labels ORDER BY prediction_id LIMIT 1")
    assert first == [{"prediction_id": "00001", "timestamp": NOON + timedelta(seconds=1, hours=-1)}]


def test_several_files_and_patterns_are_loaded_in_order(run: Run, store: Store, tmp_path: Path) -> None:
    for day in range(3):
        data().with_columns(pl.col("prediction_id") + f"-{day}").write_parquet(tmp_path / f"day-{day}.parquet")
    done = counts(run("day-[01].parquet", "day-2.parquet", "--json"))
    assert [(each["file"], each["predictions"]) for each in done] == [(f"day-{n}.parquet", 30) for n in range(3)]
    assert store.value("SELECT count() FROM predictions") == 90


def test_an_arrow_stream_on_stdin_is_loaded(run: Run, store: Store) -> None:
    table = data().to_arrow(compat_level=pl.CompatLevel.oldest())
    counts(run("-", "--json", input=frames.serialize(table)))
    assert store.value("SELECT count() FROM predictions") == 30


@pytest.mark.parametrize(
    ("column", "options"),
    [
        (pd.Series([1_769_860_800, 1_769_860_801]), ["--time-unit", "s"]),
        (pd.Series(["2026-01-31T12:00:00Z", "2026-01-31T13:00:01+01:00"]), []),
        (pd.Series(["2026-01-31T12:00:00", "2026-01-31 12:00:01"]), ["--timezone", "UTC"]),
        (pd.to_datetime(pd.Series(["2026-01-31 07:00:00", "2026-01-31 07:00:01"])), ["--timezone", "America/New_York"]),
    ],
    ids=["numbers", "text", "text without a zone", "times without a zone"],
)
def test_times_of_every_kind_are_read(
    run: Run, store: Store, tmp_path: Path, column: pd.Series, options: list[str]
) -> None:
    pd.DataFrame({"timestamp": column, "x": [1, 2]}).to_parquet(tmp_path / "a.parquet")
    counts(run("a.parquet", *options, "--json"))
    found = store.rows("SELECT timestamp FROM predictions ORDER BY timestamp")
    assert [row["timestamp"] for row in found] == [NOON, NOON + timedelta(seconds=1)]


def test_a_date_is_midnight_and_an_empty_file_is_no_error(run: Run, store: Store, tmp_path: Path) -> None:
    pl.DataFrame({"timestamp": [date(2026, 1, 31)], "x": [1]}).write_parquet(tmp_path / "a.parquet")
    data(0).write_parquet(tmp_path / "empty.parquet")
    done = counts(run("a.parquet", "empty.parquet", "--timezone", "UTC", "--json"))
    assert [each["predictions"] for each in done] == [1, 0]
    assert store.value("SELECT timestamp FROM predictions") == NOON - timedelta(hours=12)


# What a dry run says


def test_a_dry_run_says_what_each_column_is_and_sends_nothing(run: Run, store: Store, tmp_path: Path) -> None:
    data().write_parquet(tmp_path / "a.parquet")
    shown = run("a.parquet", "--slice", "carrier", "--dry-run")
    [told] = json.loads(run("a.parquet", "--slice", "carrier", "--exclude", "age", "--dry-run", "--json").stdout)
    assert shown.exit_code == 0
    assert "a.parquet: predictions and labels" in shown.stdout
    assert "age  (double)" in shown.stdout
    assert told["columns"] == {
        "prediction": "prediction",
        "score": "score",
        "label": "label",
        "id": "prediction_id",
        "timestamp": "timestamp",
        "slices": ["carrier"],
    }
    assert told["features"] == {}
    assert store.value("SELECT count() FROM predictions") == 0


# What is wrong, and where

BAD: dict[str, tuple[pl.DataFrame, list[str], str]] = {
    "no such column": (data(), ["--score", "p"], "there is no column 'p'; there are prediction_id, timestamp"),
    "no time": (data().drop("timestamp"), [], "name it with --timestamp, or give all rows one with --at"),
    "naive time": (data().with_columns(pl.col("timestamp").dt.replace_time_zone(None)), [], "--timezone UTC"),
    "number as time": (data().with_columns(timestamp=pl.lit(5)), [], "--time-unit s"),
    "text as time": (data().with_columns(timestamp=pl.lit("noon")), [], "times look like 2026-01-31T12:00:00Z"),
    "a row without a time": (
        data(12_000).with_columns(timestamp=pl.when(pl.col("age") != 5_500.5).then("timestamp")),
        [],
        "row 11,002, column 'timestamp': is empty",
    ),
    "a row without an id": (
        data().with_columns(prediction_id=pl.when(pl.col("age") != 1.5).then("prediction_id").otherwise(pl.lit(""))),
        [],
        "row 4, column 'prediction_id': is empty",
    ),
    "a feature of lists": (data().with_columns(age=pl.concat_list("age")), [], "feature column 'age' is large_list"),
    "a date as feature": (data().with_columns(age=pl.lit(date(2026, 1, 1))), [], "such as the weekday"),
    "a score of text": (data().with_columns(score=pl.lit("high")), [], "column 'score' must hold numbers"),
    "labels without ids": (data().drop("prediction_id"), ["--labels-only"], "name it with --id"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_names_the_file_and_the_place_and_what_to_do(run_alone: Run, tmp_path: Path, case: str) -> None:
    frame, options, message = BAD[case]
    frame.write_parquet(tmp_path / "bad.parquet")
    result = run_alone("bad.parquet", *options)
    assert isinstance(result.exception, TidegaugeError)  # which main() prints, with exit code 1
    assert "bad.parquet" in str(result.exception)
    assert message in str(result.exception)


def test_what_came_before_a_bad_row_is_stored_and_the_mended_file_goes_on(
    run: Run, store: Store, tmp_path: Path
) -> None:
    good = data(25_000).drop("label")
    late = pl.col("age") == 11_000.0
    good.with_columns(score=pl.when(late).then(pl.lit("x")).otherwise(pl.col("score").cast(pl.String))).write_csv(
        tmp_path / "a.csv", datetime_format="%Y-%m-%dT%H:%M:%SZ"
    )
    text = (tmp_path / "a.csv").read_text()
    failed = run("a.csv")
    assert isinstance(failed.exception, InvalidRecord)
    assert "a.csv" in str(failed.exception)
    (tmp_path / "a.csv").write_text(text.replace(",x\n", ",0.5\n"))
    counts(run("a.csv", "--json"))
    sql = "SELECT count() AS n, uniqExact(prediction_id) AS ids FROM predictions"
    assert store.rows(sql) == [{"n": 25_000, "ids": 25_000}]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["missing.parquet"], "missing.parquet: there is no such file"),
        (["a.xlsx"], "a.xlsx: must end in .parquet"),
        (["a.xlsx", "--timezone", "Mars"], "--timezone Mars"),
        (["a.xlsx", "--set", "x"], "--set x: must be NAME=VALUE"),
        (["a.parquet", "--api-key-file", "missing"], "--api-key-file missing"),
        (["a.parquet", "--journal", "a.parquet/x"], "name another with --journal"),
    ],
)
def test_wrong_usage_is_told_from_bad_data(run_alone: Run, tmp_path: Path, arguments: list[str], problem: str) -> None:
    (tmp_path / "a.xlsx").touch()
    data().write_parquet(tmp_path / "a.parquet")
    result = run_alone(*arguments)
    assert isinstance(result.exception, ConfigError)  # exit code 2
    assert problem in str(result.exception)


def test_a_file_that_is_cut_off_is_named(run_alone: Run, tmp_path: Path) -> None:
    data().write_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-20])
    assert "a.parquet, after row 0" in str(run_alone("a.parquet").exception)


# The receiver is away, or refuses


class Answers:
    """A way to deliver that answers as it is told, then takes everything."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.payloads = list(answers), list[bytes]()
        self._lock = threading.Lock()

    def __call__(self, lane: Any, payload: bytes) -> Any:
        with self._lock:
            self.payloads.append(payload)
            return self.answers.pop(0) if self.answers else Taken()

    def close(self) -> None:
        pass


MEANING = Meaning("m")


def test_a_receiver_that_is_away_is_waited_for(tmp_path: Path) -> None:
    data().drop("label").write_parquet(tmp_path / "a.parquet")
    post, waits = Answers(Later("HTTP 503", 7.0), Later("refused")), list[float]()
    loader = Loader(lambda: post, "there", Journal(None), sleep=waits.append)
    [source] = sources([str(tmp_path / "a.parquet")])
    done = loader.load(source, MEANING)
    loader.close()
    assert done.predictions == 30
    assert len(set(post.payloads)) == 1
    assert len(waits) == 2
    assert waits[0] >= 7


def test_after_giving_up_the_same_command_goes_on_where_it_was(tmp_path: Path) -> None:
    data(40_000).drop("label").write_parquet(tmp_path / "a.parquet")
    [source] = sources([str(tmp_path / "a.parquet")])
    notes = Journal(tmp_path / "journal")
    away = Loader(lambda: Answers(Taken(), Taken(), Later("HTTP 503")), "there", notes, give_up_after_s=0)
    with pytest.raises(TidegaugeError, match=r"a.parquet, rows .* run the same command again"):
        away.load(source, MEANING)
    away.close()
    notes.close()
    post, notes = Answers(), Journal(tmp_path / "journal")
    back = Loader(lambda: post, "there", notes)
    done = back.load(source, MEANING)
    back.close()
    notes.close()
    assert (done.predictions, done.skipped, len(post.payloads)) == (10_000, 30_000, 1)


def test_a_refusal_is_final_and_says_which_rows(tmp_path: Path) -> None:
    data().drop("label").write_parquet(tmp_path / "a.parquet")
    [source] = sources([str(tmp_path / "a.parquet")])
    loader = Loader(lambda: Answers(Refused("HTTP 401: no key")), "there", Journal(None))
    with pytest.raises(TidegaugeError, match=r"a.parquet, rows 1 to 30: there refuses it: HTTP 401: no key"):
        loader.load(source, MEANING)
    loader.close()


def test_another_service_has_a_journal_of_its_own(tmp_path: Path) -> None:
    data().drop("label").write_parquet(tmp_path / "a.parquet")
    [source] = sources([str(tmp_path / "a.parquet")])
    for endpoint in ("staging", "production"):
        notes = Journal(tmp_path / "journal")
        loader = Loader(Answers, endpoint, notes)
        assert loader.load(source, MEANING).predictions == 30
        loader.close()
        notes.close()


def test_a_wide_file_is_cut_into_requests_within_the_limits(tmp_path: Path) -> None:
    wide = pa.table({f"f{n}": np.arange(9_000.0) for n in range(400)} | {"timestamp": pa.array([NOON] * 9_000)})
    pq.write_table(wide, tmp_path / "wide.parquet")
    post = Answers()
    loader = Loader(lambda: post, "there", Journal(None))
    [source] = sources([str(tmp_path / "wide.parquet")])
    done = loader.load(source, MEANING)
    loader.close()
    assert done.predictions == 9_000
    assert sum(frames.count(each) for each in post.payloads) == 9_000
    assert max(map(len, post.payloads)) < 9 * 2**20


def test_a_collector_without_frames_gets_otlp(run_alone: Run, taking: ThreadingHTTPServer, tmp_path: Path) -> None:
    data().drop("label").write_parquet(tmp_path / "a.parquet")
    taking.paths = {"/v1/logs"}  # type: ignore[attr-defined]
    [done] = counts(run_alone("a.parquet", "--json"))
    assert done["predictions"] == 30
    assert taking.asked == ["/v1/frames", "/v1/logs"]  # type: ignore[attr-defined]
