"""Sinks as processes: frozen and woken, coming and going, fed with poison, with nowhere to put it, ClickHouse away."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

import pytest
from kafka.admin import ConfigResource, ConfigResourceType
from oracle import Oracle, Verdict
from processes import Child, Tidegauge, until
from results import FULL, publish
from system import Load, System, post
from topics import Lag

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(900)]

REBALANCES, PAUSE_S = (20, 4.0) if FULL else (4, 1.0)
POISON_EVERY, REQUESTS = (1000, 5000) if FULL else (100, 300)
AWAY_S, PER_S = (60, 60) if FULL else (3, 20)


def stopped(child: Child) -> bool:
    """Whether the kernel has frozen it."""
    return Path(f"/proc/{child.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("step", ("plan", "insert", "dead-letter", "commit") if FULL else ("insert",))
def test_a_sink_frozen_past_its_session_is_fenced_when_it_wakes(system: System, step: str) -> None:
    """Row 2."""
    impatience = {} if FULL else {"session_s": 2}
    receiver = system.receiver()
    zombie = system.stepping_sink({"max_batch_records": 20}, step=step, nth=2, freeze=True, **impatience)
    system.send(receiver, *(system.oracle.logs(5) for _ in range(20)))
    system.topics.send("otlp_logs", b"\xff no OTLP")
    until(lambda: stopped(zombie), 60, "the zombie sleeps")
    asleep = time.monotonic()
    heir = system.sink(max_batch_records=35)
    system.drained()
    recovered_s = time.monotonic() - asleep
    zombie.resume()
    until(lambda: "another member took over" in zombie.text, 30, "the zombie is fenced")
    system.send(receiver, *(system.oracle.traces(5) for _ in range(20)))
    system.drained()
    assert (zombie.terminate(), heir.terminate()) == (0, 0)

    verdict = system.verify()
    keys = {each.key for each in system.letters()}
    publish("2", f"frozen past its session at {step}", verdict, dead_lettered=len(keys), recovered_s=recovered_s)
    assert verdict.right, verdict
    assert len(keys) == 1
    assert recovered_s <= 30


def test_members_that_come_and_go_under_load_neither_skip_nor_repeat(system: System) -> None:
    """Row 3: half of those that leave are killed."""
    receiver, sinks, longest = system.receiver(), [system.sink()], [0.0]
    sinks[0].wait_for("database")
    with Load(system, receiver, per_s=20), Watch(system, longest):
        for number in range(REBALANCES // 2):
            sinks.append(system.sink(max_batch_records=(30, 300)[number % 2]))
            sinks[-1].wait_for("database")
            time.sleep(PAUSE_S)
            leaving = sinks.pop(0)
            leaving.process.send_signal(signal.SIGTERM if number % 2 else signal.SIGKILL)
            time.sleep(PAUSE_S)
    recovered_s = system.drained()
    assert [each.terminate() for each in sinks] == [0]

    verdict = system.verify()
    note = f"{REBALANCES} joins and leaves; a partition stood still for at most {longest[0]:.1f} s"
    publish("3", "rebalance storm under load", verdict, recovered_s=recovered_s, note=note)
    assert verdict.right, verdict
    assert longest[0] <= 30


class Watch:
    """Measures for how long a partition that has something to read was not read, into ``longest[0]``."""

    def __init__(self, system: System, longest: list[float]) -> None:
        self._system, self._longest = system, longest
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        seen: dict[object, tuple[int, float]] = {}
        while not self._stop.wait(0.5):
            now, ends = time.monotonic(), self._system.topics.all_signals()
            for place, end in ends.items():
                reached = end - self._system.topics.lag(self._system.name, {place: end}).records
                before, since = seen.get(place, (-1, now))
                if reached != before or reached == end:
                    seen[place] = (reached, now)
                else:
                    self._longest[0] = max(self._longest[0], now - since)


def poison(oracle_bytes: bytes) -> list[bytes]:
    """Values that are no request of logs: no protobuf, cut off, another signal's wire types, text, deep JSON."""
    return [
        b"\xff\xff\xff no protobuf",
        oracle_bytes[: len(oracle_bytes) // 2],
        b'{"resourceLogs": []}',
        b"[" * 5000,
        b"\x0a\x03\x0a\xff\xff",
    ]


def test_one_poisonous_record_in_a_thousand_is_put_aside_and_stored_once_after_the_fix(own_system: System) -> None:
    """Row 4. What ClickHouse refuses is put aside too; once it takes it, ``dlq redrive`` brings it back, once."""
    system = own_system
    system.clickhouse.fault(marker="cursed", code=53)
    receiver, expected = system.receiver(), set()
    bad, cursed = poison(Oracle("other").logs(1).body), system.oracle.logs(1, "cursed")
    for number in range(REQUESTS):
        if number % POISON_EVERY == POISON_EVERY // 2:
            value = bad[number // POISON_EVERY % len(bad)]
            [(partition, offset)] = system.topics.send("otlp_logs", value)
            expected.add((b"otlp_logs", str(partition).encode(), str(offset).encode()))
        if number == REQUESTS // 2:
            system.send(receiver, cursed)
        system.send(receiver, system.oracle.logs(3) if number % 2 else system.oracle.traces(3))
    sink = system.sink()
    recovered_s = system.drained(300)

    letters = [dict(each.headers) for each in system.letters()]
    assert {(each["topic"], each["partition"], each["offset"]) for each in letters} >= expected
    assert all(each["reason"] for each in letters)
    assert len(letters) == len(expected) + 1
    assert system.verify().lost == len(cursed.ids)
    system.clickhouse.fault()
    redrive(system)
    redrive(system)
    system.drained()
    assert sink.terminate() == 0
    verdict = system.verify()
    publish("4", "1 poisonous record in 1,000", verdict, dead_lettered=len(letters), recovered_s=recovered_s)
    assert verdict.right, verdict


def redrive(system: System) -> None:
    """Send what was put aside through the sink again, with the command."""
    settings = {"clickhouse": system.database, "kafka": system.kafka()}
    with Tidegauge("dlq redrive", system.folder, settings) as command:
        assert command.process.wait(60) == 0, command.text


@pytest.mark.parametrize("arriving", ["together", "one by one"] if FULL else ["together"])
def test_when_everything_is_poison_the_sink_stops_and_everything_stays(system: System, arriving: str) -> None:
    """Row 5."""
    settings = {} if arriving == "together" else {"max_batch_records": 1, "max_batch_bytes": 1}
    system.topics.send("otlp_logs", *(b"\xff bad deploy %d" % number for number in range(60)), partition=0)
    sink = system.sink(**settings)
    until(lambda: sink.metric("tidegauge_sink_stopped") == 1, 60, "the sink stops")

    letters, lag = len(system.letters()), system.lag()
    publish(
        "5", f"everything is poison, {arriving}", Verdict(sent=60), dead_lettered=letters, note=f"{lag.records} left"
    )
    assert (sink.status("/healthz"), sink.status("/readyz")) == (200, 503)
    assert "cannot be stored" in sink.text
    assert letters + lag.records == 60
    assert letters == (0 if arriving == "together" else 9)


@pytest.mark.parametrize("how", ["deleted", "refuses"] if FULL else ["refuses"])
def test_the_sink_waits_while_the_dead_letter_topic_is_away(system: System, how: str) -> None:
    """Row 6: the topic is deleted, or takes no record of more than some bytes."""
    receiver, sink = system.receiver(), system.sink()
    system.send(receiver, system.oracle.logs(5))
    sink.wait_for("database")
    system.drained()
    break_letters(system, how)
    places = system.topics.send("otlp_logs", b"\xff no OTLP", *(system.oracle.logs(2).body for _ in range(3)))
    time.sleep(15 if FULL else 4)
    committed = [place for place in places if is_committed(system, place)]
    began = time.monotonic()
    mend_letters(system, how)
    system.drained(120)
    assert sink.terminate() == 0

    system.oracle.acked.update(system.oracle.issued)
    verdict, letters = system.verify(), system.letters()
    recovered_s = time.monotonic() - began
    publish("6", f"dead-letter topic {how}", verdict, dead_lettered=len(letters), recovered_s=recovered_s)
    assert places[0] not in committed
    assert len({each.key for each in letters}) == 1
    assert verdict.right, verdict


def break_letters(system: System, how: str) -> None:
    name = f"dead_{system.name}"
    if how == "deleted":
        system.topics.admin.delete_topics([name])
    else:
        alter(system, name, "max.message.bytes", "60")


def mend_letters(system: System, how: str) -> None:
    name = f"dead_{system.name}"
    if how == "deleted":
        system.topics.admin.create_topics({name: {"num_partitions": 2, "replication_factor": 1}})
    else:
        alter(system, name, "max.message.bytes", str(2**20))


def alter(system: System, topic: str, key: str, value: str) -> None:
    system.topics.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, {key: value})])


