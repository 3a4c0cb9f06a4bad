"""How long each table keeps its rows: the configuration, put into force where it differs from what is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tidegauge.collectors.schema.cluster import part_of
from tidegauge.config import Retention
from tidegauge.errors import StoreError
from tidegauge.store import Store

_METRICS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
TABLES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "spans": ("otel_traces", "otel_traces_trace_id_ts"),
        "logs": ("otel_logs",),
        "metrics": tuple(f"otel_metrics_{each}" for each in _METRICS),
        "embeddings": ("embeddings", "text_sums"),
        "predictions": ("predictions",),
        "truth": ("labels", "feedback", "outcomes"),
        "scores": ("scores", "judge_samples", "review_queue"),
        "rollups": (
            "llm_calls_1m",
            "predictions_1h",
            "predictions_1m",
            "feature_hours",
            "feature_kinds",
            "ingest_1m",
            "ingest_delay_1m",
            "sketches",
            "sketch_buckets",
        ),
        "findings": (
            "findings",
            "performance",
            "sequential_state",
            "alert_events",
            "alert_deliveries",
            "alert_decisions",
            "alert_diagnoses",
            "alert_lease",
            "slack_messages",
            "slack_pictures",
        ),
        "ledger": ("ingest_ledger", "ingest_rows", "reconciliation"),
    }
)
"""Setting to tables."""
FOR_EVER = frozenset(
    {
        "schema_migrations",
        "capped_values",
        "reference_profiles",
        "deployments",
        "loaded_frames",
        "silences",
        "sketch_binnings",
        "text_feature_maps",
        "alert_responses",
        "hook_events",
        "golden_candidates",
        "golden_rounds",
    }
)
"""Few rows, which later ones do not replace."""
TTL = re.compile(r" TTL (.+?) SETTINGS ")
POLICY = re.compile(r"storage_policy = '(\w+)'")


@dataclass(frozen=True, slots=True)
class Change:
    """What was put into force on one table; ``before`` and ``after`` are TTL clauses, empty for rows kept for ever."""

    table: str
    before: str
    after: str


def retain(store: Store, retention: Retention, cluster: str = "") -> list[Change]:
    """Bring every table to the configured retention; returns what had to be changed.

    A table whose TTL is right is left alone. A new TTL also holds for the rows that are there: ClickHouse works out
    anew when each part expires, from the column of the time of storing alone, and drops parts in the background.

    Raises:
        StoreError: the server does not know the storage policy or its volume, or refused otherwise.
    """
    return list(_changes(store, retention, cluster))


def _changes(store: Store, retention: Retention, cluster: str) -> Iterator[Change]:
    engines = _engines(store)
    on_cluster = f" ON CLUSTER '{cluster}'" if cluster else ""
    for setting, tables in TABLES.items():
        for table in map(part_of, tables) if cluster else tables:
            if table not in engines:
                continue
            wanted = clause(retention, setting, engines[table].time)
            if wanted != engines[table].ttl:
                _alter(store, f"ALTER TABLE {table}{on_cluster}", wanted, retention, engines[table])
                yield Change(table, engines[table].ttl, wanted)


def clause(retention: Retention, setting: str, time: str) -> str:
    """The TTL as ClickHouse writes it; empty for rows that stay as they are for ever.

    >>> clause(Retention(logs_days=30, logs_hot_days=7), "logs", "StoredAt")
    'StoredAt + toIntervalDay(7) RECOMPRESS CODEC(ZSTD(6)), StoredAt + toIntervalDay(30)'
    """
    days, hot_days = retention.of(setting)
    colder = f"TO VOLUME '{retention.cold_volume}'" if retention.storage_policy else "RECOMPRESS CODEC(ZSTD(6))"
    hot = [f"{time} + toIntervalDay({hot_days}) {colder}"] if hot_days else []
    return ", ".join(hot + ([f"{time} + toIntervalDay({days})"] if days else []))


@dataclass(frozen=True, slots=True)
class _InForce:
    time: str
    ttl: str
    policy: str


def _engines(store: Store) -> dict[str, _InForce]:
    """Of each table the column that says when a row was stored, and the TTL and storage policy in force."""
    times = store.rows(
        """SELECT table, name, type FROM system.columns
        WHERE database = currentDatabase() AND name IN ('stored_at', 'StoredAt', 'checked_at')"""
    )
    written = {
        row["table"]: row["name"] if row["type"].startswith("DateTime(") else f"toDateTime({row['name']})"
        for row in times
    }
    tables = store.rows(
        """SELECT name, engine_full FROM system.tables
        WHERE database = currentDatabase() AND engine LIKE '%MergeTree'"""
    )
    return {
        row["name"]: _InForce(written[row["name"]], _found(TTL, row["engine_full"]), _found(POLICY, row["engine_full"]))
        for row in tables
        if row["name"] in written
    }


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match[1] if match else ""


def _alter(store: Store, alter: str, wanted: str, retention: Retention, now: _InForce) -> None:
    policy = retention.storage_policy
    try:
        if policy and now.policy != policy and "TO VOLUME" in wanted:
            store.execute(f"{alter} MODIFY SETTING storage_policy = '{policy}'")
        store.execute(f"{alter} MODIFY TTL {wanted}" if wanted else f"{alter} REMOVE TTL")
    except StoreError as error:
        hint = f"; is {policy!r} a storage policy there, with the volume {retention.cold_volume!r}?" if policy else ""
        message = f"the retention of {alter.split()[2]} could not be changed{hint}: {error}"
        raise StoreError(message, error.code) from error
