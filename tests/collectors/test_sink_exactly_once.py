"""From Kafka into ClickHouse, each record once: whatever dies, whenever it dies."""

from __future__ import annotations

import functools
import itertools
import sys
import threading
import time
import uuid
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import CommitFailedError, KafkaConnectionError
from kafka.structs import OffsetAndMetadata
from kafka_bench import TOPIC, Bench, drain, new_group, position, until
from otlp_payloads import logs, predictions, record

from tidegauge.collectors.kafka import KafkaTransport, Sink, SinkStopped, create_topics
from tidegauge.collectors.kafka import inserter as inserter_module
from tidegauge.collectors.kafka import patience as patience_module
from tidegauge.collectors.kafka import sink as sink_module
from tidegauge.collectors.schema import insert_exports
from tidegauge.config import Kafka
from tidegauge.errors import Backpressure, InvalidPayload, StoreError
from tidegauge.model import Export, Signal
from tidegauge.store import Store

if TYPE_CHECKING:
    from broker import KafkaBroker

pytestmark = pytest.mark.kafka
STEPS = ("plan", "insert", "dead-letter", "ledger", "commit", "done")


class Killed(BaseException):
    """Stands for kill -9: nothing between the sink and the test catches it."""


@dataclass
class Killer:
    """Kills at the ``nth`` time that ``step`` is reached."""

    step: str
    nth: int
    seen: int = 0

    def __call__(self, step: str) -> None:
        self.seen += step == self.step
        if step == self.step and self.seen == self.nth:
            raise Killed(f"{step} {self.nth}")


# kill -9 at every step


@dataclass(frozen=True)
class Schedule:
    """Where the first sink dies, and the different batch bounds of the two sinks: their batches do not line up."""

    step: str
    nth: int
    first: int
    second: int
    extra: int

    def __str__(self) -> str:
        return f"{self.step} #{self.nth}, batches of {self.first} then {self.second}, {self.extra} sent in between"


REQUESTS, PER_REQUEST, POISON_AT = 8, 5, (2, 6)
SCHEDULES = [  # a sample; the whole matrix is tests/reliability
    Schedule(step, nth, first, second, extra)
    for step, (nth, first, second, extra) in itertools.product(STEPS, ((1, 10, 1000, 2), (2, 15, 20, 4)))
]