def is_committed(system: System, place: tuple[int, int]) -> bool:
    from kafka import TopicPartition

    where = TopicPartition("otlp_logs", place[0])
    return system.topics.lag(system.name, {where: place[1] + 1}).records <= 0


@pytest.mark.sample
def test_clickhouse_away_costs_nothing_and_the_backlog_drains_faster_than_it_came(own_system: System) -> None:
    """Row 7."""
    system = own_system
    receiver, sink = system.receiver(), system.sink()
    system.send(receiver, system.oracle.logs(5))
    system.drained()
    system.clickhouse.kill()
    began, before = time.monotonic(), len(system.oracle.acked)
    with Load(system, receiver, per_s=PER_S) as load:
        time.sleep(AWAY_S)
    away_s, backlog = time.monotonic() - began, len(system.oracle.acked) - before
    assert set(load.answers) == {200}
    assert system.lag().records > 0
    assert (sink.status("/healthz"), sink.status("/readyz")) == (200, 503)
    rss = sink.rss_bytes
    system.clickhouse.start()
    recovered_s = system.drained(120)
    until(lambda: sink.status("/readyz") == 200, 20, "the sink is ready again")
    assert sink.terminate() == 0

    verdict, ratio = system.verify(), (backlog / recovered_s) / (backlog / away_s)
    note = f"away for {away_s:.0f} s, {backlog} records meanwhile; drained at {ratio:.1f} times their rate"
    publish("7", "ClickHouse down", verdict, recovered_s=recovered_s, note=note)
    assert verdict.right, verdict
    assert rss < 400 * 2**20
    assert ratio >= 2 or not FULL


