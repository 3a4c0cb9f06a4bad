"""How far the sink is behind, and how long records take: its own metrics."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping

from kafka import KafkaConsumer, TopicPartition

from tidegauge import instruments
from tidegauge.collectors.kafka.batch import Batch

EVERY_S = 1.0


class Progress:
    """Lag of the partitions that this sink owns, in messages and in seconds; sizes and ages of what it has stored."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer
        self._reported = 0.0
        self._topics: set[str] = set()

    def report(self, batches: Mapping[TopicPartition, Batch]) -> None:
        """Set the gauges; cheap, at most once a second."""
        if time.monotonic() - self._reported < EVERY_S:
            return
        self._reported = time.monotonic()
        behind: defaultdict[str, int] = defaultdict(int)
        oldest: defaultdict[str, float] = defaultdict(float)
        for partition, batch in batches.items():
            behind[partition.topic] += max(0, (self._consumer.highwater(partition) or 0) - batch.start)
            oldest[partition.topic] = max(oldest[partition.topic], _age_s(batch))
        for topic in self._topics | behind.keys():
            instruments.LAG_MESSAGES.labels(topic).set(behind[topic])
            instruments.LAG_SECONDS.labels(topic).set(oldest[topic])
        self._topics |= behind.keys()

    def wrote(self, batch: Batch) -> None:
        """Count a batch that is done with."""
        signal = batch.signal.name.lower()
        instruments.BATCH_RECORDS.labels(signal).observe(batch.records)
        instruments.BATCH_BYTES.labels(signal).observe(batch.size)
        if batch.messages:
            instruments.APPEND_TO_STORED_SECONDS.labels(signal).observe(_age_s(batch))
        instruments.DUPLICATES.labels(signal).inc(len(batch.repeats))


def _age_s(batch: Batch) -> float:
    """Age of the oldest record in the batch by Kafka's clock, 0 for none."""
    times = [each.time_ms for each in batch.messages[:1] + batch.repeats[:1] if each.time_ms]
    return max(0.0, time.time() - min(times) / 1000) if times else 0.0
