"""Requests to Kafka as they came: what the official Collector's exporter writes too."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future

from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.errors import KafkaError, MessageSizeTooLargeError

from tidegauge.collectors.kafka.topics import MAX_MESSAGE_BYTES, connection, create_topics
from tidegauge.config import Kafka
from tidegauge.errors import Backpressure, InvalidPayload
from tidegauge.model import Export

log = logging.getLogger(__name__)

RETRY_AFTER_S = 5.0
DELIVERY_TIMEOUT_MS = 30_000


class KafkaTransport:
    """A transport whose futures resolve when all in-sync replicas have the record (acks=all, idempotent)."""

    def __init__(self, settings: Kafka) -> None:
        self._settings = settings
        create_topics(settings)
        self._producer = KafkaProducer(
            **connection(settings),
            acks="all",
            enable_idempotence=True,
            compression_type=None if settings.compression == "none" else settings.compression,
            max_request_size=MAX_MESSAGE_BYTES,
            delivery_timeout_ms=DELIVERY_TIMEOUT_MS,
            request_timeout_ms=10_000,
            max_block_ms=5_000,
        )
        self._lock = threading.Lock()
        self._written: dict[TopicPartition, int] = {}

    def submit(self, export: Export) -> Future[None]:
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()  # a client that hangs up cancels its wait, never the record
        try:
            sent = self._producer.send(str(export.signal), value=export.payload)
        except MessageSizeTooLargeError as error:
            raise InvalidPayload(str(error)) from error
        except KafkaError as error:
            raise Backpressure(RETRY_AFTER_S, f"Kafka: {error}") from error
        sent.add_callback(self._acknowledged, done)
        sent.add_errback(_failed, done)
        return done

    def flush(self, timeout_s: float) -> None:
        """Wait for the acknowledgements, then for the sink's group to commit beyond them."""
        deadline = time.monotonic() + timeout_s
        self._producer.flush(timeout_s)
        with self._lock:
            written = dict(self._written)
        admin = KafkaAdminClient(**connection(self._settings))
        try:
            while behind := self._behind(admin, written):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the sink has not reached {behind} within {timeout_s:g} s")
                time.sleep(0.05)
        finally:
            admin.close()

    def close(self, timeout_s: float) -> None:
        self._producer.close(timeout=timeout_s)

    def _behind(self, admin: KafkaAdminClient, written: dict[TopicPartition, int]) -> list[str]:
        group = self._settings.group_id
        try:
            committed = admin.list_group_offsets({group: list(written)}).get(group, {}) if written else {}
        except KafkaError as error:  # a coordinator that is loading or moving; the deadline ends it
            log.info("flush: %s; asking again", error)
            committed = {}
        reached = {partition: each.offset for partition, each in committed.items()}
        return [f"{each.topic}:{each.partition}@{end}" for each, end in written.items() if reached.get(each, -1) <= end]

    def _acknowledged(self, done: Future[None], metadata: object) -> None:
        partition = TopicPartition(metadata.topic, metadata.partition)  # type: ignore[attr-defined]
        with self._lock:
            self._written[partition] = max(metadata.offset, self._written.get(partition, -1))  # type: ignore[attr-defined]
        done.set_result(None)


def _failed(done: Future[None], error: BaseException) -> None:
    done.set_exception(Backpressure(RETRY_AFTER_S, f"Kafka: {error}"))
