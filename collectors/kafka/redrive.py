"""Dead letters sent to their topic again, once the cause is mended; each is stored once, however often this is done.

A letter travels under a digest made of where it came from, and with a header that says so. The sink looks such a digest
up in the whole ledger, not only in the window for repeats, so a second run changes nothing even where the first one
died before it could mark the letter.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import xxhash
from kafka import KafkaProducer
from kafka.errors import KafkaError

from tidegauge import __version__
from tidegauge.collectors.kafka.batch import REDRIVEN
from tidegauge.collectors.kafka.letters import DONE, Letter
from tidegauge.collectors.kafka.topics import MAX_MESSAGE_BYTES, connection
from tidegauge.config import Kafka
from tidegauge.errors import TidegaugeError

ACK_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Redriven:
    """A letter that was sent again, and where it is now."""

    key: str
    topic: str
    partition: int
    offset: int


def redrive(settings: Kafka, chosen: Sequence[Letter]) -> list[Redriven]:
    """Send ``chosen`` to the topics they came from and mark them. The letters stay where they are.

    Raises:
        TidegaugeError: Kafka does not take one; those before it are sent and marked, and a second run is safe.
    """
    producer = KafkaProducer(
        **connection(settings),
        acks="all",
        enable_idempotence=True,
        max_request_size=MAX_MESSAGE_BYTES + 2**16,
        max_block_ms=10_000,
    )
    try:
        return [_send(producer, settings, each) for each in chosen]
    except KafkaError as error:
        raise TidegaugeError(f"Kafka: {error}; run the command again, what was sent is stored once") from error
    finally:
        producer.close(timeout=10)


def digest(letter: Letter) -> bytes:
    """Names the letter by where it came from: always the same 16 bytes."""
    return xxhash.xxh3_128_digest(f"{letter.log}\0{letter.key}".encode())


def _send(producer: KafkaProducer, settings: Kafka, letter: Letter) -> Redriven:
    headers = [*((name, value) for name, value in letter.headers if name != REDRIVEN), (REDRIVEN, letter.key.encode())]
    known = letter.partition in (producer.partitions_for(letter.topic) or ())
    sent = producer.send(
        letter.topic, letter.payload, digest(letter), headers, partition=letter.partition if known else None
    )
    place = sent.get(timeout=ACK_TIMEOUT_S)
    mark = [
        (DONE, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()).encode()),
        ("log", letter.log.encode()),
        ("version", __version__.encode()),
    ]
    producer.send(settings.dead_letter_topic, key=letter.key.encode(), headers=mark).get(timeout=ACK_TIMEOUT_S)
    return Redriven(letter.key, place.topic, place.partition, place.offset)
