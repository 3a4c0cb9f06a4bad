"""Bad data on its way through receiver, Kafka, sink and ClickHouse: wrong clocks, too many values, changed schemas,
secrets."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from oracle import Oracle, Request
from results import FULL, publish
from system import PROTOBUF, System

from tidegauge.collectors.schema import CardinalityLoop
from tidegauge.config import Rollups

if TYPE_CHECKING:
    from tidegauge.store import Store

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

DAY_NS = 86_400 * 10**9
VALUES = 100_000 if FULL else 3_000


def at(request: Request, start: int, end: int) -> Request:
    """The same spans at another time."""
    message = ExportTraceServiceRequest.FromString(request.body)
    for span in message.resource_spans[0].scope_spans[0].spans:
        span.start_time_unix_nano, span.end_time_unix_nano = start, end
    return Request(request.signal, message.SerializeToString(), request.ids)


def test_wrong_clocks_poison_no_batch_and_are_noted(system: System) -> None:
    """Row 16."""
    now = time.time_ns()
    autumn = int(datetime(2025, 10, 26, 0, 30, tzinfo=UTC).timestamp()) * 10**9  # within the hour that comes twice
    clocks = {
        "a day ahead": (now + DAY_NS, now + DAY_NS + 1000, "ahead"),
        "a year behind": (now - 365 * DAY_NS, now - 365 * DAY_NS + 1000, "late"),
        "epoch 0": (0, 0, "no time"),
        "year 2299": (10_382_000_000_000_000_000, 10_382_000_000_000_000_000, "ahead"),
        "the last nanosecond": (2**64 - 1, 2**64 - 1, "ahead"),
        "end before start": (now - 10**9, now - 2 * 10**9, "ends before start"),
        "summer time ends": (autumn, autumn + 3600 * 10**9, "late"),
        "right": (now - 10**9, now - 10**9 + 1000, ""),
    }
    receiver, sink = system.receiver(), system.sink()
    expected: dict[str, str] = {}
    for start, end, note in clocks.values():
        request = at(system.oracle.traces(2), start, end)
        system.send(receiver, request, system.oracle.logs(2))
        expected |= dict.fromkeys(request.ids, note)
    system.drained()
    assert sink.terminate() == 0

    store = system.clickhouse.store(system.name)
    sql = "SELECT SpanAttributes['oracle.id'] AS id, TimeNote AS note, EventTime AS at FROM otel_traces"
    rows = {row["id"]: row for row in store.rows(sql)}
    store.close()
    verdict, letters = system.verify(), system.letters()
    publish(
        "16", f"{len(clocks)} clocks", verdict, dead_lettered=len(letters), note="each span flagged with the reason"
    )
    assert (verdict.lost, verdict.duplicates, verdict.altered, len(letters)) == (0, 0, 0, 0)
    assert {each: row["note"] for each, row in rows.items()} == expected
    limit = datetime.now(UTC).timestamp() + 600
    assert all(row["at"].timestamp() < limit for row in rows.values())


def slices(model: str, first: int, count: int) -> bytes:
    """A request of predictions, each with a slice value of its own."""
    request = ExportLogsServiceRequest()
    inside = request.resource_logs.add().scope_logs.add()
    for number in range(first, first + count):
        record = inside.log_records.add(time_unix_nano=time.time_ns(), event_name="tidegauge.prediction")
        record.attributes.append(text("tidegauge.model.name", model))
        record.attributes.append(text("tidegauge.prediction.id", f"{model}-{number}"))
        record.attributes.append(text("tidegauge.slice.user", f"user-{number}"))
    return request.SerializeToString()


def text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def test_a_slice_of_too_many_values_is_capped_in_rollups_and_kept_in_the_rows(system: System) -> None:
    """Row 17, at a tenth of a million values."""
    receiver, sink = system.receiver(), system.sink()
    store, cap = system.clickhouse.store(system.name), Rollups().max_values
    step = 1000
    for first in range(0, VALUES, step):
        send_raw(system, receiver.url(), slices(system.name, first, step))
        if first % (10 * step) == 0:
            system.drained()
            CardinalityLoop(store, Rollups()).run(datetime.now(UTC))
    system.drained(180)
    before_s, rows = timed(store, ROLLED)
    rss = sink.rss_bytes
    send_raw(system, receiver.url(), slices(system.name, VALUES, step))
    system.drained()
    after = rolled(store)
    assert sink.terminate() == 0

    raw = store.value("SELECT uniqExact(slices['user']) FROM predictions")
    store.close()
    note = f"{raw} values sent, {after} kept apart in the rollup, the rest as other; read in {1000 * before_s:.0f} ms"
    publish("17", "cardinality explosion (1/10 scale)" if FULL else "cardinality explosion", note=note)
    assert raw == VALUES + step
    assert rows == 1
    assert after <= rolled_limit(cap, step)
    assert rss < 500 * 2**20
    assert before_s < 5


ROLLED = "SELECT uniqExact(slice) AS n FROM predictions_1h WHERE dimension = 'user'"


def rolled(store: Store) -> int:
    """Values kept apart."""
    return int(store.value(ROLLED))


def rolled_limit(cap: int, step: int) -> int:
    """What came before a look at the values is there too: ten requests between two looks, and the first."""
    return cap + 11 * step


def timed(store: Store, sql: str) -> tuple[float, int]:
    """Seconds of a query, and its rows."""
    began = time.monotonic()
    found = len(store.rows(sql))
    return time.monotonic() - began, found


def send_raw(system: System, url: str, body: bytes, signal: str = "logs") -> None:
    """A request that no oracle issued."""
    answer = system.client.post(f"{url}/v1/{signal}", content=body, headers=PROTOBUF)
    assert answer.status_code == 200, answer.content


def predicted(model: str, version: str, **features: float | str) -> bytes:
    """One prediction."""
    request = ExportLogsServiceRequest()
    inside = request.resource_logs.add().scope_logs.add()
    record = inside.log_records.add(time_unix_nano=time.time_ns(), event_name="tidegauge.prediction")
    record.attributes.extend([text("tidegauge.model.name", model), text("tidegauge.model.version", version)])
    record.attributes.append(text("tidegauge.prediction.id", f"{model}-{version}-{features}"))
    for name, value in features.items():
        any_value = AnyValue(string_value=value) if isinstance(value, str) else AnyValue(double_value=value)
        record.attributes.append(KeyValue(key=f"tidegauge.feature.{name}", value=any_value))
    return request.SerializeToString()


def test_a_schema_that_changes_midstream_is_stored_and_told_as_an_event(system: System) -> None:
    """Row 18."""
    receiver, sink, model = system.receiver(), system.sink(), system.name
    for number in range(5):
        send_raw(system, receiver.url(), predicted(model, "1", age=30.0 + number, income=10.0 + number, gone=1.0))
        time.sleep(0.05)
    system.drained()
    for number in range(5):
        send_raw(system, receiver.url(), predicted(model, "2", age=f"thirty-{number}", income=10.0 + number, fresh=1.0))
    system.drained()
    assert sink.terminate() == 0

    store = system.clickhouse.store(system.name)
    stored = store.value("SELECT count() FROM predictions")
    kept = store.value("SELECT countIf(mapContains(categories, 'age')) FROM predictions WHERE version = '2'")
    sql = "SELECT feature, change FROM schema_changes WHERE version = '2' AND model = {m:String}"
    changes = {(row["feature"], row["change"]) for row in store.rows(sql, {"m": model})}
    store.close()
    letters = len(system.letters())
    note = f"{stored} of 10 predictions stored; events: {', '.join(' '.join(each) for each in sorted(changes))}"
    publish("18", "features new, removed and retyped", dead_lettered=letters, note=note)
    assert (stored, kept, letters) == (10, 5, 0)
    assert changes == {("age", "retyped"), ("fresh", "new"), ("gone", "removed")}


SECRETS = {
    "aws": "AKIA" + "IOSFODNN7EXAMPLE"[:16],
    "github": "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a"[:36],
    "openai": "sk-proj-" + "Qm9vVGhpc0lzTm90QVJlYWxLZXkxMjM0NTY3ODkwYWJjZGVm",
    "slack": "xoxb-" + "263594206564-2343594206574-FGqddMF8t08v8N7Oq4i57vs1",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "card": "4111 1111 1111 1111",
    "email": "jane.roe@example.org",
    "password in a URL": "hunter2hunter2",
    "private key": "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7",
}


def leaking(oracle: Oracle) -> list[Request]:
    """Spans and logs with secrets in attributes, prompts, messages, exception text, URLs, headers and bodies."""
    words = dict(SECRETS)
    dsn = f"postgres://admin:{words['password in a URL']}@db/prod"
    pem = f"-----BEGIN PRIVATE KEY-----\n{words['private key']}\n-----END PRIVATE KEY-----"
    sentence = f"call {words['email']} card {words['card']} key {words['aws']} {words['github']} {words['slack']}"
    spans, logs = oracle.traces(1), oracle.logs(1)
    traced = ExportTraceServiceRequest.FromString(spans.body)
    span = traced.resource_spans[0].scope_spans[0].spans[0]
    message = KeyValueList(values=[text("role", "user"), text("content", f"{sentence} {words['openai']}")])
    nested = AnyValue(array_value=ArrayValue(values=[AnyValue(kvlist_value=message)]))
    span.attributes.extend(
        [
            text("gen_ai.prompt", sentence),
            KeyValue(key="gen_ai.input.messages", value=nested),
            text("http.request.header.authorization", f"Bearer {words['jwt']}"),
            text("url.full", f"https://x/?api_key={words['openai']}&next=1"),
            text("db.connection_string", dsn),
        ]
    )
    trouble = span.events.add(name="exception", time_unix_nano=span.start_time_unix_nano)
    trouble.attributes.append(text("exception.message", f"cannot connect to {dsn}: {pem}"))
    span.status.message = f"failed with {words['github']}"
    logged = ExportLogsServiceRequest.FromString(logs.body)
    logged.resource_logs[0].scope_logs[0].log_records[0].body.string_value = f"{sentence} {words['jwt']} {pem}"
    return [
        Request("traces", traced.SerializeToString(), spans.ids),
        Request("logs", logged.SerializeToString(), logs.ids),
    ]


def leaks(where: str, data: bytes) -> set[str]:
    """Which secrets stand in some bytes."""
    return {f"{name} in {where}" for name, secret in SECRETS.items() if secret.encode() in data}


def everything(store: Store) -> bytes:
    """All rows of all tables as text, but for states of aggregations: on disk they are compressed."""
    columns = """SELECT table, groupArray(name) AS names FROM system.columns WHERE database = currentDatabase()
        AND type NOT LIKE 'AggregateFunction%' AND default_kind != 'EPHEMERAL'
        AND table IN (SELECT name FROM system.tables
        WHERE database = currentDatabase() AND engine LIKE '%MergeTree') GROUP BY table"""
    reads = [(row["table"], ", ".join(f"`{name}`" for name in row["names"])) for row in store.rows(columns)]
    return b"\n".join(repr(store.rows(f"SELECT {names} FROM {table}")).encode() for table, names in reads)


def test_secrets_are_in_no_table_no_topic_no_dead_letter_and_no_log(system: System) -> None:
    """Row 23: two pass the receiver; a third comes as the official Collector's would, straight into Kafka."""
    settings = {"compression": "none"}
    receiver, sink = system.receiver(), system.sink(**settings)
    for request in leaking(system.oracle):
        system.send(receiver, request)
    straight = leaking(Oracle(f"{system.name}-straight", seed=2))
    found = {each for topic in ("otlp_spans", "otlp_logs") for each in leaks(topic, values(system, topic))}
    for request in straight:
        system.topics.send({"traces": "otlp_spans", "logs": "otlp_logs"}[request.signal], request.body, partition=0)
    system.drained()
    assert sink.terminate() == 0

    store = system.clickhouse.store(system.name)
    found |= leaks("ClickHouse", everything(store))
    rows = store.value("SELECT count() FROM otel_traces") + store.value("SELECT count() FROM otel_logs")
    store.close()
    found |= {each for file in files(system.clickhouse.folder) for each in leaks(file.name, file.read_bytes())}
    found |= leaks("dead letters", b"".join(each.value for each in system.letters()))
    found |= leaks("the receiver's log", receiver.text.encode()) | leaks("the sink's log", sink.text.encode())
    note = f"{len(SECRETS)} secrets in 9 places of {rows} records; found again: {len(found)}"
    publish("23", "secrets", note=note)
    assert rows == 4
    assert found == set()


def values(system: System, topic: str) -> bytes:
    """A topic's values, decompressed."""
    return b"\n".join(each.value for each in system.topics.records(topic))


def files(folder: Path) -> list[Path]:
    """ClickHouse's data as it is on disk."""
    return [each for each in folder.rglob("*") if each.is_file()]
