"""Messages of one partition into ClickHouse, by tokens made of their offsets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from kafka import TopicPartition

from tidegauge import instruments
from tidegauge.collectors.kafka.batch import Message
from tidegauge.collectors.schema.otlp import insert_exports
from tidegauge.errors import StoreError
from tidegauge.model import Signal
from tidegauge.store import Store

BACKOFF_S = (0.5, 1, 2, 5, 10)


class Inserter:
    """Inserts until it is done or the data is at fault.

    Args:
        wait: Called with a number of seconds and the reason between two attempts; what it raises ends them.
    """

    def __init__(self, store: Store, wait: Callable[[float, StoreError], None]) -> None:
        self._store, self._wait = store, wait

    def insert(self, partition: TopicPartition, messages: Sequence[Message]) -> list[Message]:
        """Insert ``messages``; returns those that ClickHouse refuses, found by halving, the same way every time."""
        if not messages:
            return []
        try:
            self._patiently(partition, messages)
        except StoreError as error:
            if len(messages) == 1:
                return [replace(messages[0], poison=str(error))]
            middle = len(messages) // 2
            return self.insert(partition, messages[:middle]) + self.insert(partition, messages[middle:])
        instruments.STORED.labels(_label(partition)).inc(sum(each.records for each in messages))
        return []

    def _patiently(self, partition: TopicPartition, messages: Sequence[Message]) -> None:
        attempt = 0
        while (error := self._try(partition, messages)) is not None:
            self._wait(BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)], error)
            attempt += 1

    def _try(self, partition: TopicPartition, messages: Sequence[Message]) -> StoreError | None:
        """One attempt; the error when the same may succeed later. Raises StoreError when it never will."""
        token = f"{partition.topic}:{partition.partition}:{messages[0].offset}-{messages[-1].offset}"
        try:
            with instruments.INSERT_SECONDS.labels(_label(partition)).time():
                insert_exports(self._store, Signal(partition.topic), [each.payload for each in messages], token)
        except StoreError as error:
            if not error.transient:
                raise
            return error
        return None


def _label(partition: TopicPartition) -> str:
    return Signal(partition.topic).name.lower()
