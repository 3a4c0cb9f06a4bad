"""From Kafka into ClickHouse, each record once.

Before an insert the sink commits its position together with the planned end of the batch as metadata; then it inserts
under a token made of that range; then it notes the range in the ledger; then it commits the end. After a crash the next
owner finds the plan, reads exactly that range again and inserts it under the same token, which ClickHouse drops where
the first insert had succeeded.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import (
    CommitFailedError,
    KafkaError,
    LogTruncationError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)
from kafka.structs import OffsetAndMetadata

from tidegauge import instruments
from tidegauge.collectors.kafka.batch import Batch, Mask, Message, message
from tidegauge.collectors.kafka.dead_letters import DeadLetters
from tidegauge.collectors.kafka.duplicates import Seen
from tidegauge.collectors.kafka.inserter import Inserter
from tidegauge.collectors.kafka.ledger import Ledger, Stored
from tidegauge.collectors.kafka.patience import Patience
from tidegauge.collectors.kafka.plan import Plan, metadata
from tidegauge.collectors.kafka.progress import Progress
from tidegauge.collectors.kafka.start import Starts
from tidegauge.collectors.kafka.topics import MAX_MESSAGE_BYTES, connection, create_topics
from tidegauge.config import Kafka
from tidegauge.errors import TidegaugeError
from tidegauge.health import Health
from tidegauge.model import Signal
from tidegauge.store import Store

log = logging.getLogger(__name__)

POLL_MS = 100
PAUSE_S = 1.0  # after an error of Kafka's
POISON_MINIMUM = 10  # below so many bad records their share says nothing
POSITION_ERRORS = (NoOffsetForPartitionError, OffsetOutOfRangeError, LogTruncationError)
CONSUMER: dict[str, Any] = {
    "enable_auto_commit": False,
    "auto_offset_reset": "none",  # where to go on is decided in start.py, never by Kafka
    "isolation_level": "read_committed",
    "max_poll_records": 200,
    "fetch_max_bytes": MAX_MESSAGE_BYTES,
    "session_timeout_ms": 10_000,
    "heartbeat_interval_ms": 2_000,
}


class SinkStopped(TidegaugeError):
    """Too much of the traffic cannot be stored: a person must look before anything is put aside."""


class Sink:
    """One consumer of the group; run as many as there are partitions.

    Args:
        on_step: Called before each step that a crash could fall between; for tests of exactly that.
        mask: Applied to requests that no receiver of ours has masked: from the official Collector, for example.
    """

    def __init__(
        self,
        store: Store,
        settings: Kafka,
        on_step: Callable[[str], None] = lambda step: None,
        mask: Mask | None = None,
    ) -> None:
        self._settings, self._on_step, self._mask = settings, on_step, mask
        self.health = Health("sink")
        self._clickhouse = Patience(self._breathe, self.health, "ClickHouse")
        self._inserter = Inserter(store, self._clickhouse, self._announce)
        self._ledger = Ledger(store, self._clickhouse)
        create_topics(settings)
        self._consumer = KafkaConsumer(
            *(str(signal) for signal in Signal), **connection(settings), group_id=settings.group_id, **CONSUMER
        )
        for signal in Signal:
            self._consumer.partitions_for_topic(str(signal))
        self._starts = Starts(self._consumer, self._ledger, settings)
        self._dead_letters = DeadLetters(settings)
        self._letter_box = Patience(self._breathe, self.health, "dead letters")
        self._progress = Progress(self._consumer)
        self._batches: dict[TopicPartition, Batch] = {}
        self._seen: dict[TopicPartition, Seen] = {}
        self._poison_run: dict[TopicPartition, int] = {}
        self._generation: int | None = None
        self._took_s: dict[TopicPartition, float] = {}
        self._drained: dict[TopicPartition, float] = {}
        self._stopping = threading.Event()

    def run(self) -> None:
        """Work until ``stop``. Raises SinkStopped when most of a batch cannot be stored; whatever ends it is shown."""
        instruments.SINK_STOPPED.set(0)
        try:
            while not self._stopping.is_set():
                self.try_once()
        except BaseException as error:
            instruments.SINK_STOPPED.set(1)
            self.health.red("stopped", f"{type(error).__name__}: {error}")
            raise

    def stop(self) -> None:
        """Ask ``run`` to return."""
        self._stopping.set()

    def close(self) -> None:
        """Leave the group."""
        self.stop()
        self._consumer.close(autocommit=False, timeout_ms=5_000)
        self._starts.close()
        self._dead_letters.close()
        self._clickhouse.close()
        self._letter_box.close()

    def poll_once(self) -> None:
        """Fetch what there is, insert what is due."""
        self.health.beat()
        fetched = self._fetch()
        if self._rebalanced():
            return
        for partition, records in fetched.items():
            self._take(partition, records)
        now = time.monotonic()
        known = self._batches.items()
        self._drained = {each: now for each, batch in known if self._left(batch) <= batch.end - batch.start}
        busy_s = sum(self._took_s.get(each, 0.0) for each, batch in known if batch.end > batch.start)
        due = [batch for each, batch in known if batch.due(self._settings, now, busy_s, each in self._drained)]
        if due:  # one, so that what has come for the others meanwhile is fetched before their turn
            self._write(min(due, key=lambda each: each.since))
        self._keep_within_bounds()
        self._progress.report(self._batches)

    def try_once(self) -> None:
        """``poll_once``; where Kafka fails, or the group takes partitions away meanwhile, the next one starts anew."""
        try:
            self.poll_once()
            self.health.green("Kafka")
        except CommitFailedError:
            log.info("another member took over partitions; starting again from their commits")
            self._generation = None
        except KafkaError as error:
            log.warning("Kafka: %s; starting again from the commits", error)
            self.health.red("Kafka", f"{type(error).__name__}: {error}")
            self._generation = None
            self._stopping.wait(PAUSE_S)

    def _fetch(self) -> dict[TopicPartition, list[Any]]:
        try:
            return dict(self._consumer.poll(timeout_ms=POLL_MS, max_records=200))
        except NoOffsetForPartitionError:  # newly ours: its start is not sought yet
            return {}
        except OffsetOutOfRangeError as error:
            for partition, position in error.args[0].items():
                self._out_of_range(partition, position)
        except LogTruncationError as error:
            for partition in error.divergent_offsets.keys() & self._batches.keys():
                divergent = getattr(error.divergent_offsets[partition], "offset", None)
                self._begin(self._starts.truncated(partition, self._batches[partition].end, divergent))
        return {}

    def _out_of_range(self, partition: TopicPartition, position: int) -> None:
        if position < int(self._consumer.beginning_offsets([partition])[partition]):
            self._generation = None  # retention was quicker: seen and noted on the way through the start
        else:
            self._begin(self._starts.truncated(partition, position))

    def _rebalanced(self) -> bool:
        """After every change of the group, start each partition from its commit: nothing in memory is ours by right."""
        generation, assigned = self._consumer.group_metadata().generation_id, self._consumer.assignment()
        if generation == self._generation and assigned == self._batches.keys():
            return False
        self._generation, self._batches, self._seen, self._drained = generation, {}, {}, {}
        instruments.REBALANCES.inc()
        self._starts.refresh()
        for partition in assigned:
            batch = self._starts.first(partition)
            self._begin(batch)
            self._catch_up(batch)
        return True

    def _catch_up(self, batch: Batch) -> None:
        """Commit where to go on when the last owner died between its note in the ledger and its commit: on a partition
        where nothing more comes, what is done would else look like lag for ever."""
        committed = self._consumer.committed(batch.partition)
        if committed is not None and 0 <= committed < batch.start:
            self._commit(batch.partition, batch.start, metadata(batch.log, batch.plan))

    def _begin(self, batch: Batch) -> None:
        """Seek to where ``batch`` begins, past what retention has removed, which is noted."""
        low = self._starts.lost(batch)
        if low > batch.start:
            batch = self._past_the_gap(batch, low)
        settings = self._settings
        window_s, most = settings.duplicate_window_s, settings.duplicate_memory
        known = (
            self._ledger.digests(batch.partition, batch.log, window_s, most)
            if self._starts.known(batch.partition)
            else ()
        )
        self._seen[batch.partition] = Seen(window_s, most, known)
        self._batches[batch.partition] = batch
        self._consumer.seek(batch.partition, batch.start)

    def _past_the_gap(self, batch: Batch, low: int) -> Batch:
        """What follows a stretch that retention removed; one that ClickHouse has stored before is not lost."""
        place, end = batch.partition, low
        if batch.plan and self._ledger.counted(batch.token):
            end = batch.closing
            self._ledger.write_counted(batch)
        else:
            log.error("%s:%d offsets %d-%d: removed before they were read", *place, batch.start, low - 1)
            instruments.MISSING.labels(place.topic).inc(low - batch.start)
            self._ledger.write_lost(batch, low)
        plan = batch.plan if batch.plan and batch.plan.end > end else None
        return Batch(place, end, batch.log, plan, time.monotonic())

    def _take(self, partition: TopicPartition, records: list[Any]) -> None:
        for record in records:
            batch = self._batches[partition]
            if batch.full(self._settings) or (batch.planned_end is not None and record.offset >= batch.planned_end):
                self._write(batch)
                batch = self._batches[partition]
            if batch.end == batch.start:
                batch.opened = time.monotonic()
                batch.since = self._drained.get(partition, batch.opened)
            each = message(batch.signal, record, self._mask)
            batch.add(each, repeated=self._repeated(partition, each))

    def _repeated(self, partition: TopicPartition, each: Message) -> bool:
        """Whether the request was stored before; of a dead letter that was sent again, whenever that was."""
        if not self._seen[partition].repeated(each):
            return each.redriven and self._ledger.has(partition.topic, each.digest)
        return True

    def _left(self, batch: Batch) -> int:
        """How many messages Kafka had after those of the batch, when it was last asked."""
        return max(0, (self._consumer.highwater(batch.partition) or 0) - batch.end)

    def _keep_within_bounds(self) -> None:
        """Write the largest batches before their time while all together are more than memory may hold."""
        while sum(each.size for each in self._batches.values()) > self._settings.max_buffered_bytes:
            largest = max(self._batches.values(), key=lambda each: each.size)
            if largest.planned_end is not None and not largest.full(self._settings):
                return  # a plan is replayed whole; it was within bounds when it was made
            self._write(largest)

    def _write(self, batch: Batch) -> None:
        begun = time.monotonic()
        self._refuse_if_mostly_poison(batch, batch.poison)
        if batch.plan is None:
            self._on_step("plan")
            self._commit(batch.partition, batch.start, metadata(batch.log, Plan(batch.closing)))
        self._on_step("insert")
        inserted = self._inserter.insert(batch)
        poison = batch.poison + inserted.refused
        self._refuse_if_mostly_poison(batch, poison)
        self._on_step("dead-letter")
        for each in inserted.refused:
            batch.plan = (batch.plan or Plan(batch.closing)).without((each.offset, each.offset))
        if inserted.refused:
            self._announce(batch)
        if poison:
            self._letter_box.run(lambda: self._dead_letters.put(batch, poison))
        self._on_step("ledger")
        self._ledger.write(batch, Stored(inserted.tokens, poison))
        self._on_step("commit")
        self._commit(batch.partition, batch.closing, metadata(batch.log))
        self._on_step("done")
        self._count_poison_run(batch, poison)
        self._progress.wrote(batch)
        now = time.monotonic()
        self._took_s[batch.partition] = now - begun
        self._batches[batch.partition] = Batch(batch.partition, batch.closing, batch.log, None, now)

    def _announce(self, batch: Batch) -> None:
        """Commit what has been refused so far."""
        self._commit(batch.partition, batch.start, metadata(batch.log, batch.plan))

    def _commit(self, partition: TopicPartition, offset: int, text: str) -> None:
        self._consumer.commit({partition: OffsetAndMetadata(offset, text, -1)})

    def _breathe(self, seconds: float) -> None:
        """Wait without leaving the group: polling paused partitions fetches nothing."""
        paused = self._consumer.assignment()
        self._consumer.pause(*paused)
        try:
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                self.health.beat()
                with suppress(*POSITION_ERRORS):  # the next fetch raises them again
                    self._consumer.poll(timeout_ms=POLL_MS)
                self._progress.report(self._batches)
                if self._stopping.is_set() or self._consumer.group_metadata().generation_id != self._generation:
                    raise CommitFailedError("the group changed, or the sink stops, while something was waited for")
        finally:
            self._consumer.resume(*(paused & self._consumer.assignment()))

    def _refuse_if_mostly_poison(self, batch: Batch, poison: list[Message]) -> None:
        """Small batches are judged together with those before them that were poison to the last record."""
        run = self._poison_run.get(batch.partition, 0)
        bad, seen = run + len(poison), run + len(batch.messages)
        if poison and bad >= POISON_MINIMUM and bad > self._settings.max_poison_share * seen:
            raise SinkStopped(
                f"{bad} of {seen} records of {batch.partition.topic}:{batch.partition.partition} up to offset "
                f"{batch.closing - 1} cannot be stored (last: {poison[-1].poison}). From offset {batch.start} nothing "
                "was put aside or skipped; mend the producer, or raise kafka.max_poison_share to put them aside"
            )

    def _count_poison_run(self, batch: Batch, poison: list[Message]) -> None:
        run = self._poison_run.get(batch.partition, 0) + len(poison)
        self._poison_run[batch.partition] = run if len(poison) == len(batch.messages) else 0
