"""What a test needs to know of Kafka: fresh topics, how far a group is, what was put aside."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from broker import KafkaBroker
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from tidegauge.collectors.kafka import create_topics
from tidegauge.config import Kafka
from tidegauge.model import Signal


@dataclass(frozen=True)
class Lag:
    """How far a consumer group is: records behind, and inserts announced and not known to be done."""

    records: int
    planned: int


class Topics:
    """The signals' topics of one broker, empty and with ``partitions`` partitions."""

    def __init__(self, broker: KafkaBroker, partitions: int) -> None:
        self.broker, self.partitions = broker, partitions
        self.admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
        self.producer = KafkaProducer(bootstrap_servers=broker.bootstrap, acks="all", linger_ms=0)
        self.delete()
        create_topics(self.settings("nobody", dead_letter_topic="dead_nobody"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.producer.close(timeout=2)
        if kind is None:
            self.delete()
        self.admin.close()

    def settings(self, group: str, **given: Any) -> Kafka:
        """A consumer group's configuration."""
        return Kafka(**self.plain(group, **given))

    def plain(self, group: str, **given: Any) -> dict[str, Any]:
        """The same as a configuration file has it."""
        own: dict[str, Any] = {
            "bootstrap_servers": [self.broker.bootstrap],
            "group_id": group,
            "partitions": self.partitions,
            "dead_letter_topic": f"dead_{group}",
            "flush_after_s": 0.2,
        }
        return own | given

    def delete(self) -> None:
        """Delete the signals' topics, and wait until they are gone."""
        ours = {*map(str, Signal)}
        if found := sorted(ours & set(self.admin.list_topics())):
            self.admin.delete_topics(found)
        while ours & set(self.admin.list_topics()):
            time.sleep(0.05)

    def send(self, topic: str, *values: bytes, partition: int | None = None) -> list[tuple[int, int]]:
        """Write records as they are; where each is: partition and offset."""
        sent = [self.producer.send(topic, value, partition=partition) for value in values]
        return [(done.partition, done.offset) for done in (each.get(30) for each in sent)]

    def ends(self, *names: str) -> dict[TopicPartition, int]:
        """The offset after the last record, by partition."""
        consumer = KafkaConsumer(bootstrap_servers=self.broker.bootstrap)
        try:
            found = {name: consumer.partitions_for_topic(name) or () for name in names}
            places = [TopicPartition(name, each) for name in names for each in found[name]]
            return {place: int(end) for place, end in consumer.end_offsets(places).items()}
        finally:
            consumer.close()

    def lag(self, group: str, ends: dict[TopicPartition, int]) -> Lag:
        """How far ``group`` is from ``ends``."""
        try:
            found = self.admin.list_group_offsets({group: list(ends)}).get(group, {})
        except KafkaError:  # the coordinator is loading
            return Lag(sum(ends.values()), 0)
        reached = {place: each for place, each in found.items() if each.offset >= 0}
        behind = [max(0, end - (reached[place].offset if place in reached else 0)) for place, end in ends.items()]
        return Lag(sum(behind), sum("tidegauge_end" in (each.metadata or "") for each in reached.values()))

    def all_signals(self) -> dict[TopicPartition, int]:
        """The ends of every signal's topic."""
        return self.ends(*map(str, Signal))

    def records(self, topic: str) -> list[Any]:
        """Every record of a topic."""
        consumer = KafkaConsumer(bootstrap_servers=self.broker.bootstrap, fetch_max_bytes=2**26)
        try:
            wanted = self.ends(topic)
            consumer.assign(list(wanted))
            consumer.seek_to_beginning(*wanted)
            found: list[Any] = []
            while any(consumer.position(place) < end for place, end in wanted.items()):
                for each in consumer.poll(500).values():
                    found += each
            return found
        finally:
            consumer.close()
