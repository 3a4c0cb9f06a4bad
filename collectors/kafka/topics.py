"""The topics, and the client settings that every user of them shares."""

from __future__ import annotations

from typing import Any

from kafka import KafkaAdminClient
from kafka.errors import TopicAlreadyExistsError

from tidegauge.config import Kafka
from tidegauge.model import Signal

MAX_MESSAGE_BYTES = 64 * 2**20 + 2**16  # the receiver's largest request and the record's own overhead
CONNECTION = {"reconnect_backoff_max_ms": 1000}  # the default leaves clients silent for half a minute


def connection(settings: Kafka) -> dict[str, Any]:
    """Settings for any Kafka client."""
    return {"bootstrap_servers": list(settings.bootstrap_servers), **CONNECTION}


def create_topics(settings: Kafka) -> list[str]:
    """Create the topics that do not exist yet; returns their names."""
    admin = KafkaAdminClient(**connection(settings))
    try:
        wanted = {*Signal, settings.dead_letter_topic} - set(admin.list_topics())
        return [name for name in sorted(wanted) if _create(admin, name, settings)]
    finally:
        admin.close()


def _create(admin: KafkaAdminClient, name: str, settings: Kafka) -> bool:
    options = {
        "num_partitions": settings.partitions,
        "replication_factor": settings.replication_factor,
        "configs": {"max.message.bytes": str(MAX_MESSAGE_BYTES)},
    }
    try:
        admin.create_topics({str(name): options}, wait_for_metadata=True)
    except TopicAlreadyExistsError:  # another process was quicker
        return False
    return True
