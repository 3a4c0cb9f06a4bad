"""The reconciliation: silent while everything is accounted for, and exact about what is not."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata
from kafka_bench import TOPIC, Bench, drain, new_group, position
from otlp_payloads import logs, predictions, record
from typer.testing import CliRunner

from tidegauge import cli, instruments
from tidegauge.collectors.direct import DirectTransport
from tidegauge.collectors.kafka import Sink
from tidegauge.collectors.reconcile import Reconciler, Report
from tidegauge.config import Direct, Kafka, Reconcile
from tidegauge.metrics import METRICS, observe
from tidegauge.model import Export, Signal, Window
from tidegauge.store import Store

NOW_NS = int(datetime.now(UTC).timestamp() * 1e9)


def checked(bench: Bench, settings: Kafka, later_s: float = 120) -> Report:
    return Reconciler(bench.store, Reconcile(), settings).report(datetime.now(UTC) + timedelta(seconds=later_s))


def batches(bench: Bench, settings: Kafka, count: int = 5) -> tuple[Sink, int]:
    """So many batches of two records each, stored; returns the first offset."""
    start = bench.start_at_end(settings)
    sink = bench.sink(settings)
    for number in range(count):
        end = bench.send(logs(*(record(each, time_unix_nano=NOW_NS) for each in (number, number))).SerializeToString())
        drain(sink, lambda end=end: position(sink) >= end)  # type: ignore[misc]
    return sink, start


def move(bench: Bench, settings: Kafka, to: int) -> None:
    """Set the group to another offset, as an operator can."""
    consumer = KafkaConsumer(bootstrap_servers=bench.broker.bootstrap, group_id=settings.group_id)
    place = TopicPartition(TOPIC, 0)
    consumer.assign([place])
    consumer.commit({place: OffsetAndMetadata(to, "", -1)})
    consumer.close(autocommit=False)


@pytest.mark.kafka
def test_where_nothing_is_wrong_it_says_nothing_and_the_books_add_up(bench: Bench) -> None:
    settings = bench.settings(new_group())
    sink, _ = batches(bench, settings)
    bad = bench.send(b"\xff bad", predictions(["a"], "m"))
    drain(sink, lambda: position(sink) >= bad)
    bench.send(predictions(["b"], "m"))  # not stored yet

    report = checked(bench, settings)

    assert report.gaps == []
    [account] = [each for each in report.accounts if (each.topic, each.partition) == (TOPIC, 0)]
    assert (account.stored, account.dead_letters, account.in_flight, account.unknown) == (6, 1, 1, 0)
    assert (account.accepted, account.records) == (8, 11)
    assert 0 < account.lag_s < 600


@pytest.mark.kafka
def test_it_says_nothing_while_the_sink_works_and_members_come_and_go(bench: Bench) -> None:
    settings = bench.settings(new_group(), max_batch_records=10)
    bench.start_at_end(settings)
    reconciler = Reconciler(bench.store, Reconcile(grace_s=0), settings)
    found: list[Any] = []
    for _ in range(2):
        sink = bench.sink(settings)
        thread = threading.Thread(target=sink.run)
        thread.start()
        for number in range(15):
            bench.send(predictions([f"{number}-{each}" for each in range(5)], "m"))
            if number % 3 == 0:
                found += reconciler.report(datetime.now(UTC)).gaps
        sink.stop()
        thread.join(20)
        bench.sinks.pop().close()
    found += checked(bench, settings).gaps
    assert found == []


@pytest.mark.kafka
def test_offsets_that_somebody_skipped_are_named_before_and_after_the_sink_goes_on(bench: Bench) -> None:
    settings = bench.settings(new_group())
    _, start = batches(bench, settings, 2)
    bench.sinks.pop().close()
    end = bench.send(*[predictions([str(number)], "m") for number in range(3)])
    move(bench, settings, end)

    [gap] = checked(bench, settings).gaps
    assert (gap.topic, gap.partition, gap.first, gap.last, gap.records) == (TOPIC, 0, start + 2, end - 1, 3)
    assert "moved the group on" in gap.what

    sink = bench.sink(settings)
    following = bench.send(predictions(["after"], "m"))
    drain(sink, lambda: position(sink) >= following)
    [gap] = checked(bench, settings).gaps
    assert (gap.first, gap.last) == (start + 2, end - 1)


@pytest.mark.kafka
@pytest.mark.parametrize("which", [0, 2, 4])
def test_a_ledger_row_that_is_gone_is_named_by_its_offsets(bench: Bench, which: int) -> None:
    settings = bench.settings(new_group())
    _, start = batches(bench, settings)
    bench.store.execute(
        "ALTER TABLE ingest_ledger DELETE WHERE first_offset = {o:UInt64} SETTINGS mutations_sync = 2",
        {"o": start + which},
    )
    gaps = checked(bench, settings).gaps
    named = {(each.first, each.last) for each in gaps}
    if which:  # the first row is where the books begin; its rows are still there without it
        assert named == {(start + which, start + which)}
        assert any("ledger" in each.what for each in gaps)
    else:
        assert [each.what for each in gaps] == ["2 rows counted that the ledger does not name: perhaps stored twice"]


@pytest.mark.kafka
def test_rows_that_clickhouse_did_not_count_are_named_by_their_offsets(bench: Bench) -> None:
    settings = bench.settings(new_group())
    _, start = batches(bench, settings)
    bench.store.execute(
        "ALTER TABLE ingest_rows DELETE WHERE token LIKE {t:String} SETTINGS mutations_sync = 2",
        {"t": f"{TOPIC}:0:{start + 1}-%"},
    )
    [gap] = checked(bench, settings).gaps
    assert (gap.first, gap.last, gap.records) == (start + 1, start + 1, 2)
    assert gap.what == "2 rows were inserted and ClickHouse counted 0"


@pytest.mark.kafka
def test_rows_that_are_gone_from_a_table_are_named_by_table_and_day(bench: Bench) -> None:
    settings = bench.settings(new_group())
    batches(bench, settings)
    bench.store.execute("ALTER TABLE otel_logs DELETE WHERE Body = '3' SETTINGS mutations_sync = 2")
    [gap] = checked(bench, settings, later_s=60).gaps
    assert (gap.signal, gap.records) == (Signal.LOGS, 2)
    assert gap.where == f"otel_logs {datetime.fromtimestamp(NOW_NS / 1e9, UTC):%Y-%m-%d}"
    assert gap.what == "10 rows were stored and 8 are there: deleted, or a part was lost"


@pytest.mark.kafka
def test_rows_that_a_refused_insert_left_behind_are_told_once_they_last(bench: Bench) -> None:
    """A view that fails does not take back what the tables before it have: the halves store that again."""
    settings = bench.settings(new_group())
    batches(bench, settings, 2)
    store = bench.store
    store.execute("CREATE TABLE fragile (body String) ENGINE = MergeTree ORDER BY body")
    store.execute(
        "CREATE MATERIALIZED VIEW fragile_mv TO fragile AS SELECT concat(Body, toString(throwIf(Body = 'cursed'))) "
        "AS body FROM otel_logs"
    )
    try:
        cursed = record(1, time_unix_nano=NOW_NS)
        cursed.body.string_value = "cursed"
        good = [logs(record(each, time_unix_nano=NOW_NS)).SerializeToString() for each in range(3)]
        sink = bench.sinks[-1]
        end = bench.send(*good, logs(cursed).SerializeToString())
        drain(sink, lambda: position(sink) >= end)
    finally:
        store.execute("DROP TABLE fragile_mv")
        store.execute("DROP TABLE fragile")
    reconciler = Reconciler(store, Reconcile(), settings)
    rounds = [reconciler.report(datetime.now(UTC) + timedelta(seconds=60)).gaps for _ in range(2)]
    beyond = store.value("SELECT count() FROM otel_logs") - store.value("SELECT sum(rows) FROM ingest_ledger")
    assert beyond > 0
    assert sum(each.records for each in rounds[1]) == beyond
    assert all("perhaps stored twice" in each.what for each in rounds[1])


@pytest.mark.kafka
def test_a_round_sets_the_gauges_and_writes_what_alerts_watch(bench: Bench) -> None:
    settings = bench.settings(new_group())
    _, start = batches(bench, settings)
    now = datetime.now(UTC) + timedelta(seconds=60)
    reconciler = Reconciler(bench.store, Reconcile(), settings)
    window = Window(now - timedelta(minutes=5), now + timedelta(minutes=1))
    gap, lag = METRICS["reconciliation_gap_records"], METRICS["sink_lag"]

    reconciler.run(now - timedelta(seconds=1))
    assert [each.value for each in observe(bench.store, gap, [], window)] == [0]
    bench.store.execute(
        "ALTER TABLE ingest_ledger DELETE WHERE first_offset = {o:UInt64} SETTINGS mutations_sync = 2", {"o": start + 2}
    )
    bench.send(predictions(["waiting"], "m"))
    reconciler.run(now)

    found = {each.labels["signal"]: each for each in observe(bench.store, gap, ["signal"], window)}
    assert found["logs"].value == 3  # one offset, and two rows that nobody names
    assert found["traces"].value == 0
    assert f"offsets {start + 2}-{start + 2}" in found["logs"].note
    [behind] = observe(bench.store, lag, [], window)
    assert 30 < (behind.value or 0) < 600
    gauge = "tidegauge_reconciliation_gap_records"
    assert instruments.REGISTRY.get_sample_value(gauge, {"signal": "logs"}) == 3
    waiting = "tidegauge_reconciliation_in_flight_messages"
    assert instruments.REGISTRY.get_sample_value(waiting, {"signal": "logs"}) == 1


@pytest.mark.kafka
def test_the_command_prints_the_books_and_ends_with_1_on_a_gap(bench: Bench, tmp_path: Path) -> None:
    settings = bench.settings(new_group())
    batches(bench, settings, 3)
    bench.sinks.pop().close()
    config = tmp_path / "tidegauge.yaml"
    kafka = {"bootstrap_servers": list(settings.bootstrap_servers), "group_id": settings.group_id}
    clickhouse = {"dsn": bench.store.dsn, "database": bench.store.database}
    config.write_text(json.dumps({"kafka": kafka, "clickhouse": clickhouse}))

    right = CliRunner().invoke(cli.app, ["reconcile", "--config", str(config)])
    move(bench, settings, bench.send(predictions(["skipped"], "m")))
    wrong = CliRunner().invoke(cli.app, ["reconcile", "--json", "--config", str(config)])

    assert (right.exit_code, right.stdout.splitlines()[-1]) == (0, "everything is accounted for")
    assert (wrong.exit_code, json.loads(wrong.stdout)["ok"]) == (1, False)
    assert json.loads(wrong.stdout)["gaps"][0]["topic"] == TOPIC


def test_what_was_stored_without_kafka_is_compared_with_what_was_answered(store: Store) -> None:
    transport = DirectTransport(store, Direct(flush_after_s=0.01))
    reconciler = Reconciler(store, Reconcile(), None, transport)
    try:
        for number in range(6):
            transport.submit(Export(Signal.LOGS, logs(record(number), record(number)).SerializeToString(), 2)).result(
                30
            )
            assert reconciler.report(datetime.now(UTC)).gaps == []
        transport.stored[Signal.LOGS] += 3  # answered, and nowhere
        [gap] = reconciler.report(datetime.now(UTC)).gaps
    finally:
        transport.close(10)
    assert (gap.signal, gap.records) == (Signal.LOGS, 3)
