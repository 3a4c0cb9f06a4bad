"""A request that a client sends again is stored once, whichever receiver and whichever sink it meets."""

from __future__ import annotations

import hashlib

import pytest
from kafka_bench import TOPIC, Bench, drain, new_group, position, until
from otlp_payloads import predictions

from tidegauge import instruments
from tidegauge.collectors.kafka.batch import Message
from tidegauge.collectors.kafka.duplicates import Seen

pytestmark = pytest.mark.kafka


def at(seconds: float, name: bytes = b"a", offset: int = 0) -> Message:
    return Message(offset, b"", 1, digest=hashlib.md5(name).digest(), time_ms=int(seconds * 1000))


def send(bench: Bench, payload: bytes, at_ms: int | None = None, partition: int = 0) -> int:
    """As a receiver of ours does."""
    digest, headers = hashlib.md5(payload).digest(), [("tidegauge.records", b"1")]
    sent = bench.producer.send(TOPIC, payload, digest, headers, partition, at_ms)
    return int(sent.get(30).offset) + 1


def counted() -> float:
    return instruments.REGISTRY.get_sample_value("tidegauge_duplicate_requests_total", {"signal": "logs"}) or 0.0


@pytest.mark.parametrize(("later_s", "repeated"), [(0, True), (600, True), (600.001, False), (-5, True)])
def test_a_repeat_is_told_by_kafkas_times_within_the_window(later_s: float, repeated: bool) -> None:
    seen = Seen(600, 10)
    assert not seen.repeated(at(1000))
    assert seen.repeated(at(1000 + later_s)) == repeated


def test_no_more_requests_are_remembered_than_allowed_and_those_without_a_digest_never() -> None:
    seen = Seen(600, 2)
    assert [seen.repeated(at(0, name)) for name in (b"a", b"b", b"c", b"b", b"a")] == [False, False, False, True, False]
    nameless = Message(0, b"", 1)
    assert not seen.repeated(nameless)
    assert not seen.repeated(nameless)


def test_a_request_sent_again_is_left_out_and_counted_by_this_sink_and_by_the_next(bench: Bench) -> None:
    model, settings = new_group(), bench.settings(new_group())
    bench.start_at_end(settings)
    first, second = predictions(["a"], model), predictions(["b"], model)
    before = counted()
    sink = bench.sink(settings)
    ends = [send(bench, each) for each in (first, first, second)]
    drain(sink, lambda: position(sink) >= ends[-1])
    end = send(bench, second)
    drain(sink, lambda: position(sink) >= end)
    bench.sinks.pop().close()

    successor = bench.sink(settings)
    end = send(bench, first)
    drain(successor, lambda: position(successor) >= end)

    assert bench.stored(model) == (2, 2, 2)
    assert counted() - before == 3
    ledger = "SELECT sum(messages) AS m, sum(duplicates) AS d, sum(records) AS r FROM ingest_ledger"
    assert bench.store.rows(ledger) == [{"m": 5, "d": 3, "r": 2}]


def test_a_request_that_comes_again_after_the_window_is_stored_again(bench: Bench) -> None:
    model, settings = new_group(), bench.settings(new_group(), duplicate_window_s=60)
    bench.start_at_end(settings)
    sink = bench.sink(settings)
    for at_ms in (1_700_000_000_000, 1_700_000_059_000, 1_700_000_061_000):
        end = send(bench, predictions(["a"], model), at_ms)
    drain(sink, lambda: position(sink) >= end)
    assert bench.stored(model)[0] == 2


def test_the_same_bytes_from_others_are_not_taken_for_a_repeat(bench: Bench) -> None:
    """Only receivers of ours name requests: two equal messages of the official Collector may both be meant."""
    model, settings = new_group(), bench.settings(new_group())
    bench.start_at_end(settings)
    sink = bench.sink(settings)
    end = bench.send(*[predictions(["a"], model)] * 2)
    drain(sink, lambda: position(sink) >= end)
    assert bench.stored(model)[0] == 2


def test_a_replay_decides_the_same_about_repeats(bench: Bench) -> None:
    """The insert is done, the ledger row is not: the successor reads the same range and finds the same repeats."""
    model, settings = new_group(), bench.settings(new_group())
    bench.start_at_end(settings)

    def die(step: str) -> None:
        if step == "ledger":
            raise RuntimeError("killed")

    sink = bench.sink(settings, die)
    for name in ("a", "a", "b", "a", "c"):
        end = send(bench, predictions([name], model))
    with pytest.raises(RuntimeError, match="killed"):
        drain(sink, lambda: False)
    bench.sinks.pop().close()
    end = send(bench, predictions(["b"], model))
    successor = bench.sink(settings)
    drain(successor, lambda: position(successor) >= end)

    assert bench.stored(model) == (3, 3, 3)
    assert bench.store.value("SELECT sum(records) FROM ingest_ledger") == 3
    assert bench.store.value("SELECT sum(duplicates) FROM ingest_ledger") == 3


def test_what_a_receiver_of_ours_has_not_masked_is_masked_before_it_is_stored_or_put_aside(bench: Bench) -> None:
    model, settings = new_group(), bench.settings(new_group())
    bench.start_at_end(settings)
    seen: list[bytes] = []

    def mask(signal: object, payload: bytes) -> bytes:
        seen.append(payload)
        return payload.replace(b"secret-1", b"********")

    from tidegauge.collectors.kafka import Sink

    sink = Sink(bench.store, settings, mask=mask)
    bench.sinks.append(sink)
    foreign, ours = predictions(["secret-1"], model), predictions(["checked"], model)
    send(bench, ours)
    broken = b"\xff secret-1"
    end = bench.send(foreign, broken)
    until(lambda: position(sink) >= end, sink.try_once)
    stored = {row["id"] for row in bench.store.rows("SELECT prediction_id AS id FROM predictions")}
    assert seen == [foreign, broken]
    assert stored == {"checked", "********"}
    assert [each.value for each in bench.dead_letters(settings)] == [b"\xff ********"]
