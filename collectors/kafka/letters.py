"""The dead-letter topic, read: what is in it, and what has been sent again."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.json_format import MessageToDict
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from tidegauge.collectors.kafka.batch import Headers
from tidegauge.collectors.kafka.dead_letters import OURS
from tidegauge.collectors.kafka.topics import MAX_MESSAGE_BYTES, connection
from tidegauge.collectors.otlp import parse
from tidegauge.config import Kafka
from tidegauge.errors import InvalidPayload, TidegaugeError
from tidegauge.model import Signal

DONE = "redriven"  # header of the mark that a letter was sent again
POLL_MS = 1000
SHOWN_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter: where it came from, why it is here, and whether it was sent again."""

    topic: str
    partition: int
    offset: int
    log: str
    reason: str
    kind: str
    time: str
    version: str
    digest: bytes
    payload: bytes
    headers: Headers = ()
    redriven: str = ""

    @property
    def key(self) -> str:
        """Topic, partition and offset, as commands take and print it."""
        return f"{self.topic}:{self.partition}:{self.offset}"

    def as_row(self) -> dict[str, Any]:
        """For a list, without the payload."""
        return {
            "key": self.key,
            "time": self.time,
            "kind": self.kind,
            "bytes": len(self.payload),
            "redriven": self.redriven,
            "reason": self.reason,
        }

    def as_json(self) -> dict[str, Any]:
        """Everything; the payload as OTLP/JSON where it can be decoded, else in base64, cut at 64 KiB."""
        shown = {name: value.decode(errors="replace") for name, value in self.headers}
        more = {"log": self.log, "version": self.version, "digest": self.digest.hex(), "headers": shown}
        return self.as_row() | more | {"payload": _shown(self.topic, self.payload)}


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters: all that agree with everything given."""

    topic: str = ""
    partition: int | None = None
    offset: int | None = None
    reason: str = ""
    again: bool = True

    @classmethod
    def of(cls, key: str, *, again: bool = True) -> Selection:
        """The letter with this key. Raises TidegaugeError where it is none."""
        topic, _, rest = key.partition(":")
        partition, _, offset = rest.partition(":")
        if not (topic and partition.isdigit() and offset.isdigit()):
            raise TidegaugeError(f"{key!r} is no key of a dead letter; it has the form topic:partition:offset")
        return cls(topic, int(partition), int(offset), again=again)

    def takes(self, each: Letter) -> bool:
        """Whether ``each`` is one; ``reason`` is any part of its text, ``again`` includes what was sent again."""
        return (
            self.topic in ("", each.topic)
            and self.partition in (None, each.partition)
            and self.offset in (None, each.offset)
            and self.reason.lower() in f"{each.kind}: {each.reason}".lower()
            and (self.again or not each.redriven)
        )


def letters(settings: Kafka) -> list[Letter]:
    """Every dead letter once, the oldest first. Raises KafkaError."""
    found: dict[tuple[str, str], Letter] = {}
    marks: dict[tuple[str, str], str] = {}
    for record in _records(settings):
        named = {name: value.decode(errors="replace") for name, value in record.headers or () if name in (*OURS, DONE)}
        place = ((record.key or b"").decode(errors="replace"), named.get("log", ""))
        if DONE in named:
            marks[place] = named[DONE]
        elif place not in found and (letter := _letter(record, named)):
            found[place] = letter
    marked = [replace(letter, redriven=marks.get(place, "")) for place, letter in found.items()]
    return sorted(marked, key=lambda each: (each.time, each.topic, each.partition, each.offset))


def select(settings: Kafka, wanted: Selection) -> list[Letter]:
    """The letters that agree with ``wanted``, oldest first. Raises TidegaugeError where Kafka does not answer."""
    try:
        return [each for each in letters(settings) if wanted.takes(each)]
    except KafkaError as error:
        raise TidegaugeError(f"Kafka at {', '.join(settings.bootstrap_servers)}: {error}") from error


def _letter(record: Any, named: dict[str, str]) -> Letter | None:
    try:
        return Letter(
            topic=named["topic"],
            partition=int(named["partition"]),
            offset=int(named["offset"]),
            log=named.get("log", ""),
            reason=named.get("reason", ""),
            kind=named.get("kind", ""),
            time=named.get("time", ""),
            version=named.get("version", ""),
            digest=bytes.fromhex(named.get("digest", "")),
            payload=record.value or b"",
            headers=tuple((name, value) for name, value in record.headers if name not in OURS),
        )
    except (KeyError, ValueError):  # somebody else's record
        return None


def _records(settings: Kafka) -> Iterator[Any]:
    consumer = KafkaConsumer(**connection(settings), enable_auto_commit=False, fetch_max_bytes=MAX_MESSAGE_BYTES)
    try:
        numbers = consumer.partitions_for_topic(settings.dead_letter_topic) or ()
        places = [TopicPartition(settings.dead_letter_topic, number) for number in numbers]
        ends = {place: end for place, end in consumer.end_offsets(places).items() if end}
        consumer.assign(list(ends))
        if ends:
            consumer.seek_to_beginning(*ends)
        while any(consumer.position(place) < end for place, end in ends.items()):
            for records in consumer.poll(timeout_ms=POLL_MS).values():
                yield from records
    finally:
        consumer.close(autocommit=False)


def _shown(topic: str, payload: bytes) -> Any:
    try:
        return MessageToDict(parse(Signal(topic), payload))
    except (InvalidPayload, ValueError, KeyError):
        text = base64.b64encode(payload[:SHOWN_BYTES]).decode()
        return {"base64": text, "cut": len(payload) > SHOWN_BYTES}


def as_text(found: dict[str, Any]) -> str:
    """A letter for people."""
    return json.dumps(found, indent=2, ensure_ascii=False)
