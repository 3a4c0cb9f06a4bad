"""From Kafka into ClickHouse, each record once.

Before an insert the sink commits its position together with the planned end of the batch as metadata; then it inserts
under a token made of that range; then it commits the end. After a crash the next owner finds the plan, reads exactly
that range again and inserts it under the same token, which ClickHouse drops where the first insert had succeeded.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import CommitFailedError, KafkaError
from kafka.structs import OffsetAndMetadata

from tidegauge.collectors.kafka.batch import Batch, Message, message, plan, planned_end
from tidegauge.collectors.kafka.dead_letters import DeadLetters
from tidegauge.collectors.kafka.inserter import Inserter
from tidegauge.collectors.kafka.topics import MAX_MESSAGE_BYTES, connection, create_topics
from tidegauge.config import Kafka
from tidegauge.errors import StoreError, TidegaugeError
from tidegauge.model import Signal
from tidegauge.store import Store

log = logging.getLogger(__name__)

POLL_MS = 100
PAUSE_S = 1.0  # after an error of Kafka's
POISON_MINIMUM = 10  # below so many bad records their share says nothing


class SinkStopped(TidegaugeError):
    """Too much of the traffic cannot be stored: a person must look before anything is put aside."""


class Sink:
    """One consumer of the group; run as many as there are partitions.

    Args:
        on_step: Called before each step that a crash could fall between; for tests of exactly that.
    """

    def __init__(self, store: Store, settings: Kafka, on_step: Callable[[str], None] = lambda step: None) -> None:
        self._settings, self._on_step = settings, on_step
        self._inserter = Inserter(store, self._wait)
        create_topics(settings)
        self._consumer = KafkaConsumer(
            *(str(signal) for signal in Signal),
            **connection(settings),
            group_id=settings.group_id,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            max_poll_records=200,
            fetch_max_bytes=MAX_MESSAGE_BYTES,
            session_timeout_ms=10_000,
            heartbeat_interval_ms=2_000,
        )
        for signal in Signal:
            self._consumer.partitions_for_topic(str(signal))
        self._dead_letters = DeadLetters(settings)
        self._batches: dict[TopicPartition, Batch] = {}
        self._poison_run: dict[TopicPartition, int] = {}
        self._generation: int | None = None
        self._stopping = threading.Event()

    def run(self) -> None:
        """Work until ``stop``. Raises SinkStopped when most of a batch cannot be stored."""
        while not self._stopping.is_set():
            try:
                self.poll_once()
            except CommitFailedError:
                log.info("another member took over partitions; starting again from their commits")
                self._generation = None
            except KafkaError as error:
                log.warning("Kafka: %s; starting again from the commits", error)
                self._generation = None
                self._stopping.wait(PAUSE_S)

    def stop(self) -> None:
        """Ask ``run`` to return."""
        self._stopping.set()

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close(autocommit=False, timeout_ms=5_000)
        self._dead_letters.close()

    def poll_once(self) -> None:
        """Fetch what there is, insert what is due."""
        fetched = self._consumer.poll(timeout_ms=POLL_MS, max_records=200)
        if self._rebalanced():
            return
        for partition, records in fetched.items():
            self._take(partition, records)
        for batch in list(self._batches.values()):
            if batch.due(self._settings, time.monotonic()):
                self._write(batch)

    def _rebalanced(self) -> bool:
        """After every change of the group, start each partition from its commit: nothing in memory is ours by right."""
        generation, assigned = self._consumer.group_metadata().generation_id, self._consumer.assignment()
        if generation == self._generation and assigned == self._batches.keys():
            return False
        self._batches = {partition: self._from_commit(partition) for partition in assigned}
        self._generation = generation
        return True

    def _from_commit(self, partition: TopicPartition) -> Batch:
        committed = self._consumer.committed(partition, metadata=True)
        if committed is None or committed.offset < 0:
            start = self._consumer.beginning_offsets([partition])[partition]
            self._consumer.seek(partition, start)
            return Batch(partition, start, None, time.monotonic())
        self._consumer.seek(partition, committed.offset)
        return Batch(partition, committed.offset, planned_end(committed.metadata), time.monotonic())

    def _take(self, partition: TopicPartition, records: list[Any]) -> None:
        batch = self._batches[partition]
        if not batch.messages:
            batch.opened = time.monotonic()
        for record in records:
            if batch.full(self._settings) or (batch.planned_end is not None and record.offset >= batch.planned_end):
                self._write(batch)
                batch = self._batches[partition]
            batch.add(message(batch.signal, record.offset, record.value))

    def _write(self, batch: Batch) -> None:
        self._refuse_if_mostly_poison(batch, batch.poison)
        end = batch.planned_end or batch.end
        if batch.planned_end is None:
            self._on_step("plan")
            self._commit(batch.partition, batch.start, plan(end))
        self._on_step("insert")
        poison = batch.poison + self._inserter.insert(batch.partition, batch.good)
        self._refuse_if_mostly_poison(batch, poison)
        self._on_step("dead-letter")
        if poison:
            self._dead_letters.put(batch.partition, poison)
        self._on_step("commit")
        self._commit(batch.partition, end, "")
        self._on_step("done")
        self._count_poison_run(batch, poison)
        self._batches[batch.partition] = Batch(batch.partition, end, None, time.monotonic())

    def _commit(self, partition: TopicPartition, offset: int, metadata: str) -> None:
        self._consumer.commit({partition: OffsetAndMetadata(offset, metadata, -1)})

    def _wait(self, seconds: float, error: StoreError) -> None:
        """Wait for ClickHouse without leaving the group: polling paused partitions fetches nothing."""
        log.warning("ClickHouse: %s; trying again in %g s", error, seconds)
        paused = self._consumer.assignment()
        self._consumer.pause(*paused)
        try:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                self._consumer.poll(timeout_ms=POLL_MS)
                if self._stopping.is_set() or self._consumer.group_metadata().generation_id != self._generation:
                    raise CommitFailedError("the group changed, or the sink stops, while ClickHouse is away") from error
        finally:
            self._consumer.resume(*(paused & self._consumer.assignment()))

    def _refuse_if_mostly_poison(self, batch: Batch, poison: list[Message]) -> None:
        """Small batches are judged together with those before them that were poison to the last record."""
        run = self._poison_run.get(batch.partition, 0)
        bad, seen = run + len(poison), run + len(batch.messages)
        if poison and bad >= POISON_MINIMUM and bad > self._settings.max_poison_share * seen:
            raise SinkStopped(
                f"{bad} of {seen} records of {batch.partition.topic}:{batch.partition.partition} up to offset "
                f"{batch.end - 1} cannot be stored (last: {poison[-1].poison}). From offset {batch.start} nothing was "
                "put aside or skipped; mend the producer, or raise kafka.max_poison_share to put them aside"
            )

    def _count_poison_run(self, batch: Batch, poison: list[Message]) -> None:
        run = self._poison_run.get(batch.partition, 0) + len(poison)
        self._poison_run[batch.partition] = run if len(poison) == len(batch.messages) else 0
