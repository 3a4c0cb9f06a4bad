"""Requests to Kafka as they came: what the official Collector's exporter writes too."""

from __future__ import annotations

import logging
import threading
import time
from concurrent.futures import Future
from functools import partial

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import KafkaError as ClientError

from tidegauge.collectors.kafka.topics import MAX_MESSAGE_BYTES, connection, create_topics, native
from tidegauge.config import Kafka
from tidegauge.errors import Backpressure, InvalidPayload
from tidegauge.model import Export

log = logging.getLogger(__name__)

RETRY_AFTER_S = 5.0
DELIVERY_TIMEOUT_MS = 8_000  # exporters wait 10 s: they shall hear that it did not work
POLL_S = 0.2
RECORDS = "tidegauge.records"  # header: how many spans, log records, metrics or rows the request has


class KafkaTransport:
    """A transport whose futures resolve when all in-sync replicas have the record (acks=all, idempotent).

    A record's key is its export's digest, so that a request sent again meets itself in one partition. ``submit`` never
    waits. What is outstanding is bounded by who submits, as the receiver does; the producer's own bound lies above it.
    While Kafka is away one request at a time finds out whether it is back; the others are refused at once.

    The producer is librdkafka's: kafka-python's, which the rest of this package uses, takes three times its processor
    time for requests of this size (benchmarks/receive.py).
    """

    def __init__(self, settings: Kafka) -> None:
        self._settings = settings
        create_topics(settings)
        self._lock = threading.Lock()
        self._outstanding, self._failing = 0, False
        self._written: dict[TopicPartition, int] = {}
        self._producer = self._create()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="tidegauge-kafka", daemon=True)
        self._thread.start()

    def submit(self, export: Export) -> Future[None]:
        done: Future[None] = Future()
        done.set_running_or_notify_cancel()  # a client that hangs up cancels its wait, never the record
        self._enter()
        producer = self._producer
        try:
            producer.produce(
                str(export.signal),
                value=export.payload,
                key=export.digest or None,
                headers=[(RECORDS, str(export.records).encode())],
                on_delivery=partial(self._delivered, producer, done),
            )
        except BufferError as error:
            self._leave(failing=self._failing)
            raise Backpressure(RETRY_AFTER_S, "Kafka's producer is full") from error
        except KafkaException as error:
            raise self._refused(producer, error.args[0]) from error
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
        self._producer.flush(timeout_s)
        self._stop.set()
        self._thread.join(timeout_s)

    def _create(self) -> Producer:
        return Producer(
            {
                **native(self._settings),
                "acks": "all",
                "enable.idempotence": True,
                "compression.type": self._settings.compression,
                "message.max.bytes": MAX_MESSAGE_BYTES,
                "message.timeout.ms": DELIVERY_TIMEOUT_MS,
                "queue.buffering.max.kbytes": 2**21 - 1,
                "linger.ms": 0,
                "partitioner": "murmur2_random",  # as Kafka's own client has it
            },
            logger=log,
        )

    def _poll(self) -> None:
        while not self._stop.is_set():
            producer = self._producer
            producer.poll(POLL_S)
            if producer is not self._producer:  # it has ended: what it still holds fails, and may be sent again
                producer.purge()
                producer.flush(POLL_S)

    def _behind(self, admin: KafkaAdminClient, written: dict[TopicPartition, int]) -> list[str]:
        group = self._settings.group_id
        try:
            committed = admin.list_group_offsets({group: list(written)}).get(group, {}) if written else {}
        except ClientError as error:  # a coordinator that is loading or moving; the deadline ends it
            log.info("flush: %s; asking again", error)
            committed = {}
        reached = {partition: each.offset for partition, each in committed.items()}
        return [f"{each.topic}:{each.partition}@{end}" for each, end in written.items() if reached.get(each, -1) <= end]

    def _enter(self) -> None:
        with self._lock:
            if self._failing and self._outstanding:
                raise Backpressure(RETRY_AFTER_S, "Kafka does not answer")
            self._outstanding += 1

    def _leave(self, *, failing: bool) -> None:
        with self._lock:
            self._outstanding -= 1
            changed, self._failing = failing != self._failing, failing
        if changed and failing:
            log.warning("Kafka does not answer; until it does, requests are asked to come again")
        elif changed:
            log.info("Kafka answers again")

    def _delivered(self, producer: Producer, done: Future[None], error: KafkaError | None, message: Message) -> None:
        if error is not None:
            done.set_exception(self._refused(producer, error))
            return
        partition, offset = TopicPartition(message.topic(), message.partition()), message.offset() or 0
        with self._lock:
            self._written[partition] = max(offset, self._written.get(partition, -1))
        self._leave(failing=False)
        done.set_result(None)

    def _refused(self, producer: Producer, error: KafkaError) -> Exception:
        """What the client is told; a producer that cannot go on is replaced."""
        too_large = error.code() in (KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE)
        self._leave(failing=self._failing if too_large else True)
        if error.fatal() and producer is self._producer:
            log.error("Kafka's producer has ended, a new one begins: %s", error)
            self._producer = self._create()
        return InvalidPayload(error.str()) if too_large else Backpressure(RETRY_AFTER_S, f"Kafka: {error.str()}")
