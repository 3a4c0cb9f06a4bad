"""Retention: put into force when it differs, counted from the time of storing, and rollups outlive rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tidegauge.collectors.schema import migrate, retain
from tidegauge.collectors.schema.retention import FOR_EVER, TABLES
from tidegauge.config import Retention
from tidegauge.errors import StoreError
from tidegauge.store import Store

KEEP_ALL = Retention.model_validate({f"{name}{end}": 0 for name in TABLES for end in ("_days", "_hot_days")})
LONG_AGO = datetime(2013, 4, 1, tzinfo=UTC)


@pytest.fixture
def kept(store: Store) -> Iterator[Store]:
    """The shared database, without any retention before and after."""
    retain(store, KEEP_ALL)
    yield store
    retain(store, KEEP_ALL)


def ttl(store: Store, table: str) -> str:
    found = store.value(
        "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = {t:String}", {"t": table}
    )
    return str(found).partition(" TTL ")[2].partition(" SETTINGS ")[0]


def expire(store: Store, table: str) -> None:
    """What ClickHouse does in the background."""
    store.execute(f"ALTER TABLE {table} MATERIALIZE TTL SETTINGS mutations_sync = 2")
    store.execute(f"OPTIMIZE TABLE {table} FINAL")


def test_every_table_has_a_retention_or_is_kept_for_ever(store: Store) -> None:
    sql = "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"
    tables = {row["name"] for row in store.rows(sql)}
    chosen = {each for group in TABLES.values() for each in group}
    assert chosen <= tables <= chosen | FOR_EVER
    assert not chosen & FOR_EVER


def test_only_what_differs_is_changed_and_said(kept: Store) -> None:
    first = retain(kept, Retention())
    assert {each.table for each in first} == {each for group in TABLES.values() for each in group}
    assert retain(kept, Retention()) == []
    [change] = retain(kept, Retention(logs_days=14, logs_hot_days=0))
    assert (change.table, change.after) == ("otel_logs", "StoredAt + toIntervalDay(14)")
    assert "toIntervalDay(30)" in change.before
    [change] = retain(kept, Retention(logs_days=0, logs_hot_days=0))
    assert (change.after, ttl(kept, "otel_logs")) == ("", "")


def test_on_a_cluster_what_every_node_has_as_a_whole_expires_under_its_own_name(
    kept: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(kept, "execute", lambda sql, params=None: said.append(sql))

    retain(kept, Retention(), "prod")  # of the others there is no _local table here

    assert [each.partition(" MODIFY TTL ")[0] for each in said] == [
        f"ALTER TABLE {table} ON CLUSTER 'prod'"
        for table in ("alert_diagnoses", "alert_lease", "slack_messages", "slack_pictures")
    ]
    monkeypatch.undo()


def test_rows_count_from_when_they_were_stored_so_that_a_replay_of_years_ago_stays(kept: Store) -> None:
    retain(kept, Retention())
    rows = [{"Timestamp": LONG_AGO + timedelta(days=at), "ServiceName": "replay"} for at in range(3)]
    kept.insert("otel_logs", rows)
    expire(kept, "otel_logs")
    assert kept.value("SELECT count() FROM otel_logs") == 3


def test_expired_parts_go_others_stay_and_the_rollup_outlives_them(kept: Store) -> None:
    now = datetime.now(UTC)
    long_stored = {"StoredAt": now - timedelta(days=31), "ServiceName": "old", "Timestamp": now - timedelta(days=31)}
    kept.insert("otel_logs", [long_stored, {"StoredAt": now, "ServiceName": "new", "Timestamp": now}])
    retain(kept, Retention(rollups_days=60))
    for table in ("otel_logs", "ingest_1m"):
        expire(kept, table)
    assert kept.rows("SELECT ServiceName AS s FROM otel_logs") == [{"s": "new"}]
    assert kept.value("SELECT uniqExact(service) FROM ingest_1m") == 2


def test_a_rollup_loses_the_rows_that_expired_though_its_part_stays(kept: Store) -> None:
    now = datetime.now(UTC)
    for service, age in (("old", 61), ("new", 0)):
        stored = now - timedelta(days=age)
        kept.insert(
            "ingest_1m", [{"minute": now, "service": service, "kind": "log", "records": 1, "stored_at": stored}]
        )
    kept.execute("OPTIMIZE TABLE ingest_1m FINAL")
    retain(kept, Retention(rollups_days=60))
    expire(kept, "ingest_1m")
    assert kept.rows("SELECT service FROM ingest_1m") == [{"service": "new"}]


def test_cold_rows_are_compressed_harder_where_there_is_no_cold_volume(kept: Store) -> None:
    old = datetime.now(UTC) - timedelta(days=8)
    kept.insert("otel_logs", [{"StoredAt": old, "Timestamp": old, "Body": "x" * 1000}])
    retain(kept, Retention())
    expire(kept, "otel_logs")
    sql = """SELECT default_compression_codec FROM system.parts
        WHERE database = currentDatabase() AND table = 'otel_logs' AND active"""
    assert kept.value(sql) == "ZSTD(6)"


def test_a_storage_policy_that_the_server_does_not_know_is_named(kept: Store) -> None:
    with pytest.raises(StoreError, match=r"retention of otel_traces .* 'tiered' a storage policy there.* 'cold'"):
        retain(kept, Retention(storage_policy="tiered"))


def test_retention_is_no_part_of_a_migrations_checksum(kept: Store) -> None:
    retain(kept, Retention())
    assert migrate(kept) == []


def test_rows_cannot_turn_cold_after_they_are_gone() -> None:
    with pytest.raises(ValueError, match="logs_hot_days must be less than logs_days, found 7 and 7"):
        Retention(logs_days=7)
