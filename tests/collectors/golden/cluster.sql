CREATE TABLE IF NOT EXISTS schema_migrations ON CLUSTER 'prod' (
  version UInt32, name String, checksum String, applied_at DateTime64(3, 'UTC') DEFAULT now64(3)
) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{database}/{table}', '{shard}-{replica}') ORDER BY (version) SETTINGS non_replicated_deduplication_window = 1000,
  replicated_deduplication_window = 1000, replicated_deduplication_window_seconds = 604800;

CREATE TABLE IF NOT EXISTS spans_in_local ON CLUSTER 'prod' (
  resource_spans Array(String)) ENGINE = Null;

CREATE TABLE IF NOT EXISTS spans_in ON CLUSTER 'prod' AS spans_in_local ENGINE = Distributed('prod', 'tidegauge', 'spans_in_local', cityHash64(resource_spans));

CREATE TABLE IF NOT EXISTS spans_local ON CLUSTER 'prod' (
  Timestamp DateTime64(9, 'UTC'), ServiceName String COMMENT 'who (mostly)'
) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}') PARTITION BY toDate(Timestamp) ORDER BY (toDate(Timestamp), ServiceName)
SETTINGS index_granularity = 8192;

CREATE TABLE IF NOT EXISTS spans ON CLUSTER 'prod' AS spans_local ENGINE = Distributed('prod', 'tidegauge', 'spans_local', cityHash64(toDate(Timestamp), ServiceName));

CREATE TABLE IF NOT EXISTS spans_1m_local ON CLUSTER 'prod' (
  minute DateTime, records UInt64) ENGINE = ReplicatedSummingMergeTree('/clickhouse/tables/{shard}/{database}/{table}', '{replica}', records) ORDER BY (minute)
SETTINGS index_granularity = 8192;

CREATE TABLE IF NOT EXISTS spans_1m ON CLUSTER 'prod' AS spans_1m_local ENGINE = Distributed('prod', 'tidegauge', 'spans_1m_local', cityHash64(minute));

CREATE MATERIALIZED VIEW IF NOT EXISTS spans_mv ON CLUSTER 'prod' TO spans_local AS
SELECT now() AS Timestamp, arrayJoin(resource_spans) AS ServiceName FROM spans_in_local;

CREATE MATERIALIZED VIEW IF NOT EXISTS spans_1m_mv ON CLUSTER 'prod' TO spans_1m_local AS
SELECT minute, records FROM (SELECT toStartOfMinute(Timestamp) AS minute, count() AS records FROM spans_local GROUP BY minute)
WHERE 'x' NOT IN (SELECT value FROM capped_now);

CREATE VIEW IF NOT EXISTS busy ON CLUSTER 'prod' AS
SELECT ServiceName FROM spans GROUP BY ServiceName;

ALTER TABLE spans_local ON CLUSTER 'prod' ADD COLUMN IF NOT EXISTS Tenant String;

ALTER TABLE spans ON CLUSTER 'prod' ADD COLUMN IF NOT EXISTS Tenant String;

ALTER TABLE spans_local ON CLUSTER 'prod' MODIFY TTL Timestamp + toIntervalDay(7);

DROP VIEW IF EXISTS busy ON CLUSTER 'prod';
