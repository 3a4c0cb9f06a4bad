"""A broker, the topic of logs and consumer groups of the test's own, for what the sink does with them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.structs import OffsetAndMetadata

from tidegauge.collectors.kafka import Sink
from tidegauge.config import Kafka
from tidegauge.model import Signal
from tidegauge.store import Store

if TYPE_CHECKING:
    from broker import KafkaBroker

TOPIC = str(Signal.LOGS)


@dataclass
class Bench:
    """One broker, one topic of logs with one partition, and consumer groups of the test's own."""

    store: Store
    broker: KafkaBroker
    producer: KafkaProducer
    sinks: list[Sink] = field(default_factory=list)

    def settings(self, group: str, **given: Any) -> Kafka:
        timing = {"flush_after_s": 0.05, "dead_letter_topic": f"dead_{group}", "partitions": 1}
        return Kafka(bootstrap_servers=(self.broker.bootstrap,), group_id=group, **timing | given)

    def sink(self, settings: Kafka, on_step: Callable[[str], None] = lambda step: None) -> Sink:
        self.sinks.append(Sink(self.store, settings, on_step))
        return self.sinks[-1]

    def send(self, *payloads: bytes) -> int:
        """Returns the offset after the last one."""
        sent = [self.producer.send(TOPIC, payload, partition=0) for payload in payloads]
        return max([int(each.get(30).offset) + 1 for each in sent], default=0)

    def start_at_end(self, settings: Kafka) -> int:
        """Let a new group begin after everything that other tests have sent; returns the end of partition 0."""
        consumer = KafkaConsumer(bootstrap_servers=self.broker.bootstrap, group_id=settings.group_id)
        try:
            places = [TopicPartition(TOPIC, number) for number in consumer.partitions_for_topic(TOPIC) or (0,)]
            consumer.assign(places)
            ends = consumer.end_offsets(places)
            consumer.commit({place: OffsetAndMetadata(int(end), "", -1) for place, end in ends.items()})
        finally:
            consumer.close(autocommit=False)
        return int(ends[TopicPartition(TOPIC, 0)])

    def committed(self, settings: Kafka) -> int:
        admin = KafkaAdminClient(bootstrap_servers=self.broker.bootstrap)
        try:
            found = admin.list_group_offsets({settings.group_id: [TopicPartition(TOPIC, 0)]})
            return int(found[settings.group_id][TopicPartition(TOPIC, 0)].offset)
        finally:
            admin.close()

    def dead_letters(self, settings: Kafka) -> list[Any]:
        consumer = KafkaConsumer(bootstrap_servers=self.broker.bootstrap)
        place = TopicPartition(settings.dead_letter_topic, 0)
        try:
            consumer.assign([place])
            consumer.seek_to_beginning(place)
            found: list[Any] = []
            end = consumer.end_offsets([place])[place]
            while len(found) < end:
                found += consumer.poll(1000).get(place, [])
            return found
        finally:
            consumer.close()

    def stored(self, model: str) -> tuple[int, int, int]:
        """Rows, distinct ids, and what the rollup says."""
        sql = """SELECT count() AS n, uniqExact(prediction_id) AS ids,
            (SELECT sum(predictions) FROM predictions_1h WHERE model = {m:String} AND dimension = '') AS rolled
            FROM predictions WHERE model = {m:String}"""
        [row] = self.store.rows(sql, {"m": model})
        return row["n"], row["ids"], row["rolled"]


def until(
    condition: Callable[[], bool], work: Callable[[], object] = lambda: time.sleep(0.02), limit_s: float = 30
) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        work()


def drain(sink: Sink, done: Callable[[], bool], limit_s: float = 30) -> None:
    until(done, sink.try_once, limit_s)


def new_group() -> str:
    return f"g{uuid.uuid4().hex[:12]}"


def position(sink: Sink) -> int:
    """Up to where the sink is done with the topic's only partition."""
    batch = sink._batches.get(TopicPartition(TOPIC, 0))
    return batch.start if batch else -1
