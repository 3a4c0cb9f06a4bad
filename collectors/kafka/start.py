"""Where a partition begins when a sink takes it over: from its commit, the ledger and what is still in Kafka."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from tidegauge import instruments
from tidegauge.collectors.kafka import plan as plans
from tidegauge.collectors.kafka.batch import Batch
from tidegauge.collectors.kafka.ledger import Ledger
from tidegauge.collectors.kafka.plan import Plan
from tidegauge.collectors.kafka.topics import connection
from tidegauge.config import Kafka
from tidegauge.model import Signal

log = logging.getLogger(__name__)


class Starts:
    """Finds the first batch of each partition.

    Three sources can disagree: the commit may be lost (Kafka forgets the commits of a group without members after a
    week) or set back by hand, the ledger lags behind a crash, and retention may have removed what neither has read.
    The ledger decides what is done with; a plan beyond it is replayed; what is gone is noted, so that it is missed.
    """

    def __init__(self, consumer: KafkaConsumer, ledger: Ledger, settings: Kafka) -> None:
        self._consumer, self._ledger, self._settings = consumer, ledger, settings
        self._admin = KafkaAdminClient(**connection(settings))
        self._topic_ids: Mapping[str, str] = {}
        self._books: Mapping[TopicPartition, Mapping[str, int]] = {}

    def refresh(self) -> None:
        """Read the ledger, and the topics' ids: a topic that was deleted and created again has another one."""
        self._books = self._ledger.books()
        found = self._admin.describe_topics([str(signal) for signal in Signal])
        self._topic_ids = {each["name"]: str(each.get("topic_id") or "") for each in found}

    def close(self) -> None:
        """End the connection."""
        self._admin.close()

    def first(self, partition: TopicPartition) -> Batch:
        """The batch to begin with. Raises StoreError and KafkaError."""
        topic_id = self._topic_ids.get(partition.topic, "")
        committed = self._consumer.committed(partition, metadata=True)
        of, plan = plans.read(committed.metadata if committed else "")
        valid = committed is not None and committed.offset >= 0 and (not of or of.split("/")[0] == topic_id)
        logs = (each for each in self._books.get(partition, ()) if each.split("/")[0] == topic_id)
        current = of if valid and of else next(logs, topic_id)
        start, plan = self._resume(partition, committed.offset if valid else None, plan if valid else None, current)
        return Batch(partition, start, current, plan, time.monotonic())

    def known(self, partition: TopicPartition) -> bool:
        """Whether the ledger has anything of this partition."""
        return partition in self._books

    def lost(self, batch: Batch) -> int:
        """The offset up to which retention has removed what the batch should begin with; its start for nothing."""
        return max(batch.start, int(self._consumer.beginning_offsets([batch.partition])[batch.partition]))

    def truncated(self, partition: TopicPartition, position: int, divergent: int | None = None) -> Batch:
        """Where to go on in a log that ends before ``position``: Kafka has lost records, and its offsets come again.

        Goes by Kafka's times: from the newest record done with, less the window in which repeats are told.
        """
        self._books = self._ledger.books()
        old = self.first(partition)
        at = self._ledger.appended_until(partition, old.log) or datetime.now(UTC)
        since = at - timedelta(seconds=self._settings.duplicate_window_s)
        found = self._consumer.offsets_for_times({partition: max(0, int(since.timestamp() * 1000))}).get(partition)
        end = int(self._consumer.end_offsets([partition])[partition])
        start = divergent if divergent is not None else min(found.offset if found else end, end)
        instruments.LOG_RESETS.labels(partition.topic).inc()
        log.error(
            "%s:%d ends before offset %d, which was read already: Kafka has lost records (unclean election, lost "
            "disk?). Going on at offset %d; what was there twice is told by its digest",
            partition.topic, partition.partition, position, start,
        )  # fmt: skip
        renewed = f"{old.log.split('/')[0]}/{int(time.time())}"
        return Batch(partition, start, renewed, None, time.monotonic())

    def _resume(
        self, partition: TopicPartition, committed: int | None, plan: Plan | None, of: str
    ) -> tuple[int, Plan | None]:
        done = self._books.get(partition, {}).get(of)
        if committed is None:
            start = done if done is not None else int(self._consumer.beginning_offsets([partition])[partition])
        elif done is not None and committed < done:
            start = done
            if plan is None:
                log.warning(
                    "%s:%d was set back to offset %d; the ledger has it up to %d, so it goes on there. To store it "
                    "again, delete those rows from ingest_ledger and use an empty database",
                    partition.topic, partition.partition, committed, done,
                )  # fmt: skip
        else:
            start = committed
        if plan is not None and plan.end > start:
            return start, plan
        if committed == done is not None:
            return start, None  # the commit that ended the last batch
        inserted = self._ledger.inserted_end(partition, start, of)
        return start, None if inserted is None else Plan(inserted)