def test_a_sink_killed_at_any_step_leaves_neither_a_gap_nor_a_duplicate(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    group = new_group()
    bench.start_at_end(bench.settings(group))
    create_topics(bench.settings(group))
    monkeypatch.setattr(sink_module, "create_topics", lambda settings: [])
    began = time.monotonic()

    outcomes = [_killed_and_resumed(bench, group, schedule) for schedule in SCHEDULES]
    letters = {(each.key, each.value) for each in bench.dead_letters(bench.settings(group))}
    lines = [each.line(sum(each.model.encode() in value for _, value in letters)) for each in outcomes]

    with capsys.disabled():
        sys.stdout.write("\n" + "\n".join(lines))
        sys.stdout.write(f"\n{len(lines)} schedules in {time.monotonic() - began:.1f} s\n")
    assert [line for line in lines if not line.endswith(RIGHT)] == []


RIGHT = "gaps 0, duplicates 0, rollup off by 0, dead letters missing 0"


@dataclass(frozen=True)
class Outcome:
    """What one schedule left in the tables."""

    schedule: Schedule
    model: str
    sent: int
    stored: tuple[int, int, int]

    def line(self, letters: int) -> str:
        rows, ids, rolled = self.stored
        counts = f"sent {self.sent}, stored {rows}, gaps {self.sent - ids}, duplicates {rows - ids}"
        missing = len(POISON_AT) - letters
        return f"{self.schedule!s:<68} {counts}, rollup off by {rolled - self.sent}, dead letters missing {missing}"


def _killed_and_resumed(bench: Bench, group: str, schedule: Schedule) -> Outcome:
    model, killer = uuid.uuid4().hex, Killer(schedule.step, schedule.nth)
    end = bench.send(*_mixed(model, 0, REQUESTS))
    _run_until_killed(bench, bench.settings(group, max_batch_records=schedule.first), killer)
    end = max(end, bench.send(*_mixed(model, REQUESTS, schedule.extra)))
    sink = bench.sink(bench.settings(group, max_batch_records=schedule.second))
    drain(sink, lambda: position(sink) >= end)
    bench.sinks.pop().close()
    return Outcome(schedule, model, (REQUESTS + schedule.extra) * PER_REQUEST, bench.stored(model))


def _mixed(model: str, start: int, count: int) -> list[bytes]:
    """Requests of predictions, with a record that is no OTLP in some places."""
    out = []
    for place in range(start, start + count):
        if place in POISON_AT:
            out.append(b"\xff" + model.encode())
        out.append(predictions([f"{place}-{number}" for number in range(PER_REQUEST)], model))
    return out


def _run_until_killed(bench: Bench, settings: Kafka, killer: Killer) -> None:
    sink = bench.sink(settings, killer)
    with pytest.raises(Killed):
        drain(sink, lambda: False, limit_s=20)
    bench.sinks.pop().close()


def test_the_replay_after_a_crash_is_exact_where_the_store_refuses_records(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the halves that the search for the culprit inserts, too."""
    group, model = new_group(), new_group()
    settings = bench.settings(group, max_batch_records=1000)
    bench.start_at_end(settings)
    calls, insert = itertools.count(1), insert_exports
    deadly = {3, 6}

    def refusing(store: Store, signal: Signal, payloads: list[bytes], token: str) -> None:
        if any(b"cursed" in payload for payload in payloads):
            raise StoreError("Code: 53. cannot", 53)
        insert(store, signal, payloads, token)
        if next(calls) in deadly:
            raise Killed("after an insert")

    monkeypatch.setattr(inserter_module, "insert_exports", refusing)
    requests = [predictions([f"{place}-{number}" for number in range(5)], model) for place in range(16)]
    requests[5:5] = [predictions(["cursed"], model)]
    end = bench.send(*requests)
    for _ in deadly:
        sink = bench.sink(settings)
        with pytest.raises(Killed):
            drain(sink, lambda: False)
        bench.sinks.pop().close()
    last = bench.sink(settings)
    drain(last, lambda: position(last) >= end)
    assert bench.stored(model) == (80, 80, 80)
    assert len(bench.dead_letters(settings)) == 1


# Poison


def test_one_bad_record_in_a_hundred_is_put_aside_with_its_origin_while_the_good_ones_flow(bench: Bench) -> None:
    group, model = new_group(), new_group()
    settings = bench.settings(group)
    start = bench.start_at_end(settings)
    bad = {7, 107, 207}
    payloads = [b"\xff\xff bad" if n in bad else predictions([str(n)], model) for n in range(300)]
    end = bench.send(*payloads)
    sink = bench.sink(settings)
    drain(sink, lambda: position(sink) >= end)

    assert bench.stored(model) == (297, 297, 297)
    letters = bench.dead_letters(settings)
    assert {each.value for each in letters} == {b"\xff\xff bad"}
    headers = [dict(each.headers) for each in letters]
    assert {int(each["offset"]) for each in headers} == {start + n for n in bad}
    assert {(each["topic"], each["partition"]) for each in headers} == {(b"otlp_logs", b"0")}
    assert all(b"not a protobuf ExportLogsServiceRequest" in each["reason"] for each in headers)
    assert {each.key for each in letters} == {f"otlp_logs:0:{start + n}".encode() for n in bad}


@pytest.mark.parametrize("arriving", ["together", "one by one"])
def test_when_everything_is_poison_the_sink_stops_and_leaves_it_all_in_kafka(bench: Bench, arriving: str) -> None:
    settings = bench.settings(new_group(), max_batch_records=1000 if arriving == "together" else 1)
    start = bench.start_at_end(settings)
    bench.send(*[b"\xff bad %d" % n for n in range(40)])
    if arriving == "one by one":  # each a batch of its own, too small to be judged alone
        settings = settings.model_copy(update={"max_batch_bytes": 1})
    with pytest.raises(SinkStopped, match=r"cannot be stored.*mend the producer"):
        bench.sink(settings).run()
    put_aside = bench.committed(settings) - start
    assert put_aside == (0 if arriving == "together" else sink_module.POISON_MINIMUM - 1)
    assert len(bench.dead_letters(settings)) == put_aside


def test_when_the_store_refuses_everything_the_sink_stops_and_puts_nothing_aside(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, model = new_group(), new_group()
    settings = bench.settings(group)
    start = bench.start_at_end(settings)
    end = bench.send(*[predictions([str(n)], model) for n in range(40)])

    def refusing(*_: object) -> None:
        raise StoreError("Code: 16. no such column", 16)

    with monkeypatch.context() as broken:
        broken.setattr(inserter_module, "insert_exports", refusing)
        with pytest.raises(SinkStopped, match="no such column"):
            bench.sink(settings).run()
    assert (bench.committed(settings), bench.dead_letters(settings)) == (start, [])
    bench.sinks.pop().close()

    mended = bench.sink(settings)
    drain(mended, lambda: position(mended) >= end)
    assert bench.stored(model) == (40, 40, 40)


def test_an_empty_record_and_one_without_a_value_do_no_harm(bench: Bench) -> None:
    group, model = new_group(), new_group()
    settings = bench.settings(group)
    bench.start_at_end(settings)
    bench.producer.send(TOPIC, key=b"tombstone", partition=0)
    end = bench.send(b"", predictions(["a"], model), logs().SerializeToString())
    sink = bench.sink(settings)
    drain(sink, lambda: position(sink) >= end)
    assert bench.stored(model) == (1, 1, 1)


# Others of the group, and ClickHouse away


@pytest.mark.parametrize("asleep_at", STEPS[:5])
def test_a_sink_that_slept_through_its_session_and_wakes_is_fenced(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, asleep_at: str
) -> None:
    group, model = new_group(), new_group()
    settings = bench.settings(group, max_batch_records=10)
    bench.start_at_end(settings)
    impatient = functools.partial(KafkaConsumer, max_poll_interval_ms=800)
    sleeping, awake = threading.Event(), threading.Event()

    def fall_asleep(step: str) -> None:
        if step == asleep_at and not sleeping.is_set():
            sleeping.set()
            assert awake.wait(30)

    monkeypatch.setattr(sink_module, "KafkaConsumer", impatient)
    zombie = bench.sink(settings, fall_asleep)
    monkeypatch.setattr(sink_module, "KafkaConsumer", KafkaConsumer)
    end = bench.send(*[predictions([f"{place}-{n}" for n in range(5)], model) for place in range(20)])
    fenced: list[type[BaseException]] = []

    def work() -> None:
        try:
            while not zombie._stopping.is_set():
                zombie.poll_once()
        except CommitFailedError as error:
            fenced.append(type(error))

    thread = threading.Thread(target=work)
    thread.start()
    assert sleeping.wait(20)
    heir = bench.sink(settings)
    drain(heir, lambda: position(heir) >= end)
    awake.set()
    thread.join(20)

    assert [issubclass(each, CommitFailedError) for each in fenced] == [True]
    assert bench.stored(model) == (100, 100, 100)
    end = bench.send(predictions(["after"], model))
    drain(heir, lambda: position(heir) >= end)
    assert bench.stored(model) == (101, 101, 101)


def test_members_that_come_and_go_under_load_neither_skip_nor_repeat(bench: Bench) -> None:
    group, model = new_group(), new_group()
    settings = bench.settings(group, max_batch_records=100)
    bench.start_at_end(settings)
    sent, stop = [], threading.Event()
    place = TopicPartition(TOPIC, 1)
    consumer = KafkaConsumer(bootstrap_servers=bench.broker.bootstrap, group_id=group)
    consumer.assign([place])
    consumer.commit({place: OffsetAndMetadata(int(consumer.end_offsets([place])[place]), "", -1)})
    consumer.close(autocommit=False)

    def produce() -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            bench.producer.send(TOPIC, predictions([f"{number}-{n}" for n in range(5)], model), partition=number % 2)
            sent.append(number)
            time.sleep(0.01)

    producing = threading.Thread(target=produce)
    producing.start()
    steady = bench.sink(settings)
    threads = [threading.Thread(target=steady.run)]
    threads[0].start()
    for _ in range(3):
        guest = bench.sink(settings)
        thread = threading.Thread(target=guest.run)
        thread.start()
        time.sleep(0.6)
        guest.stop()
        thread.join(20)
        bench.sinks.remove(guest)
        guest.close()
    stop.set()
    producing.join()
    bench.producer.flush()
    until(lambda: min(bench.stored(model)) >= len(sent) * 5)  # the rollup is written after the rows
    steady.stop()
    threads[0].join(20)
    assert bench.stored(model) == (len(sent) * 5,) * 3


def test_a_store_that_fails_for_a_while_costs_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    group, model = new_group(), new_group()
    settings = bench.settings(group)
    bench.start_at_end(settings)
    attempts, insert = itertools.count(1), insert_exports

    def failing(*given: Any) -> None:
        if next(attempts) <= 3:
            raise StoreError("Code: 241. memory limit exceeded", 241)
        insert(*given)

    monkeypatch.setattr(inserter_module, "insert_exports", failing)
    monkeypatch.setattr(patience_module, "BACKOFF_S", (0.05,))
    end = bench.send(*[predictions([f"{place}-{n}" for n in range(5)], model) for place in range(20)])
    sink = bench.sink(settings)
    drain(sink, lambda: position(sink) >= end)
    assert next(attempts) > 4
    assert bench.stored(model) == (100, 100, 100)
    assert bench.dead_letters(settings) == []


def test_a_sink_that_is_stopped_while_the_store_is_away_ends_soon_and_the_next_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, model = new_group(), new_group()
    settings = bench.settings(group)
    bench.start_at_end(settings)
    tried = threading.Event()

    def failing(*_: object) -> None:
        tried.set()
        raise StoreError("Code: 210. connection refused", 210)

    end = bench.send(predictions(["a", "b"], model))
    with monkeypatch.context() as away:
        away.setattr(inserter_module, "insert_exports", failing)
        away.setattr(patience_module, "BACKOFF_S", (30,))
        sink = bench.sink(settings)
        thread = threading.Thread(target=sink.run)
        thread.start()
        assert tried.wait(20)
        sink.stop()
        thread.join(5)
        assert not thread.is_alive()
        bench.sinks.pop().close()
    following = bench.sink(settings)
    drain(following, lambda: position(following) >= end)
    assert bench.stored(model) == (2, 2, 2)


# Kafka away


def test_a_broker_killed_under_load_loses_nothing_that_was_acknowledged(
    store: Store, own_kafka_broker: KafkaBroker
) -> None:
    model = new_group()
    settings = Kafka(bootstrap_servers=(own_kafka_broker.bootstrap,), partitions=2, flush_after_s=0.05)
    transport = KafkaTransport(settings)
    sink = Sink(store, settings)
    working = threading.Thread(target=sink.run, daemon=True)
    working.start()
    acknowledged: list[str] = []
    outcomes: list[Future[None]] = []

    def keep(name: str, done: Future[None]) -> None:
        if done.exception() is None:
            acknowledged.append(name)

    for number in range(400):
        if number == 150:
            outcomes[100].result(30)
            own_kafka_broker.kill9()
            restarting = threading.Thread(target=own_kafka_broker.start)
            restarting.start()
        with suppress(Backpressure):  # while Kafka is away some are refused at once
            done = transport.submit(Export(Signal.LOGS, predictions([str(number)], model), 1))
            done.add_done_callback(functools.partial(keep, str(number)))
            outcomes.append(done)
        time.sleep(0.004)
    restarting.join()
    failed = [each for each in (future.exception(60) for future in outcomes) if each is not None]
    transport.flush(60)
    sink.stop()
    working.join(30)
    sink.close()
    transport.close(10)

    stored = {row["id"]: row["n"] for row in store.rows(IDS, {"m": model})}
    assert all(isinstance(each, Backpressure) for each in failed)
    assert set(acknowledged) - stored.keys() == set()
    assert len(acknowledged) > 100
    assert [name for name, count in stored.items() if count > 1] == []


IDS = "SELECT prediction_id AS id, count() AS n FROM predictions WHERE model = {m:String} GROUP BY id"


@pytest.mark.parametrize("step", ["insert", "commit"])
def test_a_connection_lost_in_the_middle_of_a_batch_neither_skips_nor_repeats(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """What was fetched and not yet taken is fetched again; what was inserted and not committed is not."""
    group, model = new_group(), new_group()
    settings = bench.settings(group, max_batch_records=10)
    bench.start_at_end(settings)
    lost = itertools.count(1)

    def lose_connection(reached: str) -> None:
        if reached == step and next(lost) in (2, 3):
            raise KafkaConnectionError("the broker is gone")

    monkeypatch.setattr(sink_module, "PAUSE_S", 0.02)
    end = bench.send(*[predictions([f"{place}-{n}" for n in range(5)], model) for place in range(20)])
    sink = bench.sink(settings, lose_connection)
    thread = threading.Thread(target=sink.run)
    thread.start()
    until(lambda: position(sink) >= end)
    sink.stop()
    thread.join(20)
    assert bench.stored(model) == (100, 100, 100)


def test_a_record_larger_than_kafka_takes_is_refused_for_good(kafka_broker: KafkaBroker) -> None:
    settings = Kafka(bootstrap_servers=(kafka_broker.bootstrap,), compression="none")
    transport = KafkaTransport(settings)
    try:
        with pytest.raises(InvalidPayload):
            transport.submit(Export(Signal.LOGS, bytes(70 * 2**20), 1))
        done = transport.submit(Export(Signal.LOGS, logs(record()).SerializeToString(), 1))
        assert done.result(30) is None
    finally:
        transport.close(10)
