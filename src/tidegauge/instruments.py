"""Tidegauge's own metrics, in the Prometheus text format on ``/metrics``.

Nothing vanishes uncounted: every place that accepts, stores, refuses or drops a record counts it here.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY = CollectorRegistry()

ACCEPTED = Counter("tidegauge_accepted_records", "Records answered with success", ["signal"], registry=REGISTRY)
REJECTED = Counter("tidegauge_rejected_records", "Requests refused for good", ["signal", "reason"], registry=REGISTRY)
DEFERRED = Counter("tidegauge_deferred_requests", "Requests asked to come again", ["signal"], registry=REGISTRY)
RECEIVED_BYTES = Counter("tidegauge_received_bytes", "Of request bodies as they came", ["protocol"], registry=REGISTRY)
AUTH_FAILURES = Counter("tidegauge_auth_failures", "Requests without a valid API key", ["reason"], registry=REGISTRY)
CONNECTIONS = Gauge("tidegauge_connections", "Open OTLP/HTTP connections", registry=REGISTRY)
REQUESTS = Gauge("tidegauge_requests_under_way", "Being received or waiting", ["protocol"], registry=REGISTRY)
TIMEOUTS = Counter("tidegauge_client_timeouts", "Connections closed as too slow", ["part"], registry=REGISTRY)
DURABLE_SECONDS = Histogram(
    "tidegauge_durable_seconds", "From hand-over to the answer of Kafka or ClickHouse", ["signal"], registry=REGISTRY
)
RELOAD_FAILED = Gauge(
    "tidegauge_reload_failed", "1 while a changed file is wrong and the old one in force", ["file"], registry=REGISTRY
)
STORED = Counter("tidegauge_stored_records", "Records in ClickHouse", ["signal"], registry=REGISTRY)
DEAD_LETTERED = Counter("tidegauge_dead_letters", "Kafka records put aside", ["topic", "reason"], registry=REGISTRY)
PENDING_BYTES = Gauge("tidegauge_pending_bytes", "Of requests being received or not yet durable", registry=REGISTRY)
MASKED = Counter("tidegauge_masked", "Personal data and secrets replaced", ["rule", "signal"], registry=REGISTRY)
MASK_SCANNED = Counter("tidegauge_masking_scanned_bytes", "Searched for them", ["signal"], registry=REGISTRY)
TRUNCATED = Counter("tidegauge_truncated", "Values cut at masking.max_attribute_bytes", ["signal"], registry=REGISTRY)
INSERT_SECONDS = Histogram("tidegauge_insert_seconds", "Time of one ClickHouse insert", ["signal"], registry=REGISTRY)
OWN_RECORDS = Counter(
    "tidegauge_own_records", "Records that Tidegauge itself sends, past the receiver", ["signal"], registry=REGISTRY
)
INSERT_FAILURES = Counter("tidegauge_insert_failures", "Attempts of the sink that failed", ["code"], registry=REGISTRY)
DUPLICATES = Counter(
    "tidegauge_duplicate_requests", "Left out by the sink: stored before", ["signal"], registry=REGISTRY
)
MISSING = Counter(
    "tidegauge_missing_messages", "Removed by retention before they were read", ["topic"], registry=REGISTRY
)
LOG_RESETS = Counter(
    "tidegauge_kafka_log_resets", "Partitions that ended before what was read", ["topic"], registry=REGISTRY
)
REBALANCES = Counter("tidegauge_sink_rebalances", "Changes of the sink's group", registry=REGISTRY)
SINK_STOPPED = Gauge("tidegauge_sink_stopped", "1 once the sink has stopped for a person to look", registry=REGISTRY)
READY = Gauge("tidegauge_ready", "0 while something keeps the part from its work", ["part"], registry=REGISTRY)
LAG_MESSAGES = Gauge("tidegauge_sink_lag_messages", "Messages not stored yet", ["topic"], registry=REGISTRY)
LAG_SECONDS = Gauge("tidegauge_sink_lag_seconds", "Age of the oldest message not stored", ["topic"], registry=REGISTRY)
BATCH_RECORDS = Histogram(
    "tidegauge_sink_batch_records",
    "Records in one batch of the sink",
    ["signal"],
    registry=REGISTRY,
    buckets=(1, 10, 100, 1_000, 3_000, 10_000, 20_000, 50_000, 100_000),
)
BATCH_BYTES = Histogram(
    "tidegauge_sink_batch_bytes",
    "Bytes in one batch of the sink",
    ["signal"],
    registry=REGISTRY,
    buckets=tuple(4**power for power in range(5, 14)),
)
APPEND_TO_STORED_SECONDS = Histogram(
    "tidegauge_append_to_stored_seconds",
    "From Kafka's time of a batch's oldest record until it can be queried",
    ["signal"],
    registry=REGISTRY,
    buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1_800, 7_200),
)
RECONCILIATION_GAP = Gauge(
    "tidegauge_reconciliation_gap_records", "Records that nobody can account for", ["signal"], registry=REGISTRY
)
RECONCILIATION_IN_FLIGHT = Gauge(
    "tidegauge_reconciliation_in_flight_messages", "In Kafka and not stored, whole group", ["signal"], registry=REGISTRY
)
FINDINGS = Counter("tidegauge_findings", "Detector results", ["detector", "verdict"], registry=REGISTRY)
JUDGED = Counter("tidegauge_judged", "Judge results", ["outcome"], registry=REGISTRY)
GOLDEN = Counter(
    "tidegauge_golden", "Failures for the golden set: seen, proposed, accepted, rejected", ["state"], registry=REGISTRY
)
NOTIFICATIONS = Counter("tidegauge_notifications", "Deliveries", ["receiver", "outcome"], registry=REGISTRY)
CAPPED_DIMENSIONS = Gauge(
    "tidegauge_capped_dimensions", "Dimensions with too many values, in part summed up", ["rollup"], registry=REGISTRY
)
SLACK_REPEATS = Counter(
    "tidegauge_slack_repeats", "Messages sent again, because Slack could not be asked for them", ["receiver"],
    registry=REGISTRY,
)  # fmt: skip
SLACK_PICTURES = Counter("tidegauge_slack_pictures", "Charts put into messages", ["outcome"], registry=REGISTRY)
ALERT_DIAGNOSES = Counter(
    "tidegauge_alert_diagnoses", "Made for alerts: likely, unsure, nothing, failed or late", ["outcome"],
    registry=REGISTRY,
)  # fmt: skip
HEARTBEATS = Counter("tidegauge_heartbeats", "Signs of life sent out", ["outcome"], registry=REGISTRY)
ALERT_LEASE = Gauge("tidegauge_alert_lease", "1 while this process evaluates the alert rules", registry=REGISTRY)
LOOP_FAILURES = Counter("tidegauge_loop_failures", "Rounds of a loop that raised", ["loop"], registry=REGISTRY)


def exposition() -> bytes:
    """All metrics as Prometheus text."""
    return generate_latest(REGISTRY)
