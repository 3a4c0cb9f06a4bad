"""Where the topics and the sink's group stand, asked of Kafka without joining the group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from tidegauge.collectors.kafka.topics import MAX_MESSAGE_BYTES, connection
from tidegauge.config import Kafka
from tidegauge.model import Signal

PEEK_MS = 2_000


@dataclass(frozen=True, slots=True)
class Position:
    """One partition: its first offset still there, the group's commit (None: none yet), its end, the log's name."""

    place: TopicPartition
    log: str
    low: int
    committed: int | None
    end: int
    lag_s: float

    @property
    def in_flight(self) -> int:
        """Offsets appended and not yet done with."""
        return max(0, self.end - max(self.committed or 0, self.low))


def positions(settings: Kafka, now: datetime) -> list[Position]:
    """All partitions of the signals' topics. Raises KafkaError."""
    admin = KafkaAdminClient(**connection(settings))
    consumer = KafkaConsumer(
        **connection(settings),
        enable_auto_commit=False,
        isolation_level="read_committed",
        fetch_max_bytes=MAX_MESSAGE_BYTES,
        max_partition_fetch_bytes=1024,  # one record is enough to see its time
    )
    try:
        topics = {each["name"]: each for each in admin.describe_topics([str(signal) for signal in Signal])}
        places = [
            TopicPartition(name, p["partition_index"]) for name, each in topics.items() for p in each["partitions"]
        ]
        commits = admin.list_group_offsets({settings.group_id: places}).get(settings.group_id, {}) if places else {}
        lows, ends = consumer.beginning_offsets(places), consumer.end_offsets(places)
        committed = {place: each.offset for place, each in commits.items() if each.offset >= 0}
        logs = {name: str(each.get("topic_id") or "") for name, each in topics.items()}
        known = {place: (lows[place], committed.get(place), ends[place]) for place in places}
        ages = _ages(consumer, known, now)
        return [Position(place, logs[place.topic], *known[place], ages.get(place, 0.0)) for place in sorted(places)]
    finally:
        consumer.close(autocommit=False)
        admin.close()


def _ages(
    consumer: KafkaConsumer, known: Mapping[TopicPartition, tuple[int, int | None, int]], now: datetime
) -> dict[TopicPartition, float]:
    """Age of the oldest record not done with, of each partition that has one."""
    behind = {place: max(done or 0, low) for place, (low, done, end) in known.items() if end > max(done or 0, low)}
    consumer.assign(list(behind))
    for place, offset in behind.items():
        consumer.seek(place, offset)
    found: dict[TopicPartition, float] = {}
    for _ in range(len(behind)):
        for place, records in consumer.poll(timeout_ms=PEEK_MS).items():
            found.setdefault(place, max(0.0, now.timestamp() - records[0].timestamp / 1000))
        if len(found) == len(behind):
            break
    return found
