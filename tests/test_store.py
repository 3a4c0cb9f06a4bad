"""The one door to ClickHouse: what callers may rely on, whatever the engine does."""

from __future__ import annotations

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tidegauge.errors import StoreError
from tidegauge.store import Store

HOSTILE = [
    "it's",
    '"quoted"',
    "`back`",
    "') OR 1=1 --",
    "back\\slash \\n \\' \\0",
    "tab\tnewline\ncarriage\r",
    "nul\0inside",
    "{name:String} %(x)s $x$ {}",
    "\u202eright to left\u202c \U0001f600 e\u0301 \u00df",
    "",
    " ",
    "x" * 100_000,
]


@pytest.mark.parametrize("attempt", range(3))
def test_a_failed_statement_does_not_poison_the_next_answer(store: Store, attempt: int) -> None:
    failing = "SELECT number AS n FROM numbers(5000000) SETTINGS max_result_rows = 1000000"
    with pytest.raises(StoreError) as caught:
        store.rows(failing)
    assert caught.value.code == 396
    assert store.rows("SELECT toUInt64(7) AS n") == [{"n": 7}]
    with pytest.raises(StoreError):
        store.arrow("SELECT throwIf(number = 3000000) AS n FROM numbers(5000000)")
    assert store.value("SELECT count() FROM numbers(10)") == 10
    assert store.arrow("SELECT 1 AS one").num_rows == 1


def test_a_failed_insert_does_not_poison_the_next_answer(store: Store) -> None:
    with pytest.raises(StoreError):
        store.insert("labels", [{"no_such_column": 1}])
    with pytest.raises(StoreError):
        store.insert_arrow("labels", pa.table({"no_such_column": [1]}))
    assert store.rows("SELECT 1 AS one") == [{"one": 1}]
    assert store.value("SELECT count() FROM labels") == 0


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_any_text_comes_back_as_it_went_as_parameter_and_as_value(store: Store, text: str) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    assert store.value("SELECT {text:String} AS t", {"text": text}) == text
    assert store.value("SELECT {texts:Array(String)} AS t", {"texts": [text, "b"]}) == [text, "b"]
    store.insert("labels", [{"timestamp": moment, "prediction_id": text, "model": "m", "value": text}])
    found = store.rows("SELECT prediction_id, value FROM labels WHERE value = {text:String}", {"text": text})
    assert found == [{"prediction_id": text, "value": text}]


def test_numbers_bools_and_nothing_come_back_as_they_went(store: Store) -> None:
    values: dict[str, Any] = {"i": -(2**63), "u": 2**64 - 1, "f": 0.1, "b": True, "n": None, "inf": math.inf}
    sql = """SELECT {i:Int64} AS i, {u:UInt64} AS u, {f:Float64} AS f, {b:Bool} AS b, {n:Nullable(String)} AS n,
        {inf:Float64} AS inf"""
    assert store.rows(sql, values) == [values]
    assert math.isnan(store.value("SELECT {nan:Float64} AS x", {"nan": math.nan}))


def test_moments_are_bound_in_utc_to_the_microsecond_and_come_back_aware(store: Store) -> None:
    moment = datetime(2026, 3, 29, 2, 30, 0, 123457, tzinfo=timezone(timedelta(hours=2)))
    sql = "SELECT {m:DateTime64(6, 'UTC')} AS m, {ms:Array(DateTime64(6, 'UTC'))} AS ms"
    [row] = store.rows(sql, {"m": moment, "ms": [moment]})
    assert row["m"] == moment == row["ms"][0].replace(tzinfo=UTC)
    assert row["m"].utcoffset() == timedelta(0)
    with pytest.raises(ValueError, match="naive datetime"):
        store.rows("SELECT {m:DateTime64(6)} AS m", {"m": datetime(2026, 1, 1)})  # noqa: DTZ001


@pytest.mark.parametrize("name", ["labels; DROP TABLE labels", "a.b", "a b", "`labels`", "", "läbels", "a-b", "a'b"])
def test_a_name_that_is_no_identifier_is_refused(store: Store, name: str) -> None:
    row = {"timestamp": datetime(2026, 1, 1, tzinfo=UTC)}
    with pytest.raises(StoreError, match="is not a table or database name"):
        store.insert(name, [row])
    with pytest.raises(StoreError, match="is not a table or database name"):
        store.insert_arrow(name, pa.table({"a": [1]}))
    with pytest.raises(StoreError, match="is not a table or database name"):
        store.insert_protobuf(name, [b""], Path("x.proto"), "M")
    with pytest.raises(StoreError, match="is not a table or database name"):
        Store(store.dsn, name)
    assert store.value("SELECT count() FROM labels") == 0


def test_empty_results_are_empty_and_keep_their_schema_in_arrow(store: Store) -> None:
    assert store.rows("SELECT value FROM labels") == []
    assert store.value("SELECT value FROM labels") is None
    table = store.arrow("SELECT value, number FROM labels")
    assert table.num_rows == 0
    assert table.column_names == ["value", "number"]
    store.insert("labels", [])
    assert store.value("SELECT count() FROM labels") == 0


def test_arrow_goes_in_and_comes_out_by_column_name(store: Store) -> None:
    moments = pa.array([datetime(2026, 1, 1, tzinfo=UTC)] * 2, pa.timestamp("us", "UTC"))
    data = pa.table({"value": ["a", "b"], "model": ["m", "m"], "timestamp": moments, "number": [1.5, None]})
    store.insert_arrow("labels", data)
    found = store.arrow("SELECT number, value FROM labels ORDER BY value")
    assert found.to_pylist() == [{"number": 1.5, "value": "a"}, {"number": None, "value": "b"}]


