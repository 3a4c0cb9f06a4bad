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
    ("busy_s", "patience_s"),
    [(0.0, 1.0), (0.25, 0.75), (0.5, 0.5), (0.9, 0.5), (1.5, 0.75), (4.0, 2.0), (60.0, 5.0)],
)
def test_a_batch_waits_less_the_longer_others_keep_it_waiting_and_longer_while_the_sink_is_behind(
    busy_s: float, patience_s: float
) -> None:
    one = batch(Message(0, b"x", 1))
    assert not one.due(SETTINGS, 10.0 + patience_s - 0.01, busy_s)
    assert one.due(SETTINGS, 10.0 + patience_s + 0.01, busy_s)


def test_what_came_while_others_were_inserted_has_waited_since_then() -> None:
    one = batch(Message(0, b"x", 1))
    one.since = 9.2
    assert not one.due(SETTINGS, 10.05)  # time to fetch the rest of it
    assert not one.due(SETTINGS, 10.15)
    assert one.due(SETTINGS, 10.25)
    assert one.due(SETTINGS, 10.15, busy_s=0.5)


def test_a_batch_fills_while_its_partition_has_more() -> None:
    one = batch(Message(0, b"x", 1))
    assert not one.due(SETTINGS, 14.9, drained=False)
    assert one.due(SETTINGS, 15.1, drained=False)
    assert batch(Message(0, b"x" * 1000, 1)).due(SETTINGS, 10.0, drained=False)


def test_an_empty_batch_is_never_due_and_a_full_one_at_once() -> None:
    assert not batch().due(SETTINGS, 1e9)
    assert batch(Message(0, b"x" * 1000, 1)).due(SETTINGS, 10.0, busy_s=60)
    assert batch(Message(0, b"x", 100)).due(SETTINGS, 10.0, busy_s=60)


def test_resources_that_fill_memory_once_they_are_repeated_fill_a_batch() -> None:
    assert batch(Message(0, b"x", 1, weight=1000)).due(SETTINGS, 10.0)
