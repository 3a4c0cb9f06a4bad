"""Messages of one partition into ClickHouse, by tokens made of their offsets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tidegauge import instruments
from tidegauge.collectors.kafka.batch import Batch, Message, prefix
from tidegauge.collectors.kafka.patience import Patience
from tidegauge.collectors.kafka.plan import Plan, Stretch
from tidegauge.collectors.schema.otlp import insert_exports
from tidegauge.errors import InvalidPayload, StoreError
from tidegauge.store import Store


@dataclass(slots=True)
class Inserted:
    """What became of a batch's good messages: the tokens of the inserts, and the messages that ClickHouse refuses."""

    tokens: list[str] = field(default_factory=list)
    refused: list[Message] = field(default_factory=list)


class Inserter:
    """Inserts until it is done or the data is at fault.

    Args:
        patience: Runs one insert until it succeeds or fails for good.
        refused: Told of a batch whose plan names what has been refused so far, before anything smaller is tried.
    """

    def __init__(self, store: Store, patience: Patience, refused: Callable[[Batch], None]) -> None:
        self._store, self._patience, self._refused = store, patience, refused

    def insert(self, batch: Batch) -> Inserted:
        """Insert the batch; what ClickHouse refuses is found by halving, the same way every time."""
        done = Inserted()
        if batch.good:
            self._insert(batch, batch.good, batch.token, done)
        instruments.STORED.labels(batch.signal.name.lower()).inc(
            sum(each.records for each in batch.good) - sum(each.records for each in done.refused)
        )
        return done

    def _insert(self, batch: Batch, messages: Sequence[Message], token: str, done: Inserted) -> None:
        reason = self._refusal(batch, messages, token)
        if not reason:
            done.tokens.append(token)
        elif len(messages) == 1:
            done.refused.append(replace(messages[0], poison=reason, kind="refused"))
        else:
            middle = len(messages) // 2
            for half in (messages[:middle], messages[middle:]):
                self._insert(batch, half, _token(batch, half), done)

    def _refusal(self, batch: Batch, messages: Sequence[Message], token: str) -> str:
        """Why the messages cannot be stored together; empty once they are."""
        stretch: Stretch = (messages[0].offset, messages[-1].offset)
        if batch.plan and stretch in batch.plan.refused:
            return "ClickHouse refused it before this sink took over"
        payloads = [each.payload for each in messages]
        try:
            self._patience.run(lambda: self._try(batch, payloads, token))
        except (StoreError, InvalidPayload) as error:
            if len(messages) > 1:  # one alone is tried again by a successor, until it is decided to put it aside
                batch.plan = (batch.plan or Plan(batch.closing)).without(stretch)
                self._refused(batch)
            return str(error)
        return ""

    def _try(self, batch: Batch, payloads: list[bytes], token: str) -> None:
        with instruments.INSERT_SECONDS.labels(batch.signal.name.lower()).time():
            insert_exports(self._store, batch.signal, payloads, token)


def _token(batch: Batch, messages: Sequence[Message]) -> str:
    return f"{prefix(batch.partition, messages[0].offset)}{messages[-1].offset}:{batch.log}"
