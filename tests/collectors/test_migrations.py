"""The schema: applied once, unchangeable, and a superset of the official exporter's."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from otlp_payloads import span, traces

from tidegauge.collectors.schema import insert_exports, migrate
from tidegauge.collectors.schema.migrate import Migration, migrations
from tidegauge.errors import StoreError
from tidegauge.model import Signal
from tidegauge.store import Store

TEXT, LOW, MAP = "String", "LowCardinality(String)", "Map(LowCardinality(String), String)"
NANO, SECOND = "DateTime64(9, 'UTC')", "DateTime('UTC')"
MAPS, TEXTS = f"Array({MAP})", "Array(String)"

TRACES = {
    "Timestamp": NANO,
    "TraceId": TEXT,
    "SpanId": TEXT,
    "ParentSpanId": TEXT,
    "TraceState": TEXT,
    "SpanName": LOW,
    "SpanKind": LOW,
    "ServiceName": LOW,
    "ResourceAttributes": MAP,
    "ScopeName": TEXT,
    "ScopeVersion": TEXT,
    "SpanAttributes": MAP,
    "Duration": "UInt64",
    "StatusCode": LOW,
    "StatusMessage": TEXT,
    "Events.Timestamp": f"Array({NANO})",
    "Events.Name": f"Array({LOW})",
    "Events.Attributes": MAPS,
    "Links.TraceId": TEXTS,
    "Links.SpanId": TEXTS,
    "Links.TraceState": TEXTS,
    "Links.Attributes": MAPS,
}
TRACE_TIMES = {"TraceId": TEXT, "Start": SECOND, "End": SECOND}
LOGS = {
    "Timestamp": NANO,
    "TraceId": TEXT,
    "SpanId": TEXT,
    "TraceFlags": "UInt8",
    "SeverityText": LOW,
    "SeverityNumber": "UInt8",
    "ServiceName": LOW,
    "Body": TEXT,
    "ResourceSchemaUrl": LOW,
    "ResourceAttributes": MAP,
    "ScopeSchemaUrl": LOW,
    "ScopeName": TEXT,
    "ScopeVersion": LOW,
    "ScopeAttributes": MAP,
    "LogAttributes": MAP,
    "EventName": LOW,  # text there; the values are few
}
METRIC = {
    "ResourceAttributes": MAP,
    "ResourceSchemaUrl": TEXT,
    "ScopeName": TEXT,
    "ScopeVersion": TEXT,
    "ScopeAttributes": MAP,
    "ScopeDroppedAttrCount": "UInt32",
    "ScopeSchemaUrl": TEXT,
    "ServiceName": LOW,
    "MetricName": LOW,
    "MetricDescription": TEXT,
    "MetricUnit": TEXT,
    "Attributes": MAP,
    "StartTimeUnix": SECOND,
    "TimeUnix": SECOND,
    "Flags": "UInt32",
}
EXEMPLARS = {
    "Exemplars.FilteredAttributes": MAPS,
    "Exemplars.TimeUnix": f"Array({SECOND})",
    "Exemplars.Value": "Array(Float64)",
    "Exemplars.SpanId": TEXTS,
    "Exemplars.TraceId": TEXTS,
}
EXTREMES = {"Min": "Float64", "Max": "Float64", "AggregationTemporality": "Int32"}
TOTALS = {"Count": "UInt64", "Sum": "Float64"}
OFFICIAL: dict[str, Mapping[str, str]] = {
    "otel_traces": TRACES,
    "otel_traces_trace_id_ts": TRACE_TIMES,
    "otel_logs": LOGS,
    "otel_metrics_gauge": METRIC | {"Value": "Float64"} | EXEMPLARS,
    "otel_metrics_sum": METRIC
    | {"Value": "Float64", "AggregationTemporality": "Int32", "IsMonotonic": "Bool"}
    | EXEMPLARS,
    "otel_metrics_histogram": METRIC
    | TOTALS
    | {"BucketCounts": "Array(UInt64)", "ExplicitBounds": "Array(Float64)"}
    | EXEMPLARS
    | EXTREMES,
    "otel_metrics_exponential_histogram": METRIC
    | TOTALS
    | {"Scale": "Int32", "ZeroCount": "UInt64", "PositiveOffset": "Int32", "NegativeOffset": "Int32"}
    | {"PositiveBucketCounts": "Array(UInt64)", "NegativeBucketCounts": "Array(UInt64)"}
    | EXEMPLARS
    | EXTREMES,
    "otel_metrics_summary": METRIC
    | TOTALS
    | {"ValueAtQuantiles.Quantile": "Array(Float64)", "ValueAtQuantiles.Value": "Array(Float64)"},
}
MOMENT = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
FreshStore = Callable[[], Store]


@pytest.fixture
def fresh(store: Store) -> Iterator[FreshStore]:
    """Databases without tables beside the shared one: a process can open only one folder."""
    made: list[Store] = []

    def make(database: str = "fresh") -> Store:
        made.append(Store(store.dsn, database))
        return made[-1]

    yield make
    for each in made:
        each.execute(f"DROP DATABASE IF EXISTS {each.database}")
    for each in made:
        each.close()


def test_migrations_are_numbered_without_gaps_and_each_has_statements() -> None:
    found = migrations()
    assert [each.version for each in found] == list(range(1, len(found) + 1))
    assert all(each.statements for each in found)


def test_a_new_database_gets_everything_once_and_a_second_start_changes_nothing(fresh: FreshStore) -> None:
    empty = fresh()
    applied = migrate(empty)
    assert [each.version for each in applied] == [each.version for each in migrations()]
    ledger = "SELECT version, name, checksum, applied_at FROM schema_migrations ORDER BY version"
    tables = "SELECT name, uuid FROM system.tables WHERE database = currentDatabase() ORDER BY name"
    before = (empty.rows(ledger), empty.rows(tables))

    assert migrate(empty) == []
    assert (empty.rows(ledger), empty.rows(tables)) == before
    assert [row["version"] for row in before[0]] == [each.version for each in applied]


def test_a_migration_that_changed_after_it_was_applied_is_refused_with_what_to_do(
    fresh: FreshStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = fresh()
    _pretend(monkeypatch, [_creating(1, "a"), _creating(2, "b")])
    migrate(empty)
    _pretend(monkeypatch, [_creating(1, "a"), _creating(2, "c")])
    with pytest.raises(StoreError, match=r"migration 2 \(creating\) is not the one that was applied .* new migration"):
        migrate(empty)
    assert _created(empty) == {"a", "b"}


def test_only_what_is_new_is_applied_to_an_older_database(fresh: FreshStore, monkeypatch: pytest.MonkeyPatch) -> None:
    older = fresh()
    _pretend(monkeypatch, [_creating(1, "a")])
    migrate(older)
    _pretend(monkeypatch, [_creating(1, "a"), _creating(2, "b")])
    assert migrate(older) == [_creating(2, "b")]
    assert _created(older) == {"a", "b"}


def test_a_migration_that_failed_halfway_is_finished_by_the_next_start(
    fresh: FreshStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty, whole = fresh(), _creating(2, "b", "c")
    _pretend(monkeypatch, [_creating(1, "a"), dataclasses.replace(whole, statements=(whole.statements[0], "SELEKT"))])
    with pytest.raises(StoreError):
        migrate(empty)
    _pretend(monkeypatch, [_creating(1, "a"), whole])
    assert migrate(empty) == [whole]
    assert _created(empty) == {"a", "b", "c"}


def test_a_start_of_an_older_version_leaves_a_newer_database_alone(
    fresh: FreshStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    newer = fresh()
    _pretend(monkeypatch, [_creating(1, "a"), _creating(2, "b")])
    migrate(newer)
    _pretend(monkeypatch, [_creating(1, "a")])
    assert migrate(newer) == []


def test_two_processes_that_start_together_do_no_harm(fresh: FreshStore) -> None:
    empty = fresh()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(migrate, [empty, empty]))
    ledger = [row["version"] for row in empty.rows("SELECT version FROM schema_migrations ORDER BY version")]
    assert ledger == [each.version for each in migrations()]
    assert migrate(empty) == []


def test_every_statement_can_run_twice_beside_itself() -> None:
    """A view whose query was modified would have other tokens after a restart than before."""
    repeatable = (
        r"CREATE (TABLE|VIEW|MATERIALIZED VIEW) IF NOT EXISTS |"
        r"ALTER TABLE \w+ (ADD COLUMN IF NOT EXISTS|MODIFY SETTING) "
    )
    for migration in migrations():
        for statement in migration.statements:
            assert re.match(repeatable + r"|DROP (TABLE|VIEW) IF EXISTS ", statement), statement[:100]


def test_a_changed_view_misses_no_row_though_two_processes_apply_it_while_rows_come_in(
    fresh: FreshStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = fresh()
    engine = "ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 1000"
    view = "CREATE MATERIALIZED VIEW IF NOT EXISTS v TO target AS SELECT a{more} FROM {source}"
    target = f"CREATE TABLE IF NOT EXISTS target (a UInt32) {engine}"
    old, new = (f"CREATE TABLE IF NOT EXISTS {name} (a UInt32) ENGINE = Null" for name in ("source", "newer"))
    first = Migration(1, "first", (target, old, view.format(more="", source="source")))
    column = "ALTER TABLE target ADD COLUMN IF NOT EXISTS doubled UInt32"
    gone = ("DROP TABLE IF EXISTS source", "DROP VIEW IF EXISTS v")
    changed = Migration(2, "doubled", (column, *gone, new, view.format(more=", 2 * a AS doubled", source="newer")))
    _pretend(monkeypatch, [first])
    migrate(empty)
    with ThreadPoolExecutor(3) as pool:
        inserts = pool.submit(_insert_until_refused, empty)
        _pretend(monkeypatch, [first, changed])
        list(pool.map(migrate, [empty, empty]))
        taken = inserts.result()
    empty.insert("newer", [{"a": taken + 1}], "next")

    assert empty.value("SELECT count() FROM target") == taken + 1
    assert empty.value("SELECT doubled FROM target ORDER BY a DESC LIMIT 1") == 2 * (taken + 1)
    assert [row["version"] for row in empty.rows("SELECT version FROM schema_migrations ORDER BY version")] == [1, 2]


def test_all_statements_again_create_what_is_missing_and_add_no_ledger_entry(fresh: FreshStore) -> None:
    empty = fresh()
    migrate(empty)
    empty.execute("DROP TABLE labels")
    assert [each.version for each in migrate(empty, again=True)] == [each.version for each in migrations()]
    assert empty.value("SELECT count() FROM labels") == 0
    assert empty.value("SELECT count() FROM schema_migrations") == len(migrations())


def test_a_database_of_the_version_before_takes_what_comes_after_the_upgrade_and_its_sinks_wait(
    fresh: FreshStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, every = fresh(), migrations()
    _pretend(monkeypatch, every[:11])
    migrate(older)
    before = json.dumps({"resource_spans": [{"scope_spans": [{"spans": [{"name": "before"}]}]}]})
    insert = f"INSERT INTO otlp_spans_in FORMAT JSONEachRow {before}"
    older.execute(insert)

    _pretend(monkeypatch, every)
    assert [each.version for each in migrate(older)] == [each.version for each in every[11:]]
    for _ in range(2):
        insert_exports(older, Signal.TRACES, [traces(span(name="after")).SerializeToString()], "token")
    rows = older.rows("SELECT SpanName AS name FROM otel_traces ORDER BY name")
    assert [row["name"] for row in rows] == ["after", "before"]
    assert older.value("SELECT sum(records) FROM ingest_1m") == 2
    with pytest.raises(StoreError) as refused:
        older.execute(insert)
    assert refused.value.transient, "a sink of the version before waits, and puts nothing aside"


def test_after_the_upgrade_spans_of_140_mb_are_merged_into_a_part_of_columns_and_none_is_lost(
    fresh: FreshStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    older, every = fresh(), migrations()
    _pretend(monkeypatch, every[: [each.name for each in every].index("wide")])
    migrate(older)
    for letter in "ab":
        rows = f"SELECT '2026-01-01', repeat('{letter}', 1000000) FROM numbers(70)"
        older.execute(f"INSERT INTO otel_traces (Timestamp, StatusMessage) {rows}")
    assert _merged(older) == ("Compact", 140)

    _pretend(monkeypatch, every)
    migrate(older)
    assert _merged(older) == ("Wide", 140)
    insert_exports(older, Signal.TRACES, [traces(span(name="after")).SerializeToString()], "token")
    inserted = "database = currentDatabase() AND table = 'otel_traces' AND level = 0"
    assert older.value(f"SELECT part_type FROM system.parts WHERE active AND {inserted}") == "Compact"


@pytest.mark.parametrize("table", OFFICIAL)
def test_the_tables_hold_every_column_of_the_official_exporter_with_its_type(store: Store, table: str) -> None:
    sql = "SELECT name, type FROM system.columns WHERE database = currentDatabase() AND table = {table:String}"
    ours = {row["name"]: row["type"] for row in store.rows(sql, {"table": table})}
    assert {name: ours.get(name) for name in OFFICIAL[table]} == dict(OFFICIAL[table])


@pytest.mark.parametrize("table", OFFICIAL)
def test_columns_of_our_own_need_no_value_from_an_exporter_that_does_not_know_them(store: Store, table: str) -> None:
    columns = {name: kind for name, kind in OFFICIAL[table].items() if name == "ServiceName"}
    if not columns:
        return
    store.insert(table, [{"ServiceName": "official"}])
    assert store.value(f"SELECT count() FROM {table} WHERE ServiceName = 'official'") == 1


def test_every_table_behind_a_view_remembers_tokens(store: Store) -> None:
    """Without a window of its own a target counts a repeated batch again."""
    sql = """SELECT name, engine_full FROM system.tables WHERE database = currentDatabase()
        AND engine LIKE '%MergeTree' AND engine_full NOT LIKE '%non_replicated_deduplication_window%'"""
    assert store.rows(sql) == []


def test_every_view_writes_to_a_table_and_every_domain_table_has_one(store: Store) -> None:
    sql = """SELECT extract(create_table_query, ' TO \\\\S+\\\\.(\\\\w+)') AS target FROM system.tables
        WHERE database = currentDatabase() AND engine = 'MaterializedView'"""
    targets = {row["target"] for row in store.rows(sql)}
    assert targets >= {*OFFICIAL} | {
        "llm_calls_1m",
        "predictions",
        "predictions_1h",
        "predictions_1m",
        "feature_kinds",
        "labels",
        "feedback",
        "outcomes",
        "scores",
        "ingest_1m",
        "ingest_delay_1m",
    }
    tables = {row["name"] for row in store.rows("SELECT name FROM system.tables WHERE database = currentDatabase()")}
    assert targets <= tables


def test_spans_that_the_official_exporter_inserts_reach_the_domain_tables(store: Store) -> None:
    row = _blank(TRACES) | {
        "Timestamp": MOMENT,
        "TraceId": "ab" * 16,
        "SpanId": "cd" * 8,
        "SpanName": "chat gpt",
        "SpanKind": "Client",
        "ServiceName": "shop",
        "ResourceAttributes": {"service.name": "shop", "tidegauge.tenant": "acme"},
        "SpanAttributes": {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt",
            "gen_ai.usage.input_tokens": "12",
            "gen_ai.usage.output_tokens": "34",
            "gen_ai.response.finish_reasons": '["stop"]',
        },
        "Duration": 1_500_000_000,
        "StatusCode": "Error",
    }
    store.insert("otel_traces", [row, row | {"SpanAttributes": {}, "SpanId": "ee" * 8}])

    [call] = store.rows("SELECT * FROM llm_calls")
    expected = {"kind": "llm", "model": "gpt", "input_tokens": 12, "output_tokens": 34, "tenant": "acme"}
    assert expected.items() <= call.items()
    assert (call["duration_s"], call["error_type"], call["finish_reason"]) == (1.5, "error", "stop")
    assert store.value("SELECT sum(calls) FROM llm_calls_1m") == 1
    assert store.value("SELECT sum(records) FROM ingest_1m WHERE kind = 'span'") == 2
    assert store.rows("SELECT TraceId, Start FROM otel_traces_trace_id_ts") == [{"TraceId": "ab" * 16, "Start": MOMENT}]


@pytest.mark.parametrize("event_in_column", [True, False], ids=["event name", "attribute event.name"])
def test_events_that_the_official_exporter_inserts_reach_the_domain_tables(store: Store, event_in_column: bool) -> None:
    attributes = {
        "tidegauge.model.name": "fraud",
        "tidegauge.prediction.id": "p1",
        "tidegauge.prediction.value": "yes",
        "tidegauge.prediction.score": "0.75",
        "tidegauge.feature.amount": "41.5",
        "tidegauge.feature.country": "NL",
    }
    row = _blank(LOGS) | {"Timestamp": MOMENT, "ServiceName": "shop", "EventName": "tidegauge.prediction"}
    row["LogAttributes"] = attributes
    if not event_in_column:  # an exporter of the time before EventName was a column
        del row["EventName"]
        row["LogAttributes"] = attributes | {"event.name": "tidegauge.prediction"}
    store.insert("otel_logs", [row])

    [found] = store.rows("SELECT * FROM predictions")
    assert (found["model"], found["prediction_id"], found["value"], found["score"]) == ("fraud", "p1", "yes", 0.75)
    assert (found["features"], found["categories"]) == ({"amount": 41.5}, {"country": "NL"})
    [hour] = store.rows("SELECT hour, model, predictions, score_sum FROM predictions_1h WHERE dimension = ''")
    assert hour == {"hour": MOMENT.replace(minute=0), "model": "fraud", "predictions": 1, "score_sum": 0.75}
    minutes = store.rows("SELECT minute, model, predictions FROM predictions_1m")
    assert minutes == [{"minute": MOMENT, "model": "fraud", "predictions": 1}]
    assert store.value("SELECT sum(records) FROM ingest_1m WHERE kind = 'tidegauge.prediction'") == 1


def _insert_until_refused(store: Store) -> int:
    """How many were taken before the table was gone."""
    taken = 0
    with suppress(StoreError):
        for taken in itertools.count():
            store.insert("source", [{"a": taken + 1}], str(taken))
    return taken


def _blank(columns: Mapping[str, str]) -> dict[str, Any]:
    return {name: _empty(kind) for name, kind in columns.items()}


def _empty(kind: str) -> Any:
    for prefix, value in {"Array": [], "Map": {}, "UInt": 0, "DateTime": MOMENT}.items():
        if kind.startswith(prefix):
            return value
    return ""


def _creating(version: int, *tables: str) -> Migration:
    statements = (f"CREATE TABLE IF NOT EXISTS {table} (a UInt8) ENGINE = Memory" for table in tables)
    return Migration(version, "creating", tuple(statements))


def _created(store: Store) -> set[str]:
    found = store.rows("SELECT name FROM system.tables WHERE database = currentDatabase()")
    return {row["name"] for row in found} - {"schema_migrations"}


def _merged(store: Store) -> tuple[str, int]:
    """Kind and rows of the one part that the spans are merged into."""
    store.execute("OPTIMIZE TABLE otel_traces FINAL")
    (part,) = store.rows(
        """SELECT part_type, rows FROM system.parts
        WHERE active AND database = currentDatabase() AND table = 'otel_traces'"""
    )
    return part["part_type"], part["rows"]


def _pretend(monkeypatch: pytest.MonkeyPatch, found: list[Migration]) -> None:
    monkeypatch.setitem(migrate.__globals__, "migrations", lambda: found)
