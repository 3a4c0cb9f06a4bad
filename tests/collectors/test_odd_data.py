"""Clocks that are wrong, dimensions without bound, schemas that change: nothing is poisoned, and each is counted."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from tidegauge.collectors.schema import CardinalityLoop, insert_exports
from tidegauge.config import Rollups
from tidegauge.metrics import METRICS, observe
from tidegauge.model import Signal, Window
from tidegauge.store import Store

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
YEAR_2299_NS = 10_382_342_400 * 10**9
EVENTS = ("tidegauge.prediction", "tidegauge.label", "tidegauge.feedback", "tidegauge.outcome", "log")
TABLES = ("predictions", "labels", "feedback", "outcomes")
FEW = Rollups(max_values=10)


def ns(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1) * 1000


def insert_logs(store: Store, *times_ns: int) -> None:
    """One OTLP request: every kind of event at each of the times."""
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for at, time_ns in enumerate(times_ns):
        for event in EVENTS:
            record = scope.log_records.add(time_unix_nano=time_ns, event_name=event if event != "log" else "")
            for key, value in {"tidegauge.prediction.id": f"p{at}", "tidegauge.model.name": "m"}.items():
                record.attributes.add(key=key).value.string_value = value
    insert_exports(store, Signal.LOGS, [request.SerializeToString()], uuid.uuid4().hex)


@pytest.mark.parametrize("table", TABLES)
def test_impossible_times_become_that_of_storing_and_say_why_and_the_batch_is_stored(store: Store, table: str) -> None:
    now = datetime.now(UTC)
    times = [now, now + timedelta(days=1), now - timedelta(days=365), EPOCH, now.replace(year=2200)]
    insert_logs(store, *map(ns, times), YEAR_2299_NS, 0, 1, 2**64 - 1)

    rows = store.rows(f"SELECT * FROM {table} ORDER BY prediction_id")
    assert [row["time_note"] for row in rows] == [
        "",
        "ahead",
        "late",
        "no time",
        "ahead",
        "ahead",
        "no time",
        "no time",
        "ahead",
    ]
    kept = {0: times[0], 2: times[2]}
    for at, row in enumerate(rows):
        assert abs(row["timestamp"] - kept.get(at, row["stored_at"])) < timedelta(seconds=1)
    assert abs(rows[1]["sent_at"] - times[1]) < timedelta(seconds=1)


def test_late_records_and_wrong_clocks_are_counted_and_do_not_move_the_newest_minute(store: Store) -> None:
    now = datetime.now(UTC)
    times = [now, now + timedelta(days=1), now - timedelta(days=365), EPOCH]
    insert_logs(store, *map(ns, times))

    sums = "sum(records) AS n, sum(late) AS late, sum(ahead) AS ahead, sum(no_time) AS lost"
    counts = store.rows(f"SELECT kind, {sums} FROM ingest_delay_1m GROUP BY kind")
    assert {row["kind"]: (row["n"], row["late"], row["ahead"], row["lost"]) for row in counts} == dict.fromkeys(
        EVENTS, (4, 1, 1, 1)
    )
    assert store.value("SELECT max(minute) FROM ingest_1m") <= datetime.now(UTC)
    assert store.value("SELECT max(hour) FROM predictions_1h") <= datetime.now(UTC)
    assert store.value("SELECT max(minute) FROM predictions_1m") <= datetime.now(UTC)
    window = Window(now.replace(second=0, microsecond=0), now.replace(second=0, microsecond=0) + timedelta(minutes=5))
    assert [observe(store, METRICS[name], [], window)[0].value for name in ("late_share", "wrong_clock_share")] == [
        0.25,
        0.5,
    ]


def test_the_delay_from_event_to_queryable_is_measured_for_events(store: Store) -> None:
    insert_logs(store, ns(datetime.now(UTC) - timedelta(seconds=30)))
    delay = "quantilesTDigestMerge(0.5, 0.95, 0.99)(delay_s)[2]"
    sql = f"SELECT {delay} FROM ingest_delay_1m WHERE kind = 'tidegauge.prediction'"
    assert store.value(sql) == pytest.approx(30, abs=5)


def test_the_verified_tenant_wins_over_what_the_payload_says(store: Store) -> None:
    row = {"Timestamp": datetime.now(UTC), "EventName": "tidegauge.prediction"}
    sent = {"tidegauge.tenant": "mallory", "tidegauge.tenant.verified": "mallory"}
    verified = {"ResourceAttributes": {"tidegauge.tenant.verified": "acme", "tidegauge.tenant": "mallory"}}
    unverified: dict[str, Any] = {"ResourceAttributes": {}}
    store.insert("otel_logs", [row | each | {"LogAttributes": sent} for each in (verified, unverified)])
    assert [each["slices"] for each in store.rows("SELECT slices FROM predictions ORDER BY slices['tenant']")] == [
        {"tenant": "acme"},
        {"tenant": "mallory"},
    ]


def predictions(store: Store, slices: list[str], **values: Any) -> None:
    at = datetime.now(UTC)
    rows = [
        {"timestamp": at, "prediction_id": str(i), "model": "m", "slices": {"user": each}}
        for i, each in enumerate(slices)
    ]
    store.insert("predictions", [row | values for row in rows], uuid.uuid4().hex)


def slices(store: Store) -> dict[str, int]:
    sql = "SELECT slice, sum(predictions) AS n FROM predictions_1h WHERE dimension = 'user' GROUP BY slice"
    return {row["slice"]: row["n"] for row in store.rows(sql)}


def test_a_dimension_with_too_many_values_keeps_the_most_frequent_and_sums_up_the_rest(store: Store) -> None:
    loop = CardinalityLoop(store, FEW)
    predictions(store, ["often"] * 50 + [f"u{at}" for at in range(30)])
    [told] = loop.run(datetime.now(UTC))
    assert (told.rollup, told.owner, told.dimension, told.seen) == ("predictions_1h", "m", "slice.user", 31)

    before = len(slices(store))
    predictions(store, ["often"] * 5 + [f"v{at}" for at in range(1000)])
    found = slices(store)
    assert (found["often"], found["other"], len(found)) == (55, 1000, before + 1)
    assert store.value("SELECT uniqExact(slices['user']) FROM predictions") == 1031, "the rows keep the truth"
    [alertable] = observe(store, METRICS["capped_dimensions"], ["dimension"], Window(EPOCH, datetime.now(UTC)))
    assert (alertable.value, alertable.labels) == (1, {"dimension": "slice.user"})


def test_other_models_and_dimensions_are_not_touched_by_a_cap(store: Store) -> None:
    predictions(store, [f"u{at}" for at in range(30)])
    CardinalityLoop(store, FEW).run(datetime.now(UTC))
    predictions(store, ["new"], model="calm")
    sql = "SELECT slice FROM predictions_1h WHERE model = 'calm' AND dimension = 'user'"
    assert store.rows(sql) == [{"slice": "new"}]


def test_a_dimension_is_set_free_when_few_values_are_left(store: Store) -> None:
    loop = CardinalityLoop(store, FEW)
    predictions(store, [f"u{at}" for at in range(30)])
    assert loop.run(datetime.now(UTC))
    assert loop.run(datetime.now(UTC) + timedelta(days=2)) == []
    predictions(store, ["new"])
    assert slices(store)["new"] == 1


def test_a_decision_between_an_insert_and_its_repetition_stores_nothing_twice(store: Store) -> None:
    rows = [{"timestamp": datetime.now(UTC), "model": "m", "slices": {"user": f"u{at}"}} for at in range(30)]
    store.insert("predictions", rows, "token")
    CardinalityLoop(store, FEW).run(datetime.now(UTC))
    store.insert("predictions", rows, "token")
    assert sum(slices(store).values()) == 30


def test_versions_models_and_tenants_are_capped_too(store: Store) -> None:
    at = datetime.now(UTC)
    span = {"Timestamp": at, "SpanAttributes": {"gen_ai.operation.name": "chat"}, "ServiceName": "shop"}
    store.insert("otel_traces", [span | {"ResourceAttributes": {"tidegauge.tenant": f"t{n}"}} for n in range(30)])
    row = {"timestamp": at, "prediction_id": "", "features": {}}
    store.insert(
        "predictions", [row | {"model": "m", "version": f"v{n}", "features": {f"f{n}": 1.0}} for n in range(30)]
    )
    store.insert("predictions", [row | {"model": f"m{n}"} for n in range(30)])
    told = {
        (each.rollup, each.owner, each.dimension) for each in CardinalityLoop(store, FEW).run(at + timedelta(seconds=5))
    }
    assert told == {
        ("predictions_1h", "m", "version"),
        ("predictions_1h", "", "model"),
        ("feature_kinds", "m", "feature"),
        ("llm_calls_1m", "shop", "tenant"),
    }
    store.insert("otel_traces", [span | {"ResourceAttributes": {"tidegauge.tenant": "brand new"}, "SpanId": "x"}])
    assert store.value("SELECT sum(calls) FROM llm_calls_1m WHERE tenant = 'other'") == 1
    store.insert("predictions", [row | {"model": "brand new"}])
    assert store.value("SELECT sum(predictions) FROM predictions_1h WHERE model = 'other'") == 1
    assert store.value("SELECT sum(predictions) FROM predictions_1m WHERE model = 'brand new'") == 1


def changes(store: Store) -> set[tuple[str, str, str, str, str]]:
    rows = store.rows("SELECT version, feature, old_kind, new_kind, change FROM schema_changes WHERE model = 'm'")
    return {(row["version"], row["feature"], row["old_kind"], row["new_kind"], row["change"]) for row in rows}


def sent(store: Store, at: datetime, version: str, **features: str) -> None:
    attributes = {"tidegauge.model.name": "m", "tidegauge.model.version": version}
    attributes |= {f"tidegauge.feature.{name}": value for name, value in features.items()}
    store.insert("otel_logs", [{"Timestamp": at, "EventName": "tidegauge.prediction", "LogAttributes": attributes}])


def test_new_removed_and_retyped_features_of_a_version_are_events(store: Store) -> None:
    at = datetime.now(UTC) - timedelta(days=5)
    sent(store, at, "1", age="41", gone="1", plan="pro")
    sent(store, at + timedelta(hours=1), "2", age="41 years", plan="free", height="180")
    assert changes(store) == {
        ("2", "age", "number", "text", "retyped"),
        ("2", "gone", "number", "", "removed"),
        ("2", "height", "", "number", "new"),
    }
    seen = "SELECT first_seen FROM schema_changes WHERE feature = 'age'"
    assert abs(store.value(seen) - at - timedelta(hours=1)) < timedelta(seconds=1)


def test_a_feature_that_changes_within_one_version_is_an_event(store: Store) -> None:
    at = datetime.now(UTC) - timedelta(days=5)
    sent(store, at, "", age="41", gone="1")
    sent(store, at + timedelta(days=2), "", age="41 years", fresh="1")
    assert changes(store) == {
        ("", "age", "number", "text", "retyped"),
        ("", "gone", "number", "", "removed"),
        ("", "fresh", "", "number", "new"),
    }


def test_a_version_that_is_sent_what_the_one_before_was_changes_nothing(store: Store) -> None:
    at = datetime.now(UTC) - timedelta(hours=5)
    for number in range(3):
        sent(store, at + timedelta(hours=number), str(number), age="41", plan="pro")
    assert changes(store) == set()


def test_attributes_that_are_not_known_are_kept(store: Store) -> None:
    attributes = {"tidegauge.model.name": "m", "tidegauge.something.new": "x", "gen_ai.future": "y"}
    row = {"Timestamp": datetime.now(UTC), "EventName": "tidegauge.prediction", "LogAttributes": attributes}
    store.insert("otel_logs", [row])
    assert store.value("SELECT LogAttributes FROM otel_logs") == attributes