@pytest.mark.parametrize("code", [252, 164] if FULL else [252])
def test_a_clickhouse_that_is_slow_and_then_refuses_is_waited_for(own_system: System, code: int) -> None:
    """Row 8: too many parts (252) or read-only (164), after inserts that take seconds."""
    system, seconds = own_system, 5 if FULL else 1
    receiver, sink = system.receiver(), system.sink(max_batch_records=400)
    system.send(receiver, system.oracle.logs(5))
    system.drained()
    system.clickhouse.fault(delay_s=seconds)
    with Load(system, receiver, per_s=40):
        time.sleep(4 * seconds)
    counts = system.clickhouse.counts()
    system.clickhouse.fault(code=code)
    began = time.monotonic()
    with Load(system, receiver, per_s=40):
        time.sleep(3 * seconds)
    refused = system.clickhouse.counts()["struck"] - counts["struck"]
    waited_s, rss = time.monotonic() - began, sink.rss_bytes
    system.clickhouse.fault()
    recovered_s = system.drained(120)
    assert sink.terminate() == 0

    verdict = system.verify()
    note = f"{seconds} s an insert: {counts['struck']} inserts; then refused {refused} times in {waited_s:.0f} s"
    publish("8", f"slow ClickHouse, then error {code}", verdict, recovered_s=recovered_s, note=note)
    assert verdict.right, verdict
    assert refused <= 4 + 2 * waited_s
    assert rss < 400 * 2**20
    assert system.letters() == []
    assert system.lag() == Lag(0, 0)


def test_requests_of_two_receivers_are_one_stream(system: System) -> None:
    """What ``post`` and ``Load`` rest on: both receivers acknowledge, the sink stores both."""
    first, second, sink = system.receiver(), system.receiver(), system.sink()
    for number in range(10):
        request = system.oracle.logs(3)
        assert post(system.client, (first, second)[number % 2].url(), request).status_code == 200
        system.oracle.acknowledge(request)
    system.drained()
    assert sink.terminate() == 0
    assert system.verify().right
