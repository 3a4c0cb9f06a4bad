"""When a batch is inserted: full, old enough, or later while the sink is behind."""

from __future__ import annotations

import pytest
from kafka import TopicPartition

from tidegauge.collectors.kafka.batch import Batch, Message
from tidegauge.config import Kafka

SETTINGS = Kafka(flush_after_s=1.0, max_batch_bytes=1000, max_batch_records=100)


def batch(*messages: Message) -> Batch:
    made = Batch(TopicPartition("otlp_spans", 0), 0, "log", None, opened=10.0)
    for each in messages:
        made.add(each)
    return made


@pytest.mark.parametrize(
    ("busy_s", "age_s", "due"),
    [
        (0.0, 0.9, False),
        (0.0, 1.0, True),
        (0.9, 1.0, True),
        (2.5, 2.4, False),
        (2.5, 2.5, True),
        (60, 4.9, False),
        (60, 5.0, True),
    ],
)
def test_a_batch_waits_as_long_as_the_last_inserts_took_but_not_for_ever(
    busy_s: float, age_s: float, due: bool
) -> None:
    assert batch(Message(0, b"x", 1)).due(SETTINGS, 10.0 + age_s, busy_s) is due


def test_an_empty_batch_is_never_due_and_a_full_one_at_once() -> None:
    assert not batch().due(SETTINGS, 1e9)
    assert batch(Message(0, b"x" * 1000, 1)).due(SETTINGS, 10.0, busy_s=60)
    assert batch(Message(0, b"x", 100)).due(SETTINGS, 10.0, busy_s=60)


def test_resources_that_fill_memory_once_they_are_repeated_fill_a_batch() -> None:
    assert batch(Message(0, b"x", 1, weight=1000)).due(SETTINGS, 10.0)
