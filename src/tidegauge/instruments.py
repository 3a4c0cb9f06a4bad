"""Tidegauge's own metrics, in the Prometheus text format on ``/metrics``.

Nothing vanishes uncounted: every place that accepts, stores, refuses or drops a record counts it here.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY = CollectorRegistry()

ACCEPTED = Counter("tidegauge_accepted_records", "Records answered with success", ["signal"], registry=REGISTRY)
REJECTED = Counter("tidegauge_rejected_records", "Requests refused for good", ["signal", "reason"], registry=REGISTRY)
DEFERRED = Counter("tidegauge_deferred_requests", "Requests asked to come again", ["signal"], registry=REGISTRY)
STORED = Counter("tidegauge_stored_records", "Records in ClickHouse", ["signal"], registry=REGISTRY)
DEAD_LETTERED = Counter("tidegauge_dead_letters", "Kafka records put aside", ["topic", "reason"], registry=REGISTRY)
PENDING_BYTES = Gauge("tidegauge_pending_bytes", "Accepted for transport, not yet durable", registry=REGISTRY)
INSERT_SECONDS = Histogram("tidegauge_insert_seconds", "Time of one ClickHouse insert", ["signal"], registry=REGISTRY)
FINDINGS = Counter("tidegauge_findings", "Detector results", ["detector", "verdict"], registry=REGISTRY)
JUDGED = Counter("tidegauge_judged", "Judge results", ["outcome"], registry=REGISTRY)
NOTIFICATIONS = Counter("tidegauge_notifications", "Deliveries", ["receiver", "outcome"], registry=REGISTRY)
LOOP_FAILURES = Counter("tidegauge_loop_failures", "Rounds of a loop that raised", ["loop"], registry=REGISTRY)


def exposition() -> bytes:
    """All metrics as Prometheus text."""
    return generate_latest(REGISTRY)
