"""What the sink does when Kafka or ClickHouse are not as they should be: gaps, lost commits, slow inserts, zombies."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import xxhash
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata
from kafka_bench import TOPIC, Bench, drain, new_group, position, until
from otlp_payloads import predictions

from tidegauge import instruments
from tidegauge.collectors.kafka import SinkStopped
from tidegauge.collectors.kafka import inserter as inserter_module
from tidegauge.collectors.kafka import patience as patience_module
from tidegauge.collectors.kafka.plan import MAX_METADATA_BYTES, Plan, metadata, read
from tidegauge.collectors.schema import insert_exports
from tidegauge.config import Kafka
from tidegauge.errors import StoreError
from tidegauge.health import Health, create_app
from tidegauge.web import WebServer

PLACE = TopicPartition(TOPIC, 0)


class Killed(BaseException):
    """Stands for kill -9."""


def dying(at: str) -> Callable[[str], None]:
    def step(reached: str) -> None:
        if reached == at:
            raise Killed(at)

    return step


def die(bench: Bench, settings: Kafka, at: str) -> None:
    sink = bench.sink(settings, dying(at))
    with pytest.raises(Killed):
        drain(sink, lambda: False)
    bench.sinks.pop().close()


def commit(bench: Bench, settings: Kafka, offset: int, text: str = "") -> None:
    consumer = KafkaConsumer(bootstrap_servers=bench.broker.bootstrap, group_id=settings.group_id)
    consumer.assign([PLACE])
    consumer.commit({PLACE: OffsetAndMetadata(offset, text, -1)})
    consumer.close(autocommit=False)


def forget(bench: Bench, settings: Kafka) -> None:
    """As Kafka does with the commits of a group that has had no members for a week."""
    admin = KafkaAdminClient(bootstrap_servers=bench.broker.bootstrap)
    admin.delete_groups([settings.group_id])
    admin.close()


def delete_before(bench: Bench, offset: int) -> None:
    """As retention does."""
    admin = KafkaAdminClient(bootstrap_servers=bench.broker.bootstrap)
    admin.delete_records({PLACE: offset})
    admin.close()


def sample(name: str, **labels: str) -> float:
    return instruments.REGISTRY.get_sample_value(name, labels) or 0.0


# Plans


def test_a_plan_survives_the_commit_and_foreign_metadata_is_none() -> None:
    plan = Plan(90).without((10, 40)).without((10, 25))
    assert read(metadata("log", plan)) == ("log", plan)
    assert read(metadata("log")) == ("log", None)
    for text in (None, "", "hello", "[]", "5", '{"tidegauge_end": "soon"}', '{"refused": 5}'):
        assert read(text) == ("", None)


def test_metadata_never_outgrows_what_the_broker_takes_and_keeps_the_widest_stretches() -> None:
    plan = Plan(10**15, frozenset((10**14 + number, 10**14 + number + number % 7) for number in range(1000)))
    text = metadata("log", plan)
    _, found = read(text)
    assert len(text) <= MAX_METADATA_BYTES
    assert found is not None and found.refused < plan.refused
    assert all(last - first == 6 for first, last in found.refused)


# Commits and records that are gone


@pytest.mark.kafka
@pytest.mark.parametrize("at", ["ledger", "commit", "done"])
def test_a_group_whose_commits_kafka_has_forgotten_goes_on_where_the_ledger_ends(bench: Bench, at: str) -> None:
    """After the insert, after the ledger row, after the commit: nothing twice, though the plan is gone too."""
    model, settings = new_group(), bench.settings(new_group(), max_batch_records=10)
    bench.start_at_end(settings)
    end = bench.send(*[predictions([f"{number}-{each}" for each in range(5)], model) for number in range(4)])
    sink = bench.sink(settings)
    drain(sink, lambda: position(sink) >= end)
    bench.sinks.pop().close()
    end = bench.send(*[predictions([f"more {number}"], model) for number in range(6)])
    die(bench, settings, at)
    forget(bench, settings)

    heir = bench.sink(bench.settings(settings.group_id, max_batch_records=2))
    drain(heir, lambda: position(heir) >= end)
    assert bench.stored(model) == (26, 26, 26)


@pytest.mark.kafka
def test_a_group_that_was_set_back_stores_nothing_twice(bench: Bench) -> None:
    model, settings = new_group(), bench.settings(new_group())
    start = bench.start_at_end(settings)
    end = bench.send(*[predictions([str(number)], model) for number in range(4)])
    sink = bench.sink(settings)
    drain(sink, lambda: position(sink) >= end)
    bench.sinks.pop().close()
    commit(bench, settings, start)
    end = bench.send(predictions(["more"], model))
    sink = bench.sink(bench.settings(settings.group_id, max_batch_records=3))
    drain(sink, lambda: position(sink) >= end)
    assert bench.stored(model) == (5, 5, 5)


@pytest.mark.kafka
def test_records_removed_before_they_were_read_are_counted_and_noted_and_the_rest_is_stored(bench: Bench) -> None:
    model, settings = new_group(), bench.settings(new_group())
    start = bench.start_at_end(settings)
    end = bench.send(*[predictions([str(number)], model) for number in range(10)])
    delete_before(bench, start + 4)
    before = sample("tidegauge_missing_messages_total", topic=TOPIC)
    sink = bench.sink(settings)
    drain(sink, lambda: position(sink) >= end)
    assert bench.stored(model) == (6, 6, 6)
    assert sample("tidegauge_missing_messages_total", topic=TOPIC) - before == 4
    rows = bench.store.rows("SELECT first_offset AS f, last_offset AS l, missing AS m FROM ingest_ledger ORDER BY f")
    assert (rows[0]["f"], rows[0]["l"], rows[0]["m"]) == (start, start + 3, 4)
    assert sum(row["m"] for row in rows) == 4


@pytest.mark.kafka
@pytest.mark.parametrize("inserted", [True, False])
def test_records_removed_while_a_plan_waits_are_lost_only_where_the_insert_was_not_done(
    bench: Bench, inserted: bool
) -> None:
    model, settings = new_group(), bench.settings(new_group())
    start = bench.start_at_end(settings)
    end = bench.send(*[predictions([str(number)], model) for number in range(10)])
    die(bench, settings, "ledger" if inserted else "insert")
    delete_before(bench, start + 4)
    sink = bench.sink(settings)
    drain(sink, lambda: position(sink) >= end)
    kept = 10 if inserted else 6
    assert bench.stored(model) == (kept, kept, kept)
    assert bench.store.value("SELECT sum(missing) FROM ingest_ledger") == 10 - kept
    assert bench.store.value("SELECT sum(records) FROM ingest_ledger") == kept


@pytest.mark.kafka
def test_a_topic_that_was_deleted_and_created_again_begins_anew_under_tokens_of_its_own(bench: Bench) -> None:
    model, settings = new_group(), bench.settings(new_group())
    bench.start_at_end(settings)
    end = bench.send(*[predictions([str(number)], model) for number in range(5)])
    sink = bench.sink(settings)
    drain(sink, lambda: position(sink) >= end)
    bench.sinks.pop().close()
    admin = KafkaAdminClient(bootstrap_servers=bench.broker.bootstrap)
    admin.delete_topics([TOPIC])
    until(lambda: TOPIC not in admin.list_topics())
    admin.create_topics({TOPIC: {"num_partitions": 2, "replication_factor": 1}}, wait_for_metadata=True)
    admin.close()
    sink = bench.sink(settings)
    ends: list[int] = []

    def send() -> bool:
        ends.append(bench.send(predictions(["new"], model)))
        return True

    until(send)
    drain(sink, lambda: position(sink) >= ends[-1])
    assert bench.stored(model) == (6, 6, 6)
    assert bench.store.value("SELECT uniqExact(log) FROM ingest_ledger") == 2


@pytest.mark.kafka
def test_where_kafka_has_lost_records_the_sink_goes_on_and_repeats_are_told_by_their_digests(bench: Bench) -> None:
    """The group stands behind the end of the log, as after an unclean election."""
    model, settings = new_group(), bench.settings(new_group())
    bench.start_at_end(settings)

    def send(name: str) -> int:
        payload = predictions([name], model)
        digest, headers = xxhash.xxh3_128_digest(payload), [("tidegauge.records", b"1")]
        return int(bench.producer.send(TOPIC, payload, digest, headers, 0).get(30).offset) + 1

    ends = [send(str(number)) for number in range(5)]
    sink = bench.sink(settings)
    drain(sink, lambda: position(sink) >= ends[-1])
    bench.sinks.pop().close()
    commit(bench, settings, ends[-1] + 50)
    before = sample("tidegauge_kafka_log_resets_total", topic=TOPIC)
    sink = bench.sink(settings)
    end = send("unseen")
    drain(sink, lambda: position(sink) == end)
    assert sample("tidegauge_kafka_log_resets_total", topic=TOPIC) - before == 1
    assert bench.stored(model) == (6, 6, 6)
    bench.sinks.pop().close()
    end = send("later")
    heir = bench.sink(settings)
    drain(heir, lambda: position(heir) == end)
    assert sample("tidegauge_kafka_log_resets_total", topic=TOPIC) - before == 1
    assert bench.stored(model) == (7, 7, 7)


# ClickHouse slow, away or refusing


@pytest.mark.kafka
def test_halves_are_taken_again_as_halves_even_where_the_cause_was_mended_in_between(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the whole, under its own token, would be stored beside the half that already is."""
    model, settings = new_group(), bench.settings(new_group())
    bench.start_at_end(settings)
    requests = [predictions([f"{place}-{number}" for number in range(5)], model) for place in range(12)]
    end = bench.send(*requests, predictions(["cursed"], model))
    done = itertools.count(1)

    def refusing(store: Any, signal: Any, payloads: list[bytes], token: str) -> None:
        if any(b"cursed" in each for each in payloads):
            raise StoreError("Code: 53. cannot", 53)
        insert_exports(store, signal, payloads, token)
        if next(done) == 2:
            raise Killed("after the second half")

    with monkeypatch.context() as broken:
        broken.setattr(inserter_module, "insert_exports", refusing)
        sink = bench.sink(settings)
        with pytest.raises(Killed):
            drain(sink, lambda: False)
        bench.sinks.pop().close()
    heir = bench.sink(settings)
    drain(heir, lambda: position(heir) >= end)
    assert bench.stored(model) == (61, 61, 61)
    assert bench.store.value("SELECT sum(records) FROM ingest_ledger") == 61


