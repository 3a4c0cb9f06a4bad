"""Records of one partition on their way into one insert."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from kafka import TopicPartition

from tidegauge.collectors.otlp import count
from tidegauge.config import Kafka
from tidegauge.errors import InvalidPayload
from tidegauge.model import Signal


@dataclass(frozen=True, slots=True)
class Message:
    """One Kafka record: its place, its bytes, and why it cannot be stored, if so."""

    offset: int
    payload: bytes
    records: int
    poison: str = ""


def message(signal: Signal, offset: int, payload: bytes | None) -> Message:
    """Check one Kafka record's value."""
    try:
        return Message(offset, payload or b"", count(signal, payload or b""))
    except InvalidPayload as error:
        return Message(offset, payload or b"", 0, str(error))


@dataclass(slots=True)
class Batch:
    """The next stretch of a partition.

    ``planned_end`` is set when an earlier owner has committed the plan to insert exactly ``start .. planned_end`` and
    may or may not have done so: then the batch is that stretch, no more and no less.
    """

    partition: TopicPartition
    start: int
    planned_end: int | None
    opened: float
    messages: list[Message] = field(default_factory=list)
    records: int = 0
    size: int = 0

    @property
    def signal(self) -> Signal:
        """Which signal the topic carries."""
        return Signal(self.partition.topic)

    @property
    def end(self) -> int:
        """The offset after the last record."""
        return self.messages[-1].offset + 1 if self.messages else self.start

    @property
    def good(self) -> list[Message]:
        """The messages that could be decoded."""
        return [each for each in self.messages if not each.poison]

    @property
    def poison(self) -> list[Message]:
        """The messages that could not."""
        return [each for each in self.messages if each.poison]

    def add(self, each: Message) -> None:
        """Append the next record."""
        self.messages.append(each)
        self.records += each.records
        self.size += len(each.payload)

    def full(self, settings: Kafka) -> bool:
        """Whether the batch takes no more records."""
        if self.planned_end is not None:
            return self.end >= self.planned_end
        return self.records >= settings.max_batch_records or self.size >= settings.max_batch_bytes

    def due(self, settings: Kafka, now: float) -> bool:
        """Whether it is time to insert."""
        if self.planned_end is not None:
            return self.full(settings)
        return bool(self.messages) and (self.full(settings) or now - self.opened >= settings.flush_after_s)


def plan(end: int) -> str:
    """The commit metadata that announces an insert up to ``end``."""
    return json.dumps({"tidegauge_end": end})


def planned_end(metadata: str | None) -> int | None:
    """The end announced in commit metadata, None where there is none."""
    try:
        found = json.loads(metadata or "{}")
    except ValueError:
        return None
    return found.get("tidegauge_end") if isinstance(found, dict) else None
