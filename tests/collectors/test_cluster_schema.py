"""The schema of a cluster: the statements of one server, rewritten. Parsed here, not run: there is no server."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

from tidegauge.collectors.schema.cluster import EVERYWHERE, VIEWS, Cluster
from tidegauge.collectors.schema.migrate import LEDGER, migrations
from tidegauge.store import Store

GOLDEN = Path(__file__).parent / "golden" / "cluster.sql"
KEY = r"CREATE TABLE IF NOT EXISTS (\w+) .* ENGINE = Distributed\([^()]*, (.*)\)$"
PLAIN = (
    LEDGER,
    "CREATE TABLE IF NOT EXISTS spans_in (\n  resource_spans Array(String)) ENGINE = Null",
    """CREATE TABLE IF NOT EXISTS spans (
  Timestamp DateTime64(9, 'UTC'), ServiceName String COMMENT 'who (mostly)'
) ENGINE = MergeTree() PARTITION BY toDate(Timestamp) ORDER BY (toDate(Timestamp), ServiceName)
SETTINGS index_granularity = 8192""",
    """CREATE TABLE IF NOT EXISTS spans_1m (
  minute DateTime, records UInt64) ENGINE = SummingMergeTree(records) ORDER BY (minute)
SETTINGS index_granularity = 8192""",
    """CREATE MATERIALIZED VIEW IF NOT EXISTS spans_mv TO spans AS
SELECT now() AS Timestamp, arrayJoin(resource_spans) AS ServiceName FROM spans_in""",
    """CREATE MATERIALIZED VIEW IF NOT EXISTS spans_1m_mv TO spans_1m AS
SELECT minute, records FROM (SELECT toStartOfMinute(Timestamp) AS minute, count() AS records FROM spans GROUP BY minute)
WHERE 'x' NOT IN (SELECT value FROM capped_now)""",
    "CREATE VIEW IF NOT EXISTS busy AS\nSELECT ServiceName FROM spans GROUP BY ServiceName",
    "ALTER TABLE spans ADD COLUMN IF NOT EXISTS Tenant String",
    "ALTER TABLE spans MODIFY TTL Timestamp + toIntervalDay(7)",
    "DROP VIEW IF EXISTS busy",
)


def whole(shard_by: str = "request") -> tuple[str, ...]:
    """All migrations as a cluster has them."""
    cluster = Cluster("prod", "tidegauge", shard_by)
    return tuple(each for migration in migrations() for each in cluster.statements(migration.statements))


def _found(pattern: str, statements: Iterable[str]) -> dict[str, str]:
    matches = (re.match(pattern, each, re.DOTALL) for each in statements)
    return {found[1]: found[2] for found in matches if found}


def test_the_statements_of_a_cluster_are_those_of_the_golden_file() -> None:
    text = ";\n\n".join(Cluster("prod", "tidegauge").statements(PLAIN)) + ";\n"
    assert text == GOLDEN.read_text(), "if the change is wanted, write this text to the golden file"


@pytest.mark.parametrize("shard_by", ["request", "service"])
def test_every_statement_of_the_schema_has_a_form_that_clickhouse_can_parse(store: Store, shard_by: str) -> None:
    statements = (*Cluster("prod", "tidegauge", shard_by).statements(PLAIN), *whole(shard_by))
    for statement in statements:
        assert store.value("SELECT formatQuery({q:String})", {"q": statement})
    assert all(" ON CLUSTER 'prod'" in each for each in statements)


def test_every_table_is_local_and_replicated_and_the_one_of_its_plain_name_is_distributed() -> None:
    engines = _found(r"CREATE TABLE IF NOT EXISTS (\w+) .* ENGINE = (\w+)", whole())
    created = [each for migration in migrations() for each in migration.statements]
    plain = set(_found(r"CREATE TABLE IF NOT EXISTS (\w+) (.)", created))
    assert {name for name, engine in engines.items() if engine == "Distributed"} == plain - EVERYWHERE
    for name in plain - EVERYWHERE:
        assert engines[f"{name}_local"] == "Null" or engines[f"{name}_local"].startswith("Replicated")
    assert engines["capped_values"] == "ReplicatedMergeTree"


def test_materialized_views_connect_what_lies_on_one_node() -> None:
    """A view that read or wrote a distributed table would send every row around once more, under no token."""
    views = [each for each in whole() if each.startswith("CREATE MATERIALIZED VIEW")]
    for view in views:
        tables = re.findall(r"\b(?:TO|FROM|JOIN) (\w+)\b", view)
        assert all(name.endswith("_local") or name in VIEWS for name in tables), view
    assert len(views) > 15


def test_what_shards_divide_by_follows_from_the_row_alone() -> None:
    keys, by_service = _found(KEY, whole()), _found(KEY, whole("service"))
    assert keys["spans_in"] == "cityHash64(resource_spans)"
    assert not [key for key in keys.values() if "rand" in key or "now" in key]
    assert by_service["otel_traces"] == "cityHash64(ServiceName)"
    assert "'service.name'" in by_service["spans_in"]


def test_the_keys_of_the_inputs_can_be_computed(store: Store) -> None:
    for shard_by in ("request", "service"):
        gone = _found(r"DROP TABLE IF EXISTS (\w+) (.)", whole(shard_by))
        for name, key in _found(KEY, whole(shard_by)).items():
            if name.endswith("_in") and name not in gone:
                assert store.rows(f"SELECT {key} AS shard FROM {name}") == []


def test_deduplication_is_set_for_replicated_tables_as_for_others() -> None:
    tables = [each for each in whole() if "ENGINE = Replicated" in each]
    assert all(
        "replicated_deduplication_window = 10000, replicated_deduplication_window_seconds = 604800" in each
        for each in tables
    )


@pytest.mark.parametrize("statement", ["RENAME TABLE a TO b", "ALTER TABLE v MODIFY QUERY SELECT 1"])
def test_a_statement_without_a_form_for_clusters_is_refused(statement: str) -> None:
    with pytest.raises(ValueError, match=f"no form for clusters: {statement}"):
        Cluster("prod", "tidegauge").statements([statement])