@pytest.mark.kafka
def test_an_insert_longer_than_the_session_neither_costs_the_membership_nor_is_done_twice(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, settings = new_group(), bench.settings(new_group())
    bench.start_at_end(settings)
    from tidegauge.collectors.kafka import sink as sink_module

    monkeypatch.setitem(sink_module.CONSUMER, "session_timeout_ms", 6_000)
    monkeypatch.setitem(sink_module.CONSUMER, "max_poll_interval_ms", 1_500)
    calls: list[float] = []

    def slow(*given: Any) -> None:
        calls.append(time.monotonic())
        if len(calls) == 1:
            time.sleep(4)
        insert_exports(*given)

    monkeypatch.setattr(inserter_module, "insert_exports", slow)
    end = bench.send(predictions(["a"], model))
    sink = bench.sink(settings)
    thread = threading.Thread(target=sink.run)
    thread.start()
    until(lambda: position(sink) >= end)
    sink.stop()
    thread.join(20)
    assert len(calls) == 1
    assert bench.stored(model) == (1, 1, 1)


@pytest.mark.kafka
def test_a_slow_insert_does_not_keep_another_member_from_joining(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The insert goes on in its thread; whoever owns the partition afterwards repeats it under the same token."""
    model, settings = new_group(), bench.settings(new_group())
    bench.start_at_end(settings)
    entered, go_on = threading.Event(), threading.Event()

    def held(*given: Any) -> None:
        if not entered.is_set():
            entered.set()
            go_on.wait(30)
        insert_exports(*given)

    monkeypatch.setattr(inserter_module, "insert_exports", held)
    end = bench.send(predictions(["a", "b"], model))
    first = bench.sink(settings)
    threads = [threading.Thread(target=first.run)]
    threads[0].start()
    assert entered.wait(20)
    second = bench.sink(settings)
    began = time.monotonic()
    threads.append(threading.Thread(target=second.run))
    threads[1].start()
    until(lambda: bool(second._batches))
    joined_s = time.monotonic() - began
    go_on.set()
    until(lambda: max(position(first), position(second)) >= end)
    for sink, thread in zip((first, second), threads, strict=True):
        sink.stop()
        thread.join(20)
    assert joined_s < 10
    assert bench.stored(model) == (2, 2, 2)


@pytest.mark.kafka
def test_while_clickhouse_is_slow_batches_grow_to_the_cap_and_memory_does_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, settings = new_group(), bench.settings(new_group(), max_batch_records=60, flush_after_s=0.02)
    bench.start_at_end(settings)
    sizes: list[int] = []

    def slow(store: Any, signal: Any, payloads: list[bytes], token: str) -> None:
        sizes.append(len(payloads))
        time.sleep(0.3)
        insert_exports(store, signal, payloads, token)

    monkeypatch.setattr(inserter_module, "insert_exports", slow)
    sink = bench.sink(settings)
    thread = threading.Thread(target=sink.run)
    thread.start()
    held: list[int] = []
    for number in range(200):
        end = bench.send(predictions([str(number)], model))
        held.append(sum(each.size for each in list(sink._batches.values())))
        time.sleep(0.005)
    until(lambda: position(sink) >= end)
    sink.stop()
    thread.join(20)
    assert max(sizes) > 10
    assert max(sizes) <= 60
    assert max(held) <= 61 * len(predictions(["100"], model))
    assert bench.stored(model) == (200, 200, 200)


@pytest.mark.kafka
def test_all_partitions_together_stay_within_the_bound_on_memory(bench: Bench) -> None:
    model, settings = new_group(), bench.settings(new_group(), max_buffered_bytes=4_000, flush_after_s=60)
    bench.start_at_end(settings)
    end = bench.send(*[predictions([str(number)], model) for number in range(40)])
    sink = bench.sink(settings)
    drain(sink, lambda: position(sink) + 12 >= end)  # without any being due by age or full
    assert sum(each.size for each in sink._batches.values()) <= 4_000
    assert bench.stored(model)[0] >= 28


@pytest.mark.kafka
def test_while_clickhouse_is_away_the_sink_is_alive_and_not_ready_and_says_why(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, settings = new_group(), bench.settings(new_group())
    bench.start_at_end(settings)
    away = threading.Event()
    away.set()

    def failing(*given: Any) -> None:
        if away.is_set():
            raise StoreError("Code: 210. connection refused", 210)
        insert_exports(*given)

    monkeypatch.setattr(inserter_module, "insert_exports", failing)
    monkeypatch.setattr(patience_module, "BACKOFF_S", (0.1,))
    sink = bench.sink(settings)
    server = WebServer(create_app(sink.health), "127.0.0.1", 0, "test-health")
    thread = threading.Thread(target=sink.run)
    thread.start()
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        assert client.get("/readyz").status_code == 200
        end = bench.send(predictions(["a"], model))
        until(lambda: client.get("/readyz").status_code == 503)
        assert "connection refused" in client.get("/readyz").json()["reasons"]["ClickHouse"]
        assert client.get("/healthz").status_code == 200
        text = client.get("/metrics").text
        assert 'tidegauge_ready{part="sink"} 0.0' in text
        assert 'tidegauge_insert_failures_total{code="210"}' in text
        until(lambda: sample("tidegauge_sink_lag_messages", topic=TOPIC) == 1)
        away.clear()
        until(lambda: position(sink) >= end)
        until(lambda: client.get("/readyz").status_code == 200)
        until(lambda: sample("tidegauge_sink_lag_messages", topic=TOPIC) == 0)
    sink.stop()
    thread.join(20)
    server.close()
    assert bench.stored(model) == (1, 1, 1)


@pytest.mark.kafka
def test_a_sink_that_stopped_on_poison_says_so_and_is_alive(bench: Bench) -> None:
    settings = bench.settings(new_group())
    start = bench.start_at_end(settings)
    bench.send(*[b"\xff bad %d" % number for number in range(40)])
    sink = bench.sink(settings)
    with pytest.raises(SinkStopped):
        sink.run()
    assert sample("tidegauge_sink_stopped") == 1
    assert "SinkStopped: 40 of 40 records" in sink.health.reasons["stopped"]
    assert bench.committed(settings) == start
    server = WebServer(create_app(sink.health), "127.0.0.1", 0, "test-health")
    try:
        answers = [httpx.get(f"{server.url}/{path}", trust_env=False) for path in ("healthz", "readyz")]
    finally:
        server.close()
    assert [each.status_code for each in answers] == [200, 503]


def test_a_part_whose_loop_hangs_is_not_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    health = Health("test")
    server = WebServer(create_app(health), "127.0.0.1", 0, "test-health")
    try:
        fresh = httpx.get(f"{server.url}/healthz", trust_env=False)
        monkeypatch.setattr(health, "_beat", time.monotonic() - 1000)
        stuck = httpx.get(f"{server.url}/healthz", trust_env=False)
    finally:
        server.close()
    assert (fresh.status_code, stuck.status_code) == (200, 503)
    assert json.loads(stuck.text) == {"alive": False}
