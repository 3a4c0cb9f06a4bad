"""Records that cannot be stored, put aside with the reason, so that the good ones flow."""

from __future__ import annotations

from collections.abc import Sequence

from kafka import KafkaProducer, TopicPartition

from tidegauge import instruments
from tidegauge.collectors.kafka.batch import Message
from tidegauge.collectors.kafka.topics import MAX_MESSAGE_BYTES, connection
from tidegauge.config import Kafka


class DeadLetters:
    """Writes to the dead-letter topic and waits for the acknowledgement."""

    def __init__(self, settings: Kafka) -> None:
        self._topic = settings.dead_letter_topic
        self._producer = KafkaProducer(**connection(settings), acks="all", max_request_size=MAX_MESSAGE_BYTES)

    def put(self, origin: TopicPartition, messages: Sequence[Message]) -> None:
        """Store ``messages``; the key names where each came from, so that a repeat can be told."""
        sent = [
            self._producer.send(
                self._topic,
                key=f"{origin.topic}:{origin.partition}:{each.offset}".encode(),
                value=each.payload,
                headers=[
                    ("reason", each.poison.encode()),
                    ("topic", origin.topic.encode()),
                    ("partition", str(origin.partition).encode()),
                    ("offset", str(each.offset).encode()),
                ],
            )
            for each in messages
        ]
        for future in sent:
            future.get(timeout=30)
        instruments.DEAD_LETTERED.labels(origin.topic, "undecodable").inc(len(messages))

    def close(self) -> None:
        """Flush and stop."""
        self._producer.close(timeout=5)
