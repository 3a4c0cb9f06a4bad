"""Records of one partition on their way into one insert."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kafka import TopicPartition

from tidegauge.collectors.kafka.plan import Plan
from tidegauge.collectors.kafka.transport import RECORDS
from tidegauge.collectors.otlp import count, parse, repeated_bytes
from tidegauge.config import Kafka
from tidegauge.errors import InvalidPayload
from tidegauge.model import Signal

DIGEST_BYTES = 16
REPETITION = 8  # bytes of repeated resources that a batch takes for each byte of its limit: memory to insert it
MOST_PATIENCE = 5.0  # times flush_after_s, that a batch may wait while the sink is behind
GATHER_S = 0.1  # in which what came during other inserts is fetched
REDRIVEN = "tidegauge.redriven"  # header: where the dead letter that this was made of had come from
Headers = tuple[tuple[str, bytes], ...]
Mask = Callable[[Signal, bytes], bytes]


@dataclass(frozen=True, slots=True)
class Message:
    """One Kafka record: its place, its bytes, and why it cannot be stored, if so.

    Attributes:
        records: Spans, log records, metrics or predictions; what the receiver counted, where one of ours sent it.
        rows: What it becomes in ``otel_*`` tables: as many, but data points of metrics.
        digest: Names the request as its client sent it, or empty.
        time_ms: When it was appended (or made, as the topic has it), in milliseconds since 1970.
        foreign: No receiver of ours has checked and masked it.
        redriven: It is a dead letter that was sent again.
        weight: Bytes, or more where resources are repeated so much that they fill a batch.
    """

    offset: int
    payload: bytes
    records: int
    rows: int = 0
    poison: str = ""
    kind: str = ""  # of poison: undecodable or refused
    digest: bytes = b""
    time_ms: int = 0
    foreign: bool = True
    redriven: bool = False
    headers: Headers = ()
    weight: int = 0


def message(signal: Signal, record: Any, mask: Mask | None = None) -> Message:
    """Check one Kafka record and mask what has not been through a receiver of ours.

    A record of ours is trusted: the receiver has decoded, counted and masked it.
    """
    headers, payload = tuple(record.headers or ()), record.value or b""
    names = dict(headers)
    key = record.key or b""
    known = _number(names.get(RECORDS)) if len(key) == DIGEST_BYTES else None
    redriven = REDRIVEN in names and len(key) == DIGEST_BYTES
    given: dict[str, Any] = {
        "digest": key if known is not None or redriven else b"",
        "time_ms": max(0, record.timestamp or 0),
        "foreign": known is None,
        "redriven": redriven,
        "headers": headers,
    }
    payload = mask(signal, payload) if mask and known is None else payload  # what is undecodable, too: it is put aside
    try:
        records = known if known is not None and not redriven else count(signal, payload)
        rows = data_points(payload) if signal is Signal.METRICS else records
    except InvalidPayload as error:
        return Message(record.offset, payload, 0, 0, str(error), "undecodable", **given)
    try:
        weight = max(len(payload), repeated_bytes(signal, payload, records) // REPETITION)
    except InvalidPayload as error:
        return Message(record.offset, payload, records, rows, str(error), "refused", **given)
    return Message(record.offset, payload, records, rows, weight=weight, **given)


def data_points(payload: bytes) -> int:
    """Data points of a metrics request: each is a row. Raises InvalidPayload."""
    request: Any = parse(Signal.METRICS, payload)
    metrics = (each for r in request.resource_metrics for s in r.scope_metrics for each in s.metrics)
    return sum(len(getattr(each, kind).data_points) for each in metrics if (kind := each.WhichOneof("data")))


def _number(text: bytes | None) -> int | None:
    return int(text) if text and text.isdigit() and len(text) < 12 else None


@dataclass(slots=True)
class Batch:
    """The next stretch of a partition.

    ``plan`` is set when an earlier owner has committed the plan to insert exactly ``start .. plan.end`` and may or may
    not have done so: then the batch is that stretch, no more and no less.

    Attributes:
        log: Which log the offsets belong to: another one after the topic was deleted and created again.
        opened: When its first record was fetched.
        since: When that record can have come at the earliest: the last look at a partition that had little more.
        messages: To be stored, or put aside.
        repeats: Stored before; left out.
    """

    partition: TopicPartition
    start: int
    log: str
    plan: Plan | None
    opened: float
    messages: list[Message] = field(default_factory=list)
    repeats: list[Message] = field(default_factory=list)
    end: int = 0
    records: int = 0
    size: int = 0
    since: float = 0.0

    def __post_init__(self) -> None:
        self.end = max(self.end, self.start)
        self.since = self.since or self.opened

    @property
    def signal(self) -> Signal:
        """Which signal the topic carries."""
        return Signal(self.partition.topic)

    @property
    def planned_end(self) -> int | None:
        """The offset after the last one of the plan to be replayed, if there is one."""
        return self.plan.end if self.plan else None

    @property
    def good(self) -> list[Message]:
        """The messages that could be decoded."""
        return [each for each in self.messages if not each.poison]

    @property
    def poison(self) -> list[Message]:
        """The messages that could not."""
        return [each for each in self.messages if each.poison]

    @property
    def token(self) -> str:
        """Names the stretch, whatever becomes of the messages in it."""
        return f"{prefix(self.partition, self.start)}{self.closing - 1}:{self.log}"

    @property
    def closing(self) -> int:
        """The offset after the last one that this batch stands for."""
        return self.end if self.planned_end is None else self.planned_end

    def add(self, each: Message, repeated: bool = False) -> None:
        """Append the next record."""
        (self.repeats if repeated else self.messages).append(each)
        self.end = each.offset + 1
        self.records += 0 if repeated else each.records
        self.size += max(len(each.payload), each.weight)

    def full(self, settings: Kafka) -> bool:
        """Whether the batch takes no more records."""
        if self.planned_end is not None:
            return self.end >= self.planned_end
        return self.records >= settings.max_batch_records or self.size >= settings.max_batch_bytes

    def due(self, settings: Kafka, now: float, busy_s: float = 0.0, drained: bool = True) -> bool:
        """Whether it is time to insert.

        Args:
            busy_s: How long the last inserts of all that is open took together. What waits for others before its turn
                begins so much earlier, and what came while others were inserted has waited since then; each costs the
                same whatever is in it, so while they take longer than ``flush_after_s`` batches fill for half as long
                as those took, to a limit.
            drained: Whether the partition has little more for now; else the batch fills, to the same limit.
        """
        if self.planned_end is not None:
            return self.full(settings)
        usual = settings.flush_after_s
        patience = min(MOST_PATIENCE * usual, max(usual - busy_s, usual / 2, busy_s / 2))
        patience = patience if drained else MOST_PATIENCE * usual
        begun = self.since if now - self.opened >= GATHER_S else self.opened
        return self.end > self.start and (self.full(settings) or now - begun >= patience)


def prefix(partition: TopicPartition, first: int) -> str:
    """How the tokens of all stretches that begin at ``first`` begin."""
    return f"{partition.topic}:{partition.partition}:{first}-"
