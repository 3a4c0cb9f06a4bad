"""The table ``ingest_ledger``: a row for every stretch of offsets that is done with, and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from kafka import TopicPartition

from tidegauge.collectors.kafka.batch import Batch, Message, prefix
from tidegauge.collectors.kafka.duplicates import Digest
from tidegauge.collectors.kafka.patience import Patience
from tidegauge.store import Params, Rows, Store

T = TypeVar("T")
TABLE = "ingest_ledger"
_OF = "topic = {topic:String} AND partition = {partition:UInt32} AND log = {log:String}"


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a batch: the tokens of its inserts, and what was put aside."""

    tokens: Sequence[str]
    dead: Sequence[Message]


class Ledger:
    """Reads and writes it. Every method raises StoreError.

    Args:
        patience: Runs each statement until ClickHouse answers; none: once.
    """

    def __init__(self, store: Store, patience: Patience | None = None) -> None:
        self._store, self._patience = store, patience

    def write(self, batch: Batch, stored: Stored) -> None:
        """Note that ``batch`` is done with."""
        dead = {each.offset for each in stored.dead}
        kept = [each for each in batch.messages if each.offset not in dead]
        everything = sorted(batch.messages + batch.repeats, key=lambda each: each.offset)
        named = [each for each in batch.messages if each.digest]
        self._put(
            batch,
            {
                "messages": len(everything),
                "records": sum(each.records for each in kept),
                "rows": sum(each.rows for each in kept),
                "duplicates": len(batch.repeats),
                "duplicate_records": sum(each.records for each in batch.repeats),
                "dead_letters": len(stored.dead),
                "dead_letter_records": sum(each.records for each in stored.dead),
                "tokens": list(stored.tokens),
                "digests": [each.digest for each in named],
                "digest_times": [each.time_ms for each in named],
                "appended_until": _moment(max((each.time_ms for each in everything), default=0)),
            },
        )

    def write_lost(self, batch: Batch, end: int) -> None:
        """Note that the offsets from the batch's start to before ``end`` were gone before anybody had read them."""
        gone = Batch(batch.partition, batch.start, batch.log, None, 0, end=end)
        self._put(gone, {"missing": end - batch.start})

    def write_counted(self, batch: Batch) -> None:
        """Note a stretch whose insert is known by ClickHouse's own count alone, for its messages are gone."""
        rows = self._value("SELECT sum(rows) FROM ingest_rows WHERE token = {t:String}", {"t": batch.token})
        self._put(batch, {"records": rows, "rows": rows, "tokens": [batch.token]})

    def books(self) -> dict[TopicPartition, dict[str, int]]:
        """By partition and log the offset after the last one done with; the log written last comes first."""
        sql = f"""SELECT topic, partition, log, max(last_offset) + 1 AS end FROM {TABLE}
                  GROUP BY topic, partition, log ORDER BY max(stored_at) DESC"""  # noqa: S608 - a constant
        found: dict[TopicPartition, dict[str, int]] = {}
        for row in self._rows(sql, {}):
            found.setdefault(TopicPartition(row["topic"], row["partition"]), {})[row["log"]] = int(row["end"])
        return found

    def appended_until(self, partition: TopicPartition, log: str) -> datetime | None:
        """Kafka's time of the newest record that is done with."""
        sql = f"SELECT maxOrNull(appended_until) FROM {TABLE} WHERE {_OF}"  # noqa: S608 - constants
        found: datetime | None = self._value(sql, _place(partition, log))
        return found

    def inserted_end(self, partition: TopicPartition, start: int, log: str) -> int | None:
        """Where the stretch from ``start`` ended that ClickHouse has counted and the ledger does not have."""
        found = self._rows(
            "SELECT DISTINCT token FROM ingest_rows WHERE startsWith(token, {prefix:String})",
            {"prefix": prefix(partition, start)},
        )
        tokens = (row["token"].split(":", 3) for row in found)
        ends = [int(stretch.partition("-")[2]) + 1 for _, _, stretch, of in tokens if of == log]
        return max(ends, default=None)

    def counted(self, token: str) -> bool:
        """Whether ClickHouse has counted rows of this insert."""
        return bool(self._value("SELECT count() FROM ingest_rows WHERE token = {t:String}", {"t": token}))

    def digests(self, partition: TopicPartition, log: str, window_s: float, most: int) -> list[Digest]:
        """The digests of the partition's last requests, oldest first."""
        of = "topic = {topic:String} AND partition = {partition:UInt32} AND startsWith(log, {log:String})"
        last = (
            f"SELECT * FROM {TABLE} WHERE {of} AND notEmpty(digests) ORDER BY first_offset DESC LIMIT {{most:UInt32}}"  # noqa: S608
        )
        sql = f"""SELECT hex(pair.1) AS digest, pair.2 AS time_ms, max(arrayMax(digest_times)) OVER () AS newest
            FROM ({last}) ARRAY JOIN arrayZip(digests, digest_times) AS pair
            QUALIFY time_ms >= newest - {{window:Int64}} ORDER BY time_ms DESC LIMIT {{most:UInt32}}"""  # noqa: S608
        more = {"window": int(window_s * 1000), "most": most}
        rows = self._rows(sql, _place(partition, log.split("/")[0]) | more)
        return [(bytes.fromhex(row["digest"]), int(row["time_ms"])) for row in reversed(rows)]

    def has(self, topic: str, digest: bytes) -> bool:
        """Whether a request with this digest was ever done with; for dead letters that are sent again."""
        # To a String ClickHouse compares without the zeros at the end, which one digest in 256 has.
        named = "toFixedString(unhex({digest:String}), 16)"
        sql = f"SELECT count() FROM {TABLE} WHERE topic = {{topic:String}} AND has(digests, {named})"  # noqa: S608 - constants
        return bool(self._value(sql, {"topic": topic, "digest": digest.hex()}))

    def _put(self, batch: Batch, found: dict[str, Any]) -> None:
        row = {
            "stored_at": datetime.now(UTC),
            "topic": batch.partition.topic,
            "partition": batch.partition.partition,
            "log": batch.log,
            "first_offset": batch.start,
            "last_offset": batch.closing - 1,
            "token": batch.token,
        }
        rows = [EMPTY | row | found]
        self._patiently(lambda: self._store.insert(TABLE, rows, f"ledger:{batch.token}"))

    def _value(self, sql: str, params: Params) -> Any:
        return self._patiently(lambda: self._store.value(sql, params))

    def _rows(self, sql: str, params: Params) -> Rows:
        return self._patiently(lambda: self._store.rows(sql, params))

    def _patiently(self, work: Callable[[], T]) -> T:
        return self._patience.run(work) if self._patience else work()


EMPTY: dict[str, Any] = {
    **dict.fromkeys(("messages", "records", "rows", "duplicates", "duplicate_records"), 0),
    **dict.fromkeys(("dead_letters", "dead_letter_records", "missing"), 0),
    **dict.fromkeys(("tokens", "digests", "digest_times"), ()),
    "appended_until": datetime(1970, 1, 1, tzinfo=UTC),
}


def _place(partition: TopicPartition, log: str) -> dict[str, Any]:
    return {"topic": partition.topic, "partition": partition.partition, "log": log}


def _moment(time_ms: int) -> datetime:
    return datetime.fromtimestamp(min(time_ms, 4_102_444_800_000) / 1000, UTC)