def test_one_token_stores_a_batch_once(store: Store) -> None:
    rows = [{"timestamp": datetime(2026, 1, 1, tzinfo=UTC), "model": "m", "value": str(n)} for n in range(10)]
    for _ in range(3):
        store.insert("labels", rows, token="the batch")
    assert store.value("SELECT count() FROM labels") == 10
    store.insert("labels", rows, token="another")
    assert store.value("SELECT count() FROM labels") == 20


def test_more_partitions_than_a_server_allows_by_default_are_one_insert(store: Store) -> None:
    start = datetime(2020, 1, 1, tzinfo=UTC)
    rows = [{"Timestamp": start + timedelta(days=day), "ServiceName": "s"} for day in range(110)]
    store.insert("otel_logs", rows)
    assert store.value("SELECT count() FROM otel_logs") == 110


def test_threads_work_side_by_side_and_get_their_own_answers(store: Store) -> None:
    def work(number: int) -> bool:
        if number % 5 == 0:
            with pytest.raises(StoreError):
                store.rows("SELECT throwIf(number > 100000) AS n FROM numbers(1000000)")
        row = {"timestamp": datetime(2026, 1, 1, tzinfo=UTC), "model": "m", "value": str(number)}
        store.insert("labels", [row])
        mine = store.value("SELECT count() FROM labels WHERE value = {v:String}", {"v": str(number)})
        return bool(store.value("SELECT {n:UInt32} AS n", {"n": number}) == number and mine == 1)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(80)))
    assert store.value("SELECT count() FROM labels") == 80


def test_threads_wait_for_the_engine_and_not_for_each_other(store: Store) -> None:
    together = threading.Barrier(4, timeout=10)

    def work(_: int) -> int:
        together.wait()
        began = datetime.now(UTC)
        store.rows("SELECT sleep(0.4)")
        return round((datetime.now(UTC) - began).total_seconds() * 1000)

    with ThreadPoolExecutor(4) as pool:
        took = list(pool.map(work, range(4)))
    assert max(took) < 4 * 400, f"one lock for all would take 1600 ms: {took}"


@pytest.mark.parametrize(
    ("sql", "code", "transient"),
    [
        ("SELECT nonsense", 47, False),
        ("SELEKT", 62, False),
        ("SELECT * FROM no_such_table", 60, True),
        ("SELECT number FROM numbers(1e9) ORDER BY number SETTINGS max_memory_usage = 1000000", 241, True),
        ("SELECT count() FROM numbers(1e12) SETTINGS max_execution_time = 0.1", 159, True),
    ],
)
def test_an_error_carries_its_code_and_whether_a_retry_may_help(
    store: Store, sql: str, code: int, transient: bool
) -> None:
    with pytest.raises(StoreError) as caught:
        store.rows(sql)
    assert (caught.value.code, caught.value.transient) == (code, transient)


def test_a_value_that_does_not_fit_its_column_is_refused_and_nothing_of_its_batch_is_stored(store: Store) -> None:
    good = {"timestamp": datetime(2026, 1, 1, tzinfo=UTC), "model": "m", "number": 1.0}
    for bad in ({"timestamp": "not a time"}, {"number": "one"}, {"model": None}):
        with pytest.raises((ValueError, TypeError, AttributeError, StoreError)):
            store.insert("labels", [good, good | bad])
    assert store.value("SELECT count() FROM labels") == 0


def test_the_address_shows_no_credentials(store: Store) -> None:
    assert store.address == store.dsn
    other = object.__new__(Store)
    other.dsn = "clickhouse://user:pass@word@host:8123/?secure=1"
    assert other.address == "clickhouse://host:8123/?secure=1"


PLACES: dict[str, tuple[str, bytes, int]] = {
    "no such table": ("absent", b"\x08\x01", 60),
    "a view fails": ("numbers_in", b"\x08\x03", 395),
    "not what the schema says": ("numbers_in", b"\x08", 444),
}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("copies", [1, 200_000], ids=["short", "more than the pipe holds"])
def test_a_protobuf_insert_that_fails_anywhere_says_so_and_leaves_nothing_behind(
    store: Store, tmp_path: Path, name: str, copies: int
) -> None:
    schema = tmp_path / "number.proto"
    schema.write_text('syntax = "proto3";\nmessage Number { uint32 n = 1; bytes padding = 2; }\n')
    store.execute("CREATE TABLE IF NOT EXISTS numbers_in (n UInt32) ENGINE = Null")
    store.execute("CREATE TABLE IF NOT EXISTS numbers_out (n UInt32) ENGINE = MergeTree ORDER BY n")
    select = "SELECT n + throwIf(n = 3) AS n FROM numbers_in"
    store.execute(f"CREATE MATERIALIZED VIEW IF NOT EXISTS numbers_mv TO numbers_out AS {select}")
    table, message, code = PLACES[name]
    try:
        with pytest.raises(StoreError) as caught:
            store.insert_protobuf(table, [message] + [b"\x12\x08paddings"] * copies, schema, "Number")
        assert caught.value.code == code
        assert store.value("SELECT count() FROM numbers_out") == 0
        assert not [each for each in threading.enumerate() if each.name == "tidegauge-insert"]
        store.insert_protobuf("numbers_in", [b"\x08\x02"], schema, "Number")
        assert store.rows("SELECT n FROM numbers_out") == [{"n": 2}]
    finally:
        for each in ("numbers_mv", "numbers_in", "numbers_out"):
            store.execute(f"DROP TABLE {each}")
