"""Records that cannot be stored, put aside with the reason, so that the good ones flow."""

from __future__ import annotations

import time
from collections.abc import Sequence

from kafka import KafkaProducer
from kafka.errors import KafkaError

from tidegauge import __version__, instruments
from tidegauge.collectors.kafka.batch import Batch, Message
from tidegauge.collectors.kafka.topics import MAX_MESSAGE_BYTES, connection
from tidegauge.config import Kafka

ACK_TIMEOUT_S = 15.0
MAX_REASON = 1000
OURS = ("reason", "kind", "topic", "partition", "offset", "log", "digest", "time", "version")


class DeadLetters:
    """Writes to the dead-letter topic and waits for the acknowledgement."""

    def __init__(self, settings: Kafka) -> None:
        self._settings, self._topic = settings, settings.dead_letter_topic
        self._producer: KafkaProducer | None = self._create()

    def put(self, batch: Batch, messages: Sequence[Message]) -> None:
        """Store ``messages``; the key names where each came from, so that a repeat can be told.

        Raises:
            KafkaError: not all are acknowledged; any of them may be there.
        """
        try:
            self._put(batch, messages)
        except KafkaError:  # some end an idempotent producer for good: whatever it was, the next try has a new one
            self._drop(timeout_s=0)
            raise
        for each in messages:
            instruments.DEAD_LETTERED.labels(batch.partition.topic, each.kind or "undecodable").inc()

    def close(self) -> None:
        """Flush and stop."""
        self._drop(timeout_s=5)

    def _put(self, batch: Batch, messages: Sequence[Message]) -> None:
        producer = self._producer = self._producer or self._create()
        sent = [
            producer.send(self._topic, key=key(batch, each), value=each.payload, headers=headers(batch, each))
            for each in messages
        ]
        for future in sent:
            future.get(timeout=ACK_TIMEOUT_S)

    def _drop(self, timeout_s: float) -> None:
        if self._producer:
            self._producer.close(timeout=timeout_s)
        self._producer = None

    def _create(self) -> KafkaProducer:
        return KafkaProducer(
            **connection(self._settings),
            acks="all",
            enable_idempotence=True,
            max_request_size=MAX_MESSAGE_BYTES + 2**16,
            max_block_ms=5_000,
            request_timeout_ms=10_000,
            delivery_timeout_ms=12_000,
        )


def key(batch: Batch, each: Message) -> bytes:
    """Names a dead letter by where it came from."""
    return f"{batch.partition.topic}:{batch.partition.partition}:{each.offset}".encode()


def headers(batch: Batch, each: Message) -> list[tuple[str, bytes]]:
    """Origin, reason, time and version; then the headers that the record had."""
    named = {
        "reason": each.poison[:MAX_REASON],
        "kind": each.kind,
        "topic": batch.partition.topic,
        "partition": str(batch.partition.partition),
        "offset": str(each.offset),
        "log": batch.log,
        "digest": each.digest.hex(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "version": __version__,
    }
    carried = [(name, value) for name, value in each.headers if name not in OURS]
    return [*((name, text.encode()) for name, text in named.items()), *carried]
